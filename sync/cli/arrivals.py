"""What a person reads of events that Statsig was asked about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sync.core.arrival import DAYS, FOUND, NOT_FOUND, UNKNOWN, DayArrival

if TYPE_CHECKING:
    from sync.run.arrival import Arrival

_KEYS = {
    FOUND: "found",
    NOT_FOUND: "not found (which proves nothing)",
    UNKNOWN: "that could not be looked for",
}


def summary(arrivals: Sequence[Arrival]) -> list[dict[str, Any]]:
    """What is known of the events, as data that JSON can hold."""
    return [
        {
            "sync_name": one.sync_name,
            "missing": one.missing,
            "keys": [{"event_name": key.event_name, "key": key.key, "verdict": key.verdict} for key in one.keys],
            "days": [
                {
                    "event_name": day.event_name,
                    "day": day.day.isoformat(),
                    "expected": day.expected,
                    "counted": day.counted,
                    "missing": day.missing,
                    "verdict": day.verdict,
                }
                for day in one.days
            ],
        }
        for one in arrivals
    ]


def print_arrivals(arrivals: Sequence[Arrival]) -> None:
    """The keys of each sync in one line, and its days one by one."""
    for one in arrivals:
        print(f"{one.sync_name}: events: {_keys(one)}")
        for day in one.days:
            print(f"  {day.day} {day.event_name}: {_day(day)}")
        if one.missing:
            print(f"  {one.missing:,} event(s) that Statsig accepted are missing; a run does not send them again")


def _keys(one: Arrival) -> str:
    if not one.keys and not one.days and not one.recent:
        return f"none were accepted in the last {DAYS} days"
    if not one.keys and not one.days:
        accepted = f"{one.recent:,} accepted in the last {DAYS} days"
        return f"{accepted}, none of a day that is looked at; no single one was looked for"
    if not one.keys:
        return "no single one was looked for"
    counts = Counter(key.verdict for key in one.keys)
    return "of those looked for, " + ", ".join(
        f"{counts[name]:,} {said}" for name, said in _KEYS.items() if counts[name]
    )


def _day(day: DayArrival) -> str:
    counted = "no count" if day.counted is None else f"{day.counted:,} counted"
    sent = f"{day.expected:,} accepted, {counted} in Statsig"
    match day.verdict:
        case "missing":
            return f"{sent}: {day.missing:,} are missing"
        case "too_young":
            return f"{sent}: too young to say"
        case "fine":
            return f"{sent}: fine"
        case _:
            return f"{sent}: not known"
