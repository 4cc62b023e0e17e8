"""From what was read to a plan: pure, and the same for ``plan`` and ``run``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from sync.core import event_guards, guards
from sync.core.mapping import ignored_columns_note
from sync.core.orphans import LeftBehind
from sync.core.plan import (
    EventPlan,
    Plan,
    Refusal,
    SegmentFacts,
    SegmentPlan,
    SyncPlan,
    doubt_warning,
    plan_segment,
    project_size_refusals,
    refused_note,
    size_warnings,
    stuck_warning,
    trim_warning,
)


@dataclass(frozen=True)
class Gathered:
    """All that was read: facts of segments, events in the spool, and the ids per project.

    ``refusals`` holds the syncs whose model cannot be read, and what refuses two that share a segment and ids;
    ``left`` the lists that no sync writes any more.
    """

    segments: tuple[SegmentFacts, ...] = ()
    events: tuple[EventPlan, ...] = ()
    members_by_project: Mapping[str, int] = field(default_factory=dict)
    refusals: tuple[Refusal, ...] = ()
    warnings: tuple[str, ...] = ()
    left: LeftBehind = field(default_factory=LeftBehind)
    notes: tuple[str, ...] = ()


def decide(
    gathered: Gathered,
    allow_removals: Collection[str] = (),
    allow_new_keys: Collection[str] = (),
    allow_events: Collection[str] = (),
) -> Plan:
    """The plan for what was gathered; the others name the syncs for which the command line overrides a guard."""
    segments = [guards.overridden(plan_segment(facts), allow_removals) for facts in gathered.segments]
    events = [guards.with_allowed_keys(plan, allow_new_keys) for plan in gathered.events]
    events = [event_guards.with_allowed_events(plan, allow_events) for plan in events]
    plans: list[SyncPlan] = sorted([*segments, *events], key=_order)
    warnings = [*gathered.warnings, *(warning for plan in segments for warning in size_warnings(plan))]
    warnings += [warning for plan in segments if (warning := stuck_warning(plan))]
    warnings += [warning for plan in plans if (warning := doubt_warning(plan))]
    warnings += [warning for plan in plans if (warning := trim_warning(plan))]
    warnings += gathered.left.warnings
    notes = [*gathered.notes, *(note for plan in plans if (note := ignored_columns_note(plan.sync)))]
    notes += [note for plan in plans if (note := refused_note(plan))]
    notes += [f"{plan.sync.name}: {note}" for plan in events for note in event_guards.event_notes(plan)]
    other_keys = guards.key_refusals(events, allow_new_keys)
    # Of keys that come from elsewhere nothing more can be said until somebody allows them.
    are_known = [plan for plan in events if plan.sync.name not in {one.sync_name for one in other_keys}]
    refusals = [
        *gathered.refusals,
        *guards.refusals(segments, allow_removals),
        *other_keys,
        *event_guards.event_refusals(are_known, allow_events),
        *project_size_refusals(plans, gathered.members_by_project),
    ]
    return Plan(tuple(plans), tuple(refusals), tuple(warnings), tuple(notes), gathered.left.orphans)


def _order(plan: SyncPlan) -> tuple[int, str]:
    """By name, but what removes goes first, so that a list to which another sync adds never passes its limit.

    Where a list is gone it goes last: the sync that adds fills it with all who were in it.
    """
    is_gone = isinstance(plan, SegmentPlan) and plan.facts.is_gone
    rank = 1 if plan.sync.config.mode != "remove" else 2 if is_gone else 0
    return rank, plan.sync.name
