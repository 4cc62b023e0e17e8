"""Reads ``dbt_project.yml`` and ``profiles.yml``: which warehouse, and where the artifacts are.

The places that are searched, the targets and the context of a profile are dbt's: documentation, "About
profiles.yml" and "Profile context".
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sync.errors import ConfigError, Fault


@dataclass(frozen=True)
class Profile:
    """The output of a profile that a target names: its file, name, target and rendered settings."""

    file: str
    name: str
    target: str
    output: Mapping[str, Any]


@dataclass(frozen=True)
class Project:
    """A dbt project: its folder, its name, the profile that it names, and the folder of its artifacts."""

    folder: Path
    name: str
    profile: str
    target_path: Path


def read_project(folder: Path, environment: Mapping[str, str]) -> Project:
    """The project in ``folder``. Raises ``ConfigError`` where there is none."""
    file = folder / "dbt_project.yml"
    found = _read_mapping(file, "Name the dbt project's folder with --project-dir.")
    profile = _rendered(file, found.get("profile"), environment)
    if not isinstance(profile, str) or not profile:
        raise ConfigError([Fault(str(file), "", "profile", "is missing; name the profile of the warehouse.")])
    configured = _rendered(file, found.get("target-path"), environment)
    target_path = environment.get("DBT_TARGET_PATH") or configured or "target"
    return Project(folder, str(found.get("name") or ""), profile, folder / str(target_path))


def find_profiles_file(profiles_dir: Path | None, project: Project, environment: Mapping[str, str]) -> Path:
    """The profiles.yml that dbt would take: --profiles-dir, DBT_PROFILES_DIR, the project, ~/.dbt."""
    if profiles_dir is not None:
        return profiles_dir / "profiles.yml"
    if environment.get("DBT_PROFILES_DIR"):
        return Path(environment["DBT_PROFILES_DIR"]) / "profiles.yml"
    own = project.folder / "profiles.yml"
    return own if own.exists() else Path.home() / ".dbt" / "profiles.yml"


def read_profile(file: Path, name: str, target: str | None, environment: Mapping[str, str]) -> Profile:
    """The output of profile ``name`` that ``target`` (or the profile's own default) names, rendered."""
    hint = "Copy profiles.example.yml to profiles.yml, or name its folder with --profiles-dir."
    profiles = _read_mapping(file, hint)
    profile = profiles.get(name)
    if not isinstance(profile, dict):
        known = ", ".join(str(key) for key in profiles if key != "config") or "none"
        raise ConfigError([Fault(str(file), f"profile {name}", "", f"is not there; the profiles are: {known}.")])
    own = _rendered(file, profile.get("target"), environment)
    chosen = target or environment.get("DBT_TARGET") or own or "default"
    outputs = profile.get("outputs")
    output = outputs.get(chosen) if isinstance(outputs, dict) and isinstance(chosen, str) else None
    if not isinstance(output, dict):
        known = ", ".join(str(key) for key in outputs) if isinstance(outputs, dict) else "none"
        message = f"'{chosen}' is not there; the targets are: {known}."
        raise ConfigError([Fault(str(file), f"profile {name}", "target", message)])
    return Profile(str(file), name, chosen, _rendered(file, output, environment))


def _read_mapping(file: Path, hint: str) -> dict[Any, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        _refuse_deep(text)
        found = yaml.load(text, Loader=_SafeLoader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise _fault(file, f"cannot be read: {error.strerror}. {hint}") from error
    except Exception as error:
        # PyYAML lets through what its own constructors raise, such as a ValueError for the date 2026-99-99.
        raise _fault(file, f"is not YAML that can be read: {_yaml_problem(error)}.") from error
    if not isinstance(found, dict):
        raise _fault(file, "is not a mapping.")
    return found


def _refuse_deep(text: str) -> None:
    """Refuses YAML so deep that the C loader would run out of stack and take the process along."""
    depth = 0
    for event in yaml.parse(text, Loader=_SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem="it is nested too deeply")


def _yaml_problem(error: Exception) -> str:
    """What is wrong and where, without the text around it: there may be a password on that line."""
    mark = getattr(error, "problem_mark", None)
    place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{getattr(error, 'problem', None) or type(error).__name__}{place}"


def _rendered(file: Path, value: Any, environment: Mapping[str, str]) -> Any:
    """The value with its Jinja rendered. Only what is needed is rendered, as dbt does it."""
    try:
        return _render(value, environment)
    except _CannotRenderError as error:
        raise _fault(file, str(error)) from error
    except RecursionError as error:
        raise _fault(file, "is nested too deeply, or within itself.") from error


# The C loader is ten times faster, where PyYAML was built with it.
_SafeLoader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


_MAX_DEPTH = 100


class _CannotRenderError(Exception):
    """A template in the file cannot be rendered; the message says which and why."""


def _render(value: Any, environment: Mapping[str, str]) -> Any:
    """The value with its Jinja rendered: only ``env_var`` and the ``as_*`` filters, as in dbt's profiles."""
    if isinstance(value, dict):
        return {key: _render(item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [_render(item, environment) for item in value]
    if isinstance(value, str) and ("{{" in value or "{%" in value):
        return _render_text(value, environment)
    return value


def _render_text(text: str, environment: Mapping[str, str]) -> Any:
    # Jinja is slow to import, and many profiles do without it.
    from jinja2 import StrictUndefined, TemplateError  # noqa: PLC0415
    from jinja2.sandbox import SandboxedEnvironment  # noqa: PLC0415

    def env_var(name: str, default: str | None = None) -> str:
        found = environment.get(name, default)
        if found is None:
            raise _CannotRenderError(f"needs the environment variable '{name}', which is not set.")
        return found

    jinja = SandboxedEnvironment(undefined=StrictUndefined)
    casts: list[str] = []
    for name in ("as_number", "as_bool", "as_native", "as_text"):
        jinja.filters[name] = _noting(casts, name)
    try:
        rendered = jinja.from_string(text).render(env_var=env_var)
    except (_CannotRenderError, RecursionError):
        raise
    except Exception as error:
        # The template itself is not repeated: there may be a password in it.
        reason = error.message if isinstance(error, TemplateError) else type(error).__name__
        raise _CannotRenderError(f"holds a template that cannot be rendered here: {reason}.") from error
    is_one_expression = text.startswith("{{") and text.endswith("}}") and text.count("{{") == 1
    return _cast(rendered, casts[-1]) if casts and is_one_expression else rendered


def _noting(casts: list[str], name: str) -> Any:
    def note(value: Any) -> Any:
        casts.append(name)
        return value

    return note


def _cast(text: str, cast: str) -> Any:
    """The value of a text under an ``as_*`` filter; what is no literal stays text, as in dbt."""
    if cast == "as_text":
        return text
    literal = text.capitalize() if text in ("true", "false") else text
    try:
        value = ast.literal_eval(literal)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = text
    is_bool = isinstance(value, bool)
    is_number = isinstance(value, int | float) and not is_bool
    if (cast == "as_bool" and not is_bool) or (cast == "as_number" and not is_number):
        raise _CannotRenderError(f"holds a template whose value is not what its filter {cast} asks for.")
    return value


def _fault(file: Path, message: str) -> ConfigError:
    return ConfigError([Fault(str(file), "", "", message)])
