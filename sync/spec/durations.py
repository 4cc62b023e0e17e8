"""Times as people write them: ``90 minutes``, ``12h``, ``2 days``."""

from __future__ import annotations

import datetime as dt
import re

_DURATION = re.compile(r"(\d{1,6})\s*(s|sec|secs|seconds?|m|min|mins|minutes?|h|hours?|d|days?)", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
EXAMPLES = "such as 90m, 12h or 2 days"


def duration(text: str) -> dt.timedelta | None:
    """The time that a text names, a whole number of seconds, minutes, hours or days; None where it names none."""
    found = _DURATION.fullmatch(text.strip())
    if found is None or int(found[1]) == 0:
        return None
    return dt.timedelta(seconds=int(found[1]) * _SECONDS[found[2][0].lower()])


_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


def spoken(seconds: float) -> str:
    """A time as people say it, in its largest unit: ``2 minutes``, ``5 hours``, ``3 days``."""
    for unit, length in _UNITS:
        if seconds >= length:
            count = int(seconds // length)
            return f"{count:,} {unit}{'s' if count != 1 else ''}"
    return "0 seconds"
