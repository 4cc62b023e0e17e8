"""``resolve``: a person's word on events whose outcome is unknown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sync.core import ledger
from sync.core.delivery import Outcome, State
from sync.core.ledger import Batch
from sync.core.terms import Term
from sync.errors import ConfigError, Fault
from sync.run.gather import check_relations
from sync.run.lease import Lease
from sync.run.world import World, all_syncs, choose
from sync.spec.model import EventConfig, Sync

_STATES = {"sent": State.ACCEPTED, "unsent": State.UNSENT}


@dataclass(frozen=True)
class Verdict:
    """What a person says of the events of a sync that are in doubt: ``sent`` or ``unsent``.

    ``batches`` narrows it to these batch ids; empty stands for all.
    """

    sync_name: str
    settled_as: str
    batches: Sequence[str] = ()


@dataclass(frozen=True)
class Resolved:
    """The batches that were settled, with their numbers of events."""

    sync_name: str
    settled_as: str
    batches: dict[str, int]


def resolve(world: World, verdict: Verdict, holder: str, term: Term) -> Resolved:
    """Settles event batches in doubt: as sent, they are never sent again; as unsent, the next run sends them.

    Raises ``ConfigError`` for a sync or a batch that there is not, ``RefusedError`` while a run holds the
    sync: a request in flight looks like one in doubt.
    """
    sync = _event_sync(world, verdict)
    lease = Lease(world, world.new_id(), holder, term)
    with world.warehouse.reading() as session:
        check_relations(world, [sync], session)
    _chosen(verdict, _in_doubt(world, sync, lease))
    with lease.held([sync], ("finished", f"resolve --as {verdict.settled_as}")):
        chosen = _chosen(verdict, _in_doubt(world, sync, lease))
        _settle(world, lease, sync, verdict, chosen)
    return Resolved(sync.name, verdict.settled_as, {name: len(batch.keys) for name, batch in chosen.items()})


def _chosen(verdict: Verdict, found: dict[str, Batch]) -> dict[str, Batch]:
    """The batches that the verdict is about. Raises ``ConfigError`` for one that is not in doubt."""
    if unknown := [batch for batch in verdict.batches if batch not in found]:
        listed = ", ".join(found) or "none"
        message = f"{', '.join(unknown)} is not in doubt; the batches in doubt are: {listed}."
        raise ConfigError([Fault("", verdict.sync_name, "--batch", message)])
    return {name: batch for name, batch in found.items() if not verdict.batches or name in verdict.batches}


def _event_sync(world: World, verdict: Verdict) -> Sync:
    syncs = choose(all_syncs(world.graph), [verdict.sync_name], "NAME")
    for sync in syncs:
        if not isinstance(sync.config, EventConfig):
            message = "is a segment sync; what is in doubt there is settled by the next run, which sends it again."
            raise ConfigError([Fault(sync.file, f"exposure {sync.name}", "", message)])
    if len(syncs) > 1:
        raise ConfigError([Fault("", "", "NAME", f"'{verdict.sync_name}' names {len(syncs)} syncs; name one.")])
    return syncs[0]


def _in_doubt(world: World, sync: Sync, lease: Lease) -> dict[str, Batch]:
    """The batches in doubt of every event that is unsettled: an event may have been sent several times."""
    with world.warehouse.reading() as session:
        rows = session.rows(
            "select batches.batch_id, batches.operation, batches.sequence, batches.keys, batches.body_bytes"
            f" from {world.ledgers[ledger.BATCHES]} as batches"
            f" where batches.batch_id in (select batch_id from {world.ledgers[ledger.DELIVERIES]}"
            " where sync_name = $sync_name and project = $project and operation = 'log' and state = 'unknown'"
            f" and key in (select key from {world.ledgers[ledger.UNSETTLED]}"
            " where sync_name = $sync_name and project = $project)) order by batches.sequence",
            {"sync_name": sync.name, "project": lease.identity(sync).project},
        )
        return {row[0]: Batch(row[0], row[1], row[2], [""] * row[3], None, row[4]) for row in rows}


def _settle(world: World, lease: Lease, sync: Sync, verdict: Verdict, batches: dict[str, Batch]) -> None:
    now = world.clock.now()
    outcome = Outcome(_STATES[verdict.settled_as], None, f"resolved as {verdict.settled_as} by a person")
    lines = [ledger.batch_state(lease.identity(sync), batch, outcome, now) for batch in batches.values()]
    with world.warehouse.writing() as session:
        session.append(world.ledgers[ledger.BATCH_LOG], ledger.frame(ledger.BATCH_LOG, lines))
