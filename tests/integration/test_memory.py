"""Memory: an event sync needs no more of it for a million events than for a hundred thousand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.harness import Project

_EVENTS = """
select i as order_id, 'user_' || mod(i, 50000) as customer_id, timestamp '2026-01-01' + to_seconds(i) as ordered_at,
    mod(i, 1000) / 7 as amount, '{"plan": "pro", "n": ' || i || '}' as properties,
    'web' as channel, mod(i, 2) = 0 as is_gift
from range(%d) as t (i)
"""
_META = {
    "object": "events",
    "unique_key": "order_id",
    "event_name": "order_completed",
    "columns": {
        "user_id": "customer_id",
        "event_time": "ordered_at",
        "event_value": "amount",
        "custom": "properties",
    },
}


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


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss differs elsewhere")
def test_peak_memory_does_not_grow_with_the_number_of_events(
    built_ledgers: Path, tmp_path: Path, counting_sandbox: str
) -> None:
    peaks = {}
    for count in (100_000, 1_000_000):
        folder = tmp_path / str(count)
        shutil.copytree(built_ledgers, folder)
        project = Project(folder, counting_sandbox)
        project.table("many", _EVENTS % count)
        project.sync("many", "many", _META)
        peaks[count] = _peak_megabytes(project)
        assert project.rows("select count(*) from statsig_deliveries where state = 'accepted'") == [(count,)]
    print(f"peak memory: {peaks[100_000]:.0f} MB for 100,000 events, {peaks[1_000_000]:.0f} MB for 1,000,000")
    assert peaks[1_000_000] - peaks[100_000] <= 100
