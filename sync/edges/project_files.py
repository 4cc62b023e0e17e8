"""Which files of a dbt project have been changed since dbt has read them."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

_ENDINGS = (".yml", ".yaml", ".sql", ".csv", ".py", ".md")
YAML = (".yml", ".yaml")


def changed_files(
    project: Path, folders: Sequence[str], since: dt.datetime, endings: tuple[str, ...] = _ENDINGS
) -> tuple[str, ...]:
    """The files with these endings in a project's folders that are younger than a time (UTC without a zone).

    Their names are relative to the project's folder, in order. None where all files of the project are younger: they
    have just been checked out, which says nothing of what is in them.
    """
    moment = since.replace(tzinfo=dt.timezone.utc).timestamp()
    ages = {name: _changed_at(project / name) > moment for name in _files(project, folders)}
    if all(ages.values()):
        return ()
    return tuple(sorted(name for name, is_younger in ages.items() if is_younger and name.endswith(endings)))


def _files(project: Path, folders: Sequence[str]) -> Iterator[str]:
    yield "dbt_project.yml"
    for folder in folders:
        for place, _, names in os.walk(project / folder):
            for name in names:
                if name.endswith(_ENDINGS):
                    yield os.path.relpath(os.path.join(place, name), project)


def _changed_at(file: Path) -> float:
    """When a file was changed, in seconds since 1970; one that is gone by now was not."""
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first of some files, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
