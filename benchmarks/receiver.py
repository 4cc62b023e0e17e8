"""The server that every contender sends to: ``server.c``, or one in Python where there is no compiler."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Received:
    """What a server received since its last reset.

    ``bytes`` are those of the bodies as they came and ``body_bytes`` those after decompression, ``events`` all that
    were in them, ``distinct`` how many different ones, ``claimed`` how many the headers speak of, ``unreadable`` the
    bodies in which nothing could be counted; ``cpu_seconds`` is what the server has used since it was started.
    """

    requests: int
    bytes: int
    body_bytes: int
    events: int
    distinct: int
    claimed: int
    unreadable: int
    cpu_seconds: float


@dataclass(frozen=True)
class Receiver:
    """A server that runs."""

    url: str

    def received(self) -> Received:
        """What it has received since the last reset."""
        return Received(**self._ask("GET", "counts"))

    def reset(self) -> None:
        """Lets it count from nothing."""
        self._ask("POST", "reset")

    def _ask(self, method: str, path: str) -> Any:
        request = urllib.request.Request(f"{self.url}/{path}", method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


def compiled(folder: Path) -> Path | None:
    """Compiles the server into a folder; None where there is no compiler or no zlib."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    program = folder / "server"
    command = [compiler, "-O2", "-pthread", "-o", program, _HERE / "server.c", "-lz"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return program if done.returncode == 0 else None


@contextmanager
def receiving(program: Path | None, events: int, latency_ms: int = 0) -> Iterator[Receiver]:
    """Runs a server for as long as the block lasts.

    ``program`` is the compiled one, or None for that in Python; ``events`` is how many different ones it can tell
    apart, and ``latency_ms`` how long it waits before each answer.
    """
    command = [program] if program else [sys.executable, _HERE / "slow_server.py"]
    process = subprocess.Popen(
        [*command, str(events), str(latency_ms)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    # The server ends with its standard input, also where this process dies.
    with process, process.stdin, process.stdout:
        port = int(process.stdout.readline())
        yield Receiver(f"http://127.0.0.1:{port}")
