"""The sandbox's rate limits, under a clock that the test moves."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import pytest

from sync.sandbox.contract import RefusedError
from sync.sandbox.limits import LimitOptions, Page, RateLimits


@dataclass
class Clock:
    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(clock: Clock) -> RateLimits:
    return RateLimits(clock)


def admitted(limits: RateLimits, page: Page, calls: int) -> int:
    """How many of so many calls get through."""
    return sum(refusal(limits, page) is None for _ in range(calls))


def refusal(limits: RateLimits, page: Page) -> RefusedError | None:
    try:
        limits.admit("console-x", page)
    except RefusedError as error:
        return error
    return None


def test_twelve_id_list_calls_fit_into_ten_seconds(limits: RateLimits, clock: Clock) -> None:
    assert admitted(limits, Page.ID_LIST, 20) == 12
    clock.now += 10.5
    assert admitted(limits, Page.ID_LIST, 20) == 12


def test_a_hundred_changes_fit_into_ten_seconds(limits: RateLimits) -> None:
    assert admitted(limits, Page.GENERAL, 120) == 100


def test_id_list_calls_count_among_all_changes(limits: RateLimits) -> None:
    assert admitted(limits, Page.ID_LIST, 12) == 12
    assert admitted(limits, Page.GENERAL, 120) == 88


def test_nine_hundred_changes_fit_into_fifteen_minutes(limits: RateLimits, clock: Clock) -> None:
    through = 0
    for _ in range(12):
        through += admitted(limits, Page.GENERAL, 100)
        clock.now += 11
    assert through == 900
    clock.now += 15 * 60
    assert admitted(limits, Page.GENERAL, 100) == 100


def test_reads_are_not_limited(limits: RateLimits) -> None:
    assert admitted(limits, Page.READ, 2000) == 2000


def test_each_key_has_its_own_limits(limits: RateLimits) -> None:
    assert admitted(limits, Page.ID_LIST, 13) == 12
    limits.admit("console-y", Page.ID_LIST)


def test_waiting_as_long_as_retry_after_says_is_enough(limits: RateLimits, clock: Clock) -> None:
    for _ in range(12):
        limits.admit("console-x", Page.ID_LIST)
        clock.now += 0.3
    error = refusal(limits, Page.ID_LIST)
    assert error is not None
    assert error.status == 429
    seconds = int(error.headers["Retry-After"])
    assert 6 <= seconds <= 8
    clock.now += seconds
    assert refusal(limits, Page.ID_LIST) is None


def test_retry_after_can_be_an_http_date(limits: RateLimits, clock: Clock) -> None:
    limits.configure(LimitOptions(retry_after="http_date"))
    assert admitted(limits, Page.ID_LIST, 12) == 12
    error = refusal(limits, Page.ID_LIST)
    assert error is not None
    clock.now = parsedate_to_datetime(error.headers["Retry-After"]).timestamp()
    assert refusal(limits, Page.ID_LIST) is None


def test_limits_can_be_scaled_and_switched_off(limits: RateLimits) -> None:
    limits.configure(LimitOptions(scale=0.25))
    assert admitted(limits, Page.ID_LIST, 20) == 3
    limits.configure(LimitOptions(enabled=False))
    assert admitted(limits, Page.ID_LIST, 2000) == 2000
