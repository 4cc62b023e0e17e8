"""Request bodies of events: how many go into one, and what it looks like."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

import polars as pl

from sync import __version__
from sync.spec.statsig import MAX_EVENT_BODY_BYTES, MAX_EVENTS_PER_REQUEST

_BODY_START = b'{"events":['
_BODY_END = b'],"statsigMetadata":' + json.dumps({"sdkType": "statsig-sync", "sdkVersion": __version__}).encode() + b"}"
ENVELOPE_BYTES = len(_BODY_START) + len(_BODY_END)


def cuts(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where events of these lengths, in bytes, are cut into requests: the first of each, and the one after its last.

    A request holds at most 500 events and at most 1 MiB of JSON, and at least one event.
    """
    # What the events up to each take with the comma behind them.
    ends = list(accumulate((length + 1 for length in lengths), initial=0))
    start = 0
    while start < len(lengths):
        room = MAX_EVENT_BODY_BYTES - ENVELOPE_BYTES + 1
        end = bisect_right(ends, ends[start] + room, start + 1, min(len(lengths), start + MAX_EVENTS_PER_REQUEST) + 1)
        end = max(start + 1, end - 1)
        yield start, end
        start = end


def joined(bodies: pl.Series) -> bytes:
    """Events with commas between them."""
    return str(bodies.str.join(",").item()).encode() if len(bodies) else b""


def request_body(events: bytes) -> bytes:
    """The JSON body of a ``log_event`` request, from its events with commas between them."""
    return _BODY_START + events + _BODY_END


def body_bytes(lengths: Sequence[int]) -> int:
    """How long the body of a request is that holds events of these lengths, in bytes; there is at least one."""
    return ENVELOPE_BYTES + sum(lengths) + len(lengths) - 1
