"""What is added to and removed from a segment."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.core.segments import IN, MEMBERSHIP, OUT, UNCERTAIN, Change, slices
from tests.segment_facts import change_of, series
from tests.unit.values import NASTY

MODES = ("mirror", "add", "remove")
ids = st.sampled_from([*"abcdefgh", *NASTY])
audiences = st.lists(ids, unique=True, max_size=12)
# Uncertain ids, by the operation that is in doubt.
ADD_IN_DOUBT, REMOVE_IN_DOUBT = f"{UNCERTAIN} add", f"{UNCERTAIN} remove"
memberships = st.dictionaries(ids, st.sampled_from([IN, OUT, ADD_IN_DOUBT, REMOVE_IN_DOUBT]), max_size=12)


def change(mode: str, audience: list[str], membership: Mapping[str, str]) -> Change:
    rows = [(identity, *[*status.split(), None][:2]) for identity, status in membership.items()]
    known = pl.DataFrame(rows, schema=MEMBERSHIP, orient="row")
    return change_of(mode, series(audience), known)


def applied(membership: Mapping[str, str], found: Change) -> dict[str, str]:
    """The membership when all of the change is acknowledged: removals first, then additions."""
    removed = dict.fromkeys(found.removes.to_list(), OUT)
    return {**membership, **removed, **dict.fromkeys(found.adds.to_list(), IN)}


def members(membership: Mapping[str, str]) -> set[str]:
    return {identity for identity, status in membership.items() if status == IN}


@given(audience=audiences, membership=memberships)
def test_a_mirror_makes_the_segment_equal_the_audience(audience: list[str], membership: dict[str, str]) -> None:
    after = applied(membership, change("mirror", audience, membership))
    assert members(after) == set(audience)
    assert not {ADD_IN_DOUBT, REMOVE_IN_DOUBT} & set(after.values())


@pytest.mark.parametrize("mode", MODES)
@given(audience=audiences, membership=memberships)
def test_no_id_is_in_a_change_twice_and_the_order_is_that_of_the_text(
    mode: str, audience: list[str], membership: dict[str, str]
) -> None:
    found = change(mode, audience, membership)
    both = found.removes.to_list() + found.adds.to_list()
    assert len(set(both)) == len(both)
    assert found.removes.to_list() == sorted(found.removes.to_list())
    assert found.adds.to_list() == sorted(found.adds.to_list())


@pytest.mark.parametrize("mode", MODES)
@given(audience=audiences, membership=memberships)
def test_a_second_run_does_nothing(mode: str, audience: list[str], membership: dict[str, str]) -> None:
    after = applied(membership, change(mode, audience, membership))
    again = change(mode, audience, after)
    assert (again.removes.to_list(), again.adds.to_list()) == ([], [])


@given(audience=audiences, membership=memberships)
def test_add_never_removes_and_ends_with_the_whole_audience_in(audience: list[str], membership: dict[str, str]) -> None:
    found = change("add", audience, membership)
    assert found.removes.to_list() == []
    assert members(applied(membership, found)) >= set(audience) | members(membership)


@given(audience=audiences, membership=memberships)
def test_remove_never_adds_and_ends_with_the_whole_audience_out(
    audience: list[str], membership: dict[str, str]
) -> None:
    found = change("remove", audience, membership)
    assert found.adds.to_list() == []
    after = applied(membership, found)
    assert all(after[identity] == OUT for identity in audience)
    assert members(after) == members(membership) - set(audience)


@pytest.mark.parametrize("mode", MODES)
@given(audience=audiences, membership=memberships)
def test_only_what_changes_is_sent(mode: str, audience: list[str], membership: dict[str, str]) -> None:
    found = change(mode, audience, membership)
    assert not set(found.adds.to_list()) & members(membership)
    surely_out = {identity for identity, status in membership.items() if status == OUT}
    assert not set(found.removes.to_list()) & surely_out


@pytest.mark.parametrize(
    ("mode", "doubt", "in_audience", "removes", "adds"),
    [
        ("mirror", ADD_IN_DOUBT, True, [], ["ann"]),
        ("mirror", ADD_IN_DOUBT, False, ["ann"], []),
        ("mirror", REMOVE_IN_DOUBT, True, [], ["ann"]),
        ("mirror", REMOVE_IN_DOUBT, False, ["ann"], []),
        ("add", ADD_IN_DOUBT, True, [], ["ann"]),
        ("add", ADD_IN_DOUBT, False, [], ["ann"]),
        ("remove", REMOVE_IN_DOUBT, True, ["ann"], []),
        ("remove", REMOVE_IN_DOUBT, False, ["ann"], []),
    ],
)
def test_what_is_in_doubt_is_settled_by_sending_it_again(
    mode: str, doubt: str, in_audience: bool, removes: list[str], adds: list[str]
) -> None:
    found = change(mode, ["ann"] if in_audience else [], {"ann": doubt})
    assert (found.removes.to_list(), found.adds.to_list()) == (removes, adds)


@pytest.mark.parametrize(("mode", "doubt"), [("add", REMOVE_IN_DOUBT), ("remove", ADD_IN_DOUBT)])
def test_a_doubt_of_the_other_operation_is_left_to_the_sync_that_has_it(mode: str, doubt: str) -> None:
    found = change(mode, [], {"ann": doubt})
    assert (found.removes.to_list(), found.adds.to_list()) == ([], [])


def test_remove_takes_out_ids_that_the_ledgers_do_not_know() -> None:
    assert change("remove", ["put in by hand"], {}).removes.to_list() == ["put in by hand"]


def test_a_mirror_of_an_empty_audience_removes_every_member() -> None:
    found = change("mirror", [], {"ann": IN, "bob": OUT, "eve": REMOVE_IN_DOUBT})
    assert (found.removes.to_list(), found.adds.to_list()) == (["ann", "eve"], [])


def test_a_mode_that_is_not_known_is_an_error() -> None:
    with pytest.raises(ValueError, match="replace"):
        change("replace", [], {})


@given(audience=audiences, size=st.integers(1, 5))
def test_slices_put_together_are_the_ids_and_none_is_empty_or_too_large(audience: list[str], size: int) -> None:
    found = [part.to_list() for part in slices(pl.Series("id", audience, dtype=pl.String), size)]
    assert [identity for part in found for identity in part] == audience
    assert all(1 <= len(part) <= size for part in found)
    assert all(len(part) == size for part in found[:-1])
