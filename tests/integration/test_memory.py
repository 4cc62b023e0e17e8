"""Memory: an event sync needs no more of it for more events, once there are more than it reads at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.harness import Project, write_profiles

_EVENTS = """
select i as order_id, case when mod(i, 10) > 0 then 'user_' || mod(i, 50000) end as customer_id,
    timestamp '2026-01-01' + to_seconds(i) as ordered_at,
    mod(i, 1000) / 7 as amount, '{"plan": "pro", "n": ' || i || '}' as properties,
    'web' as channel, mod(i, 2) = 0 as is_gift
from range(%d, %d) as t (i)
"""
_META = {
    "object": "events",
    "unique_key": "order_id",
    # Every key twice is meant here.
    "guard": {"max_duplicates_percent": 50},
    "event_name": "order_completed",
    "columns": {
        "user_id": "customer_id",
        "event_time": "ordered_at",
        "event_value": "amount",
        "custom": "properties",
    },
}
# What a run finds, one after the other; each is a query, and the events sent by then as a share of the rows.
# A tenth of the rows have no user, so that the reject ledger grows too.
_RUNS = {
    "first": ("{events}", 0.9),
    "nothing new": ("{events}", 0.9),
    "a tenth more": ("{events} union all {more}", 0.99),
    "every key twice": ("({half}) union all ({half})", 0.99),
}
# The smaller is more than what is read at once (131,072 rows): below that, fewer rows are fewer bytes.
_SIZES = (160_000, 640_000)
# What DuckDB may fill before it spills, here and in the warehouse.
_MEGABYTES = 150


@pytest.fixture
def counting_sandbox() -> Iterator[str]:
    """A stand-in for Statsig in a process of its own that keeps counts of events only."""
    command = [
        sys.executable,
        "-c",
        "from sync.sandbox import main; main()",
        "--port",
        "0",
        "--quiet",
        "--keep",
        "counts",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()


def _peak_megabytes(project: Project) -> float:
    """The peak memory of a ``statsig-sync run``."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sync", "run", "--json"],
        cwd=project.folder,
        env=project.process_environment({}),
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss / 1024


def _query(form: str, count: int) -> str:
    queries = {"events": (0, count), "more": (count, count + count // 10), "half": (0, count // 2)}
    return form.format(**{name: _EVENTS % bounds for name, bounds in queries.items()})


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss differs elsewhere")
def test_peak_memory_does_not_grow_with_the_number_of_events(
    built_ledgers: Path, tmp_path: Path, counting_sandbox: str
) -> None:
    peaks: dict[tuple[str, int], float] = {}
    for count in _SIZES:
        folder = tmp_path / str(count)
        shutil.copytree(built_ledgers, folder)
        write_profiles(folder)
        project = Project(folder, counting_sandbox)
        project.sync("many", "many", _META)
        for run, (form, share) in _RUNS.items():
            project.table("many", _query(form, count))
            peaks[run, count] = _peak_megabytes(project)
            sent = project.rows("select count(*) from statsig_deliveries where state = 'accepted'")
            assert sent == [(round(count * share),)]
    smaller, larger = _SIZES
    for run in _RUNS:
        print(f"{run}: {peaks[run, smaller]:.0f} MB for {smaller:,} rows, {peaks[run, larger]:.0f} MB for {larger:,}")
    assert [run for run in _RUNS if peaks[run, larger] - peaks[run, smaller] > _MEGABYTES] == []
