"""From encoded rows to request bodies: check ``custom``, put the event together, fill batches."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import msgspec

from sync import __version__
from sync.core import reasons, trims
from sync.spec.model import EventConfig
from sync.spec.statsig import MAX_EVENT_BODY_BYTES, MAX_EVENTS_PER_REQUEST

_BODY_START = b'{"events":['
_BODY_END = b'],"statsigMetadata":' + json.dumps({"sdkType": "statsig-sync", "sdkVersion": __version__}).encode() + b"}"
ENVELOPE_BYTES = len(_BODY_START) + len(_BODY_END)


class Row(NamedTuple):
    """A row as ``sync.core.event_reading`` reads it, joined with what the ledgers know of it.

    ``was_sent`` says whether the ledgers have its key already, ``is_the_sent_one`` whether they have it with
    this very row, and ``logged`` holds the reasons that the reject ledger has for exactly this row, joined by
    commas. ``trimmed`` holds the kinds of its parts that Statsig may trim. ``copies`` counts the source rows that
    are the same to the letter, and ``is_chosen`` says whether this is the row that stands for its key.
    ``event_time`` is in milliseconds UTC.
    """

    key: str | None
    row_hash: str
    event_time: int | None
    reason: str | None
    detail: str | None
    without: str | None
    head: str | None
    custom: str | None
    was_sent: bool
    is_the_sent_one: bool
    logged: str | None
    trimmed: str | None = None
    event_name: str | None = None
    copies: int = 1
    is_chosen: bool = True


class Event(NamedTuple):
    """An event ready to send: its unique key as text, the hash of its row, its time, its JSON, and its name."""

    key: str
    row_hash: str
    event_time: int | None
    body: bytes
    name: str | None = None


@dataclass(frozen=True)
class RejectedRow:
    """A row, or copies of a row, that is not sent or is sent without a part."""

    key: str | None
    row_hash: str
    reason: str
    detail: str | None
    effect: str
    row_count: int


def rank(row: Row) -> tuple[Any, ...]:
    """Where a row stands among all rows that share keys: by its key, and the row that is chosen first.

    Chosen is a row that can be sent before one that cannot, then the one that was sent already, then the
    earliest time, then the smallest hash. Rows that are the same to the letter stand together.
    """
    has_no_time = row.event_time is None
    return (
        row.key,
        row.reason is not None,
        not row.is_the_sent_one,
        has_no_time,
        0 if has_no_time else row.event_time,
        row.row_hash,
        row.reason or "",
        row.detail or "",
        row.without or "",
    )


def choose(ranked: Iterable[Row]) -> Iterator[Row]:
    """Rows in the order of their rank, with those that are the same to the letter as one, and one chosen per key."""
    last_key = None
    for row, same in groupby(ranked):
        yield row._replace(copies=sum(1 for _ in same), is_chosen=row.key != last_key)
        last_key = row.key


def custom_problem(custom: str) -> tuple[bytes | None, str | None]:
    """``custom`` as a JSON object without nulls and with each key once, or why it cannot be one.

    The decoder is strict: NaN, Infinity and trailing commas, which a warehouse may let pass, are not JSON.
    Values are what Statsig's HTTP API reference allows: strings, numbers, booleans, lists of strings.
    """
    raw = custom.encode()
    try:
        found = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return None, "it is not a JSON object"
    odd = sorted(name for name, value in found.items() if not _custom_value_fits(value))
    if odd:
        return None, f"property {odd[0][:100]!r} is neither a string, a number, a boolean nor a list of strings"
    if (twice := _key_that_is_there_twice(raw, found)) is not None:
        return None, f"property {twice[:100]!r} is there twice"
    if None in found.values():
        # Only objects with a null are written anew, so that numbers otherwise keep their digits.
        kept = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        return msgspec.json.encode({name: value for name, value in kept.items() if found[name] is not None}), None
    return raw, None


# What ends a property's name, and what looks like it in a text.
_NAME_END = re.compile(rb'"\s*:')


def _key_that_is_there_twice(raw: bytes, found: Mapping[str, Any]) -> str | None:
    """The first key that an object of plain values has more than once; None where there is none.

    Each key has its colon, so that an object with as many colons as keys has none twice; what is left over are texts
    with colons in them.
    """
    if raw.count(b":") == len(found) or len(_NAME_END.findall(raw)) == len(found):
        return None
    # Numbers stay text: they do not matter, and Python refuses to read very long ones.
    pairs = json.loads(raw, object_pairs_hook=list, parse_int=str, parse_float=str)
    counts = Counter(name for name, _ in pairs)
    return next((name for name, count in counts.items() if count > 1), None)


def _custom_value_fits(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    return value is None or isinstance(value, str | int | float | bool)


def assemble(head: str, custom: bytes | None) -> bytes:
    """The event's JSON, from its head (open at the end of ``user``) and its checked ``custom``."""
    return head.encode() + (b',"custom":' + custom if custom else b"") + b"}}"


def is_strict_json(body: bytes) -> bool:
    """Whether this is JSON by the letter of RFC 8259; Statsig refuses a whole batch for one event."""
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def settle_row(row: Row, retry_rejected: bool = False) -> tuple[Event | None, list[RejectedRow]]:
    """What becomes of a row: an event to send, or none, and what the reject ledger has to learn.

    A row that the reject ledger has with the same reason is not reported again. A row that Statsig
    refused is held back until it changes, or until ``retry_rejected``.
    """
    found: list[RejectedRow] = []
    if row.reason is not None:
        found.append(_rejected(row, row.reason, row.detail, row.copies))
        return None, _unlogged(row, found)
    extra = row.copies if not row.is_chosen else row.copies - 1
    if extra:
        found.append(_rejected(row, reasons.DUPLICATE_KEY, None, extra))
    if not row.is_chosen or row.was_sent or is_held_back(row, retry_rejected):
        return None, _unlogged(row, found)
    event, problems = _encode(row)
    return event, _unlogged(row, found + problems)


def is_held_back(row: Row, retry_rejected: bool) -> bool:
    """Whether a row that could be sent waits because Statsig has refused it as it is."""
    could_go = row.reason is None and row.is_chosen and not row.was_sent
    return could_go and not retry_rejected and reasons.REFUSED_BY_STATSIG in _logged(row)


def _encode(row: Row) -> tuple[Event | None, list[RejectedRow]]:
    problems = []
    if row.without is not None:
        problems.append(_left_out(row, row.without, None))
    custom = None
    if row.custom is not None:
        custom, problem = custom_problem(row.custom)
        if problem:
            problems.append(_left_out(row, reasons.INVALID_CUSTOM, problem))
    body = assemble(row.head or "{", custom)
    if not is_strict_json(body):
        return None, [_rejected(row, reasons.NOT_STRICT_JSON, None, 1)]
    if len(body) + ENVELOPE_BYTES > MAX_EVENT_BODY_BYTES:
        return None, [_rejected(row, reasons.EVENT_TOO_LARGE, f"{len(body)} bytes", 1)]
    return Event(row.key or "", row.row_hash, row.event_time, body, row.event_name), problems


def trimmed_kinds(row: Row, event: Event) -> Iterable[str]:
    """The kinds of an event's parts that Statsig may trim."""
    if not row.trimmed:
        return ()
    has_custom = len(event.body) > len(assemble(row.head or "{", None))
    return trims.kinds(row.trimmed, has_custom)


def _rejected(row: Row, reason: str, detail: str | None, count: int) -> RejectedRow:
    return RejectedRow(row.key, row.row_hash, reason, detail, reasons.NOT_SENT, count)


def _left_out(row: Row, reason: str, detail: str | None) -> RejectedRow:
    return RejectedRow(row.key, row.row_hash, reason, detail, reasons.SENT_WITHOUT, 1)


def _logged(row: Row) -> list[str]:
    return row.logged.split(",") if row.logged else []


def _unlogged(row: Row, found: list[RejectedRow]) -> list[RejectedRow]:
    return [rejected for rejected in found if rejected.reason not in _logged(row)] if row.logged else found


def pack(events: Iterable[Event]) -> Iterator[list[Event]]:
    """Batches of at most 500 events and at most 1 MiB of JSON, in the order given; none is empty."""
    batch: list[Event] = []
    size = ENVELOPE_BYTES
    for event in events:
        needed = len(event.body) + (1 if batch else 0)
        if batch and (len(batch) == MAX_EVENTS_PER_REQUEST or size + needed > MAX_EVENT_BODY_BYTES):
            yield batch
            batch, size, needed = [], ENVELOPE_BYTES, len(event.body)
        batch.append(event)
        size += needed
    if batch:
        yield batch


def request_body(events: Sequence[Event]) -> bytes:
    """The JSON body of a ``log_event`` request."""
    return _BODY_START + b",".join(event.body for event in events) + _BODY_END


def is_left_out(row: Row, config: EventConfig) -> bool:
    """Whether ``backfill`` keeps a row out of a first run, and so for good: also one that could not be sent as it is.

    A row without a time is as new as now; one without a key cannot be told from others later.
    """
    if row.key is None or config.backfill in (None, "all"):
        return False
    if config.backfill_from is None:
        return True
    midnight = dt.datetime.combine(config.backfill_from, dt.time(), dt.timezone.utc)
    return row.event_time is not None and row.event_time < midnight.timestamp() * 1000
