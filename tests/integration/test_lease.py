"""Two runs of the same sync never push at the same time."""

from __future__ import annotations

import datetime as dt
import io
import json
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from sync.cli import observers
from sync.core.plan import SyncPlan
from sync.errors import DeliveryError, RefusedError, StoppedError
from sync.run.commands import run
from sync.run.prepare import Request
from tests.integration.harness import EXPIRE_LEASES, PACKAGE, Project
from tests.integration.in_process import StillClock, command_here, manner_of, run_still, world_of
from tests.integration.stand_in import CHANGE_IDS, StandIn


def started(project: Project, *arguments: str) -> subprocess.Popen[str]:
    """The real command, under way."""
    return subprocess.Popen(
        [sys.executable, "-m", "sync", "run", "--json", *arguments],
        cwd=project.folder,
        env=project.process_environment({}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> Any:
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, output + errors
    return json.loads(output)


def until_updating(arrived: StandIn, *segments: str) -> None:
    """Returns when updates of these segments are under way."""
    while not all(arrived.segments()[segment]["isUpdating"] for segment in segments):
        pass


@pytest.fixture
def people(project: Project, arrived: StandIn) -> Project:
    """Syncs of an id each into segments that take as long as the test wants."""
    project.table("people", "select 'ann' as user_id")
    for name in ("held", "free"):
        arrived.put_segment(name)
        project.sync(name, "people", {"object": "segment", "segment_id": name, "mode": "mirror"})
    return project


def test_while_one_run_sends_another_of_the_same_sync_is_refused_with_who_and_since_when_or_waits(
    people: Project, arrived: StandIn
) -> None:
    arrived.processing_seconds(3600)
    before = dt.datetime.now(dt.timezone.utc)
    first = started(people, "--select", "held")
    until_updating(arrived, "held")
    waiting = started(people, "--select", "held", "--wait", "600")

    refused = people.command("run", "--select", "held")
    assert (refused.returncode, refused.stdout) == (3, "")
    for part in ("held: ", f"process {first.pid}", "since ", "UTC", "--wait", "lease ends at"):
        assert part in refused.stderr
    since = dt.datetime.strptime(refused.stderr.split("since ")[1][:19], "%Y-%m-%d %H:%M:%S")
    now = dt.datetime.now(dt.timezone.utc)
    assert before - dt.timedelta(seconds=1) <= since.replace(tzinfo=dt.timezone.utc) <= now
    # All or none: the free sync does not run where the other is held.
    assert people.command("run").returncode == 3
    assert arrived.requests("PATCH */free/id_list") == []
    assert (first.poll(), waiting.poll()) == (None, None)

    arrived.processing_seconds(0)
    assert ended(first)["results"][0]["accepted"] == 1
    assert ended(waiting)["results"][0]["planned"] == 0
    assert [one["status"] for one in arrived.requests(CHANGE_IDS) if one["method"] != "GET"] == [200]
    people.run()
    assert arrived.ids("free") == {"ann"}


def test_a_run_that_was_killed_on_another_machine_keeps_others_out_until_its_lease_ends(
    people: Project, arrived: StandIn
) -> None:
    arrived.processing_seconds(3600)
    runs = [started(people, "--select", "held"), started(people, "--select", "free")]
    until_updating(arrived, "held", "free")
    for one in runs:
        one.send_signal(signal.SIGKILL)
        one.communicate(timeout=60)
    arrived.processing_seconds(0)
    # What tells it from one of another machine.
    shutil.rmtree(people.folder / ".statsig-sync")

    refused = people.command("run", "--select", "held")
    assert refused.returncode == 3
    assert f"process {runs[0].pid}" in refused.stderr
    people.execute(f"{EXPIRE_LEASES} where sync_name = 'free'")
    assert people.run("--select", "free")["results"][0]["state"] == "finished"
    assert arrived.ids("free") == {"ann"}
    assert people.rows("select count(*) from statsig_unsettled where sync_name = 'free'") == [(0,)]
    states = people.rows("select state from statsig_sync_runs where sync_name = 'free' order by started_at")
    assert states == [("aborted",), ("finished",)]


def test_a_run_that_was_killed_on_this_machine_is_over_at_once_also_for_one_that_waits_for_it(
    people: Project, arrived: StandIn
) -> None:
    arrived.processing_seconds(3600)
    first = started(people, "--select", "held")
    until_updating(arrived, "held")
    waiting = started(people, "--select", "held", "--wait", "600")
    assert f"process {first.pid}" in people.command("run", "--select", "held").stderr
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=60)
    arrived.processing_seconds(0)
    assert ended(waiting)["results"][0]["state"] == "finished"
    assert arrived.ids("held") == {"ann"}
    assert people.rows("select state from statsig_sync_runs where holder like '%process " + str(first.pid) + "'") == [
        ("aborted",)
    ]


def test_runs_that_start_at_once_send_each_event_once(project: Project, arrived: StandIn) -> None:
    project.table("visits", "select range as id, 'u' || range as user_id from range(2000)")
    project.sync("visits", "visits", {"object": "events", "unique_key": "id", "event_name": "visit"})
    results = [ended(one)["results"][0] for one in [started(project, "--wait", "600") for _ in range(3)]]
    assert sorted(one["accepted"] for one in results) == [0, 0, 2000]
    assert len(arrived.events()) == 2000


@dataclass
class _WatchingClock(StillClock):
    """Looks at the lease whenever someone waits."""

    project: Project | None = None
    lapsed: int = 0

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        assert self.project is not None
        ((expires,),) = self.project.rows("select max(lease_expires_at) from statsig_run_log")
        self.lapsed += expires.replace(tzinfo=dt.timezone.utc) <= self.now()


def test_a_run_that_takes_longer_than_its_lease_renews_it(project: Project, arrived: StandIn) -> None:
    arrived.put_segment("people")
    arrived.no_limits()
    arrived.fault("status", call="PATCH */id_list", status=429, retry_after=80, count=3)
    project.table("people", "select 'u' || range as user_id from range(50000)")
    project.sync("people", "people", {"object": "segment", "segment_id": "people", "mode": "add"})
    clock = _WatchingClock(project=project)
    (result,) = run(world_of(project, clock), Request(), manner_of(lease_seconds=250)).results
    assert (result.accepted, clock.pauses, clock.lapsed) == (50_000, [80.0] * 3, 0)
    ((renewals,),) = project.rows("select count(distinct lease_expires_at) from statsig_run_log")
    assert renewals > 1
    assert uuid.UUID(project.rows("select max(run_id) from statsig_run_log")[0][0])


@dataclass
class _OtherRunClock(StillClock):
    """Lets something else happen the first time that someone waits."""

    meanwhile: Callable[[], object] | None = None

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if self.meanwhile is not None:
            happen, self.meanwhile = self.meanwhile, None
            happen()


@pytest.fixture
def visits(project: Project) -> Project:
    """More events than are in flight at once."""
    project.table("visits", "select range as id, 'u' || range as user_id from range(12000)")
    project.sync("visits", "visits", {"object": "events", "unique_key": "id", "event_name": "visit"})
    return project


def test_a_run_that_stood_still_while_another_went_on_sends_nothing_more(visits: Project, arrived: StandIn) -> None:
    clock = StillClock()

    class _StandsStill(observers.QuietObserver):
        def accepted(self, plan: SyncPlan, keys: int) -> None:
            if not clock.elapsed:
                clock.elapsed = 3_000
                assert run_still(visits, clock).exit_code == 0

    with pytest.raises(DeliveryError, match="went on meanwhile"):
        run(world_of(visits, clock), Request(), manner_of(_StandsStill(io.StringIO())))
    # What had just gone out was in doubt for the other run; all else arrived once.
    assert 12_000 < len(arrived.events()) <= 12_000 + 4_000
    assert run_still(visits, clock).result.planned == 0
    (row,) = visits.rows("select message from statsig_sync_runs where state = 'failed'")
    assert "went on meanwhile" in row[0]


def test_a_segment_sync_that_lost_its_lease_writes_down_what_it_sent_and_sends_no_more(
    project: Project, arrived: StandIn
) -> None:
    arrived.put_segment("people")
    project.table("people", "select 'u' || range as user_id from range(25000)")
    project.sync("people", "people", {"object": "segment", "segment_id": "people", "mode": "mirror"})
    clock = StillClock()

    class _StandsStill(observers.QuietObserver):
        def accepted(self, plan: SyncPlan, keys: int) -> None:
            clock.elapsed = 3_000
            hold(project, clock, seconds=3600, sync_name="people")

    with pytest.raises(DeliveryError, match="for longer than its lease, and another run of this sync went on"):
        run(world_of(project, clock), Request(), manner_of(_StandsStill(io.StringIO())))
    assert project.rows("select state, keys from statsig_batches") == [("accepted", 10_000)]
    assert len(arrived.ids("people")) == 10_000


def test_a_run_that_reads_for_longer_than_its_lease_notices_that_another_went_on(
    visits: Project, arrived: StandIn
) -> None:
    arrived.put_segment("people", "ann")
    visits.table("people", "select 'ann' as user_id")
    visits.sync("people", "people", {"object": "segment", "segment_id": "people", "mode": "mirror"})
    arrived.fault("status", call="GET */id_list", status=429, retry_after=200)
    clock = _OtherRunClock(meanwhile=lambda: run_still(visits, clock, select=("visits",)))
    with pytest.raises(DeliveryError, match="went on meanwhile"):
        run(world_of(visits, clock), Request(), manner_of(lease_seconds=100))
    assert len(arrived.events()) == 12_000


def test_a_run_that_stood_still_alone_goes_on(people: Project, arrived: StandIn) -> None:
    arrived.fault("status", call="GET */id_list", status=429, retry_after=200)
    results = run(world_of(people, StillClock()), Request(), manner_of(lease_seconds=100)).results
    assert [one.state for one in results] == ["finished", "finished"]


def test_a_run_that_reads_a_long_list_renews_its_lease(project: Project, arrived: StandIn) -> None:
    arrived.put_segment("people", *(f"u{number}" for number in range(3_500)))
    arrived.fault("status", call="GET */id_list", status=429, retry_after=40, count=4)
    project.table("people", "select 'ann' as user_id")
    project.sync("people", "people", {"object": "segment", "segment_id": "people", "mode": "add"})
    clock = _WatchingClock(project=project)
    (result,) = run(world_of(project, clock), Request(), manner_of(lease_seconds=200)).results
    assert (result.accepted, sum(clock.pauses) >= 160, clock.lapsed) == (1, True, 0)


def test_two_syncs_that_write_one_segment_are_not_at_work_at_the_same_time(project: Project, arrived: StandIn) -> None:
    arrived.put_segment("held")
    for name, mode in (("adds", "add"), ("removes", "remove")):
        project.table(name, f"select '{name}' as user_id")
        project.sync(name, name, {"object": "segment", "segment_id": "held", "mode": mode})
    arrived.processing_seconds(3600)
    first = started(project, "--select", "adds")
    until_updating(arrived, "held")
    refused = project.command("run", "--select", "removes")
    assert refused.returncode == 3
    assert "removes: another run of adds, which writes the same segment, is under way" in refused.stderr
    arrived.processing_seconds(0)
    ended(first)


@pytest.mark.parametrize("is_good", [True, False], ids=["passed", "failed"])
def test_a_run_that_waited_goes_by_what_dbt_has_built_meanwhile(
    people: Project, arrived: StandIn, is_good: bool
) -> None:
    def build() -> None:
        people.table("people", "select 'bob' as user_id")
        people.log_run(f"model.{PACKAGE}.people", "success", invocation_id="the next build")
        people.test("is_good", "people", "pass" if is_good else "fail")

    clock = _OtherRunClock(meanwhile=build)
    hold(people, clock, seconds=1)
    request, manner = Request(select=("held",)), manner_of(wait_seconds=60)
    if is_good:
        assert run(world_of(people, clock), request, manner).results[0].state == "finished"
        assert arrived.ids("held") == {"bob"}
        query = "select max_by(dbt_invocation_id, logged_at) from statsig_run_log where state = 'finished'"
        assert people.rows(query) == [("the next build",)]
    else:
        with pytest.raises(RefusedError, match="test is_good on people failed"):
            run(world_of(people, clock), request, manner)
        assert arrived.ids("held") == set()


def test_a_run_that_waited_while_the_syncs_were_changed_sends_nothing(people: Project, arrived: StandIn) -> None:
    def build() -> None:
        people.sync("held", "people", {"object": "segment", "segment_id": "held", "mode": "add"})

    clock = _OtherRunClock(meanwhile=build)
    hold(people, clock, seconds=1)
    with pytest.raises(RefusedError, match="built the project anew while this run waited, with other syncs"):
        run(world_of(people, clock), Request(select=("held",)), manner_of(wait_seconds=60))
    assert arrived.ids("held") == set()


def hold(project: Project, clock: StillClock, seconds: float, sync_name: str = "held") -> None:
    """Another run holds the sync, and the segment of that name, for so many seconds from when the clock started."""
    now = clock.start.replace(tzinfo=None)
    holder = f"'another', '{sync_name}', 'sandbox', 'segment', '{sync_name}', 'started', 'there'"
    project.execute(
        "insert into statsig_run_log (run_id, sync_name, project, object, destination, state, holder, logged_at,"
        f" lease_expires_at) values ({holder}, '{now - dt.timedelta(seconds=60)}',"
        f" '{now + dt.timedelta(seconds=seconds)}')"
    )


@pytest.mark.parametrize("reads", [False, True], ids=["waiting", "reading"])
def test_a_signal_ends_the_waiting_and_the_reading_before_anything_is_sent(
    people: Project, arrived: StandIn, reads: bool
) -> None:
    clock = StillClock()
    if reads:
        arrived.fault("status", call="GET */id_list", status=429, retry_after=1)
    else:
        hold(people, clock, seconds=600)
    manner = replace(manner_of(wait_seconds=3600), should_stop=lambda: bool(clock.pauses))
    with pytest.raises(StoppedError, match="nothing was sent"):
        run(world_of(people, clock), Request(select=("held",)), manner)
    assert len(clock.pauses) == 1
    assert arrived.sent_data() == 0
    states = people.rows("select state, message from statsig_sync_runs where run_id <> 'another'")
    assert states == ([("aborted", "stopped by a signal; nothing was sent.")] if reads else [])


def test_a_run_ledger_that_cannot_be_written_ends_the_run_with_the_warehouses_words(
    people: Project, arrived: StandIn
) -> None:
    people.execute("alter table statsig_run_log alter message set not null")
    finished = command_here(people, "run")
    assert (finished.returncode, "NOT NULL constraint failed: statsig_run_log.message" in finished.stderr) == (1, True)
    assert arrived.requests(CHANGE_IDS) == []


@pytest.mark.parametrize("option", ["--lease", "--wait"])
def test_a_time_that_is_no_number_of_seconds_is_wrong_usage(project: Project, option: str) -> None:
    for value in ("nan", "-1", "inf", "soon"):
        finished = command_here(project, "run", f"{option}={value}")
        assert finished.returncode == 2
        assert option in finished.stderr
        assert "Traceback" not in finished.stderr
