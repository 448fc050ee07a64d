"""Segments: rules, their evaluation, and groups."""
