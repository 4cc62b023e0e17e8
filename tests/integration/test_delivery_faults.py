"""Statsig refuses, is slow, breaks off or says nonsense: what is sent again, and what the ledgers say."""

from __future__ import annotations

import gzip
import http.server
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import duckdb
import pytest

from sync import sandbox
from sync.core.compression import compressed
from sync.core.delivery import Patience, State
from sync.core.ledger import naive_utc
from sync.core.packing import request_body
from sync.edges.clock import SystemClock
from sync.edges.statsig import ConsoleClient, EventsClient
from sync.errors import ConfigError
from sync.sandbox import Settings
from tests.integration.harness import CONSOLE_KEY, SERVER_SECRET, Project
from tests.integration.in_process import StillClock, command_here, run_here, run_still
from tests.integration.stand_in import ADD_IDS, CHANGE_IDS, LOG_EVENT, LOOK_UP_SEGMENT, REMOVE_IDS, StandIn, rule
from tests.integration.test_retire import mirror_of

PROXY_PAGE = {"body": "<html><body>Please sign in.</body></html>", "headers": {"Content-Type": "text/html"}}
NO_SUCCESS = '{"success": false}'

# What surely was not taken: the same batch goes again.
NOT_TAKEN: dict[str, dict[str, Any]] = {
    "429": {"kind": "status", "status": 429},
    "409": {"kind": "status", "status": 409},
    "503 that says no success": {"kind": "status", "status": 503, "body": NO_SUCCESS},
    "200 that says no success": {"kind": "body", "body": NO_SUCCESS},
}
# What may have been taken, and whether it was.
IN_DOUBT: dict[str, tuple[dict[str, Any], bool]] = {
    "500 before": ({"kind": "status", "status": 500}, False),
    "500 after": ({"kind": "status", "status": 500, "when": "after"}, True),
    "502": ({"kind": "status", "status": 502}, False),
    "503 of a gateway": ({"kind": "status", "status": 503, "body": "<html>overloaded</html>"}, False),
    "504 after": ({"kind": "status", "status": 504, "when": "after"}, True),
    "reset before": ({"kind": "reset"}, False),
    "reset after": ({"kind": "reset", "when": "after"}, True),
    "answer cut off": ({"kind": "truncate"}, True),
    "proxy's page before": ({"kind": "body", **PROXY_PAGE}, False),
    "proxy's page after": ({"kind": "body", "when": "after", **PROXY_PAGE}, True),
    "half a JSON document": ({"kind": "body", "body": '{"success": tr'}, False),
    "JSON of someone else's": ({"kind": "body", "body": '{"status": "ok"}'}, False),
}


@pytest.fixture
def visits(project: Project) -> Project:
    """Three events, not sent yet."""
    project.table("visits", "select range as id, 'u' || range as user_id from range(3)")
    project.sync("visits", "visits", {"object": "events", "unique_key": "id", "event_name": "visit"})
    return project


@pytest.fixture
def people(project: Project, arrived: StandIn) -> Project:
    """A mirror that has been synced once, and has an id to remove and one to add."""
    # The clock of the runs stands still, and the sandbox's does not.
    arrived.no_limits()
    arrived.put_segment("people", "ann", "bob")
    audience(project, "ann", "bob")
    project.sync("people", "people", {"object": "segment", "segment_id": "people", "mode": "mirror"})
    assert run_still(project).exit_code == 0
    audience(project, "bob", "cid")
    return project


def audience(project: Project, *ids: str) -> None:
    project.table("people", f"select unnest({list(ids)}::varchar[]) as user_id")


def batches(project: Project, operation: str = "log") -> list[tuple[Any, ...]]:
    return project.rows(
        f"select state, attempts, http_status from statsig_batches where operation = '{operation}' order by sequence"
    )


def unsettled(project: Project) -> list[str]:
    return [row[0] for row in project.rows("select key from statsig_unsettled order by key")]


def last_run(project: Project) -> tuple[Any, ...]:
    (row,) = project.rows(
        "select state, keys_accepted, keys_rejected, keys_unsent, keys_unknown, message from statsig_sync_runs"
        " order by ended_at desc limit 1"
    )
    return row


# Events.


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"kind": "status", "status": 503, "body": "<html>overloaded</html>"}, "HTTP 503 after 4 attempt(s)"),
        ({"kind": "status", "status": 500}, "HTTP 500 after 4 attempt(s)"),
        ({"kind": "reset", "when": "after"}, "after 4 attempt(s)"),
    ],
)
def test_a_run_that_gives_events_up_says_how_often_it_has_tried(
    visits: Project, arrived: StandIn, fault: dict[str, Any], said: str
) -> None:
    arrived.fault(**fault, count=None)
    ran = run_still(visits)
    assert (ran.exit_code, ran.result.unknown, ran.result.requests) == (1, 3, 4)
    assert said in (ran.result.message or "")
    # Each request is a batch of its own, with its own attempts.
    assert [batch[:2] for batch in batches(visits)] == [("unknown", 1)] * 4


def test_events_that_are_held_were_tried_once(visits: Project, arrived: StandIn) -> None:
    meta = {"object": "events", "unique_key": "id", "event_name": "visit", "on_unknown": "hold", "backfill": "all"}
    visits.sync("visits", "visits", meta)
    arrived.fault("status", status=503, body="<html>overloaded</html>", count=None)
    assert "HTTP 503 after 1 attempt(s)" in (run_still(visits).result.message or "")


@pytest.mark.parametrize("name", NOT_TAKEN)
def test_events_that_were_surely_not_taken_go_again_in_the_same_batch(
    visits: Project, arrived: StandIn, name: str
) -> None:
    arrived.fault(**NOT_TAKEN[name])
    ran = run_still(visits)
    assert (ran.exit_code, ran.result.accepted, ran.result.requests) == (0, 3, 2)
    assert arrived.users() == ["u0", "u1", "u2"]
    assert batches(visits) == [("accepted", 2, 202)]
    assert unsettled(visits) == []


@pytest.mark.parametrize("name", IN_DOUBT)
def test_events_in_doubt_are_written_down_as_unknown_before_they_go_again(
    visits: Project, arrived: StandIn, name: str
) -> None:
    fault, was_taken = IN_DOUBT[name]
    arrived.fault(**fault)
    ran = run_still(visits)
    assert (ran.exit_code, ran.result.accepted, ran.result.unknown) == (0, 3, 0)
    assert [batch[0] for batch in batches(visits)] == ["unknown", "accepted"]
    assert arrived.users() == sorted(["u0", "u1", "u2"] * (2 if was_taken else 1))
    assert unsettled(visits) == []
    assert last_run(visits)[:5] == ("finished", 3, 0, 0, 0)
    requests = len(arrived.requests())
    assert run_still(visits).result.planned == 0
    assert len(arrived.requests()) == requests


@pytest.mark.parametrize("name", ["500 before", "reset after", "answer cut off"])
def test_events_in_doubt_are_held_where_the_sync_says_so(visits: Project, arrived: StandIn, name: str) -> None:
    meta = {"object": "events", "unique_key": "id", "event_name": "visit", "on_unknown": "hold"}
    visits.sync("visits", "visits", meta)
    fault, was_taken = IN_DOUBT[name]
    arrived.fault(**fault)
    ran = run_still(visits)
    assert (ran.exit_code, ran.result.state, ran.result.unknown) == (1, "failed", 3)
    assert [batch[0] for batch in batches(visits)] == ["unknown"]
    assert unsettled(visits) == ["0", "1", "2"]
    ran = run_still(visits)
    assert (ran.exit_code, ran.result.planned, ran.result.waiting) == (1, 0, 3)
    assert len(arrived.events()) == (3 if was_taken else 0)
    assert unsettled(visits) == ["0", "1", "2"]


def test_events_whose_fate_stays_unknown_are_listed_and_go_again_at_the_next_run(
    visits: Project, arrived: StandIn
) -> None:
    arrived.fault("status", status=500, count=None)
    ran = run_still(visits)
    assert (ran.exit_code, ran.result.state, ran.result.unknown, ran.result.accepted) == (1, "failed", 3, 0)
    assert {batch[0] for batch in batches(visits)} == {"unknown"}
    assert unsettled(visits) == ["0", "1", "2"]
    assert last_run(visits)[0] == "failed"
    assert "statsig_unsettled" in last_run(visits)[5]

    arrived.no_faults()
    assert run_still(visits).exit_code == 0
    assert arrived.users() == ["u0", "u1", "u2"]
    assert unsettled(visits) == []


def test_an_answer_that_does_not_come_in_time_is_in_doubt(visits: Project, arrived: StandIn) -> None:
    arrived.fault("delay", seconds=3600, when="after")
    ran = run_still(visits, patience=Patience(read_seconds=2))
    assert (ran.exit_code, ran.result.accepted) == (0, 3)
    assert [batch[0] for batch in batches(visits)] == ["unknown", "accepted"]
    assert len(arrived.events()) == 6


def test_an_answer_that_drips_in_for_too_long_is_in_doubt(arrived: StandIn) -> None:
    arrived.fault("slow_body", seconds=1)
    client = EventsClient(arrived.url, SERVER_SECRET, SystemClock(), Patience(read_seconds=0.3))
    event = b'{"eventName": "visit", "user": {"userID": "u0"}}'
    with closing(client):
        outcome = client.log_event(compressed(request_body(event)), 1)
    assert (outcome.state, outcome.message) == (State.UNKNOWN, "no answer within the time limit")
    assert arrived.users() == ["u0"]


def test_a_cookie_that_an_answer_sets_is_not_sent_back(visits: Project, arrived: StandIn) -> None:
    arrived.fault("status", status=429, retry_after=0, headers={"Set-Cookie": "session=1; Path=/"})
    assert run_still(visits).result.accepted == 3
    assert [one["status"] for one in arrived.requests(LOG_EVENT)] == [429, 202]
    assert not any("cookie" in one["headers"] for one in arrived.requests(LOG_EVENT))


def test_a_connection_that_is_never_made_is_not_in_doubt(visits: Project, arrived: StandIn) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}"
    visits.environment["STATSIG_EVENTS_URL"] = closed
    ran = run_still(visits)
    assert (ran.exit_code, ran.result.unsent, ran.result.unknown) == (1, 3, 0)
    assert batches(visits) == [("unsent", Patience().attempts, None)]
    assert unsettled(visits) == []
    assert "no connection" in str(ran.result.message)

    visits.environment["STATSIG_EVENTS_URL"] = arrived.url
    assert run_still(visits).result.accepted == 3


@pytest.mark.parametrize(("status", "state"), [(400, "rejected"), (401, "unsent"), (403, "unsent"), (404, "unsent")])
def test_a_refusal_that_will_not_change_is_not_repeated(
    visits: Project, arrived: StandIn, status: int, state: str
) -> None:
    visits.table("visits", "select 1 as id, 'ann' as user_id")
    arrived.fault("status", status=status, count=None)
    clock = StillClock()
    ran = run_still(visits, clock)
    assert (ran.exit_code, clock.pauses) == (1, [])
    assert batches(visits) == [(state, 1, status)]
    assert len(arrived.requests(LOG_EVENT)) == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_key_or_an_address_that_statsig_refuses_ends_the_sync_with_its_other_batches_unsent(
    visits: Project, arrived: StandIn, status: int
) -> None:
    visits.table("visits", "select range as id, 'u' as user_id from range(20000)")
    arrived.fault("status", status=status, count=None)
    ran = run_still(visits)
    assert (ran.exit_code, ran.result.state, ran.result.unsent) == (1, "failed", 20000)
    assert len(arrived.requests(LOG_EVENT)) < 20
    assert f"HTTP {status}" in str(ran.result.message)
    assert project_rejects(visits) == []

    arrived.no_faults()
    assert run_still(visits).result.accepted == 20000
    assert len(arrived.events()) == 20000


# Waiting.


@pytest.mark.parametrize("status", [500, 502, 503])
def test_events_in_doubt_go_again_no_sooner_than_the_server_asks(built_project: Project, status: int) -> None:
    clock = StillClock()
    with sandbox.running(Settings(clock=clock.epoch)) as server:
        project, arrived = both_objects(built_project, server.url), StandIn(server.url)
        arrived.fault("status", status=status, retry_after=120, count=2)
        assert run_still(project, clock).exit_code == 0
    assert len(clock.pauses) == 2
    assert all(120 <= pause < 121 for pause in clock.pauses)


def test_a_server_that_asks_for_no_pause_is_not_hurried(visits: Project, arrived: StandIn) -> None:
    arrived.fault("status", status=429, retry_after=0, count=None)
    clock = StillClock()
    assert run_still(visits, clock).exit_code == 1
    assert len(clock.pauses) == Patience().attempts - 1
    assert all(pause >= 0.5 * 2**place for place, pause in enumerate(clock.pauses))


def test_waiting_for_the_own_rate_limit_costs_no_patience(people: Project, arrived: StandIn) -> None:
    clock = StillClock()
    line = "'b' || range, 'r', 'people', 'sandbox', 'people', 'add', 'accepted', range, 1, 1"
    people.execute(
        "insert into statsig_batch_log (batch_id, run_id, sync_name, project, destination, operation, state, sequence,"
        f" keys, attempts, logged_at) select {line}, timestamp '{ledger_time(clock)}' from range(900)"
    )
    arrived.fault("status", call=CHANGE_IDS, status=500, count=1)
    ran = run_still(people, clock, Patience(total_seconds=30))
    assert max(clock.pauses) > 30
    assert (ran.exit_code, ran.result.accepted, ran.result.requests) == (0, 2, 3)


def ledger_time(clock: StillClock) -> str:
    return naive_utc(clock.now()).isoformat(" ")


@pytest.mark.parametrize("call", [LOG_EVENT, ADD_IDS], ids=["events", "segment"])
@pytest.mark.parametrize("form", ["seconds", "http_date"])
def test_retry_after_is_honoured_in_both_its_forms(built_project: Project, call: str, form: str) -> None:
    clock = StillClock()
    with sandbox.running(Settings(clock=clock.epoch)) as server:
        project, arrived = both_objects(built_project, server.url), StandIn(server.url)
        fault = {"status": 429, "retry_after": 120, "retry_after_form": form}
        arrived.fault("status", call=call, count=2, **fault)
        assert run_still(project, clock).exit_code == 0
    # A date has whole seconds, so it may be up to one later.
    assert len(clock.pauses) == 2
    assert all(120 <= pause < 121.001 for pause in clock.pauses)


@pytest.mark.parametrize("call", [LOG_EVENT, ADD_IDS], ids=["events", "segment"])
def test_attempts_back_off_exponentially_with_jitter_and_end(built_project: Project, call: str) -> None:
    clock = StillClock()
    with sandbox.running(Settings(clock=clock.epoch)) as server:
        project, arrived = both_objects(built_project, server.url), StandIn(server.url)
        arrived.fault("status", call=call, status=503, body=NO_SUCCESS, count=None)
        ran = run_still(project, clock)
    failed = next(one for one in ran.results if one.state == "failed")
    assert (ran.exit_code, failed.unsent, failed.unknown, failed.accepted) == (1, 1, 0, 0)
    assert len(clock.pauses) == Patience().attempts - 1
    jitter = [pause - 0.5 * 2**place for place, pause in enumerate(clock.pauses)]
    assert all(0 <= one <= 0.5 for one in jitter)
    assert len(set(jitter)) > 1


@pytest.mark.parametrize(("seconds", "attempts"), [(7, 3), (21, 1), (86_400, 1)])
def test_a_pause_that_would_pass_the_ceiling_on_time_is_not_begun(
    visits: Project, arrived: StandIn, seconds: int, attempts: int
) -> None:
    arrived.fault("status", status=429, retry_after=seconds, count=None)
    clock = StillClock()
    ran = run_still(visits, clock, Patience(total_seconds=20))
    assert clock.pauses == [seconds] * (attempts - 1)
    assert batches(visits) == [("unsent", attempts, 429)]
    assert (ran.exit_code, ran.result.unsent) == (1, 3)
    assert "rate limit" in str(ran.result.message)
    arrived.no_faults()
    assert run_still(visits).result.accepted == 3


# Segments.


def test_a_change_of_a_segment_is_repeated_whether_it_was_taken_or_not(people: Project, arrived: StandIn) -> None:
    faults = {**NOT_TAKEN, **{name: fault for name, (fault, _) in IN_DOUBT.items()}, "busy": {"kind": "busy"}}
    for number, (name, fault) in enumerate(faults.items()):
        audience(people, "bob", f"u{number}")
        arrived.fault(**fault, call=CHANGE_IDS)
        ran = run_still(people)
        assert (ran.exit_code, ran.result.accepted, ran.result.requests) == (0, 2, 3), name
        assert arrived.ids("people") == {"bob", f"u{number}"}, name
        assert batches(people, "remove")[-1] == ("accepted", 2, 200), name
        assert batches(people, "add")[-1] == ("accepted", 1, 200), name
    assert run_still(people).result.planned == 0
    assert unsettled(people) == []


def test_a_change_that_may_have_been_taken_stays_in_doubt_whatever_its_repetition_is_told(
    people: Project, arrived: StandIn
) -> None:
    arrived.faults(rule("status", call=REMOVE_IDS, status=502), rule("status", call=REMOVE_IDS, count=None, status=429))
    assert run_still(people, patience=Patience(attempts=3)).exit_code == 1
    assert batches(people, "remove") == [("unknown", 3, 429)]
    assert unsettled(people) == ["ann"]


def test_more_ids_than_statsig_takes_in_a_request_are_never_sent(arrived: StandIn) -> None:
    client = ConsoleClient(arrived.url, CONSOLE_KEY, StillClock(), Patience())
    with closing(client), pytest.raises(ValueError, match="10001 ids"):
        client.change_ids("people", "add", [str(number) for number in range(10_001)])
    assert arrived.requests() == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_changes_in_doubt_are_settled_by_sending_them_again_also_where_the_id_has_left_the_audience_since(
    people: Project, arrived: StandIn, when: str
) -> None:
    arrived.fault("status", call=CHANGE_IDS, status=500, when=when, count=None)
    ran = run_still(people)
    assert (ran.exit_code, ran.result.state) == (1, "failed")
    assert batches(people, "remove")[-1][0] == "unknown"
    assert "ann" in unsettled(people)

    arrived.fault("reset", call=CHANGE_IDS, when=when, count=None)
    audience(people, "ann", "bob", "dan")
    run_still(people)
    audience(people, "bob", "eve")
    arrived.no_faults()
    assert run_still(people).exit_code == 0
    assert arrived.ids("people") == {"bob", "eve"}
    assert unsettled(people) == []


def test_a_doubt_that_a_refusal_follows_is_settled_by_the_next_run(people: Project, arrived: StandIn) -> None:
    refusal = {"kind": "status", "status": 400}
    arrived.faults(
        {"fault": {"kind": "status", "status": 504, "when": "after"}, "match": {"method": "PATCH", "count": 1}},
        {"fault": refusal, "match": {"method": "PATCH"}},
    )
    assert run_still(people).exit_code == 1
    assert arrived.ids("people") == {"bob", "cid"}
    assert unsettled(people) == ["cid"]
    arrived.no_faults()
    audience(people, "bob")
    assert run_still(people).exit_code == 0
    assert arrived.ids("people") == {"bob"}


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refused_change_of_a_segment_is_not_repeated(people: Project, arrived: StandIn, status: int) -> None:
    arrived.fault("status", call=CHANGE_IDS, status=status, count=None)
    before = len(arrived.changes("people"))
    clock = StillClock()
    ran = run_still(people, clock)
    assert (ran.exit_code, clock.pauses) == (1, [])
    assert len(arrived.changes("people")) - before <= 2
    assert arrived.ids("people") == {"ann", "bob"}
    arrived.no_faults()
    # Ids that Statsig has refused for themselves wait until they are asked for; others just go again.
    if status == 400:
        assert run_still(people).result.planned == 0
        assert len(project_rejects(people)) == 2
        assert run_still(people, retry_rejected=True).exit_code == 0
    else:
        assert run_still(people).exit_code == 0
    assert arrived.ids("people") == {"bob", "cid"}


def test_ids_that_statsig_does_not_take_out_end_every_run_with_1_and_are_drift_until_they_are_out(
    project: Project, arrived: StandIn
) -> None:
    mirror_of(project, "people", *[f"u{number}" for number in range(40)])
    run_here(project)
    mirror_of(project, "people", *[f"u{number}" for number in range(38)])
    arrived.fault("status", call=REMOVE_IDS, status=400, body='{"message": "no"}', count=None)
    run_here(project, expect=1)
    arrived.no_faults()
    advice = "statsig-sync run --retry-rejected --select people"
    for _ in range(2):
        (result,) = run_here(project, expect=1)["results"]
        assert (result["planned"], result["stuck"]) == (0, 2)
        assert advice in result["message"]
    (warning,) = json.loads(command_here(project, "plan", "--json").stdout)["warnings"]
    assert "2 id(s) are to leave segment 'people' and may still be in it" in warning
    assert advice in warning
    for flags in ([], ["--counts-only"]):
        found = command_here(project, "verify", "people", *flags)
        assert (found.returncode, "as it should be" in found.stdout) == (1, False), flags
    found = json.loads(command_here(project, "verify", "--json").stdout)["segments"][0]
    assert (found["missing"], found["extra"], found["samples"]) == (0, 2, ["u38", "u39"])
    run_here(project, "--retry-rejected")
    assert len(arrived.ids("people")) == 38
    run_here(project)
    assert command_here(project, "verify").returncode == 0


def test_ids_that_statsig_does_not_take_out_and_that_come_back_into_the_model_are_right_where_they_are(
    project: Project, arrived: StandIn
) -> None:
    mirror_of(project, "people", "ann", "bob", "cid")
    run_here(project)
    mirror_of(project, "people", "ann", "bob")
    arrived.fault("status", call=REMOVE_IDS, status=400, body='{"message": "no"}', count=None)
    run_here(project, expect=1)
    mirror_of(project, "people", "ann", "bob", "cid")
    run_here(project)
    assert command_here(project, "verify").returncode == 0


def test_an_id_that_statsig_takes_after_all_is_held_back_no_longer(people: Project, arrived: StandIn) -> None:
    arrived.fault("status", call=CHANGE_IDS, status=400, count=None)
    assert run_still(people).exit_code == 1
    arrived.no_faults()
    assert run_still(people, retry_rejected=True).exit_code == 0
    assert arrived.ids("people") == {"bob", "cid"}
    audience(people, "bob", "ann")
    assert run_still(people).exit_code == 0
    assert arrived.ids("people") == {"bob", "ann"}


def test_a_segment_that_cannot_be_looked_up_stops_the_run_before_anything_is_sent(
    people: Project, arrived: StandIn
) -> None:
    sent = arrived.sent_data()
    arrived.fault("status", call=LOOK_UP_SEGMENT, status=401, count=None)
    with pytest.raises(ConfigError, match="STATSIG_CONSOLE_API_KEY"):
        run_still(people)
    assert arrived.sent_data() == sent


# Content that Statsig refuses.


def project_rejects(project: Project) -> list[tuple[Any, ...]]:
    return project.rows(
        "select key, reason, http_status, detail from statsig_reject_log where reason = 'refused_by_statsig'"
    )


def test_a_413_splits_the_batch_until_it_fits(visits: Project) -> None:
    body = "case when range = 17 then repeat('x', 5000) else repeat('x', 100) end"
    visits.table("visits", f"select range as id, 'u' || range as user_id, {body} as body from range(100)")
    with sandbox.running(Settings(max_events_body=4000)) as server:
        visits.environment["STATSIG_EVENTS_URL"] = server.url
        ran = run_still(visits)
        assert (ran.exit_code, ran.result.accepted, ran.result.rejected, ran.result.unknown) == (1, 99, 1, 0)
        assert StandIn(server.url).users() == sorted(f"u{number}" for number in range(100) if number != 17)
    ((key, _, status, detail),) = project_rejects(visits)
    assert (key, status) == ("17", 413)
    assert "larger than 4000 bytes" in detail


POISON = "poison"


class _Picky(http.server.BaseHTTPRequestHandler):
    """Statsig's events API, which refuses a whole request for one event that it cannot read.

    Before it answers it looks up what the ledgers say of the events.
    """

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, _PickyServer)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        events = json.loads(gzip.decompress(body))["events"]
        server.look_up([event["metadata"]["id"] for event in events])
        bad = [place for place, event in enumerate(events) if event["metadata"].get("note") == POISON]
        if bad:
            self._answer(400, {"status": 400, "message": f"events[{bad[0]}] cannot be read"})
        else:
            server.taken += [event["metadata"]["id"] for event in events]
            self._answer(202, {"success": True})

    def _answer(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        server = self.server
        assert isinstance(server, _PickyServer)
        server.answered += 1
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


class _PickyServer(http.server.ThreadingHTTPServer):
    def __init__(self, warehouse: str) -> None:
        super().__init__(("127.0.0.1", 0), _Picky)
        self.warehouse = warehouse
        self.taken: list[str] = []
        self.answered = 0
        self.unclaimed: list[str] = []

    def look_up(self, keys: list[str]) -> None:
        """Notes those of the keys that the ledgers do not know as claimed: the warehouse is free meanwhile."""
        with duckdb.connect(self.warehouse, read_only=True) as connection:
            query = "select key from statsig_deliveries where operation = 'log'"
            claimed = {row[0] for row in connection.execute(query).fetchall()}
        self.unclaimed += [key for key in keys if key not in claimed]


@contextmanager
def picky(project: Project) -> Iterator[_PickyServer]:
    server = _PickyServer(str(project.folder / "warehouse.duckdb"))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    project.environment["STATSIG_EVENTS_URL"] = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_400_is_bisected_until_the_bad_rows_are_found_and_all_others_are_delivered(visits: Project) -> None:
    def table(poisoned: str, rest: str = "fine") -> None:
        note = f"case when range in ({poisoned}) then '{POISON}' else '{rest}' end"
        visits.table("visits", f"select range as id, 'u' || range as user_id, {note} as note from range(200)")

    with picky(visits) as server:
        table("7, 8, 150")
        ran = run_still(visits)
        assert (ran.exit_code, ran.result.accepted, ran.result.rejected) == (1, 197, 3)
        assert (len(server.taken), len(set(server.taken))) == (197, 197)
        assert server.answered < 50
        assert sorted(project_rejects(visits)) == [
            (key, "refused_by_statsig", 400, "events[0] cannot be read") for key in ("150", "7", "8")
        ]
        assert server.unclaimed == []
        assert {state for state, _, _ in batches(visits)} == {"accepted", "rejected"}
        assert last_run(visits)[1:5] == (197, 3, 0, 0)

        # What Statsig has refused is tried again when it changes, or when it is asked for.
        answered = server.answered
        ran = run_still(visits)
        assert (ran.exit_code, ran.result.planned, server.answered) == (0, 0, answered)
        (note,) = run_here(visits)["plan"]["notes"]
        assert note.startswith("visits: 3 event(s) are held back")
        table("7, 8")
        assert run_still(visits).result.accepted == 1
        ran = run_still(visits, retry_rejected=True)
        assert (ran.exit_code, ran.result.planned, ran.result.rejected) == (1, 2, 2)
        assert len(set(server.taken)) == len(server.taken) == 198


def test_a_fault_that_is_not_in_the_rows_ends_the_sync_and_holds_no_row_back(visits: Project, arrived: StandIn) -> None:
    visits.table("visits", "select range as id, 'u' || range as user_id from range(400)")
    arrived.fault("status", status=400, count=None)
    ran = run_still(visits)
    assert (ran.exit_code, ran.result.state) == (1, "failed")
    assert (ran.result.accepted, ran.result.rejected, ran.result.unsent) == (0, 0, 400)
    assert "may not be in the rows" in str(ran.result.message)
    assert len(arrived.requests(LOG_EVENT)) < 200
    assert project_rejects(visits) == []

    arrived.no_faults()
    assert run_still(visits).result.accepted == 400
    assert len(arrived.events()) == 400


def test_a_fault_that_begins_in_the_middle_of_a_run_holds_no_row_back(visits: Project, arrived: StandIn) -> None:
    visits.table("visits", "select range as id, 'u' || range as user_id from range(6000)")
    arrived.faults(
        {"fault": {"kind": "status", "status": 400}, "match": {"path": "/v1/log_event", "nth": list(range(9, 999))}}
    )
    ran = run_still(visits)
    assert (ran.exit_code, ran.result.state, ran.result.accepted, ran.result.unsent) == (1, "failed", 4000, 2000)
    assert len(arrived.requests(LOG_EVENT)) < 200
    assert project_rejects(visits) == []
    arrived.no_faults()
    assert run_still(visits).result.accepted == 2000
    assert len(arrived.events()) == 6000


def test_many_bad_rows_side_by_side_are_found_and_all_others_are_delivered(visits: Project) -> None:
    note = f"case when range between 600 and 799 then '{POISON}' else 'fine' end"
    visits.table("visits", f"select range as id, 'u' || range as user_id, {note} as note from range(5000)")
    with picky(visits) as server:
        ran = run_still(visits)
        assert (ran.exit_code, ran.result.accepted, ran.result.rejected, ran.result.unsent) == (1, 4800, 200, 0)
        assert len(set(server.taken)) == len(server.taken) == 4800
    assert len(project_rejects(visits)) == 200


# The real command, which waits for real.


def test_the_command_waits_and_goes_on_and_says_what_could_not_be_delivered(visits: Project, arrived: StandIn) -> None:
    arrived.put_segment("people")
    audience(visits, "ann")
    visits.sync("people", "people", {"object": "segment", "segment_id": "people", "mode": "mirror"})
    arrived.fault("status", call=ADD_IDS, status=429, retry_after=1)
    assert visits.command("run", "--select", "people").returncode == 0
    assert [one["status"] for one in arrived.requests(ADD_IDS)] == [429, 200]

    arrived.fault("status", status=404, count=None)
    finished = visits.command("run")
    assert finished.returncode == 1
    (line,) = [line for line in finished.stdout.splitlines() if line.startswith("visits:")]
    for part in ("failed", "0 of 3 delivered", "3 not sent", "HTTP 404"):
        assert part in line
    assert "Traceback" not in finished.stdout + finished.stderr


@pytest.fixture
def built_project(project: Project) -> Project:
    """One event and one id to send."""
    project.table("visits", "select 1 as id, 'ann' as user_id")
    project.sync("visits", "visits", {"object": "events", "unique_key": "id", "event_name": "visit"})
    meta = {"object": "segment", "segment_id": "people", "mode": "add", "create_if_missing": True}
    project.sync("people", "visits", meta)
    return project


def both_objects(project: Project, url: str) -> Project:
    project.environment |= {"STATSIG_EVENTS_URL": url, "STATSIG_CONSOLE_URL": url}
    return project
