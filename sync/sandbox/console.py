"""What all calls of Statsig's Console API share: the checks before them, and pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from sync.sandbox.contract import CONSOLE_API_VERSION, RefusedError
from sync.sandbox.http import api_key, state_of
from sync.sandbox.limits import Page

Endpoint = Callable[[Request], Awaitable[Response]]
Item = TypeVar("Item")

DEFAULT_LIMIT = 10


def on(page: Page, endpoint: Endpoint) -> Endpoint:
    """Put the checks of every console call before it: key (401), version (400), rate limits of its page (429)."""

    async def admitted(request: Request) -> Response:
        state = state_of(request)
        key = api_key(request)
        if not state.settings.keys.opens_segments(key):
            # Statsig's message may repeat the key: a client has to keep it out of its own output.
            raise RefusedError(
                401, f"This endpoint only accepts an active CONSOLE key, but an invalid key was sent. Key: {key}"
            )
        if request.headers.get("statsig-api-version") != CONSOLE_API_VERSION:
            raise RefusedError(400, f"Invalid request: header STATSIG-API-VERSION must be {CONSOLE_API_VERSION}")
        state.limits.admit(state.settings.keys.project_of(key), page)
        return await endpoint(request)

    return admitted


def whole_number(request: Request, name: str, default: int, most: int | None = None, least: int = 1) -> int:
    """A parameter that is a whole number; 400 for another."""
    text = request.query_params.get(name, str(default))
    if not text.isascii() or not text.isdigit() or int(text) < least or (most is not None and int(text) > most):
        kind = "positive number" if least else "number"
        raise RefusedError(400, f"Invalid request: {name} must be a {kind}" + (f" up to {most}" if most else ""))
    return int(text)


def page_of(request: Request, items: Sequence[Item], limit: int) -> tuple[Sequence[Item], dict[str, Any]]:
    """The page that is asked for, the first of which is 1, and its `pagination`; `limit` is how many it holds."""
    page = whole_number(request, "page", 1)
    pagination = {
        "itemsPerPage": limit,
        "pageNumber": page,
        "nextPage": _link(request, page + 1, limit) if page * limit < len(items) else None,
        "previousPage": _link(request, page - 1, limit) if page > 1 else None,
        "totalItems": len(items),
    }
    return items[(page - 1) * limit : page * limit], pagination


def _link(request: Request, page: int, limit: int) -> str:
    others = [(name, value) for name, value in request.query_params.multi_items() if name not in ("page", "limit")]
    return f"{request.url.path}?{urlencode([*others, ('limit', limit), ('page', page)])}"
