"""Consent and pseudonymisation: what may leave, for whom, and under which name."""
