"""A small dbt project that was really built, tables of a test's own in it, and the real command on top.

dbt is slow to start, so the ledgers are built once per session; a test gets a copy of the warehouse and of
the artifacts, and adds its models and exposures to the artifacts as dbt would write them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "statsig_sync"
SERVER_SECRET, CONSOLE_KEY = "secret-sandbox", "console-sandbox"
# The leases of runs that have died end, as they do with time.
EXPIRE_LEASES = "update statsig_run_log set lease_expires_at = logged_at"


def dbt(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the real dbt in ``folder``, which holds its own profiles.yml."""
    return subprocess.run(
        [sys.executable, "-m", "dbt.cli.main", *arguments, "--project-dir", str(folder), "--profiles-dir", str(folder)],
        cwd=folder,
        env={**os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"},
        capture_output=True,
        text=True,
        check=False,
    )


def build_ledgers(folder: Path) -> None:
    """Makes ``folder`` a dbt project that holds nothing but the ledgers, and builds it."""
    folder.mkdir()
    shutil.copy(ROOT / "dbt_project.yml", folder)
    shutil.copytree(ROOT / "macros", folder / "macros")
    shutil.copytree(ROOT / "models" / "statsig", folder / "models" / "statsig")
    profile = {"type": "duckdb", "path": "warehouse.duckdb"}
    profiles = {PACKAGE: {"target": "dev", "outputs": {"dev": profile}}}
    (folder / "profiles.yml").write_text(json.dumps(profiles))
    built = dbt(folder, "build", "--exclude-resource-type", "unit_test", "test")
    assert built.returncode == 0, built.stdout + built.stderr


@dataclass
class Project:
    """A dbt project as it is after ``dbt build``, and the command line ``statsig-sync`` in it.

    ``environment`` is what the command finds besides PATH and the like; ``statsig`` is the base address of
    the stand-in for Statsig.
    """

    folder: Path
    statsig: str
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.environment = {
            "STATSIG_EVENTS_URL": self.statsig,
            "STATSIG_CONSOLE_URL": self.statsig,
            "STATSIG_SERVER_SECRET": SERVER_SECRET,
            "STATSIG_CONSOLE_API_KEY": CONSOLE_KEY,
            **self.environment,
        }

    # The warehouse

    def execute(self, *statements: str) -> None:
        """Runs SQL statements in the warehouse."""
        with duckdb.connect(str(self.folder / "warehouse.duckdb")) as connection:
            for statement in statements:
                connection.execute(statement)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with duckdb.connect(str(self.folder / "warehouse.duckdb"), read_only=True) as connection:
            return connection.execute(query).fetchall()

    # The artifacts

    def table(self, name: str, query: str, materialized: str = "table") -> None:
        """Makes or replaces a table (or a view) by a query, as a model of dbt's that has just been built."""
        self.execute(f'create or replace {materialized} "{name}" as {query}')
        unique_id = f"model.{PACKAGE}.{name}"
        manifest = self.artifact("manifest")
        manifest["nodes"][unique_id] = {
            "unique_id": unique_id,
            "name": name,
            "resource_type": "model",
            "relation_name": f'"warehouse"."main"."{name}"',
            "depends_on": {"nodes": []},
            "config": {"materialized": materialized},
        }
        self.write_artifact("manifest", manifest)
        self.set_status(unique_id, "success")

    def sync(self, name: str, model: str, meta: Any) -> None:
        """Makes or replaces an exposure on a model, with ``config.meta.statsig``."""
        manifest = self.artifact("manifest")
        manifest["exposures"][f"exposure.{PACKAGE}.{name}"] = {
            "name": name,
            "resource_type": "exposure",
            "original_file_path": "models/marts/_exposures.yml",
            "depends_on": {"nodes": [f"model.{PACKAGE}.{model}"]},
            "config": {"enabled": True, "meta": {"statsig": meta}},
        }
        self.write_artifact("manifest", manifest)

    def test(self, name: str, model: str, status: str | None) -> None:
        """Makes or replaces a generic test on a model, with its status in the last build (None: not in it)."""
        unique_id = f"test.{PACKAGE}.{name}"
        manifest = self.artifact("manifest")
        manifest["nodes"][unique_id] = {
            "unique_id": unique_id,
            "name": name,
            "resource_type": "test",
            "relation_name": None,
            "depends_on": {"nodes": [f"model.{PACKAGE}.{model}"]},
            "attached_node": f"model.{PACKAGE}.{model}",
        }
        self.write_artifact("manifest", manifest)
        self.set_status(unique_id, status)

    def set_status(self, unique_id: str, status: str | None) -> None:
        """Sets what the last build said of a node; None takes it out of the results."""
        results = self.artifact("run_results")
        results["results"] = [one for one in results["results"] if one["unique_id"] != unique_id]
        if status is not None:
            results["results"].append({"unique_id": unique_id, "status": status})
        self.write_artifact("run_results", results)

    def artifact(self, name: str) -> Any:
        """An artifact of dbt's: ``manifest`` or ``run_results``."""
        return json.loads((self.folder / "target" / f"{name}.json").read_text())

    def write_artifact(self, name: str, content: Any) -> None:
        """Writes an artifact."""
        (self.folder / "target" / f"{name}.json").write_text(json.dumps(content))

    # The command

    def command(self, *arguments: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
        """Runs ``statsig-sync``; a variable that is None is taken out of its environment."""
        return subprocess.run(
            [sys.executable, "-m", "sync", *arguments],
            cwd=self.folder,
            env=self.process_environment(environment),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def process_environment(self, changes: Mapping[str, str | None]) -> dict[str, str]:
        """The environment of the command."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("STATSIG_", "DBT_"))}
        merged = {**own, "PYTHONPATH": str(ROOT), **self.environment, **changes}
        return {name: value for name, value in merged.items() if value is not None}

    def run(self, *arguments: str, expect: int = 0, **environment: str | None) -> Any:
        """Runs ``statsig-sync run --json`` and returns what it prints; fails when the exit code is another."""
        return self._json("run", *arguments, expect=expect, **environment)

    def plan(self, *arguments: str, expect: int = 0, **environment: str | None) -> Any:
        """Runs ``statsig-sync plan --json`` and returns what it prints."""
        return self._json("plan", *arguments, expect=expect, **environment)

    def _json(self, *arguments: str, expect: int, **environment: str | None) -> Any:
        finished = self.command(*arguments, "--json", **environment)
        assert finished.returncode == expect, finished.stdout + finished.stderr
        return json.loads(finished.stdout)
