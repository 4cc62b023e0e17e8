"""Encodes the rows of an event sync, a batch of columns at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import polars as pl
from arro3.core import RecordBatch

from sync.core.event_reading import SENT_HASH
from sync.core.event_sql import EventColumns, source_query
from sync.core.events import ROWS
from sync.engine.connection import Engine
from sync.spec.model import EventConfig

# Rows that are encoded at once, and fewer where they are wide: as many as take so many bytes.
_AT_ONCE, _BYTES_AT_ONCE = 16_384, 16 * 2**20
# Rows that share keys and are ranked at once.
_RANKED_AT_ONCE = 100_000

_BATCH, _LOGGED, _SHARED, _RANKED, _ENCODED = "batch", "logged", "shared", "ranked", "encoded"
# A separator that JSON text cannot hold keeps two different rows from the same hash.
_HASH = "md5(coalesce(head, '') || chr(1) || coalesce(custom, ''))"
_PAYLOAD = ("head", "custom")
_ALONE = {"was_sent": "false", "copies": "cast(1 as bigint)", "is_chosen": "true"}
# What makes a row another one; its hash covers the payload.
_IDENTITY = "key, row_hash, event_time, reason, detail, without, trimmed, event_name, sent_hash"
# Chosen is a row that can be sent before one that cannot, then the one that was sent already, then the earliest time,
# then the smallest hash.
_RANK = (
    "reason is not null, not coalesce(sent_hash = row_hash, false), event_time is null, event_time, row_hash,"
    " coalesce(reason, ''), coalesce(detail, ''), coalesce(without, '')"
)


class EventEncoder:
    """Turns rows with these columns, as they come from a warehouse, into ``ROWS``.

    ``ranked_at_once`` says how many rows that share keys are ranked at once. Raises ``duckdb.Error`` where the engine
    fails.
    """

    def __init__(
        self, engine: Engine, config: EventConfig, columns: EventColumns, ranked_at_once: int = _RANKED_AT_ONCE
    ) -> None:
        self._engine, self._config, self._columns = engine, config, columns
        self._ranked_at_once = ranked_at_once
        self._has_logged = False

    def know(self, logged: Iterable[RecordBatch]) -> None:
        """Takes what the reject ledger has: batches of ``key``, ``row_hash`` and ``logged``."""
        self._engine.execute(f"create or replace table {_LOGGED} (key varchar, row_hash varchar, logged varchar)")
        for batch in logged:
            self._engine.take(_BATCH, batch)
            self._engine.execute(f"insert into {_LOGGED} select key, row_hash, logged from {_BATCH}")
            self._has_logged = True

    def rows(self, batches: Iterable[RecordBatch]) -> Iterator[pl.DataFrame]:
        """Rows whose keys stand in one row each."""
        columns = ", ".join(_ALONE.get(name, name) + f" as {name}" for name in ROWS)
        for part in _parts(batches):
            self._engine.take(_BATCH, part)
            yield self._engine.frame(f"select {columns} from {self._with_logged(self._query(''))}")

    def shared_rows(self, batches: Iterable[RecordBatch]) -> Iterator[pl.DataFrame]:
        """Rows whose keys stand in several rows, in any order: those that are the same to the letter as one.

        One row is chosen for each key. The batches hold ``SENT_HASH`` too, the hash of the row that was sent.
        """
        count = self._gather_shared(batches)
        if not count:
            return
        special = {"was_sent": "sent_hash is not null as was_sent"}
        columns = ", ".join(special.get(name, name) for name in ROWS if name != "logged")
        self._rank(1 + count // self._ranked_at_once)
        for start in range(0, count, _AT_ONCE):
            ranked, payload = (
                f"(select {names} from {table} where place >= {start} and place < {start + _AT_ONCE})"
                for names, table in (("*", _RANKED), ("place, head, custom", _SHARED))
            )
            query = f"select {columns} from {ranked} join {payload} using (place)"
            yield self._engine.frame(f"select {', '.join(ROWS)} from {self._with_logged(query)}")

    def _rank(self, parts: int) -> None:
        """Chooses a row for each key, part by part of the keys: to rank many rows at once takes much memory."""
        for part in range(parts):
            rows = f"(select * from {_SHARED} where hash(key) % {parts} = {part})"
            begin = f"insert into {_RANKED}" if part else f"create or replace table {_RANKED} as"
            self._engine.execute(
                f"{begin} select *, row_number() over (partition by key order by {_RANK}) = 1 as is_chosen"
                f" from (select {_IDENTITY}, count(*) as copies, min(place) as place from {rows} group by {_IDENTITY})"
            )

    def _gather_shared(self, batches: Iterable[RecordBatch]) -> int:
        """Encodes the rows into a table, each with its place; returns how many there are.

        The payload is kept of rows that may be sent; of the others their hash is enough.
        """
        kept = ", ".join(f"case when reason is null and sent_hash is null then {one} end as {one}" for one in _PAYLOAD)
        query = f"select * replace ({kept}) from ({self._query(f', {SENT_HASH} as sent_hash')})"
        count = 0
        for part in _parts(batches):
            self._engine.take(_BATCH, part)
            begin = f"insert into {_SHARED}" if count else f"create or replace table {_SHARED} as"
            self._engine.execute(f"{begin} select *, {count} + row_number() over () - 1 as place from ({query})")
            count += part.num_rows
        return count

    def _query(self, also: str) -> str:
        """The rows of a batch, encoded."""
        encoded = source_query(self._config, self._columns, _BATCH, also)
        return f"select *, {_HASH} as row_hash from ({encoded})"

    def _with_logged(self, query: str) -> str:
        """What the query finds, with what the reject ledger has of it: what follows ``from``."""
        if not self._has_logged:
            return f"(select *, cast(null as varchar) as logged from ({query}))"
        # As a table, so that DuckDB knows that the rows are few, and hashes them and not the ledger.
        self._engine.execute(f"create or replace table {_ENCODED} as {query}")
        return (
            f"(select one.*, known.logged from {_ENCODED} as one left join {_LOGGED} as known"
            " on known.row_hash = one.row_hash and known.key is not distinct from one.key)"
        )


def _parts(batches: Iterable[RecordBatch]) -> Iterator[RecordBatch]:
    """Rows to encode at once."""
    for batch in batches:
        fitting = _BYTES_AT_ONCE * batch.num_rows // max(1, batch.nbytes)
        rows = max(1, min(_AT_ONCE, fitting))
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, min(rows, batch.num_rows - start))
