"""Reads the events that are to be sent into the spool.

Memory holds one batch at a time, whatever the number of events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
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
from sync.core.history import KeySource
from sync.core.log_query import mark_of
from sync.core.plan import EventBatch, EventPlan, EventTimes, EventTraits
from sync.core.reasons import SENT_WITHOUT
from sync.edges.spool import Spool
from sync.edges.warehouse import Session
from sync.run.doubts import doubts
from sync.run.gather import Source, last_sequence, stored
from sync.run.gather_history import Past, idle_history, read_history, read_past
from sync.run.world import World
from sync.spec.model import EventConfig

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
        self.duplicates = 0

    def events(self, rows: Iterable[Row]) -> Iterator[Event]:
        """The events to send."""
        for row in rows:
            event, rejected = settle_row(row, self._retry_rejected)
            self.held_back += is_held_back(row, self._retry_rejected)
            self.duplicates += row.copies - row.is_chosen
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
    config, own = source.sync.config, source.lineage.own
    assert isinstance(config, EventConfig)  # noqa: S101 - narrows the type
    past = read_past(world, source, session)
    intake = _Intake(spool, _is_skipped(config, past), retry_rejected)
    relation = stored(source, session).relation
    rows = _rows(world, source, relation, session, spool)
    times = _Times(past.last_until)
    batches = tuple(intake.keep(batch) for batch in pack(times.watch(intake.events(rows))))
    intake.flush()
    is_idle = not batches and not past.has_left_nothing
    return EventPlan(
        source.sync,
        config,
        source.lineage,
        _traits(config, source),
        keys_from(source, config),
        idle_history(past) if is_idle else read_history(world, source, relation, past, session),
        config.unknown_then == "resend",
        int(session.value(f"select count(*) from {relation}") or 0),
        batches,
        intake.skips.count,
        tuple(intake.skips.records),
        tuple(intake.rejects.records),
        intake.rejected_rows,
        tuple(intake.samples),
        last_sequence(world, own.project, source.sync, session),
        intake.held_back,
        doubts(world, source, relation, session),
        intake.duplicates,
        times.found,
        trimmed=dict(intake.trimmed),
    )


def _is_skipped(config: EventConfig, past: Past) -> Callable[[Row], bool]:
    """Tells the rows that a first run leaves out; where nothing is said of them, it would send all."""
    if not past.is_first_run or config.backfill in (None, "all"):
        return lambda row: False
    return lambda row: is_left_out(row, config)


class _Times:
    """Watches the times of the events that go by. ``until`` is the latest of the run before, in milliseconds UTC."""

    def __init__(self, until: int | None) -> None:
        self._until = until
        self.found = EventTimes()

    def watch(self, events: Iterable[Event]) -> Iterator[Event]:
        """The events, one by one."""
        first, last, returning = None, None, 0
        for event in events:
            time = event.event_time
            if time is not None:
                first = time if first is None else min(first, time)
                last = time if last is None else max(last, time)
            returning += time is None or self._until is None or time <= self._until
            yield event
        self.found = EventTimes(first, last, returning)


def _traits(config: EventConfig, source: Source) -> EventTraits:
    columns = event_sql.resolve(config, source.columns)
    name = config.event_name or f"column {columns.fields['event_name'].name}"
    metadata = tuple(column.name for column in columns.metadata)
    return EventTraits(name, metadata, "event_time" in columns.fields, event_sql.key_metadata(columns))


def keys_from(source: Source, config: EventConfig) -> KeySource:
    """What the keys of a sync mean now."""
    column = event_sql.resolve(config, source.columns).unique_key
    return KeySource(source.sync.model, f"{column.name.lower()}, {column.text_kind}")


def _rows(world: World, source: Source, relation: str, session: Session, spool: Spool) -> Iterator[Row]:
    """The rows that are not settled yet: of each part those with a key of their own, then those that share one."""
    config = source.sync.config
    assert isinstance(config, EventConfig)  # noqa: S101 - narrows the type
    columns = event_sql.resolve(config, source.columns)
    if config.on_unknown == "ask":
        columns = replace(columns, mark=mark_of(source.sync.name, config.environment))
    relations = (world.ledgers[ledger.DELIVERIES], world.ledgers[ledger.REJECT_LOG])
    ledgers = EventLedgers(*relations, source.lineage.condition, config.unknown_then)
    for part in parts(int(session.value(lines_query(relation, ledgers)))):
        events = EventSource(config, columns, relation, part)
        for name, query in temporary_tables(events, ledgers).items():
            session.keep(name, query, {})
        yield from (Row(*values) for values in session.rows(single_rows_query(events)))
        if session.value(has_shared_keys_query()):
            shared = (Row(*values) for values in session.rows(shared_rows_query(events)))
            yield from choose(spool.in_order(shared, rank, Row))
