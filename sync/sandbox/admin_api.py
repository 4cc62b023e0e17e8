"""The sandbox's own calls, below `/sandbox`: what arrived, how to prepare it, and which faults to inject."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sync.sandbox.audit import CONSOLE_USER
from sync.sandbox.contract import Body, CreateSegment, RefusedError, decode_body
from sync.sandbox.faults import FaultPlan, Seconds
from sync.sandbox.http import answer, body_of, state_of
from sync.sandbox.limits import LimitOptions
from sync.sandbox.segments import Segment
from sync.sandbox.settings import KeepMode

_Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]
_Type = Literal["id_list", "rule_based", "analysis_list", "user_store_id_list"]


class PutSegment(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Body of `POST /sandbox/segments`: a segment of any type, with its members, and who has put it there."""

    id: Annotated[str, msgspec.Meta(min_length=1)]
    name: str | None = None
    type: _Type = "id_list"
    id_type: str = "userID"
    ids: list[str] = []
    description: str = ""
    tags: list[str] = []
    team: str | None = None
    creator_email: str | None = None
    is_enabled: bool = True
    is_archived: bool = False
    updated_by: str = CONSOLE_USER


class AlterSegment(msgspec.Struct, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """Body of `PATCH /sandbox/segments/{segment_id}`: what is changed of a segment; what is left out stays."""

    type: _Type | UnsetType = UNSET
    id_type: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    is_enabled: bool | UnsetType = UNSET
    is_archived: bool | UnsetType = UNSET


class Adjust(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /sandbox/settings`; what is left out stays. The names are those of `Settings`."""

    processing_seconds: Seconds | UnsetType = UNSET
    keep: KeepMode | UnsetType = UNSET
    max_page: Annotated[int, msgspec.Meta(ge=1)] | UnsetType = UNSET
    large_pages: Literal["fewer", "refuse"] | UnsetType = UNSET
    total_items: bool | UnsetType = UNSET
    environments: tuple[str, ...] | UnsetType = UNSET
    unit_id_types: tuple[str, ...] | UnsetType = UNSET
    reviews_required: bool | UnsetType = UNSET
    logs_lag_seconds: Seconds | UnsetType = UNSET
    logs_sample_percent: _Percent | UnsetType = UNSET
    logs_retention_seconds: Seconds | UnsetType | None = UNSET
    metrics_lag_seconds: Seconds | UnsetType = UNSET
    drop_events_named: str | UnsetType | None = UNSET
    drop_events_percent: _Percent | UnsetType = UNSET


def _given(body: msgspec.Struct) -> dict[str, Any]:
    """The members of a body that were not left out."""
    return {name: value for name in body.__struct_fields__ if (value := getattr(body, name)) is not UNSET}


async def get_events(request: Request) -> Response:
    """Events by arrival: all, or `?offset=` and `?limit=`; `?sdk=true` gives what SDKs logged themselves."""
    log = state_of(request).events
    of_sdks = request.query_params.get("sdk") == "true"
    offset, limit = _count(request, "offset") or 0, _count(request, "limit")
    shown = islice(log.arrivals(of_sdks=of_sdks), offset, None if limit is None else offset + limit)
    total = log.from_sdks if of_sdks else log.arrived
    return answer({"total": total, "events": [arrival.described() for arrival in shown]})


async def get_segments(request: Request) -> Response:
    """All segments with their ids."""
    return answer({"segments": [_described(segment) for segment in state_of(request).segments]})


async def get_segment(request: Request) -> Response:
    """One segment with its ids."""
    return answer(_described(state_of(request).segments.get(request.path_params["segment_id"])))


async def put_segment(request: Request) -> Response:
    """Make a segment of any type, with members, in place of one of the same id."""
    state, body = state_of(request), await _decoded(request, PutSegment)
    wanted = CreateSegment(
        body.name or body.id,
        body.type,
        body.id,
        body.id_type,
        body.description,
        body.tags,
        body.team,
        body.creator_email,
    )
    before = state.segments.size_of(body.id)
    segment = state.segments.put(wanted, body.ids)
    state.segments.alter(body.id, is_enabled=body.is_enabled, is_archived=body.is_archived)
    if segment.type == "id_list":
        counts = (before, len(segment.members))
        state.audit.record(segment.id, "Reset ID List", body.updated_by, state.settings.clock(), counts)
    return answer(_described(segment), 201)


async def alter_segment(request: Request) -> Response:
    """Enable, disable, archive or describe a segment, or give it another type, as people do in the console."""
    changes = _given(await _decoded(request, AlterSegment))
    return answer(_described(state_of(request).segments.alter(request.path_params["segment_id"], **changes)))


async def delete_segment(request: Request) -> Response:
    """Delete a segment, as people do in the console."""
    return answer(_described(state_of(request).segments.delete(request.path_params["segment_id"])))


async def get_requests(request: Request) -> Response:
    """Requests on Statsig's paths, without keys."""
    return answer({"requests": state_of(request).journal.described()})


async def get_summary(request: Request) -> Response:
    """Counts of everything."""
    return answer(state_of(request).summary())


async def get_faults(request: Request) -> Response:
    """The plan of faults and which of them fired."""
    return answer(state_of(request).faults.described())


async def set_faults(request: Request) -> Response:
    """Put a plan of faults in force; `{}` ends all faults."""
    state = state_of(request)
    state.faults.follow(await _decoded(request, FaultPlan))
    return answer(state.faults.described())


async def set_limits(request: Request) -> Response:
    """Scale the rate limits, or switch them off."""
    options = await _decoded(request, LimitOptions)
    state_of(request).limits.configure(options)
    return answer(options)


async def adjust(request: Request) -> Response:
    """Change settings; the answer has all of them that can be changed."""
    state = state_of(request)
    state.adjust(**_given(await _decoded(request, Adjust)))
    return answer({name: getattr(state.settings, name) for name in Adjust.__struct_fields__})


async def reset(request: Request) -> Response:
    """Forget everything."""
    state_of(request).reset()
    return answer({"success": True})


def _count(request: Request, name: str) -> int | None:
    text = request.query_params.get(name)
    if text is not None and not (text.isascii() and text.isdigit()):
        raise RefusedError(400, f"Invalid request: {name} must be a number")
    return None if text is None else int(text)


async def _decoded(request: Request, form: type[Body]) -> Body:
    return decode_body(await body_of(request), msgspec.json.Decoder(form))


def _described(segment: Segment) -> dict[str, Any]:
    return {**segment.described(), "version": segment.version, "isUpdating": segment.busy, "ids": segment.ids}


routes = [
    Route("/sandbox/events", get_events, methods=["GET"]),
    Route("/sandbox/segments", get_segments, methods=["GET"]),
    Route("/sandbox/segments", put_segment, methods=["POST"]),
    Route("/sandbox/segments/{segment_id}", get_segment, methods=["GET"]),
    Route("/sandbox/segments/{segment_id}", alter_segment, methods=["PATCH"]),
    Route("/sandbox/segments/{segment_id}", delete_segment, methods=["DELETE"]),
    Route("/sandbox/requests", get_requests, methods=["GET"]),
    Route("/sandbox/summary", get_summary, methods=["GET"]),
    Route("/sandbox/faults", get_faults, methods=["GET"]),
    Route("/sandbox/faults", set_faults, methods=["POST"]),
    Route("/sandbox/limits", set_limits, methods=["POST"]),
    Route("/sandbox/settings", adjust, methods=["POST"]),
    Route("/sandbox/reset", reset, methods=["POST"]),
]
