"""Project, profile, target and warehouse are those that the real dbt finds, in some forty arrangements."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sync.cli.arguments import parse
from sync.edges.dbt_variables import KNOWN
from sync.edges.profiles import Choice, Profile, Project, find_profile, find_project, target_path
from sync.edges.templates import TemplateError, render
from sync.errors import ConfigError
from tests.integration.harness import ROOT


@dataclass(frozen=True)
class Arrangement:
    """Where a command is started, with which flags and variables; ``{}`` in them is the root of all folders."""

    name: str
    cwd: str
    flags: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    home: str = "{}/home"


def arranged(name: str, cwd: str, *flags: str, home: str = "{}/home", **variables: str) -> Arrangement:
    return Arrangement(name, cwd, flags, variables, home)


PROFILES = ("--profiles-dir", "{}/elsewhere")

ARRANGEMENTS = [
    # The folder of profiles.yml
    arranged("in the project's folder", "shop"),
    arranged("below the project's folder", "shop/models/deep"),
    arranged("below it, with a profiles.yml here", "shop/analyses"),
    arranged("with a profiles.yml here and another in the project's folder", "elsewhere", "--project-dir", "{}/shop"),
    arranged("without a profiles.yml here, but in the project's folder", "empty", "--project-dir", "{}/shop"),
    arranged("with --profiles-dir", "shop", *PROFILES),
    arranged("with a relative --profiles-dir", "shop", "--profiles-dir", "../elsewhere"),
    arranged(
        "with a relative --profiles-dir and --project-dir", ".", "--project-dir", "shop", "--profiles-dir", "shop"
    ),
    arranged("with DBT_PROFILES_DIR", "shop", DBT_PROFILES_DIR="{}/elsewhere"),
    arranged("with a relative DBT_PROFILES_DIR", "shop", DBT_PROFILES_DIR="../elsewhere"),
    arranged("with DBT_ENGINE_PROFILES_DIR", "shop", DBT_ENGINE_PROFILES_DIR="{}/elsewhere"),
    arranged("with both", "shop", DBT_ENGINE_PROFILES_DIR="{}/elsewhere", DBT_PROFILES_DIR="{}/empty"),
    arranged("with an empty one of both", "shop", DBT_ENGINE_PROFILES_DIR="", DBT_PROFILES_DIR="{}/elsewhere"),
    arranged("with an empty DBT_PROFILES_DIR", "shop", DBT_PROFILES_DIR=""),
    arranged("with --profiles-dir and a variable", "shop", *PROFILES, DBT_ENGINE_PROFILES_DIR="{}/empty"),
    arranged("with a --profiles-dir that has none", "shop", "--profiles-dir", "{}/empty"),
    arranged("with a --profiles-dir that is not there", "shop", "--profiles-dir", "{}/nowhere"),
    arranged("with an empty --profiles-dir", "shop", "--profiles-dir", ""),
    arranged("with a profiles.yml that is a folder", "odd", "--project-dir", "{}/shop"),
    arranged("with a profiles.yml that is empty", "shop", "--profiles-dir", "{}/void"),
    arranged("without a home folder", "plain", home="~"),
    arranged("without a home folder, with a profiles.yml here", "shop", home="~"),
    # The project
    arranged("with a --project-dir", "plain", "--project-dir", "{}/shop"),
    arranged("with a --project-dir with dots", "plain", "--project-dir", "../empty/../shop"),
    arranged("with DBT_PROJECT_DIR", "plain", DBT_PROJECT_DIR="../shop"),
    arranged("with DBT_ENGINE_PROJECT_DIR", "plain", DBT_ENGINE_PROJECT_DIR="{}/shop", DBT_PROJECT_DIR="{}/empty"),
    arranged("with an empty DBT_PROJECT_DIR", "plain", DBT_PROJECT_DIR=""),
    arranged("with a --project-dir that is no project", "shop", "--project-dir", "{}/empty"),
    arranged("with a --project-dir that is below one", "empty", "--project-dir", "{}/shop/models"),
    arranged("with a --project-dir that is not there", "shop", "--project-dir", "{}/nowhere"),
    arranged("with an empty --project-dir", "shop", "--project-dir", ""),
    arranged("without a project, several profiles", "elsewhere"),
    arranged("without a project, several profiles, one named", "elsewhere", "--profile", "ci"),
    arranged("without a project, one profile", "one"),
    arranged("without a project, one profile, another target", "one", "--target", "prod"),
    arranged("with a project of broken YAML", "broken", *PROFILES),
    # The profile
    arranged("with --profile", "shop", "--profile", "ci"),
    arranged("with DBT_PROFILE", "shop", DBT_PROFILE="ci"),
    arranged("with DBT_ENGINE_PROFILE", "shop", DBT_ENGINE_PROFILE="ci", DBT_PROFILE="nobody"),
    arranged("with an empty DBT_PROFILE", "shop", DBT_PROFILE=""),
    arranged("with --profile and a variable", "shop", "--profile", "shop", DBT_PROFILE="ci"),
    arranged("with a --profile that is not there", "shop", "--profile", "nobody"),
    arranged("with an empty --profile", "shop", "--profile", ""),
    arranged("with a profile that is empty", "shop", "--profile", "void"),
    arranged("with a project that names no profile", "bare", "--profiles-dir", "{}/one"),
    arranged("with a project that names no profile, and --profile", "bare", *PROFILES, "--profile", "ci"),
    arranged("with a project that takes its profile from a variable", "jinja", *PROFILES, SHOP_PROFILE="ci"),
    arranged("with a project that takes its profile from a default", "jinja", *PROFILES),
    arranged("with a project whose variable is not set", "unset", *PROFILES),
    arranged("with a project whose variable is not set, and --profile", "unset", *PROFILES, "--profile", "shop"),
    # The target
    arranged("with --target", "shop", "--target", "prod"),
    arranged("with DBT_TARGET", "shop", DBT_TARGET="prod"),
    arranged("with DBT_ENGINE_TARGET", "shop", DBT_ENGINE_TARGET="prod"),
    arranged("with both targets", "shop", DBT_ENGINE_TARGET="prod", DBT_TARGET="dev"),
    arranged("with --target and variables", "shop", "--target", "dev", DBT_ENGINE_TARGET="prod", DBT_TARGET="prod"),
    arranged("with an empty DBT_TARGET", "shop", DBT_TARGET=""),
    arranged("with an empty --target", "shop", "--target", ""),
    arranged("with a --target that is not there", "shop", "--target", "production"),
    arranged("with a target from a variable", "shop", "--profile", "asking", SHOP_TARGET="prod"),
    arranged("with a target from dbt's variable", "shop", "--profile", "asking", DBT_TARGET="prod"),
    arranged("with a target from a default", "shop", "--profile", "asking"),
    arranged("with no target but an output called default", "shop", "--profile", "untold"),
    arranged("with a target that is null", "shop", "--profile", "null_target"),
    # The warehouse
    arranged(
        "with a path from a variable", "shop", "--profile", "paths", "--target", "asking", SHOP_PATH="{}/asked.duckdb"
    ),
    arranged("with a path from a variable that is not set", "shop", "--profile", "paths", "--target", "asking"),
    arranged(
        "with a path from dbt's variable", "shop", "--profile", "paths", "--target", "engine", DBT_ENGINE_STATE="s"
    ),
    arranged(
        "with a path from its older name", "shop", "--profile", "paths", "--target", "older", DBT_ENGINE_STATE="s"
    ),
    arranged("with a path from its newer name", "shop", "--profile", "paths", "--target", "engine", DBT_STATE="s"),
    arranged("with a path that ends with a line", "shop", "--profile", "paths", "--target", "line"),
    arranged("with a path from var()", "shop", "--profile", "paths", "--target", "var"),
    arranged("with a path from var() without a default", "shop", "--profile", "paths", "--target", "no_var"),
    arranged("with a path of two folders", "shop/models", "--profile", "paths", "--target", "folders"),
    # The target path
    arranged("with DBT_TARGET_PATH", "shop", DBT_TARGET_PATH="out"),
    arranged("with DBT_TARGET_PATH from elsewhere", "elsewhere", "--project-dir", "../shop", DBT_TARGET_PATH="out"),
    arranged("with DBT_ENGINE_TARGET_PATH", "shop", DBT_ENGINE_TARGET_PATH="{}/away", DBT_TARGET_PATH="out"),
    arranged("with an empty DBT_TARGET_PATH", "shop", DBT_TARGET_PATH=""),
    arranged("with a target-path of the target's", "jinja", *PROFILES, "--target", "prod"),
    arranged("with a target-path and a variable", "jinja", *PROFILES, DBT_TARGET_PATH="out"),
]


VARIABLES = {
    "TEXT": "a b",
    "FIVE": "5",
    "TRUE": "True",
    "LOWER": "true",
    "LIST": "[1, 'a']",
    "EMPTY": "",
    "BRACES": "{{ x }}",
}

TEMPLATES = [
    *("", "text", "text\n", "two\nlines\n\n", "windows\r\n", "}} text", "a{# remark #}b", "{# remark #}"),
    *("{{ env_var('TEXT') }}", "x{{ env_var('TEXT') }}y", "{{ env_var('TEXT') }}\n", "{{ env_var('BRACES') }}"),
    *("{{ env_var('NOT_SET') }}", "{{ env_var('NOT_SET', 'other') }}", "{{ env_var('NOT_SET', '') }}"),
    *("{{ env_var('EMPTY') }}", "{{ env_var('EMPTY', 'other') }}", "{{ env_var('NOT_SET', none) }}"),
    *("{{ env_var('FIVE') }}", "{{ env_var('FIVE') | as_number }}", "{{ env_var('FIVE') | as_text }}"),
    *("{{ env_var('FIVE') | int }}", " {{ env_var('FIVE') | as_number }}", "{{ env_var('FIVE') | as_number }}\n"),
    *("{{ env_var('FIVE') | as_bool }}", "{{ env_var('TRUE') | as_bool }}", "{{ env_var('TRUE') | as_number }}"),
    *("{{ env_var('LIST') | as_native }}", "{{ env_var('LIST') }}", "{{ env_var('LOWER') | as_native }}"),
    *("{{ env_var('NOT_SET', 5) }}", "{{ env_var('NOT_SET', false) }}", "{{ 5 }}", "{{ '5' | as_number }}"),
    *("{{ 'x' | as_number }}", "{{ true }}", "{{ [1, 2] }}", "{{ 1 + 1 }}", "{{ env_var('FIVE') | int + 1 }}"),
    *("{% if env_var('EMPTY') %}yes{% else %}no{% endif %}", "{% set x = env_var('TEXT') %}{{ x | upper }}"),
    *("{% if true %}{{ env_var('FIVE') | as_number }}{% endif %}", "{% for x in range(3) %}{{ x }}{% endfor %}"),
    *("{{ var('x') }}", "{{ var('x', 'other') }}", "{{ var('x', 5) }}", "{{ target.name }}", "{{ unknown.x }}"),
    *("{{ env_var('TEXT' }}", "{% if %}", "{{ env_var() }}", "{{ 1 / 0 }}", "{{ env_var('TEXT') | no_such_filter }}"),
]


def profiles_of(place: str) -> dict[str, Any]:
    """A profiles.yml whose warehouses tell in which file, profile and target they stand."""

    def output(profile: str, target: str) -> dict[str, str]:
        return {"type": "duckdb", "path": f"{place}-{profile}-{target}.duckdb"}

    def profile(name: str, **more: Any) -> dict[str, Any]:
        return {"outputs": {target: output(name, target) for target in ("dev", "prod")}, **more}

    paths = {
        "asking": "{{ env_var('SHOP_PATH') }}",
        "engine": "{{ env_var('DBT_ENGINE_STATE') }}.duckdb",
        "older": "{{ env_var('DBT_STATE') }}.duckdb",
        "line": "line.duckdb\n",
        "var": "{{ var('path', 'var.duckdb') }}",
        "no_var": "{{ var('path') }}",
        "folders": "../models/folders.duckdb",
    }
    return {
        "shop": profile("shop", target="dev"),
        "ci": profile("ci", target="dev"),
        "asking": profile("asking", target="{{ env_var('SHOP_TARGET', env_var('DBT_ENGINE_TARGET', 'dev')) }}"),
        "untold": {"outputs": {"default": output("untold", "default")}},
        "null_target": profile("null_target", target=None),
        "void": None,
        "paths": {"outputs": {name: {"type": "duckdb", "path": path} for name, path in paths.items()}},
    }


def write(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))


def project_of(**more: str) -> dict[str, str]:
    return {"name": "shop", "version": "1.0", **more}


def make_folders(root: Path) -> None:
    """Every folder that the arrangements name."""
    write(root / "shop" / "dbt_project.yml", project_of(profile="shop"))
    write(root / "plain" / "dbt_project.yml", project_of(profile="shop"))
    write(root / "bare" / "dbt_project.yml", project_of())
    jinja = project_of(profile="{{ env_var('SHOP_PROFILE', 'shop') }}", **{"target-path": "out_{{ target.name }}"})
    write(root / "jinja" / "dbt_project.yml", jinja)
    write(root / "unset" / "dbt_project.yml", project_of(profile="{{ env_var('SHOP_PROFILE') }}"))
    write(root / "broken" / "dbt_project.yml", "profile: [")
    for place in ("shop", "shop/analyses", "elsewhere", "home/.dbt"):
        write(root / place / "profiles.yml", profiles_of(place.replace("/", "-")))
    write(root / "one" / "profiles.yml", {"config": {}, "shop": profiles_of("one")["shop"]})
    write(root / "void" / "profiles.yml", "")
    for folder in ("shop/models/deep", "empty", "odd/profiles.yml"):
        (root / folder).mkdir(parents=True)


def placed(arrangement: Arrangement, root: Path) -> dict[str, Any]:
    """An arrangement in the folders that were made."""
    own = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    variables = {name: value.replace("{}", str(root)) for name, value in arrangement.variables.items()}
    home = arrangement.home.replace("{}", str(root))
    return {
        "cwd": str(root / arrangement.cwd),
        "flags": [flag.replace("{}", str(root)) for flag in arrangement.flags],
        "environment": {**own, "HOME": home, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false", **variables},
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("places").resolve() / "root"
    make_folders(found)
    return found


@pytest.fixture(scope="module")
def answers(root: Path) -> dict[str, Any]:
    """What the real dbt says: to every arrangement, and what every template comes to."""
    asked = {
        "root": str(root),
        "scratch": str(root.parent / "scratch"),
        "answers": str(root.parent / "answers.json"),
        "arrangements": [placed(one, root) for one in ARRANGEMENTS],
        "templates": TEMPLATES,
        "variables": VARIABLES,
    }
    finished = subprocess.run(
        [sys.executable, "-m", "tests.integration.dbt_places"],
        input=json.dumps(asked),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout[-5000:] + finished.stderr[-5000:]
    found = json.loads((root.parent / "answers.json").read_text())
    return {
        "places": {one.name: answer for one, answer in zip(ARRANGEMENTS, found["places"], strict=True)},
        "values": dict(zip(TEMPLATES, found["values"], strict=True)),
        "variables": found["variables"],
    }


def ours(arrangement: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> tuple[Project | None, Profile]:
    """What the commands find."""
    monkeypatch.setenv("HOME", arrangement["environment"]["HOME"])
    options = parse(["plan", *arrangement["flags"]])
    environment, cwd = arrangement["environment"], Path(arrangement["cwd"])
    project = find_project(options.project_dir, environment, cwd)
    choice = Choice(options.profiles_dir, options.profile, options.target)
    return project, find_profile(choice, project, environment, cwd)


@pytest.mark.parametrize("arrangement", ARRANGEMENTS, ids=lambda one: one.name)
def test_everything_is_found_where_dbt_finds_it_and_nothing_where_dbt_finds_nothing(
    arrangement: Arrangement, root: Path, answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, dbt = placed(arrangement, root), answers["places"][arrangement.name]
    is_project_named = "--project-dir" in here["flags"] or any("PROJECT_DIR" in name for name in here["environment"])
    is_guess = not is_project_named and "path" in dbt and not Path(dbt["project_file"]).exists()
    if not dbt["has_run"] and not is_guess:
        with pytest.raises((ConfigError, SystemExit)):
            ours(here, monkeypatch)
        return
    project, profile = ours(here, monkeypatch)
    assert os.path.normpath(profile.file) == dbt["profiles_file"]
    assert os.path.normpath(Path(here["cwd"]) / profile.output["path"]) == dbt["path"]
    if is_guess:
        assert project is None
        return
    assert project is not None
    assert str(project.file) == dbt["project_file"]
    assert (profile.name, profile.target) == (dbt["profile"], dbt["target"])
    assert os.path.normpath(Path(here["cwd"]) / profile.output["path"]) == dbt["database"]
    assert os.path.normpath(target_path(project, profile, here["environment"])) == dbt["artifacts"]
    assert profile.is_target_explicit == ("--target" in here["flags"])


def test_dbt_finds_something_in_most_arrangements_and_nothing_in_some(answers: dict[str, Any]) -> None:
    found = [answer["has_run"] for answer in answers["places"].values()]
    assert sum(found) >= 40
    assert len(found) - sum(found) >= 15


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_comes_to_what_dbt_makes_of_it_and_fails_where_dbt_fails(
    template: str, answers: dict[str, Any]
) -> None:
    if not answers["values"][template]:
        with pytest.raises(TemplateError):
            render(template, VARIABLES)
        return
    (expected,) = answers["values"][template]
    found = render(template, VARIABLES)
    assert found == expected
    assert type(found) is type(expected)


def test_the_variables_with_two_names_are_those_of_dbt(answers: dict[str, Any]) -> None:
    assert sorted(f"DBT_{name}" for name in KNOWN) == answers["variables"]
