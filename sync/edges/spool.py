"""A temporary file for what was read from the warehouse and waits to be sent.

The warehouse is closed before the network is used, and events must not pile up in memory. The file has no
name, so that nothing of it stays when the process dies.
"""

from __future__ import annotations

import io
import tempfile

import polars as pl

from sync.errors import WarehouseError


class Spool:
    """Bytes and data frames, written once and read back by their number."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="statsig-sync-")  # noqa: SIM115 - closed by close()
        # Where each record starts, in bytes; the last entry is where the next one will.
        self._starts = [0]
        self._frame: tuple[int, pl.DataFrame] | None = None

    def write(self, record: bytes) -> int:
        """Appends a record; returns its number. Raises ``WarehouseError`` where there is no room for it."""
        try:
            self._file.seek(self._starts[-1])
            self._file.write(record)
            self._file.flush()
        except OSError as error:
            raise WarehouseError(
                f"what waits to be sent could not be written to the temporary folder {tempfile.gettempdir()}: "
                f"{error.strerror}. Make room there, or name another folder with TMPDIR."
            ) from error
        self._starts.append(self._starts[-1] + len(record))
        return len(self._starts) - 2

    def write_frame(self, frame: pl.DataFrame) -> int:
        """Appends a data frame, as ``write``."""
        encoded = io.BytesIO()
        frame.write_ipc_stream(encoded)
        return self.write(encoded.getvalue())

    def read(self, number: int) -> bytes:
        """The record of this number."""
        start, end = self._starts[number], self._starts[number + 1]
        self._file.seek(start)
        return self._file.read(end - start)

    def read_frame(self, number: int) -> pl.DataFrame:
        """The data frame of this number. The last one that was read stays in memory: it is read part by part."""
        if self._frame is None or self._frame[0] != number:
            self._frame = number, pl.read_ipc_stream(io.BytesIO(self.read(number)))
        return self._frame[1]

    def close(self) -> None:
        """Gives the file's room back."""
        self._file.close()
