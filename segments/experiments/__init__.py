"""Experiments inside segments: who is in which arm, what came of it, and how segments fare from day to day."""
