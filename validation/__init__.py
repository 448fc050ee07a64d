"""Contracts, quarantine and imputation."""
