"""DuckDB in memory."""

from __future__ import annotations

import tempfile

import duckdb
import polars as pl
from arro3.core import RecordBatch, Table

from sync.engine.arrow_stream import ArrowStream

# What DuckDB may hold in memory before it spills to its temporary folder. An Arrow batch is read by one thread anyway.
_MEMORY_LIMIT, _THREADS = "256MB", 1


class Engine:
    """A DuckDB in memory, which spills to a folder of its own. All of it raises ``duckdb.Error`` where it fails."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="statsig-sync-")
        self._connection = duckdb.connect(
            config={
                "memory_limit": _MEMORY_LIMIT,
                "threads": _THREADS,
                "temp_directory": self._folder.name,
                "autoinstall_known_extensions": "false",
                "python_enable_replacements": "false",
            }
        )
        # DuckDB draws a progress bar even where output is redirected.
        self._connection.execute("set enable_progress_bar = false")
        self._connection.execute("set timezone = 'UTC'")

    def close(self) -> None:
        """Gives memory and disk back."""
        self._connection.close()
        self._folder.cleanup()

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Carries out a statement; returns what it finds."""
        return self._connection.execute(statement).fetchall()

    def frame(self, query: str) -> pl.DataFrame:
        """What a query finds."""
        return pl.DataFrame(self._connection.sql(query))

    def take(self, name: str, batch: RecordBatch) -> None:
        """Makes an Arrow batch a relation of this name."""
        self._connection.register(name, ArrowStream(Table.from_batches([batch])))
