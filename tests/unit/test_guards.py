"""The guards: what a mirror is refused, and what may go on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from sync.core import guards, segments
from sync.core.plan import SegmentPlan, plan_segment, project_size_refusals, size_warnings
from sync.spec.model import SegmentConfig
from tests.segment_facts import segment_facts, series


def plan(audience: range, members: range, is_missing: bool = False, **config: Any) -> SegmentPlan:
    """The plan of a segment sync; ids are numbers."""
    meta = {"object": "segment", "segment_id": "people", "mode": "mirror", **config}
    parsed = SegmentConfig.model_validate(meta)
    known = segments.members(series(map(str, members)))
    return plan_segment(segment_facts(parsed, map(str, audience), known, is_missing=is_missing))


def test_an_empty_audience_never_empties_a_segment() -> None:
    assert "is empty" in str(guards.removal_problem(plan(range(0), range(1))))


def test_an_empty_audience_and_an_empty_segment_are_fine() -> None:
    assert guards.removal_problem(plan(range(0), range(0))) is None


def test_an_empty_audience_may_empty_a_segment_where_the_guard_allows_it() -> None:
    assert guards.removal_problem(plan(range(0), range(5), guard={"allow_empty": True})) is None


@pytest.mark.parametrize(
    ("audience", "members", "is_refused"),
    [
        (range(5), range(10), False),  # 5 removed: not more than 5
        (range(4), range(10), True),  # 6 removed: more than 5, and more than 20 %
        (range(1), range(40), True),
        (range(24), range(30), False),  # 6 removed, but only 20 %
        (range(800), range(1000), False),  # 20 %: not more than 20 %
        (range(799), range(1000), True),
        (range(1), range(6), False),  # 83 %, but only 5 ids
        (range(9_000), range(10_000), False),  # 1,000 ids, but only 10 %
    ],
)
def test_a_mirror_is_refused_above_both_of_its_bounds(audience: range, members: range, is_refused: bool) -> None:
    assert (guards.removal_problem(plan(audience, members)) is not None) is is_refused


def gone(audience: range, members: range, **config: Any) -> SegmentPlan:
    """The plan of a segment sync whose segment has gone from Statsig, and is to be made again."""
    return plan(audience, members, is_missing=True, **config)


def numbers(ids: pl.Series) -> list[int]:
    return sorted(map(int, ids))


@pytest.mark.parametrize(
    ("mode", "adds", "removes"),
    [("mirror", [0, 1, 2], []), ("add", [0, 1, 2, 3, 4], []), ("remove", [], [0, 1, 2])],
)
def test_a_segment_that_is_gone_is_filled_from_nothing(mode: str, adds: list[int], removes: list[int]) -> None:
    made = gone(range(3), range(1, 5), mode=mode)
    assert (numbers(made.change.adds), numbers(made.change.removes)) == (adds, removes)
    assert (made.members_before, made.members_after) == (4, len(adds))


def test_additions_in_doubt_go_into_a_segment_that_is_made_again_where_nothing_is_taken_out() -> None:
    config = gone(range(1), range(0), mode="add").facts.config
    doubts = [("out", "out", None), ("added", "uncertain", "add"), ("taken", "uncertain", "remove")]
    membership = pl.DataFrame(doubts, schema=segments.MEMBERSHIP, orient="row")
    made = plan_segment(segment_facts(config, ["0"], membership, is_missing=True))
    assert made.change.adds.to_list() == ["0", "added"]


@pytest.mark.parametrize(
    ("audience", "members", "is_refused"),
    [
        (range(1), range(40), True),
        (range(40), range(40), False),
        (range(35), range(40), False),
        (range(0), range(3), True),
    ],
)
def test_the_guard_counts_who_would_not_be_in_a_segment_that_is_made_again(
    audience: range, members: range, is_refused: bool
) -> None:
    problem = guards.removal_problem(gone(audience, members))
    assert (problem is not None) is is_refused
    assert problem is None or "is gone from Statsig, and the" in problem


def test_a_segment_that_is_gone_and_only_added_to_or_removed_from_has_no_guard() -> None:
    for mode in ("add", "remove"):
        assert guards.removal_problem(gone(range(1), range(40), mode=mode)) is None


def test_who_is_put_back_into_a_list_that_is_gone_counts_once_for_the_projects_limit() -> None:
    assert project_size_refusals([gone(range(40), range(40))], {"statsig": 40}, limit=40) == []


def test_the_bounds_are_those_of_the_sync() -> None:
    strict = {"max_removals": 0, "max_removals_percent": 0}
    assert guards.removal_problem(plan(range(9), range(10), guard=strict)) is not None
    loose = {"max_removals": 1000}
    assert guards.removal_problem(plan(range(1), range(900), guard=loose)) is None


def test_only_mirrors_have_a_guard_on_removals() -> None:
    assert guards.removal_problem(plan(range(500), range(500), mode="remove")) is None


def test_removals_that_the_command_line_allows_are_not_refused() -> None:
    risky = plan(range(1), range(1000))
    assert [refusal.sync_name for refusal in guards.refusals([risky], ())] == ["people"]
    assert guards.refusals([risky], ("people",)) == []


def test_a_plan_says_that_its_guard_is_overridden_where_it_would_have_refused() -> None:
    risky, harmless = plan(range(1), range(1000)), plan(range(1000), range(1000))
    assert guards.overridden(risky, ("people",)).overrides == "--allow-removals people"
    assert guards.overridden(risky, ("others",)).overrides is None
    assert guards.overridden(harmless, ("people",)).overrides is None


def test_ids_that_statsig_refused_are_neither_added_nor_removed() -> None:
    before = plan(range(5), range(3, 8))
    after = plan_segment(replace(before.facts, refused=series(["0", "7"])))
    assert after.change.adds.to_list() == ["1", "2"]
    assert after.change.removes.to_list() == ["5", "6"]
    assert after.stuck == 1


def test_a_list_that_is_replaced_at_once_is_what_was_found_with_the_change_and_without_what_is_held_back() -> None:
    meta = {"object": "segment", "segment_id": "people", "mode": "mirror", "on_first_run": "reset"}
    listed = series(["ann", "bob", "cid"])
    facts = segment_facts(
        SegmentConfig.model_validate(meta),
        ["bob", "dan", "eve"],
        segments.members(listed),
        is_known=False,
        adopted=listed,
        refused=series(["cid", "eve"]),
    )
    plan = plan_segment(facts)
    assert plan.is_reset
    assert plan.ids_of_reset.to_list() == ["bob", "cid", "dan"]


@pytest.mark.parametrize(("count", "said"), [(1_000, None), (1_001, "1,000"), (10_001, "10,000")])
def test_large_lists_are_warned_of_by_their_size(count: int, said: str | None) -> None:
    warnings = size_warnings(plan(range(count), range(0)))
    assert [said] == [one for one in (said,) if not warnings or f"Above {one}" in warnings[0]]
    assert bool(warnings) is (said is not None)


def test_a_list_that_does_not_change_is_not_warned_of() -> None:
    assert size_warnings(plan(range(2_000), range(2_000))) == []


def test_a_project_whose_lists_would_pass_the_limit_together_is_refused() -> None:
    growing = plan(range(10), range(0))
    assert project_size_refusals([growing], {"statsig": 90}, limit=100) == []
    assert [one.sync_name for one in project_size_refusals([growing], {"statsig": 91}, limit=100)] == ["people"]


def test_two_syncs_that_share_ids_in_one_segment_are_both_refused() -> None:
    assert guards.overlap_refusal(("a", "b"), "people", 0) == []
    assert [one.sync_name for one in guards.overlap_refusal(("a", "b"), "people", 3)] == ["a", "b"]


@pytest.mark.parametrize(
    ("share", "limit", "said"),
    [(20.408, 20, "20.4"), (20.04, 20, "20.04"), (25.0, 20, "25"), (19.6, 20, "20")],
)
def test_a_share_that_is_more_than_is_allowed_does_not_read_as_what_is_allowed(
    share: float, limit: float, said: str
) -> None:
    assert guards.percent(share, limit) == said
