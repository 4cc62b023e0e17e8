"""A sync runs only on what dbt has proved, as its build log or its artifacts say."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from sync.core.delivery import Patience
from sync.core.graph import DbtState, Proof
from sync.core.plan import Plan
from sync.errors import RefusedError
from sync.run.build_log import Wanted
from sync.run.commands import plan
from sync.run.prepare import Request
from tests.integration.harness import PACKAGE, Project
from tests.integration.in_process import StillClock, command_here, run_here, world_of
from tests.integration.stand_in import StandIn

MODEL = f"model.{PACKAGE}."


def visits(project: Project, *names: str) -> None:
    """A model and a sync of its events, for each name."""
    for name in names:
        project.table(name, f"select 1 as id, '{name}' as user_id")
        project.sync(name, name, {"object": "events", "unique_key": "id", "event_name": "visit"})


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
    project.made_from("parent", MODEL + "grandparent")
    project.made_from("child_of_failed_test", MODEL + "parent")
    project.test("not_null_grandparent", "grandparent", "fail")
    project.table("broken", "select 1 as id")
    project.set_status(MODEL + "broken", "error")
    project.made_from("child_of_failed_model", MODEL + "broken")
    project.table("quiet", "select 1 as id")
    project.test("not_null_quiet", "quiet", "skipped")
    project.made_from("child_of_skipped_test", MODEL + "quiet")
    seed = f"seed.{PACKAGE}.raw"
    project.node(seed, materialized="seed")
    project.set_status(seed, "error")
    project.made_from("child_of_failed_seed", seed)
    project.table("sound", "select 1 as id")
    project.test("not_null_sound", "sound", "pass")
    project.made_from("with_parents", MODEL + "sound")

    visits(project, "unit_test_fails", "unit_test_left_out")
    project.log_run(f"unit_test.{PACKAGE}.unit_test_fails.logic", "fail", tests=json.dumps([MODEL + "unit_test_fails"]))
    project.log_run(f"unit_test.{PACKAGE}.tested.logic", "pass", tests=json.dumps([MODEL + "tested"]))

    expected = {
        "model_error": ("model model_error", "error"),
        "model_skipped": ("model model_skipped", "skipped"),
        "model_missing": ("model model_missing", "not among what dbt is known to have built"),
        "test_fail": ("test not_null_fail", "fail"),
        "test_error": ("test not_null_error", "error"),
        "test_skipped": ("test not_null_skipped", "skipped"),
        "test_missing": ("test not_null_missing", "has not run"),
        "child_of_failed_test": ("test not_null_grandparent", "fail"),
        "child_of_failed_model": ("broken", "error"),
        "child_of_skipped_test": ("test not_null_quiet", "skipped"),
        "child_of_failed_seed": ("raw", "error"),
        "unit_test_fails": ("unit test unit_test_fails.logic", "fail"),
    }

    errors = "\n".join(run_here(project, expect=3)["errors"])
    assert all(f"{name}: " in errors for name in expected)
    assert arrived.requests() == []
    assert project.rows("select count(*) from statsig_batch_log") == [(0,)]

    report = run_here(project, "--keep-going", expect=3)
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


def test_the_gate_refuses_by_default_warns_or_is_off_as_asked(project: Project, arrived: StandIn) -> None:
    visits(project, "visits")
    project.test("not_null_visits", "visits", "fail")
    for arguments in ((), ("--gate", "strict")):
        finished = command_here(project, "run", *arguments)
        assert (finished.returncode, arrived.requests()) == (3, [])
        assert "test not_null_visits" in finished.stderr

    warned = command_here(project, "run", "--gate", "warn")
    assert (warned.returncode, arrived.users()) == (0, ["visits"])
    assert "warning: visits: test not_null_visits on visits failed" in warned.stderr
    assert "warning" not in warned.stdout

    project.table("visits", "select 2 as id, 'later' as user_id")
    project.set_status(f"{MODEL}visits", None)
    missing = command_here(project, "run")
    assert (missing.returncode, arrived.users()) == (3, ["visits"])
    assert "model visits is not among what dbt is known to have built" in missing.stderr
    assert "dbt build --select +exposure:visits" in missing.stderr
    off = command_here(project, "run", "--gate", "off")
    assert (off.returncode, arrived.users()) == (0, ["later", "visits"])
    assert "warning" not in off.stdout + off.stderr

    wrong = command_here(project, "run", "--gate", "loose")
    assert wrong.returncode == 2
    assert "strict" in wrong.stderr


def refused(project: Project, *arguments: str) -> str:
    """Why the run of everything is refused."""
    finished = command_here(project, "run", *arguments)
    assert finished.returncode == 3, finished.stdout + finished.stderr
    return finished.stderr


def test_of_artifacts_only_what_dbt_build_or_its_retry_has_written_proves_anything(
    project: Project, arrived: StandIn
) -> None:
    visits(project, "visits")
    told = {"generate": "docs generate"}
    for command in ("compile", "generate", "list", "test", "run", "seed", "snapshot", "source freshness"):
        message = refused(project, *project.as_artifacts(which=command))
        assert f"dbt {told.get(command, command)}" in message
        assert "run dbt build" in message.lower()
    assert arrived.requests() == []
    assert command_here(project, "run", *project.as_artifacts(which="retry")).returncode == 0
    assert arrived.users() == ["visits"]


def test_artifacts_of_models_that_were_built_from_no_or_few_rows_are_not_sent(
    project: Project, arrived: StandIn
) -> None:
    visits(project, "visits")
    assert "--empty" in refused(project, *project.as_artifacts(empty=True))
    assert "--sample" in refused(project, *project.as_artifacts(empty=False, sample={"start": "2026-01-01"}))
    assert arrived.requests() == []


def test_artifacts_of_two_invocations_prove_nothing_together(project: Project, arrived: StandIn) -> None:
    visits(project, "visits")
    flags = project.as_artifacts()
    results = project.artifact("run_results")
    results["metadata"]["invocation_id"] = "another-invocation"
    project.write_artifact("run_results", results)
    message = refused(project, *flags)
    assert "another-invocation" in message
    assert project.artifact("manifest")["metadata"]["invocation_id"] in message
    assert "Run dbt build again" in message
    assert arrived.requests() == []


def test_artifacts_of_another_target_profile_or_profiles_file_are_refused_with_both_named(
    project: Project, arrived: StandIn, tmp_path: Path
) -> None:
    visits(project, "visits")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for argument, built, opened in (
        ("target", "prod", "'dev'"),
        ("profile", "ci", f"'{PACKAGE}'"),
        ("profiles_dir", str(elsewhere), str(project.folder)),
    ):
        message = refused(project, *project.as_artifacts(**{"target": None, "profile": None, argument: built}))
        assert "run_results.json is of a dbt build with " in message
        assert built in message
        assert opened in message
    assert arrived.requests() == []
    # The profile's own target is meant where a command names none.
    add_target(project, "prod")
    flags = project.as_artifacts(target=None, profile=None)
    message = refused(project, *flags, "--target", "prod")
    assert "with target 'dev', but the target here is 'prod'" in message
    assert command_here(project, "plan", *project.as_artifacts(target="prod"), "--target", "prod").returncode == 0
    # A folder of another machine cannot be compared.
    flags = project.as_artifacts(target="dev", profile=PACKAGE, profiles_dir="/builds/of/another/machine")
    assert command_here(project, "run", *flags).returncode == 0
    assert arrived.users() == ["visits"]


def add_target(project: Project, name: str) -> None:
    """Another target of the profile, in the same warehouse."""
    file = project.folder / "profiles.yml"
    profiles = json.loads(file.read_text())
    outputs = profiles[PACKAGE]["outputs"]
    outputs[name] = outputs["dev"]
    file.write_text(json.dumps(profiles))


def test_a_target_is_found_although_the_usual_one_cannot_be(project: Project, arrived: StandIn) -> None:
    visits(project, "visits")
    add_target(project, "prod")
    file = project.folder / "profiles.yml"
    profiles = json.loads(file.read_text())
    profiles[PACKAGE]["outputs"]["dev"] = {"type": "duckdb", "path": "{{ env_var('NOT_SET_HERE') }}"}
    file.write_text(json.dumps(profiles))
    assert "NOT_SET_HERE" in command_here(project, "plan").stderr
    message = command_here(project, "plan", "--target", "prod").stderr
    assert "dbt has written no build log for profile" in message
    assert "target 'dev'" in message
    assert command_here(project, "run", *project.as_artifacts(target="prod"), "--target", "prod").returncode == 0
    assert arrived.users() == ["visits"]


# The last command of dbt in the project at hand.


def last_command(project: Project, invocation_id: str, which: str, **arguments: Any) -> None:
    """dbt has left the results of this command, which has just ended, in the target folder."""
    results = project.artifact("run_results")
    ended = dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=1)
    results["metadata"] |= {"invocation_id": invocation_id, "generated_at": ended.isoformat()}
    results["args"] |= {"which": which, **arguments}
    project.write_artifact("run_results", results)


@pytest.mark.parametrize(
    ("which", "arguments", "said"),
    [
        ("build", {"target": "prod"}, ("dbt build, was with profile", "target 'prod'", "target 'dev'", "--target")),
        ("retry", {"profile": "ci"}, ("dbt retry, was with profile 'ci'", f"profile '{PACKAGE}'")),
        ("test", {}, ("dbt test, is not in the build log", "hooks of the dbt package statsig_sync did not run")),
        ("clone", {}, ("dbt clone, has put what another target holds", "Run dbt build")),
    ],
)
def test_a_command_that_changed_or_tested_data_and_that_this_build_log_does_not_have_is_refused(
    project: Project, arrived: StandIn, which: str, arguments: dict[str, Any], said: tuple[str, ...]
) -> None:
    visits(project, "visits")
    last_command(project, "elsewhere", which, **arguments)
    message = refused(project)
    assert all(part in message for part in said), message
    assert arrived.requests() == []
    assert command_here(project, "plan", "--gate", "off").returncode == 0
    # As soon as the log has it, it is the proof.
    project.log_invocation(invocation_id="elsewhere")
    assert command_here(project, "plan").returncode == 0


@pytest.mark.parametrize("which", ["compile", "list", "generate", "freshness", "parse", "show"])
def test_a_command_that_changes_no_data_needs_not_be_in_the_build_log(project: Project, which: str) -> None:
    visits(project, "visits")
    last_command(project, "elsewhere", which)
    assert command_here(project, "plan").returncode == 0
    # It may follow a build for another target, whose results it has overwritten.
    last_command(project, "elsewhere", which, target="prod")
    assert "target 'prod'" in refused(project)
    assert command_here(project, "plan", "--target", "dev").returncode == 0


def test_a_command_that_found_nothing_to_do_leaves_the_proof_as_it_is(project: Project) -> None:
    visits(project, "visits")
    last_command(project, "elsewhere", "run")
    project.write_artifact("run_results", {**project.artifact("run_results"), "results": []})
    assert command_here(project, "plan").returncode == 0


# Whose build log it is.


def test_from_a_folder_without_a_project_the_only_one_in_the_warehouse_is_meant(
    project: Project, arrived: StandIn, tmp_path: Path
) -> None:
    visits(project, "visits")
    away = replace(project, folder=tmp_path / "away")
    away.folder.mkdir()
    profiles = ("--profiles-dir", str(project.folder))
    project.log_invocation(project_name="another_shop")
    finished = command_here(away, "run", *profiles)
    assert finished.returncode == 2
    for part in ("several projects", "'another_shop'", f"'{PACKAGE}'", "--project-dir"):
        assert part in finished.stderr
    assert command_here(away, "run", *profiles, "--project-dir", str(project.folder)).returncode == 0
    assert arrived.users() == ["visits"]
    project.execute("delete from statsig_build_log where project_name = 'another_shop'")
    assert command_here(away, "plan", *profiles).returncode == 0


def test_a_build_log_of_others_is_named_where_there_is_none_of_this_one(project: Project) -> None:
    project.execute("update statsig_build_log set target_name = 'prod'")
    finished = command_here(project, "run")
    assert finished.returncode == 2
    for part in ("target 'dev'", "target 'prod'", "dbt build", "on-run-end"):
        assert part in finished.stderr
    project.execute("delete from statsig_build_log")
    assert "dbt has written no build log here, so nothing proves the data" in command_here(project, "check").stderr


def test_an_ephemeral_model_is_called_that_and_what_to_write(project: Project) -> None:
    visits(project, "visits")
    project.node(MODEL + "visits", materialized="ephemeral")
    project.set_status(MODEL + "visits", None)
    for command in ("plan", "check"):
        finished = command_here(project, command)
        assert finished.returncode in (2, 3)
        assert "ephemeral" in finished.stdout + finished.stderr
        assert "materialized: table" in finished.stdout + finished.stderr


# What the project says by now.


def yaml_of(project: Project, minutes: float) -> None:
    """The project has a YAML file that was changed so many minutes after this."""
    file = project.folder / "models" / "marts.yml"
    file.write_text("models: []")
    moment = time.time() + 60 * minutes
    os.utime(file, (moment, moment))


def test_what_was_changed_after_the_build_is_said_by_plan_and_run(project: Project, arrived: StandIn) -> None:
    yaml_of(project, minutes=-60)
    visits(project, "visits")
    assert "was changed after" not in command_here(project, "plan").stdout
    yaml_of(project, minutes=60)
    warning = "models/marts.yml was changed after dbt's last build; what is new counts from the next dbt build."
    assert f"warning: {warning}" in command_here(project, "plan").stdout
    assert f"warning: {warning}" in command_here(project, "run").stderr
    assert arrived.users() == ["visits"]
    # A checkout that is new as a whole says nothing.
    moment = time.time() + 3600
    for place, _, names in os.walk(project.folder):
        for name in names:
            os.utime(os.path.join(place, name), (moment, moment))
    assert "was changed after" not in command_here(project, "plan").stdout


def test_check_goes_by_the_syncs_that_dbt_has_parsed_since_the_build(project: Project) -> None:
    visits(project, "visits")
    built = [dict(one) for one in project.synced()]
    project.sync("visits", "visits", {"object": "events", "unique_key": "nothing", "event_name": "visit"})
    project.as_artifacts()
    project.execute("delete from statsig_build_log where record = 'invocation' and syncs like '%nothing%'")
    assert built != project.synced()
    checked = command_here(project, "check")
    assert checked.returncode == 2
    assert "nothing" in checked.stderr
    # The build is what is sent.
    assert command_here(project, "plan").returncode == 0
    project.change_syncs(lambda exposure: exposure.update(meta={**exposure["meta"], "unique_key": "user_id"}))
    project.as_artifacts()
    project.execute("delete from statsig_build_log where record = 'invocation' and syncs like '%\"user_id\"%'")
    checked = command_here(project, "check")
    assert checked.returncode == 0, checked.stderr
    assert "which is younger than the last build; plan and run go by the build" in checked.stdout
    yaml_of(project, minutes=60)
    assert "models/marts.yml was changed after dbt read it last: run dbt parse first" in (
        command_here(project, "check").stdout
    )


# How old it is.


def test_data_that_is_older_than_allowed_is_refused_and_the_rest_says_when_it_was_built(
    project: Project, arrived: StandIn
) -> None:
    visits(project, "old", "new")
    project.sync("old", "old", {"object": "events", "unique_key": "id", "event_name": "visit", "max_age": "2 hours"})
    project.test("unique_new", "new", "pass")
    day_ago = dt.datetime.now(dt.timezone.utc).replace(tzinfo=None) - dt.timedelta(hours=26)
    project.set_status(MODEL + "old", "success", started_at=day_ago, completed_at=day_ago)
    finished = command_here(project, "plan")
    assert "old: its model was built 1 day ago, and max_age allows data of up to 2 hours. Run dbt build." in (
        finished.stdout
    )
    assert command_here(project, "plan", "--max-age", "2d").returncode == 0
    assert command_here(project, "run", "--max-age", "1d", "--gate", "off").returncode == 3
    assert arrived.sent_data() == 0
    ran = command_here(project, "run", "--max-age", "2 days")
    assert ran.returncode == 0
    assert "old: built 1 day ago, no tests" in ran.stderr
    assert re.search("new: built [0-9]+ seconds? ago, 1 test passed", ran.stderr)
    assert arrived.users() == ["new", "old"]


def test_both_artifacts_have_to_be_named_where_no_project_is_at_hand(project: Project, tmp_path: Path) -> None:
    visits(project, "visits")
    project.as_artifacts()
    target = project.folder / "target"
    away = replace(project, folder=tmp_path / "away")
    away.folder.mkdir()
    profiles = ("--profiles-dir", str(project.folder))
    one = command_here(away, "plan", *profiles, "--manifest", str(target / "manifest.json"))
    assert one.returncode == 2
    assert "--run-results" in one.stderr
    both = ("--manifest", str(target / "manifest.json"), "--run-results", str(target / "run_results.json"))
    assert command_here(away, "plan", *profiles, *both).returncode == 0


@dataclass(frozen=True)
class _BuiltAgain:
    """What dbt has done, where it has built a model once more since the first look."""

    first: DbtState
    model: str
    wanted: Wanted

    def read(self) -> DbtState:
        run = replace(self.first.proof.runs[self.model], invocation_id="another-invocation")
        return replace(self.first, proof=Proof({**self.first.proof.runs, self.model: run}))

    def doubt(self) -> None:
        return None


def test_rows_that_dbt_may_have_built_again_since_the_gate_are_not_sent(project: Project, arrived: StandIn) -> None:
    visits(project, "visits", "others")

    def planned(model: str, **request: Any) -> Plan:
        world = world_of(project, StillClock())
        again = replace(world, source=_BuiltAgain(world.state, MODEL + model, world.wanted))
        return plan(again, Request(select=["visits"], **request), Patience())

    with pytest.raises(RefusedError, match="dbt has run while the rows were read"):
        planned("visits")
    assert arrived.requests() == []
    for fine in (planned("others"), planned("visits", gate="off")):
        assert fine.refusals == ()


def test_ledgers_that_dbt_makes_anew_at_each_build_are_refused(project: Project, arrived: StandIn) -> None:
    project.table("orders", "select 1 as order_id, 'ann' as user_id")
    project.sync("orders", "orders", {"object": "events", "unique_key": "order_id", "event_name": "order"})
    for name in ("statsig_changelog", "statsig_batches"):
        project.logged["ledgers"][name]["materialized"] = "table"
    project.log_invocation()
    errors = sorted(run_here(project, expect=2)["errors"])
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
    errors = run_here(project, expect=3)["errors"]
    assert [error.split(":")[0] for error in errors[:2]] == ["bad", "worse"]
    assert errors[2:] == ["Nothing was sent, also not for good; --keep-going runs what nothing refuses."]
    assert arrived.events() == []
    plan = command_here(project, "plan", "--select", "bad")
    assert plan.returncode == 3
    assert "Nothing to send." not in plan.stdout


@pytest.mark.parametrize("more", [(), ("--keep-going",)], ids=["alone", "keep-going"])
def test_a_refused_run_is_aborted_and_says_by_what(project: Project, arrived: StandIn, more: tuple[str, ...]) -> None:
    arrived.put_segment("people", "ann", "bob")
    project.table("people", "select 'ann' as user_id where false")
    project.sync("people", "people", {"object": "segment", "segment_id": "people", "mode": "mirror"})
    project.table("orders", "select 1 as order_id, 'ann' as user_id")
    project.sync("orders", "orders", {"object": "events", "unique_key": "order_id", "event_name": "order"})
    run_here(project, *more, expect=3)
    ended = {
        name: (state, message)
        for name, state, message in project.rows("select sync_name, state, message from statsig_sync_runs")
    }
    assert ended["people"][0] == "aborted"
    assert "the audience is empty" in ended["people"][1]
    stopped = ("aborted", "the run was stopped by another sync of it: people")
    assert ended["orders"] == (("finished", None) if more else stopped)
