"""Whether dbt has proved what a sync would send."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.core.gate import Built, age_problem, built, gate_problem, proof_of_artifacts
from sync.core.graph import Graph, Node, NodeRun, Proof

MODEL = "model.shop.audience"
PARENT = "model.shop.stg_customers"
SOURCE = "source.shop.raw.customers"
OTHER = "model.shop.unrelated"
OWN, PARENTS, SOURCES = "test.shop.own", "test.shop.parents", "test.shop.sources"
SINGULAR, OTHERS, LOGIC = "test.shop.singular", "test.shop.others", "unit_test.shop.logic"

NODES = {
    SOURCE: Node(SOURCE, "source", "customers"),
    PARENT: Node(PARENT, "model", "stg_customers", (SOURCE,), materialized="table"),
    MODEL: Node(MODEL, "model", "audience", (PARENT,), '"shop"."main"."audience"', materialized="table"),
    OTHER: Node(OTHER, "model", "unrelated"),
    OWN: Node(OWN, "test", "own", (MODEL,), attached_to=MODEL),
    PARENTS: Node(PARENTS, "test", "parents", (PARENT,), attached_to=PARENT),
    SOURCES: Node(SOURCES, "test", "sources", (SOURCE,)),
    SINGULAR: Node(SINGULAR, "test", "singular", (PARENT, OTHER)),
    OTHERS: Node(OTHERS, "test", "others", (OTHER, MODEL), attached_to=OTHER),
    LOGIC: Node(LOGIC, "unit_test", "logic", (MODEL,)),
}
COUNTING_TESTS = [OWN, PARENTS, SOURCES, SINGULAR]
GRAPH = Graph("shop", NODES)
ADVICE = ". Then run: dbt build --select +exposure:people"

START = dt.datetime(2026, 10, 1, 9)


def at(minute: float) -> dt.datetime:
    """A time, in minutes after all of these tests begin."""
    return START + dt.timedelta(minutes=minute)


def ran(unique_id: str, status: str, minute: float = 0, **more: Any) -> NodeRun:
    """What became of a node that dbt began with at this minute, and was through with half a minute later."""
    kind, _, name = unique_id.split(".", 2)
    return NodeRun(
        **{
            "unique_id": unique_id,
            "resource_type": kind,
            "name": name,
            "status": status,
            "invocation_id": "invocation-1",
            "command": "build",
            "started_at": at(minute),
            "completed_at": at(minute + 0.5),
            **more,
        }
    )


def good() -> dict[str, NodeRun]:
    """A build in which all went well, node after node."""
    order = (SOURCES, PARENT, PARENTS, OTHER, SINGULAR, OTHERS, LOGIC, MODEL, OWN)
    return {
        one: ran(one, "success" if one.startswith("model.") else "pass", minute) for minute, one in enumerate(order)
    }


def problem(*changed: NodeRun, without: tuple[str, ...] = (), graph: Graph = GRAPH) -> str | None:
    """What the gate says after a good build, with what became of some nodes later."""
    runs = {unique_id: run for unique_id, run in good().items() if unique_id not in without}
    return gate_problem("people", MODEL, graph, Proof({**runs, **{run.unique_id: run for run in changed}}))


def with_nodes(*nodes: Node) -> Graph:
    return replace(GRAPH, nodes={**NODES, **{node.unique_id: node for node in nodes}})


def test_a_good_build_lets_the_sync_run() -> None:
    assert problem() is None


def test_what_is_void_proves_nothing_and_says_why() -> None:
    assert gate_problem("people", MODEL, GRAPH, Proof(good(), "no build at all")) == "no build at all"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("error", "model audience ended with an error in dbt build"),
        ("runtime error", "model audience ended with an error in dbt build"),
        ("partial success", "model audience ended as 'partial success' in dbt build"),
        ("no-op", "model audience ended as 'no-op' in dbt build"),
        ("started", "model audience may be half built: dbt build began at 2026-10-01 09:00:00 UTC and has not ended"),
        ("skipped", "model audience was skipped, because something before it failed or dbt was stopped"),
    ],
)
def test_a_model_that_was_not_built_refuses_the_sync(status: str, said: str) -> None:
    found = problem(ran(MODEL, status))
    assert found is not None
    assert found.startswith(said)
    assert found.endswith(ADVICE)


def test_a_model_of_which_nothing_is_known_refuses_the_sync() -> None:
    assert problem(without=(MODEL,)) == f"model audience is not among what dbt is known to have built{ADVICE}"
    assert gate_problem("people", "model.shop.gone", GRAPH, Proof(good())) is not None


@pytest.mark.parametrize("test", COUNTING_TESTS)
@pytest.mark.parametrize("status", ["fail", "error", "runtime error", "skipped", None])
def test_a_test_on_the_model_or_on_an_ancestor_that_did_not_pass_refuses_the_sync(
    test: str, status: str | None
) -> None:
    found = problem(without=(test,)) if status is None else problem(ran(test, status, 20))
    assert found is not None
    assert f"test {NODES[test].name} on " in found
    assert found.endswith(ADVICE)


@pytest.mark.parametrize("test", COUNTING_TESTS)
def test_a_test_that_only_warns_lets_the_sync_run(test: str) -> None:
    assert problem(ran(test, "warn", 20, failures=3)) is None


@pytest.mark.parametrize(("failures", "said"), [(1, "(1 failure)"), (1200, "(1,200 failures)")])
def test_a_test_that_failed_is_named_with_what_it_stands_on_and_its_failures(failures: int, said: str) -> None:
    assert problem(ran(PARENTS, "fail", 20, failures=failures)) == (
        f"test parents on stg_customers failed {said}{ADVICE}"
    )


@pytest.mark.parametrize("status", ["error", "skipped", "fail", "started"])
def test_an_ancestor_that_failed_refuses_the_sync(status: str) -> None:
    found = problem(ran(PARENT, status, 20, started_at=None, completed_at=None))
    assert found is not None
    assert found.startswith("stg_customers, which it is made from,")


def test_an_ancestor_that_dbt_never_built_here_refuses_only_by_its_tests() -> None:
    assert problem(without=(PARENT,)) is None
    assert problem(without=(PARENT, PARENTS)) == f"test parents on stg_customers has not run{ADVICE}"


@pytest.mark.parametrize("changed", [ran(OTHER, "error", 20), ran(OTHERS, "fail", 20)])
def test_what_has_nothing_to_do_with_the_model_does_not_count(changed: NodeRun) -> None:
    assert problem(changed) is None


# What is refused first, and how much of it.


def test_the_cause_comes_first_and_what_was_skipped_because_of_it_is_counted() -> None:
    found = problem(
        ran(PARENTS, "fail", failures=3), ran(MODEL, "skipped"), ran(OWN, "skipped"), ran(SINGULAR, "skipped")
    )
    assert found == (
        "test parents on stg_customers failed (3 failures); and 3 more that were skipped because of it" + ADVICE
    )


def test_what_was_skipped_for_no_cause_that_is_known_is_named_once() -> None:
    found = problem(ran(MODEL, "skipped"), ran(OWN, "skipped"))
    assert found == (
        f"model audience was skipped, as 1 more were, because something before it failed or dbt was stopped{ADVICE}"
    )


def test_the_first_three_causes_are_named_and_the_others_counted() -> None:
    tests = [Node(f"test.shop.t{n}", "test", f"t{n}", (MODEL,), attached_to=MODEL) for n in range(5)]
    found = problem(*(ran(test.unique_id, "fail", 20) for test in tests), graph=with_nodes(*tests))
    assert found == (
        "test t0 on audience failed; test t1 on audience failed; test t2 on audience failed; and 2 more like these"
        + ADVICE
    )


def test_tests_that_have_not_run_are_named_by_one_of_them() -> None:
    tests = [Node(f"test.shop.t{n}", "test", f"t{n}", (MODEL,), attached_to=MODEL) for n in range(5)]
    assert problem(graph=with_nodes(*tests)) == f"test t0 on audience has not run; and 4 more like this{ADVICE}"


@given(statuses=st.fixed_dictionaries({one: st.sampled_from(["success", "pass", "fail", "skipped"]) for one in good()}))
def test_a_sync_runs_only_where_everything_that_counts_has_succeeded(statuses: Mapping[str, str]) -> None:
    runs = {unique_id: replace(run, status=statuses[unique_id]) for unique_id, run in good().items()}
    found = gate_problem("people", MODEL, GRAPH, Proof(runs))
    bad = [one for one in (*COUNTING_TESTS, LOGIC, PARENT) if statuses[one] in ("fail", "skipped")]
    is_fine = not bad and statuses[MODEL] == "success"
    assert (found is None) is is_fine
    # Whatever failed is the cause, and never what was only skipped.
    failed = [one for one in (*bad, MODEL) if statuses[one] == "fail"]
    assert not failed or not (found or "").startswith("model audience was skipped")


# Commands that build or test parts.


def test_a_test_must_have_run_since_what_it_stands_on_was_built() -> None:
    assert problem(ran(MODEL, "success", 20)) == f"test own on audience has not run since audience was built{ADVICE}"
    assert problem(ran(MODEL, "success", 20), ran(OWN, "pass", 21)) is None
    found = problem(ran(PARENT, "success", 20), ran(PARENTS, "pass", 21))
    assert found == f"test singular on stg_customers has not run since stg_customers was built{ADVICE}"


def test_a_test_that_began_while_its_model_was_being_built_is_of_the_old_rows() -> None:
    assert problem(ran(MODEL, "success", 20), ran(OWN, "pass", 20.25)) is not None
    assert problem(ran(MODEL, "success", 20), ran(OWN, "pass", 20.5)) is None


def test_a_model_may_be_older_than_what_it_is_made_from() -> None:
    later = (ran(PARENT, "success", 20), ran(PARENTS, "pass", 21), ran(SINGULAR, "pass", 21))
    assert problem(*later) is None


def test_of_tests_on_a_source_the_last_status_counts_whenever_that_was() -> None:
    assert problem(ran(SOURCES, "pass", -10_000)) is None
    assert problem(ran(SOURCES, "fail", -10_000)) is not None


VIEW = replace(NODES[MODEL], materialized="view")


@pytest.mark.parametrize("parent", ["table", "incremental", "snapshot"])
def test_a_view_gives_what_its_parents_hold_so_the_tests_on_it_must_be_later_than_these(parent: str) -> None:
    graph = with_nodes(VIEW, replace(NODES[PARENT], materialized=parent))
    later = (ran(PARENT, "success", 20), ran(PARENTS, "pass", 21), ran(SINGULAR, "pass", 21))
    assert problem(*later, graph=graph) == f"test own on audience has not run since stg_customers was built{ADVICE}"
    assert problem(*later, ran(OWN, "pass", 22), graph=graph) is None


@pytest.mark.parametrize("between", ["view", "ephemeral"])
def test_a_view_gives_what_lies_below_its_views_too(between: str) -> None:
    middle = Node("model.shop.middle", "model", "middle", (PARENT,), materialized=between)
    graph = with_nodes(replace(VIEW, depends_on=(middle.unique_id,)), middle)
    built_once = ran(middle.unique_id, "success")
    later = (built_once, ran(PARENT, "success", 20), ran(PARENTS, "pass", 21), ran(SINGULAR, "pass", 21))
    assert problem(*later, graph=graph) == f"test own on audience has not run since stg_customers was built{ADVICE}"


def test_a_table_between_keeps_its_rows_so_what_lies_below_it_may_be_built_again() -> None:
    middle = Node("model.shop.middle", "model", "middle", (PARENT,), materialized="table")
    graph = with_nodes(replace(VIEW, depends_on=(middle.unique_id,)), middle)
    built_once = ran(middle.unique_id, "success")
    later = (built_once, ran(PARENT, "success", 20), ran(PARENTS, "pass", 21), ran(SINGULAR, "pass", 21))
    assert problem(*later, graph=graph) is None


def test_an_ephemeral_model_is_called_that() -> None:
    graph = with_nodes(replace(NODES[MODEL], materialized="ephemeral", relation=None))
    found = problem(without=(MODEL,), graph=graph)
    assert found is not None
    assert found.startswith("model audience is ephemeral")
    assert "materialized: table" in found


def test_a_model_that_is_to_be_elsewhere_now_has_to_be_built_there() -> None:
    found = problem(ran(MODEL, "success", 7, relation='"shop"."old"."audience"'))
    assert found == (
        'model audience was last built as "shop"."old"."audience", and is to be "shop"."main"."audience" now' + ADVICE
    )
    assert problem(ran(MODEL, "success", 7, relation='"shop"."main"."audience"')) is None


@pytest.mark.parametrize("node", [MODEL, PARENT])
@pytest.mark.parametrize("option", ["--empty", "--sample", "--defer"])
def test_models_that_were_built_without_all_their_rows_prove_nothing(node: str, option: str) -> None:
    found = problem(ran(node, "success", 1, left_out_rows=option))
    assert found is not None
    assert option in found


@pytest.mark.parametrize(
    ("node", "name"), [(MODEL, "model audience"), (PARENT, "stg_customers, which it is made from,")]
)
@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"overwritten_by": "project b"}, "was built again since, by project b, so what was proved of it here is gone"),
        ({"is_unwatched": True}, "was built before its syncs were out of the project for a time"),
        ({"parents": frozenset({OTHER})}, "was not built since what it is made from changed ("),
        ({"relation": '"shop"."old"."it"'}, "was last built as"),
    ],
    ids=["overwritten", "unwatched", "parents", "relation"],
)
def test_a_relation_that_is_not_what_was_proved_refuses_the_sync(
    node: str, name: str, more: dict[str, Any], said: str
) -> None:
    nodes = {**NODES, node: replace(NODES[node], relation='"shop"."main"."it"')}
    found = problem(ran(node, "success", 1 if node == PARENT else 7, **more), graph=Graph("shop", nodes))
    assert found is not None
    assert f"{name} {said}" in found


def test_a_model_that_was_built_from_the_parents_that_it_has_lets_the_sync_run() -> None:
    between = Node(OTHER, "model", "between", (SOURCE,), materialized="ephemeral")
    nodes = {**NODES, OTHER: between, PARENT: replace(NODES[PARENT], depends_on=(OTHER,))}
    graph = Graph("shop", nodes)
    # An ephemeral model between is read as a part of the model.
    assert problem(ran(PARENT, "success", 1, parents=frozenset({SOURCE})), graph=graph) is None
    assert problem(ran(PARENT, "success", 1, parents=frozenset({OTHER})), graph=graph) is not None


@pytest.mark.parametrize("node", [MODEL, PARENT])
@pytest.mark.parametrize("materialized", ["table", "incremental", "seed", "snapshot"])
def test_a_view_in_the_place_of_a_table_refuses_the_sync(node: str, materialized: str) -> None:
    nodes = {**NODES, node: replace(NODES[node], is_view=True, materialized=materialized)}
    found = problem(graph=Graph("shop", nodes))
    assert found is not None
    assert f"is a view in the warehouse and has to be a {materialized}" in found


def test_a_view_of_a_materialization_of_its_own_is_a_view_to_the_gate() -> None:
    nodes = {**NODES, MODEL: replace(NODES[MODEL], is_view=True, materialized="own_view")}
    graph = Graph("shop", nodes)
    assert problem(graph=graph) is None
    assert (
        problem(ran(PARENT, "success", 20), ran(PARENTS, "pass", 21), ran(SINGULAR, "pass", 22), graph=graph)
        is not None
    )


def test_an_incremental_model_keeps_what_was_left_out_and_is_told_how_to_end_it() -> None:
    nodes = {**NODES, MODEL: replace(NODES[MODEL], materialized="incremental")}
    found = problem(ran(MODEL, "success", 7, left_out_rows="--sample"), graph=Graph("shop", nodes))
    assert found is not None
    assert "it stays so until its rows are made anew: dbt run --full-refresh --select audience" in found


def test_versions_of_a_model_are_told_apart() -> None:
    version = Node("model.shop.audience.v2", "model", "audience.v2", materialized="table")
    found = gate_problem("people", version.unique_id, with_nodes(version), Proof())
    assert found is not None
    assert found.startswith("model audience.v2 is not")


# Unit tests, which prove logic on rows of their own.


def test_a_unit_test_of_the_graph_refuses_where_it_failed_and_not_where_it_was_left_out() -> None:
    assert problem(ran(LOGIC, "fail", 20, failures=1)) == f"test logic on audience failed (1 failure){ADVICE}"
    assert problem(without=(LOGIC,)) is None


@pytest.mark.parametrize("status", ["fail", "error"])
def test_a_unit_test_that_only_the_build_log_knows_refuses_until_its_model_is_built_again(status: str) -> None:
    graph = replace(GRAPH, nodes={one: node for one, node in NODES.items() if one != LOGIC})
    failed = ran(LOGIC, status, 20, tests=(MODEL,))
    found = problem(failed, graph=graph)
    assert found is not None
    assert found.startswith("unit test logic on audience ")
    assert problem(replace(failed, tests=(OTHER,)), graph=graph) is None
    assert problem(failed, ran(MODEL, "success", 30), ran(OWN, "pass", 31), graph=graph) is None
    assert problem(failed, ran(MODEL, "skipped", 30), graph=graph) is not None


# What rests on what.


def test_the_lineage_of_a_circle_ends() -> None:
    circle = {
        "model.a": Node("model.a", "model", "a", ("model.b",), materialized="view"),
        "model.b": Node("model.b", "model", "b", ("model.a",), materialized="view"),
    }
    graph = replace(GRAPH, nodes=circle)
    assert graph.ancestors("model.a") == {"model.a", "model.b"}
    assert gate_problem("people", "model.a", graph, Proof({"model.a": ran("model.shop.a", "success")})) is None


def test_the_part_of_a_proof_that_a_model_rests_on_has_its_lineage_and_the_tests_on_it() -> None:
    unit_test = ran("unit_test.shop.other_logic", "pass", tests=(PARENT,))
    proof = Proof({**good(), unit_test.unique_id: unit_test})
    assert set(proof.of(GRAPH, (MODEL,))) == {*good(), unit_test.unique_id} - {OTHER, OTHERS}


# How old it is.


def when_built(*changed: NodeRun, graph: Graph = GRAPH) -> Built:
    return built(MODEL, graph, Proof({**good(), **{run.unique_id: run for run in changed}}))


def test_what_is_sent_is_as_old_as_its_model_and_the_tests_that_passed_are_counted() -> None:
    assert when_built() == Built(at(7.5), "invocation-1", 4, is_proved=True)
    assert when_built(ran(OWN, "fail", 20)) == Built(at(7.5), "invocation-1", 3, is_proved=False)
    assert when_built(ran(MODEL, "error", 20)).at is None
    assert built("model.shop.gone", GRAPH, Proof()) == Built(None, None, 0, is_proved=False)


def test_a_view_is_as_young_as_the_youngest_that_it_reads() -> None:
    assert when_built(ran(PARENT, "success", 20)).at == at(7.5)
    assert when_built(ran(PARENT, "success", 20), graph=with_nodes(VIEW)).at == at(20.5)
    assert when_built(graph=with_nodes(VIEW)).at == at(7.5)


def test_data_is_refused_only_where_it_is_older_than_allowed() -> None:
    found = when_built()
    hour = dt.timedelta(hours=1)
    assert age_problem(found, at(67.5), hour, "--max-age") is None
    assert age_problem(found, at(68), None, "--max-age") is None
    assert age_problem(found, at(60 * 24 * 3), hour, "--max-age") == (
        "its model was built 2 days ago, and --max-age allows data of up to 1 hour. Run dbt build"
    )
    unknown = age_problem(Built(None, None, 0, is_proved=True), at(0), hour, "max_age")
    assert unknown == "when its model was built is not known, and max_age allows data of up to 1 hour. Run dbt build"


# Artifacts instead of the build log.


def test_artifacts_of_two_invocations_prove_nothing() -> None:
    found = proof_of_artifacts(("invocation-1", "invocation-2"), "build", None)
    assert found is not None
    assert all(part in found for part in ("invocation-1", "invocation-2", "Run dbt build again"))


@pytest.mark.parametrize(
    ("written", "typed"),
    [
        *((one, one) for one in ("run", "test", "compile", "list", "seed", "snapshot", "show")),
        ("generate", "docs generate"),
        ("serve", "docs serve"),
        ("freshness", "source freshness"),
    ],
)
def test_artifacts_of_a_command_other_than_build_prove_nothing(written: str, typed: str) -> None:
    found = proof_of_artifacts(("invocation-1", "invocation-1"), written, None)
    assert found is not None
    assert f"'dbt {typed}'" in found


@pytest.mark.parametrize("command", ["build", "retry"])
def test_artifacts_of_a_build_or_of_its_retry_to_the_end_count(command: str) -> None:
    assert proof_of_artifacts(("invocation-1", "invocation-1"), command, None) is None


@pytest.mark.parametrize("option", ["--empty", "--sample"])
def test_artifacts_of_models_that_were_built_without_all_their_rows_prove_nothing(option: str) -> None:
    found = proof_of_artifacts(("invocation-1", "invocation-1"), "build", option)
    assert found is not None
    assert option in found
