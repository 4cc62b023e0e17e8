"""The Console API's limits are kept on this side: per Statsig project, across all keys, all syncs, and across runs."""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync import sandbox
from sync.core.compression import compressed
from sync.core.delivery import Patience, State, never
from sync.edges.statsig import ConsoleClient, EventsClient, RateLimit
from sync.run.gather import recent_requests
from sync.run.verify import VerifyRequest, verify
from sync.sandbox import Settings
from sync.sandbox.server import RunningSandbox
from sync.spec.limits import Limits
from tests.integration.harness import CONSOLE_KEY, SERVER_SECRET, Project
from tests.integration.in_process import StillClock, manner_of, run_still, world_of
from tests.integration.stand_in import ADD_IDS, CHANGE_IDS, LOOK_UP_SEGMENT, StandIn, rule

# Statsig's Console API: (requests, seconds).
ID_LIST_CALLS = ((12, 10), (900, 900))
ALL_CHANGES = ((100, 10), (900, 900))


def assert_within(sent: Sequence[float], limits: Sequence[tuple[int, int]]) -> None:
    """No window of the limit's length holds more requests than the limit has."""
    for count, seconds in limits:
        for place, moment in enumerate(sent):
            assert place - bisect_left(sent, moment - seconds) < count


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def server(clock: StillClock) -> Iterator[RunningSandbox]:
    """A sandbox whose limits go by the same clock."""
    with sandbox.running(Settings(clock=clock.epoch)) as running:
        yield running


def test_the_figures_are_statsigs() -> None:
    assert set(Limits().id_list_changes) == set(Limits().id_list_reads) == set(ID_LIST_CALLS)
    assert set(Limits().changes) == set(ALL_CHANGES)


@pytest.mark.parametrize("limits", [ID_LIST_CALLS, ALL_CHANGES], ids=["id list", "all changes"])
@pytest.mark.parametrize("seconds_each", [0.0, 0.7], ids=["fast", "slow"])
def test_no_window_holds_more_requests_than_the_limit(
    clock: StillClock, limits: tuple[tuple[int, int], ...], seconds_each: float
) -> None:
    limit = RateLimit(limits, clock, never)
    sent = []
    for _ in range(2_000):
        limit.wait()
        sent.append(clock.monotonic())
        clock.elapsed += seconds_each
    assert_within(sent, limits)
    # It does not wait longer than it must either: two full quarters of an hour and the rest of the third.
    assert sent[-1] < 2_200


@given(
    short=st.integers(1, 30),
    long=st.integers(1, 3_000),
    seconds_each=st.sampled_from([0.0, 0.4]),
    earlier=st.integers(0, 40),
)
@settings(max_examples=30, deadline=None)
def test_whatever_limits_are_set_are_kept(short: int, long: int, seconds_each: float, earlier: int) -> None:
    clock = StillClock(elapsed=5_000)
    limits = ((short, 10), (long, 900))
    limit = RateLimit(limits, clock, never)
    limit.count_earlier([500.0 - number for number in range(earlier)])
    sent = []
    for _ in range(200):
        limit.wait()
        sent.append(clock.monotonic())
        clock.elapsed += seconds_each
    assert_within(sent, limits)


def test_changes_of_id_lists_never_meet_a_429(clock: StillClock, server: RunningSandbox) -> None:
    arrived = StandIn(server.url)
    segments = ("one", "two", "three")
    for segment in segments:
        arrived.put_segment(segment)
    with closing(ConsoleClient(server.url, CONSOLE_KEY, clock, Patience())) as client:
        sent = []
        for number in range(930):
            # Adds and removes of all lists count against one limit.
            operation = "add" if number % 3 else "remove"
            outcome = client.change_ids(segments[number % len(segments)], operation, [f"u{number}"])
            assert (outcome.http_status, outcome.attempts) == (200, 1)
            sent.append(clock.monotonic())
    assert_within(sent, ID_LIST_CALLS)
    assert 900 < sent[-1] < 960


def test_other_changes_count_against_the_wider_limit(clock: StillClock, server: RunningSandbox) -> None:
    with closing(ConsoleClient(server.url, CONSOLE_KEY, clock, Patience())) as client:
        sent = []
        for number in range(250):
            outcome = client.create_id_list(f"segment_{number}", "userID")
            assert (outcome.http_status, outcome.attempts) == (201, 1)
            sent.append(clock.monotonic())
    assert_within(sent, ALL_CHANGES)
    assert 20 < sent[-1] < 25


def test_reads_of_id_lists_never_meet_a_429_and_have_windows_of_their_own(
    clock: StillClock, server: RunningSandbox
) -> None:
    StandIn(server.url).put_segment("people", "ann")
    with closing(ConsoleClient(server.url, CONSOLE_KEY, clock, Patience())) as client:
        sent = []
        for number in range(50):
            page, outcome = client.id_page("people", 1, 10)
            assert page is not None
            assert (outcome.http_status, outcome.attempts) == (200, 1)
            sent.append(clock.monotonic())
            if number < 12:
                assert client.change_ids("people", "add", [f"u{number}"]).attempts == 1
    assert_within(sent, ID_LIST_CALLS)
    assert 40 < sent[-1] < 45


LIMITED = '{"status": 429, "message": "Rate limit exceeded"}'


def test_a_429_that_does_not_say_for_how_long_is_waited_out_for_both_windows(
    clock: StillClock, server: RunningSandbox
) -> None:
    arrived = StandIn(server.url)
    arrived.put_segment("people")
    # Waiting for a limit costs no patience.
    with closing(ConsoleClient(server.url, CONSOLE_KEY, clock, Patience(total_seconds=5))) as client:
        arrived.fault("status", call=ADD_IDS, status=429, body=LIMITED, count=2)
        outcome = client.change_ids("people", "add", ["ann"])
        assert (outcome.state, outcome.attempts) == (State.ACCEPTED, 3)
        short, long = clock.pauses
        assert 10 <= short < 11
        assert 900 <= long < 901

        # A limit that holds for longer is another's doing: few attempts in all.
        clock.pauses.clear()
        arrived.fault("status", call=LOOK_UP_SEGMENT, status=429, body=LIMITED, count=None)
        _, outcome = client.segment("people")
        assert (outcome.state, outcome.http_status, outcome.attempts) == (State.UNSENT, 429, 3)
        assert len(clock.pauses) == 2


def test_fewer_attempts_than_that_are_kept(clock: StillClock, server: RunningSandbox) -> None:
    arrived = StandIn(server.url)
    with closing(ConsoleClient(server.url, CONSOLE_KEY, clock, Patience(attempts=2))) as client:
        arrived.fault("status", call=LOOK_UP_SEGMENT, status=429, count=None)
        assert client.segment("people")[1].attempts == 2
    assert len(clock.pauses) == 1


@dataclass
class _StoppingClock(StillClock):
    """Stops the run the first time that someone waits; waiting ends then, as with the machine's own clock."""

    is_stopped: bool = False

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.is_stopped = True


def test_a_signal_ends_the_waiting_for_a_limit_and_nothing_is_sent_any_more(server: RunningSandbox) -> None:
    arrived, clock = StandIn(server.url), _StoppingClock()
    arrived.put_segment("people")
    arrived.fault("status", call=ADD_IDS, status=429, body=LIMITED, count=None)
    patience = Patience(should_stop=lambda: clock.is_stopped)
    with closing(ConsoleClient(server.url, CONSOLE_KEY, clock, patience)) as client:
        outcome = client.change_ids("people", "add", ["ann"])
    assert (outcome.state, outcome.attempts, len(clock.pauses)) == (State.UNSENT, 1, 1)
    assert len(arrived.requests(ADD_IDS)) == 1


def test_a_429_of_events_is_repeated_with_growing_pauses(clock: StillClock, server: RunningSandbox) -> None:
    arrived = StandIn(server.url)
    with closing(EventsClient(server.url, SERVER_SECRET, clock, Patience(attempts=4))) as client:
        arrived.fault("status", status=429, body=LIMITED, count=None)
        assert client.log_event(compressed(b'{"events":[]}'), 1).attempts == 4
    assert [0.5 * 2**place <= pause <= 0.5 * 2**place + 0.5 for place, pause in enumerate(clock.pauses)] == [True] * 3


def test_a_run_that_waits_out_a_limit_keeps_its_lease(project: Project, server: RunningSandbox) -> None:
    arrived, project.environment["STATSIG_CONSOLE_URL"] = StandIn(server.url), server.url
    arrived.put_segment("people")
    project.table("people", "select 'u' || range as user_id from range(30000)")
    project.sync("people", "people", {"object": "segment", "segment_id": "people", "mode": "add"})
    arrived.faults(
        rule("status", call="GET /console/*/id_list", count=2, status=429, body=LIMITED),
        rule("status", call=ADD_IDS, count=2, status=429, body=LIMITED),
    )
    clock = _LeaseClock(project=project)
    assert run_still(project, clock).result.accepted == 30_000
    assert sum(pause >= 900 for pause in clock.pauses) == 2
    assert clock.lapsed == 0


@dataclass
class _LeaseClock(StillClock):
    """Looks at the lease whenever someone waits."""

    project: Project | None = None
    lapsed: int = 0

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        assert self.project is not None
        ((expires,),) = self.project.rows("select max(lease_expires_at) from statsig_run_log")
        self.lapsed += expires.replace(tzinfo=dt.timezone.utc) <= self.now()


def test_repeated_attempts_count_too(clock: StillClock, server: RunningSandbox) -> None:
    arrived = StandIn(server.url)
    arrived.put_segment("people")
    with closing(ConsoleClient(server.url, CONSOLE_KEY, clock, Patience())) as client:
        for number in range(10):
            client.change_ids("people", "add", [f"u{number}"])
        assert clock.elapsed == 0
        arrived.fault("status", call=ADD_IDS, status=429, retry_after=0, count=2)
        assert client.change_ids("people", "add", ["ann"]).attempts == 3
    # The eleventh request and its first repetition fill the window of 10 seconds.
    assert 10 < clock.elapsed < 11


def syncs(project: Project, count: int, key: str | None = None) -> list[str]:
    """So many syncs of one id each, in a segment of its own."""
    names = [f"{key or 'own'}_{number:02}" for number in range(count)]
    for name in names:
        meta = {"object": "segment", "segment_id": name, "mode": "add", "api_key_env": key}
        project.sync(name, "people", {name: value for name, value in meta.items() if value})
    return names


def test_the_limits_hold_across_the_syncs_of_a_run_and_across_runs_and_per_key(
    project: Project, clock: StillClock, server: RunningSandbox
) -> None:
    arrived = StandIn(server.url)
    project.environment |= {"STATSIG_CONSOLE_URL": server.url, "OTHER_KEY": "console-other"}
    project.table("people", "select 'ann' as user_id")
    for name in syncs(project, 13):
        arrived.put_segment(name)

    assert run_still(project, clock).exit_code == 0
    # Thirteen lists are read, and then changed: a window for each.
    assert 20 < clock.elapsed < 22
    assert {one["status"] for one in arrived.requests(CHANGE_IDS) if one["method"] != "GET"} == {200}
    assert len(arrived.requests(ADD_IDS)) == 13

    # The thirteenth is younger than ten seconds, so eleven more may go at once.
    project.table("people", "select 'bob' as user_id")
    before = clock.elapsed
    assert run_still(project, clock, select=["own_0?", "own_10"]).exit_code == 0
    assert clock.elapsed == before

    # Another key has limits of its own.
    (name,) = syncs(project, 1, "OTHER_KEY")
    with sandbox.running(Settings(clock=clock.epoch, keys=sandbox.Keys(console="console-other"))) as other:
        StandIn(other.url).put_segment(name)
        project.environment["STATSIG_CONSOLE_URL"] = other.url
        assert run_still(project, clock, select=[name]).exit_code == 0
    assert clock.elapsed == before

    project.environment["STATSIG_CONSOLE_URL"] = server.url
    assert run_still(project, clock, select=["own_11"]).exit_code == 0
    assert before + 8 < clock.elapsed < before + 12
    assert {one["status"] for one in arrived.requests(ADD_IDS)} == {200}
    assert len(arrived.requests(ADD_IDS)) == 13 + 11 + 1


def test_the_keys_of_one_statsig_project_share_its_limits(project: Project, clock: StillClock) -> None:
    keys = sandbox.Keys(more=("console-second@sandbox", "console-other@other"))
    with sandbox.running(Settings(clock=clock.epoch, keys=keys)) as server:
        arrived = StandIn(server.url)
        project.environment |= {"STATSIG_CONSOLE_URL": server.url, "SECOND_KEY": "console-second"}
        project.environment |= {"OTHER_KEY": "console-other"}
        project.table("people", "select 'ann' as user_id")
        for number in range(14):
            name = f"sync_{number:02}"
            arrived.put_segment(name)
            meta: dict[str, Any] = {"object": "segment", "segment_id": name, "mode": "add", "statsig_project": "shop"}
            project.sync(name, "people", {**meta, "api_key_env": "SECOND_KEY"} if number % 2 else meta)
        arrived.put_segment("other")
        meta = {"object": "segment", "segment_id": "other", "mode": "add", "api_key_env": "OTHER_KEY"}
        project.sync("other", "people", meta)
        assert run_still(project, clock).exit_code == 0
        assert {one["status"] for one in arrived.requests(CHANGE_IDS)} == {200}
    assert project.rows("select project, count(distinct sync_name) from statsig_batch_log group by all order by 1") == [
        ("sandbox:OTHER_KEY", 1),
        ("sandbox:shop", 14),
    ]

    # And a later run with another of its keys knows of them.
    with sandbox.running(Settings(clock=clock.epoch, keys=keys)) as server:
        project.environment["STATSIG_CONSOLE_URL"] = server.url
        arrived = StandIn(server.url)
        arrived.put_segment("sync_01", "ann")
        project.table("people", "select 'bob' as user_id")
        world = world_of(project, clock)
        with world.warehouse.reading() as session:
            assert len(recent_requests(world, "sandbox:shop", 900, session)) == 14


def test_the_limits_of_a_project_can_be_set(project: Project, clock: StillClock) -> None:
    limits = {
        "changes_per_10_seconds": 3,
        "id_list_changes_per_10_seconds": 50,
        "id_list_reads_per_10_seconds": 40,
    }
    with sandbox.running(Settings(clock=clock.epoch)) as server:
        arrived = StandIn(server.url)
        arrived.limits(general=((3, 10), (900, 900)), id_list=((50, 10),), id_list_read=((40, 10),))
        project.environment["STATSIG_CONSOLE_URL"] = server.url
        project.table("people", "select 'ann' as user_id")
        for number, name in enumerate(syncs(project, 20)):
            arrived.put_segment(name)
            if number == 19:
                meta = {"object": "segment", "segment_id": name, "mode": "add", "limits": limits}
                project.sync(name, "people", meta)
        # They count for all syncs of the project, also where the one that writes them does not run.
        assert run_still(project, clock, select=["own_0?"]).exit_code == 0
        assert {one["status"] for one in arrived.requests(CHANGE_IDS)} == {200}
    assert 30 < clock.elapsed < 32


def test_two_syncs_of_a_project_with_other_limits_are_a_fault(project: Project) -> None:
    project.table("people", "select 'ann' as user_id")
    for number in (1, 2):
        meta = {"object": "segment", "segment_id": f"list_{number}", "mode": "add"}
        project.sync(f"sync_{number}", "people", {**meta, "limits": {"changes_per_10_seconds": number}})
    refused = project.command("plan")
    assert refused.returncode == 2
    assert "exposure sync_2: config.meta.statsig.limits: differs from the limits of sync_1" in refused.stderr


def test_what_earlier_runs_of_the_last_15_minutes_have_sent_is_read_from_the_ledger(
    project: Project, clock: StillClock
) -> None:
    def batch(number: int, operation: str, minutes_ago: float, attempts: int, project_name: str) -> None:
        moment = (clock.now() - dt.timedelta(minutes=minutes_ago)).strftime("%Y-%m-%d %H:%M:%S.%f")
        project.execute(
            f"""insert into statsig_batch_log (batch_id, run_id, sync_name, project, destination, operation, state,
                logged_at, sequence, keys, attempts)
            values ('{number}', 'r', 's', '{project_name}', 'people', '{operation}', 'accepted', timestamp '{moment}',
                {number}, 1, {attempts})"""
        )

    batch(1, "add", 16, 1, "sandbox")
    batch(2, "add", 14, 2, "sandbox")
    batch(3, "remove", 1, 1, "sandbox")
    batch(4, "log", 1, 1, "sandbox")
    batch(5, "adopt", 1, 0, "sandbox")
    batch(6, "add", 1, 1, "statsig")
    # Of a run that died: the request may have gone out.
    project.execute(
        "insert into statsig_batch_log by name select batch_id || 'c' as batch_id, run_id, sync_name, project,"
        " destination, operation, 'claimed' as state, logged_at, sequence, keys from statsig_batch_log"
        " where batch_id = '3'"
    )
    world = world_of(project, clock)
    with world.warehouse.reading() as session:
        found = recent_requests(world, "sandbox", 900, session)
    assert [round(seconds) for seconds in found] == [840, 840, 60, 60]


def test_a_repair_counts_what_earlier_runs_have_sent(
    project: Project, clock: StillClock, server: RunningSandbox
) -> None:
    arrived = StandIn(server.url)
    project.environment["STATSIG_CONSOLE_URL"] = server.url
    project.table("people", "select 'ann' as user_id")
    for name in syncs(project, 12):
        arrived.put_segment(name)
    assert run_still(project, clock).exit_code == 0
    assert clock.elapsed < 10
    arrived.put_segment("own_00", "ann", "eve")
    project.sync("own_00", "people", {"object": "segment", "segment_id": "own_00", "mode": "mirror"})
    found = verify(world_of(project, clock), VerifyRequest(select=("own_00",), repair=True), manner_of())
    assert [one.is_right for one in found.segments] == [True]
    assert clock.elapsed > 10
    assert {one["status"] for one in arrived.requests(CHANGE_IDS) if one["method"] != "GET"} == {200}


@pytest.mark.parametrize("attempts", [1, 9])
def test_a_run_after_900_requests_waits_for_the_quarter_of_an_hour(clock: StillClock, attempts: int) -> None:
    limit = RateLimit(ID_LIST_CALLS, clock, never)
    requests = 900 // attempts
    # The ledger has all attempts of a request at the time of its end.
    earlier = [850.0 - 0.88 * attempts * number for number in range(requests) for _ in range(attempts)]
    limit.count_earlier(earlier)
    limit.wait()
    assert 50 <= clock.elapsed < 60


def test_a_plan_says_how_long_the_limits_make_it_take(project: Project) -> None:
    project.table("people", "select 'u' || range as user_id from range(130001)")
    meta = {"object": "segment", "segment_id": "people", "mode": "add"}
    project.sync("people", "people", meta)
    plan = project.plan(STATSIG_CONSOLE_API_KEY=None)
    assert (plan["syncs"][0]["requests"], plan["seconds_by_rate_limit"]) == (14, 10)
    finished = project.command("plan", STATSIG_CONSOLE_API_KEY=None)
    assert "10 s" in finished.stdout
    # Under the limits that are set, also by another sync of the project.
    meta = {"object": "segment", "segment_id": "others", "mode": "add", "limits": {"changes_per_10_seconds": 5}}
    project.sync("others", "people", meta)
    assert project.plan("--select", "people", STATSIG_CONSOLE_API_KEY=None)["seconds_by_rate_limit"] == 20
