"""Running the application under uvicorn: in this thread until a signal comes, or in a thread of its own."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from sync.sandbox.app import create_app
from sync.sandbox.settings import Settings
from sync.sandbox.state import SandboxState
from sync.sandbox.transport import ConnectionInScope


@dataclass(frozen=True)
class RunningSandbox:
    """A sandbox that takes requests: `url` has no slash at its end."""

    url: str
    state: SandboxState


class _Server(uvicorn.Server):
    """uvicorn's server, except that a signal that asks it to stop ends it quietly and is not raised again."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 means any free one. From here on connections are taken and wait for the server."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's algorithm off only where the protocol is named; with it, each answer takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(512)
    except OSError:
        listener.close()
        raise
    return listener


def url_of(listener: socket.socket) -> str:
    """The base URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def build_server(state: SandboxState) -> uvicorn.Server:
    """A server over a state. It stops within a second even while requests are under way."""
    config = uvicorn.Config(
        create_app(state),
        http=ConnectionInScope,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        # Longer than any client of the tests pauses, so that no request meets a connection that is just being closed.
        timeout_keep_alive=120,
        timeout_graceful_shutdown=1,
    )
    return _Server(config)


@contextmanager
def serve_in_thread(settings: Settings | None = None) -> Iterator[RunningSandbox]:
    """Serve from a thread on a free port of the loopback interface until the block is left."""
    state = SandboxState(settings or Settings())
    server = build_server(state)
    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), name="statsig-sandbox", daemon=True)
        thread.start()
        try:
            yield RunningSandbox(url_of(listener), state)
        finally:
            server.should_exit = True
            thread.join()
