"""``verify``: what somebody changed by hand in Statsig is found, written down, and made right on demand."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import requests

from sync.cli import observers
from sync.errors import DeliveryError
from sync.run.apply import SyncResult
from sync.run.verify import VerifyRequest
from sync.run.verify import verify as compare
from tests.integration.harness import Project
from tests.integration.in_process import StillClock, command_here, manner_of, run_here, run_still, world_of
from tests.integration.stand_in import REMOVE_IDS, StandIn, rule


@dataclass
class OtherRunClock(StillClock):
    """Lets something else happen while someone waits for long."""

    meanwhile: Callable[[], object] = lambda: None

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if seconds > 100:
            self.meanwhile()


def synced(project: Project, arrived: StandIn, mode: str, *ids: str) -> None:
    """A segment ``people`` that a sync of this mode keeps, after its first run."""
    arrived.put_segment("people", "ann", "eve")
    project.table("people", f"select unnest({list(ids)}::varchar[]) as user_id")
    project.sync("people", "people", {"object": "segment", "segment_id": "people", "mode": mode})
    project.run()


def mirror_of(project: Project, name: str, *ids: str, **more: object) -> None:
    """A sync that mirrors these ids into the segment of its own name."""
    project.table(name, f"select unnest({list(ids)}::varchar[]) as user_id")
    project.sync(name, name, {"object": "segment", "segment_id": name, "mode": "mirror", **more})


def several_lists(project: Project, arrived: StandIn, *names: str) -> None:
    """Segments of these names, each of which a mirror has filled with one id."""
    for name in names:
        arrived.put_segment(name)
        mirror_of(project, name, "ann")
    run_here(project)


def last_states(project: Project) -> dict[str, str]:
    """The state of each sync's last run."""
    query = "select sync_name, arg_max(state, started_at) from statsig_sync_runs group by sync_name"
    return dict(project.rows(query))


def verify(project: Project, *arguments: str, expect: int = 0, **environment: str | None) -> Any:
    finished = project.command("verify", "--json", *arguments, **environment)
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
    assert drift(project) == {("ann", "missing"), ("eve", "missing")}
    verify(project)


def test_repairing_a_remove_sync_removes_only_what_it_had_removed(project: Project, arrived: StandIn) -> None:
    synced(project, arrived, "remove", "ann")
    assert arrived.ids("people") == {"eve"}
    arrived.put_segment("people", "ann", "mallory")
    verify(project, "--repair")
    assert arrived.ids("people") == {"mallory"}
    assert drift(project) == {("ann", "extra")}
    verify(project)
    assert project.run()["results"][0]["planned"] == 0


def test_who_was_put_back_is_taken_out_again_by_a_repair_and_not_by_a_run(project: Project, arrived: StandIn) -> None:
    synced(project, arrived, "remove", "ann")
    arrived.put_segment("people", "ann", "eve")
    assert run_here(project)["results"][0]["planned"] == 0
    assert arrived.ids("people") == {"ann", "eve"}
    assert command_here(project, "verify", "--select", "people", "--repair").returncode == 0
    assert arrived.ids("people") == {"eve"}


@pytest.mark.parametrize(("mode", "ids"), [("add", {"ann", "eve"}), ("remove", {"eve"})])
def test_what_others_put_in_is_told_but_is_no_drift_where_a_sync_only_adds_or_only_removes(
    project: Project, arrived: StandIn, mode: str, ids: set[str]
) -> None:
    synced(project, arrived, mode, "ann")
    arrived.put_segment("people", *ids, *(f"other{number}" for number in range(9)))
    for flags in ((), ("--repair",)):
        finished = command_here(project, "verify", *flags)
        said = f"as it should be, {len(ids) + 9} ids; 9 other differences, which mode {mode} leaves alone"
        assert (finished.returncode, finished.stdout) == (0, f"people: segment people: {said}\n")
    counted = command_here(project, "verify", "--counts-only")
    assert (counted.returncode, f"which mode {mode} allows" in counted.stdout) == (0, True)
    assert drift(project) == set()


def test_what_others_put_in_and_take_out_again_is_never_repaired(project: Project, arrived: StandIn) -> None:
    synced(project, arrived, "add", "ann")
    arrived.put_segment("people", "eve", "other")
    assert verify(project, "--repair")["segments"][0]["others"] == 1
    arrived.put_segment("people", "ann", "eve")
    assert verify(project, "--repair")["segments"][0]["others"] == 0
    assert arrived.ids("people") == {"ann", "eve"}


def test_of_two_syncs_on_a_segment_each_finds_and_repairs_its_own_half(project: Project, arrived: StandIn) -> None:
    arrived.put_segment("shared", "left", "eve")
    for name, who in (("adds", "came"), ("removes", "left")):
        project.table(name, f"select '{who}' as user_id")
        project.sync(name, name, {"object": "segment", "segment_id": "shared", "mode": name.removesuffix("s")})
    run_here(project)
    assert arrived.ids("shared") == {"came", "eve"}
    reading = "GET /console/v1/segments/shared/id_list"
    before = len(arrived.requests(reading))
    arrived.put_segment("shared", "left", "eve", "other")
    found = {one["sync_name"]: one for one in verify(project, expect=1)["segments"]}
    figures = {name: (one["missing"], one["extra"], one["others"]) for name, one in found.items()}
    assert figures == {"adds": (1, 0, 2), "removes": (0, 1, 2)}
    assert len(arrived.requests(reading)) == before + 1
    assert drift(project) == {("came", "missing"), ("left", "extra")}

    verify(project, "--repair")
    assert arrived.ids("shared") == {"came", "eve", "other"}
    verify(project)
    assert [one["planned"] for one in run_here(project)["results"]] == [0, 0]


def test_a_repair_that_would_remove_much_is_refused_by_the_guard(project: Project, arrived: StandIn) -> None:
    synced(project, arrived, "mirror", "ann", "bob")
    strangers = [f"stranger{number}" for number in range(150)]
    arrived.put_segment("people", "ann", "bob", *strangers)
    refused = verify(project, "--repair", expect=3)
    assert "If this is meant, verify --repair --allow-removals people" in refused["errors"][0]
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
        assert finished.returncode == 1, finished.stdout
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


def test_a_segment_that_no_run_makes_is_an_error(project: Project) -> None:
    mirror_of(project, "people", "ann")
    finished = command_here(project, "verify", "--repair")
    assert (finished.returncode, "set create_if_missing: true" in finished.stderr) == (1, True), finished.stderr


def test_a_segment_that_no_run_has_made_yet_is_a_note_and_the_others_are_compared(
    project: Project, arrived: StandIn
) -> None:
    synced(project, arrived, "mirror", "ann")
    mirror_of(project, "newlist", "ann", create_if_missing=True)
    for flags in ((), ("--repair",), ("--counts-only",)):
        finished = command_here(project, "verify", *flags)
        assert (finished.returncode, finished.stderr) == (0, "")
        assert finished.stdout.splitlines() == [
            "people: segment people: as it should be, 1 ids",
            "note: newlist: segment 'newlist' is not in Statsig yet; run creates it.",
        ]
    assert set(arrived.segments()) == {"people"}


def test_every_segment_is_compared_and_every_fault_is_told(project: Project, arrived: StandIn) -> None:
    several_lists(project, arrived, "first", "second", "third", "fourth", "fifth")
    mirror_of(project, "first", "ann", segment_id="gone", create_if_missing=True)
    mirror_of(project, "fourth", "ann", segment_id="another_gone")
    arrived.put_segment("second", "ann", "mallory")
    arrived.put_segment("third", "ann", type="analysis_list")
    finished = command_here(project, "verify")
    assert finished.returncode == 1
    assert [line.split(" still has ")[0] for line in finished.stdout.splitlines()] == [
        "fifth: segment fifth: as it should be, 1 ids",
        "second: segment second: 0 missing, 1 extra",
        "  such as mallory; all of them are in statsig_drift_log",
        "note: first: segment 'gone' is not in Statsig yet; run creates it.",
        "warning: segment 'first' of sandbox",
        "warning: segment 'fourth' of sandbox",
        "A run does not mend this; statsig-sync verify --repair --select second does.",
    ]
    errors = finished.stderr.splitlines()
    assert [("exposure fourth:" in one, "exposure third:" in one) for one in errors] == [(True, False), (False, True)]
    assert drift(project) == {("mallory", "extra")}
    assert last_states(project) == {
        "fifth": "finished",
        "first": "finished",
        "fourth": "failed",
        "second": "finished",
        "third": "failed",
    }


def test_several_lists_that_are_gone_are_all_told(project: Project, arrived: StandIn) -> None:
    several_lists(project, arrived, "first", "second")
    requests.post(f"{arrived.url}/sandbox/reset", timeout=60).raise_for_status()
    report = verify(project, expect=1)
    assert [one.split("segment_id: ")[1].split(" is gone")[0] for one in report["errors"]] == [
        "segment 'first'",
        "segment 'second'",
    ]


def test_a_list_that_cannot_be_read_does_not_hide_the_others(project: Project, arrived: StandIn) -> None:
    several_lists(project, arrived, "first", "second", "third")
    calls = ("GET */first/id_list", "GET */second")
    arrived.faults(*(rule("status", call=call, status=400, count=None) for call in calls))
    report = verify(project, expect=1)
    assert [one["sync_name"] for one in report["segments"]] == ["third"]
    assert [one.split(": HTTP")[0] for one in report["errors"]] == [
        "second: segment 'second' could not be looked up",
        "first: the members of segment 'first' could not be read",
    ]


def test_a_key_that_statsig_refuses_stops_verify_before_anything_is_compared(
    project: Project, arrived: StandIn
) -> None:
    several_lists(project, arrived, "first", "second")
    arrived.put_segment("second", "ann", "mallory")
    arrived.fault("status", call="GET */first", status=401)
    finished = command_here(project, "verify")
    assert (finished.returncode, finished.stdout) == (2, "")
    assert "STATSIG_CONSOLE_API_KEY: Statsig does not accept the key" in finished.stderr
    assert drift(project) == set()


def test_a_repair_that_the_guard_refuses_hides_no_drift_and_keeps_no_other_list_from_its_repair(
    project: Project, arrived: StandIn
) -> None:
    several_lists(project, arrived, "first", "second")
    arrived.put_segment("first", "ann", *(f"stranger{number:03}" for number in range(150)))
    arrived.put_segment("second", "mallory")
    finished = command_here(project, "verify", "--repair")
    assert finished.returncode == 3
    assert finished.stdout.splitlines() == [
        "first: segment first: 0 missing, 150 extra",
        "  such as stranger000, stranger001, stranger002; all of them are in statsig_drift_log",
        "second: segment second: 1 missing, 1 extra",
        "  such as ann, mallory; all of them are in statsig_drift_log",
        "  repair: second: finished, 2 of 2 delivered",
    ]
    assert finished.stderr.splitlines()[-1].startswith("error: first: the mirror would remove 150 of 151 members")
    assert (len(arrived.ids("first")), arrived.ids("second")) == (151, {"ann"})
    assert last_states(project) == {"first": "aborted", "second": "finished"}


def test_a_repair_that_failed_comes_before_one_that_was_refused(project: Project, arrived: StandIn) -> None:
    several_lists(project, arrived, "first", "second")
    arrived.put_segment("first", "ann", *(f"stranger{number}" for number in range(150)))
    arrived.put_segment("second", "mallory")
    arrived.fault("status", call=REMOVE_IDS, status=401, count=None)
    finished = command_here(project, "verify", "--repair")
    assert finished.returncode == 1
    assert finished.stdout.splitlines()[-1].endswith("verify --repair --select second does.")
    assert "error: first: the mirror would remove" in finished.stderr


def test_counts_cannot_be_repaired(project: Project) -> None:
    refused = command_here(project, "verify", "--counts-only", "--repair")
    assert refused.returncode == 2
    assert "argument --repair: not allowed with argument --counts-only" in refused.stderr


def test_verify_that_another_run_has_overtaken_while_it_read_writes_nothing_down(
    project: Project, arrived: StandIn
) -> None:
    several_lists(project, arrived, "first", "second")
    arrived.put_segment("first", "mallory")
    arrived.fault("status", call="GET */first/id_list", status=429, retry_after=200)
    clock = OtherRunClock(meanwhile=lambda: run_still(project, clock))
    with pytest.raises(DeliveryError, match="went on meanwhile"):
        compare(world_of(project, clock), VerifyRequest(repair=True), manner_of(lease_seconds=100))
    assert drift(project) == set()
    assert arrived.ids("first") == {"mallory"}


def test_verify_says_in_words_how_a_list_differs_and_what_a_repair_did(project: Project, arrived: StandIn) -> None:
    synced(project, arrived, "mirror", "ann", "bob", "cid")
    assert "people: segment people: as it should be, 3 ids" in command_here(project, "verify").stdout
    arrived.put_segment("people", "ann", "bob", "mallory", "trudy")
    compared = command_here(project, "verify")
    advice = "A run does not mend this; statsig-sync verify --repair --select people does."
    assert compared.stdout.splitlines()[-1] == advice
    counted = command_here(project, "verify", "--counts-only")
    assert advice not in counted.stdout
    assert "4 ids in Statsig, 3 in the ledgers; run verify without --counts-only" in counted.stdout
    repaired = command_here(project, "verify", "--repair")
    assert repaired.returncode == 0, repaired.stderr
    assert repaired.stdout.splitlines() == [
        "people: segment people: 1 missing, 2 extra",
        "  such as cid, mallory, trudy; all of them are in statsig_drift_log",
        "  repair: people: finished, 3 of 3 delivered",
    ]


def test_verify_without_a_key_names_the_variable(project: Project, arrived: StandIn) -> None:
    synced(project, arrived, "mirror", "ann", "bob")
    finished = command_here(project, "verify", STATSIG_CONSOLE_API_KEY=None)
    assert (finished.returncode, "STATSIG_CONSOLE_API_KEY: is not set" in finished.stderr) == (2, True)


def test_a_project_without_segments_is_verified_too(project: Project) -> None:
    project.table("orders", "select 1 as order_id, 'ann' as user_id")
    project.sync("orders", "orders", {"object": "events", "unique_key": "order_id", "event_name": "order"})
    for arguments in ((), ("--select", "orders")):
        found = verify(project, *arguments)
        assert (found["segments"], [one["sync_name"] for one in found["events"]]) == ([], ["orders"])
    assert verify(project, STATSIG_CONSOLE_API_KEY=None)["notes"] == [
        "orders: events cannot be verified without STATSIG_CONSOLE_API_KEY."
    ]


def test_a_segment_that_vanished_is_not_made_again_in_silence(project: Project, arrived: StandIn) -> None:
    meta = {"object": "segment", "segment_id": "people", "mode": "mirror"}
    project.table("people", "select unnest(['ann', 'bob']) as user_id")
    project.sync("people", "people", meta)
    arrived.put_segment("people")
    project.run()
    requests.post(f"{arrived.url}/sandbox/reset", timeout=60).raise_for_status()
    project.table("people", "select unnest(['ann', 'bob', 'cid']) as user_id")
    message = project.run(expect=2)["errors"][0]
    assert "is gone from Statsig, but the ledgers know 2 members" in message
    assert "verify --repair" in message
    finished = command_here(project, "verify")
    said = "is gone from Statsig, but the ledgers know 2 members"
    assert (finished.returncode, said in finished.stderr) == (1, True)

    arrived.put_segment("people")
    verify(project, "--repair")
    assert arrived.ids("people") == {"ann", "bob"}
    project.run()
    assert arrived.ids("people") == {"ann", "bob", "cid"}


def test_repairs_that_a_signal_stopped_are_not_finished(project: Project, arrived: StandIn) -> None:
    several_lists(project, arrived, "one", "two")
    for name in ("one", "two"):
        arrived.put_segment(name)
    ended: list[SyncResult] = []

    class _Listener(observers.QuietObserver):
        def ended(self, result: SyncResult) -> None:
            ended.append(result)

    manner = replace(manner_of(_Listener(io.StringIO())), should_stop=lambda: bool(ended))
    found = compare(world_of(project, StillClock()), VerifyRequest(repair=True), manner)
    assert [one.sync_name for one in found.unrepaired] == ["two"]
    assert last_states(project) == {"one": "finished", "two": "aborted"}


def test_allow_removals_is_for_mirrors(project: Project, arrived: StandIn) -> None:
    synced(project, arrived, "add", "ann")
    finished = command_here(project, "verify", "--allow-removals", "people")
    assert finished.returncode == 2
    assert "'people' names no mirror. The mirrors are: none." in finished.stderr


def test_a_list_that_others_fill_and_that_is_gone_is_for_them_to_fill_again(project: Project, arrived: StandIn) -> None:
    synced(project, arrived, "remove", "ann")
    requests.post(f"{arrived.url}/sandbox/reset", timeout=60).raise_for_status()
    said = command_here(project, "verify").stderr
    assert "whoever fills it does it again" in said
    assert "--repair" not in said


def test_a_name_that_is_no_sync_and_faults_of_exposures_end_verify_before_anything_is_compared(
    project: Project, arrived: StandIn
) -> None:
    synced(project, arrived, "mirror", "ann", "eve")
    finished = command_here(project, "verify", "--select", "nobody")
    assert (finished.returncode, "'nobody' names no sync" in finished.stderr) == (2, True)
    project.sync("broken", "people", {"object": "segment", "segment_id": "broken", "mode": "replace"})
    finished = command_here(project, "verify")
    assert (finished.returncode, "exposure broken" in finished.stderr) == (2, True)
