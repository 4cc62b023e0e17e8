"""How the columns of a DuckDB relation leave the warehouse, so that the engine makes the same text of their values.

Types that Arrow carries as they are stay as they are; of all others the warehouse itself makes the text that they have
in a payload.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sync.core import sql
from sync.core.columns import Column, Kind

_AS_THEY_ARE = {
    *(f"{sign}{name}" for sign in ("", "U") for name in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT")),
    *("FLOAT", "DOUBLE", "BOOLEAN", "DATE", "VARCHAR", "BLOB"),
    *("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE"),
}


@dataclass(frozen=True)
class Wire:
    """A column on its way: the expression that reads it in the warehouse, and what the engine takes it for."""

    expression: str
    column: Column


def wire(column: Column) -> Wire:
    """How a column travels.

    A list, struct or map becomes its JSON. A number that Arrow has no type for travels as its digits, and is a number
    still.
    """
    if column.type.upper() in _AS_THEY_ARE or column.kind is Kind.DECIMAL:
        return Wire(sql.identifier(column.name), column)
    text = sql.text_form(column)
    if column.kind is Kind.NESTED:
        return Wire(text, replace(column, type="JSON"))
    return Wire(text, column)


def select_list(columns: Sequence[Column]) -> str:
    """What stands between ``select`` and ``from`` where these columns are read."""
    return ", ".join(f"{wire(column).expression} as {sql.identifier(column.name)}" for column in columns)


def arrived(columns: Sequence[Column]) -> tuple[Column, ...]:
    """The columns as the engine has them."""
    return tuple(wire(column).column for column in columns)
