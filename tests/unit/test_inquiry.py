"""Events in doubt: which are looked for, and which requests one that is found proves to have arrived."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.core import inquiry


def found_keys(carried: Mapping[str, set[str]], *keys: str) -> frozenset[str]:
    """The batches that have arrived where exactly these keys are found."""
    return inquiry.arrived(carried, [cell for cell, own in inquiry.cells(carried).items() if set(own) & set(keys)])


def test_one_event_of_a_request_proves_the_whole_request() -> None:
    assert found_keys({"a": {"1", "2", "3"}}, "2") == {"a"}
    assert found_keys({"a": {"1", "2", "3"}}) == set()


def test_an_event_that_went_twice_proves_what_both_requests_have_carried() -> None:
    assert found_keys({"a": {"1", "2"}, "b": {"1", "2"}}, "1") == {"a", "b"}


@pytest.mark.parametrize(
    ("keys", "arrived"), [(("1",), {"half"}), (("3",), {"whole", "half"}), (("1", "3"), {"whole", "half"})]
)
def test_an_event_of_a_half_does_not_prove_the_whole_before_it(keys: tuple[str, ...], arrived: set[str]) -> None:
    assert found_keys({"whole": {"1", "2", "3", "4"}, "half": {"1", "2"}}, *keys) == arrived


def test_an_event_of_two_requests_that_differ_proves_neither() -> None:
    carried = {"a": {"1", "2"}, "b": {"2", "3"}}
    assert found_keys(carried, "2") == set()
    assert found_keys(carried, "1", "2") == {"a"}
    assert found_keys(carried, "1", "3") == {"a", "b"}


@given(
    st.dictionaries(st.sampled_from("abcde"), st.sets(st.sampled_from("123456"), min_size=1), min_size=1),
    st.data(),
)
def test_no_request_counts_as_arrived_of_which_an_event_did_not(
    carried: dict[str, set[str]], data: st.DataObject
) -> None:
    taken = data.draw(st.sets(st.sampled_from(sorted(carried))))
    there = set().union(*(carried[batch] for batch in taken)) if taken else set()
    seen = data.draw(st.sets(st.sampled_from(sorted(there)))) if there else set()
    for batch in found_keys(carried, *seen):
        assert carried[batch] <= there


def test_a_few_events_are_looked_for_from_the_first_to_the_last() -> None:
    assert inquiry.some(["1"]) == ["1"]
    assert inquiry.some(["1", "2"]) == ["1", "2"]
    assert inquiry.some([str(number) for number in range(9)]) == ["0", "4", "8"]
