"""Drift: how a list differs from the ledgers, and what a repair may do about it."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from sync.core.drift import Drift, count_fits, drift, repair
from sync.core.plan import SegmentFacts
from sync.core.segments import MEMBERSHIP
from sync.spec.model import SegmentConfig, Sync

ids = st.sampled_from("abcdefgh")
memberships = st.dictionaries(ids, st.sampled_from(["in", "out", "uncertain"]))
lists = st.sets(ids)


def frame(membership: dict[str, str]) -> pl.DataFrame:
    doubts = ["add" if status == "uncertain" else None for status in membership.values()]
    rows = {"id": list(membership), "status": list(membership.values()), "doubt": doubts}
    return pl.DataFrame(rows, schema=MEMBERSHIP)


def series(found: set[str]) -> pl.Series:
    return pl.Series("id", sorted(found), pl.String)


def facts(membership: dict[str, str], mode: str) -> SegmentFacts:
    config = SegmentConfig.model_validate({"object": "segment", "segment_id": "people", "mode": mode})
    sync = Sync("people", "", "model.shop.people", config)
    return SegmentFacts(sync, config, "statsig", 0, series(set()), (), frame(membership), 0, True)


@given(memberships, lists)
def test_missing_and_extra_are_what_the_two_do_not_share(membership: dict[str, str], listed: set[str]) -> None:
    found = drift(frame(membership), series(listed))
    sure = {one for one, status in membership.items() if status == "in"}
    possible = {one for one, status in membership.items() if status != "out"}
    assert set(found.missing) == sure - listed
    assert set(found.extra) == listed - possible


@given(memberships, lists)
def test_a_list_without_drift_has_a_count_that_fits(membership: dict[str, str], listed: set[str]) -> None:
    if not drift(frame(membership), series(listed)).count:
        assert count_fits(frame(membership), len(listed))


@given(memberships, lists, st.sampled_from(["mirror", "add", "remove"]))
def test_after_a_repair_list_and_ledgers_agree(membership: dict[str, str], listed: set[str], mode: str) -> None:
    given_facts = facts(membership, mode)
    found: Drift = drift(given_facts.membership, series(listed))
    plan = repair(given_facts, found, series(listed))
    list_after = (listed - set(plan.change.removes)) | set(plan.change.adds)
    known = dict(membership)
    settled = (
        ("out", plan.change.removes),
        ("in", plan.change.adds),
        ("in", plan.facts.adopted),
        ("out", plan.facts.released),
    )
    for status, changed in settled:
        assert changed is not None
        known.update(dict.fromkeys(changed, status))
    assert drift(frame(known), series(list_after)).count == 0
    assert not (mode == "add" and len(plan.change.removes))
    assert not (mode == "remove" and len(plan.change.adds))
