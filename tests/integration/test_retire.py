"""``retire``: lists that no sync writes any more are told, and ended by a person's word."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from tests.integration.harness import Project
from tests.integration.in_process import command_here, run_here
from tests.integration.stand_in import REMOVE_IDS, StandIn


def mirror_of(project: Project, name: str, *ids: str, **more: Any) -> None:
    """A sync that mirrors these ids into the segment of its own name, unless another is named."""
    project.table(name, f"select unnest({list(ids)}::varchar[]) as user_id")
    meta = {"object": "segment", "segment_id": name, "mode": "mirror", "create_if_missing": True}
    project.sync(name, name, {**meta, **more})


def asked(project: Project, *arguments: str, expect: int = 0, **environment: str | None) -> Any:
    """What a command prints with ``--json``."""
    finished = command_here(project, *arguments, "--json", **environment)
    assert finished.returncode == expect, finished.stdout + finished.stderr
    return json.loads(finished.stdout)


def lines(project: Project) -> list[tuple[int, ...]]:
    """How many lines the ledgers have."""
    logs = ("run_log", "batch_log", "reject_log", "drift_log")
    return [project.rows(f"select count(*) from statsig_{name}")[0] for name in logs]


@pytest.fixture
def left_behind(project: Project) -> Project:
    """A list of three whose exposure is gone, beside a sync that is there."""
    mirror_of(project, "old", "ann", "bob", "cid")
    mirror_of(project, "kept", "ann")
    run_here(project)
    project.no_sync("old")
    return project


OLD = {"project": "sandbox", "segment_id": "old", "sync": "old", "members": 3}


def test_a_list_whose_exposure_is_gone_is_told_by_check_plan_and_verify(left_behind: Project) -> None:
    for command in ("check", "plan", "verify"):
        found = asked(left_behind, command)
        assert found["orphans"] == [OLD], command
        (warning,) = found["warnings"]
        for part in ("segment 'old'", "3 members", "statsig-sync retire old --empty, --archive or --forget"):
            assert part in warning, command
        said = command_here(left_behind, command)
        assert f"warning: {warning}" in said.stdout.splitlines(), command


def test_a_list_that_its_sync_has_left_for_another_is_told(project: Project) -> None:
    mirror_of(project, "people", "ann", "bob", segment_id="first")
    run_here(project)
    mirror_of(project, "people", "ann", "bob", segment_id="second")
    (orphan,) = asked(project, "plan")["orphans"]
    assert (orphan["segment_id"], orphan["sync"], orphan["members"]) == ("first", "people", 2)
    run_here(project)
    assert [one["segment_id"] for one in asked(project, "check")["orphans"]] == ["first"]
    assert asked(project, "retire", "people", "--forget")["segment_id"] == "first"
    assert asked(project, "check")["orphans"] == []


def test_lists_that_are_written_by_a_sync_of_another_name_or_have_no_members_are_not_left_behind(
    project: Project,
) -> None:
    mirror_of(project, "people", "ann")
    mirror_of(project, "nobody", "ann")
    run_here(project)
    mirror_of(project, "nobody", guard={"allow_empty": True})
    run_here(project)
    project.no_sync("people")
    project.no_sync("nobody")
    mirror_of(project, "renamed", "ann", segment_id="people")
    assert asked(project, "plan")["orphans"] == []


def test_what_a_stand_in_has_is_no_list_of_statsigs(left_behind: Project) -> None:
    plan = asked(left_behind, "plan", STATSIG_CONSOLE_URL=None, STATSIG_CONSOLE_API_KEY=None)
    assert plan["orphans"] == []


def test_a_list_that_is_emptied_has_none_of_its_known_members_and_all_others(
    left_behind: Project, arrived: StandIn
) -> None:
    arrived.put_segment("old", "ann", "bob", "cid", "by_hand")
    done = asked(left_behind, "retire", "old", "--empty")
    assert (done["members"], done["result"]["accepted"]) == (3, 3)
    assert arrived.ids("old") == {"by_hand"}
    assert left_behind.rows("select id from statsig_members where segment_id = 'old'") == []
    operations = "select operation from statsig_batches where destination = 'old' order by sequence"
    assert left_behind.rows(operations) == [("add",), ("remove",)]
    assert asked(left_behind, "check")["orphans"] == []
    runs = "select mode, state, message, rows_read, removes_planned, keys_accepted from statsig_sync_runs"
    (last,) = left_behind.rows(f"{runs} where sync_name = 'old' order by started_at desc limit 1")
    assert last == ("remove", "finished", "retire --empty", None, 3, 3)


def test_a_removal_that_does_not_arrive_leaves_the_list_to_be_retired_again(
    left_behind: Project, arrived: StandIn
) -> None:
    arrived.fault("status", call=REMOVE_IDS, status=500, count=None)
    done = asked(left_behind, "retire", "old", "--empty", "--max-attempts", "1", expect=1)
    assert (done["result"]["state"], done["result"]["unknown"]) == ("failed", 3)
    assert asked(left_behind, "plan")["orphans"] == [OLD]
    said = command_here(left_behind, "retire", "old", "--empty", "--max-attempts", "1").stdout
    assert "the 3 members that the ledgers know were to be taken out" in said
    arrived.no_faults()
    asked(left_behind, "retire", "old", "--empty")
    assert arrived.ids("old") == set()
    assert left_behind.rows("select * from statsig_unsettled") == []


def test_a_list_that_is_archived_is_forgotten(left_behind: Project, arrived: StandIn) -> None:
    asked(left_behind, "retire", "old", "--archive")
    assert arrived.segments()["old"]["isArchived"] is True
    assert arrived.ids("old") == {"ann", "bob", "cid"}
    assert asked(left_behind, "check")["orphans"] == []
    assert left_behind.rows("select distinct segment_id from statsig_membership") == [("kept",)]
    last = left_behind.rows("select operation, state, keys from statsig_batch_log order by logged_at desc limit 1")
    assert last == [("forget", "accepted", 0)]
    message = "select message from statsig_sync_runs where sync_name = 'old' order by started_at desc limit 1"
    assert left_behind.rows(message) == [("retire --archive",)]


def test_a_list_that_statsig_does_not_archive_is_not_forgotten(left_behind: Project, arrived: StandIn) -> None:
    arrived.fault("status", call="PUT /console/*", status=403, count=None)
    (error,) = asked(left_behind, "retire", "old", "--archive", expect=1)["errors"]
    assert "segment 'old' could not be archived" in error
    assert asked(left_behind, "check")["orphans"] == [OLD]


def test_a_list_that_is_only_forgotten_stays_as_it_is_and_needs_no_key(left_behind: Project, arrived: StandIn) -> None:
    requests = len(arrived.requests())
    asked(left_behind, "retire", "old", "--forget", STATSIG_CONSOLE_API_KEY=None)
    assert len(arrived.requests()) == requests
    assert arrived.ids("old") == {"ann", "bob", "cid"}
    assert asked(left_behind, "plan")["orphans"] == []


def test_a_list_that_was_forgotten_is_adopted_by_the_sync_that_takes_it_up_again(
    left_behind: Project, arrived: StandIn
) -> None:
    asked(left_behind, "retire", "old", "--forget")
    arrived.put_segment("old", "ann", "by_hand")
    mirror_of(left_behind, "old", "ann", "bob")
    (plan,) = asked(left_behind, "plan", "--select", "old")["syncs"]
    assert (plan["adopted"], plan["adds"], plan["removes"]) == (2, 1, 1)
    run_here(left_behind)
    assert arrived.ids("old") == {"ann", "bob"}


def test_pruning_forgets_what_was_forgotten_and_not_that_it_was(left_behind: Project, arrived: StandIn) -> None:
    asked(left_behind, "retire", "old", "--forget")
    for name in ("run_log", "batch_log", "changelog"):
        left_behind.execute(f"update statsig_{name} set logged_at = logged_at - interval 400 day")
    asked(left_behind, "prune", "--older-than", "180d")
    assert left_behind.rows("select distinct key from statsig_deliveries where destination = 'old'") == []
    assert asked(left_behind, "plan")["orphans"] == []
    arrived.put_segment("old", "ann")
    mirror_of(left_behind, "old", "ann")
    assert asked(left_behind, "plan", "--select", "old")["syncs"][0]["adopted"] == 1


@pytest.mark.parametrize("how", ["--empty", "--archive", "--forget"])
def test_a_dry_run_says_what_it_would_do_and_writes_nothing(left_behind: Project, arrived: StandIn, how: str) -> None:
    before, sent = lines(left_behind), arrived.sent_data()
    done = asked(left_behind, "retire", "old", how, "--dry-run")
    assert (done["dry_run"], done["action"], done["members"]) == (True, how.removeprefix("--"), 3)
    said = command_here(left_behind, "retire", "old", how, "--dry-run").stdout
    assert "segment 'old' of sandbox" in said
    assert "would be" in said
    assert "dry run: nothing was written or sent" in said
    assert (lines(left_behind), arrived.sent_data()) == (before, sent)


def test_a_list_that_a_sync_writes_is_not_retired(left_behind: Project, arrived: StandIn) -> None:
    before = lines(left_behind)
    (error,) = asked(left_behind, "retire", "kept", "--empty", expect=3)["errors"]
    assert "kept: writes segment 'kept', so it cannot be retired" in error
    assert (lines(left_behind), arrived.ids("kept")) == (before, {"ann"})


def test_a_name_that_names_no_list_or_several_says_which_there_are(project: Project) -> None:
    for number in (1, 2, 3):
        mirror_of(project, "people", "ann", segment_id=f"list_{number}")
        run_here(project)
    (error,) = asked(project, "retire", "people", "--forget", expect=2)["errors"]
    assert "names 2 lists: sandbox/list_1 (1 members), sandbox/list_2 (1 members). Name one of them." in error
    (error,) = asked(project, "retire", "nobody", "--forget", expect=2)["errors"]
    assert "'nobody' names no list that the ledgers know" in error
    assert "sandbox/list_1 (1 members)" in error
    asked(project, "retire", "sandbox/list_1", "--forget")
    asked(project, "retire", "list_2", "--forget")
    assert asked(project, "plan")["orphans"] == []


def test_the_last_list_of_a_project_without_syncs_can_be_retired(project: Project, arrived: StandIn) -> None:
    mirror_of(project, "people", "ann")
    run_here(project)
    project.no_sync("people")
    asked(project, "retire", "people", "--empty")
    assert arrived.ids("people") == set()


def test_a_list_that_is_gone_can_only_be_forgotten(left_behind: Project, arrived: StandIn) -> None:
    arrived.delete_segment("old")
    for how in (["--empty"], ["--archive"], ["--empty", "--dry-run"], ["--archive", "--dry-run"]):
        (error,) = asked(left_behind, "retire", "old", *how, expect=2)["errors"]
        assert "is not in this Statsig project any more. End it with: statsig-sync retire old --forget" in error
    asked(left_behind, "retire", "old", "--forget")
    assert asked(left_behind, "check")["orphans"] == []


@pytest.mark.parametrize(
    ("kind", "said"), [("archived", "is archived already"), ("rule_based", "is no ID list any more")]
)
def test_a_list_that_cannot_be_changed_is_not_emptied(
    left_behind: Project, arrived: StandIn, kind: str, said: str
) -> None:
    if kind == "archived":
        arrived.archive_segment("old")
    else:
        arrived.set_type("old", kind)
    (error,) = asked(left_behind, "retire", "old", "--empty", expect=2)["errors"]
    assert said in error
    asked(left_behind, "retire", "old", "--archive")


def test_what_becomes_of_a_list_has_to_be_said(left_behind: Project) -> None:
    finished = command_here(left_behind, "retire", "old")
    assert finished.returncode == 2
    assert "one of the arguments --empty --archive --forget is required" in finished.stderr


def test_a_list_in_another_statsig_project_is_retired_with_that_projects_key(project: Project, statsig: Any) -> None:
    project.environment["OTHER_KEY"] = "console-sandbox"
    mirror_of(project, "people", "ann", api_key_env="OTHER_KEY")
    run_here(project)
    project.no_sync("people")
    mirror_of(project, "others", "ann", segment_id="others")
    assert asked(project, "check", "--select", "others")["orphans"][0]["project"] == "sandbox:OTHER_KEY"
    (error,) = asked(project, "retire", "people", "--empty", expect=2, OTHER_KEY=None)["errors"]
    assert "OTHER_KEY: is not set" in error
    asked(project, "retire", "people", "--empty")
    assert StandIn(statsig.url).ids("people") == set()


@pytest.mark.parametrize("change", [{"statsig_project": "main"}, {"api_key_env": "OTHER_KEY"}])
def test_a_list_that_a_sync_may_write_under_another_name_of_its_statsig_project_is_not_emptied(
    project: Project, arrived: StandIn, change: dict[str, str]
) -> None:
    project.environment["OTHER_KEY"] = "console-sandbox"
    mirror_of(project, "people", "ann", "bob", "cid")
    run_here(project)
    mirror_of(project, "people", "ann", "bob", "cid", **change)
    run_here(project)
    written = "renamed_from: {api_key_env: STATSIG_CONSOLE_API_KEY} under config.meta.statsig of people"
    for command in ("check", "plan", "verify"):
        found = asked(project, command)
        (warning,) = found["warnings"]
        assert (found["orphans"], written in warning) == ([], True), command
    for how in ("--empty", "--archive"):
        (error,) = asked(project, "retire", "sandbox/people", how, expect=3)["errors"]
        assert "may be the same list" in error
        assert written in error
    mirror_of(project, "people", "ann", "bob", "cid", renamed_from={"api_key_env": "STATSIG_CONSOLE_API_KEY"}, **change)
    assert asked(project, "plan")["warnings"] == []
    assert arrived.ids("people") == {"ann", "bob", "cid"}


def test_a_list_that_may_be_another_ones_under_its_former_name_can_be_forgotten(project: Project) -> None:
    mirror_of(project, "people", "ann")
    run_here(project)
    project.no_sync("people")
    mirror_of(project, "persons", "ann", segment_id="people", statsig_project="main")
    (warning,) = asked(project, "plan")["warnings"]
    assert "renamed_from: {exposure: people, api_key_env: STATSIG_CONSOLE_API_KEY}" in warning
    asked(project, "retire", "people", "--forget")
    assert asked(project, "plan")["warnings"] == []


def beside(project: Project) -> Project:
    """Another dbt project that keeps its ledgers in the same schema, with one sync of its own."""
    folder = project.folder.parent / "other"
    folder.mkdir()
    shutil.copy(project.folder / "profiles.yml", folder)
    (folder / "dbt_project.yml").write_text("name: other\nprofile: statsig_sync\n")
    project.execute("create table mine as select 'x' as user_id")
    meta = {"object": "segment", "segment_id": "mine", "mode": "mirror", "create_if_missing": True}
    syncs = [{"name": "mine", "file": "x.yml", "depends_on": ["model.other.mine"], "meta": meta}]
    relation = '"warehouse"."main"."mine"'
    node = {"name": "mine", "resource_type": "model", "relation": relation, "materialized": "table", "parents": []}
    graph = {"nodes": {"model.other.mine": node}, "tests": {}}
    project.log_invocation(project_name="other", syncs=json.dumps(syncs), graph=json.dumps(graph))
    project.log_run("model.other.mine", "success", project_name="other")
    return Project(folder, project.statsig)


def test_a_list_that_another_dbt_project_with_the_same_ledgers_writes_is_not_left_behind(
    project: Project, arrived: StandIn
) -> None:
    mirror_of(project, "people", "ann", "bob")
    run_here(project)
    other = beside(project)
    run_here(other)
    for one in (project, other):
        found = asked(one, "plan")
        assert (found["orphans"], found["warnings"]) == ([], [])
    (error,) = asked(other, "retire", "people", "--empty", expect=3)["errors"]
    assert "people (dbt project statsig_sync, target" in error
    assert "so it cannot be retired" in error
    assert arrived.ids("people") == {"ann", "bob"}
    asked(other, "retire", "people", "--forget")
    assert arrived.ids("people") == {"ann", "bob"}
    assert run_here(project)
