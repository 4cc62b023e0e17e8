"""The part of a dbt project's graph that a sync needs, and what dbt has done with it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from sync.spec.model import Exposure

TESTS = ("test", "unit_test")


@dataclass(frozen=True)
class Node:
    """A model, seed, snapshot, source, test or unit test.

    ``relation`` is the name in the warehouse, quoted as dbt quotes it; None where the node has none.
    ``attached_to`` is the node that a generic test stands on, ``materialized`` how dbt makes the node.
    ``test_name`` and ``test_column`` say what a generic test tests, such as ``unique`` and ``order_id``. ``is_view``
    says whether the relation is a view in the warehouse, None where that is not known.
    """

    unique_id: str
    resource_type: str
    name: str
    depends_on: tuple[str, ...] = ()
    relation: str | None = None
    attached_to: str | None = None
    materialized: str | None = None
    test_name: str | None = None
    test_column: str | None = None
    is_view: bool | None = None

    @property
    def is_live(self) -> bool:
        """Whether it gives what its parents hold at the moment."""
        return self.materialized in ("view", "ephemeral") or bool(self.is_view)

    @property
    def is_replaced(self) -> bool:
        """Whether it has to hold rows of its own, and is a view: ``dbt clone`` and others make that of a table."""
        return bool(self.is_view) and self.materialized in ("table", "incremental", "seed", "snapshot")


@dataclass(frozen=True)
class Graph:
    """A project's nodes by unique id, and its exposures that are syncs."""

    project_name: str
    nodes: Mapping[str, Node] = field(default_factory=dict)
    exposures: tuple[Exposure, ...] = ()

    def with_views(self, relations: frozenset[str]) -> Graph:
        """The graph where these relations are views in the warehouse, and all others are not."""
        nodes = {
            unique_id: replace(node, is_view=node.relation in relations) if node.relation is not None else node
            for unique_id, node in self.nodes.items()
        }
        return replace(self, nodes=nodes)

    def ancestors(self, unique_id: str) -> frozenset[str]:
        """The unique ids of all that the node is made from, itself included."""
        found: set[str] = set()
        waiting = [unique_id]
        while waiting:
            current = waiting.pop()
            if current not in found:
                found.add(current)
                node = self.nodes.get(current)
                waiting.extend(node.depends_on if node else ())
        return frozenset(found)

    def stored_parents(self, unique_id: str) -> frozenset[str]:
        """The nodes whose relations a node reads, through the ephemeral models between them."""
        found: set[str] = set()
        waiting = list(self.nodes[unique_id].depends_on) if unique_id in self.nodes else []
        while waiting:
            parent = self.nodes.get(waiting.pop())
            if parent is not None and parent.materialized == "ephemeral":
                waiting.extend(parent.depends_on)
            elif parent is not None:
                found.add(parent.unique_id)
        return frozenset(found)

    def tested_by(self, test: Node, lineage: frozenset[str]) -> tuple[str, ...]:
        """The nodes of a lineage that a test stands on: one for a generic test, all that it reads for another."""
        if test.attached_to is not None:
            return (test.attached_to,) if test.attached_to in lineage else ()
        return tuple(unique_id for unique_id in test.depends_on if unique_id in lineage)

    def tests_on(self, lineage: frozenset[str]) -> Iterator[Node]:
        """The tests that stand on any node of a lineage, in the order of their unique ids."""
        for node in sorted(self.nodes.values(), key=lambda node: node.unique_id):
            if node.resource_type in TESTS and self.tested_by(node, lineage):
                yield node


@dataclass(frozen=True)
class NodeRun:
    """What became of a node when dbt last took it up; times are UTC without a zone.

    ``status`` is dbt's, or ``started`` where dbt has said nothing more. ``tests`` holds what a unit test tests, for a
    graph without unit tests. ``left_out_rows`` names the option for which a model does not hold all of its rows.
    ``parents`` are the nodes whose relations it was made from, None where that is not known; ``overwritten_by`` is what
    has built the same relation since, and ``is_unwatched`` says whether dbt may have done so without writing it down.
    """

    unique_id: str
    resource_type: str
    name: str
    status: str
    invocation_id: str
    command: str
    started_at: dt.datetime | None = None
    completed_at: dt.datetime | None = None
    failures: int | None = None
    relation: str | None = None
    left_out_rows: str | None = None
    tests: tuple[str, ...] = ()
    parents: frozenset[str] | None = None
    overwritten_by: str | None = None
    is_unwatched: bool = False


@dataclass(frozen=True)
class Proof:
    """What dbt has done last with each node; ``void`` says why none of it proves anything."""

    runs: Mapping[str, NodeRun] = field(default_factory=dict)
    void: str | None = None

    def of(self, graph: Graph, models: tuple[str, ...]) -> Mapping[str, NodeRun]:
        """The part that the proof of these models rests on."""
        lineage = frozenset().union(*(graph.ancestors(model) for model in models))
        tests = {test.unique_id for test in graph.tests_on(lineage)}
        return {
            unique_id: run
            for unique_id, run in self.runs.items()
            if unique_id in lineage or unique_id in tests or not lineage.isdisjoint(run.tests)
        }


@dataclass(frozen=True)
class Relation:
    """A ledger or a view of the ledgers: its name in the warehouse, and how dbt makes it."""

    relation: str | None
    materialized: str | None


@dataclass(frozen=True)
class DbtState:
    """A project as dbt left it: its graph, what was proved, and the relations of the ledgers by their names.

    ``package_version`` is that of the dbt package, None where it is not known; ``known_syncs`` names syncs that have
    run before, as far as dbt has written it down; ``built_at`` (UTC without a zone) is when the last command ended.
    """

    graph: Graph
    proof: Proof
    ledgers: Mapping[str, Relation]
    invocation_id: str
    package_version: str | None = None
    known_syncs: frozenset[str] = frozenset()
    built_at: dt.datetime | None = None
