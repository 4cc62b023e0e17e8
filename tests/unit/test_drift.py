"""Drift: how a list differs from the ledgers, and what a repair may do about it."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.core.drift import count_fits, drift, repair
from sync.core.plan import SegmentFacts, SegmentPlan
from sync.core.segments import MEMBERSHIP
from sync.spec.model import SegmentConfig
from tests.segment_facts import segment_facts, series

ids = st.sampled_from("abcdefgh")
memberships = st.dictionaries(ids, st.sampled_from(["in", "out", "uncertain"]))
lists = st.sets(ids)
modes = st.sampled_from(["mirror", "add", "remove"])


def frame(membership: dict[str, str]) -> pl.DataFrame:
    doubts = ["add" if status == "uncertain" else None for status in membership.values()]
    rows = {"id": list(membership), "status": list(membership.values()), "doubt": doubts}
    return pl.DataFrame(rows, schema=MEMBERSHIP)


def facts(membership: dict[str, str], mode: str) -> SegmentFacts:
    config = SegmentConfig.model_validate({"object": "segment", "segment_id": "people", "mode": mode})
    return segment_facts(config, (), frame(membership))


def with_status(membership: dict[str, str], *statuses: str) -> set[str]:
    return {one for one, status in membership.items() if status in statuses}


def repaired(membership: dict[str, str], listed: set[str], mode: str) -> tuple[SegmentPlan, dict[str, str], set[str]]:
    """The repair of what a sync of this mode finds, and the ledgers and the list after it."""
    given_facts = facts(membership, mode)
    found = drift(mode, frame(membership), series(listed))
    plan = repair(given_facts, found, series(listed))
    removes, adds = set(plan.change.removes), set(plan.change.adds)
    known = {**membership, **dict.fromkeys(removes, "out"), **dict.fromkeys(adds, "in")}
    return plan, known, (listed - removes) | adds


@given(memberships, lists)
def test_for_a_mirror_every_difference_is_drift(membership: dict[str, str], listed: set[str]) -> None:
    found = drift("mirror", frame(membership), series(listed))
    assert set(found.missing) == with_status(membership, "in") - listed
    assert set(found.extra) == listed - with_status(membership, "in", "uncertain")
    assert found.others == 0


@given(memberships, lists)
def test_for_add_a_member_that_is_gone_is_drift_and_who_else_is_in_is_not(
    membership: dict[str, str], listed: set[str]
) -> None:
    found = drift("add", frame(membership), series(listed))
    assert set(found.missing) == with_status(membership, "in") - listed
    assert set(found.extra) == set()


@given(memberships, lists)
def test_for_remove_an_id_that_was_taken_out_and_is_back_is_drift_and_nothing_else(
    membership: dict[str, str], listed: set[str]
) -> None:
    found = drift("remove", frame(membership), series(listed))
    assert set(found.missing) == set()
    assert set(found.extra) == listed & with_status(membership, "out")


@given(memberships, lists, modes)
def test_a_difference_is_drift_or_is_counted_with_the_others(
    membership: dict[str, str], listed: set[str], mode: str
) -> None:
    found = drift(mode, frame(membership), series(listed))
    assert found.count + found.others == drift("mirror", frame(membership), series(listed)).count


@given(memberships, lists, lists, st.sampled_from(["add", "remove"]))
def test_ids_that_the_ledgers_do_not_know_are_never_drift_where_others_fill_the_list_too(
    membership: dict[str, str], listed: set[str], strangers: set[str], mode: str
) -> None:
    alone = drift(mode, frame(membership), series(listed))
    shared = drift(mode, frame(membership), series(listed | (strangers - set(membership))))
    assert (set(shared.missing), set(shared.extra)) == (set(alone.missing), set(alone.extra))


@given(memberships, lists, modes)
def test_a_list_without_drift_has_a_count_that_fits(membership: dict[str, str], listed: set[str], mode: str) -> None:
    if not drift(mode, frame(membership), series(listed)).count:
        assert count_fits(mode, facts(membership, mode).counts, len(listed))


@given(memberships, lists, modes)
def test_after_a_repair_there_is_no_drift(membership: dict[str, str], listed: set[str], mode: str) -> None:
    _, known, list_after = repaired(membership, listed, mode)
    assert drift(mode, frame(known), series(list_after)).count == 0


@given(memberships, lists, modes)
def test_a_repair_puts_in_and_takes_out_only_what_the_mode_does(
    membership: dict[str, str], listed: set[str], mode: str
) -> None:
    plan, _, _ = repaired(membership, listed, mode)
    assert not (mode == "add" and len(plan.change.removes))
    assert not (mode == "remove" and len(plan.change.adds))


@given(memberships, lists, modes)
def test_a_repair_tells_the_ledgers_nothing_of_ids_that_it_does_not_change(
    membership: dict[str, str], listed: set[str], mode: str
) -> None:
    plan, _, _ = repaired(membership, listed, mode)
    assert plan.settles == 0


@given(memberships, lists)
def test_the_repairs_of_two_syncs_on_a_segment_leave_no_drift_of_either(
    membership: dict[str, str], listed: set[str]
) -> None:
    _, known, between = repaired(membership, listed, "remove")
    _, known, list_after = repaired(known, between, "add")
    assert [drift(mode, frame(known), series(list_after)).count for mode in ("add", "remove")] == [0, 0]


def test_a_mode_that_there_is_not_is_an_error() -> None:
    with pytest.raises(ValueError, match="no such mode"):
        drift("insert", frame({}), series(set()))
