"""``verify`` for events: what Statsig's logs and its counts of days prove of what it has accepted."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import pytest

from sync import sandbox
from sync.cli import printing
from sync.core import arrival
from sync.core.ledger import naive_utc
from sync.run.verify import Verification, VerifyRequest
from sync.run.verify import verify as compare
from sync.sandbox import Settings
from tests.integration.harness import Project
from tests.integration.in_process import StillClock, command_here, manner_of, run_still, world_of
from tests.integration.scripted import Asked, Said, scripted
from tests.integration.stand_in import READ_LOGS, READ_METRICS, StandIn, rule

HOUR = 3600.0
OLD_ENOUGH = 49 * HOUR
# Well inside of a day in the Pacific, in winter and in summer.
NOON = dt.time(20)
VISITS = {"object": "events", "unique_key": "id", "event_name": "visit", "backfill": "all"}


@pytest.fixture
def clock() -> StillClock:
    return StillClock(dt.datetime.combine(dt.datetime.now(dt.timezone.utc).date(), NOON, tzinfo=dt.timezone.utc))


@pytest.fixture
def statsig(clock: StillClock) -> Iterator[Any]:
    """The sandbox, under the clock of the runs."""
    with sandbox.running(Settings(clock=clock.epoch)) as server:
        yield server


def sent(project: Project, clock: StillClock, count: int, days_ago: int = 1, **more: Any) -> dt.date:
    """Sends so many events of some days ago, and gives back their day."""
    moment = naive_utc(clock.now() - dt.timedelta(days=days_ago))
    project.table(
        "visits", f"select range as id, 'u' as user_id, timestamp '{moment}' as event_time from range({count})"
    )
    project.sync("visits", "visits", {**VISITS, **more})
    assert run_still(project, clock).exit_code == 0
    return moment.date()


def verify(project: Project, clock: StillClock, *names: str, **more: Any) -> Verification:
    return compare(world_of(project, clock), VerifyRequest(names=names, **more), manner_of())


def day_count(value: Any) -> dict[str, Any]:
    return {"value": value, "unitType": "overall", "metricName": "visit", "metricType": "event_count"}


def keys(found: Verification) -> list[str]:
    return [one.verdict for its in found.arrivals for one in its.keys]


def days(found: Verification) -> list[tuple[Any, ...]]:
    return [
        (one.event_name, one.day, one.expected, one.counted, one.verdict, one.missing)
        for its in found.arrivals
        for one in its.days
    ]


def logged(project: Project) -> list[tuple[Any, ...]]:
    return project.rows(
        "select kind, event_name, key, day, expected, counted, verdict from statsig_arrival_log"
        " order by kind, try_cast(key as bigint), day"
    )


def test_events_that_arrived_are_found_and_their_day_is_fine(project: Project, clock: StillClock) -> None:
    day = sent(project, clock, 3)
    clock.sleep(OLD_ENOUGH)
    found = verify(project, clock)
    assert (keys(found), days(found), found.notes) == (["found"] * 3, [("visit", day, 3, 3, "fine", 0)], ())
    assert printing.verified_exit_code(found) == 0
    assert logged(project) == [
        ("day", "visit", None, day, 3, 3, "fine"),
        *[("key", "visit", str(key), None, None, None, "found") for key in range(3)],
    ]


def test_events_that_statsig_accepted_and_dropped_are_missing_and_the_exit_code_is_1(
    project: Project, clock: StillClock, arrived: StandIn
) -> None:
    arrived.drop_events("visit", percent=50)
    day = sent(project, clock, 60)
    dropped = len(arrived.dropped())
    assert 0 < dropped < 60
    clock.sleep(OLD_ENOUGH)
    found = verify(project, clock, sample=60)
    assert days(found) == [("visit", day, 60, 60 - dropped, "missing", dropped)]
    assert keys(found).count("not_found") == dropped
    assert printing.verified_exit_code(found) == 1


def test_a_day_that_is_too_young_proves_nothing(project: Project, clock: StillClock, arrived: StandIn) -> None:
    arrived.drop_events("visit", percent=50)
    sent(project, clock, 60)
    clock.sleep(47 * HOUR)
    found = verify(project, clock)
    assert [one[4] for one in days(found)] == ["too_young"]
    assert printing.verified_exit_code(found) == 0
    clock.sleep(2 * HOUR)
    assert printing.verified_exit_code(verify(project, clock)) == 1


def test_a_day_for_which_statsig_has_no_figure_is_not_known(
    project: Project, clock: StillClock, arrived: StandIn
) -> None:
    arrived.settings(metrics_lag_seconds=100 * HOUR)
    sent(project, clock, 3)
    clock.sleep(OLD_ENOUGH)
    found = verify(project, clock)
    assert [one[3:] for one in days(found)] == [(None, "unknown", 0)]
    assert printing.verified_exit_code(found) == 0


@pytest.mark.parametrize("beside", [(403, {"status": 403, "message": "no"}), (200, [])], ids=["403", "no figure"])
def test_an_event_that_may_count_for_a_day_whose_count_cannot_be_had_is_not_surely_missing(
    project: Project, clock: StillClock, beside: Said
) -> None:
    noon = clock.now() - dt.timedelta(days=4)
    late = arrival.end_of(arrival.pacific_day(naive_utc(noon))) - dt.timedelta(seconds=30)
    project.table(
        "visits",
        "select range as id, 'u' as user_id,"
        f" case range when 0 then timestamp '{late}' else timestamp '{naive_utc(noon)}' end as event_time"
        " from range(5)",
    )
    project.sync("visits", "visits", VISITS)
    assert run_still(project, clock).exit_code == 0
    clock.sleep(OLD_ENOUGH)

    def answer(asked: Asked) -> Said:
        if not asked.path.endswith("/metrics/values"):
            return 200, {"message": "ok", "data": []}
        return (200, [day_count(4)]) if asked.parameters["date"] == noon.date().isoformat() else beside

    with scripted(answer) as server:
        project.environment["STATSIG_CONSOLE_URL"] = server.url
        found = verify(project, clock)
    assert days(found) == [("visit", noon.date(), 5, 4, "unknown", 0)]
    assert printing.verified_exit_code(found) == 0


@pytest.mark.parametrize("value", [1e308, 10**30, -1])
def test_a_count_that_can_be_none_is_not_known_and_the_other_days_are(
    project: Project, clock: StillClock, value: float
) -> None:
    days_ago = [clock.now() - dt.timedelta(days=days) for days in (3, 2)]
    times = ", ".join(f"timestamp '{naive_utc(moment)}'" for moment in days_ago)
    project.table(
        "visits", f"select generate_subscripts([{times}], 1) as id, 'u' as user_id, unnest([{times}]) as event_time"
    )
    project.sync("visits", "visits", VISITS)
    assert run_still(project, clock).exit_code == 0
    clock.sleep(OLD_ENOUGH)
    odd, other = (moment.date() for moment in days_ago)

    def answer(asked: Asked) -> Said:
        if not asked.path.endswith("/metrics/values"):
            return 200, {"message": "ok", "data": []}
        return 200, [day_count(value if asked.parameters["date"] == odd.isoformat() else 1)]

    with scripted(answer) as server:
        project.environment["STATSIG_CONSOLE_URL"] = server.url
        found = verify(project, clock)
    assert days(found) == [("visit", odd, 1, None, "unknown", 0), ("visit", other, 1, 1, "fine", 0)]
    assert found.notes == (
        "visits: Statsig's counts of days could not all be read: HTTP 200: the answer cannot be read.",
    )
    assert printing.verified_exit_code(found) == 0


def test_what_others_send_under_the_same_name_does_not_matter(
    project: Project, clock: StillClock, arrived: StandIn
) -> None:
    sent(project, clock, 3)
    project.table("others", f"select 1 as number, 'u' as user_id, timestamp '{naive_utc(clock.now())}' as event_time")
    project.sync("others", "others", {**VISITS, "unique_key": "number"})
    assert run_still(project, clock).exit_code == 0
    project.execute("delete from statsig_changelog where sync_name = 'others'")
    clock.sleep(OLD_ENOUGH)
    assert {one[4] for one in days(verify(project, clock, "visits"))} == {"fine"}


@pytest.mark.parametrize(
    "settings",
    [{"logs_lag_seconds": 100 * HOUR}, {"logs_sample_percent": 0}, {"logs_retention_seconds": 24 * HOUR}],
    ids=["lag", "sample", "retention"],
)
def test_an_event_that_is_not_in_the_logs_proves_nothing(
    project: Project, clock: StillClock, arrived: StandIn, settings: dict[str, float]
) -> None:
    arrived.settings(**settings)
    sent(project, clock, 3)
    clock.sleep(OLD_ENOUGH)
    found = verify(project, clock)
    assert keys(found) == ["not_found"] * 3
    assert printing.verified_exit_code(found) == 0


def test_where_statsig_does_not_let_the_key_ask_nothing_is_known(
    project: Project, clock: StillClock, arrived: StandIn
) -> None:
    sent(project, clock, 3)
    clock.sleep(OLD_ENOUGH)
    asked = len(arrived.requests(READ_LOGS))
    arrived.faults(*(rule("status", call=call, status=403, count=None) for call in (READ_LOGS, READ_METRICS)))
    found = verify(project, clock)
    assert (keys(found), [one[4] for one in days(found)]) == (["unknown"] * 3, ["unknown"])
    assert [note.partition(":")[0] for note in found.notes] == ["visits", "visits"]
    assert all("403" in note for note in found.notes)
    assert len(arrived.requests(READ_LOGS)) == asked + 1
    assert printing.verified_exit_code(found) == 0


def test_keys_that_are_not_in_the_metadata_cannot_be_looked_for_and_the_days_can(
    project: Project, clock: StillClock, arrived: StandIn
) -> None:
    sent(project, clock, 3, exclude=["id"])
    clock.sleep(OLD_ENOUGH)
    found = verify(project, clock)
    assert (keys(found), [one[4] for one in days(found)]) == (["unknown"] * 3, ["fine"])
    (note,) = found.notes
    assert note.startswith("visits: single events cannot be looked for in Statsig's logs: id is not in their metadata")
    assert arrived.requests(READ_LOGS) == []


def test_a_sample_is_as_large_as_it_is_asked_for_and_counts_alone_need_none(
    project: Project, clock: StillClock, arrived: StandIn
) -> None:
    sent(project, clock, 50)
    assert len(keys(verify(project, clock))) == 20
    assert len(keys(verify(project, clock, sample=7))) == 7
    asked = len(arrived.requests(READ_LOGS))
    found = verify(project, clock, counts_only=True)
    assert (keys(found), len(days(found))) == ([], 1)
    assert len(arrived.requests(READ_LOGS)) == asked


def test_events_without_a_time_are_looked_for_when_they_were_sent(project: Project, clock: StillClock) -> None:
    project.table("visits", "select 1 as id, 'u' as user_id")
    project.sync("visits", "visits", VISITS)
    assert run_still(project, clock).exit_code == 0
    clock.sleep(3 * 24 * HOUR)
    found = verify(project, clock)
    assert (keys(found), [one[2:5] for one in days(found)]) == (["found"], [(1, 1, "fine")])


def test_requests_and_days_of_more_than_a_week_ago_are_not_looked_at(project: Project, clock: StillClock) -> None:
    sent(project, clock, 3)
    clock.sleep(9 * 24 * HOUR)
    found = verify(project, clock)
    assert (keys(found), days(found)) == ([], [])


@pytest.mark.parametrize("more", [{"sample": 0}, {"counts_only": True}], ids=["no sample", "counts only"])
def test_events_of_older_days_that_were_accepted_lately_are_not_said_to_be_none(
    project: Project, clock: StillClock, capsys: pytest.CaptureFixture[str], more: dict[str, Any]
) -> None:
    def said() -> str:
        printing.print_verified(verify(project, clock, **more))
        return capsys.readouterr().out

    sent(project, clock, 3, days_ago=20)
    assert said() == (
        "visits: events: 3 accepted in the last 7 days, none of a day that is looked at; no single one was looked for\n"
    )
    clock.sleep(9 * 24 * HOUR)
    assert said() == "visits: events: none were accepted in the last 7 days\n"


def test_names_and_select_choose_syncs_of_both_kinds(project: Project, clock: StillClock, arrived: StandIn) -> None:
    sent(project, clock, 1)
    arrived.put_segment("people")
    project.table("people", "select 'ann' as user_id")
    project.sync("people", "people", {"object": "segment", "segment_id": "people", "mode": "mirror"})
    project.table("others", "select 1 as id, 'u' as user_id")
    project.sync("again", "others", {**VISITS, "event_name": "other"})
    assert run_still(project, clock).exit_code == 0
    for names, select, events, segments in (
        ((), (), ["again", "visits"], ["people"]),
        (("vis*",), (), ["visits"], []),
        ((), ("people",), [], ["people"]),
        (("exposure:again",), ("people",), ["again"], ["people"]),
    ):
        found = verify(project, clock, *names, select=select)
        assert [one.sync_name for one in found.arrivals] == events
        assert [one.sync_name for one in found.segments] == segments


def test_what_a_sync_has_sent_under_a_former_name_is_its_own(project: Project, clock: StillClock) -> None:
    sent(project, clock, 3)
    project.no_sync("visits")
    project.sync("walks", "visits", {**VISITS, "renamed_from": "visits"})
    clock.sleep(OLD_ENOUGH)
    found = verify(project, clock)
    assert (keys(found), [one[2:5] for one in days(found)]) == (["found"] * 3, [(3, 3, "fine")])


def test_events_without_a_console_key_are_a_note(project: Project, clock: StillClock) -> None:
    sent(project, clock, 1)
    finished = command_here(project, "verify", "--json", STATSIG_CONSOLE_API_KEY=None)
    found = json.loads(finished.stdout)
    assert (finished.returncode, found["events"], found["errors"]) == (0, [], [])
    assert found["notes"] == ["visits: events cannot be verified without STATSIG_CONSOLE_API_KEY."]


def test_verify_says_in_words_what_arrived(
    project: Project, clock: StillClock, arrived: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    arrived.drop_events("visit", percent=50)
    day = sent(project, clock, 60)
    clock.sleep(OLD_ENOUGH)
    found = verify(project, clock, sample=60)
    printing.print_verified(found)
    dropped = len(arrived.dropped())
    assert capsys.readouterr().out.splitlines() == [
        f"visits: events: of those looked for, {60 - dropped} found, {dropped} not found (which proves nothing)",
        f"  {day} visit: 60 accepted, {60 - dropped} counted in Statsig: {dropped} are missing",
        f"  {dropped} event(s) that Statsig accepted are missing; a run does not send them again",
    ]


def test_the_real_command_takes_names_and_a_sample(project: Project, clock: StillClock) -> None:
    sent(project, clock, 5)
    finished = command_here(project, "verify", "visits", "--sample", "2", "--json")
    assert finished.returncode == 0, finished.stderr
    (found,) = json.loads(finished.stdout)["events"]
    assert (found["sync_name"], len(found["keys"]), found["days"][0]["verdict"]) == ("visits", 2, "too_young")
    assert command_here(project, "verify", "nobody").stderr.startswith("error: NAME: 'nobody' names no sync.")
    assert command_here(project, "verify", "--sample", "-1").returncode == 2
