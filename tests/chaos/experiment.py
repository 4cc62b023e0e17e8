"""Plays a seed's story: the real command, a real warehouse, and a stand-in for Statsig that misbehaves."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import requests

from sync import sandbox
from sync.core.ledger import SNAPSHOT
from sync.sandbox.faults import FaultPlan
from sync.sandbox.server import RunningSandbox
from tests.chaos.evidence import (
    OPEN_CLAIMS,
    Evidence,
    check_delivered,
    check_doubts,
    check_events,
    check_segments,
    read_ledgers,
    waiting_code,
)
from tests.chaos.figures import Figures
from tests.chaos.process import Ended, Runner
from tests.chaos.scenario import MODES, DataSet, Scenario, Step
from tests.integration.harness import CONSOLE_KEY, EXPIRE_LEASES, SERVER_SECRET, Project, write_profiles


def _variable(mode: str) -> str:
    return f"STATSIG_{mode.upper()}_KEY"


# Each segment has a key of its own, so that the limits per key, which others test, cost no time here.
_KEYS = {_variable(mode): f"{CONSOLE_KEY}-{mode}" for mode in MODES}
FOLD = "fold.sql"
_ARTIFACTS = ("dbt_project.yml", "warehouse.duckdb", FOLD)


@dataclass(frozen=True)
class Played:
    """The seeds of this session, each on its way to its figures, and the folder that keeps those that failed."""

    seeds: dict[int, Future[Figures]]
    folder: Path


def play(story: Scenario, built: Path, folder: Path) -> Figures:
    """Plays the story in ``folder``, next to a copy of the project in ``built``; raises ``AssertionError``."""
    with sandbox.running(sandbox.Settings(keys=sandbox.Keys(more=tuple(_KEYS.values())))) as server:
        _call(server, "limits", {"enabled": False})
        project = _project(story, built, folder, server)
        evidence, runner = Evidence(project, server), Runner(project, server, story.is_fresh)
        for mode, members in story.members.items():
            if members is not None:
                _call(server, "segments", {"id": mode, "ids": sorted(members)})
        figures = Figures(seeds=1)
        for step in story.steps:
            _break(story, step, evidence, runner, figures)
        _settle(story, evidence, runner, figures)
        return figures


def _break(story: Scenario, step: Step, evidence: Evidence, runner: Runner, figures: Figures) -> None:
    """A run under fire: it may end as it likes, as long as it tells the truth.

    On the machine of the run before it starts at once, and settles what that one has left.
    """
    open_claims = _fill(evidence.project, step.data)
    _fold(story, evidence.project)
    _move(story, evidence.project)
    _set_faults(evidence.sandbox, step.faults)
    ended = runner.run(*step.options, blow=step.blow)
    _count(figures, ended)
    if ended.was_struck and step.blow:
        figures.blows[f"{step.blow.number.name} at a {step.blow.moment}"] += 1
    _check_end(ended)
    if ended.code == 0:
        check_delivered(evidence, step.data, may_hold=False)
    if ended.code >= 0:
        left = open_claims if story.loses_journals else 0
        assert evidence.project.rows(OPEN_CLAIMS) == [(left,)], (
            f"a run left requests without an outcome: {ended.output}"
        )
    check_doubts(evidence.project)


def _fold(story: Scenario, project: Project) -> None:
    """What ``dbt build`` does with the snapshot of the members."""
    if story.folds:
        fold = (project.folder / FOLD).read_text()
        project.execute(f"create temp table folded as {fold}; create or replace table {SNAPSHOT} as from folded")


def _move(story: Scenario, project: Project) -> None:
    """Takes the project to another machine, where the story says so: no journal is there, and leases have ended."""
    if story.loses_journals:
        shutil.rmtree(project.folder / ".statsig-sync", ignore_errors=True)
        project.execute(EXPIRE_LEASES)


def _settle(story: Scenario, evidence: Evidence, runner: Runner, figures: Figures) -> None:
    """One clean run brings everything to where it belongs, and after it there is nothing left to send."""
    project, server = evidence.project, evidence.sandbox
    _fill(project, story.final)
    _fold(story, project)
    _move(story, project)
    _set_faults(server, FaultPlan())
    clean = runner.run()
    _count(figures, clean)
    assert clean.code == waiting_code(project), f"the clean run ended with {clean.code}: {clean.output}"
    check_delivered(evidence, story.final, story.on_unknown == "hold")
    ledgers, arrived = read_ledgers(project), evidence.event_requests()
    check_segments(evidence, ledgers, story)
    check_doubts(project)
    repeated, repeated_in = check_events(arrived, ledgers.batches, story.on_unknown == "resend")
    sent = _sent(server)
    idle = runner.run()
    _count(figures, idle)
    assert idle.code == waiting_code(project), f"the run with nothing to do ended with {idle.code}: {idle.output}"
    assert _sent(server) == sent, f"the run after the clean run sent something: {idle.output}"
    figures.repeated, figures.repeated_in = len(repeated), repeated_in
    figures.held = len(ledgers.unsettled) if story.on_unknown == "hold" else 0
    figures.doubts, figures.batches = ledgers.doubts, len(arrived)
    figures.requests, figures.events = len(server.state.journal.entries), server.state.events.arrived
    figures.faults = Counter(fired.fault.kind for fired in server.state.faults.fired)


def _project(story: Scenario, built: Path, folder: Path, server: RunningSandbox) -> Project:
    for name in _ARTIFACTS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(built / name, folder / name)
    project = Project(folder, server.url, dict(_KEYS))
    write_profiles(folder)
    for sync in project.synced():
        meta = sync["meta"]
        if meta["object"] == "events":
            meta["on_unknown"] = story.on_unknown
        if meta.get("mode") == "mirror":
            meta["on_first_run"] = story.on_first_run
    project.log_invocation()
    return project


def declare_syncs(project: Project) -> None:
    """Puts the four models and their syncs into a project that has been built."""
    guard = {"max_removals": 10_000}
    for mode in MODES:
        project.table(f"audience_{mode}", "select '' as user_id where false")
        meta: dict[str, Any] = {"object": "segment", "segment_id": mode, "mode": mode}
        if mode == "mirror":
            meta["guard"] = guard
        meta["create_if_missing"] = mode != "remove"
        project.sync(mode, f"audience_{mode}", {**meta, "api_key_env": _variable(mode)})
    project.table("orders", "select 0 as order_id, '' as user_id, 0 as version where false")
    events = {"object": "events", "unique_key": "order_id", "event_name": "order_completed", "backfill": "all"}
    project.sync("events", "orders", events)


def _fill(project: Project, data: DataSet) -> int:
    """Makes the models as dbt would have built them now; returns the number of open claims."""
    with duckdb.connect(str(project.folder / "warehouse.duckdb")) as connection:
        connection.execute("begin transaction")
        for mode, audience in data.audiences.items():
            # With the dirt that a sync has to cope with: a null, a blank, and an id that stands there twice.
            ids = [*sorted(audience), min(audience), None, " "]
            connection.execute(f"create or replace table audience_{mode} as select unnest($1) as user_id", [ids])
        connection.execute(
            "create or replace table orders as select unnest($1) as order_id, unnest($2) as version,"
            " 'user-' || (order_id % 97) as user_id",
            [[event.key for event in data.events], [event.version for event in data.events]],
        )
        connection.execute("commit")
        return int(connection.execute(OPEN_CLAIMS).fetchall()[0][0])


def _set_faults(server: RunningSandbox, plan: FaultPlan) -> None:
    _call(server, "faults", msgspec.to_builtins(plan))


def _call(server: RunningSandbox, name: str, body: Any) -> None:
    requests.post(f"{server.url}/sandbox/{name}", json=body, timeout=60).raise_for_status()


def _sent(server: RunningSandbox) -> int:
    return sum(1 for entry in server.state.journal.entries if entry.method != "GET")


def _count(figures: Figures, ended: Ended) -> None:
    figures.ends["killed" if ended.code < 0 else f"exit {ended.code}"] += 1


def _check_end(ended: Ended) -> None:
    """A run under fire ends well or with something undelivered; it never breaks, and never shows a key."""
    expected = {0, 1} if not ended.was_struck else {0, 1, -9, -15}
    assert ended.code in expected, f"a run ended with {ended.code}: {ended.output}"
    if ended.code >= 0 and not ended.was_struck:
        json.loads(ended.output)
    for text in ("Traceback", "unexpected ", SERVER_SECRET, CONSOLE_KEY):
        assert text not in ended.output, ended.output
