"""How long Statsig's rate limits make requests take."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync.core.limits import seconds_for
from sync.spec.limits import Limits


def simulated(requests: int, rates: tuple[tuple[int, int], ...]) -> int:
    """The second in which the last request goes out when each goes out as early as every limit lets it."""
    sent: list[int] = []
    for _ in range(requests):
        second = sent[-1] if sent else 0
        while any(sum(second - seconds < one for one in sent) >= count for count, seconds in rates):
            second += 1
        sent.append(second)
    return sent[-1] if sent else 0


@pytest.mark.parametrize(
    ("requests", "seconds"),
    [(0, 0), (1, 0), (12, 0), (13, 10), (24, 10), (25, 20), (900, 740), (901, 900), (1000, 980)],
)
def test_twelve_requests_in_ten_seconds_and_nine_hundred_in_fifteen_minutes(requests: int, seconds: int) -> None:
    assert seconds_for(requests, Limits().id_list_changes) == seconds


def test_other_changes_have_the_wider_limit() -> None:
    assert seconds_for(101, Limits().changes) == 10


def test_without_a_limit_nothing_takes_time() -> None:
    assert seconds_for(1_000, ()) == 0


@settings(max_examples=max(300, settings().max_examples))
@given(
    requests=st.integers(0, 60),
    rates=st.lists(st.tuples(st.integers(1, 12), st.integers(1, 20)), min_size=1, max_size=3).map(tuple),
)
def test_the_time_is_that_of_sending_as_early_as_all_limits_allow(
    requests: int, rates: tuple[tuple[int, int], ...]
) -> None:
    assert seconds_for(requests, rates) == simulated(requests, rates)
