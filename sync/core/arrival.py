"""Whether events have arrived: which ones to look for, and what the answers prove.

Statsig answers 202 before it looks at an event, and drops in silence what it does not like. Two of its calls show what
has come of them: its logs, where an event that is found did arrive and one that is not proves nothing, and a day's
count of the events of a name. Others may send the same name, so the ledgers' own count is the least that Statsig must
have. Source: Statsig's Console API reference, ``GET /logs`` and ``GET /metrics/values``.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

# How many days back requests and days are looked at.
DAYS = 7
# Statsig documents no time within which a day's count is whole. Until this long after the day, and after the last of
# its events was sent, a count that is too low proves nothing.
FINAL_AFTER = dt.timedelta(hours=48)
# Statsig shows an event at its own time or at that of its receipt, which is not documented: look well around both.
MARGIN = dt.timedelta(days=1)

FOUND, NOT_FOUND, UNKNOWN = "found", "not_found", "unknown"
FINE, MISSING, TOO_YOUNG = "fine", "missing", "too_young"

_HOUR = dt.timedelta(hours=1)
_PACIFIC = ZoneInfo("America/Los_Angeles")
_EPOCH = dt.datetime(1970, 1, 1)


def pacific_day(moment: dt.datetime) -> dt.date:
    """The day of Statsig's to which a moment belongs; ``moment`` is UTC without a zone."""
    return moment.replace(tzinfo=dt.timezone.utc).astimezone(_PACIFIC).date()


def first_day(now: dt.datetime) -> dt.date:
    """The first of the days that are looked at; ``now`` is UTC without a zone."""
    return pacific_day(now) - dt.timedelta(days=DAYS)


def end_of(day: dt.date) -> dt.datetime:
    """When a day ends, in UTC without a zone."""
    after = dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), tzinfo=_PACIFIC)
    return after.astimezone(dt.timezone.utc).replace(tzinfo=None)


# Keys


@dataclass(frozen=True)
class Sought:
    """An event to look for: its name, its unique key, and when it may be shown, in milliseconds UTC.

    ``mark`` says whose it must be, None where that does not matter.
    """

    event_name: str
    key: str
    start_ms: int
    end_ms: int
    mark: str | None = None


def sought(event_name: str, key: str, moments: Iterable[dt.datetime | None], mark: str | None = None) -> Sought:
    """An event to look for, given the moments at which it may be shown: UTC without a zone, None for one not known."""
    known = [moment for moment in moments if moment is not None]
    start, end = (_milliseconds(moment) for moment in (min(known), max(known)))
    margin = round(MARGIN.total_seconds() * 1000)
    return Sought(event_name, key, max(0, start - margin), max(0, end + margin), mark)


def _milliseconds(moment: dt.datetime) -> int:
    return (moment - _EPOCH) // dt.timedelta(milliseconds=1)


def spread(sizes: Sequence[int], count: int) -> list[tuple[int, int]]:
    """``count`` keys of requests that hold so many: for each the request's place, and its own place in there.

    With more requests than keys, one of each of some, evenly from the first to the last; otherwise of each as many as
    of the others, as far as it has them. The same for the same sizes.
    """
    if count < len(sizes):
        step = (len(sizes) - 1) / max(count - 1, 1)
        return [(round(number * step), number % sizes[round(number * step)]) for number in range(count)]
    quotas = _quotas(sizes, count)
    return [(place, number * sizes[place] // quota) for place, quota in enumerate(quotas) for number in range(quota)]


def _quotas(sizes: Sequence[int], count: int) -> list[int]:
    """How many keys of each request: all alike, the first of them one more where that does not come out even."""
    quotas = [0] * len(sizes)
    while sum(quotas) < min(count, sum(sizes)):
        for place, size in enumerate(sizes):
            if quotas[place] < size and sum(quotas) < count:
                quotas[place] += 1
    return quotas


# Days


@dataclass(frozen=True)
class HourSent:
    """Events of a name that were accepted, as ``statsig_event_hours`` has them. Times are UTC without a zone."""

    event_name: str
    first_hour: dt.datetime
    hour: dt.datetime
    events: int
    last_settled_at: dt.datetime


@dataclass(frozen=True)
class DaySent:
    """The events of a name that surely belong to a day, and when the last of them was settled.

    ``at_start`` and ``at_end`` count those in its first and its last hour.
    """

    event_name: str
    day: dt.date
    events: int
    at_start: int
    at_end: int
    last_settled_at: dt.datetime


def days_sent(hours: Iterable[HourSent]) -> list[DaySent]:
    """The days of all events, by name and day.

    An event without a time of which it is not known on which of two days Statsig received it counts for neither.
    """
    found: dict[tuple[str, dt.date], list[HourSent]] = defaultdict(list)
    for one in hours:
        if (day := pacific_day(one.hour)) == pacific_day(one.first_hour):
            found[one.event_name, day].append(one)
    return [_day_sent(name, day, found[name, day]) for name, day in sorted(found)]


def _day_sent(name: str, day: dt.date, hours: Sequence[HourSent]) -> DaySent:
    before, after = (day + dt.timedelta(days=days) for days in (-1, 1))
    return DaySent(
        name,
        day,
        sum(one.events for one in hours),
        sum(one.events for one in hours if pacific_day(one.hour - _HOUR) == before),
        sum(one.events for one in hours if pacific_day(one.hour + _HOUR) == after),
        max(one.last_settled_at for one in hours),
    )


@dataclass(frozen=True)
class DayArrival:
    """What is known of the events of a name and a day.

    ``counted`` is Statsig's count, None where it has none; ``missing`` counts those that surely did not arrive.
    """

    event_name: str
    day: dt.date
    expected: int
    counted: int | None
    verdict: str
    missing: int = 0


Counts = Mapping[dt.date, int | None]


def judge_day(sent: DaySent, counts: Counts, others: Mapping[dt.date, DaySent], now: dt.datetime) -> DayArrival:
    """What the counts prove of a day; ``others`` are the days of the same name, ``now`` is UTC without a zone.

    Statsig sets an event's time right by the sender's clock, so that one close to midnight may count for the day
    beside its own: as many as that day has too many, and the hour there holds, are not surely missing. Where it is
    not known how many that day has, all that the hour holds may be there.
    """
    counted = counts.get(sent.day)
    if now < max(end_of(sent.day), sent.last_settled_at) + FINAL_AFTER:
        return DayArrival(sent.event_name, sent.day, sent.events, counted, TOO_YOUNG)
    if counted is None:
        return DayArrival(sent.event_name, sent.day, sent.events, None, UNKNOWN)
    short = sent.events - counted
    if short <= 0:
        return DayArrival(sent.event_name, sent.day, sent.events, counted, FINE)
    missing = short
    for close, days in ((sent.at_start, -1), (sent.at_end, 1)):
        surplus = _surplus(sent.day + dt.timedelta(days=days), counts, others, now)
        missing -= close if surplus is None else min(close, surplus)
    verdict = MISSING if missing > 0 else UNKNOWN
    return DayArrival(sent.event_name, sent.day, sent.events, counted, verdict, max(missing, 0))


def neighbours(sent: DaySent, counts: Counts) -> list[dt.date]:
    """The days beside one whose count is too low that have to be asked for as well."""
    counted = counts.get(sent.day)
    if counted is None or counted >= sent.events:
        return []
    sides = ((sent.at_start, -1), (sent.at_end, 1))
    return [sent.day + dt.timedelta(days=days) for events, days in sides if events]


def _surplus(day: dt.date, counts: Counts, others: Mapping[dt.date, DaySent], now: dt.datetime) -> int | None:
    """How many more events Statsig has of a day than the ledgers; None where its count is not known, or not whole."""
    counted, own = counts.get(day), others.get(day)
    settled_at = own.last_settled_at if own else end_of(day)
    if counted is None or now < max(end_of(day), settled_at) + FINAL_AFTER:
        return None
    return max(0, counted - (own.events if own else 0))
