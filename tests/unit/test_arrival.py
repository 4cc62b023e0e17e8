"""Whether events have arrived: which are looked for, and what a day's count proves."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.core import arrival
from sync.core.arrival import DayArrival, DaySent, HourSent, days_sent, judge_day, neighbours, sought, spread
from sync.core.log_query import event_query, is_askable
from sync.sandbox.log_query import parse_query

LATER = dt.datetime(2026, 11, 20)
DAY = dt.date(2026, 11, 10)
SETTLED = dt.datetime(2026, 11, 10, 20)


def hour(text: str, events: int = 1, name: str = "order", first: str | None = None) -> HourSent:
    moment = dt.datetime.fromisoformat(text)
    return HourSent(name, dt.datetime.fromisoformat(first or text), moment, events, SETTLED)


def sent(
    events: int, at_start: int = 0, at_end: int = 0, settled: dt.datetime = SETTLED, day: dt.date = DAY
) -> DaySent:
    return DaySent("order", day, events, at_start, at_end, settled)


def judged(one: DaySent, counts: dict[dt.date, int | None], now: dt.datetime = LATER) -> DayArrival:
    return judge_day(one, counts, {one.day: one}, now)


# Days


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        ("2026-11-10 07:59", "2026-11-09"),
        ("2026-11-10 08:00", "2026-11-10"),
        ("2026-07-10 06:59", "2026-07-09"),
        ("2026-07-10 07:00", "2026-07-10"),
    ],
)
def test_days_are_pacific_time_in_winter_and_in_summer(moment: str, day: str) -> None:
    assert arrival.pacific_day(dt.datetime.fromisoformat(moment)).isoformat() == day


@pytest.mark.parametrize(
    ("day", "end"),
    [("2026-11-10", "2026-11-11 08:00"), ("2026-07-10", "2026-07-11 07:00"), ("2026-11-01", "2026-11-02 08:00")],
)
def test_a_day_ends_at_midnight_in_the_pacific(day: str, end: str) -> None:
    assert arrival.end_of(dt.date.fromisoformat(day)) == dt.datetime.fromisoformat(end)


def test_events_are_counted_by_name_and_day_with_those_close_to_midnight() -> None:
    hours = [
        hour("2026-11-10 08:00", 2),
        hour("2026-11-10 12:00", 30),
        hour("2026-11-11 07:00", 400),
        hour("2026-11-11 08:00", 5000),
        hour("2026-11-10 12:00", 7, name="refund"),
    ]
    assert days_sent(hours) == [
        DaySent("order", DAY, 432, 2, 400, SETTLED),
        DaySent("order", dt.date(2026, 11, 11), 5000, 5000, 0, SETTLED),
        DaySent("refund", DAY, 7, 0, 0, SETTLED),
    ]


def test_an_event_of_which_the_day_of_its_receipt_is_not_known_counts_for_no_day() -> None:
    assert days_sent([hour("2026-11-11 08:00", 3, first="2026-11-11 07:00")]) == []
    assert [one.events for one in days_sent([hour("2026-11-11 09:00", 3, first="2026-11-11 08:00")])] == [3]


@pytest.mark.parametrize(
    ("counted", "verdict", "missing"), [(100, "fine", 0), (250, "fine", 0), (99, "missing", 1), (0, "missing", 100)]
)
def test_a_day_with_fewer_events_than_were_accepted_misses_them_and_one_with_more_is_fine(
    counted: int, verdict: str, missing: int
) -> None:
    assert judged(sent(100), {DAY: counted}) == DayArrival("order", DAY, 100, counted, verdict, missing)


def test_a_day_without_a_figure_is_not_known() -> None:
    assert judged(sent(100), {DAY: None}).verdict == "unknown"
    assert judged(sent(100), {}).verdict == "unknown"


@pytest.mark.parametrize(
    ("now", "settled", "verdict"),
    [
        ("2026-11-13 07:59", "2026-11-10 20:00", "too_young"),
        ("2026-11-13 08:00", "2026-11-10 20:00", "missing"),
        ("2026-11-14 11:59", "2026-11-12 12:00", "too_young"),
        ("2026-11-14 12:00", "2026-11-12 12:00", "missing"),
    ],
)
def test_a_day_is_too_young_until_48_hours_after_it_and_after_its_last_request(
    now: str, settled: str, verdict: str
) -> None:
    one = sent(100, settled=dt.datetime.fromisoformat(settled))
    found = judged(one, {DAY: 90}, dt.datetime.fromisoformat(now))
    assert (found.verdict, found.counted) == (verdict, 90)


BEFORE, AFTER = DAY - dt.timedelta(days=1), DAY + dt.timedelta(days=1)


@pytest.mark.parametrize(
    ("one", "counts", "verdict", "missing"),
    [
        # All events of the day stand at midnight, and count for the day before.
        (sent(100, at_start=100), {DAY: 0, BEFORE: 100}, "unknown", 0),
        (sent(100, at_start=100), {DAY: 0, BEFORE: 90}, "missing", 10),
        (sent(100, at_start=3), {DAY: 95, BEFORE: 50}, "missing", 2),
        (sent(100, at_end=5), {DAY: 95, AFTER: 50}, "unknown", 0),
        (sent(100, at_end=5), {DAY: 95, AFTER: 0}, "missing", 5),
        (sent(100), {DAY: 95, BEFORE: 50, AFTER: 50}, "missing", 5),
    ],
)
def test_events_close_to_midnight_that_may_count_for_the_next_day_are_not_surely_missing(
    one: DaySent, counts: dict[dt.date, int | None], verdict: str, missing: int
) -> None:
    found = judged(one, counts)
    assert (found.verdict, found.missing) == (verdict, missing)


@pytest.mark.parametrize("counts", [{BEFORE: None, AFTER: None}, {}], ids=["without a figure", "not asked for"])
@pytest.mark.parametrize(
    ("one", "counted", "verdict", "missing"),
    [
        (sent(100, at_end=5), 95, "unknown", 0),
        (sent(100, at_start=5), 95, "unknown", 0),
        (sent(100, at_start=2, at_end=3), 95, "unknown", 0),
        # More than may be there is missing all the same.
        (sent(100, at_start=2, at_end=3), 90, "missing", 5),
        (sent(100), 95, "missing", 5),
    ],
)
def test_events_that_may_count_for_a_day_without_a_known_count_are_not_surely_missing(
    counts: dict[dt.date, int | None], one: DaySent, counted: int, verdict: str, missing: int
) -> None:
    found = judged(one, {DAY: counted, **counts})
    assert (found.verdict, found.missing) == (verdict, missing)


def test_a_day_beside_that_is_too_young_may_still_get_the_events_that_the_day_lacks() -> None:
    one, counts = sent(100, at_end=5), {DAY: 95, AFTER: 0}
    assert judged(one, counts, dt.datetime.fromisoformat("2026-11-14 07:59")).verdict == "unknown"
    assert judged(one, counts, dt.datetime.fromisoformat("2026-11-14 08:00")).missing == 5
    other = sent(50, day=AFTER, settled=dt.datetime.fromisoformat("2026-11-13"))
    late = judge_day(one, {DAY: 95, AFTER: 50}, {DAY: one, AFTER: other}, dt.datetime.fromisoformat("2026-11-14 23:00"))
    assert late.verdict == "unknown"


def test_what_the_ledgers_have_of_the_day_beside_is_no_surplus_there() -> None:
    one, other = sent(100, at_start=10), sent(50, day=BEFORE)
    assert judge_day(one, {DAY: 90, BEFORE: 50}, {DAY: one, BEFORE: other}, LATER).missing == 10
    assert judge_day(one, {DAY: 90, BEFORE: 60}, {DAY: one, BEFORE: other}, LATER).missing == 0


def test_the_days_beside_are_asked_for_only_where_they_make_a_difference() -> None:
    assert neighbours(sent(100, 1, 1), {DAY: 100}) == []
    assert neighbours(sent(100, 0, 0), {DAY: 90}) == []
    assert neighbours(sent(100, 1, 0), {DAY: 90}) == [BEFORE]
    assert neighbours(sent(100, 1, 1), {DAY: 90}) == [BEFORE, AFTER]
    assert neighbours(sent(100, 1, 1), {DAY: None}) == []


# Keys


@given(st.lists(st.integers(1, 500), max_size=40), st.integers(0, 60))
def test_a_sample_has_as_many_different_keys_as_it_can_and_none_that_there_is_not(sizes: list[int], count: int) -> None:
    places = spread(sizes, count)
    assert len(places) == len(set(places)) == min(count, sum(sizes))
    assert all(0 <= place < sizes[request] for request, place in places)
    assert spread(sizes, count) == places


@pytest.mark.parametrize(
    ("sizes", "count", "requests"),
    [
        ([500] * 100, 5, [0, 25, 50, 74, 99]),
        ([500, 500, 500], 3, [0, 1, 2]),
        ([500, 500], 5, [0, 0, 0, 1, 1]),
        ([1, 500], 5, [0, 1, 1, 1, 1]),
        ([500] * 3, 1, [0]),
        ([], 5, []),
    ],
)
def test_a_sample_is_spread_over_the_requests_from_the_newest_on(
    sizes: Sequence[int], count: int, requests: list[int]
) -> None:
    assert [request for request, _ in spread(sizes, count)] == requests


def test_an_event_is_looked_for_well_around_its_time_and_that_of_its_request() -> None:
    claimed = dt.datetime(2026, 11, 10, 12)
    one = sought("order", "7", (None, claimed, claimed + dt.timedelta(seconds=2)))
    day = 86_400_000
    at = round(claimed.replace(tzinfo=dt.timezone.utc).timestamp() * 1000)
    assert (one.start_ms, one.end_ms) == (at - day, at + 2000 + day)
    old = sought("order", "7", (dt.datetime(1969, 1, 1), claimed))
    assert (old.start_ms, old.end_ms) == (0, at + day)


@pytest.mark.parametrize("name", ["a b", 'a"b', "a:b", "a(b", "a)b", "a*b", "", "a\tb", "@id", "@"])
def test_a_metadata_key_that_the_filter_cannot_name_is_not_asked_for(name: str) -> None:
    assert not is_askable(name)


@given(st.text(min_size=1), st.text(), st.text())
def test_what_is_asked_for_is_what_the_sandbox_reads(name: str, metadata: str, key: str) -> None:
    if is_askable(metadata):
        found = [(one.column, one.value) for one in parse_query(event_query(name, (metadata, key))).conditions]
        assert found == [("event_name", name), (f"metadata.{metadata}", key)]
