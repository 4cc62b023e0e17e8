"""Statsig's Console API about a project: what it has, and who changed what."""

from __future__ import annotations

import datetime as dt

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sync.sandbox.audit import ID_LIST_UPDATE
from sync.sandbox.console import DEFAULT_LIMIT, on, page_of, whole_number
from sync.sandbox.contract import RefusedError
from sync.sandbox.http import answer, state_of
from sync.sandbox.limits import Page
from sync.sandbox.settings import environments_of

_UNIT_ID_TYPES_LIMIT = 100
# How far audit logs go back where no first day is given, in days.
_AUDIT_DAYS = 90


async def get_environments(request: Request) -> Response:
    """The environments of the project."""
    found = [
        {
            "name": name,
            "id": f"environment_{number}",
            "isProduction": name.lower() == "production",
            "requiresReview": False,
            "requiresReleasePipeline": False,
        }
        for number, name in enumerate(environments_of(state_of(request).settings), 1)
    ]
    return answer({"message": "Environments read successfully.", "data": {"environments": found}})


async def get_unit_id_types(request: Request) -> Response:
    """The kinds of id of the project: those that it was given, and those of its segments."""
    state = state_of(request)
    names = dict.fromkeys([*state.settings.unit_id_types, *(segment.id_type for segment in state.segments)])
    found = [{"name": name, "description": ""} for name in names]
    page, pagination = page_of(request, found, whole_number(request, "limit", _UNIT_ID_TYPES_LIMIT))
    return answer({"message": "Unit ID Types listed successfully.", "data": page, "pagination": pagination})


async def get_reviews(request: Request) -> Response:
    """Whether changes need a review."""
    is_required = state_of(request).settings.reviews_required
    data = {
        "is_config_review_required": is_required,
        "is_metric_review_required": False,
        "is_metric_review_required_on_verified_only": False,
    }
    return answer({"message": "Settings read successfully.", "data": data})


async def get_audit_logs(request: Request) -> Response:
    """Changes of id lists, newest first, of the days from `startDate` to `endDate`."""
    state, params = state_of(request), request.query_params
    today = dt.datetime.fromtimestamp(state.settings.clock(), dt.timezone.utc).date()
    last = day_in(request, "endDate", today)
    first = day_in(request, "startDate", last - dt.timedelta(days=_AUDIT_DAYS))
    found = state.audit.between(first, last) if params.get("actionType", ID_LIST_UPDATE) == ID_LIST_UPDATE else []
    page, pagination = page_of(request, found, whole_number(request, "limit", DEFAULT_LIMIT))
    data = [change.described() for change in page]
    return answer({"message": "Audit logs listed successfully.", "data": data, "pagination": pagination})


def day_in(request: Request, name: str, default: dt.date | None) -> dt.date:
    """A parameter that is a day; 400 where it is none, or is left out and has no default."""
    text = request.query_params.get(name)
    if text is None and default is not None:
        return default
    try:
        return dt.datetime.strptime(text or "", "%Y-%m-%d").replace(tzinfo=dt.timezone.utc).date()
    except ValueError:
        raise RefusedError(400, f"Invalid request: {name} must be a date in the form of YYYY-MM-DD") from None


_CONSOLE = "/console/v1"

routes = [
    Route(_CONSOLE + "/environments", on(Page.READ, get_environments), methods=["GET"]),
    Route(_CONSOLE + "/unit_id_types", on(Page.READ, get_unit_id_types), methods=["GET"]),
    Route(_CONSOLE + "/settings/reviews", on(Page.READ, get_reviews), methods=["GET"]),
    Route(_CONSOLE + "/audit_logs", on(Page.READ, get_audit_logs), methods=["GET"]),
]
