"""A few events of many."""

from __future__ import annotations

from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.core.sampling import Sample


def sampled(count: int, cut: int) -> list[int]:
    """The places of the events that are kept, of so many that come in frames of ``cut``."""
    events = pl.DataFrame({"event_name": ["view"] * count, "key": [str(number) for number in range(count)]})
    sample = Sample()
    for start in range(0, count, cut):
        sample.add(events.slice(start, cut))
    return [int(key) for _, key in sample.spread()]


@given(count=st.integers(0, 9_000), cut=st.integers(1, 4_000))
def test_ten_events_from_the_first_to_the_last_are_kept_of_any_number(count: int, cut: int) -> None:
    found = sampled(count, max(cut, count // 50))
    assert len(found) == min(count, 10)
    assert found == sorted(set(found))
    assert not found or (found[0], found[-1]) == (0, count - 1)
    gaps = [after - before for before, after in pairwise(found)]
    assert all(abs(gap - (count - 1) / 9) <= count / 100 + 1 for gap in gaps[:-1] if count > 10)


@pytest.mark.parametrize("cut", [1, 3, 100])
def test_of_up_to_ten_events_all_are_kept(cut: int) -> None:
    assert sampled(10, cut) == list(range(10))
