"""The sandbox's rate limits, under a clock that the test moves."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import pytest

from sync.sandbox import Keys
from sync.sandbox.contract import RefusedError
from sync.sandbox.limits import LimitOptions, Page, RateLimits

LIMITED = [Page.GENERAL, Page.ID_LIST, Page.ID_LIST_READ]


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


def refusal(limits: RateLimits, page: Page, project: str = "sandbox") -> RefusedError | None:
    try:
        limits.admit(project, page)
    except RefusedError as error:
        return error
    return None


@pytest.mark.parametrize(("page", "most"), [(Page.ID_LIST, 12), (Page.ID_LIST_READ, 12), (Page.GENERAL, 100)])
def test_ten_seconds_take_so_many_calls(limits: RateLimits, clock: Clock, page: Page, most: int) -> None:
    assert admitted(limits, page, most) == most
    assert refusal(limits, page) is not None
    clock.now += 10.5
    assert admitted(limits, page, most - 1) == most - 1


@pytest.mark.parametrize(("page", "most"), [(Page.ID_LIST, 12), (Page.ID_LIST_READ, 12), (Page.GENERAL, 100)])
def test_fifteen_minutes_take_nine_hundred_calls(limits: RateLimits, clock: Clock, page: Page, most: int) -> None:
    for _ in range(900 // most):
        assert admitted(limits, page, most) == most
        clock.now += 10.5
    assert refusal(limits, page) is not None
    clock.now += 15 * 60
    assert admitted(limits, page, most) == most


def test_changes_of_ids_count_among_all_changes(limits: RateLimits) -> None:
    assert admitted(limits, Page.ID_LIST, 12) == 12
    assert admitted(limits, Page.GENERAL, 120) == 88


def test_changes_and_pages_of_ids_count_apart(limits: RateLimits) -> None:
    assert admitted(limits, Page.ID_LIST_READ, 12) == 12
    assert admitted(limits, Page.ID_LIST, 12) == 12


def test_reads_of_anything_else_are_not_limited(limits: RateLimits) -> None:
    assert admitted(limits, Page.READ, 2000) == 2000


@pytest.mark.parametrize("page", LIMITED)
def test_an_attempt_that_is_refused_counts_too(limits: RateLimits, clock: Clock, page: Page) -> None:
    limits.configure(LimitOptions(general=((2, 10),), id_list=((2, 10),), id_list_read=((2, 10),)))
    assert admitted(limits, page, 2) == 2
    clock.now += 9
    assert refusal(limits, page) is not None
    clock.now += 2
    # The first two have left the window, the refused one and this one are in it.
    assert refusal(limits, page) is None
    assert refusal(limits, page) is not None


def test_who_repeats_at_once_is_never_let_in(limits: RateLimits, clock: Clock) -> None:
    assert admitted(limits, Page.ID_LIST, 12) == 12
    for _ in range(100):
        clock.now += 0.5
        assert refusal(limits, Page.ID_LIST) is not None


def test_each_project_has_its_own_limits(limits: RateLimits) -> None:
    assert admitted(limits, Page.ID_LIST, 13) == 12
    assert refusal(limits, Page.ID_LIST, "other") is None


def test_a_further_key_is_of_a_project_of_its_own_unless_it_names_one() -> None:
    keys = Keys(more=("console-b", "console-c@shop", "secret-c@shop", "console-d@sandbox"))
    assert keys.project_of("console-sandbox") == keys.project_of("console-d") == "sandbox"
    assert keys.project_of("console-c") == keys.project_of("secret-c") == "shop"
    assert keys.project_of("console-b") not in ("sandbox", "shop")
    assert keys.opens_segments("console-c")
    assert keys.opens_events("secret-c")
    assert not keys.opens_segments("console-c@shop")


@pytest.mark.parametrize("page", LIMITED)
@pytest.mark.parametrize("too_many", [0, 1, 5])
def test_waiting_as_long_as_retry_after_says_is_enough(
    limits: RateLimits, clock: Clock, page: Page, too_many: int
) -> None:
    limits.configure(LimitOptions(general=((12, 10),)))
    for _ in range(12 + too_many):
        refusal(limits, page)
        clock.now += 0.3
    error = refusal(limits, page)
    assert error is not None
    assert error.status == 429
    seconds = int(error.headers["Retry-After"])
    assert seconds <= 11
    clock.now += seconds
    assert refusal(limits, page) is None


def test_retry_after_can_be_an_http_date(limits: RateLimits, clock: Clock) -> None:
    limits.configure(LimitOptions(retry_after="http_date"))
    assert admitted(limits, Page.ID_LIST, 12) == 12
    error = refusal(limits, Page.ID_LIST)
    assert error is not None
    clock.now = parsedate_to_datetime(error.headers["Retry-After"]).timestamp()
    assert refusal(limits, Page.ID_LIST) is None


def test_retry_after_can_be_left_out(limits: RateLimits) -> None:
    limits.configure(LimitOptions(retry_after="none"))
    assert admitted(limits, Page.ID_LIST, 12) == 12
    error = refusal(limits, Page.ID_LIST)
    assert error is not None
    assert error.headers == {}


def test_limits_can_be_scaled_set_and_switched_off(limits: RateLimits) -> None:
    limits.configure(LimitOptions(scale=0.25))
    assert admitted(limits, Page.ID_LIST, 20) == 3
    limits.configure(LimitOptions(id_list=((30, 10),)))
    assert admitted(limits, Page.ID_LIST, 40) == 30
    limits.configure(LimitOptions(id_list=()))
    assert admitted(limits, Page.ID_LIST, 120) == 100
    limits.configure(LimitOptions(enabled=False))
    assert admitted(limits, Page.ID_LIST, 2000) == 2000
