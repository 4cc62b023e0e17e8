"""Names and values as SQL text, and the one text form that each kind of value has.

What is rendered here goes to DuckDB. Everything that comes from configuration or data and stands in SQL
text passes through ``identifier`` or ``literal``.
"""

from __future__ import annotations

import re

from sync.core.columns import Column, Kind
from sync.core.quoting import identifier, literal
from sync.core.zones import in_utc

__all__ = [
    "has_outer_space",
    "identifier",
    "is_blank",
    "is_relation",
    "json_string",
    "literal",
    "reversed_text",
    "starts_visibly",
    "text_form",
]

# Outer white space: what ASCII and Unicode call a space, and the control characters that look like one.
_OUTER_SPACE = r"^[\s\x0b\x85\p{Z}]|[\s\x0b\x85\p{Z}]$"
_BLANK = r"^[\s\x0b\x85\p{Z}]*$"


_RELATION = re.compile(
    r'(?:"(?:[^"]|"")+"|[A-Za-z_][A-Za-z0-9_$]*)(?:[.](?:"(?:[^"]|"")+"|[A-Za-z_][A-Za-z0-9_$]*)){0,2}'
)


def is_relation(text: str) -> bool:
    """Whether this is the name of a relation and nothing else: up to three parts, each quoted or plain.

    Names of relations come ready-made from dbt's manifest; what is not a name must not get into SQL.
    """
    return _RELATION.fullmatch(text) is not None


def parts(relation: str) -> list[str]:
    """The parts of a relation's name, without their quotes."""
    found = re.findall(r'"(?:[^"]|"")+"|[^."]+', relation)
    return [part[1:-1].replace('""', '"') if part.startswith('"') else part for part in found]


def text_form(column: Column) -> str:
    """An expression for the column's value as text; null stays null.

    The forms: ``true``/``false``; numbers as digits; dates ``2026-01-31``; timestamps
    ``2026-01-31T10:00:00.5`` without and ``2026-01-31T10:00:00.5Z`` with a time zone (always UTC),
    and ``infinity`` where they are not finite;
    UUIDs in lower case with hyphens; lists, structs and maps as JSON, with times in UTC; binary data as lower case hex.
    """
    name = identifier(column.name)
    text = f"cast({name} as varchar)"
    match column.kind:
        case Kind.TEXT if column.type.upper() == "VARCHAR":
            # A column may have a collation for which two different texts are the same.
            text = f"{name} collate c"
        case Kind.TIMESTAMP:
            text = f"replace({text}, ' ', 'T')"
        case Kind.TIMESTAMP_TZ:
            utc = f"replace(cast({name} at time zone 'UTC' as varchar), ' ', 'T') || 'Z'"
            text = f"case when isfinite({name}) then {utc} else {text} end"
        case Kind.DECIMAL if column.is_fraction:
            # DuckDB leaves out the zero before the point where a type has no digits there.
            text = f"regexp_replace({text}, '^(-?)[.]', '\\10.')"
        case Kind.NESTED:
            text = f"cast(to_json({in_utc(name, column.type)}) as varchar)"
        case Kind.BLOB:
            text = f"lower(hex({name}))"
    return text


def json_string(expression: str) -> str:
    """An expression for a text value as a JSON string, with its quotes; null stays null."""
    return f"cast(to_json({expression}) as varchar)"


def reversed_text(expression: str) -> str:
    """A text value from its last character to its first."""
    return f"reverse({expression})"


def starts_visibly(expression: str) -> str:
    """Whether a text value starts with a letter, digit or sign of ASCII: most do, and this is tested far faster."""
    return f"{expression} >= '!' and {expression} < chr(127)"


def is_blank(expression: str) -> str:
    """Whether a text value is empty or only white space."""
    return f"regexp_matches({expression}, {literal(_BLANK)})"


def has_outer_space(expression: str) -> str:
    """Whether a text value starts or ends with white space: Statsig compares ids byte for byte."""
    return f"regexp_matches({expression}, {literal(_OUTER_SPACE)})"
