"""The control store: runs, consent, suppression, the delivery journal. Small, durable, transactional."""

from consentry.store.engine import Store

__all__ = ["Store"]
