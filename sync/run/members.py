"""Reads the members of a list in Statsig: whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl

from sync.core import preflight
from sync.core.clock import Clock
from sync.core.delivery import Outcome, State
from sync.core.reading import Page, Reading, is_short
from sync.edges.settings import Endpoint
from sync.errors import DeliveryError
from sync.run.consoles import Consoles
from sync.spec.model import Sync
from sync.spec.statsig import ID_PAGE_SIZES, MAX_IDS_PER_PROJECT

# Seconds between two readings of a list that changes.
_PAUSES = (2.0, 4.0, 8.0, 16.0)


def read_members(sync: Sync, consoles: Consoles, clock: Clock) -> pl.Series:
    """All ids of a sync's list in Statsig, each once, as they were at one moment.

    A list that changes while it is read is read again. Where neither a total nor a version could show that, two
    readings in a row have to be the same. Raises ``DeliveryError`` where it does not come to rest, or a page
    cannot be read.
    """
    reader = _Reader(sync, consoles)
    before: Reading | None = None
    for pause in (*_PAUSES, None):
        reading = reader.read()
        if reading.is_whole and (reading.is_proved or _is_repeated(reading, before)):
            return reading.ids
        before = reading
        if pause is not None:
            clock.sleep(pause)
    of = f" of {max(reading.totals):,}" if reading.totals else ""
    raise _unreadable(
        sync,
        f"the list kept changing while it was read (the last time {len(reading.ids):,} different ids{of}); run again "
        "when no other tool changes it.",
    )


def _is_repeated(reading: Reading, before: Reading | None) -> bool:
    return before is not None and before.is_whole and set(before.ids) == set(reading.ids)


@dataclass
class _Pages:
    """What the pages of a list have brought so far."""

    ids: list[pl.Series] = field(default_factory=list)
    count: int = 0
    totals: set[int] = field(default_factory=set)
    is_ended: bool = False
    is_endless: bool = False
    _first: Sequence[str] = ()
    _last: Sequence[str] = ()

    def add(self, page: Page) -> None:
        """Takes the next page in.

        Where Statsig does not say which is the last, it is the one with which all ids are there, or one without ids.
        The same page twice then means that the list does not come in pages. Pages have no end where they come
        without ids, again, or with more than the list can have.
        """
        is_first = not self.ids
        if page.is_last is None and not is_first and page.ids == self._last:
            self.is_ended = True
            return
        self.ids.append(pl.Series("id", page.ids, pl.String))
        self.count += len(page.ids)
        self.totals |= {page.total} if page.total is not None else set()
        most = MAX_IDS_PER_PROJECT if page.total is None else min(page.total, MAX_IDS_PER_PROJECT)
        is_all = not page.ids or (page.total is not None and self.count >= page.total)
        is_again = not is_first and page.ids in (self._first, self._last)
        self.is_ended = is_all if page.is_last is None else page.is_last
        self.is_endless = not page.ids or self.count > most or is_again
        self._first, self._last = self._first if not is_first else page.ids, page.ids


@dataclass
class _Reader:
    """Reads a list from its first page to its last; ``size`` is how many ids Statsig is known to give at once."""

    sync: Sync
    consoles: Consoles
    size: int = ID_PAGE_SIZES[0]

    def read(self) -> Reading:
        """One way through the list, between two looks at its version."""
        console, segment_id = self.consoles.of(self.sync), self.sync.destination
        before = console.id_list_version(segment_id)
        found = self._pages()
        while found is None:
            found = self._pages()
        after = console.id_list_version(segment_id) if before is not None else None
        return Reading(
            pl.concat(found.ids).unique(maintain_order=True),
            found.count,
            frozenset(found.totals),
            found.is_ended,
            tuple(version for version in (before, after) if version is not None),
            len(found.ids),
        )

    def _pages(self) -> _Pages | None:
        """The pages up to the last, or to where no end is to be seen; None where they have to be smaller."""
        found = _Pages()
        for number, page in enumerate(self._each_page(), start=1):
            if is_short(page, (number, self.size, found.count)):
                self.size = len(page.ids)
                return None
            found.add(page)
            if found.is_ended or found.is_endless:
                break
        return found

    def _each_page(self) -> Iterator[Page]:
        number = 0
        while True:
            number += 1
            page, outcome = self.consoles.of(self.sync).id_page(self.sync.destination, number, self.size)
            while page is None and self._can_be_smaller(number, outcome):
                page, outcome = self.consoles.of(self.sync).id_page(self.sync.destination, number, self.size)
            if page is None:
                raise _unreadable(self.sync, _reason(outcome, self.consoles.endpoint(self.sync)))
            self.consoles.heartbeat()
            yield page

    def _can_be_smaller(self, number: int, outcome: Outcome) -> bool:
        """Takes the next smaller size where Statsig refuses this one at the first page."""
        smaller = [size for size in ID_PAGE_SIZES if size < self.size]
        if outcome.http_status not in (400, 422) or number > 1 or not smaller:
            return False
        self.size = smaller[0]
        return True


def _reason(outcome: Outcome, endpoint: Endpoint) -> str:
    if outcome.state is State.ACCEPTED:
        return "Statsig's answer is not a page of ids."
    return preflight.explain(outcome, endpoint.key_variable, endpoint.url)


def _unreadable(sync: Sync, reason: str) -> DeliveryError:
    return DeliveryError(
        f"{sync.name}: the members of segment '{sync.destination}' could not be read: {reason} Nothing was sent."
    )
