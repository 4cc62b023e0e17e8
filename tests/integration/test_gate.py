"""A sync runs only on what the last dbt build has proved."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import yaml

from sync.core.delivery import Patience
from sync.errors import RefusedError
from sync.run.commands import plan
from sync.run.prepare import Request
from tests.integration.harness import PACKAGE, Project, dbt
from tests.integration.in_process import StillClock, command_here, run_here, run_still, world_of
from tests.integration.stand_in import StandIn

MODEL = f"model.{PACKAGE}."


def visits(project: Project, *names: str) -> None:
    """A model and a sync of its events, for each name."""
    for name in names:
        project.table(name, f"select 1 as id, '{name}' as user_id")
        project.sync(name, name, {"object": "events", "unique_key": "id", "event_name": "visit"})


def made_from(project: Project, model: str, *parents: str) -> None:
    manifest = project.artifact("manifest")
    manifest["nodes"][MODEL + model]["depends_on"]["nodes"] = list(parents)
    project.write_artifact("manifest", manifest)


def edit_results(project: Project, **arguments: Any) -> None:
    results = project.artifact("run_results")
    results["args"] |= arguments
    project.write_artifact("run_results", results)


def refusals(report: Any) -> dict[str, str]:
    return {one["sync"]: one["message"] for one in report["plan"]["refusals"]}


def test_the_model_and_the_tests_on_it_and_on_all_its_ancestors_must_have_run_and_not_failed(
    project: Project, arrived: StandIn
) -> None:
    fine = ("untested", "tested", "warned", "with_parents")
    visits(project, *fine)
    for status in ("error", "skipped", "missing"):
        visits(project, f"model_{status}")
        project.set_status(f"{MODEL}model_{status}", None if status == "missing" else status)
    for status in ("fail", "error", "skipped", "missing"):
        visits(project, f"test_{status}")
        project.test(f"not_null_{status}", f"test_{status}", None if status == "missing" else status)
    project.test("unique_tested", "tested", "pass")
    project.test("accepted_warned", "warned", "warn")

    # A family: grandparent, a seed and a source beside it, parent, child.
    for model in ("grandparent", "parent"):
        project.table(model, "select 1 as id")
    visits(project, "child_of_failed_test", "child_of_failed_model", "child_of_skipped_test", "child_of_failed_seed")
    made_from(project, "parent", MODEL + "grandparent")
    made_from(project, "child_of_failed_test", MODEL + "parent")
    project.test("not_null_grandparent", "grandparent", "fail")
    project.table("broken", "select 1 as id")
    project.set_status(MODEL + "broken", "error")
    made_from(project, "child_of_failed_model", MODEL + "broken")
    project.table("quiet", "select 1 as id")
    project.test("not_null_quiet", "quiet", "skipped")
    made_from(project, "child_of_skipped_test", MODEL + "quiet")
    seed = f"seed.{PACKAGE}.raw"
    add_node(project, seed, "seed", "raw", "error")
    made_from(project, "child_of_failed_seed", seed)
    project.table("sound", "select 1 as id")
    project.test("not_null_sound", "sound", "pass")
    made_from(project, "with_parents", MODEL + "sound")

    visits(project, "unit_test_fails", "unit_test_left_out")
    add_unit_test(project, "logic_fails", "unit_test_fails", "fail")
    add_unit_test(project, "logic_left_out", "unit_test_left_out", None)

    expected = {
        "model_error": ("model model_error", "error"),
        "model_skipped": ("model model_skipped", "skipped"),
        "model_missing": ("model model_missing", "not in the results"),
        "test_fail": ("test not_null_fail", "fail"),
        "test_error": ("test not_null_error", "error"),
        "test_skipped": ("test not_null_skipped", "skipped"),
        "test_missing": ("test not_null_missing", "not in the results"),
        "child_of_failed_test": ("test not_null_grandparent", "fail"),
        "child_of_failed_model": ("broken", "error"),
        "child_of_skipped_test": ("test not_null_quiet", "skipped"),
        "child_of_failed_seed": ("raw", "error"),
        "unit_test_fails": ("test logic_fails", "fail"),
    }

    errors = "\n".join(run_here(project, expect=3)["errors"])
    assert all(f"{name}: " in errors for name in expected)
    assert arrived.requests() == []
    assert project.rows("select count(*) from statsig_batch_log") == [(0,)]

    report = project.run("--keep-going", expect=3)
    found = refusals(report)
    assert set(found) == set(expected)
    for name, parts in expected.items():
        assert all(part in found[name] for part in parts), found[name]
    sent = sorted([*fine, "unit_test_left_out"])
    assert [one["sync_name"] for one in report["results"]] == sent
    assert arrived.users() == sent

    finished = command_here(project, "plan", "--select", "test_fail", "tested")
    assert finished.returncode == 3
    assert "refused: test_fail: " in finished.stdout


def add_node(project: Project, unique_id: str, kind: str, name: str, status: str | None) -> None:
    manifest = project.artifact("manifest")
    manifest["nodes"][unique_id] = {"unique_id": unique_id, "name": name, "resource_type": kind}
    project.write_artifact("manifest", manifest)
    project.set_status(unique_id, status)


def add_unit_test(project: Project, name: str, model: str, status: str | None) -> None:
    unique_id = f"unit_test.{PACKAGE}.{model}.{name}"
    manifest = project.artifact("manifest")
    manifest["unit_tests"][unique_id] = {
        "unique_id": unique_id,
        "name": name,
        "resource_type": "unit_test",
        "depends_on": {"nodes": [MODEL + model]},
    }
    project.write_artifact("manifest", manifest)
    project.set_status(unique_id, status)


def test_the_gate_refuses_by_default_warns_or_is_off_as_asked(project: Project, arrived: StandIn) -> None:
    visits(project, "visits")
    project.test("not_null_visits", "visits", "fail")
    for arguments in ((), ("--gate", "strict")):
        finished = command_here(project, "run", *arguments)
        assert (finished.returncode, arrived.requests()) == (3, [])
        assert "test not_null_visits" in finished.stderr

    warned = project.command("run", "--gate", "warn")
    assert (warned.returncode, arrived.users()) == (0, ["visits"])
    assert warned.stderr.startswith("warning: visits: test not_null_visits")
    assert "warning" not in warned.stdout

    project.table("visits", "select 2 as id, 'later' as user_id")
    (project.folder / "target" / "run_results.json").unlink()
    missing = command_here(project, "run")
    assert (missing.returncode, arrived.users()) == (2, ["visits"])
    assert "run_results.json" in missing.stderr
    assert "dbt build" in missing.stderr
    off = command_here(project, "run", "--gate", "off")
    assert (off.returncode, arrived.users()) == (0, ["later", "visits"])
    assert "warning" not in off.stdout + off.stderr

    wrong = command_here(project, "run", "--gate", "loose")
    assert wrong.returncode == 2
    assert "strict" in wrong.stderr


def refused(project: Project) -> str:
    """Why the run of everything is refused."""
    with pytest.raises(RefusedError) as found:
        run_still(project)
    return str(found.value)


def test_only_what_dbt_build_or_its_retry_has_written_proves_anything(project: Project, arrived: StandIn) -> None:
    visits(project, "visits")
    told = {"generate": "docs generate"}
    for command in ("compile", "generate", "list", "test", "run", "seed", "snapshot", "source freshness"):
        edit_results(project, which=command)
        assert f"dbt {told.get(command, command)}" in refused(project)
        assert "run dbt build" in refused(project)
    assert arrived.requests() == []
    edit_results(project, which="retry")
    assert run_still(project).exit_code == 0
    assert arrived.users() == ["visits"]


def test_models_that_were_built_from_no_or_few_rows_are_not_sent(project: Project, arrived: StandIn) -> None:
    visits(project, "visits")
    edit_results(project, empty=True)
    assert "--empty" in refused(project)
    edit_results(project, empty=False, sample={"start": "2026-01-01"})
    assert "--sample" in refused(project)
    assert arrived.requests() == []


def test_artifacts_of_two_invocations_prove_nothing_together(project: Project, arrived: StandIn) -> None:
    visits(project, "visits")
    results = project.artifact("run_results")
    results["metadata"]["invocation_id"] = "another-invocation"
    project.write_artifact("run_results", results)
    message = refused(project)
    assert "another-invocation" in message
    assert project.artifact("manifest")["metadata"]["invocation_id"] in message
    assert "Run dbt build again" in message
    assert arrived.requests() == []


class _BuildsMeanwhile(StillClock):
    """Lets dbt run while the rows are read: the time is asked for then."""

    project: Project

    def now(self) -> dt.datetime:
        edit_results(self.project, which="compile")
        return super().now()


def test_rows_that_dbt_may_have_built_anew_since_the_gate_are_not_sent(project: Project, arrived: StandIn) -> None:
    visits(project, "visits")
    arrived.put_segment("people", "ann")
    project.table("people", "select 'ann' as user_id")
    project.sync("people", "people", {"object": "segment", "segment_id": "people", "mode": "mirror"})
    clock = _BuildsMeanwhile()
    clock.project = project
    with pytest.raises(RefusedError, match="dbt has run while the rows were read"):
        plan(world_of(project, clock), Request(), Patience())
    assert arrived.requests() == []
    edit_results(project, which="build")
    assert plan(world_of(project, clock), Request(gate="off"), Patience()).refusals == ()


def test_with_the_real_dbt_a_failing_data_test_stops_the_sync_and_a_later_compile_too(
    project: Project, arrived: StandIn
) -> None:
    folder = project.folder / "models" / "marts"
    folder.mkdir()
    (folder / "buyers.sql").write_text("select 'ann' as user_id union all select {{ var('second', 'null') }}")
    meta = {"object": "segment", "segment_id": "buyers", "mode": "mirror", "create_if_missing": True}
    exposure = {
        "name": "statsig_buyers",
        "type": "application",
        "owner": {"name": "Growth", "email": "growth@example.com"},
        "depends_on": ["ref('buyers')"],
        "config": {"meta": {"statsig": meta}},
    }
    model = {"name": "buyers", "columns": [{"name": "user_id", "data_tests": ["not_null"]}]}
    (folder / "marts.yml").write_text(yaml.safe_dump({"version": 2, "models": [model], "exposures": [exposure]}))

    assert dbt(project.folder, "build", "--select", "buyers").returncode == 1
    finished = project.command("run")
    assert finished.returncode == 3
    assert "statsig_buyers: test not_null_buyers_user_id ended as 'fail'" in finished.stderr
    assert arrived.requests() == []

    built = dbt(project.folder, "build", "--select", "buyers", "--vars", "{second: \"'bob'\"}")
    assert built.returncode == 0, built.stdout
    proved = project.artifact("run_results"), project.artifact("manifest")
    dbt(project.folder, "compile", "--select", "buyers")
    finished = project.command("run")
    assert finished.returncode == 3
    assert "dbt compile" in finished.stderr
    assert arrived.requests() == []

    for name, content in zip(("run_results", "manifest"), proved, strict=True):
        project.write_artifact(name, content)
    assert project.run()["results"][0]["state"] == "finished"
    assert arrived.ids("buyers") == {"ann", "bob"}


def test_ledgers_that_dbt_makes_anew_at_each_build_are_refused(project: Project, arrived: StandIn) -> None:
    project.table("orders", "select 1 as order_id, 'ann' as user_id")
    project.sync("orders", "orders", {"object": "events", "unique_key": "order_id", "event_name": "order"})
    manifest = project.artifact("manifest")
    for node in manifest["nodes"].values():
        if node["name"] in ("statsig_changelog", "statsig_batches"):
            node["config"]["materialized"] = "table"
    project.write_artifact("manifest", manifest)
    errors = sorted(project.run(expect=2)["errors"])
    assert ["statsig_batches" in errors[0], "statsig_changelog" in errors[1]] == [True, True]
    assert "is a table, but has to be a view" in errors[0]
    assert "is a table, but has to be a ledger. Write +materialized below your project's own name" in errors[1]
    assert arrived.events() == []


def test_every_refusal_is_a_message_of_its_own_and_the_syncs_that_nothing_refuses_are_named(
    project: Project, arrived: StandIn
) -> None:
    for name in ("good", "bad", "worse"):
        project.table(name, "select 1 as order_id, 'ann' as user_id")
        project.sync(name, name, {"object": "events", "unique_key": "order_id", "event_name": "order"})
    for name in ("bad", "worse"):
        project.test(f"{name}_is_unique", name, "fail")
    errors = project.run(expect=3)["errors"]
    assert [error.split(":")[0] for error in errors[:2]] == ["bad", "worse"]
    assert errors[2:] == ["Nothing was sent, also not for good; --keep-going runs what nothing refuses."]
    assert arrived.events() == []
    plan = project.command("plan", "--select", "bad")
    assert plan.returncode == 3
    assert "Nothing to send." not in plan.stdout


@pytest.mark.parametrize("more", [(), ("--keep-going",)], ids=["alone", "keep-going"])
def test_a_refused_run_is_aborted_and_says_by_what(project: Project, arrived: StandIn, more: tuple[str, ...]) -> None:
    arrived.put_segment("people", "ann", "bob")
    project.table("people", "select 'ann' as user_id where false")
    project.sync("people", "people", {"object": "segment", "segment_id": "people", "mode": "mirror"})
    project.table("orders", "select 1 as order_id, 'ann' as user_id")
    project.sync("orders", "orders", {"object": "events", "unique_key": "order_id", "event_name": "order"})
    project.run(*more, expect=3)
    ended = {
        name: (state, message)
        for name, state, message in project.rows("select sync_name, state, message from statsig_sync_runs")
    }
    assert ended["people"][0] == "aborted"
    assert "the audience is empty" in ended["people"][1]
    stopped = ("aborted", "the run was stopped by another sync of it: people")
    assert ended["orders"] == (("finished", None) if more else stopped)
