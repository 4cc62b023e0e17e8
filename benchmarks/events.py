"""What it takes to plan and to send many events: seconds, processor time and peak memory.

Builds the demo's warehouse, puts so many orders of twelve columns in the place of its own, and runs ``plan``; with
``--run``, then ``run``, and ``plan`` once more. Each is a process of its own. The sandbox only counts.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from scripts.demo import ROOT, environment

_SYNC = "statsig_orders"
_ORDERS = """
create or replace table {relation} as
select 'order-' || i as order_id, 'user_' || (i * 7919) % 500000 as customer_id, 'device-' || i % 900000 as device_id,
    timestamp '2026-01-01' + to_seconds(i % 2000000) as ordered_at, ((i % 100000) / 100)::decimal(12, 2) as amount,
    'user' || i % 500000 || '@example.com' as email, 'DE' as country,
    '{{"plan": "pro", "items": ' || i % 9 || ', "gift": true}}' as properties, 'sku-' || i % 977 as sku,
    'campaign ' || i % 31 as campaign, i % 2 = 0 as is_first, date '2026-02-01' + cast(i % 300 as int) as deliver_on,
    timestamp '2026-03-01' as loaded_at
from range({count}) as t (i)
"""
_ALLOWED = ("--gate", "off", "--allow-events", _SYNC, "--allow-new-keys", _SYNC)
_BYTES_OF_MAXRSS = 1 if sys.platform == "darwin" else 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the figures; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, metavar="NUMBER", help="default: 1,000,000")
    parser.add_argument("--run", action="store_true", help="send them, and plan once more")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, _sandbox() as url:
        demo = Path(folder) / "demo"
        print("Building the demo's warehouse ...", flush=True)
        command = [sys.executable, ROOT / "scripts" / "demo.py", "--folder", demo, "--url", url]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        _fill(demo, options.events)
        variables = {**environment(demo, url), "PYTHONDONTWRITEBYTECODE": ""}
        for command_name in ("plan", "run", "plan") if options.run else ("plan",):
            _measure(command_name, variables, options.events)
    return 0


@contextmanager
def _sandbox() -> Iterator[str]:
    """A stand-in for Statsig in a process of its own that keeps counts of events only."""
    code = "from sync.sandbox import main; main()"
    command = [sys.executable, "-c", code, "--port", "0", "--quiet", "--keep", "counts"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


def _fill(demo: Path, count: int) -> None:
    with duckdb.connect(str(demo / "shop.duckdb")) as connection:
        connection.execute("set enable_progress_bar = false")
        query = (
            "select table_schema || '.' || table_name from information_schema.tables"
            " where table_name = 'statsig_events__demo_orders'"
        )
        (relation,) = connection.execute(query).fetchall()[0]
        connection.execute(_ORDERS.format(relation=relation, count=count))


def _measure(command: str, variables: dict[str, str], count: int) -> None:
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "sync", command, "--select", _SYNC, *_ALLOWED],
        cwd=ROOT,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"statsig-sync {command} ended with {process.returncode}\n{said}")
    peak = usage.ru_maxrss * _BYTES_OF_MAXRSS / 2**20
    print(
        f"statsig-sync {command}, {count:,} events: {seconds:.1f} s, {count / seconds:,.0f} a second; "
        f"processor {usage.ru_utime + usage.ru_stime:.1f} s; peak memory {peak:.0f} MiB",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
