"""Reads the events that are to be sent into the spool, as finished requests.

Memory holds some thousand rows at a time, whatever the number of events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace

import polars as pl

from sync.core import event_sql, ledger
from sync.core.compression import compressed
from sync.core.event_reading import (
    EventLedgers,
    EventSource,
    arrived,
    has_shared_keys_query,
    logged_query,
    rows_at_once,
    shared_rows_query,
    single_rows_query,
    temporary_tables,
    width_query,
)
from sync.core.events import left_out, settle, trimmed_counts
from sync.core.history import KeySource
from sync.core.log_query import mark_of
from sync.core.plan import EventBatch, EventPlan, EventTimes, EventTraits, SpooledEvents
from sync.core.sampling import Sample
from sync.edges.spool import Spool
from sync.edges.warehouse import Session
from sync.engine.connection import Engine
from sync.engine.encoder import EventEncoder
from sync.engine.packer import Packed, pack
from sync.run.doubts import doubts
from sync.run.gather import Source, last_sequence, stored
from sync.run.gather_history import idle_history, read_history, read_past
from sync.run.world import World
from sync.spec.model import EventConfig

_SAMPLES = 3


class _Intake:
    """Sorts rows into events to send, events that the first run skips, and rows to reject.

    Without a spool all of it is only counted. ``until`` is the latest time of the run before, in milliseconds UTC.
    """

    def __init__(self, spool: Spool | None, is_left_out: pl.Expr, retry_rejected: bool, until: int | None) -> None:
        self._spool, self._is_left_out, self._retry_rejected, self._until = spool, is_left_out, retry_rejected, until
        self.skipped = 0
        self.skips: list[int] = []
        self.rejects: list[int] = []
        self.rejected_rows: Counter[tuple[str, str]] = Counter()
        self.samples: list[str] = []
        self.looked_up = Sample()
        self.held_back = 0
        self.trimmed: Counter[str] = Counter()
        self.duplicates = 0
        self.times = EventTimes()

    def events(self, frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """The events to send."""
        for rows in frames:
            found = settle(rows, self._is_left_out, self._retry_rejected)
            self.held_back += found.held_back
            self.duplicates += found.duplicates
            self.skipped += found.skips.height
            counted = found.rejects.group_by("reason", "effect").agg(pl.col("row_count").sum())
            for reason, effect, count in counted.iter_rows():
                self.rejected_rows[reason, effect] += count
            if self._spool is not None:
                self.skips.extend(self._spool.write_frame(one) for one in [found.skips] if one.height)
                self.rejects.extend(self._spool.write_frame(one) for one in [found.rejects] if one.height)
            self._watch(found.events)
            yield found.events

    def _watch(self, events: pl.DataFrame) -> None:
        self.trimmed.update(trimmed_counts(events))
        self.samples.extend(events["body"].head(_SAMPLES - len(self.samples)))
        self.looked_up.add(events)
        times = events["event_time"]
        later = 0 if self._until is None else int((times > self._until).sum())
        self.times = self.times.joined(EventTimes(_whole(times.min()), _whole(times.max()), events.height - later))

    def keep(self, requests: list[Packed]) -> Iterator[EventBatch]:
        """Requests, in the spool where there is one."""
        lines = self._spool.write_frame(pl.concat([one.lines for one in requests])) if self._spool is not None else 0
        start = 0
        for one in requests:
            spooled = None
            if self._spool is not None and one.body is not None:
                spooled = SpooledEvents(self._spool.write(one.body), lines, start)
            yield EventBatch(spooled, one.lines.height, one.body_bytes)
            start += one.lines.height


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


def gather_events(
    world: World, source: Source, session: Session, spool: Spool | None, retry_rejected: bool = False
) -> EventPlan:
    """The events of a sync that are to be sent, what is wrong with the others, and what is left out.

    Without a spool events are only counted, and cannot be sent. Raises ``UnreadableError`` where the model cannot be
    read.
    """
    with session.one_model(source.relation):
        return _gather_events(world, source, session, spool, retry_rejected)


def _gather_events(
    world: World, source: Source, session: Session, spool: Spool | None, retry_rejected: bool
) -> EventPlan:
    config, own = source.sync.config, source.lineage.own
    assert isinstance(config, EventConfig)  # noqa: S101 - narrows the type
    past = read_past(world, source, session)
    # Where nothing is said of what a first run leaves out, it would send all.
    is_left_out = left_out(config) if past.is_first_run else pl.lit(False)
    intake = _Intake(spool, is_left_out, retry_rejected, past.last_until)
    relation = stored(source, session).relation
    events = EventSource(event_sql.resolve(config, source.columns), relation)
    with session.in_little_memory(is_wide=True):
        at_once = rows_at_once(session.value(width_query(events)))
    with closing(Engine()) as engine, session.in_little_memory(is_wide=at_once is not None), session.one_moment():
        rows = _rows(world, source, events, session, (_encoder(engine, config, source), at_once))
        requests = pack(intake.events(rows), None if spool is None else compressed)
        batches = tuple(batch for several in requests for batch in intake.keep(several))
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
        intake.skipped,
        tuple(intake.skips),
        tuple(intake.rejects),
        dict(intake.rejected_rows),
        tuple(intake.samples),
        last_sequence(world, own.project, source.sync, session),
        looked_up=intake.looked_up.spread(),
        held_back=intake.held_back,
        doubts=doubts(world, source, relation, session),
        duplicates=intake.duplicates,
        times=intake.times,
        trimmed=dict(intake.trimmed),
    )


def _traits(config: EventConfig, source: Source) -> EventTraits:
    columns = event_sql.resolve(config, source.columns)
    name = config.event_name or f"column {columns.fields['event_name'].name}"
    metadata = tuple(column.name for column in columns.metadata)
    return EventTraits(name, metadata, "event_time" in columns.fields, event_sql.key_metadata(columns))


def keys_from(source: Source, config: EventConfig) -> KeySource:
    """What the keys of a sync mean now."""
    column = event_sql.resolve(config, source.columns).unique_key
    return KeySource(source.sync.model, f"{column.name.lower()}, {column.text_kind}")


def _encoder(engine: Engine, config: EventConfig, source: Source) -> EventEncoder:
    columns = arrived(event_sql.resolve(config, source.columns))
    if config.on_unknown == "ask":
        columns = replace(columns, mark=mark_of(source.sync.name, config.environment))
    return EventEncoder(engine, config, columns)


def _rows(
    world: World, source: Source, events: EventSource, session: Session, how: tuple[EventEncoder, int | None]
) -> Iterator[pl.DataFrame]:
    """The rows that are not settled yet: those with a key of their own, then those that share one.

    ``how`` is what encodes them, and how many to read at once.
    """
    config, (encoder, at_once) = source.sync.config, how
    assert isinstance(config, EventConfig)  # noqa: S101 - narrows the type
    relations = (world.ledgers[ledger.DELIVERIES], world.ledgers[ledger.REJECT_LOG])
    ledgers = EventLedgers(*relations, source.lineage.condition, config.unknown_then)
    for name, query in temporary_tables(events, ledgers).items():
        session.keep(name, query, {})
    has_shared_keys = bool(session.value(has_shared_keys_query()))
    encoder.know(session.batches(logged_query(ledgers)))
    yield from encoder.rows(session.batches(single_rows_query(events, ledgers, has_shared_keys), at_once))
    if has_shared_keys:
        yield from encoder.shared_rows(session.batches(shared_rows_query(events), at_once))
