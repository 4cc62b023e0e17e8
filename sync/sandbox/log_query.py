"""The filter of Statsig's Logs Explorer, as far as it is documented for events: conditions joined by AND (pure).

`event_name:NAME`, `user_id:ID`, and `@KEY:VALUE` for a metadata key. A value stands in double quotes, in which a
backslash keeps the next character as it is, or without quotes where it holds no space, quote, bracket or asterisk.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from sync.sandbox.contract import RefusedError

_CONDITION = re.compile(
    r'\s*(?P<field>@?[^\s:"()*@][^\s:"()*]*):(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s"()*]+))(?=\s|$)'
)
_AND = re.compile(r"\s+AND(?=\s)")
_FIELDS = ("event_name", "user_id")


@dataclass(frozen=True)
class Condition:
    """What a column must hold, exactly: `event_name`, `user_id`, or `metadata.KEY`."""

    column: str
    value: str


@dataclass(frozen=True)
class Query:
    """Conditions that must all hold; none holds for every event."""

    conditions: tuple[Condition, ...] = ()

    def fits(self, column: Callable[[str], str | None]) -> bool:
        """Whether an event is one of those that are asked for; `column` gives what it has in a column."""
        return all(column(condition.column) == condition.value for condition in self.conditions)


def parse_query(text: str) -> Query:
    """Read a filter; 400 for what is not documented, and so cannot be counted on."""
    conditions, place = [], 0
    while True:
        found = _CONDITION.match(text, place)
        if not found:
            raise _refused(text[place:])
        conditions.append(_condition(found))
        place = found.end()
        if not text[place:].strip():
            return Query(tuple(conditions))
        joint = _AND.match(text, place)
        if not joint:
            raise _refused(text[place:])
        place = joint.end()


def _condition(found: re.Match[str]) -> Condition:
    field, quoted = found["field"], found["quoted"]
    value = found["bare"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted, flags=re.S)
    if field.startswith("@"):
        return Condition(f"metadata.{field[1:]}", value)
    if field not in _FIELDS:
        raise _refused(found[0])
    return Condition(field, value)


def _refused(rest: str) -> RefusedError:
    return RefusedError(
        400,
        f"Invalid request: query cannot be read at {rest.strip()!r}. The sandbox takes event_name:NAME, user_id:ID and"
        ' @KEY:"VALUE", joined by AND.',
    )
