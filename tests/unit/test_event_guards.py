"""What events are refused for: the rules by themselves."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from sync.core.event_guards import event_notes, event_refusals, with_allowed_events
from sync.core.history import Arrived, EventHistory, FirstRun, KeySource, LastSent, OtherLedgers, Sibling
from sync.core.lineage import Identity
from sync.core.log_query import event_query
from sync.core.plan import EventPlan, EventTimes
from sync.spec.model import EventConfig
from tests.event_plans import KEYS
from tests.event_plans import event_plan as plan


def messages(one: EventPlan, *allowed: str) -> list[str]:
    return [refusal.message for refusal in event_refusals([one], allowed)]


SIBLING = Sibling(Identity("statsig", "old"), 5, is_live=False)
NO_FIRST_RUNS = [
    (FirstRun(siblings=(SIBLING,)), "write renamed_from: old under"),
    (
        FirstRun(siblings=(Sibling(Identity("statsig:KEY", "old"), 5, is_live=False),)),
        "write renamed_from: {exposure: old, api_key_env: KEY} under",
    ),
    (
        FirstRun(siblings=(Sibling(Identity("statsig:KEY", "orders"), 5, is_live=False),)),
        "write renamed_from: {api_key_env: KEY} under",
    ),
    (FirstRun(siblings=(Sibling(Identity("statsig", "old"), 5, is_live=True),)), "Take one of the two out"),
    (FirstRun(elsewhere=(OtherLedgers("shop.main", 7),)), "ledgers in the schema shop.main"),
    (FirstRun(was_seen=True), "statsig_build_log knows of earlier runs"),
    (FirstRun(arrived=Arrived(10, 1)), "Statsig has 1 of 10"),
]


@pytest.mark.parametrize(("first_run", "said"), NO_FIRST_RUNS)
def test_a_first_run_that_is_none_is_refused_with_what_to_write(first_run: FirstRun, said: str) -> None:
    risky = plan(5, EventHistory(first_run))
    (message,) = messages(risky)
    assert said in message
    assert message.endswith("run once with --allow-events orders.")
    assert messages(risky, "orders") == []
    assert with_allowed_events(risky, ("orders",)).overrides == "--allow-events orders"
    assert messages(plan(0, EventHistory(first_run))) == []


def test_what_is_allowed_does_not_stand_for_backfill() -> None:
    unwritten = EventConfig(object="events", unique_key="id")
    for first_run in (FirstRun(), FirstRun(siblings=(SIBLING,))):
        (message,) = messages(replace(plan(5, EventHistory(first_run)), config=unwritten), "orders")
        assert "Write backfill: all, none, or a date" in message


def test_nothing_is_overridden_where_nothing_would_be_refused() -> None:
    assert with_allowed_events(plan(5), ("orders",)).overrides is None
    both = with_allowed_events(plan(5, guard={"max_events": 4}, overrides="--allow-new-keys orders"), ("orders",))
    assert both.overrides == "--allow-new-keys orders, --allow-events orders"


@pytest.mark.parametrize(
    ("events", "usual", "is_refused"),
    [
        (1_000_000, None, False),
        (1_000_001, None, True),
        (10_000, 5, False),
        (10_001, 5, True),
        (50_000, 5_000, False),
        (50_001, 5_000, True),
    ],
)
def test_more_than_max_events_or_than_many_times_the_usual_is_refused(
    events: int, usual: float | None, is_refused: bool
) -> None:
    assert bool(messages(plan(events, EventHistory(keys_were_from=KEYS, usual=usual)))) is is_refused


@pytest.mark.parametrize(
    ("keys", "gone", "returning", "is_refused"),
    [
        (99, 99, 99, True),
        (99, 50, 50, True),
        (99, 49, 99, False),  # fewer than half are gone
        (99, 99, 98, False),  # fewer come for those times than have gone
        (2, 2, 2, False),  # too few to say
    ],
)
def test_keys_that_go_and_come_for_the_same_times_are_refused(
    keys: int, gone: int, returning: int, is_refused: bool
) -> None:
    history = EventHistory(keys_were_from=KEYS, last_sent=LastSent(keys, gone, 0, None))
    times = EventTimes(0, 9, returning)
    assert bool(messages(plan(99, history, times=times))) is is_refused
    assert messages(plan(99, history, times=times, guard={"allow_gone_keys": True})) == []


def test_without_a_time_keys_that_go_and_come_are_refused_whatever_they_are_of() -> None:
    history = EventHistory(keys_were_from=KEYS, last_sent=LastSent(10, 10, 0, None))
    assert len(messages(plan(10, history, has_time=False))) == 1
    assert messages(plan(9, history, has_time=False)) == []


def test_keys_of_another_column_have_to_be_those_that_were_sent() -> None:
    old = KeySource("model.shop.old", "id, text")
    gone, kept = (EventHistory(keys_were_from=old, last_sent=LastSent(10, one, 0, None)) for one in (10, 0))
    assert len(messages(plan(10, gone, has_time=False))) == 1
    assert messages(plan(10, kept, has_time=False)) == []


def test_duplicates_are_refused_above_their_share() -> None:
    assert messages(plan(5, duplicates=5)) == []
    assert len(messages(plan(5, duplicates=6))) == 1
    assert messages(plan(5, duplicates=6, guard={"max_duplicates_percent": 6})) == []


def test_notes_tell_of_metadata_that_is_gone_and_of_what_statsig_has() -> None:
    gone = EventHistory(last_sent=LastSent(1, 0, None, ("plan", "id")))
    (note,) = event_notes(plan(1, gone))
    assert "the metadata plan, which" in note
    assert event_notes(plan(1, EventHistory(last_sent=LastSent(1, 0, None, None)))) == ()
    days = {dt.date(2026, 7, 2): 3, dt.date(2026, 7, 1): 1_200, dt.date(2026, 7, 3): 0}
    (note,) = event_notes(plan(1, EventHistory(FirstRun(arrived=Arrived(days=days)))))
    assert "1,200 on 2026-07-01, 3 on 2026-07-02 (Pacific time)" in note
    (note,) = event_notes(plan(1, EventHistory(FirstRun(arrived=Arrived(problem="HTTP 403: no.")))))
    assert note.endswith("HTTP 403: no.")


def test_a_query_of_the_logs_quotes_what_it_looks_for() -> None:
    assert (
        event_query("order done", ("order_id", 'a "b" \\')) == 'event_name:"order done" AND @order_id:"a \\"b\\" \\\\"'
    )
