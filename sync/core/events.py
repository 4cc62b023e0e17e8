"""What becomes of encoded rows: events to send, rows to reject, and events that a first run leaves out.

Rows come as a data frame with the columns of ``ROWS``; nothing here looks at one row by itself but where something is
wrong with it.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import polars as pl

from sync.core import reasons, trims
from sync.core.custom import oddities
from sync.core.packing import ENVELOPE_BYTES, cuts, joined
from sync.spec.model import EventConfig
from sync.spec.statsig import MAX_EVENT_BODY_BYTES

# A row as the engine encodes it, joined with what the ledgers know of it. ``event_time`` is in milliseconds UTC;
# ``reason`` says why the row cannot be sent, ``without`` why it goes without a part; ``head`` is the event's JSON, open
# at the end of ``user``, and ``custom`` goes into it; ``trimmed`` holds the kinds of its parts that Statsig may trim;
# ``was_sent`` says whether the ledgers have its key already, and ``logged`` holds the reasons that the reject ledger
# has for exactly this row: both joined by commas. ``copies`` counts the source rows that are the same to the letter,
# and ``is_chosen`` says whether this is the row that stands for its key.
ROWS: Mapping[str, Any] = {
    "key": pl.String,
    "row_hash": pl.String,
    "event_name": pl.String,
    "event_time": pl.Int64,
    "reason": pl.String,
    "detail": pl.String,
    "without": pl.String,
    "head": pl.String,
    "custom": pl.String,
    "trimmed": pl.String,
    "logged": pl.String,
    "was_sent": pl.Boolean,
    "copies": pl.Int64,
    "is_chosen": pl.Boolean,
}
# An event that is ready to send: what the ledgers note of it, its JSON, and what may be trimmed.
LINES: Mapping[str, Any] = {name: ROWS[name] for name in ("key", "row_hash", "event_name", "event_time")}
EVENTS: Mapping[str, Any] = {**LINES, "body": pl.String, "trimmed": pl.String, "has_custom": pl.Boolean}
# A row, or copies of a row, that is not sent or is sent without a part.
REJECTED: Mapping[str, Any] = {
    "key": pl.String,
    "row_hash": pl.String,
    "reason": pl.String,
    "detail": pl.String,
    "effect": pl.String,
    "row_count": pl.Int64,
}


_RAW = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True)
class RejectedRow:
    """A row, or copies of a row, that is not sent or is sent without a part."""

    key: str | None
    row_hash: str
    reason: str
    detail: str | None
    effect: str
    row_count: int


@dataclass(frozen=True)
class Settled:
    """What became of rows.

    ``events`` are to be sent (``EVENTS``), ``rejects`` are what the reject ledger has to learn (``REJECTED``), and
    ``skips`` the keys and hashes of rows that a first run leaves out. ``held_back`` counts rows that could be sent and
    wait, because Statsig has refused them as they are; ``duplicates`` rows beyond the first of their key.
    """

    events: pl.DataFrame
    rejects: pl.DataFrame
    skips: pl.DataFrame
    held_back: int
    duplicates: int


def settle(rows: pl.DataFrame, is_left_out: pl.Expr, retry_rejected: bool = False) -> Settled:
    """What becomes of rows.

    A row that the reject ledger has with the same reason is not reported again. A row that Statsig refused is held back
    until it changes, or until ``retry_rejected``.
    """
    rows = rows.with_columns(is_left_out.alias("is_left_out"))
    usable = rows.filter(pl.col("reason").is_null())
    could_go = usable.filter(pl.col("is_chosen") & ~pl.col("was_sent"))
    waits = pl.lit(False) if retry_rejected else _is_logged(pl.lit(reasons.REFUSED_BY_STATSIG))
    tried = could_go.filter(~waits)
    events, faults = _encoded(tried)
    duplicates = _rejected(
        usable.with_columns(pl.col("copies") - pl.col("is_chosen")).filter(pl.col("copies") > 0),
        reason=pl.lit(reasons.DUPLICATE_KEY),
    )
    refused = _rejected(rows.filter(pl.col("reason").is_not_null()), pl.col("reason"), pl.col("detail"))
    return Settled(
        events,
        pl.concat([refused, duplicates, faults]),
        rows.filter(pl.col("is_left_out") & pl.col("is_chosen")).select("key", "row_hash"),
        could_go.height - tried.height,
        int((rows["copies"] - rows["is_chosen"].cast(pl.Int64)).sum()),
    )


def _is_logged(reason: pl.Expr) -> pl.Expr:
    """Whether the reject ledger has the row with this reason."""
    logged = pl.concat_str(pl.lit(","), pl.col("logged"), pl.lit(","))
    return logged.str.contains(pl.concat_str(pl.lit(","), reason, pl.lit(",")), literal=True).fill_null(False)


def _rejected(
    rows: pl.DataFrame, reason: pl.Expr, detail: pl.Expr | None = None, effect: str = reasons.NOT_SENT
) -> pl.DataFrame:
    """The rows as ``REJECTED``, without those that the reject ledger has."""
    return rows.filter(~_is_logged(reason)).select(
        "key",
        "row_hash",
        reason.alias("reason"),
        (pl.lit(None, pl.String) if detail is None else detail).alias("detail"),
        pl.lit(effect).alias("effect"),
        pl.col("copies").alias("row_count"),
    )


def _encoded(tried: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The events of rows that can be sent, and what the reject ledger has to learn of them."""
    tried = _with_checked_custom(tried.with_columns(pl.lit(1, pl.Int64).alias("copies")))
    middle = pl.when(pl.col("custom").is_not_null()).then(pl.concat_str(pl.lit(',"custom":'), "custom"))
    tried = tried.with_columns(
        pl.concat_str("head", middle.otherwise(pl.lit("")), pl.lit("}}")).alias("body"),
        pl.col("custom").is_not_null().alias("has_custom"),
    )
    is_strict = pl.repeat(True, tried.height, eager=True).alias("is_strict").scatter(_not_strict(tried["body"]), False)
    tried = tried.with_columns(is_strict, pl.col("body").str.len_bytes().alias("bytes"))
    fits = pl.col("bytes") + ENVELOPE_BYTES <= MAX_EVENT_BODY_BYTES
    good = tried.filter(pl.col("is_strict") & fits)
    not_strict = tried.filter(~pl.col("is_strict"))
    too_large = tried.filter(pl.col("is_strict") & ~fits)
    reported = good.filter(~pl.col("is_left_out"))
    size = pl.format("{} bytes", pl.col("bytes"))
    return (
        reported.select(*EVENTS),
        pl.concat(
            [
                _rejected(not_strict, pl.lit(reasons.NOT_STRICT_JSON)),
                _rejected(too_large, pl.lit(reasons.EVENT_TOO_LARGE), size),
                # What would go without a part does not go at all where it is left out.
                _without(reported, "without", None),
                _without(reported, "problem", reasons.INVALID_CUSTOM),
            ]
        ),
    )


def _without(rows: pl.DataFrame, column: str, reason: str | None) -> pl.DataFrame:
    """What the reject ledger has to learn of rows that go without a part, which is so where the column has a value.

    The column holds the reason, or the detail where the reason is given.
    """
    found = rows.filter(pl.col(column).is_not_null())
    if reason is None:
        return _rejected(found, pl.col(column), effect=reasons.SENT_WITHOUT)
    return _rejected(found, pl.lit(reason), pl.col(column), reasons.SENT_WITHOUT)


def _with_checked_custom(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with ``custom`` as it is sent, and with a ``problem`` where it is not sent at all."""
    found = list(oddities(rows["custom"]))
    problems = pl.repeat(None, rows.height, dtype=pl.String, eager=True).alias("problem")
    if not found:
        return rows.with_columns(problems)
    places = [one.place for one in found]
    return rows.with_columns(
        rows["custom"].clone().scatter(places, [one.custom for one in found]),
        problems.scatter(places, [one.problem for one in found]),
    )


def _not_strict(bodies: pl.Series) -> list[int]:
    """The places of the bodies that are not JSON by the letter of RFC 8259: Statsig refuses a whole batch for one."""
    found: list[int] = []
    for start, end in cuts(bodies.str.len_bytes().to_list()):
        part = bodies.slice(start, end - start)
        if not _are_strict(part):
            found.extend(start + place for place, body in enumerate(part) if not is_strict_json(body.encode()))
    return found


def _are_strict(bodies: pl.Series) -> bool:
    """Whether all of these are strict JSON; each ends where it ends, so that no two of them make up one."""
    try:
        found = _RAW.decode(b"[" + joined(bodies) + b"]")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return list(map(len, found)) == bodies.str.len_bytes().to_list()


def is_strict_json(body: bytes) -> bool:
    """Whether this is JSON by the letter of RFC 8259."""
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def trimmed_counts(events: pl.DataFrame) -> Mapping[str, int]:
    """How many of the events have a part of each kind that Statsig may trim (``sync.core.trims``)."""
    counts: Counter[str] = Counter()
    found = events.filter(pl.col("trimmed").is_not_null()).group_by("trimmed", "has_custom").len()
    for trimmed, has_custom, count in found.iter_rows():
        counts.update(dict.fromkeys(trims.kinds(trimmed, has_custom), count))
    return counts


def rejected_frame(rows: Sequence[RejectedRow]) -> pl.DataFrame:
    """The rows as ``REJECTED``."""
    return pl.DataFrame([asdict(row) for row in rows], schema=dict(REJECTED))


def left_out(config: EventConfig) -> pl.Expr:
    """Whether ``backfill`` keeps a row out of a first run, and so for good: also one that could not be sent as it is.

    A row without a time is as new as now; one without a key cannot be told from others later.
    """
    if config.backfill in (None, "all"):
        return pl.lit(False)
    has_key = pl.col("key").is_not_null()
    if config.backfill_from is None:
        return has_key
    midnight = dt.datetime.combine(config.backfill_from, dt.time(), dt.timezone.utc)
    return has_key & (pl.col("event_time") < round(midnight.timestamp() * 1000)).fill_null(False)
