"""``prune``: the ledgers forget what nothing depends on, and nothing that a later run decides by."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from tests.integration.harness import Project
from tests.integration.in_process import command_here, run_here
from tests.integration.stand_in import StandIn

_AGED = (
    "update statsig_run_log set logged_at = logged_at - interval 400 day",
    "update statsig_batch_log set logged_at = logged_at - interval 400 day",
    "update statsig_changelog set logged_at = logged_at - interval 400 day",
    "update statsig_reject_log set logged_at = logged_at - interval 400 day",
)


def prune(project: Project, *arguments: str, expect: int = 0) -> Any:
    finished = project.command("prune", "--json", *arguments)
    assert finished.returncode == expect, finished.stdout + finished.stderr
    return json.loads(finished.stdout)


def orders(project: Project, *ids: int, **more: str) -> None:
    project.table("orders", f"select unnest({list(ids)}::bigint[]) as order_id, 'ann' as user_id")
    project.sync("orders", "orders", {"object": "events", "unique_key": "order_id", "event_name": "order", **more})


def keyed(project: Project, name: str, numbers: Iterable[int], salt: str) -> None:
    """An event sync whose keys are made of numbers and a salt."""
    keys = [f"{number}{salt}" for number in numbers]
    project.table(name, f"select unnest({keys}::varchar[]) as id, 'ann' as user_id")
    project.sync(name, name, {"object": "events", "unique_key": "id", "event_name": name, "backfill": "all"})


def test_an_event_is_forgotten_only_when_the_model_has_it_no_more(project: Project, arrived: StandIn) -> None:
    orders(project, 1, 2, 3)
    project.run()
    project.execute(*_AGED)
    orders(project, 3, 4)
    assert prune(project, "--older-than", "180d")["deleted"]["statsig_changelog"] == 2
    assert project.rows("select key from statsig_changelog") == [("3",)]
    project.run()
    assert len(arrived.events()) == 4


@pytest.mark.parametrize("status", ["error", "skipped", None])
def test_nothing_is_forgotten_by_a_model_that_was_not_built(
    project: Project, arrived: StandIn, status: str | None
) -> None:
    orders(project, 1, 2)
    project.run()
    project.execute(*_AGED)
    orders(project, 3)
    project.set_status("model.statsig_sync.orders", status)
    (error,) = prune(project, "--older-than", "180d", expect=3)["errors"]
    assert "orders: model orders" in error
    (warning,) = prune(project, "--older-than", "99999", "--gate", "warn")["warnings"]
    assert "orders: model orders" in warning
    orders(project, 1, 2, 3)
    project.run()
    assert len(arrived.events()) == 3


def test_nothing_is_forgotten_by_a_model_without_a_row(project: Project, arrived: StandIn) -> None:
    orders(project, 1, 2)
    project.run()
    project.execute(*_AGED)
    orders(project)
    assert prune(project, "--older-than", "180d")["deleted"]["statsig_changelog"] == 0
    orders(project, 1, 2)
    project.run()
    assert len(arrived.events()) == 2


def test_events_are_not_forgotten_by_keys_that_are_made_anew_and_others_are(project: Project, arrived: StandIn) -> None:
    orders(project, *range(5))
    for name in ("visits", "clicks"):
        keyed(project, name, range(5), "a")
    run_here(project)
    project.execute(*_AGED)
    keyed(project, "visits", range(9), "a")
    run_here(project)
    orders(project, *range(2, 5))
    keyed(project, "visits", range(9), "b")
    keyed(project, "clicks", range(3, 5), "a")
    assert command_here(project, "run").returncode == 3
    for flags in (["--dry-run"], []):
        told = prune(project, "--older-than", "180d", *flags)
        (warning,) = told["warnings"]
        assert warning.startswith(
            "visits: none of its events is forgotten, because 9 of the 9 keys in its model were never sent"
        )
        assert told["deleted"]["statsig_changelog"] == 2 + 3
    keyed(project, "visits", range(9), "a")
    run_here(project)
    assert len(arrived.events()) == 5 + 9 + 5


def test_events_are_not_forgotten_by_keys_that_come_from_elsewhere(project: Project, arrived: StandIn) -> None:
    orders(project, 1, 2)
    run_here(project)
    project.execute(*_AGED)
    project.table("orders", "select unnest([7, 8]) as order_id, unnest(['1', '2']) as number, 'ann' as user_id")
    project.sync("orders", "orders", {"object": "events", "unique_key": "number", "event_name": "order"})
    told = prune(project, "--older-than", "180d")
    (warning,) = told["warnings"] or [""]
    assert (warning, told["deleted"]["statsig_changelog"]) == ("", 0)
    project.table("orders", "select unnest([7, 8]) as order_id, unnest(['3', '4']) as number, 'ann' as user_id")
    told = prune(project, "--older-than", "180d")
    (warning,) = told["warnings"]
    assert warning.startswith("orders: none of its events is forgotten, because its keys were order_id, ")
    assert "statsig-sync run --select orders" in warning
    assert told["deleted"]["statsig_changelog"] == 0


def test_what_the_gate_warns_of_is_said_in_words(project: Project) -> None:
    orders(project, 1)
    run_here(project)
    project.set_status("model.statsig_sync.orders", "error")
    said = command_here(project, "prune", "--older-than", "180d", "--gate", "warn")
    assert said.returncode == 0
    assert said.stdout.startswith("warning: orders: model orders")


def test_what_was_deleted_is_said_in_words(project: Project) -> None:
    orders(project, 1, 2)
    run_here(project)
    project.execute(*_AGED)
    orders(project, 2)
    said = command_here(project, "prune", "--older-than", "180d").stdout.splitlines()
    assert "statsig_changelog: 1 line(s) deleted" in said
    assert "statsig_batch_log: 0 line(s) deleted" in said


def test_a_dry_run_says_what_would_be_deleted_and_writes_nothing(project: Project) -> None:
    orders(project, 1, 2)
    run_here(project)
    project.execute(*_AGED)
    orders(project, 2)
    names = ("run_log", "batch_log", "changelog", "reject_log")
    counts = "select " + ", ".join(f"(select count(*) from statsig_{name})" for name in names)
    before = project.rows(counts)
    told = prune(project, "--older-than", "180d", "--dry-run")
    assert (told["dry_run"], told["deleted"]["statsig_changelog"]) == (True, 1)
    said = command_here(project, "prune", "--older-than", "180d", "--dry-run").stdout.splitlines()
    assert "statsig_changelog: 1 line(s) would be deleted" in said
    assert "This was a dry run: nothing was written or sent." in said
    assert project.rows(counts) == before
    assert prune(project, "--older-than", "180d")["deleted"] == told["deleted"]


@pytest.mark.parametrize("age", ["0", "0d", "00d"])
def test_an_age_that_would_leave_nothing_is_wrong_usage(project: Project, age: str) -> None:
    finished = command_here(project, "prune", "--older-than", age)
    assert finished.returncode == 2
    assert f"'{age}' would leave nothing; write 1d or more" in finished.stderr


def test_lines_that_are_younger_stay(project: Project) -> None:
    orders(project, 1)
    project.run()
    orders(project, 2)
    assert set(prune(project, "--older-than", "1d")["deleted"].values()) == {0}


def test_events_in_doubt_are_never_forgotten(project: Project) -> None:
    orders(project, 1)
    project.run()
    project.execute(*_AGED, "update statsig_batch_log set state = 'unknown' where state = 'accepted'")
    orders(project, 2)
    prune(project, "--older-than", "180d")
    assert project.rows("select key from statsig_unsettled") == [("1",)]


def test_pruning_leaves_who_is_in_a_segment_and_what_the_next_run_sends(project: Project, arrived: StandIn) -> None:
    arrived.put_segment("people")
    meta = {"object": "segment", "segment_id": "people", "mode": "mirror"}
    for ids in (["ann", "bob"], ["ann"], ["ann", "bob"], ["bob"]):
        project.table("people", f"select unnest({ids}) as user_id")
        project.sync("people", "people", meta)
        project.run()
    members = project.rows("select * from statsig_membership order by all")
    project.execute(*_AGED)
    deleted = prune(project, "--older-than", "180")["deleted"]
    assert deleted["statsig_changelog"] == 3
    assert deleted["statsig_run_log"] > 0
    assert project.rows("select * from statsig_membership order by all") == members
    assert project.run()["results"][0]["planned"] == 0
    assert arrived.ids("people") == {"bob"}


def test_keys_that_a_dead_run_wrote_before_their_batch_count_for_nothing_and_are_forgotten(
    project: Project, arrived: StandIn
) -> None:
    orders(project, 1, 2)
    project.execute(
        "insert into statsig_changelog (batch_id, sync_name, operation, key, row_hash, logged_at)"
        " values ('dead', 'orders', 'skip', '1', 'h', now()::timestamp)",
    )
    project.run()
    assert len(arrived.events()) == 2
    project.execute(*_AGED)
    prune(project, "--older-than", "180d")
    assert sorted(project.rows("select key from statsig_changelog")) == [("1",), ("2",)]
    assert project.rows("select count(*) from statsig_changelog where batch_id = 'dead'") == [(0,)]


def test_a_sync_that_has_run_is_not_taken_for_new_after_pruning(project: Project, arrived: StandIn) -> None:
    orders(project, 1, backfill="none")
    project.run()
    project.execute(*_AGED)
    orders(project, 2, backfill="none")
    prune(project, "--older-than", "180d")
    project.run()
    assert [event["metadata"]["order_id"] for event in arrived.events()] == ["2"]


def test_events_of_a_sync_that_is_no_longer_in_the_project_stay(project: Project, arrived: StandIn) -> None:
    orders(project, 1, 2)
    project.run()
    project.execute(*_AGED)
    orders(project, 3)
    (kept,) = project.synced()
    project.no_sync("orders", {**kept, "name": "purchases"})
    assert prune(project, "--older-than", "180d")["deleted"]["statsig_changelog"] == 0
    project.no_sync("purchases", kept)
    orders(project, 1, 2)
    project.run()
    assert len(arrived.events()) == 2


def test_pruning_before_the_first_run_does_not_end_it(project: Project, arrived: StandIn) -> None:
    orders(project, 1, backfill="none")
    prune(project, "--older-than", "180d")
    project.run()
    assert arrived.events() == []


def test_an_age_that_is_no_number_of_days_is_wrong_usage(project: Project) -> None:
    finished = project.command("prune", "--older-than", "soon")
    assert finished.returncode == 2
    assert "is not a number of days, such as 180d" in finished.stderr


def test_pruning_leaves_what_the_gate_says(project: Project, arrived: StandIn) -> None:
    orders(project, 1)
    project.test("unique_orders", "orders", "pass")
    # All of it is old, and there was more before it.
    project.execute(
        "update statsig_build_log set logged_at = logged_at - interval 90 day",
        "insert into statsig_build_log by name select * replace (invocation_id || '-before' as invocation_id,"
        " 'error' as status, logged_at - interval 1 day as logged_at, started_at - interval 1 day as started_at,"
        " completed_at - interval 1 day as completed_at)"
        " from statsig_build_log",
    )
    project.log_invocation()
    before = project.rows("select count(*) from statsig_build_log")[0][0]
    runs = project.rows("select * from statsig_node_runs order by unique_id")
    deleted = prune(project, "--older-than", "30d")["deleted"]
    assert deleted["statsig_build_log"] >= 3
    assert project.rows("select count(*) from statsig_build_log")[0][0] == before - deleted["statsig_build_log"]
    assert project.rows("select * from statsig_node_runs order by unique_id") == runs
    project.run()
    assert arrived.users() == ["ann"]


def test_old_lines_about_arrival_are_deleted_and_young_ones_stay(project: Project) -> None:
    project.execute(
        "insert into statsig_arrival_log (run_id, sync_name, logged_at, project, kind, key, verdict) select 'run', 's',"
        " now()::timestamp - to_days(days::integer), 'sandbox', 'key', days, 'found' from unnest([400, 1]) as t(days)"
    )
    orders(project, 1)
    assert prune(project, "--older-than", "180d")["deleted"]["statsig_arrival_log"] == 1
    assert project.rows("select key from statsig_arrival_log") == [("1",)]
