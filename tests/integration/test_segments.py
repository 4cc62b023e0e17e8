"""Segment syncs: who is added to and removed from an ID list, and when that is refused."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from sync.core import segments
from sync.core.plan import SegmentPlan, plan_segment, project_size_refusals
from sync.spec.model import SegmentConfig, Sync
from tests.integration.harness import Project
from tests.integration.in_process import command_here, run_here, run_still
from tests.integration.stand_in import ADD_IDS, REMOVE_IDS, StandIn
from tests.segment_facts import segment_facts


def segment_sync(project: Project, name: str, model: str, mode: str = "mirror", **more: Any) -> None:
    project.sync(name, model, {"object": "segment", "segment_id": name, "mode": mode, **more})


def people(project: Project, model: str, *ids: str) -> None:
    project.table(model, f"select unnest({list(ids)}::varchar[]) as user_id")


def numbered(project: Project, model: str, start: int, stop: int) -> None:
    project.table(model, f"select 'u' || range as user_id from range({start}, {stop})")


def known_members(project: Project, segment_id: str) -> set[str]:
    rows = project.rows(f"select id, status from statsig_members where segment_id = '{segment_id}'")
    assert all(status == "in" for _, status in rows)
    return {one for one, _ in rows}


def of_results(report: Any, figure: str) -> dict[str, Any]:
    return {one["sync_name"]: one[figure] for one in report["results"]}


# The modes.


def test_add_never_removes_remove_never_adds_and_a_mirror_does_both(project: Project, arrived: StandIn) -> None:
    for mode in ("add", "remove", "mirror"):
        arrived.put_segment(f"to_{mode}", "ann", "by_hand")
        segment_sync(project, f"to_{mode}", "people", mode)
    people(project, "people", "ann", "bob", "cid")
    project.run()
    assert arrived.ids("to_add") == {"ann", "bob", "cid", "by_hand"}
    assert arrived.ids("to_remove") == {"by_hand"}
    assert arrived.ids("to_mirror") == {"ann", "bob", "cid"} == known_members(project, "to_mirror")

    requests = len(arrived.requests())
    assert of_results(project.run(), "planned") == {"to_add": 0, "to_remove": 0, "to_mirror": 0}
    looked_up = [(one["method"], one["path"].rpartition("/")[2]) for one in arrived.requests()[requests:]]
    assert looked_up == [("GET", "to_add"), ("GET", "to_mirror"), ("GET", "to_remove")]

    people(project, "people", "bob", "dan")
    project.run()
    assert arrived.ids("to_add") == {"ann", "bob", "cid", "dan", "by_hand"}
    assert arrived.ids("to_remove") == {"by_hand"}
    assert arrived.ids("to_mirror") == {"bob", "dan"} == known_members(project, "to_mirror")

    sent = arrived.sent_data()
    project.run()
    assert arrived.sent_data() == sent


def test_an_id_that_comes_back_is_added_again(project: Project, arrived: StandIn) -> None:
    segment_sync(project, "people", "people", create_if_missing=True)
    for ids in (("ann", "bob"), ("ann",), ("ann", "bob"), ("bob",)):
        people(project, "people", *ids)
        run_here(project)
        assert arrived.ids("people") == set(ids)


# The segment in Statsig.


def test_a_missing_segment_is_made_as_an_id_list_of_the_syncs_id_type(project: Project, arrived: StandIn) -> None:
    project.table("units", "select 1 as user_id, 'd1' as stable_id, 7 as \"companyID\", 'd2' as device, 8 as company")
    segment_sync(project, "users", "units", create_if_missing=True)
    segment_sync(project, "stable", "units", id_type="stable_id", create_if_missing=True)
    segment_sync(project, "companies", "units", id_type="custom_id", custom_id="companyID", create_if_missing=True)
    ids = {"stableID": "device"}
    segment_sync(project, "devices", "units", id_type="stable_id", custom_ids=ids, create_if_missing=True)
    ids = {"companyID": "company"}
    segment_sync(
        project, "firms", "units", id_type="custom_id", custom_id="companyID", custom_ids=ids, create_if_missing=True
    )

    plan = project.plan()
    assert [one["adds"] for one in plan["syncs"]] == [1] * 5
    assert arrived.segments() == {}

    project.run()
    found = {name: (one["type"], one["idType"], one["ids"]) for name, one in arrived.segments().items()}
    assert found == {
        "users": ("id_list", "userID", ["1"]),
        "stable": ("id_list", "stableID", ["d1"]),
        "companies": ("id_list", "companyID", ["7"]),
        "devices": ("id_list", "stableID", ["d2"]),
        "firms": ("id_list", "companyID", ["8"]),
    }


def test_a_missing_segment_is_made_once_though_its_audience_is_empty(project: Project, arrived: StandIn) -> None:
    project.table("people", "select 'ann' as user_id limit 0")
    for mode in ("mirror", "add", "remove"):
        segment_sync(project, f"to_{mode}", "people", mode, create_if_missing=True)
    said = command_here(project, "plan").stdout
    assert said.count("not in Statsig yet; run creates it") == 3
    plans = run_here(project)["plan"]["syncs"]
    assert [one["creates_segment"] for one in plans] == [True] * 3
    assert {name: one["ids"] for name, one in arrived.segments().items()} == {
        "to_mirror": [],
        "to_add": [],
        "to_remove": [],
    }
    sent = arrived.sent_data()
    again = run_here(project)
    assert [one["creates_segment"] for one in again["plan"]["syncs"]] == [False] * 3
    assert arrived.sent_data() == sent == 3


def test_a_segment_that_statsig_does_not_make_fails_its_sync_and_the_next_run_tries_again(
    project: Project, arrived: StandIn
) -> None:
    people(project, "people", "ann")
    segment_sync(project, "people", "people", create_if_missing=True)
    arrived.fault("status", call="POST /console/v1/segments", status=400, body='{"message": "no room"}')
    (result,) = run_here(project, expect=1)["results"]
    assert (result["state"], result["unsent"]) == ("failed", 1)
    assert "no room" in result["message"]
    assert arrived.segments() == {}

    run_here(project)
    assert arrived.ids("people") == {"ann"}


WRONG_SEGMENTS = {
    "absent": ("not in this Statsig project", "segment_id", "create_if_missing: true"),
    "by_rules": ("rule-based", "only an ID list", "segment_id"),
    "analysis": ("analysis list", "only an ID list", "segment_id"),
    "user_store": ("user store", "only an ID list", "segment_id"),
    "of_devices": ("holds ids of type stableID", "sends userID", "id_type: stable_id"),
    "of_companies": ("holds ids of type companyID", "sends userID", "id_type: custom_id", "custom_id: companyID"),
    "of_users": ("holds ids of type userID", "sends stableID", "id_type: user_id"),
}


@pytest.fixture
def wrong_segments(project: Project, arrived: StandIn) -> None:
    people(project, "people", "ann")
    arrived.put_segment("by_rules", type="rule_based")
    arrived.put_segment("analysis", type="analysis_list")
    arrived.put_segment("user_store", type="user_store_id_list")
    arrived.put_segment("of_devices", idType="stableID")
    arrived.put_segment("of_companies", idType="companyID")
    arrived.put_segment("of_users")
    arrived.put_segment("a_good_one")
    for name in ("a_good_one", *WRONG_SEGMENTS):
        more = {"id_type": "stable_id", "custom_ids": {"stableID": "user_id"}} if name == "of_users" else {}
        segment_sync(project, name, "people", **more)


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.usefixtures("wrong_segments")
def test_every_segment_that_is_not_what_its_sync_says_is_named_with_what_to_do_and_nothing_is_sent(
    project: Project, arrived: StandIn, command: str
) -> None:
    finished = command_here(project, command)
    assert finished.returncode == 2, finished.stdout + finished.stderr
    lines = {line.split("exposure ")[1].split(":")[0]: line for line in finished.stderr.splitlines()}
    assert set(lines) == set(WRONG_SEGMENTS)
    for name, parts in WRONG_SEGMENTS.items():
        for part in ("models/marts/_exposures.yml", f"'{name}'", *parts):
            assert part in lines[name]
    assert arrived.sent_data() == 0
    assert project.rows("select count(*) from statsig_batch_log") == [(0,)]


def test_a_segment_that_has_changed_its_type_is_refused_also_when_the_ledgers_know_it(
    project: Project, arrived: StandIn
) -> None:
    for name in ("people", "others"):
        segment_sync(project, name, name, create_if_missing=True)
        people(project, name, "ann")
    project.run()
    arrived.put_segment("people", type="rule_based")
    for name in ("people", "others"):
        people(project, name, "ann", "bob")
    sent = arrived.sent_data()
    (error,) = run_here(project, expect=2)["errors"]
    assert "only an ID list" in error
    assert arrived.sent_data() == sent


# Ids.


def test_integers_big_integers_uuids_and_text_have_one_text_form_as_ids(project: Project, arrived: StandIn) -> None:
    ids = {
        "integers": ("42::integer", "42"),
        "negatives": ("-7::bigint", "-7"),
        "big_integers": ("170141183460469231731687303715884105727::hugeint", "170141183460469231731687303715884105727"),
        "unsigned": ("18446744073709551615::ubigint", "18446744073709551615"),
        "whole_decimals": ("42::decimal(20, 0)", "42"),
        "uuids": ("'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        "text": ("'Ann \"é\" 🎉, a\\b''c'", 'Ann "é" 🎉, a\\b\'c'),
        "text_that_looks_like_a_number": ("'42.0'", "42.0"),
        "text_with_zeros": ("'007'", "007"),
        "enums": ("'gold'::enum('gold', 'silver')", "gold"),
    }
    columns = ", ".join(f"{expression} as {name}" for name, (expression, _) in ids.items())
    project.table("units", f"select {columns}")
    for name in ids:
        segment_sync(project, name, "units", columns={"user_id": name}, create_if_missing=True)
    project.run()
    assert {name: arrived.ids(name) for name in ids} == {name: {text} for name, (_, text) in ids.items()}
    assert set(of_results(run_here(project), "planned").values()) == {0}


def test_columns_whose_values_have_no_one_text_form_are_no_ids(project: Project, arrived: StandIn) -> None:
    kinds = {
        "float": "42::float",
        "double": "42::double",
        "decimal": "42::decimal(10, 2)",
        "boolean": "true",
        "date": "date '2026-01-31'",
        "timestamp": "now()::timestamp",
        "list": "['a']",
        "blob": "'a'::blob",
    }
    project.table("units", "select " + ", ".join(f"{expression} as a_{name}" for name, expression in kinds.items()))
    for name in kinds:
        segment_sync(project, f"of_{name}", "units", columns={"user_id": f"a_{name}"})
    errors = project.run(expect=2)["errors"]
    assert len(errors) == len(kinds)
    for name, error in zip(sorted(kinds), errors, strict=True):
        for part in (f"exposure of_{name}", "config.meta.statsig.columns.user_id", f"'a_{name}'", "Cast it"):
            assert part in error
    assert arrived.requests() == []


def test_null_blank_and_spaced_ids_are_rejected_and_counted_once_and_duplicates_collapse(
    project: Project, arrived: StandIn
) -> None:
    rows = "(null), (null), (null), (''), ('  '), (chr(9)), (' ann'), ('ann '), ('ann' || chr(160)), ('bob'), ('bob')"
    project.table("people", f"select * from (values {rows}, ('Bob')) as t(user_id)")
    segment_sync(project, "people", "people", create_if_missing=True)
    result = project.run()["results"][0]
    assert arrived.ids("people") == {"bob", "Bob"}
    assert arrived.changes("people") == [("PATCH", 2)]
    assert (result["state"], result["rows_rejected"]) == ("finished", 9)
    by_reason = "select reason, effect, sum(row_count)::bigint from statsig_reject_log group by all order by all"
    expected = [("blank_id", "not_sent", 3), ("null_id", "not_sent", 3), ("outer_whitespace", "not_sent", 3)]
    assert project.rows(by_reason) == expected
    assert run_here(project)["results"][0]["rows_rejected"] == 0
    assert project.rows(by_reason) == expected


def test_other_mapped_columns_are_ignored_with_a_note(project: Project, arrived: StandIn) -> None:
    project.table("people", "select 'ann' as id, 'a@b.c' as mail, 'd' as device, 'SE' as country")
    columns = {"user_id": "id", "email": "mail"}
    segment_sync(
        project, "people", "people", columns=columns, custom_ids={"stableID": "device"}, create_if_missing=True
    )
    finished = project.command("run")
    assert finished.returncode == 0, finished.stderr
    (note,) = (line for line in finished.stderr.splitlines() if line.startswith("note:"))
    assert (finished.stdout + finished.stderr).count("note:") == 1
    assert "people: only the id counts" in note
    assert "email, stableID" in note
    assert arrived.ids("people") == {"ann"}


# Requests and sizes.


def test_many_ids_go_in_requests_of_10_000_one_at_a_time_with_removals_before_additions(
    project: Project, arrived: StandIn
) -> None:
    segment_sync(project, "people", "people", create_if_missing=True)
    numbered(project, "people", 0, 25_000)
    plan = project.plan()["syncs"][0]
    assert (plan["adds"], plan["requests"], plan["samples"]["add"]) == (25_000, 3, ["u0", "u1", "u10"])
    project.run()
    assert arrived.changes("people") == [("PATCH", 10_000), ("PATCH", 10_000), ("PATCH", 5_000)]

    # As long as the list is busy Statsig answers 409: requests side by side would show.
    arrived.processing_seconds(0.05)
    numbered(project, "people", 12_000, 37_000)
    run_here(project, "--allow-removals", "people")
    assert arrived.changes("people")[3:] == [
        ("DELETE", 10_000),
        ("DELETE", 2_000),
        ("PATCH", 10_000),
        ("PATCH", 2_000),
    ]
    assert {one["status"] for one in arrived.requests(ADD_IDS) + arrived.requests(REMOVE_IDS)} == {200}
    assert arrived.ids("people") == {f"u{number}" for number in range(12_000, 37_000)}


def test_lists_above_1_000_and_above_10_000_ids_get_their_warnings(project: Project, arrived: StandIn) -> None:
    for count in (1_000, 1_001, 10_000, 10_001):
        segment_sync(project, f"of_{count}", f"people_{count}", create_if_missing=True)
        numbered(project, f"people_{count}", 0, count)
    warnings = project.run()["plan"]["warnings"]
    assert [warning.split(":")[0] for warning in warnings] == ["of_10000", "of_10001", "of_1001"]
    assert "10,000 ids. Above 1,000" in warnings[0]
    assert "10,001 ids. Above 10,000" in warnings[1]
    assert "1,001 ids. Above 1,000" in warnings[2]
    assert {name: len(arrived.ids(name)) for name in arrived.segments()} == {
        f"of_{count}": count for count in (1_000, 1_001, 10_000, 10_001)
    }
    assert run_here(project)["plan"]["warnings"] == []


def plan_of(name: str, project: str, audience: list[str], members: list[str]) -> SegmentPlan:
    config = SegmentConfig(object="segment", segment_id=name, mode="mirror")
    membership = segments.members(pl.Series("id", members, pl.String))
    sync = Sync(name, "file.yml", f"model.shop.{name}", config)
    return plan_segment(segment_facts(config, audience, membership, sync=sync, project=project))


def test_a_project_whose_lists_would_pass_10_000_000_ids_is_refused() -> None:
    growing = plan_of("growing", "one", ["a", "b", "c"], ["a"])
    shrinking = plan_of("shrinking", "one", [], ["d"])
    elsewhere = plan_of("elsewhere", "another", ["x"], [])
    plans = [growing, shrinking, elsewhere]
    assert project_size_refusals(plans, {"one": 9_999_999, "another": 5}) == []
    refusals = project_size_refusals(plans, {"one": 10_000_000, "another": 5})
    assert [refusal.sync_name for refusal in refusals] == ["growing"]
    assert "10,000,001" in refusals[0].message
    assert "10,000,000" in refusals[0].message
    # A project that is too large already may become smaller.
    assert project_size_refusals([shrinking], {"one": 10_000_005}) == []


# One segment in two syncs.


def test_one_sync_may_add_and_one_may_remove_on_a_segment_while_they_share_no_id(
    project: Project, arrived: StandIn
) -> None:
    arrived.put_segment("shared", "ann", "eve")
    project.sync("adds", "wanted", {"object": "segment", "segment_id": "shared", "mode": "add"})
    project.sync("removes", "unwanted", {"object": "segment", "segment_id": "shared", "mode": "remove"})
    for wanted, unwanted in ((("bob", "cid"), ("ann",)), (("bob", "ann"), ("cid",)), (("cid",), ("bob",))):
        people(project, "wanted", *wanted)
        people(project, "unwanted", *unwanted)
        run_here(project)
        assert arrived.ids("shared") >= set(wanted) | {"eve"}
        assert not arrived.ids("shared") & set(unwanted)
    assert arrived.ids("shared") == {"ann", "cid", "eve"}

    people(project, "unwanted", "bob", "cid")
    sent = arrived.sent_data()
    for select in ((), ("--select", "removes")):
        error = " ".join(run_here(project, *select, expect=3)["errors"])
        for part in ("adds", "removes", "'shared'", "share 1 id"):
            assert part in error
    assert arrived.sent_data() == sent


@pytest.mark.parametrize(("adding", "removing"), [("a_adds", "b_removes"), ("b_adds", "a_removes")])
@pytest.mark.parametrize("call", [ADD_IDS, REMOVE_IDS])
def test_two_syncs_on_a_segment_leave_each_others_doubts_alone(
    project: Project, arrived: StandIn, adding: str, removing: str, call: str
) -> None:
    arrived.no_limits()
    arrived.put_segment("people", "opted_out", "bob")
    for name, mode, one in ((adding, "add", "vip"), (removing, "remove", "opted_out")):
        people(project, name, one)
        segment_sync(project, name, name, mode, segment_id="people", create_if_missing=True)
    arrived.fault("status", call=call, status=502, count=None)
    run_still(project)
    arrived.no_faults()
    assert run_still(project).exit_code == 0
    assert arrived.ids("people") == {"vip", "bob"} == known_members(project, "people")
    assert run_still(project).exit_code == 0
    assert arrived.ids("people") == {"vip", "bob"}
    (numbers,) = project.rows("select count(*), count(distinct sequence) from statsig_batches")
    assert numbers[0] == numbers[1]


@pytest.mark.parametrize(("adding", "removing"), [("a_adds", "b_removes"), ("b_adds", "a_removes")])
def test_what_two_syncs_find_in_a_list_comes_before_what_either_changes_there(
    project: Project, arrived: StandIn, adding: str, removing: str
) -> None:
    arrived.put_segment("people", "opted_out", "bob")
    for name, mode, one in ((adding, "add", "vip"), (removing, "remove", "opted_out")):
        people(project, name, one)
        segment_sync(project, name, name, mode, segment_id="people")
    run_here(project)
    assert known_members(project, "people") == {"vip", "bob"} == arrived.ids("people")


def test_a_removal_in_doubt_goes_again_also_where_somebody_else_had_put_the_id_in(
    project: Project, arrived: StandIn
) -> None:
    arrived.no_limits()
    arrived.put_segment("people", "bob")
    people(project, "people", "ann")
    segment_sync(project, "people", "people", "remove")
    assert run_still(project).exit_code == 0
    arrived.put_segment("people", "bob", "mallory")
    people(project, "people", "ann", "mallory")
    arrived.fault("status", call=REMOVE_IDS, status=500, count=None)
    assert run_still(project).exit_code == 1
    assert project.rows("select key, operation from statsig_unsettled") == [("mallory", "remove")]
    arrived.no_faults()
    assert run_still(project).exit_code == 0
    assert arrived.ids("people") == {"bob"}


def test_a_segment_that_was_made_though_its_answer_was_lost_is_filled(project: Project, arrived: StandIn) -> None:
    people(project, "people", "ann")
    segment_sync(project, "people", "people", create_if_missing=True)
    arrived.fault("reset", call="POST /console/*", when="after")
    assert run_still(project).exit_code == 0
    assert arrived.ids("people") == {"ann"}


def test_two_syncs_may_both_make_the_segment_that_they_share(project: Project, arrived: StandIn) -> None:
    for name, mode, one in (("adds", "add", "vip"), ("removes", "remove", "opted_out")):
        people(project, name, one)
        segment_sync(project, name, name, mode, segment_id="people", create_if_missing=True)
    run_here(project)
    assert arrived.ids("people") == {"vip"}


def test_a_sync_that_removes_leaves_the_addition_in_doubt_of_the_sync_that_it_was(
    project: Project, arrived: StandIn
) -> None:
    arrived.no_limits()
    arrived.put_segment("people")
    people(project, "people", "ann")
    segment_sync(project, "people", "people", "add")
    arrived.fault("status", call=ADD_IDS, status=502, when="after", count=None)
    run_still(project)
    arrived.no_faults()
    people(project, "people", "bob")
    segment_sync(project, "people", "people", "remove")
    assert run_still(project).exit_code == 0
    assert arrived.ids("people") == {"ann"}


def test_on_a_shared_segment_the_removals_of_one_sync_go_before_the_additions_of_the_other(
    project: Project, arrived: StandIn
) -> None:
    arrived.put_segment("shared", "ann")
    project.sync("adds", "wanted", {"object": "segment", "segment_id": "shared", "mode": "add"})
    project.sync("removes", "unwanted", {"object": "segment", "segment_id": "shared", "mode": "remove"})
    people(project, "wanted", "bob")
    people(project, "unwanted", "ann")
    run_here(project)
    assert arrived.changes("shared") == [("DELETE", 1), ("PATCH", 1)]


def test_other_syncs_may_not_share_a_segment(project: Project, arrived: StandIn) -> None:
    people(project, "people", "ann")
    pairs = (("mirror", "add"), ("add", "add"), ("remove", "remove"), ("mirror", "mirror"))
    for number, modes in enumerate(pairs):
        for letter, mode in zip("ab", modes, strict=True):
            meta = {"object": "segment", "segment_id": f"shared_{number}", "mode": mode}
            project.sync(f"sync_{number}{letter}", "people", meta)
    errors = project.run("--select", "sync_0a", expect=2)["errors"]
    assert len(errors) == len(pairs)
    for number, error in enumerate(errors):
        names = f"sync_{number}a, sync_{number}b"
        for part in (names, f"'shared_{number}'", "models/marts/_exposures.yml", "segment_id"):
            assert part in error
    assert arrived.requests() == []


def test_two_statsig_projects_may_have_segments_of_the_same_id(project: Project) -> None:
    people(project, "people", "ann")
    project.sync("one", "people", {"object": "segment", "segment_id": "shared", "mode": "mirror"})
    other = {"object": "segment", "segment_id": "shared", "mode": "mirror", "api_key_env": "OTHER_KEY"}
    project.sync("other", "people", other)
    plan = project.plan(STATSIG_CONSOLE_API_KEY=None)
    assert [(one["sync"], one["adds"]) for one in plan["syncs"]] == [("one", 1), ("other", 1)]


# The first run.


def test_the_first_run_adopts_what_the_list_holds_so_that_a_mirror_is_exact(project: Project, arrived: StandIn) -> None:
    arrived.put_segment("people", *(f"u{number}" for number in range(2_500)), "by_hand")
    segment_sync(project, "people", "people")
    numbered(project, "people", 10, 2_510)
    plan = project.plan()["syncs"][0]
    assert (plan["adopted"], plan["members_before"], plan["members_after"]) == (2_501, 2_501, 2_500)
    project.run()
    assert arrived.changes("people") == [("DELETE", 11), ("PATCH", 10)]
    assert arrived.ids("people") == {f"u{number}" for number in range(10, 2_510)} == known_members(project, "people")
    assert run_here(project)["results"][0]["planned"] == 0


def test_on_first_run_refuse_leaves_a_list_that_the_ledgers_do_not_know(project: Project, arrived: StandIn) -> None:
    arrived.put_segment("full", "by_hand")
    arrived.put_segment("empty")
    people(project, "people", "ann")
    for name in ("full", "empty"):
        segment_sync(project, name, "people", on_first_run="refuse")
    error, _ = project.run(expect=3)["errors"]
    assert "full: " in error
    assert "on_first_run: adopt" in error
    assert "empty: " not in error
    assert arrived.sent_data() == 0

    run_here(project, "--select", "empty")
    assert arrived.ids("empty") == {"ann"}
    people(project, "people", "ann", "bob")
    run_here(project, "--select", "empty")
    assert arrived.ids("empty") == {"ann", "bob"}


def test_on_first_run_reset_replaces_a_list_by_one_request_where_that_is_safe(
    project: Project, arrived: StandIn
) -> None:
    arrived.put_segment("people", "ann", "by_hand")
    people(project, "people", "ann", "bob")
    segment_sync(project, "people", "people", on_first_run="reset")
    project.run()
    assert arrived.changes("people") == []
    (reset,) = arrived.requests("POST *")
    assert reset["path"].endswith("/people/id_list/reset")
    assert arrived.ids("people") == {"ann", "bob"} == known_members(project, "people")

    people(project, "people", "bob")
    run_here(project)
    assert arrived.changes("people") == [("DELETE", 1)]
    assert len(arrived.requests("POST *")) == 1

    arrived.put_segment("crowd", "by_hand")
    numbered(project, "crowd", 0, 1_001)
    segment_sync(project, "crowd", "crowd", on_first_run="reset")
    (error,) = run_here(project, "--select", "crowd", expect=3)["errors"]
    assert "1,000" in error
    assert arrived.ids("crowd") == {"by_hand"}


@pytest.mark.parametrize(
    ("fault", "figure", "in_doubt"),
    [({"kind": "reset"}, "unknown", ["bob", "by_hand"]), ({"kind": "status", "status": 429}, "unsent", [])],
    ids=["in doubt", "not taken"],
)
def test_a_reset_that_is_in_doubt_or_was_not_taken_is_sent_again(
    project: Project, arrived: StandIn, fault: dict[str, Any], figure: str, in_doubt: list[str]
) -> None:
    arrived.put_segment("people", "ann", "by_hand")
    people(project, "people", "ann", "bob")
    segment_sync(project, "people", "people", on_first_run="reset")
    arrived.fault(**fault, call="POST /console/*/id_list/reset")
    (result,) = run_here(project, "--max-attempts", "1", expect=1)["results"]
    assert (result["state"], result[figure]) == ("failed", 2)
    assert project.rows("select key from statsig_unsettled order by key") == [(one,) for one in in_doubt]

    run_here(project)
    assert arrived.ids("people") == {"ann", "bob"} == known_members(project, "people")


def test_on_first_run_reset_fills_a_list_without_members_in_batches(project: Project, arrived: StandIn) -> None:
    arrived.put_segment("empty")
    numbered(project, "people", 0, 10_001)
    for name in ("empty", "missing"):
        segment_sync(project, name, "people", on_first_run="reset", create_if_missing=True)
    run_here(project)
    for name in ("empty", "missing"):
        assert arrived.changes(name) == [("PATCH", 10_000), ("PATCH", 1)]


# The guard.


def test_a_mirror_that_would_empty_or_much_reduce_a_segment_is_refused(project: Project, arrived: StandIn) -> None:
    def mirror(name: str, members: int, removed: int, **more: Any) -> None:
        arrived.put_segment(name, *(f"u{number}" for number in range(members)))
        numbered(project, name, removed, members)
        segment_sync(project, name, name, **more)

    mirror("to_5_of_6", 6, 5)
    mirror("to_1_of_40", 40, 39)
    mirror("to_100_of_150", 150, 100)
    mirror("to_20_percent", 1_000, 200)
    mirror("to_a_little_more", 1_000, 201)
    mirror("to_101_of_500", 500, 101)
    mirror("to_nobody", 3, 3)
    mirror("to_nobody_allowed", 3, 3, guard={"allow_empty": True})
    mirror("to_strict", 1_000, 21, guard={"max_removals": 20, "max_removals_percent": 2})
    mirror("to_strict_count", 1_000, 20, guard={"max_removals": 20, "max_removals_percent": 1})
    mirror("to_lenient", 1_000, 900, guard={"max_removals": 900})
    mirror("to_lenient_share", 1_000, 900, guard={"max_removals_percent": 90})
    refusals = {one["sync"]: one["message"] for one in project.plan(expect=3)["refusals"]}
    refused = {"to_1_of_40", "to_100_of_150", "to_a_little_more", "to_101_of_500", "to_nobody", "to_strict"}
    assert set(refusals) == refused
    for name, message in refusals.items():
        assert f"--allow-removals {name}" in message
    assert "39 of 40 members (98 %); the guard allows up to 5, or up to 20 %" in refusals["to_1_of_40"]
    assert "201 of 1,000" in refusals["to_a_little_more"]
    assert "audience is empty" in refusals["to_nobody"]
    assert "3 members" in refusals["to_nobody"]
    assert project.command("run").returncode == 3
    assert arrived.sent_data() == 0


def test_allow_removals_overrides_the_guard_once_and_the_run_ledger_keeps_it(
    project: Project, arrived: StandIn
) -> None:
    for name in ("people", "others"):
        segment_sync(project, name, name, create_if_missing=True)
        people(project, name, "ann", "bob")
    project.run()
    for name in ("people", "others"):
        people(project, name)
    error, _ = run_here(project, "--allow-removals", "others", expect=3)["errors"]
    assert "people: " in error
    assert "others: " not in error
    assert arrived.ids("others") == {"ann", "bob"}

    run_here(project, "--allow-removals", "exposure:people", "--select", "people")
    assert arrived.ids("people") == set()
    people(project, "people", "ann")
    run_here(project, "--select", "people", "--allow-removals", "people")
    overrides = "select overrides from statsig_sync_runs where sync_name = 'people' and state = 'finished'"
    (first, overridden, unneeded) = project.rows(overrides + " order by started_at")
    assert (first, unneeded) == ((None,), (None,))
    assert "--allow-removals" in overridden[0]

    people(project, "people")
    assert command_here(project, "run", "--select", "people").returncode == 3


def test_ids_that_differ_in_case_only_are_different_people_whatever_the_collation(
    project: Project, arrived: StandIn
) -> None:
    arrived.put_segment("people", "Ann", "ann")
    project.table("people", "select unnest(['Ann', 'ann']) collate nocase as user_id")
    project.sync("people", "people", {"object": "segment", "segment_id": "people", "mode": "mirror"})
    project.run()
    assert sorted(arrived.ids("people")) == ["Ann", "ann"]


def test_a_removal_that_did_not_reach_statsig_is_sent_by_the_next_run(project: Project, arrived: StandIn) -> None:
    arrived.put_segment("people", "eve", "zoe")
    project.table("people", "select 'ann' as user_id")
    project.sync("people", "people", {"object": "segment", "segment_id": "people", "mode": "remove"})
    project.run()
    project.table("people", "select unnest(['ann', 'new']) as user_id")
    arrived.fault("status", call=REMOVE_IDS, status=403, body='{"message": "no"}')
    project.run(expect=1)
    assert project.rows("select state from statsig_deliveries where key = 'new'") == [("unsent",)]
    assert project.rows("select status from statsig_membership where id = 'new'") == []
    assert project.plan()["syncs"][0]["removes"] == 1
    project.run()
    assert project.rows("select status from statsig_membership where id = 'new'") == [("out",)]
