"""Example jobs that ship with consentry."""
