"""Standard output and standard error that are closed or full: what was sent was sent, and the exit code says so."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from sync.cli.progress import ProgressObserver
from sync.run.apply import SyncResult
from tests.event_plans import event_plan
from tests.integration.harness import Project
from tests.integration.stand_in import StandIn

# How a shell leaves a stream: closed, on a full device, and as a pipe whose reader has gone.
ENDS = {"closed": "&-", "full": "/dev/full", "gone": "gone"}
LOST = "statsig-sync: standard output could not be written: "

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


@pytest.fixture
def visits(project: Project, arrived: StandIn) -> Project:
    """Three events and a member that wait to be sent."""
    project.table("visits", "select range as id, 'ann' as user_id from range(3)")
    meta = {"object": "events", "unique_key": "id", "event_name": "visit", "backfill": "all"}
    project.sync("visits", "visits", meta)
    arrived.put_segment("people")
    project.table("people", "select 'ann' as user_id")
    project.sync("people", "people", {"object": "segment", "segment_id": "people", "mode": "mirror"})
    return project


def command(
    project: Project, arguments: str, output: str = "", errors: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command with its streams as a shell leaves them; a stream without a word of its own is read."""
    redirections = [f"{number}>{ENDS[end]}" for number, end in ((1, output), (2, errors)) if end in ("closed", "full")]
    script = f'exec "{sys.executable}" -m sync {arguments} {" ".join(redirections)}'
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return subprocess.run(
            ["/bin/sh", "-c", script],
            cwd=project.folder,
            env=project.process_environment(environment),
            stdout=writer if output == "gone" else subprocess.PIPE,
            stderr=writer if errors == "gone" else subprocess.PIPE,
            text=True,
            check=False,
            timeout=300,
        )
    finally:
        os.close(writer)


def assert_only_told_of(errors: str) -> None:
    """One line says that standard output was lost, and nothing else went wrong."""
    assert [line for line in errors.splitlines() if line.startswith(LOST)] == errors.splitlines()[-1:]
    for trace in ("Traceback", "Exception ignored", "BrokenPipeError", "OSError", "error:"):
        assert trace not in errors


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("flags", ["", " --json"])
def test_a_run_whose_report_cannot_be_written_says_by_its_exit_code_that_all_was_delivered(
    visits: Project, arrived: StandIn, end: str, flags: str
) -> None:
    finished = command(visits, "run" + flags, output=end)
    assert finished.returncode == 0
    assert_only_told_of(finished.stderr)
    assert arrived.ids("people") == {"ann"}
    assert visits.rows("select sync_name, state from statsig_sync_runs order by 1") == [
        ("people", "finished"),
        ("visits", "finished"),
    ]


@pytest.mark.parametrize("end", ENDS)
def test_a_run_that_could_not_deliver_says_so_whatever_became_of_its_report(visits: Project, end: str) -> None:
    flags = "run --select visits --max-attempts 1"
    assert command(visits, flags, output=end, STATSIG_EVENTS_URL="http://127.0.0.1:9").returncode == 1


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("end", ENDS)
def test_a_plan_that_cannot_be_written_is_no_accident(visits: Project, end: str, unbuffered: str) -> None:
    finished = command(visits, "plan", output=end, PYTHONUNBUFFERED=unbuffered)
    assert finished.returncode == 0
    assert_only_told_of(finished.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        "check",
        "check --json",
        "plan --json",
        "verify --select people",
        "verify --select people --json",
        "prune --older-than 1d",
        "prune --older-than 1d --json",
        "--help",
        "run --help",
        "--version",
    ],
)
def test_no_command_ends_with_a_trace_where_its_output_is_full(visits: Project, arguments: str) -> None:
    assert command(visits, "run").returncode == 0
    finished = command(visits, arguments, output="full")
    assert finished.returncode == 0
    assert_only_told_of(finished.stderr)


def test_an_error_keeps_its_exit_code_where_its_json_cannot_be_written(visits: Project) -> None:
    finished = command(visits, "resolve nobody --as sent --json", output="full")
    assert finished.returncode == 2
    assert_only_told_of(finished.stderr)


@pytest.mark.parametrize("end", ENDS)
def test_lines_of_progress_that_cannot_be_written_do_not_end_a_run(visits: Project, arrived: StandIn, end: str) -> None:
    finished = command(visits, "run", errors=end)
    assert finished.returncode == 0
    assert "visits: finished, 3 of 3 delivered" in finished.stdout
    assert "sending" not in finished.stdout
    assert arrived.ids("people") == {"ann"}


@pytest.mark.parametrize("end", ENDS)
def test_json_is_json_where_standard_error_is_lost(visits: Project, end: str) -> None:
    finished = command(visits, "run --json --select nobody", errors=end)
    assert finished.returncode == 2
    assert "names no sync" in json.loads(finished.stdout)["errors"][0]
    assert command(visits, "run --select nobody", errors=end).returncode == 2


@pytest.mark.parametrize("end", ENDS)
def test_a_run_goes_on_where_nothing_can_be_told_at_all(visits: Project, arrived: StandIn, end: str) -> None:
    assert command(visits, "run", output=end, errors=end).returncode == 0
    assert arrived.ids("people") == {"ann"}
    # Nothing was written into the warehouse in place of a stream that was closed.
    assert visits.rows("select count(*) from statsig_changelog") == [(4,)]


def test_a_progress_bar_goes_on_where_its_terminal_has_gone() -> None:
    plan = event_plan(3)
    terminal, end = pty.openpty()
    with os.fdopen(end, "w") as stream:
        observer = ProgressObserver(stream)
        os.close(terminal)
        observer.started(plan)
        observer.accepted(plan, 3)
        observer.ended(SyncResult("orders", "finished", 3, 3, 0, 0, 0, 1, 0, None))
