"""Local simulators of the vendors, for the demo and for tests."""
