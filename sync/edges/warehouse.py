"""The warehouse: DuckDB, as the profile names it.

A process that holds a DuckDB file for writing keeps every other process out. So the file is opened late,
only read where reading is enough, and closed before the network is used; and a file that another process
holds is waited for.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import unquote

import duckdb
import polars as pl

from sync.core import sql
from sync.core.clock import Clock
from sync.core.columns import Column
from sync.errors import ConfigError, Fault, LockedError, WarehouseError

_LOCK_WAIT_SECONDS = 60.0
_LOCK_POLL_SECONDS = 0.25
# Rows per fetch: enough to keep the engine busy, little enough to keep memory flat.
_FETCH_ROWS = 2_000
# What DuckDB may cache and hash in memory before it spills to its temporary folder: in general, and where what is
# read can be of any size. Each thread needs some of it for itself, more where rows are wide.
_DEFAULT_MEMORY_LIMIT = "1GB"
_LITTLE_MEMORY, _FEW_THREADS = ("96MB", "256MB", "1GB"), 2
_MORE_MEMORY = " Set a larger memory_limit under settings in the profile, and fewer threads."
_MEMORY_SETTINGS = {"memory_limit", "max_memory"}

Parameters = Mapping[str, Any]
_Found = TypeVar("_Found")


class Warehouse:
    """One DuckDB database. It holds nothing open between ``reading`` and ``writing`` blocks."""

    def __init__(self, path: str, settings: Mapping[str, Any], clock: Clock) -> None:
        self._path, self._settings, self._clock = path, settings, clock
        self._was_open = False
        self._folder: str | None = None

    @property
    def is_missing(self) -> bool:
        """Whether the database is a file, and that is not there."""
        return not self._path.startswith("md:") and not Path(self._path).exists()

    @property
    def collation(self) -> str:
        """The collation that the profile sets for text without one of its own; empty where it sets none."""
        return str(self._by_name.get("default_collation") or "")

    @property
    def _by_name(self) -> Mapping[str, Any]:
        """The settings by their names as DuckDB compares them."""
        return {str(name).lower(): value for name, value in self._settings.items()}

    @contextlib.contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that cannot write. Raises as ``writing`` does."""
        with self._open(read_only=True) as session:
            yield session

    @contextlib.contextmanager
    def writing(self) -> Iterator[Session]:
        """A session in one transaction: all that is appended in it stands, or nothing does.

        Raises ``ConfigError`` for a file that was never there, ``WarehouseError`` where the database fails.
        """
        with self._open(read_only=False) as session:
            session.begin()
            yield session
            session.commit()

    @contextlib.contextmanager
    def rehearsing(self) -> Iterator[Session]:
        """A session as of ``writing``, of which nothing stands afterwards. Raises as ``writing`` does."""
        with self._open(read_only=False) as session:
            session.begin()
            yield session

    @contextlib.contextmanager
    def _open(self, read_only: bool) -> Iterator[Session]:
        connection = self._connect(read_only)
        try:
            yield Session(connection, has_own_limit=not _MEMORY_SETTINGS.isdisjoint(self._by_name))
        except duckdb.Error as error:
            self._fail(error)
        finally:
            connection.close()

    def _temporary_folder(self) -> str:
        """A private folder for what does not fit in memory: all processes that read the file share DuckDB's default.

        It is made once, before anything is sent, so that outcomes are written also where no other can be made;
        and deleted with the warehouse, or when the process ends by itself. DuckDB deletes what it put there before.
        """
        if self._folder is None:
            try:
                self._folder = tempfile.mkdtemp(prefix="statsig-sync-")
            except OSError as error:
                raise WarehouseError(
                    f"no folder could be made in the temporary folder {tempfile.gettempdir()}: {error.strerror}. "
                    "Make room there, or name another folder with TMPDIR."
                ) from error
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder

    def _connect(self, read_only: bool) -> duckdb.DuckDBPyConnection:
        if self.is_missing:
            message = f"{_shown(self._path)} does not exist. Run dbt build first: it creates the database."
            raise WarehouseError(message) if self._was_open else ConfigError([Fault("", "", "", message)])
        folder = self._temporary_folder()
        deadline = self._clock.monotonic() + _LOCK_WAIT_SECONDS
        while True:
            try:
                connection = duckdb.connect(self._path, read_only=read_only)
                break
            except duckdb.Error as error:
                if not _is_locked(error) or self._clock.monotonic() > deadline:
                    self._fail(error)
                self._clock.sleep(_LOCK_POLL_SECONDS)
        try:
            self._configure(connection, folder)
        except duckdb.Error as error:
            connection.close()
            self._fail(error)
        self._was_open = True
        return connection

    def _fail(self, error: duckdb.Error) -> NoReturn:
        """Raises ``WarehouseError``. A path's query may hold a token: neither is it told, nor is DuckDB's own error."""
        found = (LockedError if _is_locked(error) else WarehouseError)(_message(self._path, error))
        raise found from (None if "?" in self._path else error)

    def _configure(self, connection: duckdb.DuckDBPyConnection, folder: str) -> None:
        # DuckDB draws a progress bar even where output is redirected.
        connection.execute("set enable_progress_bar = false")
        connection.execute(f"set memory_limit = '{_DEFAULT_MEMORY_LIMIT}'")
        connection.execute("set temp_directory = ?", [folder])
        for name, value in self._settings.items():
            connection.execute(f"set {_setting_name(name)} = ?", [value])
        # Times in text without a zone are UTC, whatever the machine's zone is.
        connection.execute("set timezone = 'UTC'")
        # Ids and keys that differ in anything are different, also in the views of the ledgers.
        connection.execute("set default_collation = ''")


class Session:
    """An open database. ``has_own_limit`` says whether the profile sets how much memory DuckDB may take."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, has_own_limit: bool = False) -> None:
        self._connection, self._has_own_limit = connection, has_own_limit

    def begin(self) -> None:
        """Starts a transaction; closing the session without ``commit`` undoes it."""
        self._connection.execute("begin transaction")

    def commit(self) -> None:
        """Makes what was appended durable."""
        self._connection.execute("commit")

    def commit_so_far(self) -> None:
        """Makes what was appended durable, and goes on in a new transaction."""
        self.commit()
        self.begin()

    def columns(self, relation: str) -> tuple[Column, ...] | None:
        """The relation's columns in order; None where there is no such relation."""
        try:
            rows = self._connection.execute(f"describe select * from {relation}").fetchall()
        except (duckdb.CatalogException, duckdb.BinderException):
            return None
        return tuple(Column(str(row[0]), str(row[1])) for row in rows)

    def relations_named(self, name: str) -> tuple[str, ...]:
        """The tables of this name in all schemas, as SQL text."""
        rows = self.rows(
            "select table_catalog, table_schema, table_name from information_schema.tables"
            " where table_type = 'BASE TABLE' and lower(table_name) = $name order by all",
            {"name": name.lower()},
        )
        return tuple(".".join(map(sql.identifier, row)) for row in rows)

    def frame(self, query: str, parameters: Parameters | None = None) -> pl.DataFrame:
        """The result of a query as a data frame."""
        return pl.DataFrame(self._connection.sql(query, params=dict(parameters or {})))

    def rows(self, query: str, parameters: Parameters | None = None) -> Iterator[tuple[Any, ...]]:
        """The result of a query, row by row; it streams, so memory does not grow with the rows."""
        self._connection.execute(query, dict(parameters or {}))
        while fetched := self._connection.fetchmany(_FETCH_ROWS):
            yield from fetched

    def keep(self, name: str, query: str, parameters: Parameters) -> str:
        """Keeps the result of a query as a temporary table, which is gone with the session; returns its whole name."""
        self._connection.execute(f"create or replace temp table {name} as {query}", dict(parameters))
        return f"temp.main.{name}"

    def in_little_memory(self, read: Callable[[], _Found]) -> _Found:
        """What ``read`` returns, with as little memory for DuckDB as it can do with.

        Where that is too little, it is read again with more; the profile's own limit stands.
        """
        if self._has_own_limit:
            return self._at_one_moment(read)
        threads = int(self.value("select current_setting('threads')"))
        *smaller, largest = _LITTLE_MEMORY
        try:
            for memory in smaller:
                self._limit(memory, min(threads, _FEW_THREADS))
                with contextlib.suppress(duckdb.OutOfMemoryException):
                    return self._at_one_moment(read)
            self._limit(largest, threads)
            return self._at_one_moment(read)
        finally:
            self._limit(_DEFAULT_MEMORY_LIMIT, threads)

    def _at_one_moment(self, read: Callable[[], _Found]) -> _Found:
        """What ``read`` returns, in one transaction: several queries of it find the same rows and the same time."""
        self.begin()
        try:
            return read()
        finally:
            # It has written nothing but temporary tables, and after an error nothing else is possible.
            self._connection.execute("rollback")

    def _limit(self, memory: str, threads: int) -> None:
        self._connection.execute(f"set memory_limit = '{memory}'")
        self._connection.execute(f"set threads = {threads}")

    def value(self, query: str, parameters: Parameters | None = None) -> Any:
        """The first column of the first row; None where there is no row."""
        rows = self._connection.execute(query, dict(parameters or {})).fetchall()
        return rows[0][0] if rows else None

    def append(self, relation: str, rows: pl.DataFrame) -> None:
        """Appends rows to a ledger, by the names of the columns."""
        if rows.is_empty():
            return
        names = ", ".join(f'"{name}"' for name in rows.columns)
        self._connection.register("_appended", _ArrowStream(rows))
        try:
            self._connection.execute(f"insert into {relation} ({names}) select {names} from _appended")
        finally:
            self._connection.unregister("_appended")

    def delete(self, relation: str, condition: str, parameters: Parameters) -> int:
        """Deletes the rows of a ledger that meet a condition; returns how many. Only ``prune`` deletes."""
        rows = self._connection.execute(f"delete from {relation} where {condition}", dict(parameters)).fetchall()
        return int(rows[0][0])


class _ArrowStream:
    """A data frame as nothing but an Arrow stream: so it is read without pyarrow."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._frame.__arrow_c_stream__(requested_schema)


def open_warehouse(profile_file: str, output: Mapping[str, Any], clock: Clock) -> Warehouse:
    """The warehouse of a profile's output. A relative path counts from the current folder, as in dbt.

    Raises ``ConfigError`` for a warehouse that is not DuckDB, or one that lives in memory only.
    """
    kind = output.get("type")
    if kind != "duckdb":
        message = f"is {kind!r}; this version of statsig-sync reads DuckDB (type: duckdb)."
        raise ConfigError([Fault(profile_file, "", "type", message)])
    path = str(output.get("path") or "")
    if path in ("", ":memory:") or path.startswith(":memory:"):
        message = "is in memory, which ends with dbt; write the path of a file."
        raise ConfigError([Fault(profile_file, "", "path", message)])
    settings = output.get("settings")
    resolved = path if path.startswith("md:") else str(Path(path).expanduser().absolute())
    return Warehouse(resolved, settings if isinstance(settings, dict) else {}, clock)


def _setting_name(name: Any) -> str:
    if not str(name).isidentifier():
        raise WarehouseError(f"the profile's settings hold {name!r}, which is not the name of a setting")
    return str(name)


def _is_locked(error: Exception) -> bool:
    """Whether another process holds the file, in DuckDB's words on POSIX and on Windows."""
    return "Could not set lock" in str(error) or "used by another process" in str(error)


def _message(path: str, error: Exception) -> str:
    if not _is_locked(error):
        advice = _MORE_MEMORY if isinstance(error, duckdb.OutOfMemoryException) else ""
        return f"{_shown(path)}: {_told(path, error)}{advice}"
    return (
        f"{_shown(path)} is held by another process and was not free within {_LOCK_WAIT_SECONDS:.0f} seconds. "
        f"Wait until it ends, or close the program that has the file open. ({_told(path, error)})"
    )


def _shown(path: str) -> str:
    """The path without its query: MotherDuck takes a token there."""
    return path.partition("?")[0]


def _told(path: str, error: Exception) -> str:
    """The first of DuckDB's own words, without the path's query and the values in it."""
    told = str(error).strip().split("\n\n")[0]
    parts = path.partition("?")[2].split("&")
    hidden = [*parts, *(part.partition("=")[2] for part in parts)]
    for text in sorted({*hidden, *map(unquote, hidden)} - {""}, key=len, reverse=True):
        told = told.replace(text, "(hidden)")
    return told[:500]


def missing_relations(session: Session, relations: Sequence[str]) -> tuple[str, ...]:
    """Those of the relations that are not there."""
    return tuple(relation for relation in relations if session.columns(relation) is None)
