"""How long the two commands of a schedule take where there is nothing to send.

Runs the demo, which has five syncs, into a temporary folder and a sandbox, once, and then ``plan`` and a ``run``
without changes, each in a process of its own. They look each segment up; whoever sends something fails.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measure import Measured, measured
from scripts.demo import ROOT, environment

GOAL_SECONDS = 1.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the figures; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10, metavar="NUMBER", help="processes of each (default: 10)")
    for name, costs in starts(parser.parse_args(arguments).times).items():
        _report(name, costs)
    return 0


def starts(times: int) -> Mapping[str, Sequence[Measured]]:
    """What ``plan`` and ``run`` cost where nothing is to be sent, as often as ``times``."""
    with tempfile.TemporaryDirectory() as folder, sandbox() as url:
        demo = Path(folder) / "demo"
        print("Building the demo's warehouse ...", flush=True)
        command = [sys.executable, str(ROOT / "scripts" / "demo.py"), "--folder", str(demo), "--url", url]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        sent = _sent(url)
        # A machine that keeps no bytecode compiles everything at each start, which is another thing to measure.
        variables = {**environment(demo, url), "PYTHONDONTWRITEBYTECODE": ""}
        names = ("plan", "run")
        commands = {name: [sys.executable, "-m", "sync", name] for name in names}
        # The first one warms up: it writes the bytecode.
        rounds = [{name: measured(commands[name], ROOT, variables) for name in names} for _ in range(times + 1)][1:]
        if _sent(url) != sent:
            raise SystemExit("something was sent")
    return {name: [costs[name] for costs in rounds] for name in names}


@contextmanager
def sandbox() -> Iterator[str]:
    """The address of a sandbox in a process of its own, whose memory is not this one's."""
    command = [sys.executable, "-c", "from sync.sandbox import main; main()", "--port", "0", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


def _sent(url: str) -> int:
    """Requests that change something."""
    with urllib.request.urlopen(f"{url}/sandbox/requests") as answer:
        return len([one for one in json.load(answer)["requests"] if one["method"] != "GET"])


def _report(name: str, costs: Sequence[Measured]) -> None:
    seconds = [one.seconds for one in costs]
    print(
        f"statsig-sync {name}, nothing to send: median {statistics.median(seconds):.2f} s, min {min(seconds):.2f} s, "
        f"max {max(seconds):.2f} s of {len(costs)} (goal: {GOAL_SECONDS} s); "
        f"processor: median {statistics.median(one.cpu_seconds for one in costs):.2f} s; "
        f"peak memory {max(one.peak_bytes for one in costs) / 2**20:.0f} MiB"
    )


if __name__ == "__main__":
    sys.exit(main())
