"""Opens the warehouse.

A process that holds a DuckDB file for writing keeps every other process out. So the file is opened late,
only read where reading is enough, and closed before the network is used; and a file that another process
holds is waited for.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb

from sync.core import sql
from sync.core.clock import Clock
from sync.edges.warehouse import wording
from sync.edges.warehouse.extras import Extras
from sync.edges.warehouse.opener import Opener, silent
from sync.edges.warehouse.output import Output, local_file, read_output
from sync.edges.warehouse.session import DEFAULT_MEMORY_LIMIT, Session
from sync.errors import ConfigError, Fault, WarehouseError

_MEMORY_SETTINGS = {"memory_limit", "max_memory"}
_TEMPORARY = "temp_directory"
# Options that dbt's session has and that would keep this one from being set up.
_NOT_TAKEN = {"access_mode", "lock_configuration"}
# Options of MotherDuck's, which only count when the connection is made.
_MOTHERDUCK_OPTIONS = ("motherduck_token", "motherduck_attach_mode", "motherduck_saas_mode")


class Warehouse:
    """One DuckDB database. It holds nothing open between ``reading`` and ``writing`` blocks.

    ``tell`` is told what is waited for.
    """

    def __init__(self, output: Output, clock: Clock, tell: Callable[[str], None] = silent) -> None:
        self._output, self._opener = output, Opener(output, clock, tell)
        self._was_open = False
        self._folder: str | None = None

    @property
    def is_missing(self) -> bool:
        """Whether the database is a file, and that is not there."""
        return self._missing_file is not None

    @property
    def _missing_file(self) -> Path | None:
        return next((file for file in self._output.files if not file.exists()), None)

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
            session = self._session(connection, read_only)
            try:
                yield session
            finally:
                session.let_go()
        except duckdb.Error as error:
            self._opener.fail(error, self._output.shown)
        finally:
            connection.close()

    def _session(self, connection: duckdb.DuckDBPyConnection, read_only: bool) -> Session:
        extras = Extras(connection, self._output, read_only, self._opener)
        self._configure(connection, extras)
        if self._output.home is not None:
            extras.attach_named(f"{sql.identifier(self._output.home.name)}.")
        self._was_open = True
        return Session(connection, extras, has_own_limit=not _MEMORY_SETTINGS.isdisjoint(self._names))

    @property
    def _names(self) -> set[str]:
        """The names of all that the profile sets, as DuckDB compares them."""
        return {str(name).lower() for name in (*self._output.settings, *self._output.config_options)}

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
        if (missing := self._missing_file) is not None:
            message = f"{wording.shown(str(missing))} does not exist. Run dbt build first: it creates the database."
            raise WarehouseError(message) if self._was_open else ConfigError([Fault("", "", "", message)])
        options = self._options(self._temporary_folder())
        # What is in memory, or at MotherDuck, is not held by anybody.
        is_file = local_file(self._output.path) is not None
        opened: list[duckdb.DuckDBPyConnection] = []

        def connect() -> None:
            opened.append(duckdb.connect(self._output.path, read_only=read_only and is_file, config=options))

        self._opener(connect, self._output.shown)
        return opened[0]

    def _options(self, folder: str) -> dict[str, Any]:
        """What the connection is made with: the profile's, and in its place the least that is needed."""
        options = {
            str(name): value
            for name, value in self._output.config_options.items()
            if str(name).lower() not in _NOT_TAKEN
        }
        if _MEMORY_SETTINGS.isdisjoint(self._names):
            options["memory_limit"] = DEFAULT_MEMORY_LIMIT
        if _TEMPORARY not in self._names:
            options[_TEMPORARY] = folder
        if self._output.is_motherduck:
            options.update(_motherduck_options(self._output.settings))
        return options

    def _configure(self, connection: duckdb.DuckDBPyConnection, extras: Extras) -> None:
        """Sets what the profile sets, as dbt does. What only an extension knows waits for it."""
        # DuckDB draws a progress bar even where output is redirected.
        connection.execute("set enable_progress_bar = false")
        for name, value in self._output.settings.items():
            setting = _setting_name(name)
            if setting.lower() in _NOT_TAKEN or (self._output.is_motherduck and setting.lower() in _MOTHERDUCK_OPTIONS):
                continue
            statement = f"set {setting} = {sql.literal(str(value))}"
            if setting.lower() in ("schema", "search_path"):
                extras.attach_named(f"{value}.")
            try:
                connection.execute(statement)
            except duckdb.Error as error:
                if "extension" not in str(error) and not self._output.extensions:
                    raise
                extras.settings.append((setting, statement))


def open_warehouse(
    profile_file: str, output: Mapping[str, Any], clock: Clock, tell: Callable[[str], None] = silent
) -> Warehouse:
    """The warehouse of a profile's output. A relative path counts from the current folder, as in dbt.

    Raises ``ConfigError`` for a warehouse that is not DuckDB, or one that cannot keep the ledgers.
    """
    return Warehouse(read_output(profile_file, output), clock, tell)


def _setting_name(name: Any) -> str:
    if not str(name).isidentifier():
        raise WarehouseError(f"the profile's settings hold {name!r}, which is not the name of a setting")
    return str(name)


def _motherduck_options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """MotherDuck's options, which may be written without the word in front."""
    by_name = {str(name).lower(): value for name, value in settings.items()}
    found = {name: by_name.get(name, by_name.get(name.removeprefix("motherduck_"))) for name in _MOTHERDUCK_OPTIONS}
    return {name: value for name, value in found.items() if value is not None}
