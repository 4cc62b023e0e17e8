"""How long it takes to find the ids in which a model and its segment differ, here and in the warehouse.

Makes a DuckDB file with a model and a membership of each size, of which one in a hundred is new in the one and one in
a hundred has left it. Then compares them with Polars and by the query, as a plan does, beside a plain scan of both
columns of ids: each in a process of its own, in turn.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from scripts.demo import ROOT
from sync.core import comparison
from sync.core.columns import Column
from sync.edges.clock import SystemClock
from sync.edges.warehouse import Session, open_warehouse

_WAYS = ("scan", "polars", "warehouse")
_FILL = "fill"
_MEMBERSHIP = "select id, status, doubt from membership where project = 'statsig' and segment_id = 'people'"
_BYTES_OF_MAXRSS = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Measured:
    """One comparison: seconds on the wall and of the processor, and the most memory of the process, in bytes."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the figures; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", type=int, nargs="*", metavar="SIZE", help="ids in the model and in the segment")
    parser.add_argument("--times", type=int, default=3, metavar="NUMBER", help="processes of each (default: 3)")
    # What a process of its own does.
    parser.add_argument("--way", choices=(_FILL, *_WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.way == _FILL:
        _fill(options.file, *options.sizes)
        return 0
    if options.way:
        print(_compare(options.way, options.file, *options.sizes))
        return 0
    for size in options.sizes or (10_000, 100_000, 1_000_000, 10_000_000):
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder) / "warehouse.duckdb")
            # Not here: a process starts with the peak of the one that starts it.
            _child(_FILL, file, size)
            found: dict[str, list[Measured]] = {way: [] for way in _WAYS}
            for _ in range(options.times):
                for way in _WAYS:
                    found[way].append(_measured(way, file, size))
        _report(size, found)
    return 0


def _fill(file: str, size: int) -> None:
    """Ids are 32 characters in no order, as people's ids are."""
    with duckdb.connect(file) as connection:
        ids = "select md5(cast(range as varchar)) as id from range({}, {}) order by hash(range + {})"
        new = size // 100
        connection.execute(f"create table audience as select id as user_id from ({ids.format(new, size + new, 1)})")
        connection.execute(
            "create table membership as select 'statsig' as project, 'people' as segment_id, id, 'in' as status,"
            f" cast(null as varchar) as doubt from ({ids.format(0, size, 2)})"
        )


def _compare(way: str, file: str, size: int) -> str:
    """Compares in this process; returns the seconds that it took, and those of the processor, as text."""
    warehouse = open_warehouse("profiles.yml", {"type": "duckdb", "path": file}, SystemClock())
    with warehouse.reading() as session:
        started, processor = time.monotonic(), time.process_time()
        differ = _differing(way, session)
        seconds, cpu_seconds = time.monotonic() - started, time.process_time() - processor
    if way != "scan" and differ != 2 * (size // 100):
        raise SystemExit(f"{way}: {differ:,} ids differ")
    return f"{seconds} {cpu_seconds}"


def _differing(way: str, session: Session) -> int:
    if way == "scan":
        return int(
            session.value(f"select (select sum(strlen(user_id)) from audience) + sum(strlen(id)) from ({_MEMBERSHIP})")
        )
    how, audience = comparison.rule("mirror"), comparison.audience_query(Column("user_id", "VARCHAR"), "audience")
    sizes = dict(session.rows(f"select status, count(*) from ({_MEMBERSHIP}) group by status"))
    session.value("select count(*) from audience")
    if way == "polars":
        found = comparison.compared(
            how, session.frame(comparison.usable_query(audience))["id"], session.frame(_MEMBERSHIP)
        )
    else:
        found = session.frame(comparison.compared_query(how, audience, _MEMBERSHIP))
    change = comparison.change(found)
    comparison.audience_size(found, sizes)
    return len(change.adds) + len(change.removes)


def _measured(way: str, file: str, size: int) -> Measured:
    said, peak_bytes = _child(way, file, size)
    seconds, cpu_seconds = map(float, said.split())
    return Measured(seconds, cpu_seconds, peak_bytes)


def _child(way: str, file: str, size: int) -> tuple[str, int]:
    """What a process of its own says, and the most memory that it held, in bytes."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.difference", "--way", way, "--file", file, str(size)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(process.returncode)
    return said, usage.ru_maxrss * _BYTES_OF_MAXRSS


def _report(size: int, found: dict[str, list[Measured]]) -> None:
    scan = statistics.median(one.seconds for one in found["scan"])
    for way, measured in found.items():
        seconds = statistics.median(one.seconds for one in measured)
        print(
            f"{size:,} ids, {way}: median {seconds:.2f} s of {len(measured)} ({seconds / scan:.1f} times the scan), "
            f"processor {statistics.median(one.cpu_seconds for one in measured):.2f} s, "
            f"peak memory {max(one.peak_bytes for one in measured) / 2**20:.0f} MiB",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
