"""Reads the members of a list in Statsig: whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from sync.core import preflight
from sync.core.clock import Clock
from sync.core.delivery import Outcome, State
from sync.core.reading import Page, Reading
from sync.edges.settings import Endpoint
from sync.errors import DeliveryError
from sync.run.consoles import Consoles
from sync.spec.model import Sync
from sync.spec.statsig import MAX_IDS_PER_PROJECT

# Seconds between two readings of a list that changes.
_PAUSES = (2.0, 4.0, 8.0, 16.0)


def read_members(sync: Sync, consoles: Consoles, clock: Clock) -> pl.Series:
    """All ids of a sync's list in Statsig, each once, as they were at one moment.

    A list that changes while it is read is read again. Raises ``DeliveryError`` where it does not come to
    rest, or a page cannot be read.
    """
    for pause in (*_PAUSES, None):
        reading = _read(sync, consoles)
        if reading.is_whole:
            return reading.ids
        if pause is not None:
            clock.sleep(pause)
    raise _unreadable(
        sync,
        f"the list kept changing while it was read (the last time {len(reading.ids):,} different ids of "
        f"{max(reading.totals):,}); run again when no other tool changes it.",
    )


def _read(sync: Sync, consoles: Consoles) -> Reading:
    """One way through the list, between two looks at its version."""
    console = consoles.of(sync)
    ids: list[pl.Series] = []
    totals: set[int] = set()
    is_ended = False
    before = console.id_list_version(sync.destination)
    for page in _pages(sync, consoles):
        ids.append(pl.Series("id", page.ids, pl.String))
        totals.add(page.total)
        is_ended = page.is_last
    after = console.id_list_version(sync.destination) if before is not None else None
    versions = tuple(version for version in (before, after) if version is not None)
    return Reading(pl.concat(ids).unique(maintain_order=True), frozenset(totals), is_ended, versions)


def _pages(sync: Sync, consoles: Consoles) -> Iterator[Page]:
    """The pages up to the last, or to the one with which there are more ids than the list can have."""
    number, count, is_over = 0, 0, False
    while not is_over:
        number += 1
        page, outcome = consoles.of(sync).id_page(sync.destination, number)
        if page is None:
            raise _unreadable(sync, _reason(outcome, consoles.endpoint(sync)))
        yield page
        consoles.heartbeat()
        count += len(page.ids)
        is_over = page.is_last or not page.ids or count > min(page.total, MAX_IDS_PER_PROJECT)


def _reason(outcome: Outcome, endpoint: Endpoint) -> str:
    if outcome.state is State.ACCEPTED:
        return "Statsig's answer is not a page of ids."
    return preflight.explain(outcome, endpoint.key_variable, endpoint.url)


def _unreadable(sync: Sync, reason: str) -> DeliveryError:
    return DeliveryError(
        f"{sync.name}: the members of segment '{sync.destination}' could not be read: {reason} Nothing was sent."
    )
