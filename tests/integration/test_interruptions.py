"""A run that is interrupted: what was sent is written down, and the next run goes on from there."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import requests

from tests.integration.harness import EXPIRE_LEASES, Project
from tests.integration.stand_in import StandIn

_EVENTS = 6_000  # Twelve batches: more than are in flight at once.
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


def arrived_events(arrived: StandIn) -> int:
    """How many events have been taken."""
    return int(requests.get(f"{arrived.url}/sandbox/summary", timeout=60).json()["events"]["arrived"])


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


def killed_in_the_middle(events: Project, arrived: StandIn) -> None:
    """A run that was killed when ten of its requests were answered, and eight under way."""
    events.table("orders", "select range as order_id, 'ann' as user_id from range(20000)")
    late = {"fault": {"kind": "delay", "seconds": 60, "when": "after"}}
    arrived.faults({**late, "match": {"path": "/v1/log_event", "nth": list(range(11, 999))}})
    process = start(events)
    while arrived_events(arrived) < 18 * 500:
        pass
    process.kill()
    process.communicate(timeout=120)
    arrived.no_faults()


def states_of_the_first_run(project: Project) -> dict[str, int]:
    """How many batches of the first run there are of each state."""
    first = "(select min_by(run_id, started_at) from statsig_sync_runs)"
    query = f"select state, count(*) from statsig_batches where run_id = {first} group by state"
    return dict(project.rows(query))


def assert_all_arrived(project: Project, arrived: StandIn) -> None:
    """Every event has arrived, and only what the ledgers call in doubt more than once."""
    times = Counter(arrivals(arrived))
    assert set(times) == {str(one) for one in range(20_000)}
    in_doubt = "select key from statsig_deliveries where state = 'unknown'"
    assert {key for key, count in times.items() if count > 1} <= {row[0] for row in project.rows(in_doubt)}
    assert project.run()["results"][0]["planned"] == 0


def test_after_a_kill_the_next_run_starts_at_once_and_only_what_was_in_flight_is_in_doubt(
    events: Project, arrived: StandIn
) -> None:
    killed_in_the_middle(events, arrived)
    folder = events.folder / ".statsig-sync"
    assert (folder / ".gitignore").read_text() == "*\n"
    (journal,) = folder.glob("*.journal")

    events.run()
    states = states_of_the_first_run(events)
    assert (states["accepted"], states["unknown"]) == (10, 8)
    assert set(states) <= {"accepted", "unknown", "unsent"}
    assert [row[0] for row in events.rows("select state from statsig_sync_runs order by started_at")] == [
        "aborted",
        "finished",
    ]
    assert not journal.exists()
    assert len(arrivals(arrived)) == 20_000 + 8 * 500
    assert_all_arrived(events, arrived)
    assert list(folder.glob("*.journal")) == []


def test_a_run_that_was_killed_and_whose_journal_is_lost_leaves_what_it_claimed_in_doubt(
    events: Project, arrived: StandIn
) -> None:
    killed_in_the_middle(events, arrived)
    shutil.rmtree(events.folder / ".statsig-sync")
    assert events.command("run").returncode == 3

    events.execute(EXPIRE_LEASES)
    events.run()
    states = states_of_the_first_run(events)
    assert set(states) <= {"accepted", "unknown"}
    assert states["unknown"] >= 8
    assert_all_arrived(events, arrived)


def test_a_journal_of_before_a_restart_of_the_machine_proves_what_it_says_and_nothing_more(
    events: Project, arrived: StandIn
) -> None:
    killed_in_the_middle(events, arrived)
    (journal,) = (events.folder / ".statsig-sync").glob("*.journal")
    header, *lines = journal.read_text().splitlines()
    journal.write_text("\n".join([json.dumps({**json.loads(header), "boot_id": "another"}), *lines, ""]))
    assert events.command("run").returncode == 3

    events.execute(EXPIRE_LEASES)
    events.run()
    states = states_of_the_first_run(events)
    assert states["accepted"] == 10
    assert set(states) == {"accepted", "unknown"}
    assert_all_arrived(events, arrived)
    assert not journal.exists()


def test_a_journal_of_a_run_that_this_warehouse_does_not_know_is_left_alone(events: Project, arrived: StandIn) -> None:
    killed_in_the_middle(events, arrived)
    (journal,) = (events.folder / ".statsig-sync").glob("*.journal")
    header, *lines = journal.read_text().splitlines()
    journal.write_text("\n".join([json.dumps({**json.loads(header), "run_id": "elsewhere"}), *lines, ""]))
    content = journal.read_text()
    assert events.command("run").returncode == 3
    assert journal.read_text() == content


def test_a_folder_that_cannot_be_written_keeps_no_run_from_its_work(events: Project, arrived: StandIn) -> None:
    (events.folder / ".statsig-sync").write_text("in the way")
    events.run()
    assert arrivals(arrived) == sorted(str(one) for one in range(_EVENTS))


def test_a_segment_whose_run_was_killed_is_mended_by_the_next_one_at_once(people: Project, arrived: StandIn) -> None:
    process = start(people)
    wait_for_update(arrived)
    process.kill()
    process.communicate(timeout=120)
    arrived.processing_seconds(0)
    people.run()
    assert len(arrived.ids("people")) == _IDS
    assert states_of_the_first_run(people) == {"unknown": 1}


def test_a_disk_that_is_full_stops_the_run_before_anything_is_sent(events: Project, arrived: StandIn) -> None:
    """What waits to be sent has no room, nor has a claim, and a request without a claim is never made."""
    long_key = "repeat('k', 2000) || range"
    events.table("orders", f"select {long_key} as order_id, 'ann' as user_id from range({_EVENTS})")
    size = os.path.getsize(events.folder / "warehouse.duckdb")
    process = start(events, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))
    output, error = process.communicate(timeout=120)
    assert process.returncode == 1, output + error
    assert error.startswith("error: ") or "\nerror: " in error
    assert "Traceback" not in output + error
    assert arrived.events() == []

    events.execute(EXPIRE_LEASES)
    events.run()
    assert len(arrivals(arrived)) == _EVENTS


def test_a_warehouse_that_is_lost_after_sending_leaves_the_request_in_doubt(
    people: Project, arrived: StandIn, tmp_path: Path
) -> None:
    """What was sent could not be settled: the claim stands, so it is taken neither for sent nor for unsent, until the
    next run reads in the local journal what was answered.
    """
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

    people.run()
    assert states_of_the_first_run(people) == {"accepted": 1}
    assert len(arrived.ids("people")) == _IDS
    assert people.rows("select count(*) from statsig_unsettled") == [(0,)]
