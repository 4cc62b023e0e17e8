"""Writes a run of one sync into the ledgers: intent before it is sent, the outcome after.

Each write opens the warehouse, appends in one transaction, and closes it again.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import polars as pl

from sync.core import ledger
from sync.core.delivery import Outcome
from sync.core.event_guards import event_notes
from sync.core.ledger import Batch, RunIdentity
from sync.core.plan import SegmentPlan, SyncPlan, moment
from sync.edges.warehouse import Session
from sync.run.lease import Lease
from sync.run.world import World

Settled = tuple[Batch, Outcome]


@dataclass
class Tally:
    """What has become of a run's keys so far, and the requests made."""

    accepted: int = 0
    rejected: int = 0
    unknown: int = 0
    requests: int = 0


@dataclass
class Sequences:
    """The numbers of the batches of each destination. They go on from sync to sync, for two may share a segment."""

    _last: dict[tuple[str, str], int] = field(default_factory=dict)

    def next(self, plan: SyncPlan) -> int:
        """The next number for the destination of a plan, after the last that the ledgers have."""
        facts = plan.facts if isinstance(plan, SegmentPlan) else plan
        destination = (facts.project, plan.sync.destination)
        number = max(self._last.get(destination, 0), facts.last_sequence) + 1
        self._last[destination] = number
        return number


@dataclass
class Journal:
    """The ledgers' side of one run of one sync.

    ``remark`` is what to say of a run in which nothing went wrong, ``warning`` what to say of it in any case.
    """

    world: World
    lease: Lease
    plan: SyncPlan
    sequences: Sequences
    tally: Tally = field(default_factory=Tally)
    remark: str | None = None
    warning: str | None = None

    @property
    def run(self) -> RunIdentity:
        """What the ledgers call this run."""
        return self.lease.identity(self.plan.sync)

    def batch(self, operation: str, lines: pl.DataFrame, body_bytes: int | None = None) -> Batch:
        """A new batch with the next number."""
        sequence = self.sequences.next(self.plan)
        return Batch(self.world.new_id(), operation, sequence, lines.height, body_bytes, lines)

    def start(self, rejects: Iterable[pl.DataFrame], settled: Iterable[Settled]) -> None:
        """Writes the plan's figures, the rows that are not sent, and batches that are settled without a request.

        The lines of the batches themselves come last and together: a first run that dies leaves either all of
        the events that it skips, or all of the members that it adopts, or none. What stands before them is
        written piece by piece, for a transaction takes memory as it grows.
        """
        now = self.world.clock.now()
        with self.world.warehouse.writing() as session:
            self.lease.keep(session)
            self.lease.extend(session, self.run, "running", _planned(self.plan))
            for rows in rejects:
                session.append(self._relation(ledger.REJECT_LOG), ledger.rejects(self.run, rows, now))
                session.commit_so_far()
            states = []
            for batch, outcome in settled:
                session.append(self._relation(ledger.CHANGELOG), ledger.changes(self.run, batch, now))
                session.commit_so_far()
                states.append(ledger.batch_state(self.run, batch, outcome, now))
            session.append(self._relation(ledger.BATCH_LOG), ledger.frame(ledger.BATCH_LOG, states))

    def record(
        self, settled: Sequence[Settled], claims: Sequence[Batch] | None, refused: Sequence[Settled] = ()
    ) -> None:
        """Writes the outcomes of the last requests and the claims of the next, in one transaction.

        Gives a sign of life when it is due; ``claims`` is None where nothing more is sent. Raises ``OvertakenError``
        where the lease was lost meanwhile; the outcomes are written all the same.
        """
        now = self.world.clock.now()
        outcomes = [ledger.batch_state(self.run, batch, outcome, now) for batch, outcome in settled]
        rejects = [
            line for batch, outcome in refused for line in ledger.refused_by_statsig(self.run, batch, outcome, now)
        ]
        with self.world.warehouse.writing() as session:
            session.append(self._relation(ledger.BATCH_LOG), ledger.frame(ledger.BATCH_LOG, outcomes))
            session.append(self._relation(ledger.REJECT_LOG), ledger.frame(ledger.REJECT_LOG, rejects))
            if claims is not None:
                self.lease.keep(session)
            if claims:
                states = [ledger.batch_state(self.run, batch, None, now) for batch in claims]
                session.append(self._relation(ledger.BATCH_LOG), ledger.frame(ledger.BATCH_LOG, states))
                lines = pl.concat([ledger.changes(self.run, batch, now) for batch in claims])
                session.append(self._relation(ledger.CHANGELOG), lines)

    def end(self, session: Session, state: str, message: str | None) -> None:
        """Writes how the run ended, which gives the sync back."""
        counts = {
            "keys_accepted": self.tally.accepted,
            "keys_rejected": self.tally.rejected,
            "keys_unsent": self.unsent,
            "keys_unknown": self.tally.unknown,
            "requests": self.tally.requests,
        }
        self.lease.end(session, self.run, state, {**_planned(self.plan), **counts, "message": message})

    def _relation(self, name: str) -> str:
        return self.world.ledgers[name]

    @property
    def unsent(self) -> int:
        """Keys that surely did not reach Statsig."""
        return self.plan.keys - self.tally.accepted - self.tally.rejected - self.tally.unknown


def _planned(plan: SyncPlan) -> dict[str, object]:
    if isinstance(plan, SegmentPlan):
        return {
            "rows_read": plan.facts.rows_read,
            "rows_rejected": plan.rows_rejected,
            "adds_planned": len(plan.change.adds),
            "removes_planned": len(plan.change.removes),
            "overrides": plan.overrides,
            "renamed_from": plan.renamed_from,
        }
    return {
        "rows_read": plan.rows_read,
        "rows_rejected": plan.rows_rejected,
        "events_planned": plan.keys,
        "unique_key": plan.keys_from.unique_key,
        "overrides": plan.overrides,
        "event_name": plan.traits.name,
        "renamed_from": plan.renamed_from,
        "metadata_columns": json.dumps(plan.traits.metadata_columns, ensure_ascii=False),
        "events_from": _moment(plan.times.first),
        "events_until": _moment(plan.times.last),
        "notes": "\n".join(event_notes(plan)) or None,
    }


def _moment(milliseconds: int | None) -> dt.datetime | None:
    return None if milliseconds is None else moment(milliseconds)
