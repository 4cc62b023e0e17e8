"""What the real dbt builds, tests and breaks, and what the sync makes of it: the proof lies beside the data."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.integration.built_shop import (
    MODELS,
    PROPERTIES,
    SELECT,
    Shop,
    build_shop,
    dbt_command,
    dbt_environment,
    write_profiles,
)
from tests.integration.harness import Project
from tests.integration.in_process import command_here
from tests.integration.stand_in import StandIn

AS_TABLE = "{{ config(materialized='table') }}\n"
TWICE = "select unnest(['twice', 'twice']) as user_id, timestamp '2026-10-01' as seen_at"
# The ledgers too, without the package's own tests.
SHOP_ONLY = ("--exclude-resource-type", "unit_test", "--exclude", "package:statsig_sync,resource_type:test")


@pytest.fixture(scope="module")
def built_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "shop"
    build_shop(folder)
    return folder


@pytest.fixture
def fresh(built_shop: Path, tmp_path: Path, arrived: StandIn) -> Shop:
    """The project after ``dbt build`` into dev, and then ``dbt build --target prod``."""
    folder = tmp_path / "shop"
    shutil.copytree(built_shop, folder)
    write_profiles(folder, folder / "warehouse.duckdb")
    return Shop(Project(folder, arrived.url))


@pytest.fixture
def shop(fresh: Shop) -> Shop:
    """The same, without the traces of the last command."""
    (fresh.folder / "target" / "run_results.json").unlink()
    return fresh


def refused(shop: Shop, *arguments: str, **environment: str) -> str:
    """Why ``run`` refuses the sync."""
    finished = command_here(shop.project, "run", *arguments, **environment)
    assert finished.returncode == 3, finished.stdout + finished.stderr
    return finished.stderr


def sent(shop: Shop, *arguments: str, **environment: str) -> str:
    """What ``run`` says, which sends."""
    finished = command_here(shop.project, "run", *arguments, **environment)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stderr


# Another target, profile or warehouse than was built.


def test_what_was_built_for_another_target_proves_nothing_here(fresh: Shop, arrived: StandIn) -> None:
    message = refused(fresh)
    for part in ("dbt build", "profile 'shop', target 'prod'", "profile 'shop', target 'dev'", "--target"):
        assert part in message
    assert arrived.requests() == []
    sent(fresh, "--target", "prod")
    assert arrived.ids("people") == {"prod_ann"}
    # Who names dev means it: its own build has proved it.
    sent(fresh, "--target", "dev")
    assert arrived.ids("people") == {"dev_ann"}


@pytest.mark.parametrize("variable", ["DBT_TARGET", "DBT_ENGINE_TARGET"])
def test_a_target_that_the_environment_names_is_that_of_both_or_refused(
    shop: Shop, arrived: StandIn, variable: str
) -> None:
    shop.dbt("build", *SELECT, **{variable: "prod"})
    message = refused(shop)
    assert "target 'prod'" in message
    assert "target 'dev'" in message
    assert arrived.requests() == []
    sent(shop, **{variable: "prod"})
    assert arrived.ids("people") == {"prod_ann"}


@pytest.mark.parametrize(
    ("flags", "variables"), [((), {"DBT_PROFILE": "ci"}), (("--profile", "ci"), {})], ids=["variable", "flag"]
)
def test_a_profile_that_is_named_to_dbt_alone_proves_nothing_here(
    shop: Shop, arrived: StandIn, flags: tuple[str, ...], variables: dict[str, str]
) -> None:
    shop.dbt("run", "--select", "stg_people", *flags, **variables)
    message = refused(shop)
    assert "profile 'ci', target 'dev'" in message
    assert "profile 'shop', target 'dev'" in message
    assert arrived.requests() == []


def test_a_profiles_file_in_the_current_folder_is_that_of_both_or_refused(
    shop: Shop, arrived: StandIn, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    shutil.copy(shop.folder / "warehouse.duckdb", here / "own.duckdb")
    write_profiles(here, here / "own.duckdb")
    shop.write("stg_people", MODELS["stg_people"].replace("_ann", "_here"))
    shop.dbt("build", *SELECT, "--project-dir", str(shop.folder), cwd=here)
    assert "is not in the build log of profile 'shop', target 'dev'" in refused(shop)
    assert arrived.requests() == []
    own = Shop(Project(here, arrived.url))
    sent(own, "--project-dir", str(shop.folder))
    assert arrived.ids("people") == {"dev_here"}


def test_a_build_into_another_schema_of_the_same_target_proves_nothing_here(
    shop: Shop, arrived: StandIn, tmp_path: Path
) -> None:
    rendered = json.loads((shop.folder / "profiles.yml").read_text())
    rendered["shop"]["outputs"]["dev"]["schema"] = "{{ env_var('SHOP_SCHEMA', 'dev') }}"
    (shop.folder / "profiles.yml").write_text(json.dumps(rendered))
    shop.write("stg_people", AS_TABLE + MODELS["stg_people"].replace("_ann", "_of_scratch"))
    shop.dbt("build", *SHOP_ONLY, SHOP_SCHEMA="scratch")
    assert "is not in the build log of profile 'shop', target 'dev', schema 'dev'" in refused(shop)
    shutil.rmtree(shop.folder / "target")
    sent(shop)
    assert arrived.ids("people") == {"dev_ann"}


def test_a_build_log_that_several_targets_share_tells_them_apart(shop: Shop, arrived: StandIn) -> None:
    # With the ledgers in one schema for all targets, the build log has the builds for all of them.
    project = yaml.safe_load((shop.folder / "dbt_project.yml").read_text())
    project["models"] = {"statsig_sync": {"+schema": "ledgers"}}
    (shop.folder / "dbt_project.yml").write_text(yaml.safe_dump(project))
    (shop.folder / "macros").mkdir()
    macro = "{% macro generate_schema_name(name, node) %}{{ name or target.schema }}{% endmacro %}"
    (shop.folder / "macros" / "schema.sql").write_text(macro)
    shop.dbt("build", *SHOP_ONLY)
    shop.dbt("build", *SELECT, "--target", "prod")
    assert "was with profile 'shop', target 'prod'" in refused(shop)
    # What comes after a build for another target does not hide it.
    shop.dbt("docs", "generate", "--target", "prod")
    assert "was with profile 'shop', target 'prod'" in refused(shop)
    assert arrived.requests() == []


def test_what_another_target_has_built_over_a_relation_takes_its_proof_away(shop: Shop, arrived: StandIn) -> None:
    profiles = json.loads((shop.folder / "profiles.yml").read_text())
    outputs = profiles["shop"]["outputs"]
    outputs["twin"] = {**outputs["dev"], "threads": 2}
    (shop.folder / "profiles.yml").write_text(json.dumps(profiles))
    shop.write("stg_people", AS_TABLE + "select 'unproved' as user_id, timestamp '2026-10-01' as seen_at")
    shop.dbt("run", *SELECT, "--target", "twin")
    (shop.folder / "target" / "run_results.json").unlink()
    message = refused(shop)
    assert "model people was built again since, by project shop, profile shop, target twin, schema dev" in message
    assert arrived.requests() == []


# Commands that change nothing of what is proved.


def test_commands_that_build_nothing_leave_the_proof_as_it_is(shop: Shop, arrived: StandIn) -> None:
    for command in (("parse",), ("ls",), ("compile",), ("docs", "generate"), ("source", "freshness")):
        shop.dbt(*command)
    sent(shop)
    assert arrived.ids("people") == {"dev_ann"}


def test_a_build_into_another_target_folder_leaves_the_proof_as_it_is(shop: Shop, arrived: StandIn) -> None:
    shop.dbt("build", *SELECT, "--target", "prod", DBT_TARGET_PATH="elsewhere")
    sent(shop)
    assert arrived.ids("people") == {"dev_ann"}


def test_commands_that_find_nothing_to_do_leave_the_proof_as_it_is(shop: Shop, arrived: StandIn) -> None:
    shop.dbt("run", "--select", "tag:nothing")
    sent(shop)
    shop.dbt("build", *SELECT)
    shop.dbt("retry")
    sent(shop)
    assert arrived.ids("people") == {"dev_ann"}


def test_a_unit_test_of_another_model_that_only_makes_up_rows_of_this_one_does_not_refuse(shop: Shop) -> None:
    shop.write("others", "select user_id || 'x' as name from {{ ref('stg_people') }}")
    given = [{"input": "ref('stg_people')", "rows": [{"user_id": "a"}]}]
    test = {"name": "wrong", "model": "others", "given": given, "expect": {"rows": [{"name": "b"}]}}
    shop.write_properties({**PROPERTIES, "unit_tests": [test]})
    shop.dbt("test", "--select", "others", expect=1)
    sent(shop)


def test_run_voids_the_proof_and_test_gives_it_back(shop: Shop, arrived: StandIn) -> None:
    shop.dbt("run", *SELECT)
    message = refused(shop)
    assert "has not run since people was built" in message
    assert "dbt build --select +exposure:people" in message
    assert arrived.requests() == []
    shop.dbt("test", *SELECT)
    sent(shop)
    assert arrived.ids("people") == {"dev_ann"}


def test_a_failed_test_is_the_cause_and_a_retry_after_it_was_mended_the_proof(shop: Shop, arrived: StandIn) -> None:
    nobody = " union all select null, timestamp '2026-10-02'"
    shop.write("stg_people", "{{ config(materialized='table') }}\n" + MODELS["stg_people"] + nobody)
    shop.dbt("build", *SELECT, expect=1)
    assert (
        "people: test not_null_stg_people_user_id on stg_people failed (1 failure); and 3 more that were skipped "
        "because of it. Then run: dbt build --select +exposure:people."
    ) in refused(shop)
    assert arrived.requests() == []
    mended = {"not_null": {"config": {"where": "user_id is not null"}}}
    properties = copy.deepcopy(PROPERTIES)
    for model in properties["models"]:
        tests = model["columns"][0]["data_tests"]
        tests[tests.index("not_null")] = mended
    shop.write_properties(properties)
    shop.dbt("retry")
    sent(shop)
    assert arrived.ids("people") == {"dev_ann"}


def test_models_without_all_of_their_rows_prove_nothing(shop: Shop, arrived: StandIn) -> None:
    shop.dbt("build", *SELECT, "--empty")
    assert "was built with --empty, so it is not whole" in refused(shop)
    shop.dbt("build", *SELECT)
    shop.dbt("run", *SELECT, "--sample", "1 day")
    assert "was built with --sample, so it is not whole" in refused(shop)
    assert arrived.requests() == []


def test_models_and_tests_that_go_by_another_target_prove_nothing(shop: Shop, arrived: StandIn) -> None:
    state = shop.folder / "state"
    state.mkdir()
    shop.dbt("parse", "--target", "prod")
    shutil.copy(shop.folder / "target" / "manifest.json", state)
    favoured = ("--defer", "--favor-state", "--state", str(state))
    # What is there is taken from there, as without --defer.
    shop.dbt("build", "--select", "people", "--defer", "--state", str(state))
    sent(shop)
    assert arrived.ids("people") == {"dev_ann"}
    shop.dbt("run", *SELECT)
    shop.dbt("test", *SELECT, *favoured)
    assert "has not run since" in refused(shop)
    shop.dbt("build", "--select", "people", *favoured)
    assert "model people was built with --defer" in refused(shop)
    assert arrived.ids("people") == {"dev_ann"}


def test_what_an_incremental_model_was_built_from_in_part_it_keeps_until_it_is_made_anew(
    shop: Shop, arrived: StandIn
) -> None:
    shop.write("people", "{{ config(materialized='incremental') }}\n" + MODELS["people"])
    shop.dbt("build", *SELECT, "--full-refresh", "--sample", "1 day")
    assert "people was built with --sample" in refused(shop)
    shop.dbt("build", "--select", "+exposure:people")
    message = refused(shop)
    assert "it stays so until its rows are made anew: dbt run --full-refresh --select people" in message
    assert arrived.requests() == []
    shop.dbt("build", *SELECT, "--full-refresh")
    sent(shop)
    assert arrived.ids("people") == {"dev_ann"}


# What is there is not what was built.


def test_a_view_that_dbt_clone_has_put_in_the_place_of_a_table_is_refused_whatever_came_after(
    shop: Shop, arrived: StandIn
) -> None:
    state = shop.folder / "state"
    state.mkdir()
    shop.dbt("parse", "--target", "prod")
    shutil.copy(shop.folder / "target" / "manifest.json", state)
    shop.dbt("clone", "--select", "people", "--full-refresh", "--state", str(state))
    assert "dbt clone" in refused(shop)
    shop.dbt("test", "--select", "stg_people")
    assert "model people is a view in the warehouse and has to be a table" in refused(shop)
    assert arrived.requests() == []


def test_a_view_that_is_to_be_a_table_by_now_is_refused_until_it_is_one(shop: Shop, arrived: StandIn) -> None:
    shop.write("people", "{{ config(materialized='view') }}\n" + MODELS["people"])
    shop.dbt("build", *SELECT)
    shop.write("people", AS_TABLE + MODELS["people"])
    shop.write("stg_people", AS_TABLE + TWICE)
    shop.dbt("build", "--select", "stg_people")
    assert "model people is a view in the warehouse and has to be a table" in refused(shop)
    assert arrived.requests() == []


def test_a_model_whose_parents_have_changed_since_it_was_built_is_refused(shop: Shop, arrived: StandIn) -> None:
    shop.write("stg_others", AS_TABLE + "select 'other' as user_id")
    shop.write("people", AS_TABLE + "select user_id from {{ ref('stg_others') }}")
    shop.dbt("build", "--select", "stg_others")
    assert "model people was not built since what it is made from changed (" in refused(shop)
    shop.dbt("build", *SELECT)
    sent(shop)
    assert arrived.ids("people") == {"other"}


def test_what_was_built_while_a_sync_was_switched_off_is_not_taken_for_what_was_proved_before(
    shop: Shop, arrived: StandIn
) -> None:
    paused = copy.deepcopy(PROPERTIES)
    paused["exposures"][0]["config"]["enabled"] = False
    shop.write_properties(paused)
    shop.write("stg_people", AS_TABLE + TWICE)
    shop.dbt("run", *SELECT)
    shop.write_properties(PROPERTIES)
    shop.dbt("test", "--select", "stg_people")
    assert "model people was built before its syncs were out of the project for a time" in refused(shop)
    assert arrived.requests() == []


# Hooks that did not run, and builds that did not end.


def test_a_build_log_that_is_switched_off_is_missed(shop: Shop, arrived: StandIn) -> None:
    shop.dbt("build", *SELECT, "--vars", "{statsig_sync_build_log: false}")
    message = refused(shop)
    assert "dbt build, is not in the build log" in message
    assert "the hooks of the dbt package statsig_sync did not run" in message
    assert arrived.requests() == []


def test_a_build_that_was_killed_leaves_nothing_that_is_proved(shop: Shop, arrived: StandIn) -> None:
    endless = "select sum(i)::varchar as user_id from range(100000000000) as t(i)"
    shop.write("people", "{{ config(materialized='table') }}\n" + endless)
    process = subprocess.Popen(
        dbt_command("build", *SELECT), cwd=shop.folder, env=dbt_environment({}), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert any("START sql table model dev.people" in line for line in process.stdout)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    message = refused(shop)
    assert "model people may be half built: dbt build began at" in message
    assert "has died" in message
    assert arrived.requests() == []


# What the project says by now.


def test_what_was_written_since_the_build_does_not_count_yet_and_is_said(shop: Shop, arrived: StandIn) -> None:
    (shop.folder / "models" / "broken.sql").write_text("select * from {{ ref('nowhere') }}")
    shop.dbt("build", expect=2)
    said = sent(shop)
    assert "models/broken.sql" in said
    assert "from the next dbt build" in said
    assert arrived.ids("people") == {"dev_ann"}


def test_no_artifacts_are_needed(shop: Shop, arrived: StandIn, tmp_path: Path) -> None:
    shutil.rmtree(shop.folder / "target")
    sent(shop)
    away = tmp_path / "away"
    away.mkdir()
    shutil.copy(shop.folder / "profiles.yml", away)
    shutil.move(shop.folder / "warehouse.duckdb", away)
    shutil.rmtree(shop.folder)
    write_profiles(away, away / "warehouse.duckdb")
    sent(Shop(Project(away, arrived.url)), "--profile", "shop", "--target", "prod")
    assert arrived.ids("people") == {"prod_ann"}
