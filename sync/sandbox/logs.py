"""The rows of Statsig's Logs Explorer over the events that arrived: which are shown, and how.

Newest first. How soon an event appears, how long it stays and whether all are kept is not documented, so all three can
be set; what was dropped never appears.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from sync.sandbox.contract import Event, time_or
from sync.sandbox.events import Arrival, is_drawn
from sync.sandbox.log_query import Query

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_event = msgspec.json.Decoder(Event)


@dataclass(frozen=True)
class Visibility:
    """Which events are shown at a moment, `now` in seconds since the epoch."""

    now: float
    lag_seconds: float = 0.0
    sample_percent: float = 100.0
    retention_seconds: float | None = None

    def shows(self, entry: LogEntry) -> bool:
        """Whether an event is shown: received long enough ago, in the sample, and not past its time here."""
        return (
            entry.arrival.received_at <= self.now - self.lag_seconds
            and (self.retention_seconds is None or entry.moment / 1000 > self.now - self.retention_seconds)
            and is_drawn("sample", entry.arrival.body, self.sample_percent)
        )


@dataclass(frozen=True)
class LogEntry:
    """An event that was kept, with its time in milliseconds since the epoch: its own, or else when it was received."""

    arrival: Arrival
    event: Event
    moment: int

    def column(self, name: str) -> str | None:
        """A column of the Logs Explorer by its id; None where the event has nothing there."""
        user = self.event.user
        kind, _, key = name.partition(".")
        if kind == "metadata" and key:
            # What a key with a dot held is lost.
            return None if "." in key else (self.event.metadata or {}).get(key)
        if name.startswith("custom_id:"):
            return (user.custom_ids or {}).get(name.removeprefix("custom_id:")) if user else None
        return _COLUMNS[name](self) if name in _COLUMNS else None

    def described(self, columns: Sequence[str]) -> dict[str, Any]:
        """The row as the Console API shows it."""
        row: dict[str, Any] = {
            "id": f"{self.moment}||{self.arrival.number}||{self.event.event_name}",
            **{name: self.column(name) for name in ("timestamp", "event_name", "user_id", "value")},
            "sdk_type": self.arrival.sdk_type,
            "sdk_version": self.arrival.sdk_version,
        }
        return row | ({"fields": {name: self.column(name) for name in columns}} if columns else {})


def _text(value: str | float | None) -> str | None:
    return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()


def _timestamp(entry: LogEntry) -> str | None:
    try:
        moment = _EPOCH + dt.timedelta(milliseconds=entry.moment)
    except OverflowError:
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


_COLUMNS: dict[str, Callable[[LogEntry], str | None]] = {
    "timestamp": _timestamp,
    "event_name": lambda entry: entry.event.event_name,
    "user_id": lambda entry: entry.event.user.user_id if entry.event.user else None,
    "value": lambda entry: _text(entry.event.value),
}


@dataclass(frozen=True)
class Search:
    """What is asked for: a filter, and a window of event times in milliseconds, both ends in it."""

    query: Query
    start_ts: int
    end_ts: int

    def over(self, arrivals: Iterable[Arrival], visibility: Visibility) -> list[LogEntry]:
        """The events that fit and are shown, newest first."""
        entries = (_entry(arrival) for arrival in arrivals if arrival.dropped is None)
        found = [
            entry
            for entry in entries
            if self.start_ts <= entry.moment <= self.end_ts
            and self.query.fits(entry.column)
            and visibility.shows(entry)
        ]
        return sorted(found, key=lambda entry: (entry.moment, entry.arrival.number), reverse=True)


def _entry(arrival: Arrival) -> LogEntry:
    event = _event.decode(arrival.body)
    return LogEntry(arrival, event, time_or(event, arrival.received_at))
