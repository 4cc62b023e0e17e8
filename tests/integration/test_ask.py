"""``on_unknown: ask``: Statsig is asked about events in doubt before they are sent again or held."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest
import requests

from sync import sandbox
from sync.core.delivery import Patience
from sync.core.inquiry import LOOKS_AFTER
from sync.errors import ConfigError
from sync.run.apply import SyncResult
from sync.run.commands import RunReport, run
from sync.run.prepare import Request
from sync.sandbox import Settings
from tests.integration.harness import EXPIRE_LEASES, SERVER_SECRET, Project
from tests.integration.in_process import StillClock, command_here, manner_of, world_of
from tests.integration.scripted import scripted
from tests.integration.stand_in import LOG_EVENT, READ_LOGS, StandIn, rule

VISITS = {
    "object": "events",
    "unique_key": "id",
    "event_name": "visit",
    "backfill": "all",
    "on_unknown": "ask",
}
LOST, NOT_TAKEN = rule("reset", when="after"), rule("reset", when="before")
# What the events carry, so that those of others are told from them.
MINE = "visits/production"
# Between one look and the next.
WAITS = [LOOKS_AFTER[0], *(after - before for before, after in pairwise(LOOKS_AFTER))]


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def statsig(clock: StillClock) -> Iterator[Any]:
    """The sandbox, under the clock of the runs."""
    with sandbox.running(Settings(clock=clock.epoch)) as server:
        yield server


@dataclass(frozen=True)
class Visits:
    """A project with a sync of events, and its runs."""

    project: Project
    clock: StillClock

    def configure(self, **more: Any) -> None:
        self.project.sync("visits", "visits", {**VISITS, **more})

    def rows(self, *ids: int) -> None:
        self.project.table("visits", f"select unnest({list(ids)}) as id, 'ann' as user_id")

    def report(self, **patience: Any) -> RunReport:
        manner = replace(manner_of(), patience=Patience(**patience))
        if "should_stop" in patience:
            manner = replace(manner, should_stop=patience["should_stop"])
        return run(world_of(self.project, self.clock), Request(), manner)

    def run(self, **patience: Any) -> SyncResult:
        (result,) = self.report(**patience).results
        return result

    def waits(self) -> list[float]:
        """How long was waited for the looks, without the pauses before something is sent again."""
        return [round(pause) for pause in self.clock.pauses if pause > 5]

    def batches(self) -> list[tuple[Any, ...]]:
        return self.project.rows("select state, message from statsig_batches where operation = 'log' order by sequence")

    def unsettled(self) -> list[str]:
        return [row[0] for row in self.project.rows("select key from statsig_unsettled order by key")]


@pytest.fixture
def visits(project: Project, clock: StillClock) -> Visits:
    found = Visits(project, clock)
    found.rows(1, 2, 3)
    found.configure()
    return found


def ids(arrived: StandIn) -> list[str]:
    return sorted(event["metadata"]["id"] for event in arrived.events())


def test_a_lost_answer_is_looked_for_and_means_no_duplicate(visits: Visits, arrived: StandIn) -> None:
    arrived.faults(LOST)
    result = visits.run()
    assert (result.state, result.accepted, result.unknown, result.requests) == ("finished", 3, 0, 1)
    assert ids(arrived) == ["1", "2", "3"]
    assert visits.waits() == WAITS[:1]
    assert visits.batches() == [("accepted", "found in Statsig's logs")]
    assert visits.unsettled() == []
    assert visits.run().planned == 0


@pytest.mark.parametrize(("lag", "looks"), [(29, 1), (31, 2), (59, 2), (119, 3)])
def test_an_event_is_looked_for_several_times(visits: Visits, arrived: StandIn, lag: float, looks: int) -> None:
    arrived.settings(logs_lag_seconds=lag)
    arrived.faults(LOST)
    assert visits.run().accepted == 3
    assert visits.waits() == WAITS[:looks]
    assert ids(arrived) == ["1", "2", "3"]


def test_what_is_not_found_is_sent_again(visits: Visits, arrived: StandIn) -> None:
    arrived.faults(NOT_TAKEN)
    result = visits.run()
    assert (result.state, result.accepted, result.requests) == ("finished", 3, 2)
    assert visits.waits() == WAITS
    assert [state for state, _ in visits.batches()] == ["unknown", "accepted"]
    assert ids(arrived) == ["1", "2", "3"]


def test_what_is_not_found_is_held_where_the_sync_says_so(visits: Visits, arrived: StandIn) -> None:
    visits.configure(ask_then="hold")
    arrived.faults(NOT_TAKEN)
    result = visits.run()
    assert (result.state, result.unknown) == ("failed", 3)
    assert len(arrived.requests(LOG_EVENT)) == 1
    result = visits.run()
    assert (result.planned, result.waiting) == (0, 3)
    assert len(arrived.requests(LOG_EVENT)) == 1


def held_and_late(visits: Visits, arrived: StandIn) -> None:
    """Three events that arrived, and that the logs did not show yet while the run looked for them."""
    visits.configure(ask_then="hold")
    arrived.settings(logs_lag_seconds=600)
    arrived.faults(LOST)
    assert visits.run().unknown == 3
    visits.clock.sleep(600)
    visits.clock.pauses.clear()


def test_events_in_doubt_of_an_earlier_run_are_asked_about_once_and_settled(visits: Visits, arrived: StandIn) -> None:
    held_and_late(visits, arrived)
    report = visits.report()
    (result,) = report.results
    assert (result.planned, result.waiting) == (0, 0)
    assert report.plan.notes == (
        "visits: 3 event(s) in doubt of 1 batch(es) were found in Statsig's logs, and are not sent again.",
    )
    assert visits.waits() == []
    assert (visits.unsettled(), ids(arrived)) == ([], ["1", "2", "3"])


def test_events_of_an_earlier_run_that_are_found_do_not_go_again_with_resend_either(
    visits: Visits, arrived: StandIn
) -> None:
    held_and_late(visits, arrived)
    visits.configure()
    visits.rows(1, 2, 3, 4)
    assert visits.run().accepted == 1
    assert ids(arrived) == ["1", "2", "3", "4"]


def test_events_of_a_run_that_died_are_asked_about_too(visits: Visits, arrived: StandIn) -> None:
    held_and_late(visits, arrived)
    visits.configure()
    visits.project.execute("delete from statsig_batch_log where state <> 'claimed'", EXPIRE_LEASES)
    assert visits.run().planned == 0
    assert ids(arrived) == ["1", "2", "3"]


def test_events_that_went_under_a_former_name_are_settled_under_that_name(visits: Visits, arrived: StandIn) -> None:
    held_and_late(visits, arrived)
    visits.project.no_sync("visits")
    visits.project.sync("walks", "visits", {**VISITS, "renamed_from": "visits"})
    assert visits.run().planned == 0
    assert visits.project.rows("select sync_name, state from statsig_batches where operation = 'log'") == [
        ("visits", "accepted")
    ]
    assert ids(arrived) == ["1", "2", "3"]


def test_events_that_were_in_doubt_just_now_are_given_time_to_appear(visits: Visits, arrived: StandIn) -> None:
    visits.configure(ask_then="hold")
    arrived.settings(logs_lag_seconds=150)
    arrived.faults(LOST)
    assert visits.run().unknown == 3
    visits.project.execute(
        "update statsig_batch_log set logged_at = logged_at + interval 100 second where operation = 'log'"
    )
    visits.clock.pauses.clear()
    assert visits.run().waiting == 0
    # They were claimed 20 seconds before.
    assert visits.waits() == [10, 30]


def test_a_found_event_does_not_settle_others_that_went_in_other_requests(visits: Visits, arrived: StandIn) -> None:
    """The first request did not arrive; the second, with some of its events, did, and nobody has heard of either."""
    visits.configure(ask_then="resend")
    arrived.settings(logs_lag_seconds=10_000)
    arrived.faults(rule("reset", when="before", count=None))
    assert visits.run().unknown == 3
    visits.rows(3, 4)
    arrived.faults(rule("reset", when="after"), rule("status", status=401, count=None))
    visits.run()
    assert ids(arrived) == ["3", "4"]
    visits.clock.sleep(10_000)
    arrived.no_faults()
    visits.rows(1, 2, 3, 4)
    visits.run()
    assert ids(arrived) == ["1", "2", "3", "4"]


def first_run(visits: Visits) -> None:
    """Before a first run Statsig is asked too, whether it has the events already."""
    visits.rows(0)
    visits.run()
    visits.rows(0, 1, 2, 3)
    visits.clock.pauses.clear()


def test_what_others_have_sent_under_the_same_name_and_key_proves_nothing(visits: Visits, arrived: StandIn) -> None:
    first_run(visits)
    events = [
        {"eventName": "visit", "user": {"userID": "ann"}, "metadata": {"id": str(key), **more}}
        for key in (1, 2, 3)
        for more in ({}, {"statsig_sync": "visits/development"})
    ]
    body = {"events": events, "statsigMetadata": {}}
    headers = {"statsig-api-key": SERVER_SECRET}
    requests.post(f"{arrived.url}/v1/log_event", json=body, headers=headers, timeout=60).raise_for_status()
    arrived.faults(NOT_TAKEN)
    assert visits.run().state == "finished"
    marked = [one["metadata"]["id"] for one in arrived.events() if one["metadata"].get("statsig_sync") == MINE]
    assert sorted(marked) == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    "row",
    [
        {"event_name": "visits", "fields": {"metadata.id": "1", "metadata.statsig_sync": MINE}},
        {"event_name": "visit", "fields": {"metadata.id": "10", "metadata.statsig_sync": MINE}},
        {"event_name": "visit", "fields": {"metadata.id": "1", "metadata.statsig_sync": "others/production"}},
        {"event_name": "visit", "fields": {"metadata.id": "1"}},
        {"event_name": "visit"},
    ],
    ids=["another name", "another key", "another sync", "no sync", "no columns"],
)
def test_a_row_that_is_not_the_very_event_proves_nothing(visits: Visits, arrived: StandIn, row: dict[str, Any]) -> None:
    first_run(visits)
    answer = {"message": "ok", "data": [{"id": "x", "timestamp": "2026-01-01T00:00:00Z", **row}]}
    with scripted(
        lambda asked: (200, answer if asked.path.endswith("/logs") else {"message": "ok", "data": []})
    ) as other:
        visits.project.environment["STATSIG_CONSOLE_URL"] = other.url
        arrived.faults(NOT_TAKEN)
        assert visits.run().state == "finished"
    assert len(arrived.events()) == 4


@pytest.mark.parametrize("status", [403, 500])
def test_where_the_logs_cannot_be_asked_the_run_falls_back_and_says_so(
    visits: Visits, arrived: StandIn, status: int
) -> None:
    first_run(visits)
    broken = rule("status", call=READ_LOGS, status=status, count=None)
    arrived.faults(LOST, broken)
    result = visits.run()
    assert (result.state, result.accepted) == ("finished", 3)
    assert len(arrived.events()) == 7
    assert str(result.message).startswith(
        "Statsig could not be asked about events in doubt, so they are sent again (ask_then: resend): "
    )
    assert visits.waits() == WAITS[:1]

    visits.rows(0, 1, 2, 3, 4)
    visits.configure(ask_then="hold")
    arrived.faults(rule("reset", when="after"), broken)
    result = visits.run()
    assert "run again to go on. Statsig could not be asked" in str(result.message)
    assert "so they are held (ask_then: hold): " in str(result.message)
    (warning, *_) = visits.report().plan.warnings
    assert "so they are held (ask_then: hold): " in warning
    assert str(status) in warning


def test_a_key_that_is_not_in_the_metadata_refuses_ask_before_anything_is_sent(
    visits: Visits, arrived: StandIn
) -> None:
    visits.configure(exclude=["id"])
    with pytest.raises(ConfigError, match="Statsig's logs cannot be asked for column 'id'"):
        visits.run()
    assert arrived.requests() == []


def test_a_signal_ends_the_waiting(visits: Visits, arrived: StandIn) -> None:
    first_run(visits)
    asked = len(arrived.requests(READ_LOGS))
    arrived.faults(LOST)
    result = visits.run(should_stop=lambda: bool(visits.clock.pauses))
    assert (result.state, result.unknown) == ("aborted", 3)
    assert (visits.waits(), len(arrived.requests(READ_LOGS))) == (WAITS[:1], asked)
    assert visits.run().planned == 0
    assert ids(arrived) == ["0", "1", "2", "3"]


def test_events_with_times_of_long_ago_are_found(visits: Visits, arrived: StandIn) -> None:
    visits.project.table("visits", "select 1 as id, 'ann' as user_id, timestamp '2026-01-31 12:00' as event_time")
    arrived.faults(LOST)
    assert visits.run().accepted == 1
    assert ids(arrived) == ["1"]


def test_one_event_in_a_sampled_log_is_enough(visits: Visits, arrived: StandIn) -> None:
    arrived.settings(logs_sample_percent=60)
    visits.rows(*range(1200))
    arrived.faults(rule("reset", when="after", count=2))
    assert visits.run().accepted == 1200
    assert len(arrived.events()) in (1200, 1700, 2200, 1400)


def test_plan_says_that_run_will_ask(visits: Visits, arrived: StandIn) -> None:
    held_and_late(visits, arrived)
    finished = command_here(visits.project, "plan")
    assert "note: visits: before it sends, run asks Statsig about 3 event(s) in doubt; " in finished.stdout
    assert "are held (ask_then: hold)." in finished.stdout
    assert len(arrived.requests(LOG_EVENT)) == 1


@pytest.mark.parametrize("command", ["check", "run"])
def test_to_ask_needs_a_console_key(visits: Visits, command: str) -> None:
    finished = command_here(visits.project, command, STATSIG_CONSOLE_API_KEY=None)
    assert finished.returncode == 2
    assert (
        "exposure visits: config.meta.statsig.on_unknown: is ask, and to ask Statsig needs STATSIG_CONSOLE_API_KEY."
        in finished.stderr
    )


def test_the_ledgers_say_what_was_found(visits: Visits, arrived: StandIn) -> None:
    arrived.faults(LOST)
    visits.run()
    states = visits.project.rows("select state from statsig_batch_log where operation = 'log' order by rowid")
    assert [state for (state,) in states] == ["claimed", "unknown", "accepted"]
    assert dt.timedelta(0) < visits.clock.now() - visits.clock.start
