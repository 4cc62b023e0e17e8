"""Statsig's Console API about what has arrived: single events in logs, and counts of days in metrics."""

from __future__ import annotations

import base64
import binascii

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sync.sandbox.console import DEFAULT_LIMIT, on, page_of, whole_number
from sync.sandbox.contract import RefusedError
from sync.sandbox.http import answer, state_of
from sync.sandbox.limits import Page
from sync.sandbox.log_query import Query, parse_query
from sync.sandbox.logs import Search
from sync.sandbox.metrics import EVENT_COUNT
from sync.sandbox.project_api import day_in

_SOURCES = ("logs", "events", "spans")
_HOUR_MS = 3_600_000
_DEFAULT_ROWS = 100
_MAX_ROWS = 1_000
_DEEPEST_ROW = 100_000


class _Cursor(msgspec.Struct):
    index: int


_cursor = msgspec.json.Decoder(_Cursor)


async def get_logs(request: Request) -> Response:
    """Events, newest first: a page from the cursor `after` on. Logs and spans, which no one sends here, are none."""
    state, params = state_of(request), request.query_params
    source = params.get("source", "logs")
    if source not in _SOURCES:
        raise RefusedError(400, f"Invalid request: source must be one of {', '.join(_SOURCES)}")
    limit = whole_number(request, "limit", _DEFAULT_ROWS, _MAX_ROWS)
    first = _index_after(params.get("after"))
    columns = [name.strip() for name in params.get("columns", "").split(",") if name.strip()]
    search = _search(request)
    found = search.over(state.events.arrivals(), state.visibility()) if source == "events" else []
    after = first + limit
    has_more = after < len(found)
    return answer(
        {
            "message": "Logs listed successfully.",
            "data": [entry.described(columns) for entry in found[first:after]],
            **({"columns": columns} if columns else {}),
            "pagination": {"next_cursor": _cursor_at(after) if has_more else None, "has_more": has_more},
        }
    )


async def get_metric_values(request: Request) -> Response:
    """How many events of a name there were on a day (Pacific time), in all and for each kind of id.

    The answer is documented as a list with nothing around it, so it does not say how many pages there are.
    """
    state, params = state_of(request), request.query_params
    day = day_in(request, "date", None)
    received_before = state.settings.clock() - state.settings.metrics_lag_seconds
    is_known = params.get("metricType", EVENT_COUNT) == EVENT_COUNT
    found = state.events.days.values(day, params.get("metricName"), received_before) if is_known else []
    page, _ = page_of(request, found, whole_number(request, "limit", DEFAULT_LIMIT))
    return answer(page)


def _search(request: Request) -> Search:
    text = request.query_params.get("query")
    end_ts = whole_number(request, "end_ts", round(state_of(request).settings.clock() * 1000), least=0)
    start_ts = whole_number(request, "start_ts", max(0, end_ts - _HOUR_MS), least=0)
    if start_ts > end_ts:
        raise RefusedError(400, "Invalid request: start_ts must not be after end_ts")
    return Search(Query() if text is None else parse_query(text), start_ts, end_ts)


def _index_after(cursor: str | None) -> int:
    """The place in all rows that a cursor means; 400 for one that is not from here or is too deep."""
    if cursor is None:
        return 0
    try:
        index = _cursor.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))).index
    except (binascii.Error, ValueError):
        raise RefusedError(400, "Invalid request: after is not a cursor") from None
    if not 0 <= index <= _DEEPEST_ROW:
        raise RefusedError(
            400, f"Invalid request: a cursor must not be deeper than {_DEEPEST_ROW} rows; narrow the time window"
        )
    return index


def _cursor_at(index: int) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(_Cursor(index))).decode().rstrip("=")


routes = [
    Route("/console/v1/logs", on(Page.READ, get_logs), methods=["GET"]),
    Route("/console/v1/metrics/values", on(Page.READ, get_metric_values), methods=["GET"]),
]
