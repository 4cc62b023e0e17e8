"""What is usual for an event sync."""

from __future__ import annotations

import datetime as dt

import pytest

from sync.core.history import FinishedRun, usual

NOW = dt.datetime(2026, 7, 31, 12)


def runs(*ago_and_accepted: tuple[float, int]) -> list[FinishedRun]:
    """Runs that ended so many days ago, oldest first."""
    return [FinishedRun(NOW - dt.timedelta(days=ago), accepted) for ago, accepted in ago_and_accepted]


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        (runs(), None),
        # Two after the first say too little.
        (runs((3, 50_000), (2, 100), (1, 100)), None),
        # 300 in three days, and a day since: the first run does not count.
        (runs((4, 50_000), (3, 100), (2, 100), (1, 100)), 100),
        # After five days without a run, five times as many are usual.
        (runs((8, 50_000), (7, 100), (6, 100), (5, 100)), 500),
        # Runs that found nothing do not make it fewer: seven days' worth comes once a week.
        (runs((22, 9), (21, 700), (14, 700), (10, 0), (8, 0), (7, 700), (1, 0)), 700),
        # Nor do they say what is usual.
        (runs((22, 9), (14, 700), (10, 0), (8, 0), (7, 700), (1, 0)), None),
        # Runs in quick succession are one day.
        (runs((1.3, 9), (1.2, 100), (1.1, 100), (1, 100)), 300),
        # What is older than 30 days is not looked at.
        (runs((90, 9), (60, 9_000), (50, 9_000), (3, 100), (2, 100)), None),
        (runs((90, 9), (40, 9_000), (20, 300), (10, 300), (1, 300)), 900 / 29),
    ],
)
def test_usual_is_what_a_day_brings_times_the_days_since_events_were_last_sent(
    ended: list[FinishedRun], expected: float | None
) -> None:
    found = usual(ended, NOW)
    assert found == (None if expected is None else pytest.approx(expected))
