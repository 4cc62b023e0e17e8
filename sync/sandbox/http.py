"""What the routes share: the state behind a request, its body, its key, and JSON answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from sync.sandbox.contract import RefusedError, decompress
from sync.sandbox.journal import Entry
from sync.sandbox.state import SandboxState

ENTRY = "sandbox.entry"
DROPPED = "sandbox.dropped"
# Far above what any legal body of the Console API holds: 100,000 ids.
MAX_BODY = 64 * 1024 * 1024


def state_of(request: Request) -> SandboxState:
    """The sandbox that this request came to."""
    state: SandboxState = request.app.state.sandbox
    return state


def entry_of(request: Request) -> Entry:
    """The journal's entry of a request on one of Statsig's paths."""
    entry: Entry = request.scope[ENTRY]
    return entry


def api_key(request: Request) -> str:
    """The key that came with the request, or an empty string."""
    return request.headers.get("statsig-api-key", "")


async def body_of(request: Request, max_bytes: int = MAX_BODY) -> bytes:
    """The body, decompressed: 400 where it is broken, 413 where it is larger than `max_bytes`."""
    return decompress(await request.body(), request.headers.get("content-encoding", ""), max_bytes)


def answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(msgspec.json.encode(content), status, headers, media_type="application/json")


async def refused(_request: Request, error: Exception) -> Response:
    """Statsig's form of an error; also for a path (404) or a method (405) that is not known."""
    if isinstance(error, HTTPException):
        error = RefusedError(error.status_code, error.detail, error.headers)
    # The application registers this function for these two exceptions only.
    refusal = cast("RefusedError", error)
    return answer({"status": refusal.status, "message": refusal.message}, refusal.status, refusal.headers)
