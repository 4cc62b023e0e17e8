"""A temporary file for what was read from the warehouse and waits to be sent.

The warehouse is closed before the network is used, and events must not pile up in memory. The file has no
name, so that nothing of it stays when the process dies.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import msgspec

from sync.errors import WarehouseError

_Record = TypeVar("_Record")
_Item = TypeVar("_Item")

# Items that are sorted in memory, and items of each such run that are in memory while the runs are merged.
_RUN, _BLOCK = 10_000, 50


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

    @property
    def count(self) -> int:
        """The number of records, which is the number of the next one."""
        return len(self._starts) - 1

    def forget_from(self, number: int) -> None:
        """Forgets the record of this number and all that were written after it."""
        del self._starts[number + 1 :]
        self._file.truncate(self._starts[-1])

    def read(self, number: int, shape: type[_Record]) -> _Record:
        """The record of this number."""
        start, end = self._starts[number], self._starts[number + 1]
        self._file.seek(start)
        return msgspec.msgpack.decode(self._file.read(end - start), type=shape)

    def in_order(self, items: Iterable[_Item], rank: Callable[[_Item], Any], shape: type[_Item]) -> Iterator[_Item]:
        """The items, of this shape, by their rank. Memory holds some thousand of them, whatever their number."""
        waiting = iter(items)
        runs: list[list[int]] = []
        while run := sorted(islice(waiting, _RUN), key=rank):
            runs.append([self.write(run[start : start + _BLOCK]) for start in range(0, len(run), _BLOCK)])
        return heapq.merge(*(self._items(run, shape) for run in runs), key=rank)

    def _items(self, records: Iterable[int], shape: type[_Item]) -> Iterator[_Item]:
        for record in records:
            yield from self.read(record, list[shape])  # type: ignore[valid-type]

    def close(self) -> None:
        """Gives the file's room back."""
        self._file.close()
