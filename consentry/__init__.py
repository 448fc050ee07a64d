"""Move customer data with consent: pull, check, merge, decide, segment, sync, prove."""

__version__ = "0.1.0"
