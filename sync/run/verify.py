"""``verify``: compares the lists in Statsig with what the ledgers say, and makes them right on demand."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

import polars as pl

from sync.core import guards, ledger, preflight
from sync.core.clock import Clock
from sync.core.drift import EXTRA, MISSING, Drift, count_fits, drift, repair
from sync.core.plan import Plan, SegmentFacts
from sync.core.segments import IN
from sync.edges.settings import key_faults
from sync.edges.spool import Spool
from sync.errors import ConfigError, Fault
from sync.run.apply import Applier, SyncResult
from sync.run.commands import Manner
from sync.run.consoles import Consoles, LookedUp, look_up_segment, segment_fault
from sync.run.gather import check_relations, earlier_requests, gather_segment, source
from sync.run.lease import Lease
from sync.run.members import read_members
from sync.run.prepare import refuse
from sync.run.world import World, all_syncs, choose, named
from sync.spec.model import SegmentConfig, Sync
from sync.spec.parse import partners


@dataclass(frozen=True)
class VerifyRequest:
    """What the command line asks of ``verify``; ``allow_removals`` holds patterns of exposures' names."""

    select: Sequence[str] = ()
    counts_only: bool = False
    repair: bool = False
    allow_removals: Sequence[str] = ()


@dataclass(frozen=True)
class Verified:
    """A segment that was compared: how many ids the ledgers and Statsig have, and how they differ.

    Where only counts were compared, ``missing`` and ``extra`` are None. ``repair`` is what became of the
    repair, where one was asked for and needed.
    """

    sync_name: str
    segment_id: str
    known: int
    listed: int
    missing: int | None
    extra: int | None
    samples: tuple[str, ...]
    has_drift: bool
    repair: SyncResult | None = None

    @property
    def is_right(self) -> bool:
        """Whether the list is what the ledgers say, now."""
        return not self.has_drift or (self.repair is not None and self.repair.is_delivered)


@dataclass(frozen=True)
class _Compared:
    facts: SegmentFacts
    listed: pl.Series | None
    count: int
    drift: Drift | None


def verify(world: World, request: VerifyRequest, manner: Manner) -> tuple[Verified, ...]:
    """Compares each selected segment; the drift is in the drift ledger when this returns.

    Raises ``RefusedError`` where a guard refuses a repair, or another run holds a sync; ``ConfigError`` and
    ``DeliveryError`` where a segment cannot be read.
    """
    syncs = _segment_syncs(world, request)
    if faults := key_faults(syncs, world.environment, all_syncs(world.graph)):
        raise ConfigError(faults)
    lease = Lease(world, world.new_id(), manner.holder, manner.term, manner.should_stop)
    with ExitStack() as stack:
        stack.enter_context(lease.held(syncs, ("finished", "verify")))
        consoles = Consoles(world, manner.patience, stack, lease.heartbeat)
        applier = Applier(world, lease, stack.enter_context(closing(Spool())), consoles, manner.patience)
        compared = _compare(world, syncs, consoles, request.counts_only)
        _log(world, lease, compared)
        repairs = _repair(applier, request, manner, compared) if request.repair else {}
    return tuple(_verified(one, repairs.get(one.facts.sync.name)) for one in compared)


def _segment_syncs(world: World, request: VerifyRequest) -> tuple[Sync, ...]:
    """The selected segment syncs; of two that share a segment, the one that adds."""
    everything = all_syncs(world.graph)
    chosen = choose(everything, request.select, "--select")
    named(everything, request.allow_removals, "--allow-removals")
    segments = [sync for sync in chosen if isinstance(sync.config, SegmentConfig)]
    if not segments:
        raise ConfigError([Fault("", "", "--select", "names no segment sync; events cannot be read back.")])
    names = {sync.name for sync in segments}
    return tuple(
        sync
        for sync in segments
        if sync.config.mode != "remove" or not any(other.name in names for other in partners(sync, everything))
    )


def _compare(world: World, syncs: Sequence[Sync], consoles: Consoles, counts_only: bool) -> list[_Compared]:
    with world.warehouse.reading() as session:
        columns = check_relations(world, syncs, session)
        sources = [source(world, sync, columns[sync.name]) for sync in syncs]
        consoles.earlier_requests = earlier_requests(world, sources, session)
        facts = [gather_segment(world, one, session) for one in sources]
    return [_compare_one(one, consoles, world.clock, counts_only) for one in facts]


def _compare_one(facts: SegmentFacts, consoles: Consoles, clock: Clock, counts_only: bool) -> _Compared:
    looked_up = look_up_segment(facts.sync, facts.config, consoles)
    if fault := _fault(facts, looked_up):
        raise ConfigError([fault])
    listed = None if counts_only else read_members(facts.sync, consoles, clock)
    count = looked_up.count if listed is None else len(listed)
    if count and not facts.is_known:
        raise ConfigError([segment_fault(facts.sync, preflight.unknown(facts.config, count))])
    return _Compared(facts, listed, count, None if listed is None else drift(facts.membership, listed))


def _fault(facts: SegmentFacts, looked_up: LookedUp) -> Fault | None:
    """What is wrong with the segment in Statsig; None where it can be compared."""
    if looked_up.is_missing and facts.is_known:
        return segment_fault(facts.sync, preflight.vanished(facts.config, facts.membership.height))
    if looked_up.fault is not None:
        return looked_up.fault
    if looked_up.is_missing:
        return segment_fault(facts.sync, f"segment '{facts.config.segment_id}' is not in Statsig yet; run creates it.")
    return None


def _log(world: World, lease: Lease, compared: Sequence[_Compared]) -> None:
    now = world.clock.now()
    with world.warehouse.writing() as session:
        for one in compared:
            if one.drift is not None:
                run = lease.identity(one.facts.sync)
                for kind, ids in ((MISSING, one.drift.missing), (EXTRA, one.drift.extra)):
                    session.append(world.ledgers[ledger.DRIFT_LOG], ledger.drift(run, ids, kind, now))


def _repair(
    applier: Applier, request: VerifyRequest, manner: Manner, compared: Sequence[_Compared]
) -> dict[str, SyncResult]:
    allowed = named(all_syncs(applier.world.graph), request.allow_removals, "--allow-removals")
    plans = [
        guards.overridden(repair(one.facts, one.drift, one.listed), allowed)
        for one in compared
        if one.drift is not None and one.listed is not None and one.drift.count
    ]
    if refusals := guards.removal_refusals(plans, allowed):
        refuse(refusals)
    results = applier.apply(Plan(tuple(plans)), manner.should_stop, manner.observer)
    return {result.sync_name: result for result in results}


def _verified(one: _Compared, repaired: SyncResult | None) -> Verified:
    known = one.facts.membership.filter(pl.col("status") == IN).height
    has_drift = bool(one.drift.count) if one.drift is not None else not count_fits(one.facts.membership, one.count)
    return Verified(
        one.facts.sync.name,
        one.facts.config.segment_id,
        known,
        one.count,
        len(one.drift.missing) if one.drift is not None else None,
        len(one.drift.extra) if one.drift is not None else None,
        (*one.drift.missing.head(3), *one.drift.extra.head(3)) if one.drift is not None else (),
        has_drift,
        repaired,
    )
