"""Reading manifest.json and run_results.json."""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sync.core.graph import Node, NodeRun, Relation
from sync.edges.artifacts import Arguments, Artifacts, Command, read_artifacts, read_command, read_written
from sync.errors import ConfigError
from sync.spec.model import Exposure, Labels

MANIFEST: dict[str, Any] = {
    "metadata": {
        "dbt_schema_version": "https://schemas.getdbt.com/dbt/manifest/v12.json",
        "invocation_id": "invocation-1",
        "adapter_type": "duckdb",
        "project_name": "shop",
        "dbt_version": "1.11.0",
    },
    "nodes": {
        "model.shop.audience": {
            "name": "audience",
            "resource_type": "model",
            "relation_name": '"shop"."main"."audience"',
            "depends_on": {"macros": [], "nodes": ["source.shop.raw.customers"]},
            "config": {"materialized": "table"},
        },
        "test.shop.unique": {
            "name": "unique",
            "resource_type": "test",
            "relation_name": None,
            "depends_on": {"nodes": ["model.shop.audience"]},
            "attached_node": "model.shop.audience",
            "test_metadata": {"name": "unique", "kwargs": {"column_name": "user_id"}},
            "column_name": "user_id",
        },
        "model.shop.buyers.v2": {"name": "buyers", "version": 2, "resource_type": "model"},
    },
    "sources": {"source.shop.raw.customers": {"name": "customers", "resource_type": "source"}},
    "unit_tests": {
        "unit_test.shop.logic": {
            "name": "logic",
            "resource_type": "unit_test",
            "depends_on": {"nodes": ["model.shop.audience"]},
        }
    },
    "exposures": {
        "exposure.shop.buyers": {
            "name": "buyers",
            "original_file_path": "models/exposures.yml",
            "depends_on": {"nodes": ["model.shop.audience"]},
            "config": {"enabled": True, "meta": {"statsig": {"object": "segment"}}},
        },
        "exposure.shop.dashboard": {"name": "dashboard", "depends_on": {"nodes": []}, "config": {}},
    },
    "macros": {},
}
RESULTS: dict[str, Any] = {
    "metadata": {
        "dbt_schema_version": "https://schemas.getdbt.com/dbt/run-results/v6.json",
        "invocation_id": "invocation-2",
        "generated_at": "2026-10-01T11:00:00.500000+02:00",
    },
    "args": {"which": "build", "threads": 4, "target": "prod", "profile": "shop", "profiles_dir": "/home/ann/.dbt"},
    "results": [
        {
            "unique_id": "model.shop.audience",
            "status": "success",
            "timing": [
                {"name": "compile", "started_at": "2026-10-01T08:57:00Z", "completed_at": "2026-10-01T08:58:00Z"},
                {"name": "execute", "started_at": "2026-10-01T08:58:00Z", "completed_at": "2026-10-01T08:59:00Z"},
            ],
        },
        {"unique_id": "test.shop.unique", "status": "pass", "failures": 0},
        {"unique_id": "model.shop.gone", "status": "error", "timing": []},
    ],
    "elapsed_time": 1.5,
}


def read_results(file: Path) -> Artifacts:
    """Results beside a manifest that is as it should be."""
    manifest = file.with_name("manifest.json")
    manifest.write_text(json.dumps(MANIFEST))
    return read_artifacts(manifest, file)


def read_graph(path: Path) -> Any:
    return read_written(path).graph


READERS: list[tuple[Callable[[Path], Any], dict[str, Any]]] = [(read_graph, MANIFEST), (read_results, RESULTS)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "artifact.json"


def read(reader: Callable[[Path], Any], file: Path, content: Any) -> Any:
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return reader(file)


def the_problem(reader: Callable[[Path], Any], file: Path, content: Any) -> str:
    with pytest.raises(ConfigError) as raised:
        read(reader, file, content)
    (fault,) = raised.value.faults
    assert fault.where == str(file)
    return fault.message


def changed(artifact: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of the artifact in which the value at ``path`` is another."""
    found = copy.deepcopy(artifact)
    *parents, last = path.split("/")
    inner = found
    for name in parents:
        inner = inner[name]
    inner[last] = value
    return found


def test_a_manifest_is_read_as_far_as_a_sync_needs_it(file: Path) -> None:
    graph = read(read_graph, file, MANIFEST)
    assert graph.project_name == "shop"
    assert graph.nodes["model.shop.audience"] == Node(
        "model.shop.audience",
        "model",
        "audience",
        ("source.shop.raw.customers",),
        '"shop"."main"."audience"',
        materialized="table",
    )
    assert graph.nodes["test.shop.unique"] == Node(
        "test.shop.unique",
        "test",
        "unique",
        ("model.shop.audience",),
        attached_to="model.shop.audience",
        test_name="unique",
        test_column="user_id",
    )
    assert graph.nodes["model.shop.buyers.v2"].name == "buyers.v2"
    assert {"source.shop.raw.customers", "unit_test.shop.logic"} <= graph.nodes.keys()
    assert graph.exposures == (
        Exposure("buyers", "models/exposures.yml", ("model.shop.audience",), {"object": "segment"}),
    )


def test_run_results_are_read_as_far_as_a_sync_needs_them(file: Path) -> None:
    found = read(read_results, file, RESULTS)
    assert (found.invocation_id, found.results_invocation_id) == ("invocation-1", "invocation-2")
    assert (found.arguments, found.left_out_rows) == (Arguments("build", "prod", "shop", "/home/ann/.dbt"), None)
    assert found.built_at == dt.datetime(2026, 10, 1, 9, 0, 0, 500_000)
    assert found.ledgers == {"audience": Relation('"shop"."main"."audience"', "table")}
    assert found.runs == {
        "model.shop.audience": NodeRun(
            "model.shop.audience",
            "model",
            "audience",
            "success",
            "invocation-2",
            "build",
            started_at=dt.datetime(2026, 10, 1, 8, 58),
            completed_at=dt.datetime(2026, 10, 1, 8, 59),
        ),
        "test.shop.unique": NodeRun("test.shop.unique", "test", "unique", "pass", "invocation-2", "build", failures=0),
        "model.shop.gone": NodeRun("model.shop.gone", "", "model.shop.gone", "error", "invocation-2", "build"),
    }


def test_the_command_that_wrote_results_is_known_where_they_can_be_read(file: Path) -> None:
    assert read_command(file) is None
    file.write_text(json.dumps(RESULTS))
    arguments = Arguments("build", "prod", "shop", "/home/ann/.dbt")
    found = read_command(file)
    assert found is not None
    assert (found.invocation_id, found.arguments) == ("invocation-2", arguments)
    file.write_text(json.dumps(changed(RESULTS, "metadata/generated_at", "2026-10-01T11:00:00+02:00")))
    assert read_command(file) == Command("invocation-2", arguments, False, dt.datetime(2026, 10, 1, 9))
    for content in ("", "{}", json.dumps(MANIFEST), json.dumps(changed(RESULTS, "args/which", 5))):
        file.write_text(content)
        assert read_command(file) is None


@pytest.mark.parametrize(("option", "value"), [("empty", True), ("sample", "3 days")])
def test_a_build_that_left_rows_out_is_noticed(file: Path, option: str, value: Any) -> None:
    assert read(read_results, file, changed(RESULTS, f"args/{option}", value)).left_out_rows == f"--{option}"
    assert read(read_results, file, changed(RESULTS, f"args/{option}", None)).left_out_rows is None


EXPOSURE = "exposures/exposure.shop.buyers"


def metas(file: Path, exposure: dict[str, Any]) -> list[Any]:
    whole = {"name": "buyers", "depends_on": {"nodes": []}, **exposure}
    return [one.meta for one in read(read_graph, file, changed(MANIFEST, EXPOSURE, whole)).exposures]


def test_meta_is_read_below_config_and_else_where_it_was_before(file: Path) -> None:
    assert metas(file, {"config": {"meta": {"statsig": 1}}}) == [1]
    assert metas(file, {"meta": {"statsig": 2}}) == [2]
    assert metas(file, {"config": {"meta": {"statsig": 1}}, "meta": {"statsig": 2}}) == [1]
    assert metas(file, {"config": {"meta": {"owner": "x"}}, "meta": {"statsig": 2}}) == [2]
    assert metas(file, {"config": {"meta": None}, "meta": None}) == []


@pytest.mark.parametrize(
    ("exposure", "labels"),
    [
        (
            {"description": "Who buys often.", "owner": {"name": "Growth", "email": "growth@example.com"}},
            Labels("Who buys often.", (), "growth@example.com"),
        ),
        ({"owner": {"name": "Growth", "email": None}}, Labels()),
        ({"owner": {"email": ["", "ann@example.com", "bob@example.com"]}}, Labels("", (), "ann@example.com")),
        ({"tags": ["growth", "pii", "growth"]}, Labels("", ("growth", "pii"))),
        ({"tags": ["old"], "config": {"tags": ["new"]}}, Labels("", ("new",))),
        ({"tags": "one"}, Labels("", ("one",))),
        ({"description": None, "owner": "Growth", "tags": {"a": 1}}, Labels()),
    ],
)
def test_what_an_exposure_says_of_itself_is_read_leniently(
    file: Path, exposure: dict[str, Any], labels: Labels
) -> None:
    config = {**exposure.get("config", {}), "meta": {"statsig": 1}}
    whole = {"name": "buyers", "depends_on": {"nodes": []}, **exposure, "config": config}
    (found,) = read(read_graph, file, changed(MANIFEST, EXPOSURE, whole)).exposures
    assert found.labels == labels


@pytest.mark.parametrize("meta", [None, [], "segment", 5, {"object": []}])
def test_whatever_stands_under_statsig_is_a_sync_to_check(file: Path, meta: Any) -> None:
    assert metas(file, {"config": {"meta": {"statsig": meta}}}) == [meta]


def test_an_exposure_that_is_switched_off_is_no_sync(file: Path) -> None:
    assert metas(file, {"config": {"enabled": False, "meta": {"statsig": 1}}}) == []


@pytest.mark.parametrize(("reader", "artifact"), READERS)
def test_keys_that_are_not_known_do_not_matter(
    file: Path, reader: Callable[[Path], Any], artifact: dict[str, Any]
) -> None:
    more = changed(changed(artifact, "of_the_future", {"deep": [1]}), "metadata/more", [])
    assert read(reader, file, more) == read(reader, file, artifact)


@pytest.mark.parametrize(("reader", "artifact"), READERS)
def test_an_artifact_that_is_missing_names_the_command_that_writes_it(
    file: Path, reader: Callable[[Path], Any], artifact: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="dbt build"):
        reader(file)
    file.mkdir()
    with pytest.raises(ConfigError, match="dbt build"):
        reader(file)


@pytest.mark.parametrize(("reader", "artifact"), READERS)
def test_an_artifact_that_is_cut_off_anywhere_is_a_fault(
    file: Path, reader: Callable[[Path], Any], artifact: dict[str, Any]
) -> None:
    whole = json.dumps(artifact).encode()
    for length in range(0, len(whole), 7):
        assert "dbt build" in the_problem(reader, file, whole[:length])


@pytest.mark.parametrize(("reader", "artifact"), READERS)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"5",
        b'"manifest"',
        b"\xff\xfe",
        b"\x00",
        b"<html>",
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"metadata": {"dbt_schema_version": "\xff"}}',
        b"\xef\xbb\xbf{}",
        b"{} trailing",
    ],
)
def test_what_is_no_artifact_is_a_fault(
    file: Path, reader: Callable[[Path], Any], artifact: dict[str, Any], content: bytes
) -> None:
    the_problem(reader, file, content)


@pytest.mark.parametrize(
    ("reader", "artifact", "version"),
    [
        (read_graph, MANIFEST, "https://schemas.getdbt.com/dbt/manifest/v11.json"),
        (read_graph, MANIFEST, "https://schemas.getdbt.com/dbt/manifest/v1.json"),
        (read_results, RESULTS, "https://schemas.getdbt.com/dbt/run-results/v5.json"),
        *(
            (reader, artifact, version)
            for reader, artifact in READERS
            for version in (
                "",
                "v12",
                "12",
                "/v.json",
                "/vtwelve.json",
                "/v-12.json",
                f"/v{'9' * 5000}.json",
                "/v\u0663\u0664",
            )
        ),
    ],
)
def test_an_artifact_of_an_older_or_unknown_schema_is_a_fault_that_says_what_is_needed(
    file: Path, reader: Callable[[Path], Any], artifact: dict[str, Any], version: str
) -> None:
    problem = the_problem(reader, file, changed(artifact, "metadata/dbt_schema_version", version))
    assert "or later is needed" in problem


@pytest.mark.parametrize(("reader", "artifact"), READERS)
@pytest.mark.parametrize("version", ["/v12.json", "/v13.json", "/v20.json", "https://a.example/dbt/x/v100"])
def test_a_newer_schema_is_read(
    file: Path, reader: Callable[[Path], Any], artifact: dict[str, Any], version: str
) -> None:
    read(reader, file, changed(artifact, "metadata/dbt_schema_version", version))


WRONG_IN_MANIFEST: list[tuple[str, Any]] = [
    ("metadata", None),
    ("metadata/invocation_id", None),
    ("metadata/invocation_id", 5),
    ("nodes", None),
    ("nodes", []),
    ("nodes/model.shop.audience", None),
    ("nodes/model.shop.audience/name", 5),
    ("nodes/model.shop.audience/depends_on", ["a"]),
    ("nodes/model.shop.audience/depends_on", {"nodes": [5]}),
    ("nodes/model.shop.audience/relation_name", ["a"]),
    ("exposures", []),
    (EXPOSURE, "buyers"),
    (f"{EXPOSURE}/config/meta", []),
    (f"{EXPOSURE}/config/enabled", "yes"),
]
WRONG_IN_RESULTS: list[tuple[str, Any]] = [
    ("results", None),
    ("results", {}),
    ("results", [None]),
    ("results", [{"unique_id": "model.shop.audience"}]),
    ("results", [{"unique_id": 5, "status": "pass"}]),
    ("args", []),
    ("args/which", 5),
]


@pytest.mark.parametrize(("path", "value"), WRONG_IN_MANIFEST)
def test_a_value_of_the_wrong_type_in_a_manifest_is_a_fault(file: Path, path: str, value: Any) -> None:
    the_problem(read_graph, file, changed(MANIFEST, path, value))


@pytest.mark.parametrize(("path", "value"), WRONG_IN_RESULTS)
def test_a_value_of_the_wrong_type_in_run_results_is_a_fault(file: Path, path: str, value: Any) -> None:
    the_problem(read_results, file, changed(RESULTS, path, value))


def test_what_is_no_number_of_json_is_read_as_text(file: Path) -> None:
    manifest = copy.deepcopy(MANIFEST)
    name = next(iter(manifest["exposures"]))
    odd = {"guard": {"max_times_usual": float("inf")}, "others": [float("-inf"), float("nan")]}
    manifest["exposures"][name]["config"]["meta"] = {"statsig": odd}
    # What another tool writes for itself does not matter.
    manifest["nodes"]["model.shop.odd"] = {"name": "odd", "resource_type": "model", "meta": {"bound": float("inf")}}
    found = [exposure.meta for exposure in read(read_graph, file, manifest).exposures]
    assert {"guard": {"max_times_usual": "inf"}, "others": ["-inf", "nan"]} in found
    the_problem(read_graph, file, b'{"metadata": NaN}')
    the_problem(read_graph, file, b'{"metadata": NaN')


def test_the_artifact_of_the_other_kind_is_a_fault(file: Path) -> None:
    the_problem(read_graph, file, RESULTS)
    the_problem(read_results, file, MANIFEST)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to everything within a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in items for place in places(item, (*path, key)))]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)


@pytest.mark.parametrize(("reader", "artifact"), READERS)
@settings(max_examples=max(150, settings().max_examples), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_stands_in_an_artifact_is_read_or_is_a_fault(
    file: Path, reader: Callable[[Path], Any], artifact: dict[str, Any], data: st.DataObject
) -> None:
    whole = [copy.deepcopy(artifact)]
    place = data.draw(st.sampled_from(places(artifact)))
    inner: Any = whole
    for key in (0, *place)[:-1]:
        inner = inner[key]
    inner[(0, *place)[-1]] = data.draw(json_values)
    with contextlib.suppress(ConfigError):
        read(reader, file, whole[0])


@pytest.mark.parametrize(("reader", "artifact"), READERS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60))
def test_no_bytes_are_an_error_of_another_kind(
    file: Path, reader: Callable[[Path], Any], artifact: dict[str, Any], content: bytes
) -> None:
    the_problem(reader, file, content)
