"""A run that is interrupted: what was sent is written down, and the next run goes on from there."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import requests

from tests.integration.harness import EXPIRE_LEASES, Project
from tests.integration.stand_in import StandIn

_EVENTS = 6_000  # Twelve batches: more than one wave.
_IDS = 25_000  # Three batches, one after the other.


@pytest.fixture
def events(project: Project) -> Project:
    """A sync of some thousand events that has not run yet."""
    project.table("orders", f"select range as order_id, 'ann' as user_id from range({_EVENTS})")
    project.sync("orders", "orders", {"object": "events", "unique_key": "order_id", "event_name": "order"})
    return project


@pytest.fixture
def people(project: Project, arrived: StandIn) -> Project:
    """A sync of some thousand ids that has not run yet, into a segment that takes its time."""
    arrived.put_segment("people")
    project.table("people", f"select 'u' || range as user_id from range({_IDS})")
    project.sync("people", "people", {"object": "segment", "segment_id": "people", "mode": "mirror"})
    arrived.processing_seconds(600)
    return project


def start(project: Project, *arguments: str, **more: object) -> subprocess.Popen[str]:
    """The command, under way."""
    return subprocess.Popen(
        [sys.executable, "-m", "sync", "run", *arguments],
        cwd=project.folder,
        env=project.process_environment({}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,  # type: ignore[call-overload]
    )


def wait_for_events(arrived: StandIn) -> None:
    """Returns when a batch of events has been taken."""
    while not requests.get(f"{arrived.url}/sandbox/summary", timeout=60).json()["events"]["arrived"]:
        pass


def wait_for_update(arrived: StandIn) -> None:
    """Returns when an update of the segment is under way."""
    while not arrived.segments()["people"]["isUpdating"]:
        pass


def arrivals(arrived: StandIn) -> list[str]:
    return sorted(event["metadata"]["order_id"] for event in arrived.events())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_polite_stop_finishes_what_is_in_flight_and_writes_it_down(
    people: Project, arrived: StandIn, number: signal.Signals
) -> None:
    process = start(people)
    wait_for_update(arrived)
    process.send_signal(number)
    assert process.stderr is not None
    said = [process.stderr.readline()]
    while "stopping after the requests in flight" not in said[-1]:
        said.append(process.stderr.readline())
    arrived.processing_seconds(0)
    output, error = process.communicate(timeout=120)
    assert process.returncode == 1, output + error
    assert "Traceback" not in output + error
    assert people.rows("select state, keys from statsig_batches") == [("accepted", 10_000)]
    ended = people.rows("select state, keys_accepted, keys_unsent from statsig_sync_runs")
    assert ended == [("aborted", 10_000, 15_000)]

    people.run()
    assert len(arrived.ids("people")) == _IDS


def test_a_polite_stop_begins_no_new_attempt(events: Project, arrived: StandIn) -> None:
    arrived.fault("status", status=503, body='{"success": false}', retry_after=3600, count=None)
    process = start(events, "--max-seconds", "7200")
    while not arrived.requests("POST *"):
        pass
    process.send_signal(signal.SIGTERM)
    output, error = process.communicate(timeout=120)
    assert process.returncode == 1, output + error
    assert "unexpected" not in output + error
    assert len(arrived.requests("POST *")) <= 8
    assert {state for (state,) in events.rows("select state from statsig_batches")} == {"unsent"}
    assert events.rows("select state, keys_unsent from statsig_sync_runs") == [("aborted", _EVENTS)]
    arrived.no_faults()
    events.run()
    assert arrivals(arrived) == sorted(str(one) for one in range(_EVENTS))


def test_a_second_signal_stops_at_once_and_gives_the_lease_back(people: Project, arrived: StandIn) -> None:
    process = start(people)
    wait_for_update(arrived)
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    while "stopping after the requests in flight" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGTERM)
    # The answer is still held: the process does not wait for it.
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "statsig-sync: stopped." in error
    assert "Traceback" not in error
    assert people.rows("select state, keys from statsig_batches") == [("unknown", 10_000)]
    assert people.rows("select state from statsig_sync_runs") == [("aborted",)]
    arrived.processing_seconds(0)
    people.run()
    assert len(arrived.ids("people")) == _IDS


def test_a_killed_run_leaves_its_wave_in_doubt_and_nothing_else(events: Project, arrived: StandIn) -> None:
    arrived.fault("delay", count=None, seconds=60, when="after")
    process = start(events)
    wait_for_events(arrived)
    process.kill()
    process.communicate(timeout=120)
    assert events.rows("select state, count(*) from statsig_batches group by all") == [("unknown", 8)]
    assert events.rows("select count(*) from statsig_unsettled") == [(4_000,)]

    arrived.no_faults()
    events.execute(EXPIRE_LEASES)
    events.run()
    times = Counter(arrivals(arrived))
    assert set(times) == {str(one) for one in range(_EVENTS)}
    in_doubt = "select key from statsig_deliveries where state = 'unknown'"
    assert {key for key, count in times.items() if count > 1} <= {row[0] for row in events.rows(in_doubt)}
    assert events.run()["results"][0]["planned"] == 0


def test_a_disk_that_is_full_stops_the_run_before_anything_is_sent(events: Project, arrived: StandIn) -> None:
    """The ledger cannot be written, so the claim fails, and a request without a claim is never made."""
    size = os.path.getsize(events.folder / "warehouse.duckdb")
    process = start(events, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))
    output, error = process.communicate(timeout=120)
    assert process.returncode == 1, output + error
    assert error.startswith("error: ") or "\nerror: " in error
    assert "Traceback" not in output + error
    assert arrived.events() == []

    events.execute(EXPIRE_LEASES)
    events.run()
    assert arrivals(arrived) == sorted(str(one) for one in range(_EVENTS))


def test_a_warehouse_that_is_lost_after_sending_leaves_the_request_in_doubt(
    people: Project, arrived: StandIn, tmp_path: Path
) -> None:
    """What was sent could not be settled: the claim stands, so it is taken neither for sent nor for unsent."""
    process = start(people)
    wait_for_update(arrived)
    database, aside = people.folder / "warehouse.duckdb", tmp_path / "aside.duckdb"
    database.rename(aside)
    arrived.processing_seconds(0)
    output, error = process.communicate(timeout=120)
    assert process.returncode == 1, output + error
    assert "warehouse.duckdb does not exist" in error
    assert "Traceback" not in output + error
    aside.rename(database)
    assert people.rows("select state, keys from statsig_batches") == [("unknown", 10_000)]
    assert people.rows("select count(*) from statsig_unsettled") == [(10_000,)]

    people.execute(EXPIRE_LEASES)
    people.run()
    assert len(arrived.ids("people")) == _IDS
    assert people.rows("select count(*) from statsig_unsettled") == [(0,)]
