"""The guard on events: more than is usual, keys that each build makes, duplicates, and metadata that is gone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.harness import Project
from tests.integration.in_process import command_here, run_here
from tests.integration.stand_in import StandIn


def orders(project: Project, query: str, **more: Any) -> None:
    project.table("orders", query)
    project.sync("orders", "orders", {"object": "events", "unique_key": "k", "event_name": "order", **more})


def numbered(rows: int) -> str:
    return f"select range as k, 'ann' as user_id from range({rows})"


def refused(project: Project, *arguments: str) -> str:
    """The one thing that a run is refused for."""
    (error,) = run_here(project, *arguments, expect=3)["errors"]
    return str(error)


def overrides(project: Project) -> list[str]:
    return [row[0] for row in project.rows("select overrides from statsig_sync_runs where overrides is not null")]


def test_more_events_than_max_events_are_refused_until_they_are_allowed(project: Project, arrived: StandIn) -> None:
    orders(project, numbered(11), guard={"max_events": 10})
    error = refused(project)
    assert "it would send 11 event(s); the guard allows up to 10 in one run (max_events)" in error
    assert "--allow-events orders" in error
    assert arrived.events() == []
    run_here(project, "--allow-events", "ord*")
    assert overrides(project) == ["--allow-events orders"]
    orders(project, numbered(21), guard={"max_events": 10})
    run_here(project)
    assert len(arrived.events()) == 21


def test_many_times_what_is_usual_is_refused_once_there_are_runs_to_say_what_is_usual(
    project: Project, arrived: StandIn
) -> None:
    counts = (500, 2_000, 2_400, 2_800)
    guard = {"max_times_usual": 2}
    for days, count in zip((4, 3, 2, 1), counts, strict=True):
        orders(project, numbered(count), guard=guard)
        run_here(project)
        project.execute(
            f"update statsig_run_log set logged_at = logged_at - interval {days} day"
            " where logged_at > now() - interval 1 hour"
        )
    # 2,300 events in 3 days: 767 a day, and the guard never counts fewer than 1,000.
    orders(project, numbered(2_800 + 2_000), guard=guard)
    assert project.plan()["refusals"] == []
    orders(project, numbered(2_800 + 2_001), guard=guard)
    error = refused(project)
    assert "it would send 2,001 event(s); about 767 are usual by now" in error
    run_here(project, "--allow-events", "orders")


@pytest.mark.parametrize("key", ["uuid()", "md5(random()::varchar)"])
def test_keys_that_each_build_makes_are_refused_with_the_reason(project: Project, arrived: StandIn, key: str) -> None:
    query = (
        f"select {key} as k, 'ann' as user_id, timestamp '2026-07-01' + to_hours(range) as event_time from range(99)"
    )
    orders(project, query)
    run_here(project)
    orders(project, query)
    error = refused(project)
    assert "99 of the 99 keys that were sent last are no longer in the model, and 99 new ones come" in error
    assert "uuid()" in error
    assert len(arrived.events()) == 99
    orders(project, query, exclude=["event_time"])
    assert "look as if each build made other ones" in refused(project)
    run_here(project, "--allow-events", "orders")
    assert overrides(project) == ["--allow-events orders"]


def test_a_model_of_the_newest_rows_is_not_refused_for_the_keys_that_go(project: Project, arrived: StandIn) -> None:
    def day(number: int, time: str) -> str:
        rows = f"from range({10 * number}, {10 * number + 10})"
        return f"select range as k, 'ann' as user_id{time} {rows}"

    time = ", timestamp '2026-07-01' + to_days({}) as event_time"
    for number in range(3):
        orders(project, day(number, time.format(number)))
        run_here(project)
    orders(project, day(3, ""))
    assert "write guard: {allow_gone_keys: true}" in refused(project)
    orders(project, day(3, ""), guard={"allow_gone_keys": True})
    run_here(project)
    assert len(arrived.events()) == 40


def test_a_few_rows_that_go_and_come_are_not_refused(project: Project, arrived: StandIn) -> None:
    orders(project, numbered(10))
    run_here(project)
    orders(project, "select range as k, 'ann' as user_id from range(5, 15)")
    run_here(project)
    assert len(arrived.events()) == 15


def test_rows_that_share_keys_above_a_few_per_cent_are_refused(project: Project, arrived: StandIn) -> None:
    query = "select range % {} as k, 'ann' as user_id from range(100)"
    orders(project, query.format(94))
    error = refused(project)
    assert "6 of 100 rows (6 %) have the k of another row; the guard allows up to 5 %" in error
    assert "unique and not_null" in error
    orders(project, query.format(95))
    run_here(project)
    assert len(arrived.events()) == 95
    orders(project, query.format(50))
    assert "50 of 100 rows (50 %)" in refused(project)
    run_here(project, "--allow-events", "orders")
    orders(project, query.format(50), guard={"max_duplicates_percent": 50})
    run_here(project)


def test_metadata_that_was_sent_and_is_gone_is_noted_in_the_plan_and_the_run_ledger_and_new_one_is_not(
    project: Project, arrived: StandIn
) -> None:
    query = "select range as k, 'ann' as user_id, 'pro' as plan, 'de' as shop from range({})"
    orders(project, query.format(3))
    run_here(project)
    orders(project, query.format(4).replace("as plan", "as tier"))
    (note,) = run_here(project)["plan"]["notes"]
    assert note.startswith("orders: earlier events had the metadata plan, which the model no longer has")
    ((kept, columns),) = project.rows(
        "select notes, metadata_columns from statsig_run_log where state = 'finished' and notes is not null"
    )
    assert f"orders: {kept}" == note
    assert json.loads(columns) == ["k", "tier", "shop"]
    orders(project, query.format(5).replace("as plan", "as tier").replace("as shop", "as shop, 1 as more"))
    assert run_here(project)["plan"]["notes"] == []


def test_check_warns_of_a_unique_key_that_dbt_does_not_test(project: Project) -> None:
    orders(project, numbered(3), unique_key="K")

    def warnings() -> list[str]:
        finished = command_here(project, "check", "--json")
        assert finished.returncode == 0, finished.stdout
        found: list[str] = json.loads(finished.stdout)["warnings"]
        return found

    (warning,) = warnings()
    assert "orders: dbt does not test that K is unique and not_null" in warning
    assert "warning: orders: dbt does not test" in command_here(project, "check").stdout
    project.test("unique_k", "orders", "pass", test="unique", column="k")
    project.test("not_null_user", "orders", "pass", test="not_null", column="user_id")
    (warning,) = warnings()
    assert "is not_null. Of rows" in warning
    project.test("not_null_k", "orders", "pass", test="not_null", column="k")
    assert warnings() == []


def test_keys_made_anew_are_noticed_after_a_quiet_day_too(project: Project, arrived: StandIn) -> None:
    query = "select md5(range || '{1}') as k, 'ann' as user_id from range({0})"
    for rows in (500, 502):
        orders(project, query.format(rows, "a"))
        run_here(project)
    orders(project, query.format(502, "b"))
    assert "502 of the 502 keys that were sent last are no longer in the model" in refused(project)
    assert len(arrived.events()) == 502


def test_new_keys_that_are_allowed_have_to_be_those_that_were_sent(project: Project, arrived: StandIn) -> None:
    orders(project, numbered(99))
    run_here(project)
    orders(project, "select 'v-' || range as k, 'ann' as user_id from range(99)")
    error = refused(project, "--allow-new-keys", "orders")
    assert "99 of the 99 keys that were sent last are no longer in the model" in error
    assert len(arrived.events()) == 99


def test_runs_that_found_nothing_do_not_say_what_is_usual(project: Project) -> None:
    orders(project, numbered(20_000))
    run_here(project)
    for _ in range(3):
        for ledger in ("statsig_run_log", "statsig_batch_log", "statsig_changelog"):
            project.execute(f"update {ledger} set logged_at = logged_at - interval 1 hour")
        run_here(project)
    orders(project, numbered(32_000))
    run_here(project)
