"""Reported numbers, ours beside them, and the verdicts."""
