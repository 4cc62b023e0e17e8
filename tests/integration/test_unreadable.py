"""What cannot be read: a broken view stops its own sync only, and a ledger that is not as it has to be says so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sync import __version__
from tests.integration.harness import EXPIRE_LEASES, PACKAGE, Project
from tests.integration.in_process import command_here, run_here
from tests.integration.stand_in import StandIn

EVENTS = {"object": "events", "unique_key": "k", "event_name": "seen", "columns": {"user_id": "k"}, "backfill": "all"}
SEGMENT = {"object": "segment", "segment_id": "people", "mode": "mirror", "columns": {"user_id": "k"}}


@pytest.fixture
def shop(project: Project, arrived: StandIn) -> Project:
    """A project with a sync of events and one of a segment on good tables, and a table to make views over."""
    project.table("orders", "select 'o1' as k")
    project.table("buyers", "select 'b1' as k")
    project.execute("create table raw as select 'r1' as k, 'x' as number")
    project.sync("good_events", "orders", EVENTS)
    project.sync("good_people", "buyers", SEGMENT)
    arrived.put_segment("people")
    arrived.put_segment("others")
    return project


def with_view(shop: Project, query: str, meta: dict[str, Any], *then: str) -> None:
    """Adds a sync on a view, and then does what breaks it."""
    shop.table("broken", query, materialized="view")
    shop.sync("bad", "broken", meta)
    shop.execute(*then)


def states(shop: Project) -> dict[str, tuple[str, str]]:
    rows = shop.rows(
        "select sync_name, max_by(state, logged_at), coalesce(max_by(message, logged_at), '') from statsig_run_log"
        " group by sync_name"
    )
    return {name: (state, message) for name, state, message in rows}


BREAKAGES = {
    "a column is gone": (["alter table raw rename column k to other"], "k"),
    "what it reads is gone": (["drop table raw"], "raw"),
    "a value cannot be cast": ([], "Could not convert string 'x'"),
}


@pytest.mark.parametrize("meta", [EVENTS, {**SEGMENT, "segment_id": "others"}], ids=["events", "segment"])
@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_broken_view_stops_its_own_sync_only(
    shop: Project, arrived: StandIn, meta: dict[str, Any], breakage: str
) -> None:
    statements, words = BREAKAGES[breakage]
    key = "number::integer::varchar" if not statements else "k"
    with_view(shop, f"select {key} as k from raw", meta, *statements)

    plan = json.loads(command_here(shop, "plan", "--json").stdout)
    assert (plan["exit_code"], [one["sync"] for one in plan["syncs"]]) == (1, ["good_events", "good_people"])
    (refusal,) = plan["refusals"]
    assert (refusal["sync"], refusal["kind"]) == ("bad", "unreadable")
    assert words in refusal["message"]

    stopped = command_here(shop, "run")
    assert (stopped.returncode, arrived.ids("people")) == (1, set())
    assert f"error: bad: {refusal['message']}" in stopped.stderr
    assert "--keep-going" in stopped.stderr
    found = states(shop)
    assert found["bad"] == ("failed", refusal["message"])
    assert {found["good_events"][0], found["good_people"][0]} == {"aborted"}

    report = run_here(shop, "--keep-going", expect=1)
    assert {one["sync_name"]: one["state"] for one in report["results"]} == {
        "good_events": "finished",
        "good_people": "finished",
    }
    assert arrived.ids("people") == {"b1"}
    assert states(shop)["bad"] == ("failed", refusal["message"])


def test_where_only_a_broken_view_is_chosen_nothing_else_is_said_to_be_left_out(shop: Project) -> None:
    with_view(shop, "select k from raw", EVENTS, "drop table raw")
    finished = command_here(shop, "run", "--select", "bad", "--keep-going")
    assert finished.returncode == 1
    assert finished.stderr.count("error:") == 1
    assert command_here(shop, "run", "--select", "good_*").returncode == 0


def test_check_prune_and_verify_name_the_sync_of_a_broken_view(shop: Project, arrived: StandIn) -> None:
    command_here(shop, "run")
    with_view(shop, "select k from raw", {**SEGMENT, "segment_id": "others"}, "drop table raw")
    for command in (["check"], ["prune", "--older-than", "1d"]):
        finished = command_here(shop, *command)
        assert finished.returncode in (1, 2)
        assert "bad: its model is" in finished.stderr.replace("exposure ", "")
    verified = command_here(shop, "verify")
    assert verified.returncode == 1
    assert "good_people: segment people: as it should be" in verified.stdout
    assert "bad: its model is" in verified.stderr


def test_a_view_that_needs_a_plugin_is_refused_with_duckdbs_own_words(shop: Project) -> None:
    profiles = json.loads((shop.folder / "profiles.yml").read_text())
    profiles[PACKAGE]["outputs"]["dev"]["plugins"] = [{"module": "own_functions"}]
    (shop.folder / "profiles.yml").write_text(json.dumps(profiles))
    # A function that is there only in the session that makes the view.
    with_view(shop, "select k from raw", EVENTS, "create macro shout(x) as upper(x)")
    shop.execute("create or replace view broken as select shout(k) as k from raw", "drop macro shout")
    (refusal,) = json.loads(command_here(shop, "plan", "--json").stdout)["refusals"]
    for part in ("shout", "the plugin own_functions", "runs in dbt only", "make it a table (materialized: table)"):
        assert part in refusal["message"]
    # What is stored needs no plugin.
    assert command_here(shop, "run", "--select", "good_*").returncode == 0


def test_what_nothing_needs_is_not_loaded_and_what_a_view_needs_is_named(shop: Project) -> None:
    profiles = json.loads((shop.folder / "profiles.yml").read_text())
    output = profiles[PACKAGE]["outputs"]["dev"]
    output["extensions"] = [{"name": "no_such_extension", "repo": "http://127.0.0.1:1"}]
    output["attach"] = [{"path": "nowhere.duckdb", "alias": "crm"}]
    output["secrets"] = [{"type": "no_such_type", "key_id": "s3cr3t"}]
    (shop.folder / "profiles.yml").write_text(json.dumps(profiles))
    assert command_here(shop, "check").returncode == 0
    assert command_here(shop, "run").returncode == 0

    with_view(shop, "select k from raw", EVENTS, "drop table raw")
    (refusal,) = json.loads(command_here(shop, "plan", "--json").stdout)["refusals"]
    for part in ("the extension no_such_extension could not be loaded", "nowhere.duckdb", "crm", "a secret"):
        assert part in refusal["message"]
    assert "s3cr3t" not in refusal["message"]


def test_a_plan_says_where_a_model_is_a_view(shop: Project) -> None:
    with_view(shop, "select k from raw", EVENTS)
    notes = json.loads(command_here(shop, "plan", "--json").stdout)["notes"]
    assert [note for note in notes if "reads a view" in note] == [
        "bad: reads a view: its rows can differ from those that dbt tested. Make it a table (materialized: table)."
    ]


# Ledgers of another version

LEDGERS = ["statsig_run_log", "statsig_batch_log", "statsig_changelog", "statsig_reject_log"]


@pytest.mark.parametrize("relation", LEDGERS)
def test_a_ledger_that_is_a_view_says_so(shop: Project, arrived: StandIn, relation: str) -> None:
    shop.execute(f"alter table {relation} rename to was", f"create view {relation} as select * from was")
    for command in ("check", "plan", "run"):
        finished = command_here(shop, command)
        assert finished.returncode == 2, finished.stdout + finished.stderr
        assert f'"{relation}" is a view, as dbt clone leaves one, and has to be a table' in finished.stderr
        assert "Current transaction is aborted" not in finished.stderr
    assert arrived.ids("people") == set()


@pytest.mark.parametrize(
    ("relation", "column"),
    [("statsig_run_log", "overrides"), ("statsig_batch_log", "elapsed_ms"), ("statsig_reject_log", "http_status")],
)
def test_a_ledger_of_another_version_says_what_it_lacks(
    shop: Project, arrived: StandIn, relation: str, column: str
) -> None:
    kept = [row[0] for row in shop.rows(f"describe {relation}") if row[0] != column]
    shop.execute(
        f"alter table {relation} rename to was", f"create table {relation} as select {', '.join(kept)} from was"
    )
    for command in ("check", "plan", "run"):
        finished = command_here(shop, command)
        assert finished.returncode == 2, finished.stdout + finished.stderr
        assert f'"{relation}" has no column {column}' in finished.stderr
        for part in (f"This is statsig-sync {__version__}", "dbt package statsig_sync", "dbt build"):
            assert part in finished.stderr
        assert "aborted" not in finished.stderr
    assert arrived.ids("people") == set()


COMMANDS = (
    ("check",),
    ("plan",),
    ("run",),
    ("verify",),
    ("resolve", "good_events", "--as", "sent"),
    ("retire", "people", "--forget"),
    ("prune", "--older-than", "1d"),
)
BROKEN_LEDGERS = {
    "a ledger of an older version": (
        ["alter table statsig_changelog drop column event_time"],
        ['"statsig_changelog" has no column event_time', f"This is statsig-sync {__version__}", "dbt package"],
    ),
    "a view of an older version": (
        ["create or replace view statsig_event_hours as select 'v' as sync_name, 1 as events"],
        ['"statsig_event_hours" has no column project, event_name', f"This is statsig-sync {__version__}"],
    ),
    "a view that is gone": (
        ["drop view statsig_event_hours"],
        ['there is no "warehouse"."main"."statsig_event_hours"'],
    ),
    "a view that cannot be read": (
        [
            "create table gone as select 1 as events",
            "create or replace view statsig_event_hours as select * from gone",
            "drop table gone",
        ],
        ['"statsig_event_hours"', "gone"],
    ),
    "a view of the build log of an older version": (
        ["create or replace view statsig_node_runs as select 'v' as unique_id"],
        ['"statsig_node_runs" has no column', f"This is statsig-sync {__version__}"],
    ),
    "a view of the build log that is gone": (["drop view statsig_invocations"], ['"statsig_invocations"']),
}


@pytest.mark.parametrize("breakage", BROKEN_LEDGERS)
def test_every_command_that_reads_the_ledgers_names_what_is_not_as_it_has_to_be(shop: Project, breakage: str) -> None:
    statements, words = BROKEN_LEDGERS[breakage]
    assert command_here(shop, "run").returncode == 0
    shop.no_sync("good_people")
    shop.execute(*statements)
    for command in COMMANDS:
        finished = command_here(shop, *command)
        assert finished.returncode == 2, (command, finished.stdout + finished.stderr)
        for part in (*words, "dbt build"):
            assert part in finished.stderr, command
        assert "Binder Error" not in finished.stderr or "cannot be read" in breakage


def test_a_ledger_whose_column_has_another_type_says_so(shop: Project) -> None:
    shop.execute(
        "alter table statsig_changelog rename to was",
        "create table statsig_changelog as select * replace (42 as logged_at) from was",
    )
    finished = command_here(shop, "check")
    assert finished.returncode == 2
    assert "logged_at is INTEGER and has to be a timestamp" in finished.stderr


def test_a_ledger_may_have_more_columns_than_this_version_writes(shop: Project, arrived: StandIn) -> None:
    shop.execute("alter table statsig_run_log add column of_a_later_version varchar")
    assert command_here(shop, "run").returncode == 0
    shop.execute(EXPIRE_LEASES)
    assert arrived.ids("people") == {"b1"}
