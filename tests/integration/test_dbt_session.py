"""What dbt saw in a view is what is sent: views that depend on the session, built and counted by the real dbt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.integration.harness import PACKAGE, Project, dbt
from tests.integration.stand_in import StandIn

RAW = """
select range as number, timestamptz '2026-07-01 00:00:00+00' + interval 1 hour * range as seen_at,
    case when range % 2 = 0 then 'ann' else 'ANN' end || (range // 2)::varchar as name
from range(40)
"""
# Which rows it has depends on the time zone, on the division and on the collation.
SEEN = """
select 'day-' || number::varchar as id from {raw} where seen_at::date = date '2026-07-02'
union all select 'half-' || (number / 2)::varchar from {raw} group by number / 2
union all select 'name-' || min(name) from {raw} group by name
"""
EVENTS = {"object": "events", "unique_key": "id", "event_name": "seen", "columns": {"user_id": "id"}, "backfill": "all"}
SEGMENT = {"object": "segment", "segment_id": "people", "mode": "mirror", "columns": {"user_id": "id"}}


def write_profile(project: Project, **output: Any) -> None:
    profile = {"type": "duckdb", "path": "warehouse.duckdb", **output}
    content = {PACKAGE: {"target": "dev", "outputs": {"dev": profile}}}
    (project.folder / "profiles.yml").write_text(json.dumps(content))


def build(project: Project, models: dict[str, str], syncs: dict[str, tuple[str, dict[str, Any]]]) -> None:
    """Builds models, the last one as a table, with exposures on them."""
    own = project.folder / "models" / "own"
    own.mkdir()
    for name, query in models.items():
        (own / f"{name}.sql").write_text(query)
    exposures = [
        {
            "name": name,
            "type": "application",
            "owner": {"name": "Ann"},
            "depends_on": [f"ref('{model}')"],
            "config": {"meta": {"statsig": meta}},
        }
        for name, (model, meta) in syncs.items()
    ]
    (own / "exposures.yml").write_text(json.dumps({"version": 2, "exposures": exposures}))
    built = dbt(project.folder, "build", "--exclude-resource-type", "unit_test", "test")
    assert built.returncode == 0, built.stdout + built.stderr


def seen_models(raw: str) -> dict[str, str]:
    return {
        "seen": SEEN.format(raw=raw),
        "counted": "{{ config(materialized='table') }} select id from {{ ref('seen') }}",
    }


def ids(file: Path, query: str) -> set[str]:
    with duckdb.connect(str(file), read_only=True) as connection:
        return {row[0] for row in connection.execute(query).fetchall()}


@pytest.mark.parametrize(
    ("environment", "output"),
    [
        ({"TZ": "UTC"}, {"settings": {"TimeZone": "Asia/Tokyo", "integer_division": True}}),
        (
            {"TZ": "America/New_York"},
            {"config_options": {"default_collation": "nocase", "integer_division": "true"}, "settings": {"threads": 1}},
        ),
    ],
    ids=["settings", "config_options and TZ"],
)
def test_what_dbt_saw_in_a_view_is_what_is_sent(
    project: Project,
    arrived: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    output: dict[str, Any],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    file = project.folder / "warehouse.duckdb"
    project.execute(f"create table raw as {RAW}")
    write_profile(project, **output)
    build(project, seen_models("raw"), {"seen_events": ("seen", EVENTS), "seen_people": ("seen", SEGMENT)})
    arrived.put_segment("people")
    saw = ids(file, "select id from counted")
    with duckdb.connect(str(file), read_only=True) as connection:
        connection.execute("set timezone = 'UTC'")
        # Otherwise this would prove nothing.
        assert saw != {row[0] for row in connection.execute("select id from seen").fetchall()}

    planned = {one["sync"]: one for one in project.plan()["syncs"]}
    assert planned["seen_events"]["rows_read"] == planned["seen_people"]["rows_read"] == len(saw)
    project.run()
    assert arrived.ids("people") == saw
    assert ids(file, "select key from statsig_deliveries where sync_name = 'seen_events'") == saw
    assert {one["sync"]: one["requests"] for one in project.plan()["syncs"]} == {"seen_events": 0, "seen_people": 0}

    # Nothing is forgotten that dbt still sees.
    for ledger in ("run_log", "batch_log", "changelog"):
        project.execute(f"update statsig_{ledger} set logged_at = logged_at - interval 400 day")
    assert project.command("prune", "--older-than", "180d").returncode == 0
    assert ids(file, "select key from statsig_deliveries where sync_name = 'seen_events'") == saw


def test_ledgers_and_models_may_be_in_an_attached_file_and_views_may_read_another(
    project: Project, arrived: StandIn
) -> None:
    with duckdb.connect(str(project.folder / "crm.duckdb")) as connection:
        connection.execute(f"create table raw as {RAW}")
    home = {"path": "shop.duckdb", "alias": "shop"}
    others = [{"path": "crm.duckdb", "alias": "crm", "read_only": True}]
    write_profile(
        project, path=":memory:", database="shop", attach=[*others, home], settings={"TimeZone": "Asia/Tokyo"}
    )
    build(project, seen_models("crm.main.raw"), {"seen_events": ("seen", EVENTS), "seen_people": ("seen", SEGMENT)})
    arrived.put_segment("people")
    saw = ids(project.folder / "shop.duckdb", "select id from counted")
    assert project.command("check").returncode == 0
    project.run()
    assert arrived.ids("people") == saw
    assert ids(project.folder / "shop.duckdb", "select key from statsig_deliveries where operation = 'log'") == saw
    assert project.command("prune", "--older-than", "1d").returncode == 0

    # What a view needs and does not find is a problem of its sync.
    (project.folder / "crm.duckdb").rename(project.folder / "gone.duckdb")
    said = project.plan(expect=1)
    assert {one["kind"] for one in said["refusals"]} == {"unreadable"}
    assert "crm.duckdb, which the profile attaches as crm, does not exist" in said["refusals"][0]["message"]
