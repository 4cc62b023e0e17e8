"""Statsig's Console API for segments: `/console/v1/segments`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sync.sandbox.console import DEFAULT_LIMIT, on, page_of, whole_number
from sync.sandbox.contract import ARCHIVED, LIST_IS_BUSY, NOT_AN_ID_LIST, RefusedError, ids_of, segment_to_create
from sync.sandbox.http import answer, api_key, body_of, entry_of, state_of
from sync.sandbox.limits import Page
from sync.sandbox.segments import Segment

# The most ids that a reset writes in one step.
_ATOMIC_RESET = 1_000


async def get_segment(request: Request) -> Response:
    """Describe a segment."""
    return answer({"message": "Segment read successfully.", "data": _segment(request).described()})


async def create_segment(request: Request) -> Response:
    """Create a segment: 201, or 400 where its name or id is not allowed or taken."""
    segment = state_of(request).segments.create(segment_to_create(await body_of(request)))
    return answer({"message": "Segment created successfully.", "data": segment.described()}, 201)


async def archive_segment(request: Request) -> Response:
    """Archive a segment."""
    segment = state_of(request).segments.alter(request.path_params["segment_id"], is_archived=True)
    return answer({"message": "Segment archived successfully.", "data": segment.described()})


async def add_ids(request: Request) -> Response:
    """Add ids to an id list."""
    state = state_of(request)
    segment, ids = await _change(request)
    async with _updating(request, segment, "Added IDs to ID List"):
        await state.processing.wait()
        state.segments.check_room(ids, segment)
        segment.add(ids)
    return answer({"message": "IDs successfully added to Segment ID List"})


async def remove_ids(request: Request) -> Response:
    """Remove ids from an id list."""
    segment, ids = await _change(request)
    async with _updating(request, segment, "Removed IDs from ID List"):
        await state_of(request).processing.wait()
        segment.remove(ids)
    return answer({"message": "IDs successfully removed from Segment ID List"})


async def reset_ids(request: Request) -> Response:
    """Replace all ids of an id list, in steps of 1,000 between which the list can be read half filled."""
    state = state_of(request)
    segment, ids = await _change(request, may_be_empty=True)
    async with _updating(request, segment, "Reset ID List"):
        state.segments.check_room(ids, segment, replacing=True)
        await state.processing.wait()
        segment.start_over(state.segments.now())
        segment.add(ids[:_ATOMIC_RESET])
        for start in range(_ATOMIC_RESET, len(ids), _ATOMIC_RESET):
            await state.processing.wait()
            segment.add(ids[start : start + _ATOMIC_RESET])
    return answer({"message": "Segment Reset reset successfully."})


async def get_ids(request: Request) -> Response:
    """Read one page of an id list; pages are numbered from 1."""
    segment = _segment(request)
    if segment.type != "id_list":
        raise RefusedError(400, "Segment must be of type 'id_list' to be read on this endpoint")
    settings = state_of(request).settings
    refused_above = settings.max_page if settings.large_pages == "refuse" else None
    limit = min(whole_number(request, "limit", DEFAULT_LIMIT, refused_above), settings.max_page)
    ids, pagination = page_of(request, segment.ids, limit)
    if not settings.total_items:
        del pagination["totalItems"]
    data = {"name": segment.name, "count": len(segment.ids), "ids": ids}
    return answer({"message": "Segments listed successfully.", "data": data, "pagination": pagination})


async def get_id_list_metadata(request: Request) -> Response:
    """Say which version an id list has and whether an update is under way."""
    segment = _segment(request)
    data = {"currentVersion": segment.version, "isUpdating": segment.busy}
    return answer({"message": "ID List metadata read successfully", "data": data})


def _segment(request: Request) -> Segment:
    return state_of(request).segments.get(request.path_params["segment_id"])


async def _change(request: Request, **rules: Any) -> tuple[Segment, list[str]]:
    segment = _segment(request)
    if segment.type != "id_list":
        raise RefusedError(400, NOT_AN_ID_LIST)
    if segment.is_archived:
        raise RefusedError(400, ARCHIVED)
    ids = ids_of(await body_of(request), state_of(request).settings.max_ids, **rules)
    entry_of(request).ids = len(ids)
    return segment, ids


@asynccontextmanager
async def _updating(request: Request, segment: Segment, change_log: str) -> AsyncIterator[None]:
    """Keep every other update of the list away (409) until this one is done, and write it down."""
    if segment.busy:
        raise RefusedError(409, LIST_IS_BUSY)
    state, before = state_of(request), len(segment.members)
    segment.busy = True
    try:
        yield
    finally:
        segment.busy = False
    updated_by = state.settings.keys.name_of(api_key(request))
    state.audit.record(segment.id, change_log, updated_by, state.settings.clock(), (before, len(segment.members)))


_SEGMENTS = "/console/v1/segments"
_SEGMENT = _SEGMENTS + "/{segment_id}"
_ID_LIST = _SEGMENT + "/id_list"

routes = [
    Route(_SEGMENTS, on(Page.GENERAL, create_segment), methods=["POST"]),
    Route(_SEGMENT, on(Page.READ, get_segment), methods=["GET"]),
    Route(_SEGMENT + "/archive", on(Page.GENERAL, archive_segment), methods=["PUT"]),
    Route(_ID_LIST, on(Page.ID_LIST_READ, get_ids), methods=["GET"]),
    Route(_ID_LIST, on(Page.ID_LIST, add_ids), methods=["PATCH"]),
    Route(_ID_LIST, on(Page.ID_LIST, remove_ids), methods=["DELETE"]),
    Route(_ID_LIST + "/reset", on(Page.GENERAL, reset_ids), methods=["POST"]),
    Route(_SEGMENT + "/idlist_metadata", on(Page.READ, get_id_list_metadata), methods=["GET"]),
]
