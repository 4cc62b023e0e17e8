"""Statsig's Console API for segments: `/console/v1/segments`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sync.sandbox.contract import (
    CONSOLE_API_VERSION,
    LIST_IS_BUSY,
    NOT_AN_ID_LIST,
    RefusedError,
    ids_of,
    segment_to_create,
)
from sync.sandbox.http import answer, api_key, body_of, entry_of, state_of
from sync.sandbox.limits import Page
from sync.sandbox.segments import Segment

# The largest page of ids, and the most ids that a reset writes in one step.
_MAX_PAGE = 100_000
_ATOMIC_RESET = 1_000

Endpoint = Callable[[Request], Awaitable[Response]]


def _on(page: Page, endpoint: Endpoint) -> Endpoint:
    """Put the checks of every console call before it: key (401), version (400), rate limits of its page (429)."""

    async def admitted(request: Request) -> Response:
        state = state_of(request)
        key = api_key(request)
        if not state.settings.keys.opens_segments(key):
            # Statsig's message may repeat the key: a client has to keep it out of its own output.
            raise RefusedError(401, f"'{key}' is not an active Console API key.")
        if request.headers.get("statsig-api-version") != CONSOLE_API_VERSION:
            raise RefusedError(400, f"Invalid request: header STATSIG-API-VERSION must be {CONSOLE_API_VERSION}")
        state.limits.admit(key, page)
        return await endpoint(request)

    return admitted


async def get_segment(request: Request) -> Response:
    """Describe a segment."""
    return answer({"message": "Segment read successfully.", "data": _segment(request).described()})


async def create_segment(request: Request) -> Response:
    """Create a segment: 201, or 400 where its name or id is not allowed or taken."""
    segment = state_of(request).segments.create(segment_to_create(await body_of(request)))
    return answer({"message": "Segment created successfully.", "data": segment.described()}, 201)


async def add_ids(request: Request) -> Response:
    """Add ids to an id list."""
    state = state_of(request)
    segment, ids = await _change(request)
    async with _updating(segment):
        await state.processing.wait()
        state.segments.check_room(ids, segment)
        segment.add(ids)
    return answer({"message": "Segment IDs added successfully."})


async def remove_ids(request: Request) -> Response:
    """Remove ids from an id list."""
    segment, ids = await _change(request)
    async with _updating(segment):
        await state_of(request).processing.wait()
        segment.remove(ids)
    return answer({"message": "Segment IDs removed successfully."})


async def reset_ids(request: Request) -> Response:
    """Replace all ids of an id list, in steps of 1,000 between which the list can be read half filled."""
    state = state_of(request)
    segment, ids = await _change(request, may_be_empty=True)
    async with _updating(segment):
        state.segments.check_room(ids, segment, replacing=True)
        await state.processing.wait()
        segment.start_over(state.segments.now())
        segment.add(ids[:_ATOMIC_RESET])
        for start in range(_ATOMIC_RESET, len(ids), _ATOMIC_RESET):
            await state.processing.wait()
            segment.add(ids[start : start + _ATOMIC_RESET])
    return answer({"message": "Segment ID list reset successfully."})


async def get_ids(request: Request) -> Response:
    """Read one page of an id list; pages are numbered from 1."""
    segment = _segment(request)
    if segment.type != "id_list":
        raise RefusedError(400, "Segment must be of type 'id_list' to be read on this endpoint")
    limit = _positive(request, "limit", 100, _MAX_PAGE)
    page = _positive(request, "page", 1, None)
    ids = segment.ids[(page - 1) * limit : page * limit]
    pagination = {
        "itemsPerPage": limit,
        "pageNumber": page,
        "nextPage": _page_link(request, page + 1, limit) if page * limit < len(segment.ids) else None,
        "previousPage": _page_link(request, page - 1, limit) if page > 1 else None,
        "totalItems": len(segment.ids),
    }
    data = {"name": segment.name, "count": len(segment.ids), "ids": ids}
    return answer({"message": "Segment IDs read successfully.", "data": data, "pagination": pagination})


async def get_id_list_metadata(request: Request) -> Response:
    """Say which version an id list has and whether an update is under way."""
    segment = _segment(request)
    return answer({"data": {"currentVersion": segment.version, "isUpdating": segment.busy}})


def _segment(request: Request) -> Segment:
    return state_of(request).segments.get(request.path_params["segment_id"])


async def _change(request: Request, **rules: Any) -> tuple[Segment, list[str]]:
    segment = _segment(request)
    if segment.type != "id_list":
        raise RefusedError(400, NOT_AN_ID_LIST)
    ids = ids_of(await body_of(request), state_of(request).settings.max_ids, **rules)
    entry_of(request).ids = len(ids)
    return segment, ids


@asynccontextmanager
async def _updating(segment: Segment) -> AsyncIterator[None]:
    """Keep every other update of the list away (409) until this one is done."""
    if segment.busy:
        raise RefusedError(409, LIST_IS_BUSY)
    segment.busy = True
    try:
        yield
    finally:
        segment.busy = False


def _positive(request: Request, name: str, default: int, most: int | None) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isascii() or not text.isdigit() or int(text) < 1 or (most is not None and int(text) > most):
        raise RefusedError(
            400, f"Invalid request: {name} must be a positive number" + (f" up to {most}" if most else "")
        )
    return int(text)


def _page_link(request: Request, page: int, limit: int) -> str:
    return f"{request.url.path}?limit={limit}&page={page}"


_SEGMENTS = "/console/v1/segments"
_SEGMENT = _SEGMENTS + "/{segment_id}"
_ID_LIST = _SEGMENT + "/id_list"

routes = [
    Route(_SEGMENTS, _on(Page.GENERAL, create_segment), methods=["POST"]),
    Route(_SEGMENT, _on(Page.READ, get_segment), methods=["GET"]),
    Route(_ID_LIST, _on(Page.READ, get_ids), methods=["GET"]),
    Route(_ID_LIST, _on(Page.ID_LIST, add_ids), methods=["PATCH"]),
    Route(_ID_LIST, _on(Page.ID_LIST, remove_ids), methods=["DELETE"]),
    Route(_ID_LIST + "/reset", _on(Page.GENERAL, reset_ids), methods=["POST"]),
    Route(_SEGMENT + "/idlist_metadata", _on(Page.READ, get_id_list_metadata), methods=["GET"]),
]
