"""A few events from the first to the last, of a number that nobody knows before."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

# Events that are kept at the most while more go by, and those that are wanted.
_KEPT, _WANTED = 2_000, 10


class Sample:
    """Watches events go by, and keeps some of them at an even distance: it doubles when there are too many."""

    def __init__(self) -> None:
        self._every, self._seen = 1, 0
        self._kept: list[tuple[str, str]] = []
        self._last: tuple[str, str] | None = None

    def add(self, events: pl.DataFrame) -> None:
        """Takes the next events, with the columns ``event_name`` and ``key``."""
        if not events.height:
            return
        named = events.select("event_name", "key")
        first = -self._seen % self._every
        self._kept.extend(named.slice(first).gather_every(self._every).rows())
        self._last = named.row(-1)
        self._seen += events.height
        while len(self._kept) > _KEPT:
            self._kept, self._every = self._kept[::2], self._every * 2

    def spread(self) -> Sequence[tuple[str, str]]:
        """The names and keys of ten of the events, or of all where there are fewer, the first and the last of them."""
        if self._last is None:
            return ()
        count = min(_WANTED, self._seen)
        wanted = (place * (self._seen - 1) // max(count - 1, 1) for place in range(count - 1))
        return (*(self._kept[place // self._every] for place in wanted), self._last)
