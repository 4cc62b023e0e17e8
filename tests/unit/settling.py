"""Rows one by one: what the code does with whole columns, for tests that are about a row."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import polars as pl

from sync.core.events import REJECTED, ROWS, RejectedRow, Settled, settle


class Event(NamedTuple):
    """An event ready to send: its unique key as text, the hash of its row, its time, its JSON, and its name."""

    key: str
    row_hash: str
    event_time: int | None
    body: bytes
    name: str | None = None


# A row with the attributes of ``ROWS``.
Row = SimpleNamespace
NOBODY = pl.lit(False)


def frame_of(rows: Sequence[Row]) -> pl.DataFrame:
    return pl.DataFrame([[getattr(row, name) for name in ROWS] for row in rows], schema=dict(ROWS), orient="row")


def rows_of(frame: pl.DataFrame) -> list[Row]:
    return [Row(**known) for known in frame.select(*ROWS).to_dicts()]


def settled_at_once(rows: Sequence[Row], retry_rejected: bool = False, is_left_out: pl.Expr = NOBODY) -> Settled:
    return settle(frame_of(rows), is_left_out, retry_rejected)


def settle_row(row: Row, retry_rejected: bool = False) -> tuple[Event | None, list[RejectedRow]]:
    """What becomes of a row: an event to send, or none, and what the reject ledger has to learn."""
    found = settled_at_once([row], retry_rejected)
    return next(iter(events_of(found)), None), rejected_rows(found.rejects)


def rejected_rows(rejects: pl.DataFrame) -> list[RejectedRow]:
    return [RejectedRow(*row) for row in rejects.select(*REJECTED).iter_rows()]


def events_of(found: Settled) -> list[Event]:
    columns: Any = ("key", "row_hash", "event_time", "body", "event_name")
    return [
        Event(key, row_hash, time, body.encode(), name)
        for key, row_hash, time, body, name in found.events.select(*columns).iter_rows()
    ]
