"""The part of a dbt project's graph that a sync needs, and what one dbt invocation said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sync.spec.model import Exposure


@dataclass(frozen=True)
class Node:
    """A model, seed, snapshot, source, test or unit test.

    ``relation`` is the name in the warehouse, quoted as dbt quotes it; None where the node has none.
    ``attached_to`` is the node that a generic test stands on, ``materialized`` how dbt makes the node.
    """

    unique_id: str
    resource_type: str
    name: str
    depends_on: tuple[str, ...] = ()
    relation: str | None = None
    attached_to: str | None = None
    materialized: str | None = None


@dataclass(frozen=True)
class Graph:
    """A manifest: its nodes by unique id, its exposures, and the invocation that wrote it."""

    invocation_id: str
    adapter_type: str
    project_name: str
    nodes: Mapping[str, Node] = field(default_factory=dict)
    exposures: tuple[Exposure, ...] = ()

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


@dataclass(frozen=True)
class BuildResults:
    """A run_results file: the command that wrote it, and the status of each node that took part.

    ``left_out_rows`` names the option (``--empty`` or ``--sample``) that built the models from fewer rows
    than there are; None where they are whole.
    """

    invocation_id: str
    command: str
    left_out_rows: str | None = None
    statuses: Mapping[str, str] = field(default_factory=dict)
