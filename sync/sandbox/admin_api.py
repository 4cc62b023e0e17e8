"""The sandbox's own calls, below `/sandbox`: what arrived, how to prepare it, and which faults to inject."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sync.sandbox.contract import Body, CreateSegment, RefusedError, decode_body
from sync.sandbox.faults import FaultPlan
from sync.sandbox.http import answer, body_of, state_of
from sync.sandbox.limits import LimitOptions
from sync.sandbox.segments import Segment
from sync.sandbox.settings import KeepMode


class PutSegment(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Body of `POST /sandbox/segments`: a segment of any type, with its members."""

    id: Annotated[str, msgspec.Meta(min_length=1)]
    name: str | None = None
    type: Literal["id_list", "rule_based", "analysis_list", "user_store_id_list"] = "id_list"
    id_type: str = "userID"
    ids: list[str] = []


class Adjust(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /sandbox/settings`; what is left out stays. `processing_seconds` is for updates of an id list."""

    processing_seconds: Annotated[float, msgspec.Meta(ge=0)] | None = None
    keep: KeepMode | None = None


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
    body = await _decoded(request, PutSegment)
    wanted = CreateSegment(name=body.name or body.id, type=body.type, id=body.id, id_type=body.id_type)
    return answer(_described(state_of(request).segments.put(wanted, body.ids)), 201)


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
    """Change how long updates take and how much is kept of events."""
    state = state_of(request)
    body = await _decoded(request, Adjust)
    if body.processing_seconds is not None:
        state.processing.set(body.processing_seconds)
    if body.keep is not None:
        state.keep = state.events.keep = body.keep
    return answer({"processing_seconds": state.processing.seconds, "keep": state.keep})


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
    Route("/sandbox/requests", get_requests, methods=["GET"]),
    Route("/sandbox/summary", get_summary, methods=["GET"]),
    Route("/sandbox/faults", get_faults, methods=["GET"]),
    Route("/sandbox/faults", set_faults, methods=["POST"]),
    Route("/sandbox/limits", set_limits, methods=["POST"]),
    Route("/sandbox/settings", adjust, methods=["POST"]),
    Route("/sandbox/reset", reset, methods=["POST"]),
]
