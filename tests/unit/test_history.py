"""What the run ledger says of an event sync, and what is usual for it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from sync.core.history import FinishedRun, KeySource, PastRuns, RunLine, usual

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


def line(hours_ago: float, state: str = "finished", **more: Any) -> RunLine:
    """A line of a run of an event sync, so many hours ago."""
    return RunLine("a-run", state, NOW - dt.timedelta(hours=hours_ago), **{"object": "events", **more})


def test_a_run_that_has_read_rows_and_ended_well_has_finished_and_no_other_line_says_so() -> None:
    assert PastRuns([line(1, rows_read=0)]).has_finished
    assert not PastRuns([line(1), line(2, "failed", rows_read=9), line(3, rows_read=9, object="segment")]).has_finished


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"keys_accepted": 1, "events_planned": 1, "rows_read": 1, "rows_rejected": 0}, True),
        # All that was read was left out by backfill.
        ({"keys_accepted": 0, "events_planned": 0, "rows_read": 5, "rows_rejected": 2}, True),
        ({"keys_accepted": 0, "events_planned": 0, "rows_read": 5, "rows_rejected": 5}, False),
        ({"keys_accepted": 0, "events_planned": 4, "rows_read": 5, "rows_rejected": 0}, False),
        ({"keys_accepted": 0, "events_planned": 0, "rows_read": 0, "rows_rejected": 0}, False),
        ({}, False),
    ],
)
def test_a_run_has_left_something_where_it_sent_events_or_left_all_of_them_out(
    found: dict[str, int], expected: bool
) -> None:
    assert PastRuns([line(1, **found)]).has_left_something is expected
    assert not PastRuns([line(1, "failed", **found)]).has_left_something


def test_the_last_line_that_names_keys_says_what_they_mean_whatever_the_order() -> None:
    older = line(5, "aborted", model="model.shop.old", unique_key="id, text")
    newer = line(2, "running", model="model.shop.new", unique_key="order_id, text")
    assert PastRuns([newer, line(1), older]).keys_were_from == KeySource("model.shop.new", "order_id, text")
    assert PastRuns([line(1)]).keys_were_from is None


def test_the_last_run_that_sent_is_the_latest_of_which_statsig_took_an_event() -> None:
    sent = line(3, "failed", keys_accepted=7)
    assert PastRuns([line(1, keys_accepted=0), line(9, keys_accepted=2), sent]).last_that_sent == sent
    assert PastRuns([line(1, keys_accepted=3, object="segment")]).last_that_sent is None


def test_a_prune_counts_where_it_is_later() -> None:
    runs = PastRuns([line(2, message="prune")])
    assert runs.has_pruned_since(NOW - dt.timedelta(hours=3))
    assert not runs.has_pruned_since(NOW - dt.timedelta(hours=1))
