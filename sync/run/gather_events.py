"""Reads the events that are to be sent into the spool.

Memory holds one batch at a time, whatever the number of events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from sync.core import event_sql, ledger
from sync.core.event_reading import (
    EventLedgers,
    EventSource,
    has_shared_keys_query,
    lines_query,
    parts,
    shared_rows_query,
    single_rows_query,
    temporary_tables,
)
from sync.core.events import (
    Event,
    RejectedRow,
    Row,
    choose,
    is_held_back,
    is_left_out,
    pack,
    rank,
    request_body,
    settle_row,
    trimmed_kinds,
)
from sync.core.plan import EventBatch, EventPlan, KeySource
from sync.core.reasons import SENT_WITHOUT
from sync.edges.spool import Spool
from sync.edges.warehouse import Session
from sync.run.doubts import doubts
from sync.run.gather import Source, last_sequence, stored
from sync.run.world import World
from sync.spec.model import EventConfig, Sync

_ROWS_PER_RECORD = 5_000
_SAMPLES = 3

_Item = TypeVar("_Item")


class _Chunks(Generic[_Item]):
    """Items on their way into the spool, some thousand to a record."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._waiting: list[_Item] = []
        self.records: list[int] = []
        self.count = 0

    def add(self, item: _Item) -> None:
        """Takes an item."""
        self._waiting.append(item)
        self.count += 1
        if len(self._waiting) == _ROWS_PER_RECORD:
            self.flush()

    def flush(self) -> None:
        """Writes what waits."""
        if self._waiting:
            self.records.append(self._spool.write(self._waiting))
            self._waiting = []


class _Intake:
    """Sorts rows into events to send, events that the first run skips, and rows to reject."""

    def __init__(self, spool: Spool, is_skipped: Callable[[Row], bool], retry_rejected: bool) -> None:
        self._spool, self._is_skipped, self._retry_rejected = spool, is_skipped, retry_rejected
        self.skips: _Chunks[tuple[str, str]] = _Chunks(spool)
        self.rejects: _Chunks[RejectedRow] = _Chunks(spool)
        self.rejected_rows: dict[tuple[str, str], int] = {}
        self.samples: list[str] = []
        self.held_back = 0
        self.trimmed: Counter[str] = Counter()

    def events(self, rows: Iterable[Row]) -> Iterator[Event]:
        """The events to send."""
        for row in rows:
            event, rejected = settle_row(row, self._retry_rejected)
            self.held_back += is_held_back(row, self._retry_rejected)
            is_skipped = self._is_skipped(row)
            if is_skipped and row.is_chosen:
                self.skips.add((row.key or "", row.row_hash))
            for one in rejected:
                # What would go without a part does not go at all.
                if not (is_skipped and one.effect == SENT_WITHOUT):
                    self._reject(one)
            if event is not None and not is_skipped:
                self.trimmed.update(trimmed_kinds(row, event))
                yield event

    def _reject(self, row: RejectedRow) -> None:
        self.rejects.add(row)
        counted = (row.reason, row.effect)
        self.rejected_rows[counted] = self.rejected_rows.get(counted, 0) + row.row_count

    def keep(self, events: list[Event]) -> EventBatch:
        """A batch, in the spool."""
        for event in events[: _SAMPLES - len(self.samples)]:
            self.samples.append(event.body.decode())
        return EventBatch(self._spool.write(events), len(events), len(request_body(events)))

    def flush(self) -> None:
        """Writes what waits."""
        self.skips.flush()
        self.rejects.flush()


def gather_events(
    world: World, source: Source, session: Session, spool: Spool, retry_rejected: bool = False
) -> EventPlan:
    """The events of a sync that are to be sent, what is wrong with the others, and what is left out.

    Raises ``UnreadableError`` where the model cannot be read.
    """
    first = spool.count

    def read() -> EventPlan:
        spool.forget_from(first)
        return _gather_events(world, source, session, spool, retry_rejected)

    with session.one_model(source.relation):
        return session.in_little_memory(read)


def _gather_events(world: World, source: Source, session: Session, spool: Spool, retry_rejected: bool) -> EventPlan:
    config, project = source.sync.config, source.endpoint.project
    assert isinstance(config, EventConfig)  # noqa: S101 - narrows the type
    is_first = config.backfill != "all" and _is_first_run(world, project, source.sync, session)
    intake = _Intake(spool, lambda row: is_first and is_left_out(row, config), retry_rejected)
    relation = stored(source, session).relation
    rows = _rows(world, source, relation, session, spool)
    batches = tuple(intake.keep(batch) for batch in pack(intake.events(rows)))
    intake.flush()
    return EventPlan(
        source.sync,
        project,
        _keys_from(source, config),
        _keys_were_from(world, project, source.sync, session),
        config.unknown_then == "resend",
        int(session.value(f"select count(*) from {relation}") or 0),
        batches,
        intake.skips.count,
        tuple(intake.skips.records),
        tuple(intake.rejects.records),
        intake.rejected_rows,
        tuple(intake.samples),
        last_sequence(world, project, source.sync, session),
        intake.held_back,
        doubts(world, source, relation, session),
        trimmed=dict(intake.trimmed),
    )


def _keys_from(source: Source, config: EventConfig) -> KeySource:
    column = event_sql.resolve(config, source.columns).unique_key
    return KeySource(source.sync.model, f"{column.name.lower()}, {column.text_kind}")


def _keys_were_from(world: World, project: str, sync: Sync, session: Session) -> KeySource | None:
    """What the keys meant in the last run that had any; None where there was none."""
    found = session.rows(
        f"select model, unique_key from {world.ledgers[ledger.RUN_LOG]} where project = $project"
        " and sync_name = $sync_name and model is not null and unique_key is not null order by logged_at desc limit 1",
        {"project": project, "sync_name": sync.name},
    )
    return next((KeySource(model, unique_key) for model, unique_key in found), None)


def _rows(world: World, source: Source, relation: str, session: Session, spool: Spool) -> Iterator[Row]:
    """The rows that are not settled yet: of each part those with a key of their own, then those that share one."""
    config = source.sync.config
    assert isinstance(config, EventConfig)  # noqa: S101 - narrows the type
    columns = event_sql.resolve(config, source.columns)
    ledgers = EventLedgers(world.ledgers[ledger.DELIVERIES], world.ledgers[ledger.REJECT_LOG], config.unknown_then)
    parameters = {"project": source.endpoint.project, "sync_name": source.sync.name}
    for part in parts(int(session.value(lines_query(relation, ledgers), parameters))):
        events = EventSource(config, columns, relation, part)
        for name, query in temporary_tables(events, ledgers).items():
            session.keep(name, query, parameters)
        yield from (Row(*values) for values in session.rows(single_rows_query(events)))
        if session.value(has_shared_keys_query()):
            shared = (Row(*values) for values in session.rows(shared_rows_query(events)))
            yield from choose(spool.in_order(shared, rank, Row))


def _is_first_run(world: World, project: str, sync: Sync, session: Session) -> bool:
    """Whether no run of this sync has ended well, and none has left a batch.

    Other commands leave lines in the run ledger too; only a run has read rows.
    """
    return not session.value(
        f"select exists (select 1 from {world.ledgers[ledger.RUN_LOG]} where project = $project"
        " and sync_name = $sync_name and state = 'finished' and rows_read is not null)"
        f" or exists (select 1 from {world.ledgers[ledger.BATCH_LOG]} where project = $project"
        " and sync_name = $sync_name)",
        {"project": project, "sync_name": sync.name},
    )
