"""Two runs of the same sync never push at the same time."""

from __future__ import annotations

import datetime as dt
import io
import json
import signal
import subprocess
import sys
import uuid
from dataclasses import dataclass
from typing import Any

import pytest

from sync.cli import printing
from sync.core.delivery import Patience
from sync.run.commands import Manner, run
from sync.run.lease import Term
from sync.run.prepare import Request
from tests.integration.harness import Project
from tests.integration.in_process import StillClock, command_here, world_of
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


def test_a_run_that_was_killed_keeps_others_out_until_its_lease_ends(people: Project, arrived: StandIn) -> None:
    arrived.processing_seconds(3600)
    runs = [started(people, "--select", "held"), started(people, "--select", "free", "--lease", "1")]
    until_updating(arrived, "held", "free")
    for one in runs:
        one.send_signal(signal.SIGKILL)
        one.communicate(timeout=60)
    arrived.processing_seconds(0)

    refused = people.command("run", "--select", "held")
    assert refused.returncode == 3
    assert f"process {runs[0].pid}" in refused.stderr
    assert people.run("--select", "free", "--wait", "60")["results"][0]["state"] == "finished"
    assert arrived.ids("free") == {"ann"}
    assert people.rows("select count(*) from statsig_unsettled where sync_name = 'free'") == [(0,)]
    states = people.rows("select state from statsig_sync_runs where sync_name = 'free' order by started_at")
    assert states == [("aborted",), ("finished",)]


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
    observer = printing.observer(io.StringIO(), quiet=True)
    manner = Manner(Patience(), Term(lease_seconds=250), "a test", lambda: False, observer)
    (result,) = run(world_of(project, clock), Request(), manner).results
    assert (result.accepted, clock.pauses, clock.lapsed) == (50_000, [80.0] * 3, 0)
    ((renewals,),) = project.rows("select count(distinct lease_expires_at) from statsig_run_log")
    assert renewals > 1
    assert uuid.UUID(project.rows("select max(run_id) from statsig_run_log")[0][0])


@pytest.mark.parametrize("option", ["--lease", "--wait"])
def test_a_time_that_is_no_number_of_seconds_is_wrong_usage(project: Project, option: str) -> None:
    for value in ("nan", "-1", "inf", "soon"):
        finished = command_here(project, "run", f"{option}={value}")
        assert finished.returncode == 2
        assert option in finished.stderr
        assert "Traceback" not in finished.stderr
