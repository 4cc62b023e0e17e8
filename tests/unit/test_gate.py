"""Whether dbt has just proved what a sync would send."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest

from sync.core.gate import gate_problems
from sync.core.graph import BuildResults, Graph, Node

MODEL = "model.shop.audience"
PARENT = "model.shop.stg_customers"
SOURCE = "source.shop.raw.customers"
OTHER = "model.shop.unrelated"

NODES = {
    SOURCE: Node(SOURCE, "source", "customers"),
    PARENT: Node(PARENT, "model", "stg_customers", (SOURCE,)),
    MODEL: Node(MODEL, "model", "audience", (PARENT,)),
    OTHER: Node(OTHER, "model", "unrelated"),
    "test.shop.own": Node("test.shop.own", "test", "own", (MODEL,), attached_to=MODEL),
    "test.shop.parents": Node("test.shop.parents", "test", "parents", (PARENT,), attached_to=PARENT),
    "test.shop.sources": Node("test.shop.sources", "test", "sources", (SOURCE,)),
    "test.shop.singular": Node("test.shop.singular", "test", "singular", (PARENT, OTHER)),
    "test.shop.others": Node("test.shop.others", "test", "others", (OTHER, MODEL), attached_to=OTHER),
    "unit_test.shop.logic": Node("unit_test.shop.logic", "unit_test", "logic", (MODEL,)),
}
COUNTING_TESTS = ["test.shop.own", "test.shop.parents", "test.shop.sources", "test.shop.singular"]
GRAPH = Graph("invocation-1", "duckdb", "shop", NODES)
STATUSES = {
    PARENT: "success",
    MODEL: "success",
    OTHER: "success",
    **dict.fromkeys([*COUNTING_TESTS, "test.shop.others", "unit_test.shop.logic"], "pass"),
}


def problems(command: str = "build", changed: Mapping[str, str | None] = MappingProxyType({})) -> tuple[str, ...]:
    """What the gate says after a good build in which some nodes ended otherwise; None stands for not at all."""
    statuses = {**STATUSES, **changed}
    found = {name: status for name, status in statuses.items() if status is not None}
    return gate_problems(MODEL, GRAPH, BuildResults("invocation-1", command, statuses=found))


def after(node: str, status: str | None) -> tuple[str, ...]:
    return problems(changed={node: status})


def test_a_good_build_lets_the_sync_run() -> None:
    assert problems() == ()


@pytest.mark.parametrize("status", ["error", "skipped", "fail", "partial success", "no-op", "runtime error", None])
def test_a_model_that_was_not_built_refuses_the_sync(status: str | None) -> None:
    (problem,) = after(MODEL, status)
    assert "audience" in problem


@pytest.mark.parametrize("test", COUNTING_TESTS)
@pytest.mark.parametrize("status", ["fail", "error", "runtime error", "skipped", None])
def test_a_test_on_the_model_or_on_an_ancestor_that_did_not_pass_refuses_the_sync(
    test: str, status: str | None
) -> None:
    (problem,) = after(test, status)
    assert NODES[test].name in problem


@pytest.mark.parametrize("test", COUNTING_TESTS)
def test_a_test_that_only_warns_lets_the_sync_run(test: str) -> None:
    assert after(test, "warn") == ()


@pytest.mark.parametrize("status", ["error", "skipped", "fail"])
def test_an_ancestor_that_failed_refuses_the_sync(status: str) -> None:
    (problem,) = after(PARENT, status)
    assert "stg_customers" in problem


def test_an_ancestor_that_is_not_in_the_results_refuses_only_by_its_tests() -> None:
    assert after(PARENT, None) == ()
    (problem,) = problems(changed={PARENT: None, "test.shop.parents": None})
    assert problem == "test parents is not in the results of this build"


@pytest.mark.parametrize(("node", "status"), [(OTHER, "error"), ("test.shop.others", "fail")])
def test_what_has_nothing_to_do_with_the_model_does_not_count(node: str, status: str) -> None:
    assert after(node, status) == ()


def test_a_unit_test_refuses_where_it_failed_and_not_where_it_was_left_out() -> None:
    assert len(after("unit_test.shop.logic", "fail")) == 1
    assert after("unit_test.shop.logic", None) == ()


def test_everything_that_is_wrong_is_said_at_once() -> None:
    found = problems(
        changed={MODEL: "skipped", PARENT: "error", "test.shop.own": "skipped", "test.shop.parents": "fail"}
    )
    assert len(found) == 4


def test_artifacts_of_two_invocations_prove_nothing() -> None:
    (problem,) = gate_problems(MODEL, GRAPH, BuildResults("invocation-2", "build", statuses=STATUSES))
    assert "invocation-1" in problem
    assert "invocation-2" in problem
    assert "dbt build" in problem


@pytest.mark.parametrize("command", ["run", "test", "compile", "list", "seed", "snapshot", "show"])
def test_a_command_other_than_build_proves_nothing(command: str) -> None:
    (problem,) = problems(command)
    assert f"'dbt {command}'" in problem
    assert "dbt build" in problem


@pytest.mark.parametrize(
    ("written", "typed"), [("generate", "docs generate"), ("serve", "docs serve"), ("freshness", "source freshness")]
)
def test_a_command_of_two_words_is_named_as_it_is_typed(written: str, typed: str) -> None:
    (problem,) = problems(written)
    assert f"'dbt {typed}'" in problem


def test_a_build_that_is_retried_to_the_end_counts() -> None:
    assert problems("retry") == ()


@pytest.mark.parametrize("option", ["--empty", "--sample"])
def test_models_that_were_built_without_all_their_rows_prove_nothing(option: str) -> None:
    (problem,) = gate_problems(MODEL, GRAPH, BuildResults("invocation-1", "build", option, STATUSES))
    assert option in problem


def test_a_model_that_the_manifest_does_not_have_refuses_the_sync() -> None:
    assert gate_problems("model.shop.gone", GRAPH, BuildResults("invocation-1", "build", statuses=STATUSES)) != ()


def test_the_lineage_of_a_circle_ends() -> None:
    circle = {
        "model.a": Node("model.a", "model", "a", ("model.b",)),
        "model.b": Node("model.b", "model", "b", ("model.a",)),
    }
    assert replace(GRAPH, nodes=circle).ancestors("model.a") == {"model.a", "model.b"}
