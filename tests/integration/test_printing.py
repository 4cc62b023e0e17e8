"""What a person reads of a plan and of a run."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import pytest

from sync.cli import printing
from sync.cli.progress import ProgressObserver
from sync.run.commands import RunReport, run
from sync.run.prepare import Request
from tests.integration.harness import Project
from tests.integration.in_process import StillClock, command_here, manner_of, run_here, world_of
from tests.integration.stand_in import CHANGE_IDS, LOG_EVENT, StandIn


def events(project: Project, name: str, **more: str) -> None:
    project.table(name, "select unnest([1, 2, 3]) as id, 'ann' as user_id")
    project.sync(name, name, {"object": "events", "unique_key": "id", "event_name": "visit", **more})


def people(project: Project, *ids: str, **more: object) -> None:
    project.table("people", f"select unnest({list(ids)}::varchar[]) as user_id, 'x' as mail")
    project.sync("people", "people", {"object": "segment", "segment_id": "people", "mode": "mirror", **more})


def stopped_run(project: Project, should_stop: Callable[[], bool]) -> RunReport:
    """A run that is wished to stop as soon as ``should_stop`` says so."""
    manner = replace(manner_of(), should_stop=should_stop)
    return run(world_of(project, StillClock()), Request(), manner)


def test_a_plan_says_what_backfill_leaves_out_and_which_columns_do_not_count(
    project: Project, arrived: StandIn
) -> None:
    arrived.put_segment("people")
    people(project, "ann", columns={"email": "mail"})
    events(project, "visits", backfill="none")
    said = command_here(project, "plan").stdout.splitlines()
    assert "  3 events left out by backfill, for good" in said
    assert [line for line in said if line.startswith("note: people: only the id counts")]


def test_a_run_that_keeps_going_says_what_was_refused(project: Project, arrived: StandIn) -> None:
    arrived.put_segment("people", "ann")
    people(project)
    events(project, "visits")
    finished = command_here(project, "run", "--keep-going")
    assert finished.returncode == 3
    lines = finished.stdout.splitlines()
    assert lines[0].startswith("refused: people: the audience is empty and the segment has 1 members")
    assert lines[1] == "visits: finished, 3 of 3 delivered"


def test_a_run_that_only_adopts_announces_nothing(project: Project, arrived: StandIn) -> None:
    arrived.put_segment("people", "ann")
    people(project, "ann")
    finished = command_here(project, "run")
    (line,) = finished.stderr.splitlines()
    assert (finished.returncode, line.startswith("people: built ")) == (0, True)
    assert "people: finished, nothing to send" in finished.stdout


def test_a_terminal_shows_no_bar_for_a_sync_that_only_adopts(
    project: Project, arrived: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    arrived.put_segment("people", "ann")
    people(project, "ann")
    report = stopped_run(project, lambda: False)
    observer = ProgressObserver(io.StringIO())
    observer.started(report.plan.syncs[0])
    observer.accepted(report.plan.syncs[0], 0)
    observer.ended(report.results[0])
    assert capsys.readouterr().err == ""


def test_a_run_that_is_stopped_before_its_syncs_says_how_many_were_not_started(
    project: Project, arrived: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("visits", "views"):
        events(project, name)
    run_here(project)
    for name in ("visits", "views"):
        project.table(name, "select unnest([1, 2, 3, 4]) as id, 'ann' as user_id")
    capsys.readouterr()
    report = stopped_run(project, lambda: True)
    printing.print_report(report)
    assert "stopped: 2 sync(s) not started" in capsys.readouterr().out
    assert printing.exit_code(report, fail_on_rejects=False) == 1
    assert len(arrived.events()) == 6
    runs = project.rows("select distinct state, message from statsig_sync_runs where state <> 'finished'")
    assert runs == [("aborted", "the run was stopped before this sync began")]


def test_a_run_that_is_stopped_with_events_in_doubt_lists_them(project: Project, arrived: StandIn) -> None:
    events(project, "visits")
    arrived.fault("reset", when="after")
    report = stopped_run(project, lambda: bool(arrived.requests(LOG_EVENT)))
    (result,) = report.results
    assert (result.state, result.unknown, result.unsent) == ("aborted", 3, 0)
    assert project.rows("select count(*) from statsig_unsettled") == [(3,)]


def lines_of(project: Project, command: str = "plan") -> list[str]:
    return command_here(project, command).stdout.splitlines()


def test_a_part_that_is_left_out_is_not_said_to_be_sent(project: Project, arrived: StandIn) -> None:
    project.table("visits", "select 1 as id, 'ann' as user_id, 'no JSON' as custom")
    meta = {"object": "events", "unique_key": "id", "event_name": "visit", "backfill": "all"}
    project.sync("visits", "visits", meta)
    line = (
        "  1 row(s) go without a part: invalid_custom (custom is not a JSON object of strings, numbers, booleans and "
    )
    assert [one for one in lines_of(project) if one.startswith(line)]
    arrived.fault("status", status=401, count=None)
    said = lines_of(project, "run")
    assert said[0].startswith("visits: failed, 0 of 1 delivered")
    assert said[1].startswith(line)
    assert not [one for one in said if "sent without" in one]


def test_the_numbers_of_a_plan_that_removes_add_up(project: Project, arrived: StandIn) -> None:
    arrived.put_segment("people", "ann", "bob", "cid", "dan")
    people(project, "ann", "bob", "eve", "fay", mode="remove")
    said = lines_of(project)
    assert "  4 ids in the audience, 4 known as members, 2 afterwards" in said
    assert "  4 to remove, 2 of them not known as members, such as ann, bob, eve" in said


def test_the_numbers_of_a_plan_with_members_in_doubt_add_up(project: Project, arrived: StandIn) -> None:
    arrived.put_segment("people", "ann")
    people(project, "ann")
    assert command_here(project, "run").returncode == 0
    people(project, "ann", "bob")
    arrived.fault("reset", call=CHANGE_IDS, when="after", count=None)
    assert command_here(project, "run", "--max-attempts", "1").returncode == 1
    people(project, "ann", "bob", "cid")
    said = lines_of(project)
    assert "  3 ids in the audience, 1 known as members, 1 in doubt, 3 afterwards" in said
    assert "  2 to add, 1 of them in doubt, such as bob, cid" in said


def test_a_plan_that_is_plain_says_nothing_of_doubts(project: Project, arrived: StandIn) -> None:
    arrived.put_segment("people", "ann")
    people(project, "bob", guard={"max_removals_percent": 100})
    said = lines_of(project)
    assert "  1 ids in the audience, 1 known as members, 1 afterwards" in said
    assert {"  1 to remove, such as ann", "  1 to add, such as bob"} <= set(said)
