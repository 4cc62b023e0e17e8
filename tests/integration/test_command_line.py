"""The commands check, plan and run: their flags, exit codes, output and messages."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from sync.edges.warehouse import Warehouse, open_warehouse
from sync.errors import WarehouseError
from sync.run.commands import run
from sync.run.prepare import Request
from tests.integration.harness import PACKAGE, Project
from tests.integration.in_process import StillClock, command_here, manner_of, world_of
from tests.integration.stand_in import LOG_EVENT, StandIn

LEDGERS = ("run_log", "batch_log", "changelog", "reject_log", "drift_log")


@pytest.fixture
def shop(project: Project, arrived: StandIn) -> Project:
    """Two event syncs and a mirror, with something to send and something to reject each."""
    project.table("visits", "select range as id, 'u' || range as user_id from range(3) union all select 9, null")
    project.table("people", "select unnest(['ann', 'bob', ' ']) as user_id")
    for name in ("shop_visits", "shop_views"):
        project.sync(name, "visits", {"object": "events", "unique_key": "id", "event_name": name})
    people = {"object": "segment", "segment_id": "people", "mode": "mirror", "create_if_missing": True}
    project.sync("people", "people", people)
    return project


def ledger_rows(project: Project) -> list[int]:
    return [project.rows(f"select count(*) from statsig_{ledger}")[0][0] for ledger in LEDGERS]


def faults_of(finished: subprocess.CompletedProcess[str], code: int = 2) -> list[str]:
    """The errors of a command that ended with this code: readable lines, and no trace."""
    assert finished.returncode == code, finished.stdout + finished.stderr
    assert "Traceback" not in finished.stdout + finished.stderr
    lines = finished.stderr.splitlines()
    assert lines
    assert all(line.startswith("error: ") for line in lines), finished.stderr
    return [line.removeprefix("error: ") for line in lines]


# check, plan and run.


def test_check_looks_at_everything_and_sends_no_data(shop: Project, arrived: StandIn) -> None:
    finished = shop.command("check")
    assert finished.returncode == 0, finished.stderr
    lines = finished.stdout.splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == ["ok  people", "ok  shop_views", "ok  shop_visits"]
    assert "3 sync(s) checked. No data was sent." in finished.stdout
    assert "is not there; run creates it" in finished.stdout
    assert (arrived.sent_data(), ledger_rows(shop)) == (0, [0] * 5)

    found = json.loads(shop.command("check", "--json", "--select", "shop_*").stdout)
    assert (found["command"], found["exit_code"]) == ("check", 0)
    assert [one["sync"] for one in found["syncs"]] == ["shop_views", "shop_visits"]


def test_check_sees_that_a_segment_which_the_ledgers_know_is_gone(shop: Project, arrived: StandIn) -> None:
    assert shop.command("run").returncode == 0
    requests.post(f"{arrived.url}/sandbox/reset", timeout=60).raise_for_status()
    # The sync makes it again.
    finished = shop.command("check")
    assert finished.returncode == 0
    assert "warning: people: segment 'people' is gone from Statsig, but the ledgers know 2 members" in finished.stdout


def test_flags_and_keys_that_would_count_for_nothing_are_faults(shop: Project) -> None:
    errors = shop.run("--allow-removals", "shop_visits", "--allow-new-keys", "people", expect=2)["errors"]
    assert "--allow-removals: 'shop_visits' names no mirror. The mirrors are: people." in errors[0]
    named = "--allow-new-keys: 'people' names no event sync. The event syncs are: shop_views, shop_visits."
    assert named in errors[1]
    guarded = {"object": "segment", "segment_id": "guarded", "mode": "add", "guard": {"max_removals": 1}}
    shop.sync("guarded", "people", guarded)
    (error,) = shop.run(expect=2)["errors"]
    assert "guard: counts for mode: mirror only, but mode is add; take it out." in error


def test_a_connection_that_fails_names_the_host(shop: Project) -> None:
    url = "http://127.0.0.1:9"
    finished = shop.command("run", "--max-attempts", "1", STATSIG_EVENTS_URL=url)
    assert finished.returncode == 1
    assert "o connection could be made, or it was lost at once (127.0.0.1:9) after 1 attempt(s)" in finished.stdout


def test_plan_says_what_run_would_send_and_writes_nothing_anywhere(shop: Project, arrived: StandIn) -> None:
    files = snapshot(shop.folder)
    plan = shop.plan()
    text = shop.command("plan")
    assert (arrived.sent_data(), arrived.segments(), snapshot(shop.folder)) == (0, {}, files)

    people, views, _ = plan["syncs"]
    assert (people["adds"], people["removes"], people["members_after"], people["requests"]) == (2, 0, 2, 1)
    assert people["samples"] == {"add": ["ann", "bob"], "remove": []}
    assert (views["events"], views["rows_read"], views["requests"]) == (3, 4, 1)
    assert all(json.loads(sample)["eventName"] == "shop_views" for sample in views["samples"])
    assert views["rejected"] == [{"reason": "missing_identifier", "effect": "not_sent", "rows": 1}]
    for part in ("people: mirror segment people", "2 to add, such as ann, bob", "3 of 4 rows to send", "1 request(s)"):
        assert part in text.stdout
    assert "1 row(s) not sent: missing_identifier" in text.stdout

    report = shop.run()
    assert report["plan"]["syncs"] == plan["syncs"]
    assert {one["sync_name"]: one["accepted"] for one in report["results"]} == {
        "people": 2,
        "shop_views": 3,
        "shop_visits": 3,
    }
    assert shop.command("plan").stdout.splitlines()[-1] == "Nothing to send."


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_run_reports_in_plain_lines_where_there_is_no_terminal(shop: Project) -> None:
    finished = shop.command("run")
    assert finished.returncode == 0
    assert "shop_views: finished, 3 of 3 delivered" in finished.stdout
    assert "1 row(s) not sent: missing_identifier" in finished.stdout
    assert "people: sending 2 keys" in finished.stderr
    # Nothing that moves the cursor or colours text.
    assert "\x1b" not in finished.stdout + finished.stderr
    assert "\r" not in finished.stdout + finished.stderr

    finished = shop.command("run")
    # When what there is was built, and nothing of any sending.
    assert [": built " in line for line in finished.stderr.splitlines()] == [True] * 3
    assert "shop_views: finished, nothing to send" in finished.stdout


def test_notes_and_warnings_come_before_anything_is_sent_also_where_a_guard_refuses(
    shop: Project, arrived: StandIn
) -> None:
    shop.table("people", "select 'u' || range as user_id, 'd' as device from range(1001)")
    meta = {"object": "segment", "segment_id": "people", "mode": "mirror", "custom_ids": {"stableID": "device"}}
    shop.sync("people", "people", {**meta, "create_if_missing": True})
    finished = shop.command("run")
    assert finished.returncode == 0
    lines = finished.stderr.splitlines()
    names = ["people", "shop_views", "shop_visits"]
    assert [line.split(":")[0] for line in lines] == [*names, "note", "warning", *names]
    assert "Above 1,000 ids" in lines[4]
    assert not [line for line in finished.stdout.splitlines() if line.startswith(("note:", "warning:"))]

    shop.table("people", "select 'u' || range as user_id, 'd' as device from range(500)")
    finished = command_here(shop, "run", "--select", "people")
    assert finished.returncode == 3
    assert [line.split(":")[0] for line in finished.stderr.splitlines()] == ["people", "note", "error"]
    assert len(arrived.ids("people")) == 1001


def test_a_terminal_shows_progress(shop: Project) -> None:
    terminal, end = pty.openpty()
    environment = shop.process_environment({"TERM": "xterm", "COLUMNS": "120"})
    process = subprocess.Popen(
        [sys.executable, "-m", "sync", "run"],
        cwd=shop.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=end,
        text=True,
    )
    os.close(end)
    shown = b""
    # Linux ends a terminal that nobody writes to any more with an error, others with nothing.
    with contextlib.suppress(OSError):
        while piece := os.read(terminal, 65536):
            shown += piece
    output, _ = process.communicate(timeout=60)
    os.close(terminal)
    assert process.returncode == 0
    assert b"\x1b[" in shown
    assert b"people" in shown
    assert b"3/3" in shown
    assert "\x1b" not in output


# Flags.


def test_select_takes_names_patterns_and_dbts_own_way_to_name_an_exposure(shop: Project) -> None:
    def selected(*patterns: str) -> list[str]:
        return [one["sync"] for one in shop.plan("--select", *patterns)["syncs"]]

    assert selected("people") == ["people"]
    assert selected("shop_*") == ["shop_views", "shop_visits"]
    assert selected("exposure:shop_v?sits", "people") == ["people", "shop_visits"]
    (error,) = faults_of(command_here(shop, "run", "--select", "shop_vists"))
    for part in ("--select", "'shop_vists'", "Did you mean 'shop_visits'?", "people, shop_views, shop_visits"):
        assert part in error


def test_debug_shows_the_trace_and_nothing_else_does(shop: Project) -> None:
    arguments = ("run", "--select", "nobody")
    assert "Traceback" not in shop.command(*arguments).stderr
    assert "Traceback (most recent call last)" in shop.command(*arguments, "--debug").stderr


def test_keep_going_runs_what_nothing_refuses_and_still_ends_with_3(shop: Project, arrived: StandIn) -> None:
    arrived.put_segment("people", "eve")
    meta = {"object": "segment", "segment_id": "people", "mode": "mirror", "on_first_run": "refuse"}
    shop.sync("people", "people", meta)
    assert shop.command("run").returncode == 3
    assert arrived.sent_data() == 0
    report = shop.run("--keep-going", expect=3)
    assert [one["sync_name"] for one in report["results"]] == ["shop_views", "shop_visits"]
    assert (len(arrived.events()), arrived.ids("people")) == (6, {"eve"})
    ((why,),) = shop.rows("select max_by(message, started_at) from statsig_sync_runs where sync_name = 'people'")
    assert "on_first_run is refuse" in why


def test_rows_that_are_refused_before_sending_are_warnings_unless_fail_on_rejects(shop: Project) -> None:
    assert shop.command("run", "--select", "shop_visits").returncode == 0
    finished = shop.command("run", "--select", "shop_views", "--fail-on-rejects")
    assert (finished.returncode, "3 of 3 delivered" in finished.stdout) == (1, True)
    # Rows that were counted before do not count again.
    assert shop.command("run", "--fail-on-rejects", "--select", "shop_v*").returncode == 0


def test_what_could_not_be_delivered_ends_with_1(shop: Project, arrived: StandIn) -> None:
    arrived.fault("status", call=LOG_EVENT, status=503, body='{"success": false}', count=None)
    finished = shop.command("run", "--max-attempts", "1")
    assert finished.returncode == 1
    assert "3 not sent" in finished.stdout
    assert "Traceback" not in finished.stderr
    assert len(arrived.requests(LOG_EVENT)) == 2
    # One sync that fails does not keep the others.
    assert arrived.ids("people") == {"ann", "bob"}


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("push",),
        ("run", "--nonsense"),
        ("run", "--gate", "maybe"),
        ("run", "--sel", "people"),
        ("plan", "--fail-on-rejects"),
        ("check", "people"),
        ("run", "--select"),
        ("run", "--max-attempts", "0"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_possible(project: Project, arguments: tuple[str, ...]) -> None:
    finished = command_here(project, *arguments)
    assert finished.returncode == 2
    assert finished.stderr.startswith("usage: statsig-sync")
    assert "Traceback" not in finished.stderr


def test_help_names_every_exit_code(project: Project) -> None:
    for arguments in (("--help",), ("run", "--help")):
        finished = project.command(*arguments)
        assert finished.returncode == 0
        lines = finished.stdout.split("exit codes:")[1].splitlines()
        assert [line.split()[0] for line in lines if line[:2] == "  " and line[2:3].isdigit()] == ["0", "1", "2", "3"]


# Configuration.


def test_every_fault_of_the_exposures_is_reported_at_once_with_file_exposure_key_and_remedy(
    project: Project, arrived: StandIn
) -> None:
    project.table("visits", "select 1 as id, 'ann' as user_id")
    events = {"object": "events", "unique_key": "id", "event_name": "visit"}
    people = {"object": "segment", "segment_id": "people", "mode": "mirror"}
    wrong: dict[str, tuple[Any, str, str]] = {
        "a_list": ([], "config.meta.statsig", "object: segment or events"),
        "no_object": ({"unique_key": "id"}, "object", "'segment' or 'events'"),
        "odd_object": ({**events, "object": "event"}, "object", "Did you mean 'events'?"),
        "misspelled": ({**events, "colums": {}}, "colums", "Did you mean 'columns'?"),
        "no_key": ({"object": "events"}, "unique_key", "is missing"),
        "odd_environment": ({**events, "environment": " "}, "environment", "the name of an environment"),
        "odd_name": ({**events, "event_name": "a<b"}, "event_name", "silently drops"),
        "two_names": ({**events, "columns": {"event_name": "kind"}}, "columns.event_name", "keep the one"),
        "odd_field": ({**events, "columns": {"user": "id"}}, "columns.user", "Did you mean 'user_id'?"),
        "odd_backfill": ({**events, "backfill": "last week"}, "backfill", "all, none, or a date"),
        "odd_unknown": ({**events, "on_unknown": "drop"}, "on_unknown", "resend"),
        "user_as_custom": ({**events, "custom_ids": {"userID": "user_id"}}, "custom_ids.userID", "columns: {user_id"),
        "excluded": ({**events, "columns": {"user_id": "user_id"}, "exclude": ["user_id"]}, "exclude", "mapped"),
        "no_segment": ({"object": "segment", "mode": "add"}, "segment_id", "is missing"),
        "odd_segment": ({**people, "segment_id": "a b"}, "segment_id", "letters, digits"),
        "no_mode": ({"object": "segment", "segment_id": "others"}, "mode", "add, remove or mirror"),
        "odd_mode": ({**people, "segment_id": "others", "mode": "miror"}, "mode", "Did you mean 'mirror'?"),
        "no_custom_id": ({**people, "segment_id": "units", "id_type": "custom_id"}, "custom_id", "such as companyID"),
        "spare_custom_id": ({**people, "segment_id": "firms", "custom_id": "companyID"}, "custom_id", "id_type"),
        "odd_id_type": ({**people, "segment_id": "ids", "id_type": "userID"}, "id_type", "user_id"),
        "odd_guard": ({**people, "segment_id": "much", "guard": {"max_removals": -1}}, "guard.max_removals", "0"),
        "odd_first_run": ({**people, "segment_id": "new", "on_first_run": "merge"}, "on_first_run", "adopt"),
    }
    for name, (meta, _, _) in wrong.items():
        project.sync(name, "visits", meta)
    project.sync("fine", "visits", events)
    for command in ("check", "plan", "run"):
        errors = faults_of(command_here(project, command))
        assert len(errors) == len(wrong)
        for (name, (_, key, remedy)), error in zip(wrong.items(), errors, strict=True):
            for part in ("models/marts/_exposures.yml", f"exposure {name}", key, remedy):
                assert part in error
    assert arrived.requests() == []
    assert ledger_rows(project) == [0] * 5


def test_an_exposure_depends_on_exactly_one_model(project: Project) -> None:
    project.table("visits", "select 1 as id, 'ann' as user_id")
    events = {"object": "events", "unique_key": "id", "event_name": "visit"}
    for name in ("none", "two"):
        project.sync(name, "visits", events)
    nodes = {"none": [], "two": [f"model.{PACKAGE}.visits"] * 2}
    project.change_syncs(lambda exposure: exposure.update(depends_on=nodes[exposure["name"]]))
    errors = faults_of(command_here(project, "check"))
    assert len(errors) == 2
    assert all("depends_on" in error and "exactly one model" in error for error in errors)


def test_missing_columns_are_named_with_the_nearest_spelling_and_keys_at_the_same_time(
    shop: Project, arrived: StandIn
) -> None:
    events = {"object": "events", "unique_key": "idd", "event_name": "visit"}
    shop.sync("shop_visits", "visits", {**events, "columns": {"user_id": "userid"}, "exclude": ["nothing"]})
    people = {"object": "segment", "segment_id": "people", "mode": "mirror", "columns": {"user_id": "customer"}}
    shop.sync("people", "people", people)
    shop.table("dotted", "select 1 as id, 'ann' as user_id, 2 as \"a.b\"")
    shop.sync("dotted", "dotted", {"object": "events", "unique_key": "id", "event_name": "visit"})
    for command in ("check", "run"):
        errors = faults_of(command_here(shop, command, STATSIG_SERVER_SECRET=None))
        text = "\n".join(errors)
        assert len(errors) == 6
        for part in (
            "unique_key: names column 'idd', which the model does not have. Did you mean 'id'?",
            "columns.user_id: names column 'userid', which the model does not have. Did you mean 'user_id'?",
            "exclude: names column 'nothing'",
            "columns.user_id: names column 'customer'",
            "'a.b': Statsig reads a dot",
            "STATSIG_SERVER_SECRET: is not set",
        ):
            assert part in text
    assert arrived.requests() == []


EVERYTHING = (
    "exposure broken: config.meta.statsig.unique_key: is missing",
    "--select: 'shop_vists' names no sync. Did you mean 'shop_visits'?",
    "--select: 'nobody' names no sync.",
    "unique_key: names column 'idd'",
    "custom_ids.stableID: is column 'ratio' of type DOUBLE",
    "exposure people: depends_on: is model.statsig_sync.nowhere, which has no relation",
)
PATTERNS = ("--select", "shop_vists", "shop_*", "--select", "nobody", "people", "broken")


@pytest.fixture
def broken(shop: Project) -> Project:
    """A project with something wrong on every floor, but for the keys."""
    events = {"object": "events", "unique_key": "idd", "event_name": "visit", "custom_ids": {"stableID": "ratio"}}
    shop.table("visits", "select 1 as id, 'ann' as user_id, 0.5::double as ratio")
    shop.sync("shop_visits", "visits", events)
    shop.sync("people", "nowhere", {"object": "segment", "segment_id": "people", "mode": "mirror"})
    shop.sync("broken", "visits", {"object": "events"})
    return shop


def test_faults_of_exposures_patterns_keys_and_columns_are_reported_at_once(broken: Project, arrived: StandIn) -> None:
    key = "STATSIG_SERVER_SECRET: is not set"
    for command, expected in (("check", (*EVERYTHING, key)), ("run", (*EVERYTHING, key)), ("plan", EVERYTHING)):
        errors = faults_of(command_here(broken, command, *PATTERNS, STATSIG_SERVER_SECRET=None))
        assert len(errors) == len(expected), errors
        for part in expected:
            assert any(part in error for error in errors), part
    more = ("--allow-removals", "nobody")
    assert any("--allow-removals: 'nobody'" in one for one in faults_of(command_here(broken, "run", *PATTERNS, *more)))
    assert arrived.requests() == []


@pytest.mark.parametrize(("content", "said"), [(None, "does not exist"), (b"not a database" * 1000, "not a valid")])
def test_a_warehouse_that_cannot_be_opened_does_not_hide_the_other_faults(
    broken: Project, content: bytes | None, said: str
) -> None:
    # The build log is in the warehouse, so only artifacts can say what else is wrong.
    artifacts = broken.as_artifacts()
    file = broken.folder / "warehouse.duckdb"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    for command in ("check", "run"):
        errors = faults_of(command_here(broken, command, *PATTERNS, *artifacts, STATSIG_SERVER_SECRET=None))
        for part in (*EVERYTHING[:3], "STATSIG_SERVER_SECRET: is not set", f"{file.name}", said):
            assert any(part in error for error in errors), (part, errors)
        assert len(errors) == 5


@pytest.mark.parametrize(
    "command", [("check",), ("plan",), ("run",), ("verify",), ("resolve", "shop_views", "--as", "sent"),
                ("prune", "--older-than", "180d")]
)  # fmt: skip
def test_a_database_that_is_not_there_is_wrong_configuration(shop: Project, command: tuple[str, ...]) -> None:
    # The gate does not come first: what it says of a build would lead nowhere.
    shop.set_status(f"model.{PACKAGE}.visits", "error")
    (shop.folder / "warehouse.duckdb").unlink()
    (error,) = faults_of(command_here(shop, *command))
    assert "warehouse.duckdb does not exist. Run dbt build first" in error


# What is missing.


@pytest.mark.parametrize("command", ["check", "plan", "run"])
def test_a_missing_ledger_gets_the_command_that_creates_it(shop: Project, arrived: StandIn, command: str) -> None:
    shop.execute("drop table statsig_run_log", "drop table statsig_batch_log")
    (error,) = faults_of(shop.command(command))
    named = re.findall(r"statsig_\w+", error)
    assert {"statsig_run_log", "statsig_batch_log"} <= set(named)
    assert named == sorted(named)
    assert error.endswith(" in the warehouse. Create it with: dbt build")
    assert arrived.requests() == []


def test_a_project_without_the_ledgers_models_is_told_what_to_do(shop: Project) -> None:
    del shop.logged["ledgers"]["statsig_changelog"]
    shop.log_invocation()
    (error,) = faults_of(command_here(shop, "run"))
    for part in ("statsig_changelog", "as a dbt package", "dbt build"):
        assert part in error


def test_missing_files_profiles_targets_and_models_are_named_with_what_to_do(
    shop: Project, tmp_path: Path, arrived: StandIn
) -> None:
    def error(*arguments: str) -> str:
        (only,) = faults_of(command_here(shop, "run", *arguments))
        return only

    found = error("--project-dir", str(tmp_path / "nowhere"))
    assert "dbt_project.yml" in found
    assert "--project-dir" in found
    found = error("--profiles-dir", str(tmp_path / "nowhere"))
    assert "profiles.yml" in found
    assert "--profiles-dir" in found
    found = error("--target", "prod")
    assert "'prod' is not there; the targets are: dev" in found
    found = error("--manifest", "nowhere.json")
    assert "nowhere.json" in found
    assert "dbt build" in found
    found = error("--run-results", "nowhere.json")
    assert "nowhere.json" in found

    (shop.folder / "cut.json").write_text('{"metadata": {"dbt_schema')
    found = error("--manifest", "cut.json")
    assert "cut.json" in found
    assert "dbt build" in found

    shop.execute("drop table people")
    found = error()
    for part in ("exposure people", '"people"', "not in the warehouse", "dbt build"):
        assert part in found

    profiles = shop.folder / "profiles.yml"
    own = profiles.read_text()
    profiles.write_text(json.dumps({"another": {}}))
    assert f"profile {PACKAGE}: is not there; the profiles are: another" in error()
    profiles.write_text(own.replace("warehouse.duckdb", "{{ env_var('NOT_SET') }}"))
    assert "'NOT_SET'" in error()
    profiles.write_text(own.replace('"duckdb"', '"oracle"'))
    assert "'oracle'" in error()
    profiles.write_text(own.replace("warehouse.duckdb", "nowhere.duckdb"))
    found = error()
    assert "nowhere.duckdb does not exist" in found
    assert "dbt build" in found
    for path in (":memory:", ""):
        profiles.write_text(own.replace(str(shop.folder / "warehouse.duckdb"), path))
        assert "is in memory, which ends with dbt" in error()
    profiles.write_text("{")
    assert "profiles.yml" in command_here(shop, "run").stderr
    assert arrived.requests() == []


@pytest.mark.parametrize(
    ("relation", "said"),
    [
        (None, "has no relation in the warehouse; a sync needs a table or a view"),
        ("visits; drop table visits", "which is not the name of a relation"),
    ],
    ids=["none", "more than a name"],
)
def test_a_model_has_a_relation_whose_name_is_a_name_and_nothing_else(
    shop: Project, arrived: StandIn, relation: str | None, said: str
) -> None:
    shop.node(f"model.{PACKAGE}.people", relation=relation, materialized="table")
    shop.set_status(f"model.{PACKAGE}.people", "success")
    (error,) = faults_of(command_here(shop, "run"))
    assert said in error
    assert arrived.requests() == []


def test_a_key_that_is_not_set_and_a_warehouse_that_is_none_are_named_together(shop: Project) -> None:
    artifacts = shop.as_artifacts()
    (shop.folder / "warehouse.duckdb").write_text("<html>" * 1_000)
    key, warehouse = faults_of(command_here(shop, "run", *artifacts, STATSIG_SERVER_SECRET=None))
    assert "STATSIG_SERVER_SECRET: is not set" in key
    assert "warehouse.duckdb" in warehouse


def test_a_key_that_plan_needs_and_that_is_of_the_wrong_kind_is_named(shop: Project) -> None:
    (error,) = faults_of(command_here(shop, "plan", STATSIG_CONSOLE_API_KEY="secret-sandbox"))
    assert "STATSIG_CONSOLE_API_KEY: holds a Server Secret Key" in error


def test_a_project_without_syncs_says_so(project: Project) -> None:
    (error,) = faults_of(command_here(project, "plan"))
    assert "config.meta.statsig" in error


# A warehouse that someone else holds.

_HOLD = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(project: Project) -> subprocess.Popen[str]:
    """A process that has the warehouse open for writing."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(project.folder / "warehouse.duckdb")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def let_go(holder: subprocess.Popen[str]) -> None:
    holder.communicate("", timeout=60)


def test_artifacts_of_another_project_are_refused(shop: Project, arrived: StandIn) -> None:
    flags = shop.as_artifacts()
    for name in ("manifest", "run_results"):
        artifact = shop.artifact(name)
        artifact["metadata"]["project_name"] = "another_shop"
        shop.write_artifact(name, artifact)
    finished = command_here(shop, "run", *flags)
    assert finished.returncode == 2
    for part in ("manifest.json", "'another_shop'", "'statsig_sync'", "dbt build"):
        assert part in finished.stderr
    assert arrived.requests() == []


def test_ids_that_the_output_cannot_show_are_shown_escaped(project: Project, arrived: StandIn) -> None:
    arrived.put_segment("people")
    project.table("people", "select unnest(['🙂', 'a\x1b[31mred', 'b\u202eabc', 'Zoë']) as user_id")
    project.sync("people", "people", {"object": "segment", "segment_id": "people", "mode": "mirror"})
    for encoding in ("ascii", "utf-8"):
        finished = project.command("plan", PYTHONIOENCODING=encoding)
        assert finished.returncode == 0, finished.stderr
        assert "4 to add" in finished.stdout
        assert not {"\x1b", "\u202e"} & set(finished.stdout)
    assert "\\u202eabc" in finished.stdout
    assert project.command("run", PYTHONIOENCODING="ascii").returncode == 0


def warehouse(path: str, clock: StillClock, tell: Callable[[str], None] = lambda _: None) -> Warehouse:
    return open_warehouse("profiles.yml", {"type": "duckdb", "path": path}, clock, tell)


def test_a_locked_warehouse_is_waited_for_and_then_named(project: Project, holder: subprocess.Popen[str]) -> None:
    path = str(project.folder / "warehouse.duckdb")
    clock = StillClock()
    told: list[str] = []
    with pytest.raises(WarehouseError) as found, warehouse(path, clock, told.append).reading():
        pass
    let_go(holder)
    assert 60 <= clock.elapsed < 61
    for part in (path, "held by another process", f"(PID {holder.pid})", "close the program"):
        assert part in str(found.value)
    (line,) = told
    for part in (path, "held by another process", f"(PID {holder.pid})", "up to 60 seconds"):
        assert part in line


def test_a_command_says_on_standard_error_what_it_waits_for(shop: Project, holder: subprocess.Popen[str]) -> None:
    command = subprocess.Popen(
        [sys.executable, "-m", "sync", "plan", "--json"],
        cwd=shop.folder,
        env=shop.process_environment({}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert command.stderr is not None
    line = command.stderr.readline()
    let_go(holder)
    output, rest = command.communicate(timeout=300)
    assert f"(PID {holder.pid}); waiting for up to 60 seconds." in line
    assert (json.loads(output)["exit_code"], rest) == (0, "")


def test_a_run_waits_once_for_a_locked_warehouse(project: Project, holder: subprocess.Popen[str]) -> None:
    clock = StillClock()
    with pytest.raises(WarehouseError, match="held by another process"):
        run(world_of(project, clock), Request(gate="off"), manner_of())
    let_go(holder)
    assert 60 <= clock.elapsed < 61


class _ReleasingClock(StillClock):
    holder: subprocess.Popen[str]

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        let_go(self.holder)


def test_a_warehouse_that_is_let_go_in_time_is_used(project: Project, holder: subprocess.Popen[str]) -> None:
    clock = _ReleasingClock()
    clock.holder = holder
    with warehouse(str(project.folder / "warehouse.duckdb"), clock).reading() as session:
        assert session.value("select count(*) from statsig_run_log") == 0
    assert len(clock.pauses) == 1


# What is loaded.


def test_where_no_segment_is_looked_up_and_nothing_is_sent_neither_dbt_nor_the_sandbox_nor_http_is_imported(
    shop: Project,
) -> None:
    shop.run()
    for command in ("plan", "run"):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "sync", command, "--select", "shop_*"],
            cwd=shop.folder,
            env=shop.process_environment({}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0
        loaded = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
        assert "sync.run.commands" in loaded
        roots = {name.split(".")[0] for name in loaded}
        assert not roots & {"dbt", "dbt_common", "dbt_duckdb", "starlette", "uvicorn", "requests", "tenacity"}
        assert not [name for name in loaded if name.startswith("sync.sandbox")]
