"""The audit log: what was decided, in an order that nobody can alter unseen."""

from consentry.audit.flows import Flow, flows
from consentry.audit.log import AuditLog, Json
from consentry.audit.read import events_of
from consentry.audit.verify import Verdict, verify

__all__ = ["AuditLog", "Flow", "Json", "Verdict", "events_of", "flows", "verify"]
