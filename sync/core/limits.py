"""How long Statsig's rate limits make a number of requests take."""

from __future__ import annotations

from collections.abc import Sequence


def seconds_for(requests: int, rates: Sequence[tuple[int, int]]) -> int:
    """The least seconds that this many requests take under all of these (requests, seconds) limits.

    The first request goes out at once, and each as soon as every limit lets it; the time is until the last
    one may go out.
    """
    sent: list[int] = []
    for number in range(requests):
        earliest = (sent[number - count] + seconds for count, seconds in rates if number >= count)
        sent.append(max(earliest, default=0))
    return sent[-1] if sent else 0
