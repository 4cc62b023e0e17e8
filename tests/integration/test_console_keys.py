"""A Console key that is set, and is none: said before anything is sent, also where events alone could do without."""

from __future__ import annotations

import pytest

from tests.integration.harness import Project
from tests.integration.in_process import command_here
from tests.integration.stand_in import StandIn

# Values of the variable, and what is said of each.
NO_KEYS = {
    "in quotes": ("'console-s3cr3t'", "is in quotes"),
    "with a byte order mark": ("\ufeffconsole-s3cr3t", "byte order mark"),
    "of another kind": ("secret-s3cr3t", "holds a Server Secret Key"),
    "of a client": ("client-s3cr3t", "holds a Client SDK Key"),
    "nonsense": ("s3cr3t", "does not start with 'console-'"),
}


@pytest.fixture
def visits(project: Project) -> Project:
    project.table("visits", "select 1 as id, 'ann' as user_id")
    settings = {"object": "events", "unique_key": "id", "event_name": "visit", "backfill": "all"}
    project.sync("visits", "visits", settings)
    return project


@pytest.mark.parametrize("kind", NO_KEYS)
@pytest.mark.parametrize("command", ["check", "plan", "run", "verify"])
def test_a_console_key_that_is_none_is_a_fault_for_events_too(
    visits: Project, arrived: StandIn, command: str, kind: str
) -> None:
    value, said = NO_KEYS[kind]
    finished = command_here(visits, command, STATSIG_CONSOLE_API_KEY=value)
    assert finished.returncode == 2
    (line,) = finished.stderr.splitlines()
    assert line.startswith("error: environment: STATSIG_CONSOLE_API_KEY: ")
    assert said in line
    assert "s3cr3t" not in finished.stdout + finished.stderr
    assert arrived.requests() == []


@pytest.mark.parametrize("command", ["check", "plan", "run", "verify"])
def test_events_need_no_console_key(visits: Project, command: str) -> None:
    assert command_here(visits, command, STATSIG_CONSOLE_API_KEY=None).returncode == 0
