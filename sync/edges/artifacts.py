"""Reads dbt's artifacts: ``manifest.json`` and ``run_results.json``.

Only the parts that a sync needs are decoded, so other keys may come and go with dbt's versions. The shapes
are those of dbt's documentation, "Manifest JSON file" (v12 and later) and "Run results JSON file" (v6 and
later).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from sync.core.graph import BuildResults, Graph, Node
from sync.errors import ConfigError, Fault
from sync.spec.model import Exposure, labels_of

_BUILD_HINT = "Run dbt build in the project first."
_SCHEMA_VERSION = re.compile(r"/v([0-9]{1,6})(?:\.json)?$")
_OLDEST_MANIFEST, _OLDEST_RESULTS = 12, 6


class _Metadata(msgspec.Struct):
    dbt_schema_version: str
    invocation_id: str
    adapter_type: str | None = None
    project_name: str | None = None


class _DependsOn(msgspec.Struct):
    nodes: list[str] = []


class _NodeConfig(msgspec.Struct):
    materialized: str | None = None


class _Node(msgspec.Struct):
    name: str
    resource_type: str
    relation_name: str | None = None
    depends_on: _DependsOn = msgspec.field(default_factory=_DependsOn)
    attached_node: str | None = None
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


class _Result(msgspec.Struct):
    unique_id: str
    status: str


class _Arguments(msgspec.Struct):
    which: str = "(an unknown command)"
    empty: Any = None
    sample: Any = None


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


def read_graph(path: Path) -> Graph:
    """The manifest at ``path``. Raises ``ConfigError`` where it is missing, broken or too old."""
    manifest = _read(path, _Manifest, _OLDEST_MANIFEST)
    nodes = {
        unique_id: Node(
            unique_id,
            node.resource_type,
            node.name,
            tuple(node.depends_on.nodes),
            node.relation_name,
            node.attached_node,
            node.config.materialized,
        )
        for group in (manifest.nodes, manifest.sources, manifest.unit_tests)
        for unique_id, node in group.items()
    }
    return Graph(
        manifest.metadata.invocation_id,
        manifest.metadata.adapter_type or "",
        manifest.metadata.project_name or "",
        nodes,
        tuple(_exposures(manifest)),
    )


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


def read_results(path: Path) -> BuildResults:
    """The run results at ``path``. Raises ``ConfigError`` where they are missing, broken or too old."""
    found = _read(path, _RunResults, _OLDEST_RESULTS)
    return BuildResults(
        found.metadata.invocation_id,
        found.args.which,
        "--empty" if found.args.empty else "--sample" if found.args.sample else None,
        {result.unique_id: result.status for result in found.results},
    )


def _read(path: Path, shape: type[_Artifact], oldest: int) -> _Artifact:
    try:
        artifact = msgspec.json.decode(path.read_bytes(), type=shape)
    except OSError as error:
        raise _fault(path, f"cannot be read: {error.strerror}. {_BUILD_HINT}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _fault(path, f"is not an artifact of dbt's that can be read ({error}). {_BUILD_HINT}") from error
    version = _SCHEMA_VERSION.search(artifact.metadata.dbt_schema_version)
    if version is None or int(version[1]) < oldest:
        written = artifact.metadata.dbt_schema_version
        raise _fault(path, f"has schema version {written!r}; v{oldest} or later is needed (dbt 1.8 or later).")
    return artifact


def _fault(path: Path, message: str) -> ConfigError:
    return ConfigError([Fault(str(path), "", "", message)])
