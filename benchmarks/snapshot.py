"""What a year of changes costs where the members of a list are read, and where ``dbt build`` folds them.

Builds the ledgers with dbt, fills them by SQL as the syncs of a list would (one day that fills the list, and then one
per cent of it out and as much in each day), folds the snapshot, adds one more day, and measures: a plain scan of the
snapshot, the members as a sync reads them, and the fold of that day by dbt. It does so for a short history and for a
long one, to show whether either figure grows with it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl

from scripts.demo import ROOT

_BATCH = 10_000
_COLUMNS = "project, segment_id, id"


@dataclass(frozen=True)
class Measured:
    """Seconds: a plain scan of the snapshot, the members as they are read, and the fold of a day."""

    lines: int
    scan: float
    members: float
    fold: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the figures; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=1_000_000, metavar="NUMBER", help="members (default: 1000000)")
    parser.add_argument("--days", type=int, default=30, metavar="NUMBER", help="days of the long history (default: 30)")
    parser.add_argument("--times", type=int, default=5, metavar="NUMBER", help="readings of each (default: 5)")
    options = parser.parse_args(arguments)
    for days in (1, options.days):
        with tempfile.TemporaryDirectory() as place:
            found = _measure(Path(place), options.members, days, options.times)
        print(
            f"{options.members:,} members after {days} day(s) of 1 % in and 1 % out, {found.lines:,} lines: "
            f"scan of the snapshot {found.scan:.2f} s, members {found.members:.2f} s "
            f"({found.members / found.scan:.1f} times), fold of a day {found.fold:.1f} s",
            flush=True,
        )
    return 0


def _measure(folder: Path, members: int, days: int, times: int) -> Measured:
    _build(folder)
    _fill(folder, members, range(days + 1))
    _fold(folder, "--full-refresh")
    _fill(folder, members, range(days + 1, days + 2))
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as connection:
        connection.execute("set enable_progress_bar = false")
        ((lines,),) = connection.execute("select count(*) from statsig_changelog").fetchall()
        scan = _median(connection, f"select {_COLUMNS}, added, removed from statsig_snapshot", times)
        read = _median(connection, f"select {_COLUMNS}, status, doubt from statsig_membership", times)
    return Measured(lines, scan, read, _fold(folder))


def _median(connection: duckdb.DuckDBPyConnection, query: str, times: int) -> float:
    """The median seconds that a query takes, with its rows here at the end. The first reading is not counted."""
    seconds = []
    for _ in range(times + 1):
        started = time.monotonic()
        pl.DataFrame(connection.sql(query))
        seconds.append(time.monotonic() - started)
    return statistics.median(seconds[1:])


def _build(folder: Path) -> None:
    """Makes the folder a dbt project that holds nothing but the ledgers, and builds it."""
    shutil.copy(ROOT / "dbt_project.yml", folder)
    shutil.copytree(ROOT / "macros", folder / "macros")
    shutil.copytree(ROOT / "models" / "statsig", folder / "models" / "statsig")
    profile = {"type": "duckdb", "path": str(folder / "warehouse.duckdb")}
    profiles = {"statsig_sync": {"target": "dev", "outputs": {"dev": profile}}}
    (folder / "profiles.yml").write_text(json.dumps(profiles))
    _dbt(folder)


def _fold(folder: Path, *arguments: str) -> float:
    """Builds the snapshot; returns the seconds that its model took."""
    _dbt(folder, "--select", "statsig_snapshot", *arguments)
    results = json.loads((folder / "target" / "run_results.json").read_text())["results"]
    return float(next(one["execution_time"] for one in results if one["unique_id"].endswith("statsig_snapshot")))


def _dbt(folder: Path, *arguments: str) -> None:
    command = [
        sys.executable,
        "-m",
        "dbt.cli.main",
        "run",
        "--project-dir",
        folder,
        "--profiles-dir",
        folder,
        *arguments,
    ]
    environment = {**os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
    finished = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise SystemExit(finished.stdout)


def _fill(folder: Path, members: int, days: range) -> None:
    """The lines of these days: the first fills the list, each other takes one per cent out and as many in."""
    share = members // 100
    with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
        connection.execute("set enable_progress_bar = false")
        for day in days:
            if day == 0:
                _append(connection, day, "add", range(members))
            else:
                _append(connection, day, "remove", range((day - 1) * share, day * share))
                _append(connection, day, "add", range(members + (day - 1) * share, members + day * share))


def _append(connection: duckdb.DuckDBPyConnection, day: int, operation: str, ids: range) -> None:
    """Batches of ids as a run writes them: the keys with the claim, the outcome a second later."""
    ((last,),) = connection.execute("select coalesce(max(sequence), 0) from statsig_batch_log").fetchall()
    first, batches = last + 1, -(-len(ids) // _BATCH)
    name = f"md5('{day} {operation} ' || batch)"
    claimed = f"timestamp '2026-01-01' + interval ({day}) day + interval (batch) second"
    connection.execute(
        "insert into statsig_batch_log (batch_id, run_id, sync_name, project, destination, operation, state, logged_at,"
        f" sequence, keys) select {name}, 'run-{day}', 'people', 'statsig', 'people', '{operation}', state,"
        f" {claimed} + interval (later) second, {first} + batch, {_BATCH}"
        f" from range({batches}) as batches (batch), (values ('claimed', 0), ('accepted', 1)) as states (state, later)"
    )
    connection.execute(
        "insert into statsig_changelog (batch_id, sync_name, operation, key, logged_at)"
        f" select {name}, 'people', '{operation}', 'user-' || id, {claimed}"
        f" from (select id, (id - {ids.start}) // {_BATCH} as batch from range({ids.start}, {ids.stop}) as ids (id))"
    )


if __name__ == "__main__":
    sys.exit(main())
