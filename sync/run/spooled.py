"""Reads the finished requests of a plan from the spool, one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sync.core.plan import EventBatch
from sync.core.requests import Request
from sync.edges.spool import Spool


def requests(batches: Sequence[EventBatch], spool: Spool) -> Iterator[Request]:
    """The requests of these batches, in order."""
    for batch in batches:
        if batch.spooled is not None:
            lines = spool.read_frame(batch.spooled.lines).slice(batch.spooled.start, batch.events)
            yield Request("log", lines, spool.read(batch.spooled.body), batch.body_bytes)
