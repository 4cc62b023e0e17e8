"""``verify``: what somebody changed by hand in Statsig is found, written down, and made right on demand."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from tests.integration.harness import Project
from tests.integration.in_process import command_here, run_here
from tests.integration.stand_in import StandIn


def synced(project: Project, arrived: StandIn, mode: str, *ids: str) -> None:
    """A segment ``people`` that a sync of this mode keeps, after its first run."""
    arrived.put_segment("people", "ann", "eve")
    project.table("people", f"select unnest({list(ids)}::varchar[]) as user_id")
    project.sync("people", "people", {"object": "segment", "segment_id": "people", "mode": mode})
    project.run()


def verify(project: Project, *arguments: str, expect: int = 0) -> Any:
    finished = project.command("verify", "--json", *arguments)
    assert finished.returncode == expect, finished.stdout + finished.stderr
    return json.loads(finished.stdout)


def drift(project: Project) -> set[tuple[str, str]]:
    rows = project.rows("select id, drift from statsig_drift_log")
    return {(row[0], row[1]) for row in rows}


def test_a_list_that_nobody_touched_has_no_drift(project: Project, arrived: StandIn) -> None:
    synced(project, arrived, "mirror", "ann", "bob")
    (found,) = verify(project)["segments"]
    assert (found["known"], found["listed"], found["missing"], found["extra"]) == (2, 2, 0, 0)
    assert drift(project) == set()
    assert verify(project, "--counts-only")["segments"][0]["has_drift"] is False


def test_what_was_changed_by_hand_is_reported_and_a_mirror_is_repaired(project: Project, arrived: StandIn) -> None:
    synced(project, arrived, "mirror", "ann", "bob", "cid")
    arrived.put_segment("people", "ann", "bob", "mallory", "trudy")
    assert verify(project, "--counts-only", expect=1)["segments"][0]["missing"] is None
    assert drift(project) == set()

    (found,) = verify(project, expect=1)["segments"]
    assert (found["missing"], found["extra"], found["repair"]) == (1, 2, None)
    assert drift(project) == {("cid", "missing"), ("mallory", "extra"), ("trudy", "extra")}
    assert arrived.ids("people") == {"ann", "bob", "mallory", "trudy"}

    (repaired,) = verify(project, "--repair")["segments"]
    assert repaired["repair"]["accepted"] == 3
    assert arrived.ids("people") == {"ann", "bob", "cid"}
    verify(project)
    assert project.run()["results"][0]["planned"] == 0


def test_repairing_an_add_sync_removes_nobody(project: Project, arrived: StandIn) -> None:
    synced(project, arrived, "add", "ann", "bob")
    arrived.put_segment("people", "bob", "mallory")
    verify(project, "--repair")
    assert arrived.ids("people") == {"ann", "bob", "eve", "mallory"}
    verify(project)


def test_repairing_a_remove_sync_removes_only_what_it_had_removed(project: Project, arrived: StandIn) -> None:
    synced(project, arrived, "remove", "ann")
    assert arrived.ids("people") == {"eve"}
    arrived.put_segment("people", "ann", "mallory")
    verify(project, "--repair")
    assert arrived.ids("people") == {"mallory"}
    verify(project)
    assert project.run()["results"][0]["planned"] == 0


def test_a_repair_that_would_remove_much_is_refused_by_the_guard(project: Project, arrived: StandIn) -> None:
    synced(project, arrived, "mirror", "ann", "bob")
    strangers = [f"stranger{number}" for number in range(150)]
    arrived.put_segment("people", "ann", "bob", *strangers)
    refused = verify(project, "--repair", expect=3)
    assert "--allow-removals people" in refused["errors"][0]
    assert len(arrived.ids("people")) == 152
    verify(project, "--repair", "--allow-removals", "people")
    assert arrived.ids("people") == {"ann", "bob"}
    runs = dict(project.rows("select overrides, count(*) from statsig_sync_runs group by all"))
    assert runs == {None: 2, "--allow-removals people": 1}


def test_a_list_that_the_ledgers_do_not_know_is_not_compared_and_keeps_its_members(
    project: Project, arrived: StandIn
) -> None:
    arrived.put_segment("people", "ann", "eve")
    project.table("people", "select unnest(['ann', 'bob']) as user_id")
    meta = {"object": "segment", "segment_id": "people", "mode": "mirror", "guard": {"allow_empty": True}}
    project.sync("people", "people", meta)
    for flags in ((), ("--repair",), ("--counts-only",)):
        finished = command_here(project, "verify", *flags)
        assert finished.returncode == 2, finished.stdout
        assert "the ledgers know nothing of it yet" in finished.stderr
        assert "Run statsig-sync run first" in finished.stderr
    assert arrived.ids("people") == {"ann", "eve"}
    assert drift(project) == set()

    run_here(project)
    assert command_here(project, "verify").returncode == 0


def test_an_empty_list_that_the_ledgers_do_not_know_is_as_it_should_be(project: Project, arrived: StandIn) -> None:
    arrived.put_segment("people")
    project.table("people", "select 'ann' as user_id limit 0")
    project.sync("people", "people", {"object": "segment", "segment_id": "people", "mode": "mirror"})
    for flags in ((), ("--repair",), ("--counts-only",)):
        assert command_here(project, "verify", *flags).returncode == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [({}, "set create_if_missing: true"), ({"create_if_missing": True}, "is not in Statsig yet; run creates it")],
)
def test_a_segment_that_is_not_there_yet_is_not_compared(project: Project, more: dict[str, Any], said: str) -> None:
    project.table("people", "select 'ann' as user_id")
    project.sync("people", "people", {"object": "segment", "segment_id": "people", "mode": "mirror", **more})
    finished = command_here(project, "verify", "--repair")
    assert (finished.returncode, said in finished.stderr) == (2, True), finished.stderr


def test_verify_says_in_words_how_a_list_differs_and_what_a_repair_did(project: Project, arrived: StandIn) -> None:
    synced(project, arrived, "mirror", "ann", "bob", "cid")
    assert "people: segment people: as it should be, 3 ids" in command_here(project, "verify").stdout
    arrived.put_segment("people", "ann", "bob", "mallory", "trudy")
    counted = command_here(project, "verify", "--counts-only")
    assert "4 ids in Statsig, 3 in the ledgers; run verify without --counts-only" in counted.stdout
    repaired = command_here(project, "verify", "--repair")
    assert repaired.returncode == 0, repaired.stderr
    assert repaired.stdout.splitlines() == [
        "people: segment people: 1 missing, 2 extra",
        "  such as cid, mallory, trudy; all of them are in statsig_drift_log",
        "  repair: people: finished, 3 of 3 delivered",
    ]


def test_counts_cannot_be_repaired(project: Project) -> None:
    refused = command_here(project, "verify", "--counts-only", "--repair")
    assert refused.returncode == 2
    assert "argument --repair: not allowed with argument --counts-only" in refused.stderr


def test_verify_without_a_key_names_the_variable(project: Project, arrived: StandIn) -> None:
    synced(project, arrived, "mirror", "ann", "bob")
    finished = command_here(project, "verify", STATSIG_CONSOLE_API_KEY=None)
    assert (finished.returncode, "STATSIG_CONSOLE_API_KEY: is not set" in finished.stderr) == (2, True)


def test_verify_refuses_events_which_cannot_be_read_back(project: Project) -> None:
    project.table("orders", "select 1 as order_id, 'ann' as user_id")
    project.sync("orders", "orders", {"object": "events", "unique_key": "order_id", "event_name": "order"})
    assert "cannot be read back" in verify(project, expect=2)["errors"][0]


def test_a_segment_that_vanished_is_not_made_again_in_silence(project: Project, arrived: StandIn) -> None:
    meta = {"object": "segment", "segment_id": "people", "mode": "mirror", "create_if_missing": True}
    project.table("people", "select unnest(['ann', 'bob']) as user_id")
    project.sync("people", "people", meta)
    project.run()
    requests.post(f"{arrived.url}/sandbox/reset", timeout=60).raise_for_status()
    project.table("people", "select unnest(['ann', 'bob', 'cid']) as user_id")
    message = project.run(expect=2)["errors"][0]
    assert "is gone from Statsig, but the ledgers know 2 members" in message
    assert "verify --repair" in message
    finished = command_here(project, "verify")
    assert (finished.returncode, "is gone from Statsig" in finished.stderr) == (2, True)

    arrived.put_segment("people")
    verify(project, "--repair")
    assert arrived.ids("people") == {"ann", "bob"}
    project.run()
    assert arrived.ids("people") == {"ann", "bob", "cid"}
