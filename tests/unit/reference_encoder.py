"""What an event looks like in Statsig, worked out slowly from one row at a time.

Written from Statsig's HTTP API reference and the project's rules for values; the SQL of
``sync.core.event_sql`` has to come to the same.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sync.spec.model import EventConfig
from tests.unit.values import ValueType

USER_KEYS = {
    "email": "email",
    "ip": "ip",
    "user_agent": "userAgent",
    "country": "country",
    "locale": "locale",
    "app_version": "appVersion",
}
FIELDS = ("user_id", "event_name", "event_value", "event_time", "custom", *USER_KEYS)
FORBIDDEN = {"\\", "[", "]", "{", "}", "<", ">", "#", "=", ";", "&", "$", "%", "|", "\0", "\r", "\n"}


@dataclass(frozen=True)
class Cell:
    """A value with its type; the value None is null."""

    type: ValueType
    value: Any

    @property
    def text(self) -> str | None:
        return None if self.value is None else self.type.text(self.value)


@dataclass(frozen=True)
class Reference:
    """What becomes of a row: every reason that refuses it, what it goes without, and the event."""

    key: str | None
    event_time: int | None
    reasons: frozenset[str]
    without: frozenset[str]
    event: dict[str, Any] | None


def is_space(character: str) -> bool:
    """Unicode's property White_Space."""
    return character in "\t\n\v\f\r\x85" or unicodedata.category(character) in ("Zs", "Zl", "Zp")


def is_blank(text: str | None) -> bool:
    return text is None or all(is_space(character) for character in text)


def encode(config: EventConfig, row: Mapping[str, Cell]) -> Reference:
    """The event of a row, given as its columns in order."""
    sources = fields(config, row)
    cells = {name: row[column] for name, column in sources.items()}
    ids = {name: row[column] for name, column in config.custom_ids.items()}
    time, reasons = None, set()
    if row[config.unique_key].text is None:
        reasons.add("missing_unique_key")
    name = config.event_name if config.event_name is not None else cells["event_name"].text
    if is_blank(name):
        reasons.add("missing_event_name")
    elif set(name or "") & FORBIDDEN or len(name or "") > 127:
        reasons.add("invalid_event_name")
    if "event_time" in cells and cells["event_time"].value is not None:
        time = cells["event_time"].type.time(cells["event_time"].value)
        if time is None:
            reasons.add("invalid_event_time")
    identifiers = [*ids.values(), *([cells["user_id"]] if "user_id" in cells else [])]
    reasons |= _identifier_reasons([cell.text for cell in identifiers])
    used = {*sources.values(), *config.custom_ids.values(), *config.exclude}
    metadata = {column: cell.text for column, cell in row.items() if column not in used and cell.value is not None}
    event: dict[str, Any] = {"eventName": name, "user": _user(config, cells, ids)}
    if time is not None:
        event["time"] = time
    if metadata:
        event["metadata"] = metadata
    without = _add_value(event, cells.get("event_value")) | _add_custom(event["user"], cells.get("custom"))
    return Reference(
        row[config.unique_key].text, time, frozenset(reasons), frozenset(without), None if reasons else event
    )


def fields(config: EventConfig, row: Mapping[str, Cell]) -> dict[str, str]:
    """Statsig's fields and the columns that feed them: as mapped, else the column of the field's own name."""
    sources = dict(config.columns)
    taken = {*config.columns.values(), *config.custom_ids.values(), *config.exclude}
    for field in FIELDS:
        is_static = field == "event_name" and config.event_name is not None
        if field not in sources and field in row and field not in taken and not is_static:
            sources[field] = field
    return sources


def _identifier_reasons(ids: list[str | None]) -> set[str]:
    usable = [text for text in ids if not is_blank(text)]
    if not usable:
        return {"missing_identifier"}
    spaced = any(text and (is_space(text[0]) or is_space(text[-1])) for text in usable)
    return {"outer_whitespace"} if spaced else set()


def _user(config: EventConfig, cells: Mapping[str, Cell], ids: Mapping[str, Cell]) -> dict[str, Any]:
    user: dict[str, Any] = {"statsigEnvironment": {"tier": config.environment}}
    if "user_id" in cells and not is_blank(cells["user_id"].text):
        user["userID"] = cells["user_id"].text
    custom_ids = {name: cell.text for name, cell in ids.items() if not is_blank(cell.text)}
    if custom_ids:
        user["customIDs"] = custom_ids
    for field, key in USER_KEYS.items():
        if field in cells and cells[field].value is not None:
            user[key] = cells[field].text
    return user


def _add_value(event: dict[str, Any], cell: Cell | None) -> set[str]:
    """A number stays a number, all else is text of less than 128 characters."""
    if cell is None or cell.value is None:
        return set()
    value: Any = cell.type.number(cell.value) if cell.type.number else cell.text
    if value is None or (isinstance(value, str) and len(value) > 127):
        return {"invalid_event_value"}
    event["value"] = value
    return set()


def _add_custom(user: dict[str, Any], cell: Cell | None) -> set[str]:
    if cell is None or cell.value is None:
        return set()
    try:
        found = strict_json(cell.text or "")
    except (ValueError, RecursionError):
        return {"invalid_custom"}
    if not isinstance(found, dict) or not all(map(_fits_custom, found.values())):
        return {"invalid_custom"}
    user["custom"] = {name: value for name, value in found.items() if value is not None}
    return set()


def _fits_custom(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    return value is None or isinstance(value, (str, bool, int, Decimal))


def strict_json(text: str | bytes) -> Any:
    """JSON by the letter of RFC 8259, numbers exact; raises ``ValueError`` also for a repeated key."""

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not JSON")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a key is there twice")
        return dict(pairs)

    return json.loads(text, parse_constant=refuse, parse_float=Decimal, parse_int=Decimal, object_pairs_hook=once)
