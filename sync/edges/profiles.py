"""Finds the dbt project and the profile that dbt would find, and reads them: which warehouse, and where artifacts are.

The places, their order and the names are dbt's: dbt-core 1.11, ``dbt/cli/resolvers.py``, ``dbt/cli/params.py``,
``dbt/config/profile.py`` and ``dbt/config/project.py``. As there, every relative path counts from the current folder,
but for the target path, which counts from the project's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sync.edges.dbt_variables import option
from sync.edges.templates import TemplateError, render
from sync.errors import ConfigError, Fault

_PROJECT_FILE, _PROFILES_FILE = "dbt_project.yml", "profiles.yml"


@dataclass(frozen=True)
class Choice:
    """What the command line says of the profile; None stands for what dbt would take."""

    profiles_dir: Path | None = None
    profile: str | None = None
    target: str | None = None


@dataclass(frozen=True)
class Profile:
    """The output of a profile that a target names: its file, name, target and rendered settings.

    ``is_target_explicit`` tells whether the command line named the target.
    """

    file: str
    name: str
    target: str
    output: Mapping[str, Any]
    is_target_explicit: bool = False


@dataclass(frozen=True)
class Project:
    """A dbt project: its folder, its name, the profile that it names, and ``target-path`` as it is written.

    ``folders`` are those of its models, seeds, snapshots, macros and tests.
    """

    folder: Path
    name: str
    profile: str | None
    written_target_path: Any = None
    folders: tuple[str, ...] = ()

    @property
    def file(self) -> Path:
        """Its ``dbt_project.yml``."""
        return self.folder / _PROJECT_FILE


def current_folder() -> Path:
    """The current folder. Raises ``ConfigError`` where it was deleted."""
    try:
        return Path.cwd()
    except OSError as error:
        message = "the current folder is not there any more. Go to another one."
        raise ConfigError([Fault("", "", "", message)]) from error


def find_project(project_dir: Path | None, environment: Mapping[str, str], cwd: Path) -> Project | None:
    """The project that dbt would work on: --project-dir, DBT_PROJECT_DIR, the current folder or the next above it.

    None where none is named and none is there. Raises ``ConfigError`` where what is named or found cannot be read.
    """
    named = project_dir if project_dir is not None else option(environment, "DBT_PROJECT_DIR")
    if named is not None:
        return _read_project(Path(os.path.normpath(cwd / named)), environment)
    folder = next((one for one in (cwd, *cwd.parents) if os.path.exists(one / _PROJECT_FILE)), None)
    return None if folder is None else _read_project(folder, environment)


def _read_project(folder: Path, environment: Mapping[str, str]) -> Project:
    file = folder / _PROJECT_FILE
    found = _read_mapping(file, "Name the dbt project's folder with --project-dir.")
    profile = _rendered(file, found.get("profile"), environment)
    if profile is not None and not isinstance(profile, str):
        raise ConfigError([Fault(str(file), "", "profile", "is not a text; name the profile of the warehouse.")])
    name = _rendered(file, found.get("name"), environment)
    return Project(folder, str(name or ""), profile, found.get("target-path"), tuple(_folders(found)))


def _folders(project: Mapping[Any, Any]) -> Iterator[str]:
    """Where a project's files are, as far as it is written without a template."""
    for kind in ("model", "seed", "snapshot", "macro", "test"):
        written = project.get(f"{kind}-paths")
        yield from (one for one in written if isinstance(one, str)) if isinstance(written, list) else (f"{kind}s",)


def target_path(project: Project, profile: Profile, environment: Mapping[str, str]) -> Path:
    """The folder of the project's artifacts: DBT_TARGET_PATH, the project's own ``target-path``, or ``target``."""
    named = option(environment, "DBT_TARGET_PATH")
    if named is None:
        target = {**profile.output, "name": profile.target, "target_name": profile.target, "profile_name": profile.name}
        named = _rendered(project.file, project.written_target_path, environment, target)
    if named is not None and not isinstance(named, str):
        raise ConfigError([Fault(str(project.file), "", "target-path", "is not a text; name a folder.")])
    return project.folder / ("target" if named is None else named)


def find_profile(choice: Choice, project: Project | None, environment: Mapping[str, str], cwd: Path) -> Profile:
    """The output that dbt would build into, rendered. Raises ``ConfigError`` where there is none.

    Where no project is at hand to name a profile, and neither --profile nor DBT_PROFILE does, it is the only one.
    """
    file, name, profile, target = _chosen(choice, project, environment, cwd)
    output = _output(file, name, profile, target)
    return Profile(str(file), name, str(target), _rendered(file, output, environment), choice.target is not None)


def usual_names(
    profiles_dir: Path | None, project: Project | None, environment: Mapping[str, str], cwd: Path
) -> tuple[str, str]:
    """The profile and the target that dbt takes where its command line names neither; empty where there are none.

    The output may be one that cannot be used, such as one whose variables are not set here.
    """
    try:
        _, name, _, target = _chosen(Choice(profiles_dir), project, environment, cwd)
    except ConfigError:
        return "", ""
    return name, str(target)


def _chosen(
    choice: Choice, project: Project | None, environment: Mapping[str, str], cwd: Path
) -> tuple[Path, str, Mapping[Any, Any], Any]:
    """The profiles.yml, the profile's name, the profile, and its target, which may be one that is not there."""
    file, hint = _profiles_file(choice.profiles_dir, environment, cwd)
    profiles = _read_mapping(file, hint)
    name = choice.profile if choice.profile is not None else option(environment, "DBT_PROFILE")
    if name is None:
        name = _only_name(file, profiles) if project is None else _name_of(project)
    profile = profiles.get(name)
    if not isinstance(profile, dict):
        message = f"is not there; the profiles are: {_listed(_names(profiles))}."
        raise ConfigError([Fault(str(file), f"profile {name}", "", message)])
    return file, name, profile, _target(file, profile, choice, environment)


def _profiles_file(profiles_dir: Path | None, environment: Mapping[str, str], cwd: Path) -> tuple[Path, str]:
    """The profiles.yml that dbt would take, and what to do where it is not there."""
    named = profiles_dir if profiles_dir is not None else option(environment, "DBT_PROFILES_DIR")
    if named is not None:
        return cwd / named / _PROFILES_FILE, "Name the folder of profiles.yml with --profiles-dir."
    here = cwd / _PROFILES_FILE
    if os.path.exists(here):
        return here, ""
    hint = f"As dbt does, profiles.yml was looked for in {cwd} first. Name its folder with --profiles-dir."
    return cwd / _home(cwd) / ".dbt" / _PROFILES_FILE, hint


def _home(cwd: Path) -> Path:
    try:
        return Path.home()
    except RuntimeError as error:
        message = (
            f"there is no profiles.yml in {cwd}, and no home folder is known in which there could be one. Name the "
            "folder of profiles.yml with --profiles-dir, or set HOME."
        )
        raise ConfigError([Fault("", "environment", "HOME", message)]) from error


def _name_of(project: Project) -> str:
    if project.profile is None:
        message = "is missing; name the profile of the warehouse there, or with --profile."
        raise ConfigError([Fault(str(project.file), "", "profile", message)])
    return project.profile


def _only_name(file: Path, profiles: Mapping[Any, Any]) -> str:
    names = _names(profiles)
    if len(names) != 1:
        message = (
            f"there is no dbt project here to say which profile is meant; the profiles are: {_listed(names)}. Name one "
            "with --profile, or the project's folder with --project-dir."
        )
        raise ConfigError([Fault(str(file), "", "", message)])
    return names[0]


def _names(profiles: Mapping[Any, Any]) -> list[str]:
    return [str(name) for name in profiles if name != "config"]


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"


def _target(file: Path, profile: Mapping[Any, Any], choice: Choice, environment: Mapping[str, str]) -> Any:
    if choice.target is not None:
        return choice.target
    if named := option(environment, "DBT_TARGET"):
        return named
    return _rendered(file, profile["target"], environment) if "target" in profile else "default"


def _output(file: Path, name: str, profile: Mapping[Any, Any], target: Any) -> dict[Any, Any]:
    outputs = profile.get("outputs")
    output = outputs.get(target) if isinstance(outputs, dict) and isinstance(target, str) else None
    if not isinstance(output, dict):
        known = _listed([str(key) for key in outputs]) if isinstance(outputs, dict) else "none"
        message = f"'{target}' is not there; the targets are: {known}."
        raise ConfigError([Fault(str(file), f"profile {name}", "target", message)])
    return output


def _read_mapping(file: Path, hint: str) -> dict[Any, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        _refuse_deep(text)
        found = yaml.load(text, Loader=_SafeLoader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise _fault(file, f"cannot be read: {error.strerror}. {hint}".rstrip()) from error
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


def _rendered(file: Path, value: Any, environment: Mapping[str, str], target: Mapping[str, Any] | None = None) -> Any:
    """The value with its Jinja rendered. Only what is needed is rendered, as dbt does it."""
    try:
        return render(value, environment, target)
    except TemplateError as error:
        raise _fault(file, str(error)) from error
    except RecursionError as error:
        raise _fault(file, "is nested too deeply, or within itself.") from error


# The C loader is ten times faster, where PyYAML was built with it.
_SafeLoader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


_MAX_DEPTH = 100


def _fault(file: Path, message: str) -> ConfigError:
    return ConfigError([Fault(str(file), "", "", message)])
