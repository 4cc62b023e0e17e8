"""Statsig's HTTP API for events: `POST /v1/log_event`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sync.sandbox.contract import RefusedError, batch_of
from sync.sandbox.http import DROPPED, answer, api_key, body_of, entry_of, state_of


async def log_event(request: Request) -> Response:
    """Take a batch of events: all of them, or, where one breaks the contract, none (400)."""
    state = state_of(request)
    if not state.settings.keys.opens_events(api_key(request)):
        raise RefusedError(401, "Invalid server secret key. Events take a key that starts with 'secret-'.")
    batch = batch_of(await body_of(request, state.settings.max_events_body))
    entry = entry_of(request)
    entry.events = len(batch.events)
    state.events.receive(batch, state.intake(entry.number, drop_all=request.scope.get(DROPPED, False)))
    return answer({"success": True}, 202)


routes = [Route("/v1/log_event", log_event, methods=["POST"])]
