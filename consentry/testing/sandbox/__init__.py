"""Local simulators of the vendors, for the demo and for tests."""

from consentry.testing.sandbox.faults import Fault
from consentry.testing.sandbox.server import PORT, Sandbox, serve

__all__ = ["PORT", "Fault", "Sandbox", "serve"]
