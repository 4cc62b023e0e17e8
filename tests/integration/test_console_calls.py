"""What the Console API is asked, and what is made of its answers: over HTTP, as documented and a little beyond."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from sync.core.console_answers import DayCount, LogRow
from sync.core.delivery import Patience, State
from sync.edges.statsig import ConsoleClient
from sync.spec.model import Labels
from tests.integration.harness import CONSOLE_KEY
from tests.integration.in_process import StillClock
from tests.integration.scripted import Asked, Said, Scripted, scripted

OVERALL = {"value": 71.0, "unitType": "overall", "metricName": "ordered", "metricType": "event_count"}
BY_USER = {"value": 60, "unitType": "userID", "metricName": "ordered", "metricType": "event_count"}
OTHER = {"value": 900, "unitType": "overall", "metricName": "ordered twice", "metricType": "event_count"}


@contextmanager
def asking(answer: Any, status: int = 200) -> Iterator[tuple[ConsoleClient, Scripted]]:
    """A client, and the server that gives every request this answer."""
    with (
        scripted(lambda _: (status, answer)) as server,
        closing(ConsoleClient(server.url, CONSOLE_KEY, StillClock(), Patience(attempts=2))) as client,
    ):
        yield client, server


def test_logs_are_asked_for_events_with_their_columns_and_times() -> None:
    row = {
        "id": "e1",
        "timestamp": "2026-07-01T10:00:00.000Z",
        "event_name": "ordered",
        "user_id": "ann",
        "value": None,
        "sdk_type": "statsig-sync",
        "fields": {"timestamp": "2026-07-01T10:00:00.000Z", "metadata.order_id": "500001"},
    }
    answer = {"message": "ok", "data": [row], "columns": [], "pagination": {"next_cursor": None, "has_more": False}}
    with asking(answer) as (client, server):
        query = 'event_name:ordered AND @order_id:"500001"'
        page, outcome = client.logs(query, ["timestamp", "metadata.order_id"], 1_000, 2_000, 50)
    assert outcome.state is State.ACCEPTED
    assert page is not None
    assert page.rows == (LogRow("e1", row["timestamp"], "ordered", "ann", None, row["fields"]),)
    assert not page.has_more
    (asked,) = server.calls("GET", "/console/v1/logs")
    assert asked.parameters == {
        "source": "events",
        "query": query,
        "columns": "timestamp,metadata.order_id",
        "start_ts": "1000",
        "end_ts": "2000",
        "limit": "50",
    }
    assert asked.headers["statsig-api-version"] == "20240601"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"data": []}, (0, False)),
        ({"data": [{}], "pagination": {"has_more": True}}, (1, True)),
        ({"data": ["what", {"id": 7, "user_id": 7, "value": 1.5, "fields": []}]}, (1, False)),
        ({"data": {}}, None),
        ({"message": "ok"}, None),
    ],
)
def test_logs_are_read_leniently_and_what_is_no_list_is_no_answer(answer: Any, expected: Any) -> None:
    with asking(answer) as (client, _):
        page, _ = client.logs("event_name:ordered", ["timestamp"], 0, 1)
    assert expected == (None if page is None else (len(page.rows), page.has_more))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"message": "ok", "data": [BY_USER, OVERALL, OTHER]}, DayCount(71)),
        ([OTHER, BY_USER, OVERALL], DayCount(71)),
        ({"message": "ok", "data": [BY_USER, OTHER]}, DayCount(None)),
        ([], DayCount(None)),
        ({"message": "ok", "data": [{**OVERALL, "value": None}]}, DayCount(None)),
        ([{**OVERALL, "value": 71.0}], DayCount(71)),
        ([{**OVERALL, "value": 2**63 - 1}], DayCount(2**63 - 1)),
        ({"message": "ok", "data": {"value": 3}}, None),
    ],
)
def test_the_count_of_a_day_is_the_overall_value_of_that_event(answer: Any, expected: DayCount | None) -> None:
    with asking(answer) as (client, server):
        count, outcome = client.event_count(dt.date(2026, 7, 1), "ordered")
    assert (count, outcome.state) == (expected, State.ACCEPTED)
    (asked,) = server.calls("GET", "/console/v1/metrics/values")
    wanted = {"date": "2026-07-01", "metricName": "ordered", "metricType": "event_count"}
    assert wanted.items() <= asked.parameters.items()


@pytest.mark.parametrize("value", [-1, 1.5, 1e308, 10**30, 2**63, "71", True, [71]])
def test_a_count_that_can_be_none_is_an_answer_that_cannot_be_read(value: Any) -> None:
    with asking([BY_USER, {**OVERALL, "value": value}]) as (client, _):
        count, outcome = client.event_count(dt.date(2026, 7, 1), "ordered")
    assert (count, outcome.state) == (None, State.ACCEPTED)


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        ({"message": "ok", "data": {"environments": [{"name": "qa", "id": "0.1"}, {"name": "live"}]}}, ("qa", "live")),
        ({"message": "ok", "data": [{"name": "qa"}]}, ("qa",)),
        ({"message": "ok", "data": ["qa"]}, ("qa",)),
        ({"message": "ok", "data": {"environments": []}}, ()),
        ({"message": "ok", "data": {}}, None),
    ],
)
def test_environments_are_the_names_of_the_project(answer: Any, names: tuple[str, ...] | None) -> None:
    with asking(answer) as (client, server):
        found, _ = client.environments()
    assert found == names
    assert len(server.calls("GET", "/console/v1/environments")) == 1


def page_of_environments(number: int, *names: str, is_last: bool = False) -> Any:
    following = None if is_last else f"/console/v1/environments?page={number + 1}"
    return {
        "message": "ok",
        "data": {"environments": [{"name": name} for name in names]},
        "pagination": {"pageNumber": number, "nextPage": following},
    }


@pytest.mark.parametrize(
    ("pages", "expected"),
    [
        (
            [(200, page_of_environments(1, "live", "qa")), (200, page_of_environments(2, "eu", is_last=True))],
            ("live", "qa", "eu"),
        ),
        ([(200, page_of_environments(1, "live")), (403, {"status": 403, "message": "no"})], None),
        # Pages that repeat themselves have no end.
        ([(200, page_of_environments(1, "live")), (200, page_of_environments(2, "live"))], None),
    ],
    ids=["two pages", "a page that is refused", "no end"],
)
def test_environments_are_read_from_all_pages_or_not_known(pages: list[Said], expected: tuple[str, ...] | None) -> None:
    def answer(asked: Asked) -> Said:
        return pages[int(asked.parameters.get("page", 1)) - 1]

    with (
        scripted(answer) as server,
        closing(ConsoleClient(server.url, CONSOLE_KEY, StillClock(), Patience(attempts=2))) as client,
    ):
        found, _ = client.environments()
    assert found == expected


def test_a_call_that_is_refused_comes_back_with_the_reason() -> None:
    with asking({"status": 403, "message": f"Forbidden resource {CONSOLE_KEY}"}, 403) as (client, _):
        for value, outcome in (client.environments(), client.logs("x", ["y"], 0, 1), client.segment("people")):
            assert (value, outcome.http_status) == (None, 403)
            assert outcome.message == "Forbidden resource [key hidden]"


def test_a_segment_is_archived_by_a_put() -> None:
    with asking({"message": "archived"}) as (client, server):
        assert client.archive("beta users").state is State.ACCEPTED
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("PUT", "/console/v1/segments/beta%20users/archive")


@pytest.mark.parametrize(
    ("more", "is_enabled", "is_archived"),
    [
        ({}, True, False),
        ({"isEnabled": False}, False, False),
        ({"isEnabled": True, "isArchived": True}, True, True),
        ({"archived": True}, True, True),
        ({"status": "Archived"}, True, True),
    ],
)
def test_a_segment_says_whether_it_is_enabled_and_archived(
    more: dict[str, Any], is_enabled: bool, is_archived: bool
) -> None:
    data = {"id": "people", "type": "id_list", "idType": "userID", "count": 3, **more}
    with asking({"message": "ok", "data": data}) as (client, _):
        found, _ = client.segment("people")
    assert found is not None
    assert (found.is_enabled, found.is_archived, found.count) == (is_enabled, is_archived, 3)


def test_a_new_segment_says_what_its_exposure_says() -> None:
    labels = Labels("Who buys often. " * 100, ("growth", "pii"), "ann@example.com")
    with asking({"message": "made"}, 201) as (client, server):
        client.create_id_list("people", "userID", labels)
        client.create_id_list("others", "companyID")
    full, plain = (asked.body for asked in server.asked)
    assert full["description"] == ("Who buys often. " * 100)[:1000]
    assert (full["tags"], full["creatorEmail"]) == (["growth", "pii"], "ann@example.com")
    assert "team" not in full
    assert plain == {"name": "others", "id": "others", "type": "id_list", "idType": "companyID"}


def test_a_bare_list_is_an_answer_only_where_one_is_documented() -> None:
    def answer(asked: Asked) -> Said:
        return 200, []

    clock = StillClock()
    with (
        scripted(answer) as server,
        closing(ConsoleClient(server.url, CONSOLE_KEY, clock, Patience(attempts=2))) as client,
    ):
        assert client.change_ids("people", "add", ["ann"]).state is State.UNKNOWN
        assert client.event_count(dt.date(2026, 7, 1), "ordered")[1].state is State.ACCEPTED
