"""Where the commands look for the project, for profiles.yml and for the warehouse: where dbt looks."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.integration.harness import PACKAGE, Project
from tests.integration.in_process import command_here
from tests.integration.stand_in import StandIn

FILE = "warehouse.duckdb"


@pytest.fixture
def shop(project: Project) -> Project:
    project.table("visits", "select range as id, 'u' || range as user_id from range(3)")
    meta = {"object": "events", "unique_key": "id", "event_name": "visit", "backfill": "all"}
    project.sync("shop_visits", "visits", meta)
    return project


def the_fault(finished: subprocess.CompletedProcess[str]) -> str:
    """The one error of a command that refused its configuration, without a trace."""
    assert finished.returncode == 2, finished.stdout + finished.stderr
    (line,) = finished.stderr.splitlines()
    return line.removeprefix("error: ")


def profiles_in(folder: Path, **paths: str) -> None:
    """A profiles.yml in this folder, with a warehouse for each profile and target (``ci_dev``)."""
    profiles: dict[str, Any] = {}
    for name, path in paths.items():
        profile, _, target = name.rpartition("_")
        outputs = profiles.setdefault(profile, {"target": "dev", "outputs": {}})["outputs"]
        outputs[target] = {"type": "duckdb", "path": path}
    folder.mkdir(exist_ok=True)
    (folder / "profiles.yml").write_text(json.dumps(profiles))


def build_again(shop: Project, folder: Path, profile: str = PACKAGE, target: str = "dev") -> None:
    """What the same build with this profile and target leaves in a warehouse of its own."""
    folder.mkdir(exist_ok=True)
    shutil.copy(shop.folder / FILE, folder)
    with duckdb.connect(str(folder / FILE)) as connection:
        connection.execute("update statsig_build_log set profile_name = ?, target_name = ?", [profile, target])


@pytest.mark.parametrize(
    ("arguments", "environment", "opened"),
    [
        (["--target", "prod"], {}, f"{PACKAGE}_prod"),
        ([], {"DBT_TARGET": "prod"}, f"{PACKAGE}_prod"),
        ([], {"DBT_ENGINE_TARGET": "prod"}, f"{PACKAGE}_prod"),
        ([], {"DBT_ENGINE_TARGET": "prod", "DBT_TARGET": "dev"}, f"{PACKAGE}_prod"),
        (["--target", "prod"], {"DBT_ENGINE_TARGET": "dev"}, f"{PACKAGE}_prod"),
        (["--profile", "ci"], {}, "ci_dev"),
        ([], {"DBT_PROFILE": "ci"}, "ci_dev"),
        ([], {"DBT_ENGINE_PROFILE": "ci"}, "ci_dev"),
    ],
)
def test_the_warehouse_is_the_one_into_which_dbt_would_build(
    shop: Project, arrived: StandIn, arguments: list[str], environment: dict[str, str], opened: str
) -> None:
    paths = {f"{PACKAGE}_dev": FILE, f"{PACKAGE}_prod": f"{PACKAGE}_prod/{FILE}", "ci_dev": f"ci_dev/{FILE}"}
    profiles_in(shop.folder, **paths)
    built = shop.folder / opened
    profile, _, target = opened.rpartition("_")
    for command in ("check", "plan", "run", "verify"):
        assert f"{built / FILE} does not exist" in the_fault(command_here(shop, command, *arguments, **environment))
    build_again(shop, built, profile, target)
    finished = command_here(shop, "run", *arguments, **environment)
    assert finished.returncode == 0, finished.stderr
    assert len(arrived.events()) == 3
    assert shop.rows("select count(*) from statsig_changelog") == [(0,)]


def test_places_of_the_project_and_the_profiles_can_be_named_from_anywhere(
    shop: Project, tmp_path: Path, arrived: StandIn
) -> None:
    here = replace(shop, folder=tmp_path / "here")
    here.folder.mkdir()
    built, profiles = tmp_path / "built", tmp_path / "profiles"
    build_again(shop, built, target="prod")
    profiles_in(profiles, **{f"{PACKAGE}_dev": "missing.duckdb", f"{PACKAGE}_prod": "{{ env_var('SHOP') }}"})
    (shop.folder / "profiles.yml").unlink()
    places = ["--project-dir", str(shop.folder), "--profiles-dir", "../profiles"]
    finished = command_here(here, "run", *places, "--target", "prod", SHOP=f"../built/{FILE}")
    assert finished.returncode == 0, finished.stderr
    assert len(arrived.events()) == 3


def test_a_target_that_is_named_needs_nothing_of_the_usual_one(shop: Project) -> None:
    paths = {f"{PACKAGE}_dev": "{{ env_var('NOT_SET') }}", f"{PACKAGE}_prod": f"prod/{FILE}"}
    profiles_in(shop.folder, **paths)
    build_again(shop, shop.folder / "prod", target="prod")
    assert "NOT_SET" in the_fault(command_here(shop, "plan"))
    finished = command_here(shop, "plan", "--target", "prod")
    assert finished.returncode == 0, finished.stderr


def test_a_profiles_file_in_the_current_folder_comes_before_any_other(shop: Project, tmp_path: Path) -> None:
    here = replace(shop, folder=tmp_path / "here")
    profiles_in(here.folder, **{f"{PACKAGE}_dev": FILE})
    (tmp_path / ".dbt").mkdir()
    place = ["--project-dir", str(shop.folder)]
    found = the_fault(command_here(here, "run", *place, HOME=str(tmp_path)))
    assert f"{here.folder / FILE} does not exist" in found
    (here.folder / "profiles.yml").unlink()
    found = the_fault(command_here(here, "run", *place, HOME=str(tmp_path)))
    assert f"{tmp_path / '.dbt' / 'profiles.yml'}: cannot be read" in found
    profiles_in(tmp_path / ".dbt", **{f"{PACKAGE}_dev": f"of-home/{FILE}"})
    found = the_fault(command_here(here, "run", *place, HOME=str(tmp_path)))
    assert f"{here.folder / 'of-home' / FILE} does not exist" in found


def test_the_project_is_found_from_a_folder_below_it(shop: Project) -> None:
    (shop.folder / "profiles.yml").unlink()
    below = replace(shop, folder=shop.folder / "models")
    profiles_in(below.folder, another_dev=FILE)
    found = the_fault(command_here(below, "plan"))
    assert f"profile {PACKAGE}: is not there; the profiles are: another" in found


def test_without_a_project_a_profile_has_to_be_named_where_there_are_several(shop: Project, tmp_path: Path) -> None:
    here = replace(shop, folder=tmp_path / "here")
    path = str(shop.folder / FILE)
    profiles_in(here.folder, **{f"{PACKAGE}_dev": path})
    finished = command_here(here, "plan")
    assert finished.returncode == 0, finished.stderr
    profiles_in(here.folder, **{f"{PACKAGE}_dev": path, "ci_dev": "ci.duckdb"})
    assert "Name one with --profile" in the_fault(command_here(here, "plan"))
    finished = command_here(here, "plan", "--profile", PACKAGE)
    assert finished.returncode == 0, finished.stderr


def test_without_a_home_folder_or_a_current_folder_a_message_says_what_to_do(shop: Project, tmp_path: Path) -> None:
    here = replace(shop, folder=tmp_path / "here")
    here.folder.mkdir()
    # No home folder can be made of this one, as of none at all.
    found = the_fault(here.command("plan", "--project-dir", str(shop.folder), HOME="~"))
    for part in ("no home folder", "--profiles-dir", "HOME"):
        assert part in found
    finished = shop.command("plan", HOME=None)
    assert finished.returncode == 0, finished.stderr
    gone = f"mkdir gone; cd gone; rmdir ../gone; exec {sys.executable} -m sync plan"
    environment = here.process_environment({})
    finished = subprocess.run(
        ["sh", "-c", gone], cwd=here.folder, env=environment, capture_output=True, text=True, check=False
    )
    assert "the current folder is not there any more" in the_fault(finished)


@pytest.mark.parametrize("flag", ["--project-dir", "--profiles-dir"])
def test_an_empty_folder_is_a_wrong_use(shop: Project, flag: str) -> None:
    finished = command_here(shop, "plan", flag, "")
    assert finished.returncode == 2
    assert f"argument {flag}: it is empty; name a folder" in finished.stderr
