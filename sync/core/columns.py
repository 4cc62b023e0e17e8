"""The columns of a relation, and what kind of value each holds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """The kinds of value that a payload tells apart."""

    INTEGER = "integer"
    DECIMAL = "decimal"
    FLOAT = "float"
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"
    TIMESTAMP_TZ = "timestamp with time zone"
    TEXT = "text"
    UUID = "uuid"
    JSON = "json"
    NESTED = "list, struct or map"
    BLOB = "blob"
    OTHER = "other"


_INTEGERS = {f"{sign}{name}" for sign in ("", "U") for name in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")}
_KINDS = {
    **dict.fromkeys(_INTEGERS | {"BIGNUM", "VARINT"}, Kind.INTEGER),
    "FLOAT": Kind.FLOAT,
    "DOUBLE": Kind.FLOAT,
    "BOOLEAN": Kind.BOOLEAN,
    "DATE": Kind.DATE,
    "TIMESTAMP": Kind.TIMESTAMP,
    "TIMESTAMP_S": Kind.TIMESTAMP,
    "TIMESTAMP_MS": Kind.TIMESTAMP,
    "TIMESTAMP_NS": Kind.TIMESTAMP,
    "TIMESTAMP WITH TIME ZONE": Kind.TIMESTAMP_TZ,
    "VARCHAR": Kind.TEXT,
    "UUID": Kind.UUID,
    "JSON": Kind.JSON,
    "BLOB": Kind.BLOB,
}
_DECIMAL = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")


@dataclass(frozen=True)
class Column:
    """A column: its name, and its type as the warehouse spells it."""

    name: str
    type: str

    @property
    def kind(self) -> Kind:
        """What kind of value the column holds."""
        name = self.type.upper()
        if name.endswith("]") or name.startswith(("STRUCT", "MAP", "UNION", "VARIANT")):
            return Kind.NESTED
        if name.startswith("ENUM"):
            return Kind.TEXT
        if _DECIMAL.fullmatch(name):
            return Kind.DECIMAL
        return _KINDS.get(name, Kind.OTHER)

    @property
    def is_whole_number(self) -> bool:
        """Whether every value is a whole number by its type: an integer, or a decimal of scale 0."""
        decimal = _DECIMAL.fullmatch(self.type.upper())
        return self.kind is Kind.INTEGER or (decimal is not None and decimal[2] == "0")

    @property
    def is_fraction(self) -> bool:
        """Whether the type is a decimal that has no digits before the point."""
        decimal = _DECIMAL.fullmatch(self.type.upper())
        return decimal is not None and decimal[1] == decimal[2]

    @property
    def text_kind(self) -> str:
        """What decides how a value looks as text: two columns of one text kind write the same value alike."""
        decimal = _DECIMAL.fullmatch(self.type.upper())
        if self.is_whole_number:
            return "whole number"
        return f"decimal of scale {decimal[2]}" if decimal else self.kind.value

    @property
    def can_be_id(self) -> bool:
        """Whether ids have one text form in this type; ``42.0`` must never stand for 42."""
        return self.is_whole_number or self.kind in (Kind.TEXT, Kind.UUID)


def find(columns: Sequence[Column], name: str) -> Column | None:
    """The column of this name, in the case that the warehouse has it, or in any when only one fits."""
    exact = [column for column in columns if column.name == name]
    folded = [column for column in columns if column.name.lower() == name.lower()]
    if exact:
        return exact[0]
    return folded[0] if len(folded) == 1 else None
