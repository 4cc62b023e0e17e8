"""Decisions: pure functions from data to data. Nothing here reads, writes, waits or knows the time."""
