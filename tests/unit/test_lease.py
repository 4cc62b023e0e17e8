"""The lease: whose claim on a sync counts."""

from __future__ import annotations

import datetime as dt

import pytest

from sync.core.lease import Claim, first_conflict, held_message, holding, overtaken_message
from sync.core.ledger import RunIdentity
from sync.core.lineage import Identity

NOW = dt.datetime(2026, 11, 1, 3, 0)


def claim(sync_name: str = "vips", minutes_left: float = 30, **more: str) -> Claim:
    what = {"project": "statsig", "object": "segment", "destination": "vips", **more}
    expires_at = NOW + dt.timedelta(minutes=minutes_left)
    return Claim("a", sync_name, **what, holder="host, process 1", since=NOW, expires_at=expires_at)


def run(sync_name: str = "vips", project: str = "statsig", object: str = "segment") -> RunIdentity:
    return RunIdentity("own", sync_name, project, "vips", object, "add", "here", "model.shop.vips", "invocation")


def test_another_runs_claim_holds_until_it_expires() -> None:
    assert holding([claim(minutes_left=1), claim(minutes_left=0), claim(minutes_left=-1)], NOW) == (
        claim(minutes_left=1),
    )


@pytest.mark.parametrize(
    ("other", "conflicts"),
    [
        (claim(), True),
        (claim("opt_outs"), True),
        (claim("opt_outs", destination="newsletter"), False),
        (claim(destination="where_it_was_before"), True),
        (claim(project="sandbox"), False),
        (claim("opt_outs", object="events"), False),
    ],
)
def test_a_claim_is_in_the_way_of_the_same_sync_and_of_one_that_writes_the_same_segment(
    other: Claim, conflicts: bool
) -> None:
    found = first_conflict([other], [run("elsewhere", "another"), run()])
    assert found == ((run(), other) if conflicts else None)


def test_two_event_syncs_are_not_in_each_others_way() -> None:
    other = claim("orders", object="events", destination="vips")
    assert first_conflict([other], [run(object="events")]) is None


def test_the_message_says_who_holds_the_sync_since_when_and_until_when() -> None:
    message = held_message(run(), claim())
    assert message.startswith("vips: another run of this sync")
    assert "run a of host, process 1" in message
    assert "since 2026-11-01 03:00:00 UTC" in message
    assert "2026-11-01 03:30:00 UTC" in message
    assert "another run of opt_outs, which writes the same segment," in held_message(run(), claim("opt_outs"))


def test_a_run_that_was_overtaken_says_by_whom() -> None:
    message = overtaken_message(run(), claim("opt_outs"))
    assert message.startswith("vips: ")
    assert "run a of host, process 1, at 2026-11-01 03:00:00 UTC" in message


def test_a_claim_of_a_sync_under_another_of_its_names_is_in_the_way() -> None:
    other = claim("vips_before", project="statsig:OLD", object="events")
    earlier = {"vips": (Identity("statsig:OLD", "vips_before"),), "others": (Identity("statsig", "vips_before"),)}
    found = first_conflict([other], [run("others", object="events"), run(object="events")], earlier)
    assert found == (run(object="events"), other)
    assert "another run of vips_before, as this sync is or was called elsewhere," in held_message(*found)
    assert first_conflict([claim("vips_before", object="events")], [run(object="events")], earlier) is None
