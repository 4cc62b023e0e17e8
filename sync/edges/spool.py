"""A temporary file for what was read from the warehouse and waits to be sent.

The warehouse is closed before the network is used, and events must not pile up in memory. The file has no
name, so that nothing of it stays when the process dies.
"""

from __future__ import annotations

import tempfile
from typing import Any, TypeVar

import msgspec

from sync.errors import WarehouseError

_Record = TypeVar("_Record")


class Spool:
    """Records of any shape that msgspec can encode, written once and read back by their number."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="statsig-sync-")  # noqa: SIM115 - closed by close()
        # Where each record starts, in bytes; the last entry is where the next one will.
        self._starts = [0]

    def write(self, record: Any) -> int:
        """Appends a record; returns its number. Raises ``WarehouseError`` where there is no room for it."""
        encoded = msgspec.msgpack.encode(record)
        try:
            self._file.seek(self._starts[-1])
            self._file.write(encoded)
            self._file.flush()
        except OSError as error:
            raise WarehouseError(
                f"what waits to be sent could not be written to the temporary folder {tempfile.gettempdir()}: "
                f"{error.strerror}. Make room there, or name another folder with TMPDIR."
            ) from error
        self._starts.append(self._starts[-1] + len(encoded))
        return len(self._starts) - 2

    def read(self, number: int, shape: type[_Record]) -> _Record:
        """The record of this number."""
        start, end = self._starts[number], self._starts[number + 1]
        self._file.seek(start)
        return msgspec.msgpack.decode(self._file.read(end - start), type=shape)

    def close(self) -> None:
        """Gives the file's room back."""
        self._file.close()
