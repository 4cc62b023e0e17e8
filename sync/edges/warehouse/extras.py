"""What dbt's session has besides the database itself: extensions, secrets, attached databases.

Most syncs read tables and need none of it, and what nothing needs must not be in the way: an extension that
cannot be downloaded, a file that another process holds. So a database is attached when a statement names it, and
the rest is fetched when a view cannot be read without it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import duckdb

from sync.edges.warehouse.opener import Opener
from sync.edges.warehouse.output import Attachment, Extension, Output
from sync.errors import WarehouseError


@dataclass
class Extras:
    """The extras of one connection; ``lacking`` says what could not be had, ``settings`` what waits for extensions."""

    connection: duckdb.DuckDBPyConnection
    output: Output
    read_only: bool
    opener: Opener
    settings: list[tuple[str, str]] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    is_complete: bool = False
    _attached: set[str] = field(default_factory=set)

    @property
    def attached(self) -> frozenset[str]:
        """The names of the databases of the profile that are attached so far."""
        return frozenset(self._attached)

    def attach_named(self, query: str) -> None:
        """Attaches the databases that a query names. Raises ``WarehouseError`` where one cannot be."""
        for one in self.output.attachments:
            if one.name not in self._attached and one.is_named_in(query):
                self._attach(one, self.read_only, is_awaited=True)

    def attach_files(self) -> None:
        """Attaches the files that can be at once."""
        for one in self.output.attachments:
            if one.file is not None and one.name not in self._attached:
                with suppress(duckdb.Error, WarehouseError):
                    self._attach(one, self.read_only, is_awaited=False)

    def complete(self, problem: str = "") -> None:
        """Fetches all that dbt's session has, in dbt's order; what cannot be had is in ``lacking``.

        A file that another process holds is waited for where the problem that has led here names it.
        """
        if self.is_complete:
            return
        self.is_complete = True
        for extension in self.output.extensions:
            self._try(f"the extension {extension.name} could not be loaded", self._load, extension)
        for statement in self.output.secrets:
            self._try("a secret of the profile could not be made", self.connection.execute, statement)
        for attachment in self.output.attachments:
            if attachment.name not in self._attached:
                # What only a view names is only read.
                self._try("", self._attach, attachment, True, attachment.name.lower() in problem.lower())
        for name, statement in self.settings:
            self._try(f"the setting {name} could not be set", self.connection.execute, statement)
        self.lacking.extend(self.output.not_had)

    def _try(self, failing: str, act: Callable[..., object], *arguments: object) -> None:
        try:
            act(*arguments)
        except duckdb.Error as error:
            self.lacking.append(f"{failing}: {self.opener.told(error)}")
        except WarehouseError as error:
            self.lacking.append(str(error))

    def _load(self, extension: Extension) -> None:
        """Loads an extension, which dbt has most often installed already; and installs it where it has not."""
        try:
            self.connection.execute(f"load {extension.name}")
        except duckdb.Error:
            self.connection.execute(extension.install)
            self.connection.execute(f"load {extension.name}")

    def _attach(self, attachment: Attachment, read_only: bool, is_awaited: bool) -> None:
        file = attachment.file
        if file is not None and not file.exists():
            # DuckDB would make it.
            raise WarehouseError(f"{file}, which the profile attaches as {attachment.name}, does not exist")
        shown = str(file) if file is not None else f"the database attached as {attachment.name}"
        statement = attachment.statement(read_only)
        self.opener(lambda: self.connection.execute(statement), shown, is_awaited)
        self._attached.add(attachment.name)
