"""Access to the connection under a request, which ASGI does not give: for closing it in unusual ways."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

from starlette.types import Receive, Scope
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

_CONNECTION = "sandbox.connection"


class ConnectionInScope(H11Protocol):
    """uvicorn's HTTP/1.1 protocol, with itself in the `state` of each request's scope."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, {**app_state, _CONNECTION: self}, _loop)


async def reset_connection(scope: Scope, receive: Receive) -> None:
    """Close the request's connection at once: the client sees a connection reset (TCP RST)."""
    transport = _transport(scope)
    # Lingering for 0 seconds makes the kernel answer with RST rather than with an orderly FIN.
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    await _disconnected(receive)


async def end_connection(scope: Scope, receive: Receive) -> None:
    """Close the request's connection after what was sent so far, complete or not."""
    _transport(scope).close()
    await _disconnected(receive)


def _transport(scope: Scope) -> asyncio.Transport:
    connection: ConnectionInScope = scope["state"][_CONNECTION]
    return connection.transport


async def _disconnected(receive: Receive) -> None:
    """Read on until the server has noticed: an application that returns earlier is taken for a faulty one."""
    while (await receive())["type"] != "http.disconnect":
        pass
