"""Asks Statsig about events in doubt before they are sent again or held (``on_unknown: ask``)."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from sync.core import inquiry, ledger
from sync.core.arrival import Sought, sought
from sync.core.delivery import Outcome, Patience, State
from sync.core.inquiry import Cell
from sync.core.ledger import Batch
from sync.core.log_query import mark_of
from sync.core.plan import settled_as
from sync.edges.warehouse import Session
from sync.errors import ConfigError
from sync.run.consoles import Consoles
from sync.run.doubts import unsettled_events
from sync.run.journal import Settled
from sync.run.lease import Lease
from sync.run.lineages import lineages
from sync.run.sightings import Sightings, key_metadata
from sync.run.world import World
from sync.spec.model import EventConfig, Sync

# A question that is not answered keeps a run waiting, and there is ``ask_then`` to fall back to.
_ATTEMPTS, _SECONDS = 2, 30.0


@dataclass(frozen=True)
class _Doubtful:
    """A batch in doubt with those of its events that no other batch is known to have brought to Statsig.

    ``name`` is the name that the sync had, ``events`` gives by key the event's name and time.
    """

    batch: Batch
    project: str
    name: str
    claimed_at: dt.datetime
    events: Mapping[str, tuple[str | None, dt.datetime | None]]


@dataclass
class Asker:
    """Asks about the events of the syncs of a run.

    ``notes`` tell what was found, ``warnings`` why Statsig could not be asked.
    """

    world: World
    lease: Lease
    patience: Patience
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def settle_earlier(self, syncs: Sequence[Sync]) -> None:
        """Settles what is found of the events in doubt that earlier runs have left, before a plan is made.

        Raises ``StoppedError`` where a signal has asked to stop.
        """
        asked = [sync for sync in syncs if isinstance(sync.config, EventConfig) and sync.config.on_unknown == "ask"]
        if not asked:
            return
        with self.world.warehouse.reading() as session:
            traced = lineages(self.world, asked, session)
            left = [one for one in asked if unsettled_events(self.world, traced[one.name], session)]
        for sync in left:
            doubtful = self._doubtful(sync)
            found = self._arrived(sync, doubtful, None, self.lease.heartbeat)
            self._settle(sync, [one for one in doubtful if one.batch.batch_id in found])
            self.lease.heartbeat()

    def about(self, sync: Sync, settled: Sequence[Settled]) -> list[Settled]:
        """The outcomes of requests that this run has just sent; those in doubt of which an event is found are accepted.

        What was in doubt is in the ledgers already.
        """
        self.lease.renew()
        wanted = {batch.batch_id for batch, outcome in settled if outcome.state is State.UNKNOWN}
        found = self._arrived(sync, self._doubtful(sync), wanted, self.lease.renew)
        return [_as_found(one) if one[0].batch_id in wanted & found else one for one in settled]

    def _arrived(
        self, sync: Sync, doubtful: Sequence[_Doubtful], wanted: Collection[str] | None, renew: Callable[[], None]
    ) -> frozenset[str]:
        """The batches that have arrived, of those that are wanted; None stands for all of earlier runs."""
        now = self.world.clock.now()
        by_id = {one.batch.batch_id: one for one in doubtful}
        carried = {name: frozenset(one.events) for name, one in by_id.items()}
        waiting = [
            _Search(cell, tuple(_events(sync, keys, cell, by_id, now)), _since(cell, by_id, wanted, now))
            for cell, keys in inquiry.cells(carried).items()
            if wanted is None or not cell.isdisjoint(wanted)
        ]
        newest = sorted(waiting, key=lambda one: one.since, reverse=True)[: inquiry.MOST_CELLS]
        with self._sightings(sync) as sightings:
            return inquiry.arrived(carried, self._found(newest, sightings, renew) if sightings else ())

    def _found(self, waiting: list[_Search], sightings: Sightings, renew: Callable[[], None]) -> list[Cell]:
        """The groups of which an event was found; they are looked for several times, the old ones once."""
        found: list[Cell] = []
        clock = self.world.clock
        for seconds in inquiry.LOOKS_AFTER:
            if not waiting:
                break
            left = seconds - (clock.now() - max(one.since for one in waiting)).total_seconds()
            if left <= 0 and seconds != inquiry.LOOKS_AFTER[-1]:
                continue
            clock.sleep(max(0.0, left))
            if self.patience.should_stop():
                break
            for one in waiting:
                renew()
                if any(map(sightings.is_there, one.events)):
                    found.append(one.cell)
            waiting = [one for one in waiting if one.cell not in found]
            if sightings.problem:
                break
        return found

    @contextmanager
    def _sightings(self, sync: Sync) -> Iterator[Sightings | None]:
        """What looks for the events of a sync; None where nothing can. What kept it from it becomes a warning."""
        with ExitStack() as stack:
            problem, sightings = None, None
            patience = replace(
                self.patience,
                attempts=min(_ATTEMPTS, self.patience.attempts),
                total_seconds=min(_SECONDS, self.patience.total_seconds),
            )
            with self.world.warehouse.reading() as session:
                metadata = key_metadata(self.world, sync, session)
            try:
                beside = Consoles(self.world, patience, stack).beside(sync)
            except ConfigError as error:
                beside, problem = None, str(error)
            if beside is not None and metadata is not None:
                sightings = Sightings(beside[0], metadata)
            elif problem is None:
                missing = "there is no Console API Key for its Statsig project" if beside is None else _NO_KEY
                problem = f"{missing}."
            yield sightings
        if sightings is not None and sightings.problem:
            problem = sightings.problem
        if problem:
            self._warn(sync, problem)

    def _warn(self, sync: Sync, problem: str) -> None:
        warning = f"{sync.name}: Statsig could not be asked about events in doubt, {settled_as(sync)}: {problem}"
        if warning not in self.warnings:
            self.warnings.append(warning)

    def _doubtful(self, sync: Sync) -> list[_Doubtful]:
        with self.world.warehouse.reading() as session:
            return _read(self.world, lineages(self.world, [sync], session)[sync.name].condition, session)

    def _settle(self, sync: Sync, found: Sequence[_Doubtful]) -> None:
        """Writes down that these batches were accepted, each under the name that the sync had then."""
        if not found:
            return
        outcome, now = Outcome(State.ACCEPTED, None, inquiry.FOUND), self.world.clock.now()
        run = self.lease.identity(sync)
        lines = [
            ledger.batch_state(replace(run, project=one.project, sync_name=one.name), one.batch, outcome, now)
            for one in found
        ]
        with self.world.warehouse.writing() as session:
            session.append(self.world.ledgers[ledger.BATCH_LOG], ledger.frame(ledger.BATCH_LOG, lines))
        events = len({key for one in found for key in one.events})
        self.notes.append(
            f"{sync.name}: {events:,} event(s) in doubt of {len(found):,} batch(es) were found in Statsig's logs, and "
            "are not sent again."
        )


_NO_KEY = "its model does not have the unique key any more"


@dataclass(frozen=True)
class _Search:
    """Events to look for, which all were carried by the same requests, the last of them ``since`` then."""

    cell: Cell
    events: Sequence[Sought]
    since: dt.datetime


def _as_found(settled: Settled) -> Settled:
    batch, outcome = settled
    return batch, replace(outcome, state=State.ACCEPTED, message=inquiry.FOUND)


def _since(cell: Cell, by_id: Mapping[str, _Doubtful], wanted: Collection[str] | None, now: dt.datetime) -> dt.datetime:
    """When the last of the requests was in doubt: of this run now, of an earlier one no sooner than it was claimed."""
    if wanted is not None:
        return now
    return max(by_id[batch].claimed_at for batch in cell).replace(tzinfo=dt.timezone.utc)


def _events(
    sync: Sync, keys: list[str], cell: Cell, by_id: Mapping[str, _Doubtful], now: dt.datetime
) -> Iterator[Sought]:
    """Some events of a group; one whose name is not known cannot be looked for."""
    assert isinstance(sync.config, EventConfig)  # noqa: S101 - narrows the type
    claims = [by_id[batch].claimed_at for batch in cell]
    last = max((by_id[batch] for batch in cell), key=lambda one: one.claimed_at)
    mark = mark_of(last.name, sync.config.environment)
    for key in inquiry.some(keys):
        logged = [by_id[batch].events[key] for batch in sorted(cell)]
        name = next((name for name, _ in logged if name), sync.config.event_name)
        if name:
            yield sought(name, key, [ledger.naive_utc(now), *claims, *(time for _, time in logged)], mark)


def _read(world: World, own: str, session: Session) -> list[_Doubtful]:
    """The batches in doubt of a sync, in the order in which they were claimed."""
    batches, changelog = world.ledgers[ledger.BATCHES], world.ledgers[ledger.CHANGELOG]
    in_doubt = f"{batches} where {own} and operation = 'log' and state = 'unknown'"
    carried = f"{changelog} where batch_id in (select batch_id from {in_doubt})"
    rows = session.rows(
        f"select batch_id, key, event_name, event_time from {carried} and key not in"
        f" (select key from {world.ledgers[ledger.DELIVERIES]} where {own} and operation in ('log', 'skip')"
        f" and state = 'accepted' and key in (select key from {carried}))"
    )
    events: dict[str, dict[str, tuple[str | None, dt.datetime | None]]] = defaultdict(dict)
    for batch_id, key, name, time in rows:
        events[batch_id][key] = (name, time)
    lines = session.rows(
        f"select batch_id, sequence, keys, body_bytes, project, sync_name, claimed_at from {in_doubt}"
        " order by claimed_at, sequence"
    )
    return [
        _Doubtful(Batch(row[0], "log", *row[1:4]), row[4], row[5], row[6], events[row[0]])
        for row in lines
        if row[0] in events
    ]
