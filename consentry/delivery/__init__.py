"""Delivery: keep each destination in step with what was decided."""
