"""``resolve``: a person settles events whose outcome is unknown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.harness import Project
from tests.integration.in_process import command_here, run_here
from tests.integration.stand_in import StandIn
from tests.integration.test_retire import mirror_of


@pytest.fixture
def in_doubt(project: Project, arrived: StandIn) -> Project:
    """Two events of one batch, held, whose answer was lost after Statsig took them."""
    project.table("orders", "select unnest([1, 2]) as order_id, 'ann' as user_id")
    meta = {"object": "events", "unique_key": "order_id", "event_name": "order", "on_unknown": "hold"}
    project.sync("orders", "orders", meta)
    arrived.fault("reset", when="after")
    project.run(expect=1)
    assert len(arrived.events()) == 2
    return project


def resolve(project: Project, *arguments: str, expect: int = 0) -> Any:
    finished = project.command("resolve", "orders", "--json", *arguments)
    assert finished.returncode == expect, finished.stdout + finished.stderr
    return json.loads(finished.stdout)


def unsettled(project: Project) -> list[str]:
    return sorted(row[0] for row in project.rows("select key from statsig_unsettled"))


def test_held_events_are_listed_and_not_sent_again_until_somebody_decides(in_doubt: Project, arrived: StandIn) -> None:
    assert unsettled(in_doubt) == ["1", "2"]
    for _ in range(2):
        report = in_doubt.run(expect=1)
        plan, (result,) = report["plan"], report["results"]
        assert plan["syncs"][0]["in_doubt"] == 2
        (warning,) = plan["warnings"]
        assert "2 event(s) of earlier runs are in doubt" in warning
        assert "statsig-sync resolve orders --as sent" in warning
        assert (result["state"], result["waiting"]) == ("finished", 2)
        assert "Settle them with: statsig-sync resolve orders --as sent, or --as unsent." in result["message"]
    assert in_doubt.plan()["warnings"] == [warning]
    assert len(arrived.events()) == 2
    resolve(in_doubt, "--as", "sent")
    assert in_doubt.run()["plan"]["warnings"] == []


def test_a_run_whose_events_come_into_doubt_and_are_held_names_resolve_and_not_another_run(
    project: Project, arrived: StandIn
) -> None:
    project.table("orders", "select unnest([1, 2]) as order_id, 'ann' as user_id")
    meta = {"object": "events", "unique_key": "order_id", "event_name": "order", "on_unknown": "hold"}
    project.sync("orders", "orders", meta)
    arrived.fault("reset", when="after")
    (result,) = run_here(project, expect=1)["results"]
    assert "Settle them with: statsig-sync resolve orders --as sent, or --as unsent." in result["message"]
    assert "run again" not in result["message"]


def test_events_resolved_as_sent_are_never_sent_again(in_doubt: Project, arrived: StandIn) -> None:
    assert list(resolve(in_doubt, "--as", "sent")["batches"].values()) == [2]
    assert unsettled(in_doubt) == []
    in_doubt.run()
    assert len(arrived.events()) == 2


def test_events_resolved_as_unsent_are_sent_by_the_next_run(in_doubt: Project, arrived: StandIn) -> None:
    resolve(in_doubt, "--as", "unsent")
    assert unsettled(in_doubt) == []
    in_doubt.run()
    assert len(arrived.events()) == 4


def test_an_event_that_was_sent_several_times_is_settled_in_all_of_its_batches(
    project: Project, arrived: StandIn
) -> None:
    """Sent again while on_unknown was resend, and held by what somebody wrote afterwards."""
    project.table("orders", "select 1 as order_id, 'ann' as user_id")
    meta = {"object": "events", "unique_key": "order_id", "event_name": "order"}
    project.sync("orders", "orders", meta)
    arrived.fault("status", status=500, when="before", count=None)
    project.run(expect=1)
    assert project.rows("select count(*) > 1 from statsig_batches where state = 'unknown'") == [(True,)]
    arrived.no_faults()
    project.sync("orders", "orders", {**meta, "on_unknown": "hold"})
    resolve(project, "--as", "unsent")
    assert project.rows("select distinct state from statsig_batches") == [("unsent",)]
    project.run()
    assert len(arrived.events()) == 1


def test_one_batch_can_be_resolved_by_its_id_and_an_unknown_one_is_refused(in_doubt: Project) -> None:
    ((batch_id,),) = in_doubt.rows("select distinct batch_id from statsig_unsettled")
    assert batch_id in resolve(in_doubt, "--as", "sent", "--batch", "nonsense", expect=2)["errors"][0]
    assert unsettled(in_doubt) == ["1", "2"]
    assert in_doubt.rows("select count(*) from statsig_run_log where message like '%nonsense%'") == [(0,)]
    assert resolve(in_doubt, "--as", "sent", "--batch", batch_id)["batches"] == {batch_id: 2}


def test_what_was_resolved_is_said_in_words(in_doubt: Project) -> None:
    query = "select batch_id, strftime(claimed_at, '%Y-%m-%d %H:%M:%S') from statsig_batches"
    ((batch_id, claimed_at),) = in_doubt.rows(query)
    said = command_here(in_doubt, "resolve", "orders", "--as", "sent").stdout
    assert said.splitlines() == [
        f"batch {batch_id}: 2 event(s), claimed at {claimed_at} UTC: the connection was lost",
        "orders: 1 batch(es), 2 event(s) settled as sent",
    ]


def test_a_dry_run_says_what_would_be_settled_and_writes_nothing(in_doubt: Project, arrived: StandIn) -> None:
    before = in_doubt.rows("select (select count(*) from statsig_run_log), (select count(*) from statsig_batch_log)")
    told = resolve(in_doubt, "--as", "unsent", "--dry-run")
    ((batch_id,),) = in_doubt.rows("select batch_id from statsig_batches")
    assert (told["dry_run"], told["batches"]) == (True, {batch_id: 2})
    assert list(told["claimed_at"]) == [batch_id]
    said = command_here(in_doubt, "resolve", "orders", "--as", "unsent", "--dry-run").stdout
    assert "orders: 1 batch(es), 2 event(s) would be settled as unsent" in said
    assert "dry run: nothing was written" in said
    after = in_doubt.rows("select (select count(*) from statsig_run_log), (select count(*) from statsig_batch_log)")
    assert (after, unsettled(in_doubt)) == (before, ["1", "2"])
    in_doubt.run(expect=1)
    assert len(arrived.events()) == 2


@pytest.mark.parametrize("on_unknown", ["hold", "resend"])
def test_events_in_doubt_whose_rows_have_left_the_model_end_every_run_with_1_until_somebody_decides(
    project: Project, arrived: StandIn, on_unknown: str
) -> None:
    meta = {"object": "events", "unique_key": "order_id", "event_name": "order", "on_unknown": on_unknown}
    meta["backfill"] = "all"
    project.table("orders", "select unnest([1, 2, 3]) as order_id, 'ann' as user_id")
    project.sync("orders", "orders", meta)
    arrived.fault("reset", when="after", count=None)
    run_here(project, "--max-attempts", "1", expect=1)
    arrived.no_faults()
    project.table("orders", "select unnest([3, 4]) as order_id, 'ann' as user_id")
    left = 3 if on_unknown == "hold" else 2
    (warning,) = project.plan()["warnings"]
    assert f"{left} event(s) of earlier runs are in doubt and are not sent again" in warning
    for _ in range(2):
        finished = command_here(project, "run")
        assert finished.returncode == 1
        advice = "Settle them with: statsig-sync resolve orders --as sent, or --as unsent."
        assert f"{left} event(s) are still in doubt; see statsig_unsettled. {advice}" in finished.stdout
    runs = "select state, message from statsig_sync_runs order by started_at desc limit 1"
    ((state, message),) = project.rows(runs)
    assert (state, "resolve orders" in message) == ("finished", True)
    resolve(project, "--as", "sent")
    assert run_here(project)["results"][0]["waiting"] == 0


def test_events_in_doubt_that_go_again_do_not_wait(project: Project, arrived: StandIn) -> None:
    meta = {"object": "events", "unique_key": "order_id", "event_name": "order", "backfill": "all"}
    project.table("orders", "select unnest([1, 2]) as order_id, 'ann' as user_id")
    project.sync("orders", "orders", meta)
    arrived.fault("reset", when="after", count=None)
    # The first run has no doubt of an earlier one, the second has.
    for _ in range(2):
        finished = command_here(project, "run", "--max-attempts", "1")
        assert (finished.returncode, "2 in doubt" in finished.stdout) == (1, True)
        assert "The next run sends them again." in finished.stdout
        assert "resolve" not in finished.stdout
    assert run_here(project, "--max-attempts", "1", expect=1)["results"][0]["waiting"] == 0
    arrived.no_faults()
    plan = project.plan()
    assert (plan["warnings"], plan["syncs"][0]["events"]) == ([], 2)
    assert run_here(project)["results"][0]["waiting"] == 0


def test_events_that_wait_and_events_that_go_again_are_told_apart(project: Project, arrived: StandIn) -> None:
    meta = {"object": "events", "unique_key": "order_id", "event_name": "order", "backfill": "all"}
    project.table("orders", "select unnest([1, 2, 3]) as order_id, 'ann' as user_id")
    project.sync("orders", "orders", meta)
    arrived.fault("reset", when="after", count=None)
    run_here(project, "--max-attempts", "1", expect=1)
    project.table("orders", "select unnest([3, 4]) as order_id, 'ann' as user_id")
    (result,) = run_here(project, "--max-attempts", "1", expect=1)["results"]
    assert (result["state"], result["unknown"], result["waiting"]) == ("failed", 2, 2)
    assert "2 event(s) are still in doubt; see statsig_unsettled. Settle them with:" in result["message"]
    assert "2 event(s) are still in doubt; see statsig_unsettled. The next run sends them again." in result["message"]
    assert "4 in doubt" in command_here(project, "run", "--max-attempts", "1").stdout


def test_a_pattern_that_names_several_syncs_settles_none(in_doubt: Project) -> None:
    in_doubt.sync("orders_2", "orders", {"object": "events", "unique_key": "order_id", "event_name": "order"})
    finished = command_here(in_doubt, "resolve", "orders*", "--as", "sent")
    assert (finished.returncode, "'orders*' names 2 syncs; name one" in finished.stderr) == (2, True)
    assert unsettled(in_doubt) == ["1", "2"]


def test_a_segment_sync_cannot_be_resolved(project: Project) -> None:
    project.table("people", "select 'ann' as user_id")
    project.sync("orders", "people", {"object": "segment", "segment_id": "people", "mode": "add"})
    assert "settled by the next run" in resolve(project, "--as", "sent", expect=2)["errors"][0]


def test_events_in_doubt_of_a_sync_that_is_gone_are_told_and_settled_by_its_name(
    in_doubt: Project, arrived: StandIn
) -> None:
    mirror_of(in_doubt, "people", "ann")
    in_doubt.no_sync("orders")
    told = "orders: is in the project no more, and 2 event(s) that it has sent are in doubt"
    for command in ("check", "plan"):
        (warning,) = json.loads(command_here(in_doubt, command, "--json").stdout)["warnings"]
        assert warning.startswith(told), command
        assert "statsig-sync resolve orders --as sent, or --as unsent" in warning
    (warning,) = run_here(in_doubt)["plan"]["warnings"]
    assert warning.startswith(told)
    assert list(resolve(in_doubt, "--as", "sent", "--dry-run")["batches"].values()) == [2]
    assert unsettled(in_doubt) == ["1", "2"]
    assert list(resolve(in_doubt, "--as", "sent")["batches"].values()) == [2]
    assert unsettled(in_doubt) == []
    assert run_here(in_doubt)["plan"]["warnings"] == []
    (error,) = resolve(in_doubt, "--as", "sent", expect=2)["errors"]
    assert "'orders' names no sync" in error


def test_events_in_doubt_of_a_sync_that_was_the_last_of_its_project_are_settled(in_doubt: Project) -> None:
    in_doubt.no_sync("orders")
    resolve(in_doubt, "--as", "unsent")
    assert unsettled(in_doubt) == []


def test_events_in_doubt_that_another_name_carries_on_are_not_told_as_those_of_a_sync_that_is_gone(
    in_doubt: Project,
) -> None:
    (kept,) = in_doubt.synced()
    meta = {**kept["meta"], "renamed_from": "orders"}
    in_doubt.no_sync("orders", {**kept, "name": "purchases", "meta": meta})
    (warning,) = json.loads(command_here(in_doubt, "plan", "--json").stdout)["warnings"]
    assert "purchases: 2 event(s) of earlier runs are in doubt" in warning
