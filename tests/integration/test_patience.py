"""``--max-attempts`` and ``--max-seconds``: how long a request is tried before the run gives it up."""

from __future__ import annotations

import pytest

from tests.integration.harness import Project
from tests.integration.stand_in import LOG_EVENT, LOOK_UP_SEGMENT, StandIn

OVERLOAD = '{"success": false}'


@pytest.fixture
def orders(project: Project) -> Project:
    """A project whose one sync has three events to send."""
    project.table("orders", "select id as order_id, 'user-' || id as user_id from range(3) as ids(id)")
    project.sync("orders", "orders", {"object": "events", "unique_key": "order_id", "event_name": "ordered"})
    return project


def test_max_attempts_is_how_often_a_request_is_tried(orders: Project, arrived: StandIn) -> None:
    arrived.fault("status", status=503, body=OVERLOAD, retry_after=0, count=None)
    ran = orders.run("--max-attempts", "3", expect=1)
    assert len(arrived.requests(LOG_EVENT)) == 3
    assert [(one["unsent"], one["requests"]) for one in ran["results"]] == [(3, 3)]


def test_max_seconds_ends_the_attempts_before_a_pause_that_would_pass_it(orders: Project, arrived: StandIn) -> None:
    arrived.fault("status", status=503, body=OVERLOAD, retry_after=60, count=None)
    orders.run("--max-seconds", "30", expect=1)
    assert len(arrived.requests(LOG_EVENT)) == 1


def test_a_segment_is_looked_up_as_often_as_max_attempts_says(project: Project, arrived: StandIn) -> None:
    project.table("people", "select 'ann' as user_id")
    project.sync("people", "people", {"object": "segment", "segment_id": "people", "mode": "add"})
    arrived.put_segment("people")
    arrived.fault("status", status=502, call=LOOK_UP_SEGMENT, retry_after=0, count=None)
    for command in ("check", "plan", "run", "verify"):
        before = len(arrived.requests(LOOK_UP_SEGMENT))
        assert project.command(command, "--max-attempts", "2").returncode == 1
        assert len(arrived.requests(LOOK_UP_SEGMENT)) == before + 2, command


@pytest.mark.parametrize("attempts", ["0", "-1", "1000", "1.5", "many", ""])
def test_a_number_of_attempts_is_a_number_from_1_to_999(project: Project, attempts: str) -> None:
    refused = project.command("run", f"--max-attempts={attempts}")
    assert (refused.returncode, "is not a number from 1 to 999" in refused.stderr) == (2, True)


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf", "soon", ""])
def test_a_number_of_seconds_is_neither_negative_nor_endless(project: Project, seconds: str) -> None:
    refused = project.command("run", f"--max-seconds={seconds}")
    assert (refused.returncode, "is not a number of seconds" in refused.stderr) == (2, True)
