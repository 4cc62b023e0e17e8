"""Reading dbt_project.yml and profiles.yml as dbt reads them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sync.edges.profiles import Profile, Project, find_profiles_file, read_profile, read_project
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


def output(tmp_path: Path, value: Any, environment: dict[str, str] | None = None) -> Any:
    """What a setting of the output is rendered to."""
    path = tmp_path / "profiles.yml"
    path.write_text(yaml.safe_dump({"shop": {"target": "dev", "outputs": {"dev": {"path": value}}}}))
    return read_profile(path, "shop", None, environment or {}).output["path"]


def the_problem(file: Path, environment: dict[str, str] | None = None, target: str | None = None) -> str:
    with pytest.raises(ConfigError) as raised:
        read_profile(file, "shop", target, environment or {})
    (fault,) = raised.value.faults
    assert fault.where == str(file)
    return str(fault)


def test_the_profiles_own_target_is_the_default(file: Path) -> None:
    found = read_profile(file, "shop", None, {})
    assert found == Profile(str(file), "shop", "dev", PROFILES["shop"]["outputs"]["dev"])


@pytest.mark.parametrize(
    ("asked", "environment", "chosen"),
    [
        ("prod", {}, "prod"),
        (None, {"DBT_TARGET": "prod"}, "prod"),
        ("dev", {"DBT_TARGET": "prod"}, "dev"),
        (None, {"DBT_TARGET": ""}, "dev"),
    ],
)
def test_the_command_line_comes_before_the_environment_and_that_before_the_file(
    file: Path, asked: str | None, environment: dict[str, str], chosen: str
) -> None:
    assert read_profile(file, "shop", asked, {"SHOP_PATH": "p", **environment}).target == chosen


def test_a_target_can_come_from_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "profiles.yml"
    target = "{{ env_var('SHOP_TARGET', 'dev') }}"
    path.write_text(yaml.safe_dump({"shop": {"target": target, "outputs": {"dev": {"a": 1}, "ci": {"a": 2}}}}))
    assert read_profile(path, "shop", None, {}).output == {"a": 1}
    assert read_profile(path, "shop", None, {"SHOP_TARGET": "ci"}).output == {"a": 2}


def test_a_profile_without_a_target_takes_the_one_called_default(tmp_path: Path) -> None:
    path = tmp_path / "profiles.yml"
    path.write_text(yaml.safe_dump({"shop": {"outputs": {"default": {"a": 1}}}}))
    assert read_profile(path, "shop", None, {}).target == "default"


def test_only_the_chosen_target_is_rendered(file: Path) -> None:
    assert read_profile(file, "shop", "dev", {}).output["path"] == "dev.duckdb"
    assert "SHOP_PATH" in the_problem(file, target="prod")


def test_a_target_that_is_not_there_is_named_with_those_that_are(file: Path) -> None:
    problem = the_problem(file, target="production")
    assert "'production'" in problem
    assert "dev, prod" in problem


def test_a_profile_that_is_not_there_is_named_with_those_that_are(file: Path) -> None:
    with pytest.raises(ConfigError, match="profile store: is not there; the profiles are: shop"):
        read_profile(file, "store", None, {})


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
        ("no template", {}, "no template"),
        (5, {}, 5),
        (None, {}, None),
        ({"deep": ["{{ env_var('A') }}"]}, {"A": "x"}, {"deep": ["x"]}),
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
    "{{ 'x' | as_number }}",
    "{{ 'perhaps' | as_bool }}",
    "{{ '5' | as_bool }}",
    "{{ '5' | no_such_filter }}",
    "{{ '%s' | format }}",
    "{{ 'a' | int('x', 'y', 'z') }}",
]


@pytest.mark.parametrize("template", HOSTILE)
def test_a_template_that_cannot_be_rendered_is_a_fault_that_does_not_repeat_it(tmp_path: Path, template: str) -> None:
    with pytest.raises(ConfigError) as raised:
        output(tmp_path, f"hunter2{template}" if "as_" not in template else template)
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


def test_profiles_are_looked_for_where_dbt_looks_in_its_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Path.home takes no argument: it reads HOME.
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    project = Project(tmp_path / "project", "shop", "shop", tmp_path / "target")
    project.folder.mkdir()
    in_home = tmp_path / "home" / ".dbt" / "profiles.yml"
    assert find_profiles_file(None, project, {}) == in_home
    (project.folder / "profiles.yml").touch()
    assert find_profiles_file(None, project, {}) == project.folder / "profiles.yml"
    environment = {"DBT_PROFILES_DIR": str(tmp_path / "named")}
    assert find_profiles_file(None, project, environment) == tmp_path / "named" / "profiles.yml"
    assert find_profiles_file(tmp_path / "asked", project, environment) == tmp_path / "asked" / "profiles.yml"


def project_of(tmp_path: Path, text: str, environment: dict[str, str] | None = None) -> Project:
    (tmp_path / "dbt_project.yml").write_text(text)
    return read_project(tmp_path, environment or {})


def test_a_project_names_its_profile_and_has_its_artifacts_below_target(tmp_path: Path) -> None:
    assert project_of(tmp_path, "name: my_shop\nprofile: shop") == Project(
        tmp_path, "my_shop", "shop", tmp_path / "target"
    )


@pytest.mark.parametrize(
    ("text", "environment", "folder"),
    [
        ("target-path: out", {}, "out"),
        ("target-path: \"{{ env_var('OUT') }}\"", {"OUT": "elsewhere"}, "elsewhere"),
        ("target-path: out", {"DBT_TARGET_PATH": "of-environment"}, "of-environment"),
    ],
)
def test_the_folder_of_the_artifacts_can_be_named(
    tmp_path: Path, text: str, environment: dict[str, str], folder: str
) -> None:
    assert project_of(tmp_path, f"profile: shop\n{text}", environment).target_path == tmp_path / folder


def test_the_name_of_the_profile_can_come_from_the_environment(tmp_path: Path) -> None:
    assert project_of(tmp_path, "profile: \"{{ env_var('WHO') }}\"", {"WHO": "shop"}).profile == "shop"


@pytest.mark.parametrize(
    "text", ["name: shop", "profile:", "profile: []", "profile: 5", "profile: ''", "[]", "profile: [", ""]
)
def test_a_project_without_a_profile_is_a_fault(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        project_of(tmp_path, text)


def test_a_folder_that_is_no_project_is_a_fault_that_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--project-dir"):
        read_project(tmp_path, {})
