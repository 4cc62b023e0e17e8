"""How many events of a name happened on a day, as Statsig's metrics count them. Days are Pacific time."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from sync.sandbox.contract import Event, time_or

EVENT_COUNT = "event_count"
OVERALL = "overall"

_PACIFIC = ZoneInfo("America/Los_Angeles")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_HOUR = 3_600_000


def pacific_day(moment: int) -> dt.date | None:
    """The day of a moment in milliseconds since the epoch; None for one that no calendar has."""
    return _day_of_hour(moment // _HOUR)


@lru_cache(maxsize=10_000)
def _day_of_hour(hour: int) -> dt.date | None:
    # The offsets of this zone are whole hours, so all of an hour is on one day.
    try:
        return (_EPOCH + dt.timedelta(hours=hour)).astimezone(_PACIFIC).date()
    except (OverflowError, ValueError):
        return None


class DayCounts:
    """Counts by day, name and unit type, apart for each request, so that young ones can be left out."""

    def __init__(self) -> None:
        self._requests: list[tuple[float, Counter[tuple[dt.date | None, str, str]]]] = []

    def count(self, events: Iterable[Event], received_at: float) -> None:
        """Count the events of a request on the days of their times; one without a time is of when it was received."""
        counts = Counter(
            (pacific_day(time_or(event, received_at)), event.event_name, unit)
            for event in events
            for unit in _unit_types(event)
        )
        self._requests.append((received_at, counts))

    def values(self, day: dt.date, name: str | None, received_before: float) -> list[dict[str, Any]]:
        """The rows of a day as the Console API shows them, of one event or of all that have any."""
        total: Counter[tuple[str, str]] = Counter()
        for received_at, counts in self._requests:
            if received_at <= received_before:
                for (its_day, its_name, unit), count in counts.items():
                    if its_day == day and name in (None, its_name):
                        total[its_name, unit] += count
        rows = sorted(total.items(), key=lambda item: (item[0][0], item[0][1] != OVERALL, item[0][1]))
        return [_row(its_name, unit, count) for (its_name, unit), count in rows]


def _unit_types(event: Event) -> list[str]:
    """`overall`, and each kind of id that the event has."""
    found = [OVERALL]
    if event.user is not None:
        if event.user.user_id:
            found.append("userID")
        found += [name for name, unit_id in (event.user.custom_ids or {}).items() if unit_id]
    return found


def _row(name: str, unit: str, count: int) -> dict[str, Any]:
    return {
        "value": count,
        "unitType": unit,
        "numerator": None,
        "denominator": None,
        "metricName": name,
        "metricType": EVENT_COUNT,
        "inputRows": count,
    }
