"""``verify``: compares Statsig with the ledgers, makes lists right on demand, and proves that events have arrived."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field

import polars as pl

from sync.core import guards, ledger, preflight
from sync.core.clock import Clock
from sync.core.drift import EXTRA, MISSING, Drift, count_fits, drift, expected, expected_membership, repair
from sync.core.orphans import KnownList, LeftBehind
from sync.core.plan import Plan, Refusal, SegmentFacts, SegmentPlan, plan_segment, stuck_warning
from sync.edges.settings import console_key_faults, distinct, key_faults
from sync.edges.spool import Spool
from sync.errors import ConfigError, DeliveryError, OvertakenError, StatsigSyncError, UnreadableError
from sync.run.apply import Applier, SyncResult
from sync.run.arrival import Arrival, ask, lines, read_sent, without_console_key
from sync.run.commands import Manner
from sync.run.consoles import Consoles, LookedUp, look_up_segment, segment_fault
from sync.run.gather import (
    check_ledgers,
    earlier_requests,
    look_at_models,
    source,
    unreadable_error,
    unreadable_model,
)
from sync.run.gather_segments import gather_segment, membership_of
from sync.run.lease import Lease, own_message
from sync.run.lineages import lineages
from sync.run.lists import find_left_behind
from sync.run.members import read_members
from sync.run.world import World, all_syncs, matching, named, of_mode, pattern_faults
from sync.spec.model import SegmentConfig, Sync

# Events of each sync that are looked for where nothing else is said.
SAMPLE = 20


@dataclass(frozen=True)
class VerifyRequest:
    """What the command line asks of ``verify``; ``sample`` is how many events of each sync to look for.

    ``names`` and ``select`` hold patterns of exposures' names, and so does ``allow_removals``.
    """

    select: Sequence[str] = ()
    counts_only: bool = False
    repair: bool = False
    allow_removals: Sequence[str] = ()
    names: Sequence[str] = ()
    sample: int = SAMPLE


@dataclass(frozen=True)
class Verified:
    """A segment that was compared: how many ids the ledgers and Statsig have, and how they differ.

    ``others`` counts differences that the sync's mode leaves alone. Where only counts were compared,
    ``missing``, ``extra`` and ``others`` are None. ``repair`` is what became of the repair, where one was asked
    for, needed and not refused.
    """

    sync_name: str
    segment_id: str
    mode: str
    known: int
    listed: int
    missing: int | None
    extra: int | None
    others: int | None
    samples: tuple[str, ...]
    has_drift: bool
    repair: SyncResult | None = None

    @property
    def is_right(self) -> bool:
        """Whether the list is what the ledgers say, now."""
        return not self.has_drift or (self.repair is not None and self.repair.is_delivered)


@dataclass(frozen=True)
class Verification:
    """What ``verify`` found: the segments that were compared, the events that it asked about, and what it could not do.

    ``notes`` tell of segments that no run has made yet, and of what cannot be known of events; ``errors`` of segments
    that could not be compared; ``refusals`` of repairs that a guard refuses; ``warnings`` of what someone did to a
    segment that is right all the same, and of ``orphans``, the lists that no sync of the project writes any more.
    """

    segments: tuple[Verified, ...]
    notes: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    warnings: tuple[str, ...] = ()
    orphans: tuple[KnownList, ...] = ()
    arrivals: tuple[Arrival, ...] = ()

    @property
    def missing_events(self) -> int:
        """Events that Statsig accepted and that surely did not arrive."""
        return sum(one.missing for one in self.arrivals)

    @property
    def unrepaired(self) -> tuple[Verified, ...]:
        """The segments that are not right, and whose repair no guard has refused."""
        refused = {refusal.sync_name for refusal in self.refusals}
        return tuple(one for one in self.segments if not one.is_right and one.sync_name not in refused)


@dataclass(frozen=True)
class _Compared:
    facts: SegmentFacts
    listed: pl.Series | None
    count: int
    drift: Drift | None


@dataclass
class _Comparison:
    """Compares segment after segment; what is wrong with one does not keep the others from it.

    ``memberships`` holds what the ledgers know of each segment, by the sync's name, where ids are compared.
    ``problems`` holds the syncs whose segment could not be compared, each with why.
    """

    consoles: Consoles
    clock: Clock
    counts_only: bool
    memberships: dict[str, pl.DataFrame] = field(default_factory=dict)
    compared: list[_Compared] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[tuple[Sync, StatsigSyncError]] = field(default_factory=list)
    _lists: dict[tuple[str, str], pl.Series] = field(default_factory=dict)

    def compare(self, segments: Sequence[SegmentFacts]) -> None:
        """Compares these. Raises ``ConfigError`` where a key is refused: nothing is compared then."""
        looked_up = self._look_up(segments)
        for facts in segments:
            if facts.sync.name in looked_up:
                with self._noting_problems(facts):
                    self._compare(facts, looked_up[facts.sync.name])

    def _look_up(self, segments: Sequence[SegmentFacts]) -> dict[str, LookedUp]:
        found: dict[str, LookedUp] = {}
        for facts in segments:
            self.consoles.heartbeat()
            with self._noting_problems(facts):
                found[facts.sync.name] = look_up_segment(facts.sync, facts.config, self.consoles)
        if faults := [one.fault for one in found.values() if one.fault and one.is_key_fault]:
            raise ConfigError(list(dict.fromkeys(faults)))
        return found

    @contextmanager
    def _noting_problems(self, facts: SegmentFacts) -> Iterator[None]:
        try:
            yield
        except OvertakenError:
            # What was read is old then, of every segment.
            raise
        except (ConfigError, DeliveryError) as error:
            self.problems.append((facts.sync, error))

    def _compare(self, facts: SegmentFacts, looked_up: LookedUp) -> None:
        if looked_up.is_missing and not facts.is_known and looked_up.fault is None:
            segment_id = facts.config.segment_id
            self.notes.append(f"{facts.sync.name}: segment '{segment_id}' is not in Statsig yet; run creates it.")
            return
        if looked_up.is_missing and facts.is_known:
            raise ConfigError([segment_fault(facts.sync, preflight.vanished(facts.config, facts.counts.members))])
        if looked_up.fault:
            raise ConfigError([looked_up.fault])
        self.warnings += looked_up.warnings(facts.sync, facts.config, facts.known_members)
        listed = None if self.counts_only else self._listed(facts)
        count = looked_up.count if listed is None else len(listed)
        if count and not facts.is_known:
            raise ConfigError([segment_fault(facts.sync, preflight.unknown(facts.config, count))])
        if warning := stuck_warning(plan_segment(facts)):
            self.warnings.append(warning)
        found = None
        if listed is not None:
            membership = expected_membership(facts, self.memberships.pop(facts.sync.name))
            found = drift(facts.config.mode, membership, listed)
        self.compared.append(_Compared(expected(facts), listed, count, found))

    def _listed(self, facts: SegmentFacts) -> pl.Series:
        """The ids of the list, which two syncs may share."""
        segment = (facts.project, facts.config.segment_id)
        if segment not in self._lists:
            self._lists[segment] = read_members(facts.sync, self.consoles, self.clock)
        return self._lists[segment]


def verify(world: World, request: VerifyRequest, manner: Manner) -> Verification:
    """Compares each selected segment, and asks about the events of each selected event sync.

    What was found is in the drift ledger and the arrival ledger when this returns. What is wrong with a segment, or
    refused, stands in what it returns. Raises ``ConfigError`` where nothing can be compared, as with a key that Statsig
    refuses, and ``RefusedError`` where another run holds a sync.
    """
    everything = all_syncs(world.graph)
    chosen = _chosen(everything, request)
    segments = tuple(sync for sync in chosen if isinstance(sync.config, SegmentConfig))
    allowed = named(everything, request.allow_removals, "--allow-removals")
    console_faults = console_key_faults(chosen, everything, world.environment, is_asking=False)
    if faults := distinct([*key_faults(segments, world.environment, everything), *console_faults]):
        raise ConfigError(faults)
    events, unasked = without_console_key([sync for sync in chosen if sync not in segments], everything, world)
    if not segments and not events:
        return Verification((), notes=unasked)
    with world.warehouse.reading() as session:
        check_ledgers(world, session)
    lease = Lease(world, world.new_id(), manner.holder, manner.term, manner.should_stop)
    with ExitStack() as stack:
        stack.enter_context(lease.held((*segments, *events), ("finished", "verify")))
        consoles = Consoles(world, manner.patience, stack, lease.heartbeat)
        applier = Applier(world, lease, stack.enter_context(closing(Spool())), consoles, manner.patience)
        found = _Comparison(consoles, world.clock, request.counts_only)
        left = _left_behind(world, everything)
        found.compare(_gather(world, segments, found))
        _log(world, lease, found)
        arrivals = _arrivals(world, events, 0 if request.counts_only else request.sample, (lease, consoles))
        plans = _repairs(found.compared, allowed) if request.repair else []
        refusals = guards.removal_refusals(plans, allowed)
        results = _apply(applier, plans, refusals, manner)
    return Verification(
        tuple(_verified(one, results.get(one.facts.sync.name)) for one in found.compared),
        (*found.notes, *unasked, *(note for one in arrivals for note in one.notes)),
        tuple(dict.fromkeys(str(problem) for _, problem in found.problems)),
        tuple(refusals),
        (*found.warnings, *left.warnings),
        left.orphans,
        arrivals,
    )


def _arrivals(world: World, syncs: Sequence[Sync], sample: int, run: tuple[Lease, Consoles]) -> tuple[Arrival, ...]:
    """What Statsig says of the events of these syncs; it is in the ledger when this returns."""
    if not syncs:
        return ()
    lease, consoles = run
    with world.warehouse.reading() as session:
        sent = [read_sent(world, sync, sample, session) for sync in syncs]
    found = [ask(world, one, consoles) for one in sent]
    now = world.clock.now()
    rows = [line for one, its in zip(sent, found, strict=True) for line in lines(lease.identity(one.sync), its, now)]
    with world.warehouse.writing() as session:
        session.append(world.ledgers[ledger.ARRIVAL_LOG], ledger.frame(ledger.ARRIVAL_LOG, rows))
    return tuple(found)


def _left_behind(world: World, syncs: Sequence[Sync]) -> LeftBehind:
    with world.warehouse.reading() as session:
        return find_left_behind(world, syncs, session)


def _chosen(everything: Sequence[Sync], request: VerifyRequest) -> tuple[Sync, ...]:
    names = [sync.name for sync in everything]
    faults = (
        *pattern_faults(of_mode(names, everything, "mirror"), request.allow_removals, "--allow-removals", "mirror"),
        *pattern_faults(names, request.names, "NAME"),
        *pattern_faults(names, request.select, "--select"),
    )
    if faults:
        raise ConfigError(faults)
    return matching(everything, (*request.names, *request.select))


def _gather(world: World, syncs: Sequence[Sync], found: _Comparison) -> list[SegmentFacts]:
    """The facts of the syncs whose models can be read; the others are problems of the comparison."""
    with world.warehouse.reading() as session:
        models = look_at_models(world, syncs, session)
        unreadable = {one.sync_name: one for one in models.unreadable}
        histories = lineages(world, syncs, session)
        sources = [
            source(world, sync, models.columns[sync.name], histories[sync.name])
            for sync in syncs
            if sync.name in models.columns
        ]
        found.consoles.earlier_requests = earlier_requests(world, sources, session)
        facts: list[SegmentFacts] = []
        for one in sources:
            try:
                facts.append(gather_segment(world, one, session))
                if not found.counts_only:
                    known = membership_of(world, one.lineage, one.sync.destination, session)
                    found.memberships[one.sync.name] = known
            except UnreadableError as error:
                unreadable[one.sync.name] = unreadable_model(one.sync, error)
    for sync in syncs:
        if refusal := unreadable.get(sync.name):
            found.problems.append((sync, unreadable_error([refusal])))
    return facts


def _log(world: World, lease: Lease, found: _Comparison) -> None:
    """Writes the drift down, and gives back the syncs that could not be compared, each with why."""
    now = world.clock.now()
    with world.warehouse.writing() as session:
        for one in found.compared:
            if one.drift is not None:
                run = lease.identity(one.facts.sync)
                for kind, ids in ((MISSING, one.drift.missing), (EXTRA, one.drift.extra)):
                    session.append(world.ledgers[ledger.DRIFT_LOG], ledger.drift(run, ids, kind, now))
        for sync, problem in found.problems:
            lease.end(session, lease.identity(sync), "failed", {"message": own_message(sync.name, problem)})


def _repairs(compared: Sequence[_Compared], allowed: Collection[str]) -> list[SegmentPlan]:
    """What makes the lists right; of a list with two syncs, removals go first."""
    plans = [
        guards.overridden(repair(one.facts, one.drift, one.listed), allowed)
        for one in compared
        if one.drift is not None and one.listed is not None and one.drift.count
    ]
    return sorted(plans, key=lambda plan: plan.facts.config.mode != "remove")


def _apply(
    applier: Applier, plans: Sequence[SegmentPlan], refusals: Sequence[Refusal], manner: Manner
) -> dict[str, SyncResult]:
    """Repairs what is not refused; returns what became of it, by the sync's name."""
    refused = {refusal.sync_name for refusal in refusals}
    applier.lease.refuse(refusals)
    plan = Plan(tuple(one for one in plans if one.sync.name not in refused))
    results = applier.apply(plan, manner.should_stop, manner.observer)
    found = {result.sync_name: result for result in results}
    left = [one.sync.name for one in plan.syncs if one.sync.name not in found]
    applier.lease.refuse([Refusal(name, "stopped by a signal before the repair began") for name in left])
    return found


def _verified(one: _Compared, repaired: SyncResult | None) -> Verified:
    mode, found = one.facts.config.mode, one.drift
    return Verified(
        one.facts.sync.name,
        one.facts.config.segment_id,
        mode,
        one.facts.counts.members,
        one.count,
        len(found.missing) if found is not None else None,
        len(found.extra) if found is not None else None,
        found.others if found is not None else None,
        (*found.missing.head(3), *found.extra.head(3)) if found is not None else (),
        bool(found.count) if found is not None else not count_fits(mode, one.facts.counts, one.count),
        repaired,
    )
