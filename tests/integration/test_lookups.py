"""What someone has done to a segment in Statsig is told by every command, also where nothing is to be sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.harness import EXPIRE_LEASES, Project
from tests.integration.in_process import command_here, run_here, run_still
from tests.integration.stand_in import ADD_IDS, LOOK_UP_SEGMENT, StandIn


def sync_of(project: Project, name: str, *ids: str, mode: str = "mirror", **more: Any) -> None:
    """A sync that writes these ids into the segment of its own name."""
    project.table(name, f"select unnest({list(ids)}::varchar[]) as user_id")
    meta = {"object": "segment", "segment_id": name, "mode": mode, "create_if_missing": True}
    project.sync(name, name, {**meta, **more})


def numbered(count: int) -> list[str]:
    return [f"u{number}" for number in range(count)]


def asked(project: Project, *arguments: str, expect: int = 0, **environment: str | None) -> Any:
    """What a command prints with ``--json``."""
    finished = command_here(project, *arguments, "--json", **environment)
    assert finished.returncode == expect, finished.stdout + finished.stderr
    return json.loads(finished.stdout)


def members(project: Project, segment_id: str) -> set[str]:
    """Who is in a segment for sure, as the ledgers have it; nobody may be in doubt."""
    rows = project.rows(f"select id, status from statsig_members where segment_id = '{segment_id}'")
    assert {status for _, status in rows} <= {"in"}
    return {one for one, _ in rows}


@pytest.fixture
def settled(project: Project) -> Project:
    """A mirror that has nothing to send, and that must not make its segment."""
    sync_of(project, "people", "ann", "bob")
    run_here(project)
    sync_of(project, "people", "ann", "bob", create_if_missing=False)
    return project


FAULTS = {
    "deleted": "is gone from Statsig, but the ledgers know 2 members. Make it again in the console",
    "archived": "is archived in Statsig",
    "rule_based": "only an ID list can be synced",
    "analysis_list": "only an ID list can be synced",
}


def do(arrived: StandIn, what: str, segment_id: str) -> None:
    """What people do to a segment in the console."""
    if what == "deleted":
        arrived.delete_segment(segment_id)
    elif what == "archived":
        arrived.archive_segment(segment_id)
    else:
        arrived.set_type(segment_id, what)


@pytest.mark.parametrize("what", FAULTS)
def test_a_segment_that_is_no_list_any_more_is_told_by_all_commands_though_nothing_changes(
    settled: Project, arrived: StandIn, what: str
) -> None:
    do(arrived, what, "people")
    sent = arrived.sent_data()
    for command in ("check", "plan", "run"):
        (error,) = asked(settled, command, expect=2)["errors"]
        assert FAULTS[what] in error, command
    (error,) = asked(settled, "verify", expect=1)["errors"]
    assert FAULTS[what] in error
    assert arrived.sent_data() == sent


def test_a_segment_that_is_switched_off_is_a_warning_of_all_commands(settled: Project, arrived: StandIn) -> None:
    arrived.disable_segment("people")
    for command in ("check", "plan", "verify"):
        (warning,) = asked(settled, command)["warnings"]
        assert "people: segment 'people' is disabled in Statsig, so nobody is matched by it" in warning, command
    (warning,) = asked(settled, "run")["plan"]["warnings"]
    assert "is disabled in Statsig" in warning
    said = command_here(settled, "run").stderr
    assert f"warning: {warning}" in said.splitlines()


def test_a_list_that_was_made_again_by_hand_without_its_members_is_a_warning_until_it_is_repaired(
    settled: Project, arrived: StandIn
) -> None:
    arrived.delete_segment("people")
    arrived.put_segment("people")
    for command in ("check", "plan"):
        (warning,) = asked(settled, command)["warnings"]
        assert "people: segment 'people' has 0 ids in Statsig, and the ledgers know 2." in warning, command
        assert "statsig-sync verify people --repair" in warning
    assert f"warning: {warning}" in command_here(settled, "run").stderr.splitlines()
    assert command_here(settled, "verify", "people", "--repair").returncode == 0
    assert arrived.ids("people") == {"ann", "bob"}
    assert asked(settled, "plan")["warnings"] == []


@pytest.mark.parametrize("mode", ["mirror", "add"])
def test_a_list_that_has_no_member_yet_is_no_list_that_lost_them(project: Project, arrived: StandIn, mode: str) -> None:
    arrived.put_segment("people")
    sync_of(project, "people", "ann", mode=mode)
    assert asked(project, "check")["warnings"] == []
    assert asked(project, "run")["plan"]["warnings"] == []


def test_a_segment_that_is_switched_off_is_filled_all_the_same(settled: Project, arrived: StandIn) -> None:
    arrived.disable_segment("people")
    sync_of(settled, "people", "ann", "bob", "cid")
    run_here(settled)
    assert arrived.ids("people") == {"ann", "bob", "cid"}


def test_without_a_key_a_plan_says_what_it_has_not_looked_at(settled: Project, arrived: StandIn) -> None:
    arrived.delete_segment("people")
    (warning,) = asked(settled, "plan", STATSIG_CONSOLE_API_KEY=None)["warnings"]
    assert warning == "people: segment 'people' was not looked at in Statsig: STATSIG_CONSOLE_API_KEY is not set."


def test_a_statsig_that_does_not_answer_keeps_nothing_back_where_no_segment_changes(
    settled: Project, arrived: StandIn
) -> None:
    for name in ("others", "people"):
        sync_of(settled, name, "ann", "bob")
    run_here(settled)
    settled.table("visits", "select 1 as id, 'ann' as user_id")
    settled.sync("visits", "visits", {"object": "events", "unique_key": "id", "event_name": "visit", "backfill": "all"})
    arrived.fault("status", call=LOOK_UP_SEGMENT, status=502, count=None)
    looked_up = len(arrived.requests(LOOK_UP_SEGMENT))
    report = asked(settled, "run", "--max-attempts", "1")
    assert [one.split(":")[0] for one in report["plan"]["warnings"]] == ["others", "people"]
    assert "whether segment 'people' is still there is not known" in report["plan"]["warnings"][1]
    assert len(arrived.requests(LOOK_UP_SEGMENT)) == looked_up + 1
    assert len(arrived.events()) == 1

    sync_of(settled, "people", "ann", "bob", "cid")
    sent = arrived.sent_data()
    (error,) = asked(settled, "run", "--max-attempts", "1", expect=1)["errors"]
    assert "people: segment 'people' could not be looked up" in error
    assert arrived.sent_data() == sent


# A segment that is gone and that the sync may make.


@pytest.mark.parametrize(
    ("mode", "ids"),
    [("mirror", {"u1", "u2", "new"}), ("add", {"u0", "u1", "u2", "new", "by_hand"}), ("remove", set())],
)
def test_a_segment_that_is_gone_is_made_again_and_filled(
    project: Project, arrived: StandIn, mode: str, ids: set[str]
) -> None:
    arrived.put_segment("people", "by_hand")
    sync_of(project, "people", *numbered(3), mode=mode)
    run_here(project)
    arrived.delete_segment("people")
    sync_of(project, "people", "u1", "u2", "new", mode=mode)

    plan = asked(project, "plan")
    assert (plan["syncs"][0]["creates_segment"], plan["syncs"][0]["is_gone"]) == (True, True)
    assert "is gone from Statsig, but the ledgers know" in plan["warnings"][0]
    assert "gone from Statsig; run makes it again" in command_here(project, "plan").stdout
    assert "people" not in arrived.segments()

    run_here(project)
    assert arrived.ids("people") == ids == members(project, "people")
    assert project.rows("select * from statsig_unsettled") == []
    again = run_here(project)
    assert (again["results"][0]["planned"], again["plan"]["warnings"]) == (0, [])
    assert asked(project, "verify")["segments"][0]["has_drift"] is False


def test_a_segment_that_is_gone_is_made_again_though_the_audience_is_as_it_was(
    project: Project, arrived: StandIn
) -> None:
    sync_of(project, "people", *numbered(40))
    run_here(project)
    arrived.delete_segment("people")
    run_here(project)
    assert arrived.ids("people") == set(numbered(40)) == members(project, "people")


@pytest.mark.parametrize("left", [0, 1, 31])
def test_an_audience_that_shrank_is_refused_where_the_segment_is_gone_too(
    project: Project, arrived: StandIn, left: int
) -> None:
    sync_of(project, "people", *numbered(40))
    run_here(project)
    arrived.delete_segment("people")
    sync_of(project, "people", *numbered(left))
    (refusal,) = asked(project, "plan", expect=3)["refusals"]
    assert "segment 'people' is gone from Statsig, and the" in refusal["message"]
    assert command_here(project, "run").returncode == 3
    assert "people" not in arrived.segments()
    assert len(members(project, "people")) == 40

    run_here(project, "--allow-removals", "people")
    assert arrived.ids("people") == set(numbered(left))
    overrides = "select overrides from statsig_sync_runs where state = 'finished' order by started_at desc limit 1"
    assert project.rows(overrides) == [("--allow-removals people",)]


def test_a_segment_that_statsig_does_not_make_again_is_filled_by_the_next_run_under_the_same_guard(
    project: Project, arrived: StandIn
) -> None:
    sync_of(project, "people", *numbered(40))
    sync_of(project, "adds", "gone", "left", mode="add")
    run_here(project)
    sync_of(project, "adds", "left", mode="add")
    run_here(project)
    for name in ("people", "adds"):
        arrived.delete_segment(name)
    arrived.fault("status", call="POST /console/v1/segments", status=400, body='{"message": "no room"}', count=None)
    run_here(project, expect=1)
    assert len(project.rows("select id from statsig_members where status = 'uncertain'")) == 42
    arrived.no_faults()

    sync_of(project, "people", *numbered(1))
    (refusal,) = asked(project, "plan", expect=3)["refusals"]
    assert refusal["sync"] == "people"
    sync_of(project, "people", *numbered(40))
    run_here(project)
    assert arrived.ids("people") == set(numbered(40)) == members(project, "people")
    assert arrived.ids("adds") == {"gone", "left"} == members(project, "adds")


def test_a_run_that_dies_before_it_fills_a_segment_that_it_made_again_leaves_that_to_the_next(
    project: Project, arrived: StandIn
) -> None:
    sync_of(project, "people", *numbered(40))
    run_here(project)
    arrived.delete_segment("people")
    arrived.fault("status", call=ADD_IDS, status=403, count=None)
    run_here(project, expect=1)
    assert arrived.ids("people") == set()
    arrived.no_faults()
    project.execute(EXPIRE_LEASES)
    run_here(project)
    assert arrived.ids("people") == set(numbered(40)) == members(project, "people")


def test_two_syncs_that_share_a_segment_that_is_gone_make_it_once_and_undo_nothing(
    project: Project, arrived: StandIn
) -> None:
    arrived.no_limits()
    sync_of(project, "adds", "vip", "was_vip", "both", mode="add", segment_id="shared")
    sync_of(project, "removes", "out", mode="remove", segment_id="shared")
    run_still(project)
    sync_of(project, "adds", "vip", mode="add", segment_id="shared")
    sync_of(project, "removes", "out", "both", mode="remove", segment_id="shared")
    arrived.delete_segment("shared")
    assert run_still(project).exit_code == 0
    assert arrived.ids("shared") == {"vip", "was_vip"} == members(project, "shared")
    assert project.rows("select count(*) from statsig_batches where operation = 'forget'") == [(1,)]
    assert run_still(project).exit_code == 0
    assert arrived.ids("shared") == {"vip", "was_vip"}
