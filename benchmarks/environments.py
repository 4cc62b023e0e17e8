"""A virtual environment for each contender, made once and kept below the cache folder."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import requires, version
from pathlib import Path

from benchmarks.measure import CommandError
from scripts.demo import ROOT

CACHE = ROOT / ".benchmark"
# The warehouse is a DuckDB file that dbt has written here: everybody reads it with the same version.
_DUCKDB = f"duckdb=={version('duckdb')}"


@dataclass(frozen=True)
class Environment:
    """A virtual environment: its folder of programs, and the versions of the packages in it."""

    programs: Path
    versions: Mapping[str, str]


def environment(name: str, requirements: Sequence[str]) -> Environment:
    """The environment of this name with these packages and DuckDB; it is made where it is missing or has others.

    Raises ``CommandError`` where they cannot be installed.
    """
    folder = CACHE / "environments" / name
    programs, stamp = folder / "bin", folder / "requirements.txt"
    wanted = "\n".join([*requirements, _DUCKDB, sys.version])
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"Making the environment of {name} ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        _install(programs, *requirements, _DUCKDB)
        stamp.write_text(wanted)
    return Environment(programs, _versions(programs))


def own_environment() -> Environment:
    """The environment of this tool, as somebody has it who installs it: not editable, and as it stands here now."""
    made = environment("statsig-sync", [one for one in requires("statsig-sync") or () if "extra ==" not in one])
    _install(made.programs, "--force-reinstall", "--no-deps", str(ROOT))
    return Environment(made.programs, _versions(made.programs))


def _install(programs: Path, *arguments: str) -> None:
    pip = [programs / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    done = subprocess.run([*pip, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandError(f"pip install {' '.join(arguments)} failed:\n{done.stderr[-2000:]}")


def _versions(programs: Path) -> Mapping[str, str]:
    pip = [programs / "python", "-m", "pip", "--disable-pip-version-check", "list", "--format", "json"]
    listed = subprocess.run(pip, capture_output=True, text=True, check=True).stdout
    return {one["name"].lower().replace("_", "-"): one["version"] for one in json.loads(listed)}
