"""A small dbt project that was really built, tables of a test's own in it, and the real command on top.

dbt is slow to start, so the ledgers are built once per session; a test gets a copy of the warehouse, and adds
its models and exposures to the build log as dbt's hooks write them.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from sync import __version__

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "statsig_sync"
SERVER_SECRET, CONSOLE_KEY = "secret-sandbox", "console-sandbox"
# The leases of runs that have died end, as they do with time.
EXPIRE_LEASES = "update statsig_run_log set lease_expires_at = logged_at"

_NUMBERS = itertools.count(1)


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
    write_profiles(folder)
    built = dbt(folder, "build", "--exclude-resource-type", "unit_test", "test")
    assert built.returncode == 0, built.stdout + built.stderr


def compiled(folder: Path, *arguments: str) -> dict[str, str]:
    """What dbt makes of the models that it compiles with these arguments, by their names."""
    shutil.rmtree(folder / "target" / "compiled", ignore_errors=True)
    finished = dbt(folder, "compile", *arguments)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return {file.stem: file.read_text() for file in (folder / "target" / "compiled").rglob("*.sql")}


def write_profiles(folder: Path) -> None:
    """Writes the profile of the project in ``folder``, whose warehouse is there too, from wherever it is used."""
    profile = {"type": "duckdb", "path": str(folder / "warehouse.duckdb")}
    profiles = {PACKAGE: {"target": "dev", "outputs": {"dev": profile}}}
    (folder / "profiles.yml").write_text(json.dumps(profiles))


@dataclass
class Project:
    """A dbt project as it is after ``dbt build``, and the command line ``statsig-sync`` in it.

    ``environment`` is what the command finds besides PATH and the like; ``statsig`` is the base address of
    the stand-in for Statsig, and ``logged`` what dbt's build log says of the project.
    """

    folder: Path
    statsig: str
    environment: dict[str, str] = field(default_factory=dict)
    logged: dict[str, Any] = field(default_factory=dict, repr=False)

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

    # What dbt has written down

    def table(self, name: str, query: str, materialized: str = "table") -> None:
        """Makes or replaces a table (or a view) by a query, as a model of dbt's that has just been built."""
        unique_id = f"model.{PACKAGE}.{name}"
        with self._warehouse() as warehouse:
            warehouse.execute(f'create or replace {materialized} "{name}" as {query}')
            relation = f'"warehouse"."main"."{name}"'
            self._node(warehouse, unique_id, relation=relation, materialized=materialized)
            self._set_status(warehouse, unique_id, "success")

    def node(self, unique_id: str, **more: Any) -> None:
        """Makes or replaces a node; ``more`` is what the build log has of it: relation, materialized and parents."""
        with self._warehouse() as warehouse:
            self._node(warehouse, unique_id, **more)

    def made_from(self, model: str, *parents: str) -> None:
        """Says what a model is made from: unique ids."""
        unique_id = f"model.{PACKAGE}.{model}"
        self.node(unique_id, **{**self._project()["graph"]["nodes"][unique_id], "parents": list(parents)})

    def sync(self, name: str, model: str, meta: Any, **more: Any) -> None:
        """Makes or replaces an exposure on a model; ``more``: its description and the like.

        Events send all that there is at their first run; where ``backfill`` is None, it is not written.
        """
        if isinstance(meta, dict) and meta.get("object") == "events":
            written = {"backfill": "all", **meta}
            meta = {key: value for key, value in written.items() if key != "backfill" or value is not None}
        found = {
            "name": name,
            "file": "models/marts/_exposures.yml",
            "depends_on": [f"model.{PACKAGE}.{model}"],
            "meta": meta,
            **more,
        }
        self.no_sync(name, found)

    def no_sync(self, name: str, *instead: Any) -> None:
        """Takes an exposure away."""
        project = self._project()
        project["syncs"] = [*(one for one in project["syncs"] if one["name"] != name), *instead]
        self.log_invocation()

    def test(self, name: str, model: str, status: str | None, **more: Any) -> None:
        """Makes or replaces a generic test on a model, with its status in the last build (None: not in it).

        ``more`` is what it tests, such as ``test="unique", column="order_id"``.
        """
        unique_id = f"test.{PACKAGE}.{name}"
        found = {"name": name, "on": [f"model.{PACKAGE}.{model}"], "test": None, "column": None, **more}
        self._project()["graph"]["tests"][unique_id] = found
        with self._warehouse() as warehouse:
            self._log_invocation(warehouse)
            self._set_status(warehouse, unique_id, status)

    def change_syncs(self, change: Callable[[dict[str, Any]], Any]) -> None:
        """Changes each exposure as dbt's hook has written it."""
        for one in self._project()["syncs"]:
            change(one)
        self.log_invocation()

    def set_status(self, unique_id: str, status: str | None, **more: Any) -> None:
        """Sets what dbt has said of a node last; None takes it out of the build log. ``more`` holds other columns."""
        with self._warehouse() as warehouse:
            self._set_status(warehouse, unique_id, status, **more)

    def log_run(self, unique_id: str, status: str, **more: Any) -> None:
        """Writes what became of a node in a dbt command that has just ended; ``more`` holds other columns."""
        with self._warehouse() as warehouse:
            self._log_run(warehouse, unique_id, status, **more)

    def log_invocation(self, **more: Any) -> None:
        """Writes the end of another dbt command; ``more`` holds columns that differ from those of the last."""
        with self._warehouse() as warehouse:
            self._log_invocation(warehouse, **more)

    def synced(self) -> list[dict[str, Any]]:
        """The syncs, to be changed before ``log_invocation``."""
        return list(self._project()["syncs"])

    @contextmanager
    def _warehouse(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with duckdb.connect(str(self.folder / "warehouse.duckdb")) as connection:
            yield connection

    def _project(self) -> dict[str, Any]:
        """What the last dbt command has written of the project: ``syncs``, ``graph`` and ``ledgers``."""
        if not self.logged:
            with self._warehouse() as warehouse:
                return self._loaded(warehouse)
        return self.logged

    def _node(self, warehouse: duckdb.DuckDBPyConnection, unique_id: str, **more: Any) -> None:
        kind, _, name = unique_id.split(".", 2)
        found = {"name": name, "resource_type": kind, "relation": None, "materialized": None, "parents": [], **more}
        self._loaded(warehouse)["graph"]["nodes"][unique_id] = found
        self._log_invocation(warehouse)

    def _loaded(self, warehouse: duckdb.DuckDBPyConnection) -> dict[str, Any]:
        if not self.logged:
            row = warehouse.execute("select syncs, graph, ledgers from statsig_invocations").fetchone() or ()
            self.logged.update(zip(("syncs", "graph", "ledgers"), map(json.loads, row), strict=True))
        return self.logged

    def _set_status(
        self, warehouse: duckdb.DuckDBPyConnection, unique_id: str, status: str | None, **more: Any
    ) -> None:
        warehouse.execute("delete from statsig_build_log where unique_id = ?", [unique_id])
        if status is not None:
            self._log_run(warehouse, unique_id, status, **more)

    def _log_run(self, warehouse: duckdb.DuckDBPyConnection, unique_id: str, status: str, **more: Any) -> None:
        kind, _, name = unique_id.split(".", 2)
        what = {"unique_id": unique_id, "resource_type": kind, "name": name, "status": status}
        now = _now()
        _append(warehouse, {"record": "node", **what, "started_at": now, "completed_at": now, **more})

    def _log_invocation(self, warehouse: duckdb.DuckDBPyConnection, **more: Any) -> None:
        texts = {name: json.dumps(value) for name, value in self._loaded(warehouse).items()}
        nodes = " ".join(sorted(self.logged["graph"]["nodes"]))
        lineage_hash = hashlib.md5(nodes.encode(), usedforsecurity=False).hexdigest()
        fixed = {"record": "invocation", "lineage_hash": lineage_hash, "known_syncs": "[]"}
        _append(warehouse, {**fixed, **texts, **more})

    # The artifacts

    def artifact(self, name: str) -> Any:
        """An artifact of dbt's: ``manifest`` or ``run_results``."""
        return json.loads((self.folder / "target" / f"{name}.json").read_text())

    def write_artifact(self, name: str, content: Any) -> None:
        """Writes an artifact."""
        (self.folder / "target" / f"{name}.json").write_text(json.dumps(content))

    def as_artifacts(self, **arguments: Any) -> tuple[str, ...]:
        """Writes the project as the artifacts of one build with these ``args``; returns the flags that name them."""
        manifest, results = self.artifact("manifest"), self.artifact("run_results")
        project = self._project()
        manifest["nodes"] |= {
            unique_id: {**node, "relation_name": node["relation"], "config": {"materialized": node["materialized"]}}
            for unique_id, node in project["graph"]["nodes"].items()
        }
        manifest["exposures"] = {
            f"exposure.{PACKAGE}.{one['name']}": {
                "name": one["name"],
                "original_file_path": one["file"],
                "depends_on": {"nodes": one["depends_on"]},
                "config": {"meta": {"statsig": one["meta"]}},
            }
            for one in project["syncs"]
        }
        manifest["metadata"]["generated_at"] = _now().isoformat() + "Z"
        results["results"] = [{"unique_id": unique_id, "status": "success"} for unique_id in manifest["nodes"]]
        results["args"] |= {"profiles_dir": str(self.folder), **arguments}
        self.write_artifact("manifest", manifest)
        self.write_artifact("run_results", results)
        target = self.folder / "target"
        return "--manifest", str(target / "manifest.json"), "--run-results", str(target / "run_results.json")

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


def _now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc).replace(tzinfo=None)


def _append(warehouse: duckdb.DuckDBPyConnection, row: Mapping[str, Any]) -> None:
    """Writes a row of the build log, of a dbt command of its own unless it says another."""
    common = {
        "invocation_id": f"invocation-{next(_NUMBERS)}",
        "logged_at": _now(),
        "project_name": PACKAGE,
        "profile_name": PACKAGE,
        "target_name": "dev",
        "target_database": "warehouse",
        "target_schema": "main",
        "command": "build",
        "package_version": __version__,
    }
    full = {**common, **row}
    marks = ", ".join("?" for _ in full)
    statement = f"insert into statsig_build_log ({', '.join(full)}) values ({marks})"
    warehouse.execute(statement, list(full.values()))
