"""The dbt project on a real PostgreSQL server: it builds as on DuckDB, and its tests judge as there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.harness import PACKAGE, ROOT, dbt
from tests.postgres_server import Database, PostgresServer, running

DEPRECATIONS_FAIL = ("--warn-error-options", json.dumps({"error": ["Deprecations"]}))
# Rows that a generic test of the package finds fault with, and some that it takes; each value is SQL.
ODD_TEXTS = (
    *("'a'", "''", "' '", "' a'", "'a '", "chr(9) || 'a'", "'a' || chr(160)", "chr(8203) || 'a'", "null"),
    *("'a\\b'", "'a[b'", "repeat('x', 65)", "repeat('x', 128)", "'name' || chr(10)", "'Zoë'", "'名前'"),
    *("'{}'", "'[1]'", '\'{"a": 1, "a": 2}\'', "'{\"a\": NaN}'", "'{\"a\": 1,}'", "'{\"a\": null}'", "'{'"),
)
ODD_TESTS: tuple[Any, ...] = (
    *("statsig_sync.usable_id", "statsig_sync.valid_event_name", "statsig_sync.json_object", "unique", "not_null"),
    {"statsig_sync.within_statsig_limits": {"arguments": {"kind": "event_value"}}},
)


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with running() as server:
        yield server


def _project(folder: Path, output: dict[str, Any], *parts: str) -> Path:
    """A copy of the project, with the profile of a warehouse."""
    folder.mkdir(parents=True)
    for part in ("dbt_project.yml", "macros", "models/statsig", *parts):
        source = ROOT / part
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / part)
    profiles = {PACKAGE: {"target": "dev", "outputs": {"dev": output}}}
    (folder / "profiles.yml").write_text(json.dumps(profiles))
    return folder


def _duckdb(folder: Path) -> dict[str, Any]:
    return {"type": "duckdb", "path": str(folder / "warehouse.duckdb"), "schema": "analytics"}


def _build(folder: Path, *arguments: str, command: str = "build", succeeds: bool = True) -> list[dict[str, Any]]:
    finished = dbt(folder, *DEPRECATIONS_FAIL, command, *arguments)
    assert (finished.returncode == 0) is succeeds, finished.stdout
    return list(json.loads((folder / "target" / "run_results.json").read_text())["results"])


def _ledgers(folder: Path, postgres: PostgresServer) -> tuple[Path, Database]:
    database = postgres.database()
    return _project(folder / "project", database.output), database


def test_the_whole_project_builds_with_all_of_its_tests_and_again(postgres: PostgresServer, tmp_path: Path) -> None:
    database = postgres.database()
    parts = ("models/staging", "models/marts", "seeds", "tests/dbt")
    folder = _project(tmp_path / "project", database.output, *parts)
    for _ in range(2):
        statuses = {one["status"] for one in _build(folder)}
        assert statuses <= {"success", "pass", "warn", "no-op"}
    assert database.rows("select count(*) > 0 from analytics.statsig_events__demo_orders") == [(True,)]


def test_a_full_refresh_keeps_the_rows_of_a_ledger_and_a_lost_column_comes_back(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    folder, database = _ledgers(tmp_path, postgres)
    _build(folder, "--select", "resource_type:model", command="run")
    database.execute(
        "insert into analytics.statsig_changelog (batch_id, sync_name, operation, key, logged_at)"
        " values ('b', 's', 'add', 'ann', now())",
        "alter table analytics.statsig_changelog drop column event_name cascade",
    )
    _build(folder, "--full-refresh", command="run")
    assert database.rows("select key, event_name from analytics.statsig_changelog") == [("ann", None)]


def test_the_snapshot_is_folded_build_by_build(postgres: PostgresServer, tmp_path: Path) -> None:
    folder, database = _ledgers(tmp_path, postgres)
    _build(folder, command="run")
    for sequence, (operation, key) in enumerate((("add", "ann"), ("add", "bob"), ("remove", "ann")), start=1):
        line = f"'b{sequence}', 'r', 's', 'statsig', 'people', '{operation}', 'accepted', now(), {sequence}, 1"
        database.execute(
            "insert into analytics.statsig_batch_log (batch_id, run_id, sync_name, project, destination, operation,"
            f" state, logged_at, sequence, keys) values ({line})",
            "insert into analytics.statsig_changelog (batch_id, sync_name, operation, key, logged_at)"
            f" values ('b{sequence}', 's', '{operation}', '{key}', now())",
        )
        members = database.rows("select id, status from analytics.statsig_membership order by id")
        _build(folder, "--select", "statsig_snapshot", command="run")
        assert database.rows("select id, status from analytics.statsig_membership order by id") == members
    snapshot = database.rows("select id, added, removed, reach from analytics.statsig_snapshot order by id")
    assert snapshot == [("ann", 1, 3, 3), ("bob", 2, None, 3)]
    assert database.rows("select id, status from analytics.statsig_members") == [("bob", "in")]


def test_the_generic_tests_and_the_build_log_judge_as_on_duckdb(postgres: PostgresServer, tmp_path: Path) -> None:
    verdicts, logged = [], []
    for name, output in {"postgres": postgres.database().output, "duckdb": _duckdb(tmp_path)}.items():
        folder = _project(tmp_path / name / "project", output)
        _write_odd_model(folder)
        _build(folder, "--select", "package:statsig_sync,path:models/statsig", command="run")
        results = _build(folder, "--select", "odd", succeeds=False)
        verdicts.append({one["unique_id"]: (one["status"], one["failures"]) for one in results})
        logged.append(_build_log(folder))
    assert verdicts[0] == verdicts[1]
    assert {failures for status, failures in verdicts[0].values() if status == "fail"} - {0}
    assert logged[0] == logged[1]


def _write_odd_model(folder: Path) -> None:
    selects = [f"select cast({text} as {{{{ dbt.type_string() }}}}) as value" for text in ODD_TEXTS]
    (folder / "models" / "odd.sql").write_text("\nunion all\n".join(selects))
    models = [{"name": "odd", "columns": [{"name": "value", "data_tests": list(ODD_TESTS)}]}]
    exposure = {
        "name": "odd_values",
        "type": "application",
        "owner": {"name": "a", "email": "a@example.com"},
        "depends_on": ["ref('odd')"],
        "config": {"meta": {"statsig": {"object": "segment", "segment_id": "odd", "mode": "mirror"}}},
    }
    (folder / "models" / "odd.yml").write_text(json.dumps({"models": models, "exposures": [exposure]}))


def _build_log(folder: Path) -> list[Any]:
    """What the hooks have written: what does not depend on the moment, nor on the warehouse's name."""
    query = "select record, unique_id, resource_type, status, failures from {{ ref('statsig_build_log') }}"
    found = dbt(folder, "show", "--inline", f"{query} where unique_id is not null", "--limit", "-1", "--output", "json")
    assert found.returncode == 0, found.stdout
    text = found.stdout[found.stdout.index("{") :]
    shown = json.JSONDecoder().raw_decode(text)[0]["show"]
    return sorted([list(row.values()) for row in shown], key=str)
