"""What one HTTP call carries to Statsig."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field, replace

import msgspec
import polars as pl

from sync.core.compression import compressed
from sync.core.delivery import Trail


@dataclass(frozen=True)
class Request:
    """The keys of one call, and for events its body.

    ``lines`` has the columns of ``sync.core.ledger.LINES``, a row a key. For events, ``body`` is the whole JSON body,
    compressed with gzip, and ``body_bytes`` its size before that; both are None for a list of ids. ``trail`` tells of
    the requests before it that are in doubt.
    """

    operation: str
    lines: pl.DataFrame
    body: bytes | None = None
    body_bytes: int | None = None
    trail: Trail = field(default_factory=Trail)

    @property
    def size(self) -> int:
        """Keys in it."""
        return self.lines.height

    def halves(self) -> tuple[Request, Request]:
        """Two requests, for a request of two keys or more.

        Neighbours part ways: rows that are bad often stand together, and good ones between them show that the
        fault is in the rows.
        """
        first, second = self.lines.gather_every(2), self.lines.gather_every(2, offset=1)
        if self.body is None:
            return replace(self, lines=first), replace(self, lines=second)
        # Everything but the list of events stays as it is, and so does each event, byte by byte.
        envelope = msgspec.json.decode(gzip.decompress(self.body), type=dict[str, msgspec.Raw])
        events = msgspec.json.decode(envelope["events"], type=list[msgspec.Raw])
        return (
            self._with_events(first, {**envelope, "events": events[::2]}),
            self._with_events(second, {**envelope, "events": events[1::2]}),
        )

    def _with_events(self, lines: pl.DataFrame, envelope: dict[str, msgspec.Raw | list[msgspec.Raw]]) -> Request:
        body = msgspec.json.encode(envelope)
        return replace(self, lines=lines, body=compressed(body), body_bytes=len(body))
