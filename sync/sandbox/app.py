"""The application: all routes, behind what writes every request down and injects faults."""

from __future__ import annotations

import logging

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sync.sandbox import admin_api, arrival_api, console_api, events_api, project_api, sdk_api
from sync.sandbox.contract import RefusedError
from sync.sandbox.faulty_answers import Exchange, answer_with
from sync.sandbox.http import ENTRY, refused
from sync.sandbox.journal import Entry
from sync.sandbox.state import SandboxState

_logger = logging.getLogger("statsig_sandbox")


def create_app(state: SandboxState) -> Starlette:
    """The ASGI application over a state. Resets and cut answers need `ConnectionInScope` below it."""
    app = Starlette(
        routes=[
            route
            for api in (events_api, console_api, project_api, arrival_api, sdk_api, admin_api)
            for route in api.routes
        ],
        middleware=[Middleware(WrittenDown, state=state)],
        exception_handlers={RefusedError: refused, HTTPException: refused},
    )
    app.state.sandbox = state
    return app


class WrittenDown:
    """Writes down what comes to Statsig's paths, and lets faults happen there; `/sandbox` is left alone."""

    def __init__(self, app: ASGIApp, state: SandboxState):
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"].startswith("/sandbox"):
            await self._app(scope, receive, send)
            return
        entry = scope[ENTRY] = self._open(scope)
        exchange = Exchange(
            _marking(entry, self._app), scope, receive, _noting(entry, send), self._state.settings.clock
        )
        fault = self._state.faults.choose(entry.number, entry.method, scope["path"], entry.path)
        if fault is None:
            await exchange.app(scope, receive, exchange.send)
        else:
            entry.fault = fault.kind
            await answer_with(fault, exchange)
        _logger.info("%s %s %s", entry.method, entry.path, _outcome(entry))

    def _open(self, scope: Scope) -> Entry:
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        query = scope.get("query_string", b"").decode("latin-1")
        return self._state.journal.open(scope["method"], scope["path"], query, headers)


def _outcome(entry: Entry) -> str:
    status = str(entry.status or "no answer")
    return f"{status} (fault: {entry.fault})" if entry.fault else status


def _marking(entry: Entry, app: ASGIApp) -> ASGIApp:
    async def marked(scope: Scope, receive: Receive, send: Send) -> None:
        entry.applied = True
        await app(scope, receive, send)

    return marked


def _noting(entry: Entry, send: Send) -> Send:
    async def noted(message: Message) -> None:
        if message["type"] == "http.response.start":
            entry.status = message["status"]
        await send(message)

    return noted
