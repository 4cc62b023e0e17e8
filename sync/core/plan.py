"""The plan: what a run would send. ``plan`` prints the object that ``run`` executes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl

from sync.core import limits, trims
from sync.core.events import RejectedRow
from sync.core.history import EventHistory, KeySource
from sync.core.lineage import Lineage
from sync.core.orphans import KnownList
from sync.core.segments import IN, UNCERTAIN, Change, Counts, with_status
from sync.spec.durations import spoken
from sync.spec.limits import Limits
from sync.spec.model import EventConfig, SegmentConfig, Sync
from sync.spec.statsig import (
    ID_LIST_FAST_LIMIT,
    ID_LIST_INLINE_LIMIT,
    MAX_IDS_PER_PROJECT,
    MAX_IDS_PER_REQUEST,
)

_SAMPLES = 3


@dataclass(frozen=True)
class SegmentFacts:
    """What was read for a segment sync: how its audience and the segment differ, and of all else only counts.

    ``change`` brings the segment to the audience, with ids that Statsig refused before; ``rejects`` is what the reject
    ledger does not know yet. Where the ledgers know nothing for sure of the segment (``is_known`` is false),
    ``adopted`` holds the members that Statsig has, and ``counts`` has them as members. ``refused`` holds the ids that
    Statsig refused by themselves, and that wait for --retry-rejected. ``is_missing`` says that the segment is not in
    Statsig, and that the run makes it: one that the ledgers know ``is_gone``, and ``counts`` is then of who was in it.
    ``lineage`` says whose history is the sync's own, ``is_first_run`` that no run of the sync has ended well yet.
    """

    sync: Sync
    config: SegmentConfig
    project: str
    counts: Counts
    change: Change
    last_sequence: int
    is_known: bool = True
    rejects: tuple[RejectedRow, ...] = ()
    refused: pl.Series = field(default_factory=lambda: pl.Series("id", [], pl.String))
    adopted: pl.Series | None = None
    is_missing: bool = False
    lineage: Lineage | None = None
    is_first_run: bool = False

    @property
    def rows_read(self) -> int | None:
        """The model's rows; None where the change does not come from the model."""
        return self.counts.rows

    @property
    def is_gone(self) -> bool:
        """Whether the ledgers know the segment, and Statsig has it no more."""
        return self.is_missing and self.is_known

    @property
    def known_members(self) -> int | None:
        """The members that the ledgers are sure of; None where they know nothing of the segment."""
        return self.counts.members if self.is_known else None


@dataclass(frozen=True)
class SegmentPlan:
    """The removals and additions of one segment sync.

    ``stuck`` counts ids that are to leave and stay, because Statsig refused to take them out before. ``is_repair`` says
    that the change brings the list back to what the ledgers know, and does not come from the model.
    """

    facts: SegmentFacts
    change: Change
    overrides: str | None = None
    stuck: int = 0
    is_repair: bool = False

    @property
    def is_reset(self) -> bool:
        """Whether a list that the ledgers do not know is replaced at once instead of being changed id by id."""
        is_found = not self.facts.is_known and self.facts.adopted is not None and len(self.facts.adopted) > 0
        return bool(self.keys and is_found and self.facts.config.on_first_run == "reset")

    @property
    def ids_of_reset(self) -> pl.Series:
        """The ids of a list that is replaced at once: those that were found in it, with the change."""
        found = () if self.facts.adopted is None else (self.facts.adopted,)
        ids = pl.concat([*found, self.change.adds]).unique().sort()
        left: pl.Series = ids.filter(~ids.is_in(self.change.removes.implode()))
        return left

    @property
    def sync(self) -> Sync:
        """The sync."""
        return self.facts.sync

    @property
    def is_first_run(self) -> bool:
        """Whether no run of the sync has ended well yet."""
        return self.facts.is_first_run

    @property
    def renamed_from(self) -> str | None:
        """Whose history the sync carries on, as the run ledger has it."""
        return self.facts.lineage.text if self.facts.lineage else None

    @property
    def members_before(self) -> int:
        """The members that the ledgers are sure of."""
        return self.facts.counts.members

    @property
    def members_in_doubt(self) -> int:
        """The ids that may or may not be members."""
        return self.facts.counts.in_doubt

    @property
    def members_after(self) -> int:
        """The members when all of this is delivered."""
        present = 0 if self.facts.is_gone else self.facts.counts.members + self.facts.counts.in_doubt
        added = len(self.change.adds) - self.adds_in_doubt
        return present - self._in_the_list(self.change.leaving) + added

    @property
    def removes_of_others(self) -> int:
        """The ids to remove that the ledgers do not know as members: ``remove`` takes out whoever is in its model."""
        return len(self.change.removes) - self._in_the_list(self.change.leaving)

    @property
    def adds_in_doubt(self) -> int:
        """The ids to add that may be members already."""
        return self._in_the_list(self.change.joining)

    def _in_the_list(self, ids: pl.DataFrame) -> int:
        """How many of these the ledgers know as members, or as what may be one; nobody is in a list that is gone."""
        return 0 if self.facts.is_gone else with_status(ids, (IN, UNCERTAIN))

    @property
    def leavers(self) -> int:
        """The ids that the segment would lose: those to remove, or the members that one made again would lack."""
        if not self.facts.is_gone:
            return len(self.change.removes)
        return self.facts.counts.members - with_status(self.change.joining, (IN,))

    @property
    def rows_rejected(self) -> int:
        """Rows that are not sent, or are sent without a part, and that no earlier run has counted."""
        return sum(row.row_count for row in self.facts.rejects)

    @property
    def settles(self) -> int:
        """Keys that are settled without a request: members that are adopted."""
        return 0 if self.facts.adopted is None else len(self.facts.adopted)

    @property
    def held_back(self) -> int:
        """Ids that Statsig refused before, and that wait for --retry-rejected."""
        return len(self.facts.refused)

    @property
    def trimmed(self) -> Mapping[str, int]:
        """How many of the ids to send Statsig may trim, by kind (``sync.core.trims``)."""
        return trims.counted(self.change.removes, self.change.adds)

    @property
    def keys(self) -> int:
        """Ids to send."""
        return len(self.change.removes) + len(self.change.adds)

    @property
    def requests(self) -> int:
        """Requests at the least."""
        if self.is_reset:
            return 1
        batches = [-(-len(ids) // MAX_IDS_PER_REQUEST) for ids in (self.change.removes, self.change.adds)]
        return sum(batches)


@dataclass(frozen=True)
class SpooledEvents:
    """Where the events of a request are in the spool.

    ``body`` is the record with its compressed body, ``lines`` the one with what the ledgers note of its events, from
    line ``start`` on.
    """

    body: int
    lines: int
    start: int


@dataclass(frozen=True)
class EventBatch:
    """A request's worth of events, and its bytes of JSON; None where it is only counted, as for ``plan``."""

    spooled: SpooledEvents | None
    events: int
    body_bytes: int


@dataclass(frozen=True)
class EventTraits:
    """What the events of a sync have in common.

    ``name`` is their name, or ``column`` and the column that names them; ``metadata_columns`` are the columns that
    become metadata; ``has_time`` says whether a column gives their time, ``key_metadata`` is the metadata key
    by which Statsig's logs can be asked for an event; None where there is none.
    """

    name: str
    metadata_columns: tuple[str, ...]
    has_time: bool
    key_metadata: str | None


@dataclass(frozen=True)
class EventTimes:
    """The times of the events to send, in milliseconds UTC; None where none has a time.

    ``returning`` counts those that are not later than the latest of the last run that sent something.
    """

    first: int | None = None
    last: int | None = None
    returning: int = 0

    @property
    def text(self) -> str:
        """The days, as part of a sentence; empty where there are none."""
        if self.first is None or self.last is None:
            return ""
        return f" from {_day(self.first)} to {_day(self.last)}"

    def joined(self, other: EventTimes) -> EventTimes:
        """The times of these events and of others."""
        firsts = [one.first for one in (self, other) if one.first is not None]
        lasts = [one.last for one in (self, other) if one.last is not None]
        return EventTimes(min(firsts, default=None), max(lasts, default=None), self.returning + other.returning)


def moment(milliseconds: int) -> dt.datetime:
    """A time as the ledgers hold it: UTC, without a zone."""
    return _EPOCH + dt.timedelta(milliseconds=milliseconds)


_EPOCH = dt.datetime(1970, 1, 1)


def _day(milliseconds: int) -> str:
    return moment(milliseconds).date().isoformat()


@dataclass(frozen=True)
class Doubts:
    """Events of earlier runs of which nobody knows whether they arrived.

    ``waiting`` counts those that the run does not send again, so that they wait for a person's word: because the sync
    holds them, or because their rows have left the model.
    """

    unsettled: int = 0
    waiting: int = 0


@dataclass(frozen=True)
class EventPlan:
    """The events of one event sync, which wait in the spool.

    ``reject_records`` and ``skip_records`` are records of the spool too; ``rejected_rows`` counts rows per
    reason and effect that the reject ledger does not know yet. ``samples`` are events as JSON, and ``looked_up`` are
    the names and keys of some events from the first to the last, which Statsig can be asked for.
    ``may_resend`` says whether a batch whose outcome is unknown is sent again; ``held_back`` counts events that
    Statsig refused before, and that wait for --retry-rejected; ``doubts`` counts the events of earlier runs
    that are in doubt. ``keys_from`` says what the keys mean, ``history`` what the ledgers know of the sync;
    ``duplicates`` counts the model's rows beyond the first of their key, and ``trimmed`` events of which Statsig may
    trim a part, by kind (``sync.core.trims``).
    """

    sync: Sync
    config: EventConfig
    lineage: Lineage
    traits: EventTraits
    keys_from: KeySource
    history: EventHistory
    may_resend: bool
    rows_read: int
    batches: tuple[EventBatch, ...]
    skipped: int
    skip_records: tuple[int, ...]
    reject_records: tuple[int, ...]
    rejected_rows: Mapping[tuple[str, str], int]
    samples: tuple[str, ...]
    last_sequence: int
    looked_up: Sequence[tuple[str, str]] = ()
    held_back: int = 0
    doubts: Doubts = field(default_factory=Doubts)
    duplicates: int = 0
    times: EventTimes = field(default_factory=EventTimes)
    overrides: str | None = None
    trimmed: Mapping[str, int] = field(default_factory=dict)

    @property
    def project(self) -> str:
        """What the ledgers call the Statsig project."""
        return self.lineage.own.project

    @property
    def is_first_run(self) -> bool:
        """Whether no run of the sync has ended well yet, and nothing of one may have reached Statsig."""
        return self.history.first_run is not None and not self.history.first_run.is_again

    @property
    def renamed_from(self) -> str | None:
        """Whose history the sync carries on, as the run ledger has it."""
        return self.lineage.text

    @property
    def rows_rejected(self) -> int:
        """Rows that are not sent, or are sent without a part, and that no earlier run has counted."""
        return sum(self.rejected_rows.values())

    @property
    def settles(self) -> int:
        """Keys that are settled without a request: events that ``backfill`` leaves out."""
        return self.skipped

    @property
    def keys(self) -> int:
        """Events to send."""
        return sum(batch.events for batch in self.batches)

    @property
    def requests(self) -> int:
        """Requests at the least."""
        return len(self.batches)


SyncPlan = SegmentPlan | EventPlan


def is_idle(plan: SyncPlan) -> bool:
    """Whether a sync has nothing to send or to make, and nothing to write down but that it was looked at."""
    is_missing = isinstance(plan, SegmentPlan) and plan.facts.is_missing
    return not plan.keys and not plan.rows_rejected and not plan.settles and not is_missing


@dataclass(frozen=True)
class Refusal:
    """Why a sync does not run: what the gate or a guard said; or that its model cannot be read."""

    sync_name: str
    message: str
    kind: Literal["refused", "unreadable"] = "refused"


@dataclass(frozen=True)
class BuiltWhen:
    """When what a sync sends was built (UTC without a zone), how many seconds ago, and how many tests have passed.

    The times are None where they are not known; ``is_proved`` says whether the gate lets the data pass.
    """

    at: dt.datetime | None
    seconds_ago: float | None
    tests: int
    is_proved: bool

    def __str__(self) -> str:
        when = "at a time that is not known" if self.seconds_ago is None else f"{spoken(self.seconds_ago)} ago"
        tests = f"{self.tests:,} test{'s' if self.tests != 1 else ''} passed" if self.tests else "no tests"
        return f"built {when}, {tests if self.is_proved else 'not proved by dbt'}"


@dataclass(frozen=True)
class Plan:
    """The plans of all selected syncs, what refuses them, and what is worth saying.

    ``orphans`` are the lists that no sync of the project writes any more; ``warnings`` tell of them.
    ``built`` says, by the sync's name, when what is sent was built.
    ``limits`` holds the rate limits of Statsig projects that have others than Statsig's own, by the ledgers' name.
    """

    syncs: tuple[SyncPlan, ...]
    refusals: tuple[Refusal, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())
    orphans: tuple[KnownList, ...] = ()
    built: Mapping[str, BuiltWhen] = field(default_factory=dict)
    limits: Mapping[str, Limits] = field(default_factory=dict)

    @property
    def seconds(self) -> int:
        """The least seconds that Statsig's rate limits on ID lists make this take."""
        per_project: dict[str, int] = {}
        for plan in self.syncs:
            if isinstance(plan, SegmentPlan):
                per_project[plan.facts.project] = per_project.get(plan.facts.project, 0) + plan.requests
        # Each project has limits of its own, but the syncs of a run go one after the other.
        return sum(self._seconds(project, requests) for project, requests in per_project.items())

    def _seconds(self, project: str, requests: int) -> int:
        found = self.limits.get(project, Limits())
        return limits.seconds_for(requests, (*found.id_list_changes, *found.changes))

    @property
    def has_unreadable(self) -> bool:
        """Whether the model of a selected sync cannot be read."""
        return any(refusal.kind == "unreadable" for refusal in self.refusals)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to send."""
        return not any(plan.keys for plan in self.syncs)


def plan_segment(facts: SegmentFacts) -> SegmentPlan:
    """The change of the facts, without the ids that Statsig refused before: they are neither added nor removed."""
    change = facts.change.without(facts.refused)
    return SegmentPlan(facts, change, stuck=len(facts.change.removes) - len(change.removes))


def stuck_text(facts: SegmentFacts, count: int) -> str:
    """What to say of ids that stay in a segment, because Statsig refused to take them out."""
    return (
        f"{count:,} id(s) are to leave segment '{facts.config.segment_id}' and may still be in it: Statsig refused to "
        "take them out; see statsig_reject_log. Send that again with: statsig-sync run --retry-rejected --select "
        f"{facts.sync.name}. If Statsig refuses it again, take them out by hand, and then send it once more."
    )


def stuck_warning(plan: SegmentPlan) -> str | None:
    """The same before a run, with the sync's name; None where there are none."""
    return f"{plan.sync.name}: {stuck_text(plan.facts, plan.stuck)}" if plan.stuck else None


def refused_note(plan: SyncPlan) -> str | None:
    """What to say of ids or events that are held back; None where there are none."""
    # Those that stay in a list are a warning.
    held_back = plan.held_back - (plan.stuck if isinstance(plan, SegmentPlan) else 0)
    if not held_back:
        return None
    what = "id(s)" if isinstance(plan, SegmentPlan) else "event(s)"
    return (
        f"{plan.sync.name}: {held_back:,} {what} are held back, because Statsig refused them before; see "
        "statsig_reject_log. --retry-rejected sends them again."
    )


def trim_warning(plan: SyncPlan) -> str | None:
    """What to say of what Statsig may trim; None where there is nothing."""
    return trims.warning(plan.sync.name, plan.trimmed, "ids" if isinstance(plan, SegmentPlan) else "events")


def doubt_warning(plan: SyncPlan) -> str | None:
    """What to say of events that wait for a person's word; None where there are none."""
    if not isinstance(plan, EventPlan) or not plan.doubts.waiting:
        return None
    why = "their rows have left the model" if plan.may_resend else f"{_holding_key(plan.sync)} is hold"
    return (
        f"{plan.sync.name}: {plan.doubts.waiting:,} event(s) of earlier runs are in doubt and are not sent again, "
        f"because {why}; see statsig_unsettled. {settle_advice(plan)}"
    )


def ask_note(plan: SyncPlan) -> str | None:
    """What to say of events in doubt that a run asks Statsig about before it sends; None where there are none."""
    if not isinstance(plan, EventPlan) or not _asks(plan.sync) or not plan.doubts.unsettled:
        return None
    return (
        f"{plan.sync.name}: before it sends, run asks Statsig about {plan.doubts.unsettled:,} event(s) in doubt; those "
        f"that are not found are {_FATES[_unknown_then(plan.sync)]}."
    )


def settled_as(sync: Sync) -> str:
    """What becomes of events in doubt that Statsig could not be asked about, as part of a sentence."""
    return f"so they are {_FATES[_unknown_then(sync)]}"


_FATES = {"resend": "sent again (ask_then: resend)", "hold": "held (ask_then: hold)"}


def _asks(sync: Sync) -> bool:
    return isinstance(sync.config, EventConfig) and sync.config.on_unknown == "ask"


def _unknown_then(sync: Sync) -> str:
    return sync.config.unknown_then if isinstance(sync.config, EventConfig) else "resend"


def _holding_key(sync: Sync) -> str:
    return "ask_then" if _asks(sync) else "on_unknown"


def settle_advice(plan: EventPlan) -> str:
    """What a person does about events in doubt."""
    return f"Settle them with: statsig-sync resolve {plan.sync.name} --as sent, or --as unsent."


def resend_advice(plan: EventPlan) -> str:
    """What the next run does about events in doubt that may go again."""
    if _asks(plan.sync):
        return "The next run asks Statsig about them, and sends those again that are not found."
    return "The next run sends them again."


def size_warnings(plan: SegmentPlan) -> list[str]:
    """What Statsig's documentation says of lists of this size ("ID Lists", size limits)."""
    if not plan.keys:
        return []
    count, name = plan.members_after, plan.sync.name
    if count > ID_LIST_FAST_LIMIT:
        return [
            f"{name}: the segment will have {count:,} ids. Above {ID_LIST_FAST_LIMIT:,} ids Statsig spreads changes "
            "more slowly, and large lists need to be enabled by Statsig's support."
        ]
    if count > ID_LIST_INLINE_LIMIT:
        return [
            f"{name}: the segment will have {count:,} ids. Above {ID_LIST_INLINE_LIMIT:,} ids a list is synchronised "
            "apart from the configuration: server SDKs must have ID lists switched on."
        ]
    return []


def project_size_refusals(
    plans: Sequence[SyncPlan], members_by_project: Mapping[str, int], limit: int = MAX_IDS_PER_PROJECT
) -> list[Refusal]:
    """Refuses the segments of a project whose lists together would pass Statsig's limit.

    ``members_by_project`` counts the ids of all lists that the ledgers know, per project.
    """
    refusals: list[Refusal] = []
    segments = [plan for plan in plans if isinstance(plan, SegmentPlan)]
    for project in sorted({plan.facts.project for plan in segments}):
        own = [plan for plan in segments if plan.facts.project == project]
        growth = sum(plan.members_after - plan.members_before - plan.members_in_doubt for plan in own)
        adopted = sum(len(plan.facts.adopted) for plan in own if plan.facts.adopted is not None)
        carried = sum(plan.facts.counts.carried for plan in own)
        total = members_by_project.get(project, 0) + adopted + carried + growth
        if total > limit and growth > 0:
            message = (
                f"the ID lists of this Statsig project would hold {total:,} ids together; Statsig's limit is "
                f"{limit:,}. Make the audiences smaller, or remove lists that are no longer used."
            )
            refusals.extend(Refusal(plan.sync.name, message) for plan in own if plan.change.adds.len())
    return refusals


def summary(plan: Plan) -> dict[str, Any]:
    """The plan as data that JSON can hold."""
    return {
        "syncs": [{**_summary(one), "built": _built_summary(plan.built.get(one.sync.name))} for one in plan.syncs],
        "refusals": [
            {"sync": refusal.sync_name, "message": refusal.message, "kind": refusal.kind} for refusal in plan.refusals
        ],
        "warnings": list(plan.warnings),
        "notes": list(plan.notes),
        "orphans": [one.summary for one in plan.orphans],
        "seconds_by_rate_limit": plan.seconds,
    }


def _summary(plan: SyncPlan) -> dict[str, Any]:
    return _segment_summary(plan) if isinstance(plan, SegmentPlan) else _event_summary(plan)


def _built_summary(built: BuiltWhen | None) -> dict[str, Any] | None:
    if built is None:
        return None
    at = f"{built.at.isoformat()}Z" if built.at else None
    return {"at": at, "tests_passed": built.tests, "is_proved": built.is_proved}


def _segment_summary(plan: SegmentPlan) -> dict[str, Any]:
    return {
        "sync": plan.sync.name,
        "object": "segment",
        "mode": plan.facts.config.mode,
        "destination": plan.sync.destination,
        "first_run": plan.is_first_run,
        "renamed_from": plan.renamed_from,
        "rows_read": plan.facts.rows_read,
        "audience": plan.facts.counts.audience,
        "adds": len(plan.change.adds),
        "removes": len(plan.change.removes),
        "removes_of_others": plan.removes_of_others,
        "creates_segment": plan.facts.is_missing,
        "is_gone": plan.facts.is_gone,
        "adopted": plan.settles,
        "members_before": plan.members_before,
        "members_after": plan.members_after,
        "requests": plan.requests,
        "rejected": _by_reason(rejected_rows(plan.facts.rejects)),
        "held_back": plan.held_back,
        "stuck": plan.stuck,
        "trimmed": dict(plan.trimmed),
        "samples": {
            "add": plan.change.adds.head(_SAMPLES).to_list(),
            "remove": plan.change.removes.head(_SAMPLES).to_list(),
        },
    }


def _event_summary(plan: EventPlan) -> dict[str, Any]:
    return {
        "sync": plan.sync.name,
        "object": "events",
        "mode": "insert",
        "destination": plan.sync.destination,
        "first_run": plan.is_first_run,
        "renamed_from": plan.renamed_from,
        "rows_read": plan.rows_read,
        "duplicates": plan.duplicates,
        "events": plan.keys,
        "events_from": _iso(plan.times.first),
        "events_until": _iso(plan.times.last),
        "skipped_by_backfill": plan.skipped,
        "requests": plan.requests,
        "body_bytes": sum(batch.body_bytes for batch in plan.batches),
        "rejected": _by_reason(plan.rejected_rows),
        "held_back": plan.held_back,
        "trimmed": dict(plan.trimmed),
        "in_doubt": plan.doubts.waiting,
        "samples": list(plan.samples),
    }


def _iso(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else f"{moment(milliseconds).isoformat()}Z"


def _by_reason(counts: Mapping[tuple[str, str], int]) -> list[dict[str, Any]]:
    return [{"reason": reason, "effect": effect, "rows": rows} for (reason, effect), rows in sorted(counts.items())]


def rejected_rows(rejects: Sequence[RejectedRow]) -> dict[tuple[str, str], int]:
    """Rows per reason and effect."""
    counts: dict[tuple[str, str], int] = {}
    for row in rejects:
        counts[(row.reason, row.effect)] = counts.get((row.reason, row.effect), 0) + row.row_count
    return counts
