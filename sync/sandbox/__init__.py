"""A local emulator of Statsig over HTTP, for demos, tests and continuous integration.

It keeps Statsig's contract (paths, keys, headers, limits, statuses and messages) without an account and without a
network. Nothing here imports the rest of `sync`, and nothing there imports this: both follow Statsig's documentation
independently, so a misreading on one side shows on the other.

Starlette and uvicorn are imported only when a server is started (`pip install 'statsig-sync[sandbox]'`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sync.sandbox.settings import Keys, Settings

if TYPE_CHECKING:
    from sync.sandbox.server import RunningSandbox

__all__ = ["Keys", "Settings", "main", "running"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the `statsig-sandbox` command and return its exit code."""
    from sync.sandbox.command import main as run_command  # noqa: PLC0415

    return run_command(arguments)


@contextmanager
def running(settings: Settings | None = None) -> Iterator[RunningSandbox]:
    """Run a sandbox in a thread of this process, on a free port of the loopback interface.

    What is yielded has `url` (one base URL for the events API, the Console API and what SDKs fetch) and `state`. Read
    `state` when no request is under way: it is written by the server's thread.
    """
    from sync.sandbox.server import serve_in_thread  # noqa: PLC0415

    with serve_in_thread(settings) as sandbox:
        yield sandbox
