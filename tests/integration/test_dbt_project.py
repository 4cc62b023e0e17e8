"""The dbt project, built by the real dbt on a copy of it with a DuckDB file of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

import sync

ROOT = Path(__file__).parents[2]
DBT = Path(sys.executable).with_name("dbt")
PROJECT_PARTS = ("dbt_project.yml", "models", "macros", "seeds", "tests/dbt")

LEDGERS = {
    "statsig_run_log": """
        run_id varchar not null, sync_name varchar not null, state varchar not null, logged_at timestamp not null,
        lease_expires_at timestamp, holder varchar, object varchar, mode varchar, project varchar,
        destination varchar, model varchar, unique_key varchar, dbt_invocation_id varchar, sync_version varchar,
        overrides varchar, event_name varchar, renamed_from varchar, metadata_columns varchar, events_from timestamp,
        events_until timestamp, notes varchar, rows_read bigint, rows_rejected bigint, adds_planned bigint,
        removes_planned bigint, events_planned bigint,
        keys_accepted bigint, keys_rejected bigint, keys_unsent bigint, keys_unknown bigint, requests bigint,
        message varchar""",
    "statsig_batch_log": """
        batch_id varchar not null, run_id varchar not null, sync_name varchar not null, project varchar not null,
        destination varchar not null, operation varchar not null, state varchar not null,
        logged_at timestamp not null, sequence bigint not null, keys bigint not null, body_bytes bigint,
        attempts bigint, http_status bigint, elapsed_ms bigint, message varchar""",
    "statsig_changelog": """
        batch_id varchar not null, sync_name varchar not null, operation varchar not null, key varchar not null,
        row_hash varchar, event_name varchar, event_time timestamp, logged_at timestamp not null""",
    "statsig_reject_log": """
        run_id varchar not null, sync_name varchar not null, project varchar not null, logged_at timestamp not null,
        key varchar, row_hash varchar not null, reason varchar not null, detail varchar, effect varchar not null,
        row_count bigint not null, batch_id varchar, http_status bigint""",
    "statsig_drift_log": """
        run_id varchar not null, sync_name varchar not null, logged_at timestamp not null, project varchar not null,
        segment_id varchar not null, id varchar not null, drift varchar not null""",
    "statsig_arrival_log": """
        run_id varchar not null, sync_name varchar not null, logged_at timestamp not null, project varchar not null,
        event_name varchar, kind varchar not null, key varchar, day date, expected bigint, counted bigint,
        verdict varchar not null""",
    "statsig_build_log": """
        invocation_id varchar not null, record varchar not null, logged_at timestamp not null,
        project_name varchar not null, profile_name varchar not null, target_name varchar not null,
        target_database varchar, target_schema varchar, command varchar not null, dbt_version varchar,
        package_version varchar, unique_id varchar, resource_type varchar, name varchar, status varchar,
        relation_name varchar, started_at timestamp, completed_at timestamp, failures bigint, left_out_rows varchar,
        made_anew boolean, parents varchar, tests varchar, syncs varchar, graph varchar, ledgers varchar,
        lineage_hash varchar, known_syncs varchar""",
}
# The others are the sync's.
FILLED_BY_DBT = "statsig_build_log"
VIEWS = {
    "statsig_batches": """batch_id run_id sync_name project destination operation state sequence keys body_bytes
        attempts http_status elapsed_ms message claimed_at settled_at""",
    "statsig_deliveries": """sync_name project destination operation key row_hash event_name event_time state
        batch_id run_id sequence claimed_at settled_at""",
    "statsig_membership": "project segment_id id status doubt",
    "statsig_members": "project segment_id id status",
    "statsig_event_hours": "sync_name project event_name first_hour hour events last_settled_at",
    "statsig_unsettled": "sync_name project destination operation key batch_id run_id claimed_at message",
    "statsig_invocations": """project_name profile_name target_name target_database target_schema invocation_id command
        dbt_version package_version logged_at syncs graph ledgers lineage_hash known_syncs""",
    "statsig_node_runs": """project_name profile_name target_name target_database target_schema unique_id resource_type
        name invocation_id command status relation_name started_at completed_at logged_at failures left_out_rows parents
        overwritten_by tests""",
}


@dataclass(frozen=True)
class Run:
    """What one run of dbt left behind."""

    exit_code: int
    output: str
    results: Mapping[str, Mapping[str, Any]]
    """What ``run_results.json`` says of each node, by the last part of its unique id that is a name."""

    def statuses(self) -> set[str]:
        return {result["status"] for result in self.results.values()}


@dataclass(frozen=True)
class Project:
    """A folder with a dbt project, and the DuckDB file that it builds into."""

    folder: Path
    database: Path

    def dbt(self, *arguments: str) -> Run:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DBT_")}
        environment |= {
            "STATSIG_SYNC_DUCKDB": str(self.database),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "DBT_USE_COLORS": "false",
        }
        run_results = self.folder / "target" / "run_results.json"
        run_results.unlink(missing_ok=True)
        done = subprocess.run(
            [str(DBT), *arguments, "--profiles-dir", str(self.folder)],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        results = json.loads(run_results.read_text())["results"] if run_results.exists() else []
        by_name = {result["unique_id"].split(".")[2]: result for result in results}
        return Run(done.returncode, done.stdout + done.stderr, by_name)

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.database)) as connection:
            return connection.execute(sql, parameters).fetchall()

    def columns(self, relation: str) -> list[tuple[str, str, bool]]:
        rows = self.query(
            "select column_name, lower(data_type), is_nullable = 'YES' from information_schema.columns "
            "where table_name = ? order by ordinal_position",
            [relation],
        )
        return [(name, data_type, nullable) for name, data_type, nullable in rows]


def copy_of_the_project(folder: Path) -> Project:
    for part in PROJECT_PARTS:
        source, target = ROOT / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
    shutil.copy(ROOT / "profiles.example.yml", folder / "profiles.yml")
    return Project(folder, folder / "shop.duckdb")


@dataclass(frozen=True)
class Demo:
    """The project after a build for one day and a build under --full-refresh for the next, changed in between."""

    project: Project
    first: Run
    ledger_rows_after_first: Mapping[str, int]
    ledger_columns_after_first: Mapping[str, list[tuple[str, str, bool]]]
    buyers_after_first: set[int | None]
    orders_after_first: int
    second: Run


def buyers(project: Project) -> set[int | None]:
    return {row[0] for row in project.query("select customer_id from statsig_audience__demo_repeat_buyers")}


def orders(project: Project) -> int:
    return int(project.query("select count(*) from statsig_events__demo_orders")[0][0])


def add_columns_to_yaml(project: Project, model: str, columns: list[dict[str, object]]) -> None:
    path = project.folder / "models" / "statsig" / "_statsig__ledgers.yml"
    content = yaml.safe_load(path.read_text())
    next(entry for entry in content["models"] if entry["name"] == model)["columns"].extend(columns)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    project = copy_of_the_project(tmp_path_factory.mktemp("shop"))
    first = project.dbt(
        "build",
        *("--vars", '{as_of: "2026-10-31"}'),
        *("--warn-error-options", '{"error": ["Deprecations"]}'),
        "--show-all-deprecations",
    )
    assert first.results, first.output
    rows = {ledger: project.query(f"select count(*) from {ledger}")[0][0] for ledger in LEDGERS}
    columns = {ledger: project.columns(ledger) for ledger in LEDGERS}
    buyers_before, orders_before = buyers(project), orders(project)

    project.query(
        "insert into statsig_run_log by name select 'r' || i as run_id, 'orders' as sync_name, 'finished' as state, "
        "timestamp '2026-10-31 03:00:00' as logged_at from range(3) as runs(i)"
    )
    project.query("alter table statsig_reject_log add column reviewed_by varchar")
    project.query(
        "insert into statsig_reject_log by name select 'r1' as run_id, 'orders' as sync_name, 'statsig' as project, "
        "timestamp '2026-10-31 03:00:00' as logged_at, 'h' as row_hash, 'null_id' as reason, "
        "'not_sent' as effect, 1 as row_count, 'Ann' as reviewed_by"
    )
    add_columns_to_yaml(
        project,
        "statsig_run_log",
        [
            {"name": "cost", "description": "Cost.", "data_type": "decimal(10,2)"},
            {
                "name": "region",
                "description": "Region.",
                "data_type": "string",
                "constraints": [{"type": "not_null", "warn_unsupported": False}],
            },
        ],
    )
    second = project.dbt("build", "--full-refresh", "--exclude-resource-type", "unit_test")
    return Demo(project, first, rows, columns, buyers_before, orders_before, second)


def test_the_demo_builds_without_errors_and_without_deprecations(demo: Demo) -> None:
    assert demo.first.exit_code == 0, demo.first.output
    assert demo.first.statuses() == {"success", "pass", "warn", "no-op"}
    assert "deprecat" not in demo.first.output.lower()


def test_a_second_build_under_full_refresh_has_no_errors(demo: Demo) -> None:
    assert demo.second.exit_code == 0, demo.second.output
    assert demo.second.statuses() == {"success", "pass", "warn", "no-op"}


def test_ledgers_have_the_columns_types_and_nullability_that_the_sync_writes(demo: Demo) -> None:
    for ledger, definition in LEDGERS.items():
        wanted = []
        for column in definition.split(","):
            name, data_type, *rest = column.split()
            wanted.append((name, data_type, rest != ["not", "null"]))
        assert demo.ledger_columns_after_first[ledger] == wanted, ledger


def test_views_over_the_ledgers_have_the_columns_that_the_sync_reads(demo: Demo) -> None:
    for view, names in VIEWS.items():
        assert [name for name, _, _ in demo.project.columns(view)] == names.split(), view


def test_a_build_fills_no_ledger_but_its_own_log(demo: Demo) -> None:
    filled = {ledger for ledger, rows in demo.ledger_rows_after_first.items() if rows}
    assert filled == {FILLED_BY_DBT}
    assert demo.project.query("select count(*) from statsig_batch_log") == [(0,)]
    assert demo.project.query("select count(*) from statsig_changelog") == [(0,)]


def test_full_refresh_keeps_the_rows_of_a_ledger_and_says_how_many(demo: Demo) -> None:
    assert demo.project.query("select run_id, sync_name, state from statsig_run_log order by run_id") == [
        (f"r{number}", "orders", "finished") for number in range(3)
    ]
    kept = [line for line in demo.second.output.splitlines() if "--full-refresh does not touch a ledger" in line]
    assert len(kept) == len(LEDGERS)
    assert any("statsig_run_log" in line and "(3)" in line for line in kept)
    assert "--full-refresh does not touch a ledger" not in demo.first.output


def test_a_ledger_gets_the_columns_that_are_new_in_yaml_and_keeps_its_rows(demo: Demo) -> None:
    assert demo.project.columns("statsig_run_log")[-2:] == [
        ("cost", "decimal(10,2)", True),
        ("region", "varchar", True),
    ]
    assert demo.project.query("select cost, region from statsig_run_log") == [(None, None)] * 3
    assert "got the column cost" in demo.second.output
    assert "so the column is nullable although YAML says not null" in demo.second.output


def test_a_ledger_keeps_a_column_that_yaml_lacks(demo: Demo) -> None:
    assert demo.project.query("select reviewed_by from statsig_reject_log") == [("Ann",)]


def test_ledgers_carry_their_descriptions_into_the_warehouse(demo: Demo) -> None:
    (comment,) = demo.project.query(
        "select comment from duckdb_columns() where table_name = 'statsig_batch_log' and column_name = 'sequence'"
    )[0]
    assert comment.startswith("The order of the batches")


def test_a_new_day_brings_adds_removes_and_events(demo: Demo) -> None:
    buyers_after, orders_after = buyers(demo.project), orders(demo.project)
    assert len(buyers_after - demo.buyers_after_first) >= 10
    assert len(demo.buyers_after_first - buyers_after) >= 10
    assert orders_after - demo.orders_after_first >= 50
    assert len(buyers_after) >= 300


def test_one_audience_is_above_the_size_at_which_statsig_distributes_a_list_more_slowly(demo: Demo) -> None:
    [(devices,)] = demo.project.query("select count(distinct device_id) from statsig_audience__demo_beta_testers")
    assert devices > 1_000


def test_the_demo_has_dirt_of_every_kind_behind_warnings(demo: Demo) -> None:
    warned = {name for name, result in demo.first.results.items() if result["status"] == "warn"}
    for kind in ("usable_id", "unique", "json_object", "valid_event_name", "has_identifier"):
        assert any(name.startswith(f"{kind}_statsig_") for name in warned), kind


def manifest(project: Project) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((project.folder / "target" / "manifest.json").read_text())
    return content


def test_every_model_has_a_contract_and_describes_every_column(demo: Demo) -> None:
    nodes = manifest(demo.project)["nodes"].values()
    models = [node for node in nodes if node["resource_type"] == "model"]
    assert models
    for model in models:
        assert model["config"]["contract"]["enforced"], model["name"]
        assert model["description"], model["name"]
        undescribed = [name for name, column in model["columns"].items() if not column["description"]]
        assert not undescribed, model["name"]


def test_every_macro_of_the_project_is_described(demo: Demo) -> None:
    macros = [macro for macro in manifest(demo.project)["macros"].values() if macro["package_name"] == "statsig_sync"]
    for macro in macros:
        if macro["name"].startswith(("default__", "duckdb__", "postgres__")):
            continue
        assert macro["description"], macro["name"]
        if not macro["name"].startswith("materialization_"):
            assert all(argument["description"] for argument in macro["arguments"]), macro["name"]


def test_exposures_are_syncs_of_one_model_each_and_no_segment_has_two(demo: Demo) -> None:
    exposures = manifest(demo.project)["exposures"].values()
    assert all(len(exposure["depends_on"]["nodes"]) == 1 for exposure in exposures)
    syncs = {exposure["name"]: exposure["config"]["meta"]["statsig"] for exposure in exposures}
    segments = [sync for sync in syncs.values() if sync["object"] == "segment"]
    assert sorted(sync["mode"] for sync in segments) == ["add", "mirror", "remove"]
    assert len({sync["segment_id"] for sync in segments}) == len(segments)
    events = [sync for sync in syncs.values() if sync["object"] == "events"]
    assert sorted("event_name" in sync for sync in events) == [False, True]


def test_columns_that_an_exposure_names_are_in_its_model(demo: Demo) -> None:
    content = manifest(demo.project)
    for exposure in content["exposures"].values():
        (node,) = exposure["depends_on"]["nodes"]
        sync = exposure["config"]["meta"]["statsig"]
        named = {*sync.get("columns", {}).values(), *sync.get("custom_ids", {}).values(), *sync.get("exclude", [])}
        named |= {sync["unique_key"]} if "unique_key" in sync else set()
        assert named <= set(content["nodes"][node]["columns"]), exposure["name"]


def test_both_halves_say_the_same_version(demo: Demo) -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    [python] = re.findall(r'^version = "(.+)"$', pyproject, re.MULTILINE)
    package = yaml.safe_load((ROOT / "dbt_project.yml").read_text())["version"]
    logged = demo.project.query("select distinct package_version from statsig_build_log")
    assert {sync.__version__, python, package} == {sync.__version__}
    assert logged == [(sync.__version__,)]


def test_a_build_writes_down_its_syncs_what_they_rest_on_and_what_became_of_it(demo: Demo) -> None:
    [(exposures, graph, command)] = demo.project.query(
        "select syncs, graph, command from statsig_invocations where target_name = 'dev'"
    )
    content = manifest(demo.project)
    syncs = {one["name"]: one for one in json.loads(exposures)}
    assert {name: one["meta"] for name, one in syncs.items()} == {
        one["name"]: one["config"]["meta"]["statsig"] for one in content["exposures"].values()
    }
    found = json.loads(graph)
    for unique_id, node in found["nodes"].items():
        written = (content["nodes"] | content["sources"])[unique_id]
        assert node["parents"] == written.get("depends_on", {}).get("nodes", [])
        assert node["relation"] == written["relation_name"]
    attached = {
        unique_id
        for unique_id, node in content["nodes"].items()
        if node["resource_type"] == "test" and set(node["depends_on"]["nodes"]) & set(found["nodes"])
    }
    assert set(found["tests"]) <= attached
    runs = dict(demo.project.query("select unique_id, status from statsig_node_runs"))
    assert set(runs) >= {*found["nodes"], *found["tests"]}
    assert set(runs.values()) <= {"success", "pass", "warn"}
    assert command == "build"


def test_the_seeds_are_what_their_generator_writes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(ROOT / "scripts" / "generate_seeds.py"), str(tmp_path)], check=True)
    seeds = sorted(path.name for path in (ROOT / "seeds").glob("*.csv"))
    assert sorted(path.name for path in tmp_path.iterdir()) == seeds
    for name in seeds:
        assert (tmp_path / name).read_bytes() == (ROOT / "seeds" / name).read_bytes(), name
        assert (tmp_path / name).stat().st_size < 1024 * 1024, name


BAD_EVENT_NAMES: list[str | None] = [
    *(f"page{character}view" for character in "\\[]{}<>#=;&$%|\0\r\n"),
    *("", "  ", "\t", "x" * 128, None),
]
GOOD_EVENT_NAMES: list[str | None] = ["page_view", "Page view: 'home'", "x" * 127, "Bestellung ✓", 'a"b.c/d@e!f^g~h`']

BAD_JSON: list[str | None] = [
    *("", "  ", "null", "1", '"text"', "[1]", '[{"a": 1}]', "{", '{"a": 1', "{'a': 1}", "{a: 1}", "text"),
    *('{"a": NaN}', '{"a": nan}', '{"a": Infinity}', '{"a": -Infinity}', '{"a": inf}'),
    *('{"a": 1,}', '{"a": [1, ]}', '{"a": {"b": 1,\n}}', '{"a": "NaN", "b": NaN}', '{"a": 1} {"b": 2}'),
    *('/* c */ {"a": 1}', '{"a": 01}', '{"a": +1}', '{"a": True}'),
    *('{"a": 1, "a": 1}', '{"a": 1, "b": 2, "a": null}', r'{"a": 1, "\u0061": 2}', '{"": 1, "": 2}'),
    *('{"a": 1e400}', '{"a": [1, -1E+999]}'),
]
GOOD_JSON: list[str | None] = [
    *("{}", " {} ", '{"a": 1}', '{"a": null, "b": [true, false], "c": {"d": -1.5e-10}}', None),
    *('{"a": 1, "A": 1}', '{"a": "a", "b": "a"}'),
    *(
        '{"a": "NaN, Infinity,]"}',
        '{"NaN": ",}"}',
        r'{"a": "\",}", "b": "inf"}',
        '{"a": "1e400", "b": 1e308}',
        '{"a": "é ✓ \\u00e9"}',
    ),
]

BAD_IDS: list[str | None] = [
    *("", " ", " \t ", " 42", "42 ", "\t42", "42\n", "\r42", "42\u00a0", "\u00a042", "42\u2003", "\u300042"),
    *("42\u0085", "42\u2028", None),
]
GOOD_IDS: list[str | None] = ["42", "Ann Smith", "0", "a\tb", "72ee5703-cf36-4195-8295-4257319f7b7a", "'; --", "✓"]

COLUMN_TESTS: dict[str, tuple[list[str | None], list[str | None]]] = {
    "valid_event_name": (BAD_EVENT_NAMES, GOOD_EVENT_NAMES),
    "json_object": (BAD_JSON, GOOD_JSON),
    "usable_id": (BAD_IDS, GOOD_IDS),
}

# The most characters of each kind that Statsig surely keeps.
LIMITS = {"event_name": 64, "event_value": 64, "metadata_value": 64, "id": 64, "json": 4096}

# Values whose text form is not a plain cast: their kind, in SQL, and whether what is sent is too long.
SENT_AS = {
    # 65 characters, 62 in DuckDB's own form.
    "list": (
        "metadata_value",
        "['aaaaaaaaaaaaaaaa', 'bbbbbbbbbbbbbbbb', 'cccccccccccccccc', 'dddd']",
        True,
    ),
    "short_list": ("metadata_value", "['aaaaaaaaaaaaaaaa', 'bbbbbbbbbbbbbbbb', 'cccccccccccccccc', 'ddd']", False),
    "blob": ("metadata_value", "repeat('x', 40)::blob", True),
    # 62 characters, 124 in DuckDB's own form.
    "short_blob": ("metadata_value", r"unhex(repeat('00', 31))", False),
    "no_list": ("metadata_value", "null::varchar[]", False),
    "map": ("json", "map {'k': repeat('\"', 2060)}", True),
    "short_map": ("json", "map {'k': repeat('\"', 2044)}", False),
    # 4,391 characters with commas alone, 5,490 in DuckDB's own form.
    "numbers": ("json", "range(1100)", True),
    "short_numbers": ("json", "range(1020)", False),
    "struct": ("json", "{'k': repeat('x', 4089)}", True),
    "short_struct": ("json", "{'k': repeat('x', 4088)}", False),
    "time": ("metadata_value", "timestamptz '2026-01-01'", False),
    "enum": ("metadata_value", "'MAP]'::enum('MAP]')", False),
}

FIVE_IDS: list[tuple[object, ...]] = [(number,) for number in (1, 2, 2, 3, 4, 5, None)]
SIZE_TESTS: dict[str, dict[str, int]] = {
    "at_most_5": {"max_ids": 5},
    "at_most_4": {"max_ids": 4},
    "at_least_5": {"min_ids": 5},
    "at_least_6": {"min_ids": 6},
    "without_a_bound": {},
}


def probe_table(project: Project, name: str, columns: str, rows: Sequence[tuple[object, ...]]) -> None:
    project.query(f"create table {name} ({columns})")
    for row in rows:
        project.query(f"insert into {name} values ({', '.join('?' * len(row))})", row)


def column_test(name: str, test: str, arguments: dict[str, Any] | None = None) -> dict[str, Any]:
    return {test: {"name": name, **({"arguments": arguments} if arguments else {})}}


def source_table(name: str, column: str, tests: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": name, "columns": [{"name": column, "data_tests": tests}]}


def column_probes(project: Project) -> list[dict[str, Any]]:
    tables = []
    for test, samples in COLUMN_TESTS.items():
        for kind, values in zip(("bad", "good"), samples, strict=True):
            name = f"{kind}_{test}"
            probe_table(project, name, "value varchar", [(value,) for value in values])
            tables.append(source_table(name, "value", [column_test(f"probe_{name}", test)]))
    probe_table(project, "big_ids", "value hugeint", [(2**80,), (42,)])
    tables.append(source_table("big_ids", "value", [column_test("probe_big_ids", "usable_id")]))
    return tables


def size_probes(project: Project) -> list[dict[str, Any]]:
    probe_table(project, "sizes", "value bigint", FIVE_IDS)
    sizes = [column_test(f"probe_size_{name}", "audience_size", bound) for name, bound in SIZE_TESTS.items()]
    both = [{"relation": "source('probes', 'sizes')", "column": "value"}] * 2
    totals = [
        column_test(f"probe_total_{limit}", "total_audience_size", {"audiences": both, "max_ids": limit})
        for limit in (9, 10)
    ]
    totals.append(column_test("probe_total_default", "total_audience_size", {"audiences": both}))
    return [{**source_table("sizes", "value", sizes), "data_tests": totals}]


def identifier_probes(project: Project) -> list[dict[str, Any]]:
    rows: dict[str, list[tuple[object, ...]]] = {
        "good_identifiers": [(None, "d1"), (1, None), (1, " ")],
        "bad_identifiers": [(None, None), (None, " \t")],
    }
    tables = []
    for name, values in rows.items():
        probe_table(project, name, "user_id bigint, device_id varchar", values)
        test = column_test(f"probe_{name}", "has_identifier", {"columns": ["user_id", "device_id"]})
        tables.append({"name": name, "data_tests": [test]})
    return tables


def limit_probes(project: Project) -> list[dict[str, Any]]:
    tables = []
    for kind, limit in LIMITS.items():
        # Letters outside of ASCII count as one character each.
        rows: dict[str, list[tuple[object, ...]]] = {
            f"long_{kind}": [("x" * (limit + 1),), ("\u00e9" * (limit + 1),), ("short",), (None,)],
            f"short_{kind}": [("x" * limit,), ("\u00e9" * limit,), ("",), (None,)],
        }
        for name, values in rows.items():
            probe_table(project, name, "value varchar", values)
            test = column_test(f"probe_{name}", "within_statsig_limits", {"kind": kind})
            tables.append(source_table(name, "value", [test]))
    for name, (kind, value, _) in SENT_AS.items():
        project.query(f"create table sent_{name} as select {value} as value")
        limits = [column_test(f"probe_sent_{name}", "within_statsig_limits", {"kind": kind})]
        tables.append(source_table(f"sent_{name}", "value", limits))
    probe_table(project, "long_numbers", "value hugeint", [(2**100,)])
    test = column_test("probe_long_numbers", "within_statsig_limits", {"kind": "id"})
    odd = column_test("probe_long_of_another_kind", "within_statsig_limits", {"kind": "name"})
    return [*tables, source_table("long_numbers", "value", [test, odd])]


def ledger_model(name: str, **config: object) -> dict[str, Any]:
    columns = [{"name": "id", "data_type": "bigint"}, {"name": "state", "data_type": "string"}]
    return {
        "name": name,
        "config": {"materialized": "ledger", "contract": {"enforced": True}, **config},
        "columns": columns,
    }


def hook(sql: str, transaction: bool) -> dict[str, object]:
    return {"sql": f"insert into hook_calls {sql}", "transaction": transaction}


PROBE_LEDGERS = {
    "ledger_over_a_view": ledger_model("ledger_over_a_view"),
    "ledger_of_another_type": ledger_model("ledger_of_another_type"),
    "ledger_with_a_select": ledger_model("ledger_with_a_select"),
    "ledger_without_contract": ledger_model("ledger_without_contract", contract={"enforced": False}),
    "ledger_with_hooks": ledger_model(
        "ledger_with_hooks",
        pre_hook=[hook("select 1, 'before the transaction'", False), hook("select 2, 'in the transaction'", True)],
        post_hook=[
            hook("select 3, 'in the transaction, rows: ' || count(*) from {{ this }}", True),
            hook("select 4, 'after the transaction, rows: ' || count(*) from {{ this }}", False),
        ],
    ),
}


def probe_ledgers(project: Project) -> list[dict[str, Any]]:
    project.query("create view ledger_over_a_view as select 1 as id")
    project.query("create table ledger_of_another_type as select 7 as id, 'kept' as state")
    project.query("create table hook_calls (position integer, call varchar)")
    folder = project.folder / "models" / "probes"
    folder.mkdir()
    for name in PROBE_LEDGERS:
        sql = "select cast(1 as bigint) as id, 'filled' as state" if name == "ledger_with_a_select" else ""
        (folder / f"{name}.sql").write_text(sql or "{{ ledger_columns() }}")
    return list(PROBE_LEDGERS.values())


@dataclass(frozen=True)
class Probes:
    """A project that has only what is to fail, and what is to pass beside it."""

    project: Project
    run: Run


@pytest.fixture(scope="module")
def probes(tmp_path_factory: pytest.TempPathFactory) -> Probes:
    project = copy_of_the_project(tmp_path_factory.mktemp("probes"))
    for folder in ("models", "seeds", "tests"):
        shutil.rmtree(project.folder / folder)
    (project.folder / "models").mkdir()
    models = probe_ledgers(project)
    tables = column_probes(project) + size_probes(project) + identifier_probes(project) + limit_probes(project)
    sources = [{"name": "probes", "schema": "main", "tables": tables}]
    properties = project.folder / "models" / "probes" / "probes.yml"
    properties.write_text(yaml.safe_dump({"models": models, "sources": sources}, sort_keys=False))
    run = project.dbt("build")
    assert run.results, run.output
    return Probes(project, run)


@pytest.mark.parametrize("test", COLUMN_TESTS)
def test_a_generic_test_counts_every_bad_value(probes: Probes, test: str) -> None:
    bad, _ = COLUMN_TESTS[test]
    result = probes.run.results[f"probe_bad_{test}"]
    assert (result["status"], result["failures"]) == ("fail", len(bad)), result["message"]


@pytest.mark.parametrize("test", COLUMN_TESTS)
def test_a_generic_test_passes_on_good_values(probes: Probes, test: str) -> None:
    result = probes.run.results[f"probe_good_{test}"]
    assert (result["status"], result["failures"]) == ("pass", 0), result["message"]


@pytest.mark.parametrize("kind", LIMITS)
def test_what_statsig_may_trim_is_found(probes: Probes, kind: str) -> None:
    result = probes.run.results[f"probe_long_{kind}"]
    assert (result["status"], result["failures"]) == ("fail", 2), result["message"]
    assert probes.run.results[f"probe_short_{kind}"]["status"] == "pass"
    assert probes.run.results["probe_long_numbers"]["status"] == "pass"


@pytest.mark.parametrize("name", SENT_AS)
def test_what_is_measured_is_the_text_that_is_sent(probes: Probes, name: str) -> None:
    result = probes.run.results[f"probe_sent_{name}"]
    assert result["status"] == ("fail" if SENT_AS[name][2] else "pass"), result["message"]


def test_a_kind_that_has_no_limit_is_an_error(probes: Probes) -> None:
    result = probes.run.results["probe_long_of_another_kind"]
    assert result["status"] == "error"
    assert "needs kind: event_name, event_value, metadata_value, id or json; it is name" in result["message"]


def test_ids_that_are_numbers_are_usable(probes: Probes) -> None:
    assert probes.run.results["probe_big_ids"]["status"] == "pass"


def test_an_audience_is_refused_above_its_most_and_below_its_fewest_ids(probes: Probes) -> None:
    statuses = {name: probes.run.results[f"probe_size_{name}"]["status"] for name in SIZE_TESTS}
    assert statuses == {
        "at_most_5": "pass",
        "at_most_4": "fail",
        "at_least_5": "pass",
        "at_least_6": "fail",
        "without_a_bound": "error",
    }
    assert "max_ids, min_ids or both" in probes.run.results["probe_size_without_a_bound"]["message"]


def test_audiences_are_refused_when_they_are_too_many_together(probes: Probes) -> None:
    statuses = {limit: probes.run.results[f"probe_total_{limit}"]["status"] for limit in ("9", "10", "default")}
    assert statuses == {"9": "fail", "10": "pass", "default": "pass"}


def test_a_row_needs_one_identifier_that_is_not_blank(probes: Probes) -> None:
    assert probes.run.results["probe_good_identifiers"]["status"] == "pass"
    assert probes.run.results["probe_bad_identifiers"]["failures"] == 2


def test_a_view_in_the_place_of_a_ledger_is_an_error_and_stays(probes: Probes) -> None:
    result = probes.run.results["ledger_over_a_view"]
    assert result["status"] == "error"
    assert "There is a view where the ledger" in result["message"]
    assert probes.project.query("select id from ledger_over_a_view") == [(1,)]


def test_a_column_of_another_type_is_an_error_and_stays(probes: Probes) -> None:
    result = probes.run.results["ledger_of_another_type"]
    assert result["status"] == "error"
    assert "id is INTEGER in the table and BIGINT in YAML" in result["message"]
    assert probes.project.columns("ledger_of_another_type")[0] == ("id", "integer", True)
    assert probes.project.query("select * from ledger_of_another_type") == [(7, "kept")]


def test_a_ledger_whose_model_selects_rows_is_an_error(probes: Probes) -> None:
    result = probes.run.results["ledger_with_a_select"]
    assert result["status"] == "error"
    assert "is never filled by dbt" in result["message"]


def test_a_ledger_without_an_enforced_contract_is_an_error(probes: Probes) -> None:
    result = probes.run.results["ledger_without_contract"]
    assert result["status"] == "error"
    assert "needs an enforced contract" in result["message"]


def test_a_ledger_runs_its_hooks_before_in_and_after_its_transaction(probes: Probes) -> None:
    assert probes.run.results["ledger_with_hooks"]["status"] == "success"
    assert probes.project.query("select position, call from hook_calls") == [
        (1, "before the transaction"),
        (2, "in the transaction"),
        (3, "in the transaction, rows: 0"),
        (4, "after the transaction, rows: 0"),
    ]


def settings_of_the_readme() -> dict[str, Any]:
    """What README says to write into the ``dbt_project.yml`` of a project that uses this one as a package."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    [settings] = [block for block in blocks if "+enabled: false" in block]
    content: dict[str, Any] = yaml.safe_load(settings)
    return content


# Names that many projects have, and that the demo's models and seeds would have if they did not say whose they are.
HOST_MODELS = {
    "stg_orders": "select order_id, 'open' as order_state from {{ ref('raw_orders') }}",
    "stg_customers": "select 1 as id",
    "stg_page_views": "select 1 as id",
    "stg_marketing_opt_outs": "select 1 as id",
    "statsig_events__orders": "select order_id as id from {{ ref('stg_orders') }}",
    "statsig_events__page_views": "select 1 as id",
    "statsig_audience__repeat_buyers": "select 1 as id",
    "statsig_audience__beta_testers": "select 1 as id",
    "statsig_audience__marketing_opt_outs": "select 1 as id",
    "buyers": "select status, id from {{ ref('statsig_sync', 'statsig_members') }}",
    "audit_log": "{{ statsig_sync.ledger_columns() }}",
}
HOST_SEEDS = {
    "raw_orders": "order_id,state\n1,open\n2,\n",
    "raw_customers": "id\n1\n",
    "raw_page_views": "id\n1\n",
    "raw_marketing_opt_outs": "id\n1\n",
}
HOST_PROPERTIES = {
    "models": [
        ledger_model("audit_log"),
        {
            "name": "buyers",
            "columns": [
                {"name": "id", "data_tests": ["statsig_sync.usable_id"]},
                {"name": "status", "data_tests": ["statsig_sync.valid_event_name", "statsig_sync.json_object"]},
            ],
        },
        {"name": "stg_customers", "columns": [{"name": "id", "data_tests": ["unique"]}]},
    ]
}
HOST_TESTS = {
    "model.shop.buyers": {"usable_id", "valid_event_name", "json_object"},
    "model.shop.stg_customers": {"unique"},
}


@dataclass(frozen=True)
class Host:
    """Another project that has this one as a package, after a build."""

    project: Project
    build: Run


def host_of_the_package(folder: Path, settings: dict[str, Any]) -> Project:
    """Another project that has this one as a package, with these settings in its dbt_project.yml."""
    package = copy_of_the_project(folder / "package")
    project = Project(folder / "host", folder / "host.duckdb")
    for part in ("models", "seeds"):
        (project.folder / part).mkdir(parents=True)
    shutil.copy(package.folder / "profiles.yml", project.folder / "profiles.yml")
    set_up(project, settings)
    (project.folder / "packages.yml").write_text(yaml.safe_dump({"packages": [{"local": str(package.folder)}]}))
    deps = project.dbt("deps")
    assert deps.exit_code == 0, deps.output
    return project


def set_up(project: Project, settings: dict[str, Any]) -> None:
    """Writes the settings into dbt_project.yml."""
    named = {"name": "shop", "profile": "statsig_sync", **settings}
    (project.folder / "dbt_project.yml").write_text(yaml.safe_dump(named))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    project = host_of_the_package(tmp_path_factory.mktemp("package"), settings_of_the_readme())
    (project.folder / "models" / "models.yml").write_text(yaml.safe_dump(HOST_PROPERTIES))
    for name, sql in HOST_MODELS.items():
        (project.folder / "models" / f"{name}.sql").write_text(sql)
    for name, rows in HOST_SEEDS.items():
        (project.folder / "seeds" / f"{name}.csv").write_text(rows)
    return Host(project, project.dbt("build"))


def test_another_project_can_use_it_as_a_package_and_build_it(host: Host) -> None:
    assert host.build.exit_code == 0, host.build.output
    assert host.build.statuses() == {"success", "pass"}
    assert {*HOST_MODELS, *HOST_SEEDS, *LEDGERS, *VIEWS} <= set(host.build.results)
    assert not [name for name in host.build.results if "demo" in name]
    assert "[WARNING]" not in host.build.output
    assert host.project.columns("audit_log") == [("id", "bigint", True), ("state", "varchar", True)]
    assert host.project.query("select order_id, order_state from stg_orders order by all") == [(1, "open"), (2, "open")]


def test_nothing_of_the_demo_is_put_on_the_models_of_another_project(host: Host) -> None:
    content = manifest(host.project)
    nodes = content["nodes"]
    own = {name: node for name, node in nodes.items() if node["package_name"] == "shop"}
    tests: dict[str, set[str]] = {}
    for node in nodes.values():
        if node["resource_type"] == "test" and str(node["attached_node"]).startswith("model.shop."):
            tests.setdefault(node["attached_node"], set()).add(node["test_metadata"]["name"])
            assert node["package_name"] == "shop", node["name"]
    assert tests == HOST_TESTS
    described = {f"model.shop.{entry['name']}" for entry in HOST_PROPERTIES["models"]}
    for unique_id, node in own.items():
        if node["resource_type"] in ("model", "seed"):
            assert node["patch_path"] == ("shop://models/models.yml" if unique_id in described else None), unique_id
            assert node["config"].get("contract", {}).get("enforced", False) == (unique_id == "model.shop.audit_log")
    assert not [test for test in content["unit_tests"].values() if test["model"] in HOST_MODELS]


def test_every_node_of_the_demo_says_so_in_its_name(demo: Demo) -> None:
    """dbt looks the name of an entry in YAML up in all packages, so a plain name would be found in other projects."""
    content = manifest(demo.project)
    nodes = [*content["nodes"].values(), *content["unit_tests"].values()]
    folders = ("models/staging/", "models/marts/", "seeds/", "tests/dbt/")
    found = [node for node in nodes if node["original_file_path"].startswith(folders)]
    assert {node["resource_type"] for node in found} == {"model", "seed", "test", "unit_test"}
    assert not [node["name"] for node in found if "demo" not in node["name"]]


def test_a_ledger_is_not_made_anew_by_what_the_project_says_of_all_models(tmp_path: Path) -> None:
    settings = settings_of_the_readme()
    host = host_of_the_package(tmp_path, settings | {"models": {"+materialized": "table", **settings["models"]}})
    build = host.dbt("build", "--select", "statsig_changelog", "statsig_batch_log", "statsig_batches")
    assert build.exit_code != 0
    assert "statsig_changelog has to be materialized as a ledger" in build.output
    assert "below your project's own name in dbt_project.yml" in build.output
    assert host.columns("statsig_changelog") == []
    set_up(host, settings | {"models": {"shop": {"+materialized": "table"}, **settings["models"]}})
    build = host.dbt("build", "--select", "statsig_changelog", "statsig_batch_log", "statsig_batches")
    assert build.exit_code == 0, build.output


def test_a_view_of_the_ledgers_is_not_made_a_table(tmp_path: Path) -> None:
    settings = settings_of_the_readme()
    settings["models"]["statsig_sync"]["statsig"] = {"statsig_batches": {"+materialized": "table"}}
    host = host_of_the_package(tmp_path, settings)
    build = host.dbt("build", "--select", "statsig_batch_log", "statsig_batches")
    assert "statsig_batches has to be materialized as a view" in build.output
    assert build.results["statsig_batches"]["status"] == "error"


def test_the_views_of_the_ledgers_are_whole_after_an_empty_build(tmp_path: Path) -> None:
    project = copy_of_the_project(tmp_path / "project")
    assert project.dbt("build", "--empty", "--select", "path:models/statsig").exit_code == 0
    project.query(
        "insert into statsig_batch_log (batch_id, run_id, sync_name, project, destination, operation, state, logged_at,"
        " sequence, keys) values ('b', 'r', 's', 'p', 'd', 'add', 'accepted', now()::timestamp, 1, 1)"
    )
    project.query(
        "insert into statsig_changelog (batch_id, sync_name, operation, key, logged_at)"
        " values ('b', 's', 'add', 'ann', now()::timestamp)"
    )
    for view in ("statsig_batches", "statsig_deliveries", "statsig_membership", "statsig_members"):
        assert project.query(f"select count(*) from {view}") == [(1,)], view
