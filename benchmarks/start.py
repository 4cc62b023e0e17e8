"""How long the two commands of a schedule take where there is nothing to send.

Runs the demo into a temporary folder and a sandbox, once, and then ``plan`` and a ``run`` without changes, each in a
process of its own. They look each segment up; whoever sends something fails.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.demo import ROOT, environment
from sync import sandbox
from sync.sandbox.server import RunningSandbox

GOAL_SECONDS = 1.5
_BYTES_OF_MAXRSS = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Measured:
    """One process: seconds on the wall and of the processor, and the most memory that it held, in bytes."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the figures; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10, metavar="NUMBER", help="processes of each (default: 10)")
    times = parser.parse_args(arguments).times
    with tempfile.TemporaryDirectory() as folder:
        demo = Path(folder) / "demo"
        print("Building the demo's warehouse ...", flush=True)
        with sandbox.running() as server:
            command = [sys.executable, ROOT / "scripts" / "demo.py", "--folder", demo, "--url", server.url]
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            sent = _sent(server)
            # A machine that keeps no bytecode compiles everything at each start, which is another thing to measure.
            variables = {**environment(demo, server.url), "PYTHONDONTWRITEBYTECODE": ""}
            for name in ("plan", "run"):
                # The first one warms up: it writes the bytecode.
                _measured(name, variables)
                _report(name, [_measured(name, variables) for _ in range(times)])
            if _sent(server) != sent:
                raise SystemExit("something was sent")
    return 0


def _sent(server: RunningSandbox) -> int:
    """Requests that change something."""
    return len([one for one in server.state.journal.entries if one.method != "GET"])


def _measured(name: str, variables: Mapping[str, str]) -> Measured:
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "sync", name],
        cwd=ROOT,
        env=dict(variables),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process.stderr:
        said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"statsig-sync {name} ended with {process.returncode}\n{said}")
    return Measured(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * _BYTES_OF_MAXRSS)


def _report(name: str, measured: Sequence[Measured]) -> None:
    seconds = [one.seconds for one in measured]
    print(
        f"statsig-sync {name}, nothing to send: median {statistics.median(seconds):.2f} s, min {min(seconds):.2f} s, "
        f"max {max(seconds):.2f} s of {len(measured)} (goal: {GOAL_SECONDS} s); "
        f"processor: median {statistics.median(one.cpu_seconds for one in measured):.2f} s; "
        f"peak memory {max(one.peak_bytes for one in measured) / 2**20:.0f} MiB"
    )


if __name__ == "__main__":
    sys.exit(main())
