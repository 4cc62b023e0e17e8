"""Reads dbt's artifacts: ``manifest.json`` and ``run_results.json``.

Only the parts that a sync needs are decoded, so other keys may come and go with dbt's versions. The shapes
are those of dbt's documentation, "Manifest JSON file" (v12 and later) and "Run results JSON file" (v6 and
later).
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from sync.core.graph import Graph, Node, NodeRun, Relation
from sync.errors import ConfigError, Fault
from sync.spec.model import Exposure, labels_of

_BUILD_HINT = "Run dbt build in the project first."
_SCHEMA_VERSION = re.compile(r"/v([0-9]{1,6})(?:\.json)?$")
_OLDEST_MANIFEST, _OLDEST_RESULTS = 12, 6


class _Metadata(msgspec.Struct):
    dbt_schema_version: str
    invocation_id: str
    project_name: str | None = None
    generated_at: dt.datetime | None = None


class _DependsOn(msgspec.Struct):
    nodes: list[str] = []


class _NodeConfig(msgspec.Struct):
    materialized: str | None = None


class _TestMetadata(msgspec.Struct):
    name: str | None = None


class _Node(msgspec.Struct):
    name: str
    resource_type: str
    relation_name: str | None = None
    depends_on: _DependsOn = msgspec.field(default_factory=_DependsOn)
    attached_node: str | None = None
    version: Any = None
    test_metadata: _TestMetadata | None = None
    column_name: str | None = None
    config: _NodeConfig = msgspec.field(default_factory=_NodeConfig)


class _ExposureConfig(msgspec.Struct):
    enabled: bool = True
    meta: dict[str, Any] | None = None
    tags: Any = None


class _Exposure(msgspec.Struct):
    name: str
    description: Any = None
    owner: Any = None
    tags: Any = None
    original_file_path: str = ""
    depends_on: _DependsOn = msgspec.field(default_factory=_DependsOn)
    config: _ExposureConfig = msgspec.field(default_factory=_ExposureConfig)
    meta: dict[str, Any] | None = None


class _Manifest(msgspec.Struct):
    metadata: _Metadata
    nodes: dict[str, _Node]
    exposures: dict[str, _Exposure]
    sources: dict[str, _Node] = {}
    unit_tests: dict[str, _Node] = {}


class _Timing(msgspec.Struct):
    name: str = ""
    started_at: dt.datetime | None = None
    completed_at: dt.datetime | None = None


class _Result(msgspec.Struct):
    unique_id: str
    status: str
    timing: list[_Timing] = []
    failures: int | None = None


class _Arguments(msgspec.Struct):
    which: str = "(an unknown command)"
    empty: Any = None
    sample: Any = None
    defer: Any = None
    target: str | None = None
    profile: str | None = None
    profiles_dir: str | None = None


class _RunResults(msgspec.Struct):
    metadata: _Metadata
    results: list[_Result]
    args: _Arguments = msgspec.field(default_factory=_Arguments)


_Artifact = TypeVar("_Artifact", _Manifest, _RunResults)


# A file's time of change in nanoseconds, its bytes, and its number on the disk; None where there is no file.
Stamp = tuple[int, int, int] | None


def stamp(path: Path) -> Stamp:
    """What tells this version of a file from the next one, without reading it."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


@dataclass(frozen=True)
class Arguments:
    """What a dbt command was told: its name, and the target, profile and folder of profiles where these were named."""

    which: str
    target: str | None = None
    profile: str | None = None
    profiles_dir: str | None = None


@dataclass(frozen=True)
class Artifacts:
    """A manifest and the results of a command, which need not be those of one invocation."""

    graph: Graph
    ledgers: Mapping[str, Relation]
    invocation_id: str
    results_invocation_id: str
    arguments: Arguments
    runs: Mapping[str, NodeRun]
    left_out_rows: str | None
    built_at: dt.datetime | None


def read_artifacts(manifest_file: Path, results_file: Path) -> Artifacts:
    """Both artifacts. Raises ``ConfigError`` where one is missing, broken or too old."""
    manifest = _read(manifest_file, _Manifest, _OLDEST_MANIFEST)
    results = _read(results_file, _RunResults, _OLDEST_RESULTS)
    graph, arguments = _graph(manifest), results.args
    return Artifacts(
        graph=graph,
        ledgers=_ledgers(manifest),
        invocation_id=manifest.metadata.invocation_id,
        results_invocation_id=results.metadata.invocation_id,
        arguments=_arguments(arguments),
        runs={one.unique_id: _run(one, results, graph) for one in results.results},
        left_out_rows=_left_out_rows(results, graph),
        built_at=_naive(results.metadata.generated_at),
    )


def _left_out_rows(results: _RunResults, graph: Graph) -> str | None:
    """The option for which models may not have all rows of this target; None where they have them."""
    if results.args.empty:
        return "--empty"
    if results.args.sample:
        return "--sample"
    built = {one.unique_id for one in results.results}
    models = {model for exposure in graph.exposures for model in exposure.depends_on}
    lineage = frozenset().union(*map(graph.ancestors, models))
    # What this command did not build itself, it may have read from another target.
    is_deferred = any(
        node.resource_type != "source" and node.materialized != "ephemeral" and unique_id not in built
        for unique_id, node in graph.nodes.items()
        if unique_id in lineage
    )
    return "--defer" if results.args.defer and is_deferred else None


@dataclass(frozen=True)
class Written:
    """A project as dbt has parsed it: ``written_at`` (UTC without a zone) is when, None where that is not known."""

    graph: Graph
    ledgers: Mapping[str, Relation]
    written_at: dt.datetime | None


def read_written(path: Path) -> Written:
    """The manifest at ``path``. Raises ``ConfigError`` where it is missing, broken or too old."""
    manifest = _read(path, _Manifest, _OLDEST_MANIFEST)
    return Written(_graph(manifest), _ledgers(manifest), _naive(manifest.metadata.generated_at))


@dataclass(frozen=True)
class Command:
    """A dbt command: its invocation, what it was told, and when it ended (UTC without a zone).

    ``is_idle`` says whether it found nothing to do: dbt runs no hooks then.
    """

    invocation_id: str
    arguments: Arguments
    is_idle: bool
    ended_at: dt.datetime | None = None


def read_command(path: Path) -> Command | None:
    """The command that wrote the results at ``path``; None where they cannot be read."""
    try:
        results = _read(path, _RunResults, _OLDEST_RESULTS)
    except ConfigError:
        return None
    metadata = results.metadata
    is_idle = not results.results
    return Command(metadata.invocation_id, _arguments(results.args), is_idle, _naive(metadata.generated_at))


def _arguments(found: _Arguments) -> Arguments:
    return Arguments(found.which, found.target, found.profile, found.profiles_dir)


def _graph(manifest: _Manifest) -> Graph:
    nodes = {
        unique_id: _node(unique_id, node)
        for group in (manifest.nodes, manifest.sources, manifest.unit_tests)
        for unique_id, node in group.items()
    }
    return Graph(manifest.metadata.project_name or "", nodes, tuple(_exposures(manifest)))


def _node(unique_id: str, node: _Node) -> Node:
    return Node(
        unique_id=unique_id,
        resource_type=node.resource_type,
        name=node.name if node.version is None else f"{node.name}.v{node.version}",
        depends_on=tuple(node.depends_on.nodes),
        relation=node.relation_name,
        attached_to=node.attached_node,
        materialized=node.config.materialized,
        test_name=node.test_metadata.name if node.test_metadata else None,
        test_column=node.column_name,
    )


def _ledgers(manifest: _Manifest) -> dict[str, Relation]:
    return {
        node.name: Relation(node.relation_name, node.config.materialized)
        for node in manifest.nodes.values()
        if node.resource_type == "model" and node.relation_name
    }


def _run(result: _Result, results: _RunResults, graph: Graph) -> NodeRun:
    node = graph.nodes.get(result.unique_id)
    times = next((one for one in result.timing if one.name == "execute"), _Timing())
    return NodeRun(
        unique_id=result.unique_id,
        resource_type=node.resource_type if node else "",
        name=node.name if node else result.unique_id,
        status=result.status,
        invocation_id=results.metadata.invocation_id,
        command=results.args.which,
        started_at=_naive(times.started_at),
        completed_at=_naive(times.completed_at),
        failures=result.failures,
    )


def _naive(moment: dt.datetime | None) -> dt.datetime | None:
    """A time as the ledgers hold it: UTC without a zone."""
    if moment is None or moment.tzinfo is None:
        return moment
    return moment.astimezone(dt.timezone.utc).replace(tzinfo=None)


def _exposures(manifest: _Manifest) -> list[Exposure]:
    """The exposures that carry a sync. ``config.meta`` is where dbt keeps meta now; ``meta`` where it did."""
    found = []
    for exposure in manifest.exposures.values():
        meta = {**(exposure.meta or {}), **(exposure.config.meta or {})}
        if exposure.config.enabled and "statsig" in meta:
            found.append(
                Exposure(
                    exposure.name,
                    exposure.original_file_path,
                    tuple(exposure.depends_on.nodes),
                    meta["statsig"],
                    labels_of(exposure.description, exposure.owner, exposure.config.tags or exposure.tags),
                )
            )
    return found


def _read(path: Path, shape: type[_Artifact], oldest: int) -> _Artifact:
    try:
        artifact = _decoded(path.read_bytes(), shape)
    except OSError as error:
        raise _fault(path, f"cannot be read: {error.strerror}. {_BUILD_HINT}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _fault(path, f"is not an artifact of dbt's that can be read ({error}). {_BUILD_HINT}") from error
    version = _SCHEMA_VERSION.search(artifact.metadata.dbt_schema_version)
    if version is None or int(version[1]) < oldest:
        written = artifact.metadata.dbt_schema_version
        raise _fault(path, f"has schema version {written!r}; v{oldest} or later is needed (dbt 1.8 or later).")
    return artifact


def _decoded(content: bytes, shape: type[_Artifact]) -> _Artifact:
    try:
        return msgspec.json.decode(content, type=shape)
    except msgspec.DecodeError as error:
        # dbt writes .inf and .nan of YAML as Python does, which is no JSON. They are read as the texts that the hooks
        # of the package write: where a sync has one, its key is named, and elsewhere it is no matter.
        if not _NO_JSON.search(content):
            raise
        try:
            lenient = json.loads(content, parse_constant=lambda name: str(float(name)))
        except ValueError:
            raise error from None
        return msgspec.convert(lenient, type=shape)


_NO_JSON = re.compile(rb"NaN|Infinity")


def _fault(path: Path, message: str) -> ConfigError:
    return ConfigError([Fault(str(path), "", "", message)])
