"""Packs events into requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import polars as pl

from sync.core.events import EVENTS, LINES
from sync.core.packing import body_bytes, cuts, joined, request_body


@dataclass(frozen=True)
class Packed:
    """A request: its compressed body, None where nobody asked for it, its bytes of JSON, and what the ledgers note."""

    body: bytes | None
    body_bytes: int
    lines: pl.DataFrame


def pack(frames: Iterable[pl.DataFrame], compress: Callable[[bytes], bytes] | None) -> Iterator[list[Packed]]:
    """Requests that are filled to the brim, in the order of the events; those of a frame together.

    Frames are ``EVENTS``. Bodies are made where there is something to compress them with.
    """
    left = pl.DataFrame(schema=dict(EVENTS))
    for frame in frames:
        *full, left = _cut(pl.concat([left, frame]))
        if full:
            yield [_packed(part, compress) for part in full]
    if left.height:
        yield [_packed(left, compress)]


def _cut(events: pl.DataFrame) -> list[pl.DataFrame]:
    """The events of each request; the last may have room for more."""
    lengths = events["body"].str.len_bytes().to_list()
    return [events.slice(start, end - start) for start, end in cuts(lengths)] or [events]


def _packed(events: pl.DataFrame, compress: Callable[[bytes], bytes] | None) -> Packed:
    bodies = events["body"]
    size = body_bytes(bodies.str.len_bytes().to_list())
    body = None if compress is None else compress(request_body(joined(bodies)))
    return Packed(body, size, events.select(*LINES))
