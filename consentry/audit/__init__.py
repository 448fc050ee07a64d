"""The audit log: what was decided, in an order that nobody can alter unseen."""

from consentry.audit.log import AuditLog, Json
from consentry.audit.verify import Verdict, verify

__all__ = ["AuditLog", "Json", "Verdict", "verify"]
