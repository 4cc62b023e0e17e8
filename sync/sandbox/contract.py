"""Statsig's rules on request bodies, and the messages of its refusals: pure functions.

Sources: Statsig's HTTP API (`log_event`) and Console API (`segments`), version 20240601, on docs.statsig.com.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Annotated, Any, Literal, TypeVar

import msgspec

Body = TypeVar("Body")

CONSOLE_API_VERSION = "20240601"
EVENTS_KEPT_PER_REQUEST = 1_000
SEGMENT_TYPES = ("id_list", "rule_based", "analysis_list", "user_store_id_list")
NOT_AN_ID_LIST = "Segment must be of type 'id_list' to be modified on this endpoint"
LIST_IS_BUSY = "Another update is already in progress for this ID list"
# Statsig documents nothing about changes of archived segments.
ARCHIVED = "Segment is archived and cannot be modified on this endpoint"
ENVIRONMENTS = ("production", "staging", "development")

_FORBIDDEN_IN_EVENT_NAME = re.compile(r"[\\\[\]{}<>#=;&$%|\x00\r\n]")
_SEGMENT_NAME = re.compile(r"[A-Za-z0-9_\- ]{3,100}")
_SEGMENT_ID = re.compile(r"[A-Za-z0-9_\-]{3,100}")


class RefusedError(Exception):
    """A request that Statsig would answer with an error: HTTP status, message, and headers beside them."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


# Names in these structs are Statsig's own on the wire; `rename` keeps Python's style inside.
class _Environment(msgspec.Struct):
    tier: str


class _User(msgspec.Struct, rename="camel"):
    user_id: str | None = msgspec.field(default=None, name="userID")
    email: str | None = None
    ip: str | None = None
    user_agent: str | None = None
    country: str | None = None
    locale: str | None = None
    app_version: str | None = None
    custom: dict[str, str | int | float | bool | list[str]] | None = None
    custom_ids: dict[str, str] | None = msgspec.field(default=None, name="customIDs")
    private_attributes: dict[str, Any] | None = None
    statsig_environment: _Environment | None = None


class Event(msgspec.Struct, rename="camel"):
    """One event of a `log_event` request, as far as the contract speaks of it; other members are let through."""

    event_name: Annotated[str, msgspec.Meta(min_length=1)]
    value: str | int | float | None = None
    time: int | datetime | None = None
    user: _User | None = None
    metadata: dict[str, str] | None = None


class _NamedEvent(msgspec.Struct, rename="camel"):
    event_name: str


class _LogEventBody(msgspec.Struct, rename="camel"):
    events: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1)]
    statsig_metadata: dict[str, Any]


@dataclass(frozen=True)
class Batch:
    """The events of a `log_event` request, each still JSON, and the SDK that says that it has sent them."""

    events: list[bytes]
    sdk_type: str | None = None
    sdk_version: str | None = None


class CreateSegment(msgspec.Struct, rename="camel"):
    """Body of `POST /console/v1/segments`."""

    name: str
    type: Literal["id_list", "rule_based", "analysis_list", "user_store_id_list"]
    id: str = ""
    id_type: Annotated[str, msgspec.Meta(min_length=1)] = "userID"
    description: Annotated[str, msgspec.Meta(max_length=1_000)] = ""
    tags: list[str] = []
    team: str | None = None
    creator_email: str | None = None


class _Ids(msgspec.Struct):
    ids: list[Annotated[str, msgspec.Meta(min_length=1)]]


_log_event_body = msgspec.json.Decoder(_LogEventBody)
_event = msgspec.json.Decoder(Event)
_named_event = msgspec.json.Decoder(_NamedEvent)
_create_segment = msgspec.json.Decoder(CreateSegment)
_ids = msgspec.json.Decoder(_Ids)


def decompress(body: bytes, content_encoding: str, max_bytes: int) -> bytes:
    """Undo the Content-Encoding, reading no more than `max_bytes` of output (413 beyond it, 400 if broken)."""
    encoding = content_encoding.strip().lower()
    if encoding == "gzip":
        return _gunzip(body, max_bytes)
    if encoding not in ("", "identity"):
        raise RefusedError(400, f"Content-Encoding {encoding!r} is not supported")
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    return body


def _gunzip(body: bytes, max_bytes: int) -> bytes:
    decoded = bytearray()
    while body:
        member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        try:
            decoded += member.decompress(body, max_bytes + 1 - len(decoded))
        except zlib.error:
            raise RefusedError(400, "Request body is not valid gzip") from None
        if len(decoded) > max_bytes:
            raise _too_large(max_bytes)
        if not member.eof:
            raise RefusedError(400, "Request body is not valid gzip: it ends early")
        body = member.unused_data
    return bytes(decoded)


def _too_large(max_bytes: int) -> RefusedError:
    return RefusedError(413, f"Request body is larger than {max_bytes} bytes")


def _invalid(error: msgspec.DecodeError, where: str) -> RefusedError:
    """Turn msgspec's message, which ends in a path such as `$.user.email`, into one that starts from `where`."""
    return RefusedError(400, "Invalid request: " + str(error).replace("`$", f"`{where}"))


def decode_body(body: bytes, decoder: msgspec.json.Decoder[Body]) -> Body:
    """Decode a whole body: strict JSON in UTF-8 of the decoder's type, or 400 with the path of what is wrong."""
    try:
        # Once for all: msgspec does not look at the bytes of strings that it passes over.
        body.decode()
        return decoder.decode(body)
    except UnicodeDecodeError:
        raise RefusedError(400, "Invalid request: body is not UTF-8") from None
    except msgspec.DecodeError as error:
        raise _invalid(error, "body") from None


def events_of(body: bytes) -> list[bytes]:
    """Split a `log_event` body into its events, each still JSON. 400 unless it has events and `statsigMetadata`."""
    return batch_of(body).events


def batch_of(body: bytes) -> Batch:
    """The events of a `log_event` body with what its `statsigMetadata` says of the sender. 400 as in `events_of`."""
    decoded = decode_body(body, _log_event_body)
    sdk = {name: str(value) for name, value in decoded.statsig_metadata.items() if value is not None}
    return Batch([bytes(event) for event in decoded.events], sdk.get("sdkType"), sdk.get("sdkVersion"))


def is_from_sdk(event_name: str) -> bool:
    """Whether an event is one that Statsig's SDKs log by themselves: exposures and diagnostics."""
    return event_name.startswith("statsig::")


def check_event(event: bytes, index: int, environments: Collection[str] = ENVIRONMENTS) -> Event:
    """Decode one event strictly; 400 names its index in the request and the member at fault.

    `environments` are those of the project; their names are compared without regard to case. What SDKs log by
    themselves has other forms (lists in metadata), which are theirs: only the name is looked at.
    """
    where = f"events[{index}]"
    try:
        decoded = _event.decode(event)
    except msgspec.DecodeError as error:
        name = _event_name(event)
        if name is not None and is_from_sdk(name):
            return Event(name)
        refusal = _invalid(error, where)
        if where not in refusal.message:
            refusal = RefusedError(400, f"{refusal.message} - at `{where}`")
        raise refusal from None
    tier = _tier(decoded)
    if tier is not None and tier.lower() not in {name.lower() for name in environments}:
        raise RefusedError(
            400, f"Invalid request: Invalid enum value {tier!r} - at `{where}.user.statsigEnvironment.tier`"
        )
    return decoded


def _tier(event: Event) -> str | None:
    found = event.user.statsig_environment if event.user else None
    return found.tier if found and not is_from_sdk(event.event_name) else None


def _event_name(event: bytes) -> str | None:
    try:
        return _named_event.decode(event).event_name
    except msgspec.DecodeError:
        return None


def event_time(event: Event) -> int | None:
    """When the event happened, in milliseconds since the epoch; an ISO 8601 text without an offset is UTC."""
    if isinstance(event.time, datetime):
        moment = event.time if event.time.tzinfo else event.time.replace(tzinfo=timezone.utc)
        return round(moment.timestamp() * 1000)
    return event.time


def time_or(event: Event, received_at: float) -> int:
    """The event's time in milliseconds; where it has none, when it was received, given in seconds."""
    moment = event_time(event)
    return round(received_at * 1000) if moment is None else moment


def drop_reason(event: Event) -> str | None:
    """Why Statsig drops this event after having answered 202, or None where it keeps it."""
    found = _FORBIDDEN_IN_EVENT_NAME.search(event.event_name)
    if found:
        return f"event name holds the forbidden character {found.group()!r}"
    if event.user is None or not (event.user.user_id or any((event.user.custom_ids or {}).values())):
        return "user has no identifier"
    return None


def lost_metadata_keys(metadata: Mapping[str, str] | None) -> list[str]:
    """Metadata keys whose value Statsig loses: a dot is read as a path into a nested object."""
    return [key for key in metadata or {} if "." in key]


def segment_to_create(body: bytes) -> CreateSegment:
    """Decode and check the body of a segment's creation (400); an id that is left out is made from the name."""
    segment = decode_body(body, _create_segment)
    if not _SEGMENT_NAME.fullmatch(segment.name):
        raise RefusedError(
            400, "Invalid request: name must be 3 to 100 characters: letters, digits, '_', '-' and spaces"
        )
    if not segment.id:
        segment.id = segment.name.lower().replace(" ", "_")
    if not _SEGMENT_ID.fullmatch(segment.id):
        raise RefusedError(400, "Invalid request: id must be 3 to 100 characters: letters, digits, '_' and '-'")
    return segment


def ids_of(body: bytes, max_ids: int, *, may_be_empty: bool = False) -> list[str]:
    """Decode `{"ids": [...]}`: non-empty strings, at most `max_ids`; an empty list only where it `may_be_empty`."""
    ids = decode_body(body, _ids).ids
    if len(ids) > max_ids:
        raise RefusedError(400, f"Invalid request: ids must hold at most {max_ids} ids, not {len(ids)}")
    if not ids and not may_be_empty:
        raise RefusedError(400, "Invalid request: ids must not be empty")
    return ids
