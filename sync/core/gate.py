"""Whether dbt has proved the data that a sync is about to send.

dbt itself does not stop a sync: an exposure is no-op even where the tests on its model failed. So a sync runs only
when the last build of its model succeeded, nothing that it is made from failed, and every test on these has passed
since what it tests was built, in whatever commands that happened.

A view, or an ephemeral model, gives what its parents hold at the moment. Where the sync's model is one, the tests on it
must have passed since its parents were built, too.

Statuses: dbt's documentation, "Run results JSON file". A test that warns has ``severity: warn``: its author has said
that the build may go on.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from sync.core.graph import Graph, Node, NodeRun, Proof
from sync.spec.durations import spoken

_BUILT = {"success"}
_PASSED = {"pass", "success", "warn"}
_SHOWN = 3


class _Kind(IntEnum):
    """What refuses a sync, the likeliest cause first."""

    FAILED = 1
    UNPROVED = 2
    SKIPPED = 3


@dataclass(frozen=True)
class _Problem:
    kind: _Kind
    text: str


def gate_problem(sync_name: str, model: str, graph: Graph, proof: Proof) -> str | None:
    """Why the sync of this model (a unique id) must not run; None where it may.

    The cause comes first, then how many more were skipped because of it, then the command that builds what is needed.
    """
    if proof.void is not None:
        return proof.void
    problems = sorted(_Gate(model, graph, proof).problems(), key=lambda problem: problem.kind)
    if not problems:
        return None
    causes = [problem for problem in problems if problem.kind is not _Kind.SKIPPED]
    skipped = [problem for problem in problems if problem.kind is _Kind.SKIPPED]
    return f"{_told(causes, skipped)}. Then run: dbt build --select +exposure:{sync_name}"


def _told(causes: Sequence[_Problem], skipped: Sequence[_Problem]) -> str:
    if not causes:
        more = f", as {len(skipped) - 1} more were" if len(skipped) > 1 else ""
        return f"{skipped[0].text}{more}, because something before it failed or dbt was stopped"
    # What has not run yet needs one example; each failure may need a fix of its own.
    shown = causes[: _SHOWN if causes[0].kind is _Kind.FAILED else 1]
    rest = len(causes) - len(shown)
    more = f"; and {rest} more like {'these' if len(shown) > 1 else 'this'}" if rest > 0 else ""
    after = f"; and {len(skipped)} more that were skipped because of it" if skipped else ""
    return "; ".join(problem.text for problem in shown) + more + after


@dataclass(frozen=True)
class _Gate:
    """A model, all that it is made from, and what dbt has done with these."""

    model: str
    graph: Graph
    proof: Proof
    lineage: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lineage", self.graph.ancestors(self.model))

    def problems(self) -> Iterator[_Problem]:
        yield from self._model_problems()
        for unique_id in sorted(self.lineage - {self.model}):
            run, name = self.proof.runs.get(unique_id), f"{self._name(unique_id)}, which it is made from,"
            if run is not None and run.status not in _PASSED:
                yield self._unbuilt(run, name)
            else:
                yield from self._changed(unique_id, name)
        for test in self.graph.tests_on(self.lineage):
            yield from self._test_problems(test)
        yield from self._unit_test_problems()

    def _model_problems(self) -> Iterator[_Problem]:
        run, name = self.proof.runs.get(self.model), f"model {self._name(self.model)}"
        node = self.graph.nodes.get(self.model)
        if node is not None and node.materialized == "ephemeral":
            text = f"{name} is ephemeral, so it has no rows in the warehouse; write materialized: table in its config"
            yield _Problem(_Kind.FAILED, text)
        elif run is None:
            yield _Problem(_Kind.UNPROVED, f"{name} is not among what dbt is known to have built")
        elif run.status not in _BUILT:
            yield self._unbuilt(run, name)
        else:
            yield from self._changed(self.model, name)

    def _changed(self, unique_id: str, name: str) -> Iterator[_Problem]:
        """Why a node that was built is not what its last build has proved."""
        node, run = self.graph.nodes.get(unique_id), self.proof.runs.get(unique_id)
        if node is not None and node.is_replaced:
            text = (
                f"{name} is a view in the warehouse and has to be a {node.materialized or 'table'}: that was not built "
                "yet, or dbt clone has put a view in its place"
            )
            yield _Problem(_Kind.UNPROVED, text)
        if run is None or node is None:
            return
        if run.left_out_rows:
            yield _left_out(run, name, node)
        if run.overwritten_by:
            text = f"{name} was built again since, by {run.overwritten_by}, so what was proved of it here is gone"
            yield _Problem(_Kind.UNPROVED, text)
        if run.is_unwatched:
            text = (
                f"{name} was built before its syncs were out of the project for a time, in which dbt wrote down "
                "nothing of it"
            )
            yield _Problem(_Kind.UNPROVED, text)
        if None not in (node.relation, run.relation) and node.relation != run.relation:
            text = f"{name} was last built as {run.relation}, and is to be {node.relation} now"
            yield _Problem(_Kind.UNPROVED, text)
        if run.parents is not None and run.parents != (parents := self.graph.stored_parents(unique_id)):
            changed = ", ".join(sorted(map(self._name, run.parents ^ parents)))
            yield _Problem(_Kind.UNPROVED, f"{name} was not built since what it is made from changed ({changed})")

    def _unbuilt(self, run: NodeRun, name: str) -> _Problem:
        match run.status:
            case "skipped":
                return _Problem(_Kind.SKIPPED, f"{name} was skipped")
            case "started":
                began = f" at {run.started_at:%Y-%m-%d %H:%M:%S} UTC" if run.started_at else ""
                text = (
                    f"{name} may be half built: dbt {run.command} began{began} and has not ended, has died, or could "
                    "not write down its end (the hook on-run-end of the package statsig_sync)"
                )
                return _Problem(_Kind.FAILED, text)
            case "error" | "runtime error":
                return _Problem(_Kind.FAILED, f"{name} ended with an error in dbt {run.command}")
            case status:
                return _Problem(_Kind.FAILED, f"{name} ended as '{status}' in dbt {run.command}")

    def _test_problems(self, test: Node) -> Iterator[_Problem]:
        run = self.proof.runs.get(test.unique_id)
        tested = self.graph.tested_by(test, self.lineage)
        name = f"test {test.name} on {', '.join(self._name(one) for one in tested)}"
        # A unit test proves logic on rows of its own, and is often left out in production.
        if run is None and test.resource_type == "unit_test":
            return
        if run is None:
            yield _Problem(_Kind.UNPROVED, f"{name} has not run")
        elif run.status not in _PASSED:
            yield _failed_test(run, name)
        elif test.resource_type == "test" and (since := self._changed_since(run, tested)):
            yield _Problem(_Kind.UNPROVED, f"{name} has not run since {self._name(since)} was built")

    def _unit_test_problems(self) -> Iterator[_Problem]:
        """Unit tests that the graph does not have: one that failed before its model was built has been dealt with."""
        for run in self.proof.runs.values():
            if run.resource_type != "unit_test" or run.unique_id in self.graph.nodes or run.status in _PASSED:
                continue
            for model in run.tests:
                built = self.proof.runs.get(model)
                is_later = built is not None and _is_before(run.started_at, built.started_at)
                if model in self.lineage and not (is_later and built is not None and built.status in _BUILT):
                    yield _failed_test(run, f"unit test {run.name} on {self._name(model)}")

    def _changed_since(self, test: NodeRun, tested: Sequence[str]) -> str | None:
        """What a test stands on and was built after the test began; None where the test is the later one."""
        live = _live(self.model, self.graph)
        for unique_id in tested:
            sources = _with_parents(unique_id, self.graph) if unique_id in live else {unique_id}
            for source in sorted(sources, key=lambda one: (one != unique_id, one)):
                built = self.proof.runs.get(source)
                if built is not None and _is_before(test.started_at, built.completed_at):
                    return source
        return None

    def _name(self, unique_id: str) -> str:
        node = self.graph.nodes.get(unique_id)
        return node.name if node else unique_id


def _live(unique_id: str, graph: Graph) -> frozenset[str]:
    """The node and the parents that it reads at the moment, as far as none of them holds rows of its own."""
    found: set[str] = set()
    waiting = [unique_id]
    while waiting:
        current = waiting.pop()
        node = graph.nodes.get(current)
        if node is not None and node.is_live and current not in found:
            found.add(current)
            waiting.extend(node.depends_on)
    return frozenset(found)


def _with_parents(unique_id: str, graph: Graph) -> frozenset[str]:
    """The node and, where it is live, all that it reads at the moment."""
    live = _live(unique_id, graph)
    return frozenset({unique_id}) | {parent for one in live for parent in (one, *graph.nodes[one].depends_on)}


def _failed_test(run: NodeRun, name: str) -> _Problem:
    if run.status == "skipped":
        return _Problem(_Kind.SKIPPED, f"{name} was skipped")
    count = f" ({run.failures:,} {'failure' if run.failures == 1 else 'failures'})" if run.failures else ""
    verb = "failed" if run.status == "fail" else f"ended as '{run.status}'"
    return _Problem(_Kind.FAILED, f"{name} {verb}{count}")


def _left_out(run: NodeRun, name: str, node: Node) -> _Problem:
    text = f"{name} was built with {run.left_out_rows}, so it is not whole"
    if run.left_out_rows == "--defer":
        text = f"{name} was built with --defer, from what another target holds, which is not proved here"
    if node.materialized == "incremental":
        text += f"; it stays so until its rows are made anew: dbt run --full-refresh --select {node.name}"
    return _Problem(_Kind.FAILED, text)


def _is_before(one: dt.datetime | None, other: dt.datetime | None) -> bool:
    """Whether a time is known to be before another."""
    return one is not None and other is not None and one < other


@dataclass(frozen=True)
class Built:
    """When what a sync sends was built (UTC without a zone, None where that is not known), and how many tests passed.

    ``is_proved`` says whether the gate lets it pass.
    """

    at: dt.datetime | None
    invocation_id: str | None
    tests: int
    is_proved: bool


def built(model: str, graph: Graph, proof: Proof) -> Built:
    """When a model was built, and what was tested since; a view is as young as the youngest that it reads."""
    run = proof.runs.get(model)
    read = [proof.runs[one] for one in _with_parents(model, graph) if one in proof.runs]
    times = [one.completed_at for one in read if one.completed_at is not None and one.status in _BUILT]
    passed = [
        test
        for test in graph.tests_on(graph.ancestors(model))
        if test.resource_type == "test" and (found := proof.runs.get(test.unique_id)) and found.status in _PASSED
    ]
    is_built = run is not None and run.status in _BUILT
    return Built(
        max(times, default=None) if is_built else None,
        run.invocation_id if run is not None else None,
        len(passed),
        is_proved=gate_problem("", model, graph, proof) is None,
    )


def age_problem(found: Built, now: dt.datetime, most: dt.timedelta | None, said_by: str) -> str | None:
    """Why data of this age is not sent; None where it is young enough. ``said_by`` names what sets the limit."""
    if most is None:
        return None
    limit = spoken(most.total_seconds())
    if found.at is None:
        return f"when its model was built is not known, and {said_by} allows data of up to {limit}. Run dbt build"
    age = now - found.at
    if age <= most:
        return None
    ago = spoken(age.total_seconds())
    return f"its model was built {ago} ago, and {said_by} allows data of up to {limit}. Run dbt build"


_WRITERS = {"build", "retry"}
# The artifacts name a command by its last word.
_FIRST_WORDS = {"generate": "docs ", "serve": "docs ", "freshness": "source "}


def proof_of_artifacts(invocation_ids: tuple[str, str], command: str, left_out_rows: str | None) -> str | None:
    """Why a manifest and results prove nothing; None where they are those of one build.

    ``invocation_ids`` are the manifest's and the results', ``command`` is what wrote the results.
    """
    manifest, results = invocation_ids
    if manifest != results:
        return (
            f"manifest.json and run_results.json come from two dbt invocations ({manifest} and {results}); another dbt "
            "command ran since. Run dbt build again"
        )
    if command not in _WRITERS:
        typed = _FIRST_WORDS.get(command, "") + command
        return f"the artifacts were written by 'dbt {typed}', which proves no data. Run dbt build"
    if left_out_rows:
        return f"the models were built with {left_out_rows}, so they are not whole. Run dbt build without it"
    return None
