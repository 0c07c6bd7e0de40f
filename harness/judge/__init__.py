"""Judging: pure functions of what was recorded. No I/O, no clock, no network."""
