"""Reading dbt_project.yml and profiles.yml as dbt reads them."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sync.edges.profiles import (
    Choice,
    Profile,
    Project,
    current_folder,
    find_profile,
    find_project,
    target_path,
    usual_names,
)
from sync.errors import ConfigError

PROFILES: dict[str, Any] = {
    "config": {"send_anonymous_usage_stats": False},
    "shop": {
        "target": "dev",
        "outputs": {
            "dev": {"type": "duckdb", "path": "dev.duckdb", "threads": 4},
            "prod": {"type": "duckdb", "path": "{{ env_var('SHOP_PATH') }}"},
        },
    },
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "profiles.yml"
    path.write_text(yaml.safe_dump(PROFILES))
    return path


def found_in(file: Path, target: str | None = None, environment: dict[str, str] | None = None) -> Profile:
    """The profile ``shop`` of this file."""
    return find_profile(Choice(file.parent, "shop", target), None, environment or {}, file.parent)


def output(tmp_path: Path, value: Any, environment: dict[str, str] | None = None) -> Any:
    """What a setting of the output is rendered to."""
    path = tmp_path / "profiles.yml"
    path.write_text(yaml.safe_dump({"shop": {"target": "dev", "outputs": {"dev": {"path": value}}}}))
    return found_in(path, environment=environment).output["path"]


def the_problem(file: Path, environment: dict[str, str] | None = None, target: str | None = None) -> str:
    with pytest.raises(ConfigError) as raised:
        found_in(file, target, environment)
    (fault,) = raised.value.faults
    assert fault.where == str(file)
    return str(fault)


def test_the_profiles_own_target_is_the_default(file: Path) -> None:
    found = found_in(file)
    assert found == Profile(str(file), "shop", "dev", PROFILES["shop"]["outputs"]["dev"])


@pytest.mark.parametrize(
    ("asked", "environment", "chosen"),
    [
        ("prod", {}, "prod"),
        (None, {"DBT_TARGET": "prod"}, "prod"),
        ("dev", {"DBT_TARGET": "prod"}, "dev"),
        (None, {"DBT_TARGET": ""}, "dev"),
        (None, {"DBT_ENGINE_TARGET": "prod"}, "prod"),
        (None, {"DBT_ENGINE_TARGET": "prod", "DBT_TARGET": "dev"}, "prod"),
        (None, {"DBT_ENGINE_TARGET": "", "DBT_TARGET": "prod"}, "prod"),
        ("dev", {"DBT_ENGINE_TARGET": "prod"}, "dev"),
    ],
)
def test_the_command_line_comes_before_the_environment_and_that_before_the_file(
    file: Path, asked: str | None, environment: dict[str, str], chosen: str
) -> None:
    found = found_in(file, asked, {"SHOP_PATH": "p", **environment})
    assert (found.target, found.is_target_explicit) == (chosen, asked is not None)


def test_a_target_can_come_from_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "profiles.yml"
    target = "{{ env_var('SHOP_TARGET', 'dev') }}"
    path.write_text(yaml.safe_dump({"shop": {"target": target, "outputs": {"dev": {"a": 1}, "ci": {"a": 2}}}}))
    assert found_in(path).output == {"a": 1}
    assert found_in(path, environment={"SHOP_TARGET": "ci"}).output == {"a": 2}


def test_a_profile_without_a_target_takes_the_one_called_default(tmp_path: Path) -> None:
    path = tmp_path / "profiles.yml"
    path.write_text(yaml.safe_dump({"shop": {"outputs": {"default": {"a": 1}}}}))
    assert found_in(path).target == "default"


def test_only_the_chosen_target_is_rendered(file: Path) -> None:
    assert found_in(file, "dev").output["path"] == "dev.duckdb"
    assert "SHOP_PATH" in the_problem(file, target="prod")


def test_a_target_that_is_not_there_is_named_with_those_that_are(file: Path) -> None:
    problem = the_problem(file, target="production")
    assert "'production'" in problem
    assert "dev, prod" in problem


def test_a_profile_that_is_not_there_is_named_with_those_that_are(file: Path) -> None:
    with pytest.raises(ConfigError, match="profile store: is not there; the profiles are: shop"):
        find_profile(Choice(file.parent, "store"), None, {}, file.parent)


@pytest.mark.parametrize(
    ("template", "environment", "value"),
    [
        ("{{ env_var('A') }}", {"A": "x"}, "x"),
        ('{{env_var("A")}}', {"A": ""}, ""),
        ("{{ env_var('A', 'fallback') }}", {}, "fallback"),
        ("{{ env_var('A', 'fallback') }}", {"A": "set"}, "set"),
        ("{{ env_var('A', '') }}", {}, ""),
        ("db/{{ env_var('A') }}/{{ env_var('B') }}.duckdb", {"A": "a", "B": "b"}, "db/a/b.duckdb"),
        ("{{ env_var('A') }}", {"A": "{{ env_var('B') }}"}, "{{ env_var('B') }}"),
        ("{{ env_var('A') }}", {"A": "5"}, "5"),
        ("{{ env_var('A') | as_number }}", {"A": "5"}, 5),
        ("{{ env_var('A') | as_number }}", {"A": "0.5"}, 0.5),
        ("{{ env_var('A') | as_bool }}", {"A": "True"}, True),
        ("{{ env_var('A') | as_bool }}", {"A": "false"}, False),
        ("{{ env_var('A') | as_native }}", {"A": "[1, 'a']"}, [1, "a"]),
        ("{{ env_var('A') | as_native }}", {"A": "12:30"}, "12:30"),
        ("{{ env_var('A') | as_native }}", {"A": "plain"}, "plain"),
        ("{{ env_var('A') | as_text }}", {"A": "5"}, "5"),
        ("port-{{ env_var('A') | as_number }}", {"A": "5"}, "port-5"),
        ("{% if env_var('A', '') %}yes{% else %}no{% endif %}", {}, "no"),
        ("{{ env_var('A') | lower }}", {"A": "ABC"}, "abc"),
        ("{{ env_var('A') | int }}", {"A": "5"}, 5),
        ("{{ env_var('DBT_STATE') }}", {"DBT_ENGINE_STATE": "s"}, "s"),
        ("{{ env_var('DBT_ENGINE_STATE') }}", {"DBT_STATE": "s"}, "s"),
        ("{{ env_var('DBT_OTHER', 'x') }}", {"DBT_ENGINE_OTHER": "s"}, "x"),
        ("{{ var('x', 'fallback') }}", {}, "fallback"),
        ("no template", {}, "no template"),
        ("a key\nof lines\n", {}, "a key\nof lines"),
        ("before{# a remark #}", {}, "before"),
        (5, {}, 5),
        (None, {}, None),
        ({"deep": ["{{ env_var('A') }}"]}, {"A": "x"}, {"deep": ["x"]}),
        ({"password": "5{{x"}, {}, {"password": "5{{x"}),
        (dt.date(2026, 1, 2), {}, "2026-01-02"),
    ],
)
def test_settings_are_rendered_with_the_environment(
    tmp_path: Path, template: Any, environment: dict[str, str], value: Any
) -> None:
    found = output(tmp_path, template, environment)
    assert found == value
    assert type(found) is type(value)


def test_a_variable_that_is_not_set_and_has_no_default_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="environment variable 'SHOP_PASSWORD', which is not set"):
        output(tmp_path, "{{ env_var('SHOP_PASSWORD') }}")


HOSTILE = [
    "{{ env_var('A' }}",
    "{% if %}",
    "{{ unknown }}",
    "{{ var('x') }}",
    "{{ target.name }}",
    "{{ env_var() }}",
    "{{ env_var(['A']) }}",
    "{{ env_var('A', 'a') + 1 }}",
    "{{ 1 / 0 }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ env_var.__globals__ }}",
    "{{ self.__init__.__globals__['os'].system('true') }}",
    "{% for i in range(10 ** 9) %}{% endfor %}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
    "{{ env_var('A', 'x') | as_number }}",
    "{{ env_var('A', 'perhaps') | as_bool }}",
    "{{ env_var('A', '5') | as_bool }}",
    "{{ env_var }}",
    "{{ self }}",
    "{{ unknown | default(env_var) }}",
    "{{ '5' | no_such_filter }}",
    "{{ '%s' | format }}",
    "{{ 'a' | int('x', 'y', 'z') }}",
]


@pytest.mark.parametrize("template", HOSTILE)
def test_a_template_that_cannot_be_rendered_is_a_fault_that_does_not_repeat_it(tmp_path: Path, template: str) -> None:
    is_whole = any(part in template for part in ("as_", "env_var }", "env_var)", "self }"))
    with pytest.raises(ConfigError) as raised:
        output(tmp_path, template if is_whole else f"hunter2{template}")
    assert "hunter2" not in str(raised.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(inside=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30))
@example("'\\ud800'")
@example("'a' * -1")
def test_no_template_is_an_error_of_another_kind(tmp_path: Path, inside: str) -> None:
    for template in (f"{{{{ {inside} }}}}", f"{{% {inside} %}}", inside):
        with contextlib.suppress(ConfigError):
            output(tmp_path, template)


BROKEN = [
    "shop: [",
    "shop: {target: dev",
    "\tshop: x",
    "shop: *nowhere",
    "shop: !!python/object/apply:os.system ['true']",
    "shop: 2026-99-99",
    "shop: !!timestamp x",
    "shop: !!int x",
    "shop: !!bool x",
    "shop: !!float x",
    "shop: !!binary \u00fc",
    "{a: b}: c",
    "? [a]\n: b",
    "[" * 100_000,
    "a: \0",
    "a: b\n---\nc: d",
    "password: hunter2\n  port: : 5\n",
]


@pytest.mark.parametrize("text", BROKEN)
def test_broken_yaml_is_a_fault_that_does_not_repeat_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "profiles.yml"
    path.write_text(text)
    assert "hunter2" not in the_problem(path)


@pytest.mark.parametrize("text", ["", "shop", "5", "[]", "- shop", "null"])
def test_a_file_that_is_no_mapping_is_a_fault(tmp_path: Path, text: str) -> None:
    path = tmp_path / "profiles.yml"
    path.write_text(text)
    assert "is not a mapping" in the_problem(path)


@pytest.mark.parametrize(
    "profile",
    [
        None,
        [],
        "dev",
        {},
        {"outputs": None},
        {"outputs": ["dev"], "target": "dev"},
        {"outputs": {"dev": None}, "target": "dev"},
        {"outputs": {"dev": "duckdb"}, "target": "dev"},
        {"outputs": {"dev": {}}, "target": ["dev"]},
        {"outputs": {"dev": {}}, "target": {"dev": "dev"}},
    ],
)
def test_a_profile_of_another_shape_is_a_fault(tmp_path: Path, profile: Any) -> None:
    path = tmp_path / "profiles.yml"
    path.write_text(yaml.safe_dump({"shop": profile}))
    the_problem(path)


def test_a_profile_that_holds_itself_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "profiles.yml"
    path.write_text("shop:\n  target: dev\n  outputs:\n    dev: &dev\n      again: *dev\n")
    the_problem(path)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a: \xfc"])
def test_a_file_that_is_no_text_is_a_fault(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "profiles.yml"
    path.write_bytes(content)
    the_problem(path)


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_a_file_that_cannot_be_read_is_a_fault_that_says_where_profiles_are_looked_for(
    tmp_path: Path, make: Any
) -> None:
    path = tmp_path / "profiles.yml"
    make(path)
    assert "--profiles-dir" in the_problem(path)


def shop_in(folder: Path, path: str = "dev.duckdb") -> Path:
    """A profiles.yml in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    outputs = {"dev": {"type": "duckdb", "path": path}}
    (folder / "profiles.yml").write_text(yaml.safe_dump({"shop": {"target": "dev", "outputs": outputs}}))
    return folder / "profiles.yml"


def test_profiles_are_looked_for_where_dbt_looks_in_its_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Path.home takes no argument: it reads HOME.
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    here, project = tmp_path / "here", Project(tmp_path / "project", "shop", "shop")
    here.mkdir()

    def file(profiles_dir: Path | None = None, **environment: str) -> Path:
        return Path(find_profile(Choice(profiles_dir), project, environment, here).file)

    in_home = shop_in(tmp_path / "home" / ".dbt")
    shop_in(project.folder)
    assert file() == in_home
    own = shop_in(here)
    assert file() == own
    named, engine, asked = (shop_in(tmp_path / name) for name in ("named", "engine", "asked"))
    assert file(DBT_PROFILES_DIR=str(named.parent)) == named
    assert file(DBT_PROFILES_DIR=str(named.parent), DBT_ENGINE_PROFILES_DIR=str(engine.parent)) == engine
    assert file(asked.parent, DBT_ENGINE_PROFILES_DIR=str(engine.parent)) == asked
    assert file(Path("../asked")).resolve() == asked


def test_profiles_that_are_nowhere_are_said_to_be_looked_for_here_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(ConfigError) as raised:
        find_profile(Choice(), None, {}, tmp_path)
    for part in (str(tmp_path / "home" / ".dbt" / "profiles.yml"), f"looked for in {tmp_path} first", "--profiles-dir"):
        assert part in str(raised.value)


def test_without_a_home_folder_a_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # No home folder can be made of this one, as of none at all.
    monkeypatch.setenv("HOME", "~")
    with pytest.raises(ConfigError) as raised:
        find_profile(Choice(), None, {}, tmp_path)
    for part in (f"no profiles.yml in {tmp_path}", "no home folder", "--profiles-dir", "HOME"):
        assert part in str(raised.value)
    shop_in(tmp_path)
    assert find_profile(Choice(), None, {}, tmp_path).name == "shop"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become somebody without a name")
def test_a_user_who_is_in_no_list_of_users_and_has_no_home_gets_the_message_too() -> None:
    program = """
import os, pathlib
from sync.edges.profiles import Choice, find_profile
from sync.errors import ConfigError
del os.environ["HOME"]
os.setuid(54321)
try:
    find_profile(Choice(), None, os.environ, pathlib.Path("/"))
except ConfigError as error:
    print(error)
"""
    environment = {"HOME": "/", "PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert "no home folder is known" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("asked", "environment", "name"),
    [
        (None, {}, "shop"),
        (None, {"DBT_PROFILE": "ci"}, "ci"),
        (None, {"DBT_PROFILE": "", "DBT_ENGINE_PROFILE": "ci"}, "ci"),
        (None, {"DBT_PROFILE": "shop", "DBT_ENGINE_PROFILE": "ci"}, "ci"),
        ("shop", {"DBT_PROFILE": "ci"}, "shop"),
        ("ci", {}, "ci"),
    ],
)
def test_the_profile_is_the_one_asked_for_or_of_the_environment_or_of_the_project(
    tmp_path: Path, asked: str | None, environment: dict[str, str], name: str
) -> None:
    outputs = {"outputs": {"default": {"type": "duckdb"}}}
    (tmp_path / "profiles.yml").write_text(yaml.safe_dump({"shop": outputs, "ci": outputs}))
    project = Project(tmp_path, "shop", "shop")
    assert find_profile(Choice(profile=asked), project, environment, tmp_path).name == name


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({}, ("shop", "dev")),
        ({"DBT_TARGET": "prod"}, ("shop", "prod")),
        ({"DBT_PROFILE": "ci"}, ("ci", "default")),
        ({"DBT_PROFILE": "nobody"}, ("", "")),
        ({"DBT_PROFILES_DIR": "nowhere"}, ("", "")),
    ],
)
def test_the_usual_names_are_those_without_a_command_line_although_their_output_cannot_be_used(
    tmp_path: Path, environment: dict[str, str], names: tuple[str, str]
) -> None:
    outputs = {"dev": {"path": "{{ env_var('NOT_SET') }}"}, "prod": {"path": "prod.duckdb"}}
    profiles = {"shop": {"target": "dev", "outputs": outputs}, "ci": {"outputs": {}}}
    (tmp_path / "profiles.yml").write_text(yaml.safe_dump(profiles))
    project = Project(tmp_path, "shop", "shop")
    assert usual_names(None, project, environment, tmp_path) == names
    assert find_profile(Choice(profile="shop", target="prod"), project, {}, tmp_path).output["path"] == "prod.duckdb"


def test_without_a_project_the_only_profile_is_taken_and_of_several_one_has_to_be_named(tmp_path: Path) -> None:
    outputs = {"outputs": {"default": {"type": "duckdb"}}}
    (tmp_path / "profiles.yml").write_text(yaml.safe_dump({"config": {}, "shop": outputs}))
    assert find_profile(Choice(), None, {}, tmp_path).name == "shop"
    (tmp_path / "profiles.yml").write_text(yaml.safe_dump({"config": {}, "shop": outputs, "ci": outputs}))
    with pytest.raises(ConfigError, match=r"the profiles are: ci, shop\. Name one with --profile"):
        find_profile(Choice(), None, {}, tmp_path)
    assert find_profile(Choice(profile="ci"), None, {}, tmp_path).name == "ci"
    assert find_profile(Choice(), None, {"DBT_PROFILE": "ci"}, tmp_path).name == "ci"


def test_a_project_that_names_no_profile_needs_one_from_elsewhere_although_there_is_only_one(tmp_path: Path) -> None:
    shop_in(tmp_path)
    project = project_of(tmp_path, "name: my_shop")
    with pytest.raises(ConfigError, match=r"dbt_project.yml: profile: is missing; .* --profile"):
        find_profile(Choice(), project, {}, tmp_path)
    assert find_profile(Choice(profile="shop"), project, {}, tmp_path).name == "shop"


def project_of(tmp_path: Path, text: str, environment: dict[str, str] | None = None) -> Project:
    (tmp_path / "dbt_project.yml").write_text(text)
    found = find_project(tmp_path, environment or {}, Path("/"))
    assert found is not None
    return found


def artifacts_of(tmp_path: Path, text: str, environment: dict[str, str] | None = None) -> Path:
    profile = Profile("profiles.yml", "shop", "prod", {"type": "duckdb", "schema": "main"})
    return target_path(project_of(tmp_path, text, environment), profile, environment or {})


def test_a_project_names_its_profile_and_has_its_artifacts_below_target(tmp_path: Path) -> None:
    text = "name: my_shop\nprofile: shop"
    project = project_of(tmp_path, text)
    assert (project.folder, project.name, project.profile) == (tmp_path, "my_shop", "shop")
    assert artifacts_of(tmp_path, text) == tmp_path / "target"


@pytest.mark.parametrize(
    ("text", "environment", "folder"),
    [
        ("target-path: out", {}, "out"),
        ("target-path: ''", {}, ""),
        ("target-path:", {}, "target"),
        ("target-path: \"{{ env_var('OUT') }}\"", {"OUT": "elsewhere"}, "elsewhere"),
        ("target-path: \"out/{{ target.name }}-{{ target['schema'] }}\"", {}, "out/prod-main"),
        ("target-path: out", {"DBT_TARGET_PATH": "of-environment"}, "of-environment"),
        ("target-path: out", {"DBT_TARGET_PATH": "older", "DBT_ENGINE_TARGET_PATH": "newer"}, "newer"),
        ("target-path: out", {"DBT_TARGET_PATH": ""}, "out"),
        ("target-path: \"{{ env_var('NOT_SET') }}\"", {"DBT_TARGET_PATH": "of-environment"}, "of-environment"),
    ],
)
def test_the_folder_of_the_artifacts_can_be_named(
    tmp_path: Path, text: str, environment: dict[str, str], folder: str
) -> None:
    assert artifacts_of(tmp_path, f"profile: shop\n{text}", environment) == tmp_path / folder


@pytest.mark.parametrize("text", ["target-path: 5", "target-path: [out]", "target-path: \"{{ env_var('NOT_SET') }}\""])
def test_a_folder_of_the_artifacts_that_is_no_text_is_a_fault(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"dbt_project\.yml"):
        artifacts_of(tmp_path, f"profile: shop\n{text}")


def test_the_name_of_the_profile_can_come_from_the_environment(tmp_path: Path) -> None:
    assert project_of(tmp_path, "profile: \"{{ env_var('WHO') }}\"", {"WHO": "shop"}).profile == "shop"


@pytest.mark.parametrize(
    "text", ["profile: []", "profile: 5", "[]", "profile: [", "", "profile: \"{{ env_var('NOT_SET') }}\""]
)
def test_a_project_that_cannot_be_read_is_a_fault(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"dbt_project\.yml"):
        project_of(tmp_path, text)


def test_the_project_is_the_named_one_or_the_next_from_the_current_folder_upwards(tmp_path: Path) -> None:
    for name in ("outer", "outer/inner", "other", "third"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "dbt_project.yml").write_text(f"name: {Path(name).name}")
    deep = tmp_path / "outer" / "models" / "deep"
    deep.mkdir(parents=True)

    def folder(project_dir: Path | None = None, **environment: str) -> Path | None:
        found = find_project(project_dir, environment, deep)
        return found.folder if found else None

    outer, other, third = (tmp_path / name for name in ("outer", "other", "third"))
    assert folder() == outer
    inner = find_project(None, {}, outer / "inner")
    assert inner is not None
    assert (inner.folder, inner.name, inner.profile) == (outer / "inner", "inner", None)
    assert folder(DBT_PROJECT_DIR=str(other)) == other
    assert folder(DBT_PROJECT_DIR=str(other), DBT_ENGINE_PROJECT_DIR=str(third)) == third
    assert folder(DBT_PROJECT_DIR="") == outer
    assert folder(Path("../../../third"), DBT_PROJECT_DIR=str(other)) == third
    assert find_project(None, {}, tmp_path) is None


@pytest.mark.parametrize("environment", [{}, {"DBT_PROJECT_DIR": "nowhere"}])
def test_a_named_folder_that_is_no_project_is_a_fault_that_says_how_to_name_one(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "dbt_project.yml").write_text("name: shop")
    (tmp_path / "models").mkdir()
    with pytest.raises(ConfigError, match="--project-dir"):
        find_project(None if environment else tmp_path / "models", environment, tmp_path)


def test_a_current_folder_that_was_deleted_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigError, match="the current folder is not there any more"):
        current_folder()
