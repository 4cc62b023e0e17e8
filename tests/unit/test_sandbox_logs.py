"""Which events the sandbox's logs and metrics show."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.sandbox.contract import Batch, RefusedError
from sync.sandbox.events import BEYOND_LIMIT, ON_PURPOSE, Dropping, EventLog, Intake, is_drawn
from sync.sandbox.log_query import Condition, Query, parse_query
from sync.sandbox.logs import LogEntry, Search, Visibility
from sync.sandbox.metrics import DayCounts, pacific_day

NOTHING = Dropping()
NOW = 1_800_000_000.0
NOW_MS = 1_800_000_000_000


def event(**changes: Any) -> bytes:
    return json.dumps({"eventName": "order", "user": {"userID": "ann"}, **changes}).encode()


def log(*bodies: bytes, at: float = NOW, keep: Any = "events", dropping: Dropping = NOTHING) -> EventLog:
    found = EventLog(keep)
    found.receive(Batch(list(bodies), "test", "1"), Intake(1, at, dropping=dropping))
    return found


def shown(found: EventLog, query: str | None = None, start: int = 0, end: int = NOW_MS, **rules: Any) -> list[LogEntry]:
    search = Search(parse_query(query) if query else Query(), start, end)
    return search.over(found.arrivals(), Visibility(NOW, **rules))


def values(found: EventLog, day: dt.date, name: str | None = None, until: float = NOW) -> dict[tuple[str, str], int]:
    return {(row["metricName"], row["unitType"]): row["value"] for row in found.days.values(day, name, until)}


# The filter.


@pytest.mark.parametrize(
    ("text", "conditions"),
    [
        ("event_name:order_completed", [("event_name", "order_completed")]),
        ('event_name:"order completed"', [("event_name", "order completed")]),
        (
            'event_name:order_completed AND @order_id:"500001"',
            [("event_name", "order_completed"), ("metadata.order_id", "500001")],
        ),
        ("  user_id:ann  AND   event_name:a ", [("user_id", "ann"), ("event_name", "a")]),
        (r'@k:"a \"quoted\" \\ AND b:c"', [("metadata.k", r'a "quoted" \ AND b:c')]),
        ('@k:""', [("metadata.k", "")]),
        ("@k:2026-07-01T10:00:00Z", [("metadata.k", "2026-07-01T10:00:00Z")]),
        ('@größe:"ü|x"', [("metadata.größe", "ü|x")]),
    ],
)
def test_conditions_are_joined_by_and(text: str, conditions: list[tuple[str, str]]) -> None:
    assert parse_query(text).conditions == tuple(Condition(*one) for one in conditions)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "order_completed",
        "event_name:",
        'event_name:"order',
        "event_name:a OR event_name:b",
        "event_name:a event_name:b",
        "event_name:a AND",
        "AND event_name:a",
        "event_name:a and event_name:b",
        "#event_name:a",
        "service:console",
        "event_name:ord*",
        "(event_name:a)",
        'event_name:"a"b',
        '@:"a"',
    ],
)
def test_what_is_not_documented_of_the_filter_is_refused(text: str) -> None:
    with pytest.raises(RefusedError) as caught:
        parse_query(text)
    assert caught.value.status == 400


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_value_can_be_asked_for_in_quotes(value: str) -> None:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    assert parse_query(f'@key:"{quoted}"').conditions == (Condition("metadata.key", value),)


# Logs.


def test_only_events_that_fit_the_filter_exactly_are_shown() -> None:
    found = log(
        event(metadata={"order_id": "500001"}, value=1),
        event(metadata={"order_id": "5000012"}, value=2),
        event(eventName="Order", metadata={"order_id": "500001"}, value=3),
        event(value=4),
    )
    fitting = shown(found, 'event_name:order AND @order_id:"500001"')
    assert [entry.event.value for entry in fitting] == [1]


def test_events_are_shown_newest_first_by_their_own_time_or_when_they_were_received() -> None:
    found = log(
        event(value=1, time=NOW_MS - 2000),
        event(value=2),
        event(value=3, time="2027-01-15T07:59:57Z"),
        event(value=4, time=NOW_MS - 1000),
    )
    assert [entry.event.value for entry in shown(found)] == [2, 4, 1, 3]


def test_both_ends_of_the_window_are_in_it() -> None:
    found = log(*[event(value=value, time=NOW_MS + value) for value in (-3, -2, -1, 0)])
    within = shown(found, start=NOW_MS - 2, end=NOW_MS - 1)
    assert [entry.event.value for entry in within] == [-1, -2]


def test_what_statsig_drops_is_not_shown_and_not_counted() -> None:
    found = log(event(), event(eventName="a;b"), event(user={"email": "a@b"}), event(eventName="b"))
    assert [entry.event.event_name for entry in shown(found)] == ["b", "order"]
    assert values(found, dt.date(2027, 1, 15)) == {
        ("b", "overall"): 1,
        ("b", "userID"): 1,
        ("order", "overall"): 1,
        ("order", "userID"): 1,
    }


def test_an_event_is_not_shown_before_the_lag_is_over() -> None:
    assert len(shown(log(event(), at=NOW - 60), lag_seconds=60)) == 1
    assert shown(log(event(), at=NOW - 59), lag_seconds=60) == []
    # The lag runs from the receipt, whatever the event says of its time.
    assert shown(log(event(time=0), at=NOW - 59), lag_seconds=60) == []


def test_an_event_is_not_shown_after_its_retention() -> None:
    found = log(event(value=1, time=NOW_MS - 3_600_000), event(value=2, time=NOW_MS - 3_500_000))
    assert [entry.event.value for entry in shown(found, retention_seconds=3600)] == [2]
    assert shown(found, retention_seconds=0) == []
    assert len(shown(found, retention_seconds=None)) == 2


def test_a_sample_is_the_same_whenever_it_is_asked_for_and_grows_with_its_percentage() -> None:
    found = log(*[event(value=value) for value in range(1000)])

    def sample(percent: float) -> set[int]:
        return {int(entry.event.value or 0) for entry in shown(found, sample_percent=percent)}

    assert 200 < len(sample(25)) < 300
    assert sample(25) == sample(25)
    assert sample(25) < sample(50)
    assert (len(sample(0)), len(sample(100))) == (0, 1000)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("timestamp", "2027-01-15T08:00:00.001Z"),
        ("event_name", "order"),
        ("user_id", "ann"),
        ("value", "12.5"),
        ("metadata.order_id", "7"),
        ("metadata.other", None),
        ("metadata.a.b", None),
        ("custom_id:companyID", "c1"),
        ("custom_id:stableID", None),
        ("user.service", None),
        ("nonsense", None),
    ],
)
def test_a_column_is_a_text_or_nothing(column: str, expected: str | None) -> None:
    body = event(
        time=NOW_MS + 1,
        value=12.5,
        user={"userID": "ann", "customIDs": {"companyID": "c1"}},
        metadata={"order_id": "7", "a.b": "lost"},
    )
    (entry,) = shown(log(body), end=NOW_MS + 1)
    assert entry.column(column) == expected
    row = entry.described([column])
    assert row["fields"] == {column: expected}
    assert (row["sdk_type"], row["sdk_version"]) == ("test", "1")


def test_a_row_without_columns_has_no_fields_and_each_has_an_id_of_its_own() -> None:
    rows = [entry.described([]) for entry in shown(log(event(), event()))]
    assert len({row["id"] for row in rows}) == 2
    assert all("fields" not in row for row in rows)


@pytest.mark.parametrize("time", [10**20, -(10**20)])
def test_a_time_that_no_calendar_has_leaves_the_timestamp_empty(time: int) -> None:
    (entry,) = shown(log(event(time=time)), start=-(10**21), end=10**21)
    assert entry.described([])["timestamp"] is None


# Metrics.


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        # Standard time is 8 hours behind UTC, summer time 7.
        ("2026-01-15T07:59:59.999", "2026-01-14"),
        ("2026-01-15T08:00:00", "2026-01-15"),
        ("2026-07-15T06:59:59.999", "2026-07-14"),
        ("2026-07-15T07:00:00", "2026-07-15"),
        # The days on which the clocks are changed.
        ("2026-03-08T07:59:59.999", "2026-03-07"),
        ("2026-03-09T06:59:59.999", "2026-03-08"),
        ("2026-03-09T07:00:00", "2026-03-09"),
        ("2026-11-02T07:59:59.999", "2026-11-01"),
        ("2026-11-02T08:00:00", "2026-11-02"),
        ("1969-12-31T07:00:00", "1969-12-30"),
    ],
)
def test_days_are_pacific(moment: str, day: str) -> None:
    at = dt.datetime.fromisoformat(moment).replace(tzinfo=dt.timezone.utc)
    assert pacific_day(round(at.timestamp() * 1000)) == dt.date.fromisoformat(day)


@pytest.mark.parametrize("keep", ["events", "counts"])
def test_events_count_on_the_day_of_their_time_or_when_they_were_received(keep: str) -> None:
    found = log(
        event(time="2026-07-15T06:00:00Z"),
        event(time="2026-07-15T08:00:00Z"),
        event(time="2026-07-15T09:00:00Z", user={"customIDs": {"companyID": "c"}}),
        event(),
        keep=keep,
    )
    assert values(found, dt.date(2026, 7, 14)) == {("order", "overall"): 1, ("order", "userID"): 1}
    assert values(found, dt.date(2026, 7, 15)) == {
        ("order", "overall"): 2,
        ("order", "userID"): 1,
        ("order", "companyID"): 1,
    }
    assert values(found, dt.date(2027, 1, 15))["order", "overall"] == 1
    assert values(found, dt.date(2026, 7, 16)) == {}


def test_metrics_can_be_asked_for_one_event_and_overall_comes_first() -> None:
    found = log(event(), event(eventName="a"), event(eventName="a"))
    rows = found.days.values(dt.date(2027, 1, 15), "a", NOW)
    assert [(row["unitType"], row["value"]) for row in rows] == [("overall", 2), ("userID", 2)]
    assert {row["metricType"] for row in rows} == {"event_count"}


def test_metrics_leave_out_what_was_received_too_lately() -> None:
    found = log(event(), at=NOW)
    day = dt.date(2027, 1, 15)
    assert values(found, day, until=NOW - 1) == {}
    assert values(found, day, until=NOW)["order", "overall"] == 1


def test_nothing_was_counted_where_nothing_came() -> None:
    assert DayCounts().values(dt.date(2026, 1, 1), None, NOW) == []


# Dropping on purpose.


def test_events_whose_name_fits_are_taken_and_not_kept() -> None:
    found = log(event(), event(eventName="order_x"), event(eventName="view"), dropping=Dropping("order*"))
    assert [arrival.dropped for arrival in found.arrivals()] == [ON_PURPOSE, ON_PURPOSE, None]
    assert [entry.event.event_name for entry in shown(found)] == ["view"]
    assert found.summary()["by_name"] == {"view": 1}


def test_a_part_of_the_events_can_be_dropped() -> None:
    found = log(*[event(value=value) for value in range(1000)], dropping=Dropping("*", 10))
    assert 50 < found.dropped[ON_PURPOSE] < 150


def test_no_event_is_dropped_without_a_pattern() -> None:
    assert [arrival.dropped for arrival in log(event()).arrivals()] == [None]


def test_what_lies_beyond_the_limit_of_a_request_is_dropped_for_that() -> None:
    found = log(*[event()] * 1001, dropping=Dropping("nothing"))
    assert dict(found.dropped) == {BEYOND_LIMIT: 1}


@given(st.binary(), st.floats(0, 100))
def test_a_draw_depends_on_the_event_and_the_purpose_only(body: bytes, percent: float) -> None:
    assert is_drawn("a", body, percent) == is_drawn("a", body, percent)
    assert not is_drawn("a", body, 0)
    assert is_drawn("a", body, 100)
