"""What is read of the rows that dbt's hooks write."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.core.build_log import Invocation, Logged, Watched, read_state
from sync.core.graph import DbtState, Node, NodeRun, Relation
from sync.spec.model import Exposure

ENDED = dt.datetime(2026, 10, 1, 9, 30)
SYNC = {
    "name": "people",
    "file": "models/marts.yml",
    "depends_on": ["model.shop.audience"],
    "meta": {"object": "segment"},
    "description": "",
    "tags": [],
    "owner_email": None,
}
GRAPH = {
    "nodes": {
        "model.shop.audience": {
            "name": "audience",
            "resource_type": "model",
            "relation": '"shop"."main"."audience"',
            "materialized": "table",
            "parents": ["source.shop.raw.customers"],
        },
        "source.shop.raw.customers": {"name": "customers", "resource_type": "source"},
    },
    "tests": {"test.shop.t": {"name": "t", "on": ["model.shop.audience"], "test": "unique", "column": "user_id"}},
}
LEDGERS = {"statsig_run_log": {"relation": '"shop"."main"."statsig_run_log"', "materialized": "ledger"}}


def state(
    runs: list[tuple[Any, ...]] | None = None,
    known: tuple[str, ...] = (),
    earlier: tuple[Watched, ...] = (),
    **texts: Any,
) -> DbtState:
    """What is read of an invocation; ``texts`` replace what it wrote of the project."""
    written = {"syncs": [SYNC], "graph": GRAPH, "ledgers": LEDGERS, **texts}
    encoded = {name: value if isinstance(value, str) else json.dumps(value) for name, value in written.items()}
    place = ("shop", "shop", "prod", "shop", "main")
    invocation = Invocation(*place, "invocation-1", "build", "0.2.0", ENDED, **encoded)
    return read_state(invocation, Logged(runs or [], known, earlier))


def test_the_project_is_read_as_the_last_command_left_it() -> None:
    found = state(known=('["orders", "people"]', '["old"]', "[]"))
    assert (found.invocation_id, found.package_version, found.built_at) == ("invocation-1", "0.2.0", ENDED)
    assert found.known_syncs == {"orders", "people", "old"}
    assert found.ledgers == {"statsig_run_log": Relation('"shop"."main"."statsig_run_log"', "ledger")}
    assert found.graph.project_name == "shop"
    assert found.graph.exposures == (
        Exposure("people", "models/marts.yml", ("model.shop.audience",), {"object": "segment"}),
    )
    assert found.graph.nodes == {
        "model.shop.audience": Node(
            "model.shop.audience",
            "model",
            "audience",
            ("source.shop.raw.customers",),
            '"shop"."main"."audience"',
            materialized="table",
        ),
        "source.shop.raw.customers": Node("source.shop.raw.customers", "source", "customers"),
        "test.shop.t": Node(
            "test.shop.t",
            "test",
            "t",
            ("model.shop.audience",),
            attached_to="model.shop.audience",
            test_name="unique",
            test_column="user_id",
        ),
    }


def test_what_became_of_a_node_is_read_with_what_a_unit_test_tests() -> None:
    began, ended = dt.datetime(2026, 10, 1, 9), dt.datetime(2026, 10, 1, 9, 1)
    rows = [
        (
            "model.shop.audience",
            "model",
            "audience",
            "success",
            "i1",
            "build",
            began,
            ended,
            None,
            '"a"',
            "--empty",
            '["source.shop.raw.customers"]',
            "project b",
            ended,
            None,
        ),
        (
            "unit_test.shop.u",
            "unit_test",
            "u",
            "fail",
            "i1",
            "test",
            began,
            None,
            2,
            None,
            None,
            None,
            None,
            ended,
            '["model.shop.audience"]',
        ),
    ]
    assert state(rows).proof.runs == {
        "model.shop.audience": NodeRun(
            "model.shop.audience",
            "model",
            "audience",
            "success",
            "i1",
            "build",
            began,
            ended,
            None,
            '"a"',
            "--empty",
            parents=frozenset({"source.shop.raw.customers"}),
            overwritten_by="project b",
        ),
        "unit_test.shop.u": NodeRun(
            "unit_test.shop.u",
            "unit_test",
            "u",
            "fail",
            "i1",
            "test",
            began,
            failures=2,
            tests=("model.shop.audience",),
        ),
    }


def meta_of(written: Any) -> Any:
    (exposure,) = state(syncs=[{**SYNC, "meta": written}]).graph.exposures
    return exposure.meta


def test_keys_that_json_could_not_hold_come_as_pairs_and_are_themselves_again() -> None:
    assert meta_of({"!pairs": [[404, "x"], [True, "y"], [None, {"!pairs": [[1.5, 2]]}]]}) == {
        404: "x",
        True: "y",
        None: {1.5: 2},
    }
    assert meta_of({"columns": {"!pairs": [[7, "seven"], ["eight", 8]]}}) == {"columns": {7: "seven", "eight": 8}}
    assert meta_of({"!pairs": "not a list"}) == {"!pairs": "not a list"}
    assert meta_of(["as", {"it": "is"}, None]) == ["as", {"it": "is"}, None]


def with_odd_keys(value: Any) -> Any:
    """As the macro of this name writes it."""
    if isinstance(value, list):
        return [with_odd_keys(one) for one in value]
    if not isinstance(value, dict):
        return value
    inner = {key: with_odd_keys(one) for key, one in value.items()}
    is_odd = "!pairs" in value or not all(isinstance(key, str) for key in value)
    return {"!pairs": [list(pair) for pair in inner.items()]} if is_odd else inner


_keys = st.just("!pairs") | st.text() | st.integers(-999, 999) | st.none()
_metas = st.recursive(
    st.none() | st.booleans() | st.integers(-999, 999) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=3),
    max_leaves=6,
)


@given(meta=_metas)
def test_whatever_the_hook_writes_of_a_sync_is_read_as_it_was(meta: Any) -> None:
    assert meta_of(with_odd_keys(meta)) == meta


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("syncs", "["),
        ("syncs", {}),
        ("syncs", [{"name": "people"}]),
        ("graph", "null"),
        ("graph", {"nodes": {"model.a": {"name": 5, "resource_type": "model"}}}),
        ("graph", {"tests": {"test.a": {"name": "a"}}}),
        ("ledgers", [1]),
    ],
)
def test_what_no_hook_writes_is_an_error_of_one_kind(name: str, written: Any) -> None:
    with pytest.raises(msgspec.DecodeError):
        state(**{name: written})
