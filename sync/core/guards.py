"""What must not happen by mistake: a mirror that empties a segment or removes much of it, and events whose keys mean
other rows than before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from sync.core.plan import EventPlan, Refusal, SegmentPlan
from sync.spec.statsig import ID_LIST_INLINE_LIMIT

# More than these say nothing to a person.
_MOST_DIGITS = 6


def removal_problem(plan: SegmentPlan) -> str | None:
    """Why this mirror is refused; None where it may go on, or is not a mirror."""
    config, removes = plan.facts.config, plan.leavers
    if config.mode != "mirror" or not removes:
        return None
    if not plan.facts.counts.audience:
        return None if config.guard.allow_empty else f"{_emptied(plan)} {_advice(plan, 'allow_empty: true')}"
    share = 100 * removes / max(plan.members_before, removes)
    if removes > config.guard.max_removals and share > config.guard.max_removals_percent:
        return _reduced(plan, share)
    return None


def _emptied(plan: SegmentPlan) -> str:
    members = plan.members_before
    if plan.facts.is_gone:
        return (
            f"segment '{plan.sync.destination}' is gone from Statsig, and the audience is empty, so the mirror would "
            f"make it again without its {members:,} members."
        )
    return f"the audience is empty and the segment has {members:,} members, so the mirror would empty it."


def _reduced(plan: SegmentPlan, share: float) -> str:
    guard, removes, members = plan.facts.config.guard, plan.leavers, plan.members_before
    allowed = (
        f"the guard allows up to {guard.max_removals:,}, or up to {guard.max_removals_percent:g} %. "
        f"{_advice(plan, 'max_removals: ..., max_removals_percent: ...')}"
    )
    part = percent(share, guard.max_removals_percent)
    if plan.facts.is_gone:
        return (
            f"segment '{plan.sync.destination}' is gone from Statsig, and the mirror would make it again without "
            f"{removes:,} of {members:,} members ({part} %); {allowed}"
        )
    return f"the mirror would remove {removes:,} of {members:,} members ({part} %); {allowed}"


def percent(share: float, limit: float) -> str:
    """A share in percent, so that it does not read as what is allowed where it is more."""
    digits = 0
    while share > limit and digits < _MOST_DIGITS and float(f"{share:.{digits}f}") <= limit:
        digits += 1
    return f"{share:.{digits}f}"


def _advice(plan: SegmentPlan, setting: str) -> str:
    how = "verify --repair" if plan.is_repair else "run once with"
    return (
        f"If this is meant, {how} --allow-removals {plan.sync.name}, or change guard: {{{setting}}} in the "
        f"exposure. Model: {plan.sync.model}."
    )


def first_run_problem(plan: SegmentPlan) -> str | None:
    """Why ``on_first_run`` refuses a segment that the ledgers do not know but that has members; else None."""
    found, config = plan.facts.adopted, plan.facts.config
    if found is None or not len(found):
        return None
    if config.on_first_run == "refuse":
        return (
            f"segment '{config.segment_id}' has {len(found):,} members that the ledgers know nothing of, and "
            "on_first_run is refuse. Write on_first_run: adopt to take them as the baseline."
        )
    if config.on_first_run == "reset" and plan.facts.counts.audience > ID_LIST_INLINE_LIMIT:
        return (
            f"on_first_run is reset, and the audience has {plan.facts.counts.audience:,} ids; Statsig replaces a list "
            f"at once only up to {ID_LIST_INLINE_LIMIT:,}. Write on_first_run: adopt."
        )
    return None


def refusals(plans: Iterable[SegmentPlan], allowed: Collection[str]) -> list[Refusal]:
    """What the guards refuse; ``allowed`` names the syncs whose removals the command line allows."""
    listed = list(plans)
    first_runs = [Refusal(plan.sync.name, problem) for plan in listed if (problem := first_run_problem(plan))]
    return [*first_runs, *removal_refusals(listed, allowed)]


def removal_refusals(plans: Iterable[SegmentPlan], allowed: Collection[str]) -> list[Refusal]:
    """What the guard on removals refuses."""
    return [
        Refusal(plan.sync.name, problem)
        for plan in plans
        if plan.sync.name not in allowed and (problem := removal_problem(plan))
    ]


def overridden(plan: SegmentPlan, allowed: Collection[str]) -> SegmentPlan:
    """The plan, which says so where the command line allows what its guard would have refused."""
    is_overridden = plan.sync.name in allowed and removal_problem(plan) is not None
    return replace(plan, overrides=f"--allow-removals {plan.sync.name}") if is_overridden else plan


def key_problem(plan: EventPlan) -> str | None:
    """Why this event sync is refused: its keys are made of something else than those that were sent; else None."""
    before, now = plan.history.keys_were_from, plan.keys_from
    if before is None or before == now:
        return None
    return (
        f"its keys were {before} in the last run, and are {now} now. What was sent is known by its key alone: rows "
        "under keys that meant other rows would be taken for sent, and rows under new keys would be sent again. If "
        f"each key still means the same row, run once with --allow-new-keys {plan.sync.name}. Otherwise give the "
        "exposure another name, which makes it a new sync, and a date for backfill."
    )


def with_allowed_keys(plan: EventPlan, allowed: Collection[str]) -> EventPlan:
    """The plan, which says so where the command line allows keys that its guard would have refused."""
    is_overridden = plan.sync.name in allowed and key_problem(plan) is not None
    return replace(plan, overrides=f"--allow-new-keys {plan.sync.name}") if is_overridden else plan


def key_refusals(plans: Iterable[EventPlan], allowed: Collection[str]) -> list[Refusal]:
    """What the guard on keys refuses; ``allowed`` names the syncs whose new keys the command line allows."""
    return [
        Refusal(plan.sync.name, problem)
        for plan in plans
        if plan.sync.name not in allowed and (problem := key_problem(plan))
    ]


def overlap_refusal(names: tuple[str, str], segment_id: str, shared: int) -> list[Refusal]:
    """Refuses two syncs, one adding to and one removing from a segment, whose audiences share ids."""
    if not shared:
        return []
    message = (
        f"{names[0]} and {names[1]} write segment '{segment_id}' and share {shared:,} ids, which would be added and "
        "removed at every run. Keep them out of one of the two models."
    )
    return [Refusal(name, message) for name in names]
