"""What is decided of a whole run: the order of its syncs, and what refuses them."""

from __future__ import annotations

from typing import Any

from sync.core.plan import SegmentFacts, is_idle, plan_segment
from sync.run.decide import Gathered, decide
from sync.spec.model import SegmentConfig, Sync
from sync.spec.statsig import MAX_IDS_PER_PROJECT
from tests.segment_facts import segment_facts, series


def facts(name: str, *audience: str, mode: str = "mirror", is_missing: bool = False, **config: Any) -> SegmentFacts:
    """What was read for a sync of these ids into a segment that the ledgers know to be empty, or that is missing."""
    parsed = SegmentConfig.model_validate({"object": "segment", "segment_id": "people", "mode": mode, **config})
    sync = Sync(name, "models/_exposures.yml", f"model.shop.{name}", parsed)
    adopted = series([]) if is_missing else None
    return segment_facts(parsed, audience, sync=sync, is_known=not is_missing, adopted=adopted, is_missing=is_missing)


def test_syncs_that_only_remove_go_first_and_all_others_in_the_order_of_their_names() -> None:
    syncs = [facts("b", mode="remove"), facts("a", mode="add"), facts("d", mode="remove"), facts("c")]
    assert [plan.sync.name for plan in decide(Gathered(tuple(syncs))).syncs] == ["b", "d", "a", "c"]


def test_a_run_that_would_pass_the_projects_limit_of_ids_is_refused() -> None:
    growing = Gathered((facts("people", "ann"),), members_by_project={"statsig": MAX_IDS_PER_PROJECT})
    assert [one.sync_name for one in decide(growing).refusals] == ["people"]
    fitting = Gathered((facts("people", "ann"),), members_by_project={"statsig": MAX_IDS_PER_PROJECT - 1})
    assert decide(fitting).refusals == ()


def test_a_sync_whose_segment_has_to_be_made_is_not_idle_though_its_audience_is_empty() -> None:
    assert is_idle(plan_segment(facts("people")))
    assert not is_idle(plan_segment(facts("people", is_missing=True)))


def test_a_list_without_members_is_not_reset_but_filled_in_batches() -> None:
    audience = [str(number) for number in range(10_001)]
    plan = plan_segment(facts("people", *audience, is_missing=True, on_first_run="reset"))
    assert (plan.is_reset, plan.requests) == (False, 2)
