"""No key is in anything that a run prints or leaves behind, whatever Statsig answers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from sync import sandbox
from sync.sandbox import Keys, Settings
from tests.integration.harness import Project
from tests.integration.in_process import command_here, run_here
from tests.integration.stand_in import ADD_IDS, LOG_EVENT, LOOK_UP_SEGMENT, StandIn

SERVER_SECRET = "secret-Zq7vXw2mKp9RtB4nLs6YcD1fGh8JkAeQ"
CONSOLE_KEY = "console-Hn3xVb8cMz5LqW7rTy1UpO6iSd4FgKjE"
WRONG_CONSOLE_KEY = "console-Wr0ngPk2jNbV9xCzA7sDfG4hJl5QwErT"
KEYS = (SERVER_SECRET, CONSOLE_KEY, WRONG_CONSOLE_KEY)
# A part of a key would be too much as well.
TRACES = tuple(key.split("-")[1][:8] for key in KEYS)
LEDGERS = (
    "run_log",
    "batch_log",
    "changelog",
    "reject_log",
    "drift_log",
    "arrival_log",
    "deliveries",
    "unsettled",
    "sync_runs",
)


@pytest.fixture
def keyed(project: Project, tmp_path: Path) -> Iterator[tuple[Project, StandIn]]:
    """A project with syncs of both objects, and a sandbox that knows only these keys."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with sandbox.running(Settings(keys=Keys(SERVER_SECRET, CONSOLE_KEY))) as server:
        project.environment |= {
            "STATSIG_EVENTS_URL": server.url,
            "STATSIG_CONSOLE_URL": server.url,
            "STATSIG_SERVER_SECRET": SERVER_SECRET,
            "STATSIG_CONSOLE_API_KEY": CONSOLE_KEY,
            "TMPDIR": str(temporary),
        }
        project.table("visits", "select range as id, 'u' || range as user_id from range(4)")
        project.sync("visits", "visits", {"object": "events", "unique_key": "id", "event_name": "visit"})
        people = {"object": "segment", "segment_id": "people", "mode": "mirror", "create_if_missing": True}
        project.sync("people", "visits", people)
        yield project, StandIn(server.url)


def texts(finished: subprocess.CompletedProcess[str]) -> str:
    return finished.stdout + finished.stderr


def assert_no_key(text: str | bytes, where: str) -> None:
    for trace in TRACES:
        needle = trace.encode() if isinstance(text, bytes) else trace
        assert needle not in text, where  # type: ignore[operator]


def test_no_key_is_printed_or_left_behind_even_when_statsigs_answers_repeat_it(
    keyed: tuple[Project, StandIn], tmp_path: Path
) -> None:
    project, arrived = keyed
    printed = []

    def command(*arguments: str, expect: int, **environment: str) -> str:
        start = project.command if arguments[0] == "run" else partial(command_here, project)
        finished = start(*arguments, **environment)
        assert finished.returncode == expect, texts(finished)
        printed.append(texts(finished))
        return printed[-1]

    # The sandbox's 401 repeats the key of a Console call, as Statsig's does.
    wrong = {"STATSIG_CONSOLE_API_KEY": WRONG_CONSOLE_KEY}
    said = command("check", "--debug", expect=2, **wrong)
    assert "STATSIG_CONSOLE_API_KEY" in said
    command("run", "--select", "people", "--debug", expect=2, **wrong)
    command("plan", "--json", expect=2, **wrong)

    # An answer that refuses the rows: what it says goes into the ledgers. The key stands where a message is cut.
    refusal = '{"status": 400, "message": "' + "x" * 485 + f'{SERVER_SECRET} is not wanted"}}'
    arrived.fault("status", call=LOG_EVENT, status=400, body=refusal, count=None)
    command("run", "--select", "visits", "--debug", expect=1)
    ((detail,),) = project.rows("select distinct detail from statsig_reject_log")
    assert detail.startswith("xxx")

    refusal = f'{{"status": 401, "message": "{SERVER_SECRET} is not a key"}}'
    arrived.fault("status", call=LOG_EVENT, status=401, body=refusal, count=None)
    assert "is not a key" in command("run", "--select", "visits", "--retry-rejected", expect=1)

    arrived.fault("status", call=LOOK_UP_SEGMENT, status=500, body=f"<html>{CONSOLE_KEY}</html>", count=None)
    command("check", "--max-attempts", "1", "--debug", expect=1)
    refusal = f'{{"status": 403, "message": "{CONSOLE_KEY} may not do this"}}'
    arrived.fault("status", call=ADD_IDS, status=403, body=refusal, count=None)
    assert "may not do this" in command("run", "--select", "people", "--json", expect=1)

    arrived.no_faults()
    command("run", "--retry-rejected", "--debug", expect=0)
    command("verify", "--debug", expect=0)
    assert (len(arrived.events()), len(arrived.ids("people"))) == (4, 4)

    # Keys in the wrong variables, too.
    swapped = {"STATSIG_SERVER_SECRET": CONSOLE_KEY, "STATSIG_CONSOLE_API_KEY": SERVER_SECRET}
    command("check", expect=2, **swapped)
    command("check", expect=2, STATSIG_CONSOLE_URL=f"http://user:{CONSOLE_KEY}@127.0.0.1:1")

    for text in printed:
        assert_no_key(text, text)
    for ledger in LEDGERS:
        assert_no_key(str(project.rows(f"select * from statsig_{ledger}")), ledger)
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "warehouse.duckdb" for path in left)
    for path in left:
        assert_no_key(path.read_bytes(), str(path))


def test_no_key_is_in_the_process_list(keyed: tuple[Project, StandIn]) -> None:
    project, arrived = keyed
    arrived.put_segment("people")
    arrived.processing_seconds(600)
    environment = project.process_environment({})
    process = subprocess.Popen(
        [sys.executable, "-m", "sync", "run"], cwd=project.folder, env=environment, stderr=subprocess.PIPE
    )
    while not arrived.segments()["people"]["isUpdating"]:
        pass
    listed = subprocess.run(["ps", "-A", "-o", "pid,args"], capture_output=True, text=True, check=True).stdout
    process.kill()
    process.communicate(timeout=60)
    assert f"{process.pid} " in listed
    assert_no_key(listed, "the process list")
    assert_no_key(str(project.rows("select * from statsig_run_log")), "the ledger of a run that was killed")


# What each wrong key is told: variable, value, and parts of the message.
WRONG_KEYS = [
    ("STATSIG_SERVER_SECRET", None, "is not set", "Server Secret Key", "'secret-'"),
    ("STATSIG_SERVER_SECRET", "", "is not set", "Server Secret Key", "'secret-'"),
    ("STATSIG_SERVER_SECRET", CONSOLE_KEY, "Console API Key", "Server Secret Key", "'secret-'"),
    ("STATSIG_SERVER_SECRET", "client-" + SERVER_SECRET, "Client SDK Key", "Server Secret Key", "'secret-'"),
    ("STATSIG_SERVER_SECRET", SERVER_SECRET[7:], "does not start with", "Server Secret Key", "'secret-'"),
    ("STATSIG_SERVER_SECRET", SERVER_SECRET + "\nx: y", "is not a key", "Server Secret Key", "'secret-'"),
    ("STATSIG_CONSOLE_API_KEY", None, "is not set", "Console API Key", "'console-'"),
    ("STATSIG_CONSOLE_API_KEY", SERVER_SECRET, "Server Secret Key", "Console API Key", "'console-'"),
    ("STATSIG_CONSOLE_API_KEY", "client-" + CONSOLE_KEY, "Client SDK Key", "Console API Key", "'console-'"),
]


@pytest.mark.parametrize(("variable", "value", "parts"), [(one[0], one[1], one[2:]) for one in WRONG_KEYS])
def test_a_wrong_key_is_told_which_key_is_wanted_and_where_it_is_found(
    keyed: tuple[Project, StandIn], variable: str, value: str | None, parts: tuple[str, ...]
) -> None:
    project, arrived = keyed
    finished = command_here(project, "run", **{variable: value})
    assert finished.returncode == 2
    (line,) = finished.stderr.splitlines()
    assert_no_key(texts(finished), line)
    for part in (variable, *parts, "Project Settings > Keys & Environments"):
        assert part in line
    assert arrived.requests() == []


def test_api_key_env_names_another_variable(keyed: tuple[Project, StandIn]) -> None:
    project, arrived = keyed
    visits = {"object": "events", "unique_key": "id", "event_name": "visit", "api_key_env": "SHOP_SECRET"}
    project.sync("visits", "visits", visits)
    people = {"object": "segment", "segment_id": "people", "mode": "mirror", "create_if_missing": True}
    project.sync("people", "visits", {**people, "api_key_env": "SHOP_CONSOLE"})
    own = {"STATSIG_SERVER_SECRET": None, "STATSIG_CONSOLE_API_KEY": None}
    errors = run_here(project, expect=2, **own)["errors"]
    assert len(errors) == 2
    assert any("SHOP_SECRET: is not set" in error for error in errors)
    assert any("SHOP_CONSOLE: is not set" in error for error in errors)
    run_here(project, **own, SHOP_SECRET=SERVER_SECRET, SHOP_CONSOLE=CONSOLE_KEY)
    assert (len(arrived.events()), len(arrived.ids("people"))) == (4, 4)


def test_keys_can_come_from_files(keyed: tuple[Project, StandIn], tmp_path: Path) -> None:
    project, arrived = keyed
    files = {}
    for variable, key in (("STATSIG_SERVER_SECRET", SERVER_SECRET), ("STATSIG_CONSOLE_API_KEY", CONSOLE_KEY)):
        file = tmp_path / variable
        file.write_text(key + "\n")
        files |= {variable: None, f"{variable}_FILE": str(file)}
    project.run(**files)
    assert (len(arrived.events()), len(arrived.ids("people"))) == (4, 4)


def test_a_key_is_never_sent_over_plain_http_to_another_machine(keyed: tuple[Project, StandIn]) -> None:
    project, _ = keyed
    finished = command_here(project, "run", STATSIG_EVENTS_URL="http://statsig.example.com")
    assert finished.returncode == 2
    assert "plain http" in finished.stderr
