"""What dbt has written into ``statsig_build_log``: the syncs of a project, what they rest on, and what became of it.

The rows are written by the hooks of the dbt package (``macros/build_log.sql``) and folded by the views
``statsig_invocations`` and ``statsig_node_runs``.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from sync.core.graph import TESTS, DbtState, Graph, Node, NodeRun, Proof, Relation
from sync.spec.model import Exposure, labels_of

INVOCATION_COLUMNS = (
    "project_name",
    "profile_name",
    "target_name",
    "target_database",
    "target_schema",
    "invocation_id",
    "command",
    "package_version",
    "logged_at",
    "syncs",
    "graph",
    "ledgers",
    "lineage_hash",
)
RUN_COLUMNS = (
    "unique_id",
    "resource_type",
    "name",
    "status",
    "invocation_id",
    "command",
    "started_at",
    "completed_at",
    "failures",
    "relation_name",
    "left_out_rows",
    "parents",
    "overwritten_by",
    "logged_at",
    "tests",
)


@dataclass(frozen=True)
class Invocation:
    """The last dbt command of a project into a target, which ended ``logged_at`` (UTC without a zone).

    What it wrote of the project is decoded by ``read_state``, only where it is needed.
    """

    project_name: str
    profile_name: str
    target_name: str
    target_database: str | None
    target_schema: str | None
    invocation_id: str
    command: str
    package_version: str | None
    logged_at: dt.datetime
    syncs: str = field(repr=False)
    graph: str = field(repr=False)
    ledgers: str = field(repr=False)
    lineage_hash: str | None = None


class _Sync(msgspec.Struct):
    name: str
    file: str
    depends_on: list[str]
    meta: Any
    description: Any = None
    tags: Any = None
    owner_email: Any = None


class _Node(msgspec.Struct):
    name: str
    resource_type: str
    relation: str | None = None
    materialized: str | None = None
    parents: list[str] = []


class _Test(msgspec.Struct):
    name: str
    on: list[str]
    test: str | None = None
    column: str | None = None


class _Graph(msgspec.Struct):
    nodes: dict[str, _Node] = {}
    tests: dict[str, _Test] = {}


class _Ledger(msgspec.Struct):
    relation: str | None = None
    materialized: str | None = None


@dataclass(frozen=True)
class Watched:
    """The graph of earlier commands that wrote down less or other nodes, and when the last of these ended."""

    until: dt.datetime
    graph: str


@dataclass(frozen=True)
class Logged:
    """What the build log has beside the last command.

    ``runs`` are rows with ``RUN_COLUMNS``; ``known_syncs`` are JSON lists, and ``earlier`` other graphs than the last.
    """

    runs: Sequence[Sequence[Any]]
    known_syncs: Sequence[str] = ()
    earlier: Sequence[Watched] = ()


def read_state(invocation: Invocation, logged: Logged) -> DbtState:
    """The project as the last command left it. Raises ``msgspec.DecodeError`` for what dbt did not write."""
    graph = msgspec.json.decode(invocation.graph, type=_Graph)
    nodes = {unique_id: _node(unique_id, node) for unique_id, node in graph.nodes.items()}
    nodes |= {unique_id: _test(unique_id, test) for unique_id, test in graph.tests.items()}
    exposures = read_exposures(invocation.syncs)
    ledgers = msgspec.json.decode(invocation.ledgers, type=dict[str, _Ledger])
    known = (name for names in logged.known_syncs for name in msgspec.json.decode(names, type=list[str]))
    return DbtState(
        graph=Graph(invocation.project_name, nodes, exposures),
        proof=_proof(logged),
        ledgers={name: Relation(one.relation, one.materialized) for name, one in ledgers.items()},
        invocation_id=invocation.invocation_id,
        package_version=invocation.package_version,
        known_syncs=frozenset(known),
        built_at=invocation.logged_at,
    )


def read_exposures(syncs: str) -> tuple[Exposure, ...]:
    """The exposures that a command has written down. Raises as ``read_state``."""
    return tuple(_exposure(sync) for sync in msgspec.json.decode(syncs, type=list[_Sync]))


def _node(unique_id: str, node: _Node) -> Node:
    return Node(
        unique_id=unique_id,
        resource_type=node.resource_type,
        name=node.name,
        depends_on=tuple(node.parents),
        relation=node.relation,
        materialized=node.materialized,
    )


def _test(unique_id: str, test: _Test) -> Node:
    return Node(
        unique_id=unique_id,
        resource_type="test",
        name=test.name,
        depends_on=tuple(test.on),
        # A generic test is written down with the one node that it stands on.
        attached_to=test.on[0] if test.test is not None and test.on else None,
        test_name=test.test,
        test_column=test.column,
    )


def _exposure(sync: _Sync) -> Exposure:
    labels = labels_of(sync.description, {"email": sync.owner_email}, sync.tags)
    return Exposure(sync.name, sync.file, tuple(sync.depends_on), _with_own_keys(sync.meta), labels)


def _with_own_keys(value: Any) -> Any:
    """A value in which the mappings that JSON could not hold have their keys again."""
    if isinstance(value, list):
        return [_with_own_keys(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    pairs = value.get("!pairs")
    if isinstance(pairs, list):
        return {key: _with_own_keys(inner) for key, inner in pairs}
    return {key: _with_own_keys(inner) for key, inner in value.items()}


def _proof(logged: Logged) -> Proof:
    watched = [(one.until, msgspec.json.decode(one.graph, type=_Graph).nodes) for one in logged.earlier]
    runs = {}
    for values in logged.runs:
        row = dict(zip(RUN_COLUMNS, values, strict=True))
        logged_at = row.pop("logged_at")
        run = _run(row)
        is_unwatched = run.resource_type not in TESTS and any(
            until > logged_at and run.unique_id not in nodes for until, nodes in watched
        )
        runs[run.unique_id] = replace(run, is_unwatched=is_unwatched)
    return Proof(runs)


def _run(row: dict[str, Any]) -> NodeRun:
    tests, parents, relation = row.pop("tests"), row.pop("parents"), row.pop("relation_name")
    return NodeRun(
        **row,
        relation=relation,
        tests=tuple(_names(tests)),
        parents=frozenset(_names(parents)) if parents is not None else None,
    )


def _names(text: str | None) -> list[str]:
    return msgspec.json.decode(text, type=list[str]) if text else []
