"""Whether dbt has just proved the data that a sync is about to send.

dbt itself does not stop a sync: an exposure is no-op even where the tests on its model failed. So a sync
runs only when, in one ``dbt build``, its model was built, and the tests on it and on all that it is made
from were run and did not fail.

Statuses: dbt's documentation, "Run results JSON file". A test that warns has ``severity: warn``: its
author has said that the build may go on.
"""

from __future__ import annotations

from collections.abc import Iterator

from sync.core.graph import BuildResults, Graph, Node

_BUILT = {"success"}
_PASSED = {"pass", "success", "warn"}
_WRITERS = {"build", "retry"}
# The artifacts name a command by its last word.
_FIRST_WORDS = {"generate": "docs ", "serve": "docs ", "freshness": "source "}


def gate_problems(model: str, graph: Graph, results: BuildResults) -> tuple[str, ...]:
    """Why the sync of this model (a unique id) must not run; empty when it may.

    A unit test proves logic on rows of its own and is often left out in production: it refuses where it
    failed, not where it is missing.
    """
    if graph.invocation_id != results.invocation_id:
        return (
            "manifest.json and run_results.json come from two dbt invocations "
            f"({graph.invocation_id} and {results.invocation_id}); another dbt command ran since. Run dbt build again.",
        )
    if results.command not in _WRITERS:
        command = _FIRST_WORDS.get(results.command, "") + results.command
        return (f"the artifacts were written by 'dbt {command}', which proves no data; run dbt build.",)
    if results.left_out_rows:
        return (
            f"the models were built with {results.left_out_rows}, so they are not whole; run dbt build without it.",
        )
    return tuple(_model_problems(model, graph, results))


def _model_problems(model: str, graph: Graph, results: BuildResults) -> Iterator[str]:
    lineage = graph.ancestors(model)
    status = results.statuses.get(model)
    if status not in _BUILT:
        yield f"model {_name(model, graph)} {_said(status)}"
    for unique_id in sorted(lineage - {model}):
        if results.statuses.get(unique_id, "success") not in _PASSED:
            yield f"{_name(unique_id, graph)}, which it is made from, {_said(results.statuses[unique_id])}"
    for node in sorted(graph.nodes.values(), key=lambda node: node.unique_id):
        if node.resource_type in ("test", "unit_test") and _stands_on(node, lineage):
            status = results.statuses.get(node.unique_id)
            may_be_missing = node.resource_type == "unit_test"
            if status not in _PASSED and not (status is None and may_be_missing):
                yield f"test {node.name} {_said(status)}"


def _stands_on(test: Node, lineage: frozenset[str]) -> bool:
    if test.attached_to is not None:
        return test.attached_to in lineage
    return not lineage.isdisjoint(test.depends_on)


def _name(unique_id: str, graph: Graph) -> str:
    node = graph.nodes.get(unique_id)
    return node.name if node else unique_id


def _said(status: str | None) -> str:
    match status:
        case None:
            return "is not in the results of this build"
        case "skipped":
            return "was skipped, because something before it failed"
        case _:
            return f"ended as '{status}'"
