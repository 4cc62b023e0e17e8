"""Memory: an event sync needs no more of it for a million events than for a hundred thousand."""

from __future__ import annotations

import json
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


def _printed(project: Project) -> Path:
    return project.folder / "printed.json"


def _planned(project: Project) -> tuple[int, int]:
    """Events to send, and rows that are rejected, as the last plan said."""
    (plan,) = json.loads(_printed(project).read_text())["syncs"]
    return plan["events"], sum(one["rows"] for one in plan["rejected"])


def _peak_megabytes(project: Project, command: str) -> float:
    """The peak memory of ``statsig-sync``."""
    with _printed(project).open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "sync", command, "--json"],
            cwd=project.folder,
            env=project.process_environment({}),
            stdout=output,
        )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss differs elsewhere")
def test_peak_memory_does_not_grow_with_the_number_of_events(
    built_ledgers: Path, tmp_path: Path, counting_sandbox: str
) -> None:
    peaks: dict[str, list[float]] = {}
    for count in (100_000, 1_000_000):
        folder = tmp_path / str(count)
        shutil.copytree(built_ledgers, folder)
        project = Project(folder, counting_sandbox)
        project.table("many", _EVENTS % count)
        project.sync("many", "many", _META)
        peaks.setdefault("first run", []).append(_peak_megabytes(project, "run"))
        assert project.rows("select count(*) from statsig_deliveries where state = 'accepted'") == [(count,)]
        peaks.setdefault("nothing new", []).append(_peak_megabytes(project, "plan"))
        assert _planned(project) == (0, 0)
        half = _EVENTS % (count // 2)
        project.table("many", f"from ({half}) union all from ({half})")
        peaks.setdefault("each key twice", []).append(_peak_megabytes(project, "plan"))
        assert _planned(project) == (0, count // 2)
    for name, (few, many) in peaks.items():
        print(f"peak memory, {name}: {few:.0f} MB for 100,000 events, {many:.0f} MB for 1,000,000")
    assert all(many - few <= 100 for few, many in peaks.values()), peaks
