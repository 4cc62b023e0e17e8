"""A dbt project that has this repository's package installed, as a user would, and the real dbt in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.integration.harness import ROOT, Project

PEOPLE = {"object": "segment", "segment_id": "people", "mode": "mirror", "create_if_missing": True}
MODELS = {
    "stg_people": "select '{{ target.name }}_ann' as user_id, timestamp '2026-10-01' as seen_at",
    "people": "select user_id from {{ ref('stg_people') }}",
}
PROPERTIES: dict[str, Any] = {
    "models": [
        {
            "name": "stg_people",
            "config": {"event_time": "seen_at"},
            "columns": [{"name": "user_id", "data_tests": ["not_null"]}],
        },
        {"name": "people", "columns": [{"name": "user_id", "data_tests": ["unique", "not_null"]}]},
    ],
    "exposures": [
        {
            "name": "people",
            "type": "application",
            "owner": {"name": "Growth", "email": "growth@example.com"},
            "depends_on": ["ref('people')"],
            "config": {"meta": {"statsig": PEOPLE}},
        }
    ],
}
# All that the sync rests on.
SELECT = ("--select", "+people")


@dataclass(frozen=True)
class Shop:
    """The project, and the command line ``statsig-sync`` in it."""

    project: Project

    @property
    def folder(self) -> Path:
        """The project's folder."""
        return self.project.folder

    def dbt(
        self, *arguments: str, cwd: Path | None = None, expect: int = 0, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs the real dbt in the project; fails when the exit code is another."""
        done = subprocess.run(
            dbt_command(*arguments), cwd=cwd or self.folder, env=dbt_environment(environment), capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode == expect, done.stdout + done.stderr
        return done

    def write(self, model: str, sql: str) -> None:
        """Changes the SQL of a model."""
        (self.folder / "models" / f"{model}.sql").write_text(sql)

    def write_properties(self, properties: Any) -> None:
        """Changes what YAML says."""
        (self.folder / "models" / "models.yml").write_text(yaml.safe_dump(properties))


def dbt_command(*arguments: str) -> list[str]:
    """The command line of dbt."""
    return [sys.executable, "-m", "dbt.cli.main", *arguments]


def dbt_environment(more: Mapping[str, str]) -> dict[str, str]:
    """The environment of dbt, without what the tests' own has of it."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("DBT_", "STATSIG_"))}
    return {**own, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "DBT_USE_COLORS": "false", **more}


def write_profiles(folder: Path, warehouse: Path) -> None:
    """Writes two profiles: one with two targets that share a warehouse, and one with a warehouse of its own."""
    targets = {name: {"type": "duckdb", "path": str(warehouse), "schema": name} for name in ("dev", "prod")}
    own = {"type": "duckdb", "path": str(folder / "ci.duckdb")}
    profiles = {"shop": {"target": "dev", "outputs": targets}, "ci": {"target": "dev", "outputs": {"dev": own}}}
    folder.mkdir(exist_ok=True)
    (folder / "profiles.yml").write_text(json.dumps(profiles))


def build_shop(folder: Path) -> None:
    """Makes ``folder`` the project, and builds it into dev and then into prod."""
    package = folder / "dbt_packages" / "statsig_sync"
    package.mkdir(parents=True)
    shutil.copy(ROOT / "dbt_project.yml", package)
    shutil.copytree(ROOT / "macros", package / "macros")
    shutil.copytree(ROOT / "models" / "statsig", package / "models" / "statsig")
    (folder / "models").mkdir()
    (folder / "dbt_project.yml").write_text(yaml.safe_dump({"name": "shop", "profile": "shop", "version": "1.0"}))
    shop = Shop(Project(folder, ""))
    for model, sql in MODELS.items():
        shop.write(model, "{{ config(materialized='table') }}\n" + sql)
    shop.write_properties(PROPERTIES)
    write_profiles(folder, folder / "warehouse.duckdb")
    ledgers_untested = ("--exclude", "package:statsig_sync,resource_type:test")
    for target in ("dev", "prod"):
        # The first build of all creates the build log, and writes into it what it has built.
        shop.dbt("build", "--target", target, "--exclude-resource-type", "unit_test", *ledgers_untested)
