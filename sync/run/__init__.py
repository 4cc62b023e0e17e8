"""Gather, decide, apply: the only floor that knows several edges."""
