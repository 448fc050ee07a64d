"""Delivery: the difference from what a destination acknowledged, sent under a journal."""

from consentry.delivery.config import Guards, Sync
from consentry.delivery.diff import Difference, difference
from consentry.delivery.guards import check_guards
from consentry.delivery.send import SyncResult, deliver

__all__ = ["Difference", "Guards", "Sync", "SyncResult", "check_guards", "deliver", "difference"]
