"""Names and texts as they stand in SQL."""

from __future__ import annotations


def identifier(name: str) -> str:
    """The name of a column or relation, quoted."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string literal. NUL cannot stand in SQL text, so it is put together with chr(0)."""
    parts = ["'" + part.replace("'", "''") + "'" for part in text.split("\0")]
    return parts[0] if len(parts) == 1 else "(" + " || chr(0) || ".join(parts) + ")"
