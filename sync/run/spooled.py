"""Reads the finished requests of a plan from the spool, one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from sync.core.plan import EventBatch
from sync.edges.spool import Spool


def requests(batches: Sequence[EventBatch], spool: Spool) -> Iterator[tuple[bytes, int, pl.DataFrame]]:
    """The compressed body of each request, its bytes of JSON, and its ``sync.core.events.LINES``."""
    for batch in batches:
        if batch.spooled is not None:
            lines = spool.read_frame(batch.spooled.lines).slice(batch.spooled.start, batch.events)
            yield spool.read(batch.spooled.body), batch.body_bytes, lines
