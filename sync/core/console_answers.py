"""What the Console API's answers say, as data; None where an answer is not of the shape that is expected.

Source: Statsig's Console API reference, version 20240601. Fields that are not needed may come and go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from sync.core.delivery import Outcome, State
from sync.core.reading import Page, Version

# The first number that does not fit a bigint.
_TOO_MANY = 2**63


@dataclass(frozen=True)
class Segment:
    """A segment as Statsig has it; ``id_type`` is ``userID``, ``stableID`` or a custom id's name.

    ``count`` is 0 where Statsig does not say how many ids there are; ``is_counted`` tells that from a list without ids.

    Nobody matches a segment that is not enabled, or that is archived.
    """

    id: str
    type: str
    id_type: str
    count: int
    is_enabled: bool = True
    is_archived: bool = False
    is_counted: bool = True


@dataclass(frozen=True)
class Environments:
    """The names of environments on a page, and whether another page follows."""

    names: tuple[str, ...]
    has_more: bool


@dataclass(frozen=True)
class LogRow:
    """An event that the Logs Explorer shows: ``timestamp`` is ISO 8601, ``fields`` holds the columns asked for."""

    id: str
    timestamp: str | None
    event_name: str
    user_id: str | None
    value: str | float | None
    fields: Mapping[str, Any]

    def metadata(self, name: str) -> str | None:
        """The text under a metadata key, where that column was asked for."""
        found = self.fields.get(f"metadata.{name}")
        return found if isinstance(found, str) else None


@dataclass(frozen=True)
class LogPage:
    """Events that the Logs Explorer has found, and whether it has more than it was asked for."""

    rows: Sequence[LogRow]
    has_more: bool


@dataclass(frozen=True)
class DayCount:
    """How many events of a name Statsig counts on a day (Pacific time); None where it has no count of that day."""

    count: int | None


def segment(outcome: Outcome) -> Segment | None:
    """The answer of ``GET /segments/{id}``."""
    data = _data(outcome)
    if not isinstance(data, dict):
        return None
    count = data.get("count")
    return Segment(
        str(data.get("id", "")),
        str(data.get("type", "")),
        str(data.get("idType", "")),
        int(count) if _is_number(count) else 0,
        is_enabled=data.get("isEnabled") is not False,
        is_archived=_is_archived(data),
        is_counted=_is_number(count),
    )


def _is_archived(data: Mapping[str, Any]) -> bool:
    return data.get("isArchived") is True or data.get("archived") is True or data.get("status") == "Archived"


def id_page(outcome: Outcome) -> Page | None:
    """The answer of ``GET /segments/{id}/id_list``.

    The total is ``pagination.totalItems``, else ``data.count``; both are optional, and so is the pagination.
    """
    data = _data(outcome)
    pagination = outcome.data.get("pagination") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(pagination, dict | None):
        return None
    ids = data.get("ids")
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        return None
    said = pagination or {}
    is_last = said["nextPage"] is None if "nextPage" in said else None
    has_others = any(said.get(key) is not None for key in ("nextPage", "previousPage"))
    # As many as on this page, although it is not the only one: that counts the page and not the list.
    count = None if has_others and data.get("count") == len(ids) else data.get("count")
    totals = (said.get("totalItems"), count)
    return Page(ids, next((int(total) for total in totals if _is_number(total)), None), is_last)


def version(outcome: Outcome) -> Version | None:
    """The answer of ``GET /segments/{id}/idlist_metadata``."""
    data = _data(outcome)
    if not isinstance(data, dict):
        return None
    number, is_updating = data.get("currentVersion"), data.get("isUpdating")
    if not isinstance(number, int | str) or not isinstance(is_updating, bool):
        return None
    return Version(number, is_updating)


def environments(outcome: Outcome) -> Environments | None:
    """The names of the project's environments on this page: the answer of ``GET /environments``."""
    data = _data(outcome)
    listed = data.get("environments") if isinstance(data, dict) else data
    if not isinstance(listed, list):
        return None
    names = [one.get("name") if isinstance(one, dict) else one for one in listed]
    pagination = outcome.data.get("pagination")
    has_more = isinstance(pagination, dict) and pagination.get("nextPage") is not None
    return Environments(tuple(name for name in names if isinstance(name, str)), has_more)


def log_page(outcome: Outcome) -> LogPage | None:
    """The answer of ``GET /logs``."""
    data = _data(outcome)
    if not isinstance(data, list):
        return None
    pagination = outcome.data.get("pagination")
    has_more = isinstance(pagination, dict) and bool(pagination.get("has_more") or pagination.get("next_cursor"))
    return LogPage(tuple(_log_row(row) for row in _objects(data)), has_more)


def _log_row(row: Mapping[str, Any]) -> LogRow:
    timestamp, user_id, value, fields = (row.get(key) for key in ("timestamp", "user_id", "value", "fields"))
    return LogRow(
        str(row.get("id", "")),
        timestamp if isinstance(timestamp, str) else None,
        str(row.get("event_name", "")),
        user_id if isinstance(user_id, str) else None,
        value if isinstance(value, str) or _is_number(value) else None,
        fields if isinstance(fields, dict) else {},
    )


def event_count(outcome: Outcome, name: str) -> DayCount | None:
    """The answer of ``GET /metrics/values`` for the event of this name: ``unitType: overall`` is the day's count.

    None where what stands there can be no count: no whole number, or one that no ledger holds.
    """
    data = _data(outcome)
    if not isinstance(data, list):
        return None
    said = [
        row.get("value")
        for row in _objects(data)
        if row.get("unitType") == "overall" and row.get("metricName", name) == name
    ]
    values = [value for value in said if value is not None]
    counts = [int(value) for value in values if _is_count(value)]
    if len(counts) < len(values):
        return None
    return DayCount(max(counts, default=None))


def _is_count(value: object) -> TypeGuard[int | float]:
    """Whether it is a finite whole number that is not negative and fits the ledgers' bigint."""
    return _is_number(value) and 0 <= value < _TOO_MANY and value == int(value)


def _objects(rows: Sequence[Any]) -> Iterable[dict[str, Any]]:
    return (row for row in rows if isinstance(row, dict))


def _data(outcome: Outcome) -> Any:
    return outcome.data.get("data") if outcome.state is State.ACCEPTED else None


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
