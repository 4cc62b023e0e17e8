"""``resolve``: a person's word on events whose outcome is unknown."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sync.core import ledger
from sync.core.delivery import Outcome, State
from sync.core.ledger import Batch, RunIdentity
from sync.core.lineage import Lineage
from sync.core.terms import Term
from sync.errors import ConfigError, Fault
from sync.run.gather import check_ledgers, check_relations
from sync.run.gone import find_gone
from sync.run.lease import Lease
from sync.run.lineages import lineages
from sync.run.world import World, all_syncs, choose, find_syncs, matching
from sync.spec.model import EventConfig, Sync

_STATES = {"sent": State.ACCEPTED, "unsent": State.UNSENT}


@dataclass(frozen=True)
class Verdict:
    """What a person says of the events of a sync that are in doubt: ``sent`` or ``unsent``.

    ``batches`` narrows it to these batch ids; empty stands for all. ``is_dry`` says that nothing is to be written.
    """

    sync_name: str
    settled_as: str
    batches: Sequence[str] = ()
    is_dry: bool = False


@dataclass(frozen=True)
class Doubt:
    """A batch in doubt, with when it was claimed (UTC, without a zone), and what went wrong where that is known.

    ``run`` is this run under the name that the sync had when the batch was sent.
    """

    batch: Batch
    claimed_at: dt.datetime
    message: str | None
    run: RunIdentity


@dataclass(frozen=True)
class Resolved:
    """The batches that were settled, or would be."""

    sync_name: str
    settled_as: str
    doubts: tuple[Doubt, ...]


def resolve(world: World, verdict: Verdict, holder: str, term: Term) -> Resolved:
    """Settles event batches in doubt: as sent, they are never sent again; as unsent, the next run sends them.

    Where it is only to say which, nothing is written and the sync is not held. A sync that the project has no more is
    known by its name in the ledgers. Raises ``ConfigError`` for a sync or a
    batch that there is not, ``RefusedError`` while a run holds the sync: a request in flight looks like one in doubt.
    """
    lease = Lease(world, world.new_id(), holder, term)
    sync, lineage = _event_sync(world, verdict)
    chosen = _chosen(verdict, _in_doubt(world, lineage, lease.identity(sync)))
    if not verdict.is_dry:
        with lease.held([sync], ("finished", f"resolve --as {verdict.settled_as}")):
            chosen = _chosen(verdict, _in_doubt(world, lineage, lease.identity(sync)))
            _settle(world, verdict, chosen)
    return Resolved(sync.name, verdict.settled_as, tuple(chosen.values()))


def _chosen(verdict: Verdict, found: dict[str, Doubt]) -> dict[str, Doubt]:
    """The batches that the verdict is about. Raises ``ConfigError`` for one that is not in doubt."""
    if unknown := [batch for batch in verdict.batches if batch not in found]:
        listed = ", ".join(found) or "none"
        message = f"{', '.join(unknown)} is not in doubt; the batches in doubt are: {listed}."
        raise ConfigError([Fault("", verdict.sync_name, "--batch", message)])
    return {name: doubt for name, doubt in found.items() if not verdict.batches or name in verdict.batches}


def _event_sync(world: World, verdict: Verdict) -> tuple[Sync, Lineage]:
    syncs, faults = find_syncs(world.graph)
    with world.warehouse.reading() as session:
        if not faults and not matching(syncs, [verdict.sync_name]):
            check_ledgers(world, session)
            if found := find_gone(world, verdict.sync_name, session):
                return found
        sync = _own_sync(world, verdict)
        check_relations(world, [sync], session)
        return sync, lineages(world, [sync], session)[sync.name]


def _own_sync(world: World, verdict: Verdict) -> Sync:
    syncs = choose(all_syncs(world.graph), [verdict.sync_name], "NAME")
    for sync in syncs:
        if not isinstance(sync.config, EventConfig):
            message = "is a segment sync; what is in doubt there is settled by the next run, which sends it again."
            raise ConfigError([Fault(sync.file, f"exposure {sync.name}", "", message)])
    if len(syncs) > 1:
        raise ConfigError([Fault("", "", "NAME", f"'{verdict.sync_name}' names {len(syncs)} syncs; name one.")])
    return syncs[0]


def _in_doubt(world: World, lineage: Lineage, run: RunIdentity) -> dict[str, Doubt]:
    """The batches in doubt of every event that is unsettled: an event may have been sent several times."""
    own = lineage.condition
    with world.warehouse.reading() as session:
        rows = session.rows(
            "select batches.batch_id, batches.operation, batches.sequence, batches.keys, batches.body_bytes,"
            " batches.claimed_at, batches.message, batches.project, batches.sync_name"
            f" from {world.ledgers[ledger.BATCHES]} as batches"
            f" where batches.batch_id in (select batch_id from {world.ledgers[ledger.DELIVERIES]}"
            f" where {own} and operation = 'log' and state = 'unknown'"
            f" and key in (select key from {world.ledgers[ledger.UNSETTLED]} where {own}))"
            " order by batches.claimed_at, batches.sequence"
        )
        return {
            row[0]: Doubt(
                Batch(*row[:5]),
                row[5],
                row[6],
                replace(run, project=row[7], sync_name=row[8]),
            )
            for row in rows
        }


def _settle(world: World, verdict: Verdict, chosen: dict[str, Doubt]) -> None:
    now = world.clock.now()
    outcome = Outcome(_STATES[verdict.settled_as], None, f"resolved as {verdict.settled_as} by a person")
    lines = [ledger.batch_state(doubt.run, doubt.batch, outcome, now) for doubt in chosen.values()]
    with world.warehouse.writing() as session:
        session.append(world.ledgers[ledger.BATCH_LOG], ledger.frame(ledger.BATCH_LOG, lines))
