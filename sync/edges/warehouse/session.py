"""A session of the warehouse: what is read in it, and what is appended."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import duckdb
import polars as pl
from arro3.core import RecordBatch, RecordBatchReader, Table

from sync.core import sql
from sync.core.columns import Column
from sync.edges.warehouse.dialect import Dialect, roll_back
from sync.edges.warehouse.extras import Extras
from sync.edges.warehouse.wording import memory_advice, streaming_error, unreadable
from sync.engine.arrow_stream import ArrowStream
from sync.errors import UnreadableError, WarehouseError

# Rows per fetch: enough to keep the engine busy, little enough to keep memory flat.
_FETCH_ROWS = 2_000

# What DuckDB may cache and hash in memory before it spills to its temporary folder: in general, and where what is read
# can be of any size. Each thread needs some of it for itself.
DEFAULT_MEMORY_LIMIT = "1GB"
_LITTLE_MEMORY, _FEW_THREADS = "128MB", 2

Parameters = Mapping[str, Any]
Kind = Literal["table", "view"]


class Session:
    """An open database. ``has_own_limit`` says whether the profile sets how much memory DuckDB may take.

    SQL means here what our own is written for, whatever the profile sets; only a view is read as dbt reads it.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, extras: Extras, has_own_limit: bool) -> None:
        self._connection, self._extras, self._has_own_limit = connection, extras, has_own_limit
        self._dialect = Dialect(connection)
        self._is_in_transaction = False
        self._stream: RecordBatchReader | None = None
        self._found_catalog: tuple[frozenset[str], Mapping[tuple[str, str, str], Kind]] | None = None

    def begin(self) -> None:
        """Starts a transaction; closing the session without ``commit`` undoes it."""
        self._connection.execute("begin transaction")
        self._is_in_transaction = True

    def commit(self) -> None:
        """Makes what was appended durable."""
        self._connection.execute("commit")
        self._is_in_transaction = False

    def _roll_back(self) -> None:
        # Beside an open stream the connection takes no statement.
        self.let_go()
        roll_back(self._connection)
        self._is_in_transaction = False

    def commit_so_far(self) -> None:
        """Makes what was appended durable, and goes on in a new transaction."""
        self.commit()
        self.begin()

    def _execute(self, query: str, parameters: Parameters | None = None) -> duckdb.DuckDBPyConnection:
        self._extras.attach_named(query)
        return self._connection.execute(query, dict(parameters or {}))

    def kind(self, relation: str) -> Kind | None:
        """Whether a relation holds rows or is a view; None where there is no such relation."""
        self._extras.attach_named(relation)
        *before, name = sql.parts(relation)
        schema = before[-1] if before else self.value("select current_schema()")
        database = before[-2] if len(before) > 1 else self.value("select current_database()")
        return self._catalog.get((database.lower(), schema.lower(), name.lower()))

    @property
    def _catalog(self) -> Mapping[tuple[str, str, str], Kind]:
        """All relations of the attached databases, by lower-case names.

        Nobody else makes one while a session is open, so it is read once for each set of databases.
        """
        attached = self._extras.attached
        if self._found_catalog is None or self._found_catalog[0] != attached:
            rows = self.rows(
                "select lower(database_name), lower(schema_name), lower(table_name), 'table' from duckdb_tables()"
                " union all select lower(database_name), lower(schema_name), lower(view_name), 'view'"
                " from duckdb_views() where not internal"
            )
            self._found_catalog = attached, {(database, schema, name): kind for database, schema, name, kind in rows}
        return self._found_catalog[1]

    def views(self, relations: Iterable[str]) -> frozenset[str]:
        """Those of the relations that are views; what cannot be attached at once has none."""
        self._extras.attach_files()
        views = {place for place, kind in self._catalog.items() if kind == "view"}
        return frozenset(one for one in relations if tuple(map(str.lower, sql.parts(one))) in views)

    def columns(self, relation: str) -> tuple[Column, ...] | None:
        """The relation's columns in order, as dbt sees them; None where there is no such relation.

        Raises ``UnreadableError`` for a relation that is there and cannot be read.
        """
        try:
            self._extras.attach_named(relation)
        except WarehouseError as error:
            raise UnreadableError(unreadable(relation, str(error), (), is_view=False)) from error
        with self.one_model(relation):
            kind = self.kind(relation)
            if kind is None:
                return None
            query = f"describe select * from {relation}"
            rows = self._execute(query).fetchall() if kind == "table" else self._read_view(query)
        return tuple(Column(str(row[0]), str(row[1])) for row in rows)

    def copy_view(self, name: str, relation: str, columns: Sequence[Column] = ()) -> str:
        """Copies the rows of a view, as dbt sees them, into a temporary table; returns its whole name.

        ``columns`` are those to copy; all where it is empty. Raises as ``keep`` does.
        """
        chosen = ", ".join(sql.identifier(column.name) for column in columns) or "*"
        self._read_view(f"create or replace temp table {name} as select {chosen} from {relation}")
        self._found_catalog = None
        return f"temp.main.{name}"

    def _read_view(self, query: str) -> list[Any]:
        """Carries out a query that reads a view, with all that dbt's session has where it does not go without."""
        with contextlib.suppress(duckdb.Error, WarehouseError):
            self._extras.attach_named(query)
        if not self._extras.read_only:
            # An error would undo what was written before.
            self._complete("")
        try:
            return self._as_dbt(query)
        except duckdb.Error as error:
            if self._extras.is_complete or isinstance(error, duckdb.OutOfMemoryException):
                raise
            self._complete(str(error))
        if self._is_in_transaction:
            self.begin()
        return self._as_dbt(query)

    def _as_dbt(self, query: str) -> list[Any]:
        with self._dialect.of_dbt():
            return self._connection.execute(query).fetchall()

    def _complete(self, problem: str) -> None:
        if not self._extras.is_complete:
            self._dialect.use_dbt()
            self._extras.complete(problem)
            self._dialect.note_dbt()

    @contextlib.contextmanager
    def one_model(self, relation: str) -> Iterator[None]:
        """What goes wrong in the block is a problem of this model alone: it raises ``UnreadableError``.

        The session can be used afterwards; a transaction is over.
        """
        try:
            yield
        except duckdb.Error as error:
            self._roll_back()
            words = self._extras.opener.told(error) + memory_advice(error)
            is_view = False
            with contextlib.suppress(duckdb.Error):
                is_view = self.kind(relation) == "view"
            text = unreadable(relation, words, self._extras.lacking, is_view)
            raise UnreadableError(text, is_view=is_view) from None

    def relations_named(self, name: str) -> tuple[str, ...]:
        """The tables of this name in all schemas, also of the files that the profile attaches, as SQL text."""
        query = (
            "select table_catalog, table_schema, table_name from information_schema.tables"
            " where table_type = 'BASE TABLE' and lower(table_name) = $name order by all"
        )
        self._extras.attach_files()
        found = self.rows(query, {"name": name.lower()})
        return tuple(".".join(map(sql.identifier, row)) for row in found)

    def frame(self, query: str, parameters: Parameters | None = None) -> pl.DataFrame:
        """The result of a query as a data frame."""
        self._extras.attach_named(query)
        return pl.DataFrame(self._connection.sql(query, params=dict(parameters or {})))

    def rows(self, query: str, parameters: Parameters | None = None) -> Iterator[tuple[Any, ...]]:
        """The result of a query, row by row; it streams, so memory does not grow with the rows."""
        self._execute(query, parameters)
        while fetched := self._connection.fetchmany(_FETCH_ROWS):
            yield from fetched

    def keep(self, name: str, query: str, parameters: Parameters) -> str:
        """Keeps the result of a query as a temporary table, which is gone with the session; returns its whole name."""
        self._execute(f"create or replace temp table {name} as {query}", parameters)
        self._found_catalog = None
        return f"temp.main.{name}"

    def keep_frame(self, name: str, rows: pl.DataFrame) -> str:
        """Keeps a data frame as such a table."""
        self._connection.register("_kept", ArrowStream(rows))
        kept = self.keep(name, "select * from _kept", {})
        self._connection.unregister("_kept")
        return kept

    def batches(self, query: str, rows_at_once: int | None = None) -> Iterator[RecordBatch]:
        """The result of a query as Arrow batches; it streams, as ``rows``.

        A batch has some hundred thousand rows, or as many as ``rows_at_once`` says, which takes longer: for wide rows.
        The session answers nothing else before the last batch is taken.
        """
        self._extras.attach_named(query)
        if rows_at_once is not None:
            yield from self._few_at_once(query, rows_at_once)
            return
        # Nobody else refers to the stream: a file cannot be opened again before it is gone, and what an error refers to
        # stays.
        self._stream = RecordBatchReader.from_stream(self._connection.sql(query))
        try:
            while (batch := self._next_batch()) is not None:
                yield batch
        finally:
            self._stream = None

    def _next_batch(self) -> RecordBatch | None:
        if self._stream is None:
            return None
        try:
            return next(self._stream, None)
        except duckdb.Error:
            raise
        except Exception as error:
            # Arrow's streams carry an error as its text alone.
            raise streaming_error(error) from error

    def let_go(self) -> None:
        """Lets go of a stream that was not read to its end."""
        self._stream = None

    def _few_at_once(self, query: str, rows: int) -> Iterator[RecordBatch]:
        # DuckDB's own Arrow streams have batches of one size. Python has no times that are infinite, nor nanoseconds.
        schema = self.frame(f"select * from ({query}) limit 0").schema
        fetched_as = {name: pl.Int64 if kind.is_temporal() else kind for name, kind in schema.items()}
        self._execute(f"select {', '.join(map(_as_fetched, schema.items()))} from ({query})")
        while fetched := self._connection.fetchmany(rows):
            frame = pl.DataFrame(fetched, schema=fetched_as, orient="row").cast(schema)
            yield from Table.from_arrow(frame).to_batches()

    @contextlib.contextmanager
    def one_moment(self) -> Iterator[None]:
        """The block is one transaction: its queries find the same rows and the same time. It writes nothing lasting."""
        self.begin()
        try:
            yield
        finally:
            # After an error nothing else is possible.
            self._roll_back()

    @contextlib.contextmanager
    def in_little_memory(self, is_wide: bool = False) -> Iterator[None]:
        """The block takes little memory, however many rows it reads; the profile's own limit stands.

        Rows that are wide take more: DuckDB reads some thousand at once.
        """
        if self._has_own_limit:
            yield
            return
        threads = int(self.value("select current_setting('threads')"))
        # Each thread holds some thousand rows of its own.
        self._limit(DEFAULT_MEMORY_LIMIT if is_wide else _LITTLE_MEMORY, 1 if is_wide else min(threads, _FEW_THREADS))
        try:
            yield
        finally:
            self._limit(DEFAULT_MEMORY_LIMIT, threads)

    def _limit(self, memory: str, threads: int) -> None:
        self._connection.execute(f"set memory_limit = '{memory}'")
        self._connection.execute(f"set threads = {threads}")

    def value(self, query: str, parameters: Parameters | None = None) -> Any:
        """The first column of the first row; None where there is no row."""
        rows = self._execute(query, parameters).fetchall()
        return rows[0][0] if rows else None

    def append(self, relation: str, rows: pl.DataFrame) -> None:
        """Appends rows to a ledger, by the names of the columns."""
        if rows.is_empty():
            return
        names = ", ".join(f'"{name}"' for name in rows.columns)
        self._connection.register("_appended", ArrowStream(rows))
        self._execute(f"insert into {relation} ({names}) select {names} from _appended")
        # Not after an error: it would be one more, in a transaction that is over, and hide the first.
        self._connection.unregister("_appended")

    def delete(self, relation: str, condition: str, parameters: Parameters) -> int:
        """Deletes the rows of a ledger that meet a condition; returns how many. Only ``prune`` deletes."""
        rows = self._execute(f"delete from {relation} where {condition}", parameters).fetchall()
        return int(rows[0][0])


def _as_fetched(column: tuple[str, pl.DataType]) -> str:
    """A column as Python can hold its values: times as the numbers that Arrow has for them, also where infinite."""
    name, kind = sql.identifier(column[0]), column[1]
    if not isinstance(kind, pl.Date | pl.Datetime):
        return name
    if isinstance(kind, pl.Date):
        number, infinite = f"date_diff('day', date '1970-01-01', {name})", 2**31 - 1
    else:
        number, infinite = f"epoch_{kind.time_unit}({name})", 2**63 - 1
    return (
        f"case when isfinite({name}) then {number} when {name} > '1970-01-01' then {infinite}"
        f" when {name} is not null then -{infinite} end as {name}"
    )
