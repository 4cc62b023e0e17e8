"""How requests are claimed, sent, settled, split and sent again."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync.core.delivery import Outcome, Patience, State
from sync.core.requests import Request
from sync.errors import OvertakenError, WarehouseError
from sync.run.journal import Settled
from tests.unit.simulated import ACCEPTED, LOST, NOT_TAKEN, REFUSED, Simulation, events, ids, keys_of


def requests(count: int, size: int = 5) -> list[Request]:
    """So many requests of so many events each, with keys from 0 on."""
    return [events(range(place * size, (place + 1) * size)) for place in range(count)]


def refusing(*bad: int) -> object:
    """Statsig refuses a request with one of these keys."""
    return lambda request: REFUSED if {str(one) for one in bad} & set(keys_of(request)) else ACCEPTED


def assert_settled(found: Simulation) -> None:
    """Every request was claimed before it began (the pool sees to that) and has one outcome, as it was answered."""
    answered = {batch_id: outcome.state for _, batch_id, outcome in found.pool.ended}
    for batch_id, states in found.ledgers.outcomes.items():
        assert states == [answered.get(batch_id, State.UNSENT)]


def test_every_request_is_sent_in_order_and_settled() -> None:
    found = Simulation()
    assert found.run(requests(100)) is None
    assert found.taken == [str(key) for key in range(500)]
    assert found.ledgers.tally.accepted == found.accepted == 500
    assert found.ledgers.tally.requests == 100
    assert found.pool.most_at_once == 8
    assert found.pool.is_closed
    assert_settled(found)


@pytest.mark.parametrize("seconds", [0.01, 0.1, 3])
def test_while_requests_are_under_way_the_ledgers_are_written_at_most_once_a_second(seconds: float) -> None:
    found = Simulation(seconds=lambda _: seconds, write_seconds=0.05)
    found.run(requests(3_000 if seconds < 1 else 100))
    writes = found.ledgers.writes
    for before, after in itertools.pairwise(writes):
        has_nothing_to_do = after.under_way == 0 and after.left == 0
        assert has_nothing_to_do or after.at - before.at >= 1
    assert_settled(found)


def test_enough_is_claimed_ahead_that_nothing_waits_for_the_ledgers() -> None:
    found = Simulation(seconds=lambda _: 0.05, write_seconds=0.2)
    found.run(requests(4_000))
    assert found.clock.seconds < 1.1 * 4_000 * 0.05 / 8


def test_claims_ahead_are_bounded_however_fast_requests_are() -> None:
    found = Simulation(seconds=lambda _: 0.0001)
    found.run(requests(3_000))
    assert max(len(one.claims) for one in found.ledgers.writes) <= 400


def test_a_slow_request_keeps_no_other_from_being_sent() -> None:
    found = Simulation(seconds=lambda request: 60 if "0" in keys_of(request) else 0.1)
    found.run(requests(400))
    others = [end for end, batch_id, _ in found.pool.ended if batch_id != "batch 1"]
    assert len(others) == 399
    assert max(others) < 30
    assert_settled(found)


def test_a_refused_request_is_split_until_its_bad_rows_stand_alone_and_all_others_are_taken() -> None:
    found = Simulation(refusing(3, 77, 78))
    assert found.run(requests(40, size=20)) is None
    assert sorted(found.taken, key=int) == [str(key) for key in range(800) if key not in (3, 77, 78)]
    refused = [batch.lines["key"].to_list() for one in found.ledgers.writes for batch, _ in one.refused]
    assert sorted(refused) == [["3"], ["77"], ["78"]]
    tally = found.ledgers.tally
    assert (tally.accepted, tally.rejected, tally.unknown) == (797, 3, 0)
    assert_settled(found)


def test_what_follows_from_a_refusal_does_not_keep_new_requests_from_being_sent() -> None:
    found = Simulation(refusing(*range(0, 20_000, 500)), write_seconds=0.1)
    found.run(requests(400, size=50))
    assert found.ledgers.tally.accepted == 20_000 - 40
    assert found.clock.seconds < 40


def test_a_fault_that_is_in_every_row_ends_the_sync_after_few_requests_and_blames_no_row() -> None:
    found = Simulation(lambda _: REFUSED)
    ending = found.run(requests(1_000, size=500))
    assert ending is not None
    assert ending.refusals >= 20
    assert len(found.pool.begun) < 150
    assert not any(one.refused for one in found.ledgers.writes)
    assert found.ledgers.tally.rejected == 0
    assert_settled(found)


def test_a_fault_that_begins_in_the_middle_ends_the_sync_after_few_requests_and_blames_no_row() -> None:
    numbers = itertools.count()
    found = Simulation(lambda _: ACCEPTED if next(numbers) < 3_000 else REFUSED, seconds=lambda _: 0.01)
    ending = found.run(requests(5_000, size=100))
    assert ending is not None
    assert len(found.pool.begun) < 3_150
    assert found.ledgers.tally.accepted == 300_000
    assert not any(one.refused for one in found.ledgers.writes)
    assert_settled(found)


def test_a_key_that_is_refused_ends_the_sync_and_what_was_claimed_ahead_is_unsent() -> None:
    numbers = itertools.count()
    found = Simulation(lambda _: ACCEPTED if next(numbers) < 2_000 else NOT_TAKEN, seconds=lambda _: 0.02)
    ending = found.run(requests(5_000))
    assert ending is not None
    assert ending.outcome.http_status == 401
    assert len(found.pool.begun) <= 2_000 + 8
    assert len(found.ledgers.claimed) > len(found.pool.begun)
    assert_settled(found)


def test_an_outage_brings_few_requests_in_doubt_and_ends_the_sync_when_patience_does() -> None:
    numbers = itertools.count()
    found = Simulation(
        lambda _: ACCEPTED if next(numbers) < 2_000 else LOST, seconds=lambda _: 0.02, patience=Patience()
    )
    ending = found.run(requests(5_000))
    assert ending is not None
    assert ending.outcome.attempts == 4
    doubtful = {tuple(keys_of(one.request)) for one in found.pool.begun} - {
        tuple(batch.lines["key"]) for w in found.ledgers.writes for batch, o in w.settled if o is ACCEPTED
    }
    assert len(doubtful) <= 2 * 8 + 4
    assert found.ledgers.tally.unknown == 5 * len(doubtful)
    assert_settled(found)


def test_a_request_in_doubt_goes_again_when_its_pause_is_over_and_others_go_meanwhile() -> None:
    doubt = Outcome(State.UNKNOWN, 500, "HTTP 500", attempts=1, pause_seconds=5)
    answers = {"0": iter([doubt])}
    found = Simulation(lambda request: next(answers.get(keys_of(request)[0], iter(())), ACCEPTED), patience=Patience())
    assert found.run(requests(1_000)) is None
    first, second = [one.at for one in found.pool.begun if "0" in keys_of(one.request)]
    assert 5 <= second - first < 7
    assert sum(first < one.at < second for one in found.pool.begun) > 300
    assert (found.ledgers.tally.accepted, found.ledgers.tally.unknown) == (5_000, 0)
    assert_settled(found)


def test_what_may_not_go_again_ends_the_sync_in_doubt() -> None:
    found = Simulation(lambda request: LOST if "10" in keys_of(request) else ACCEPTED)
    ending = found.run(requests(50))
    assert ending is not None
    assert ending.outcome is not None
    assert found.ledgers.tally.unknown == 5
    assert_settled(found)


def test_a_stop_begins_nothing_more_and_settles_what_is_under_way() -> None:
    found = Simulation(seconds=lambda _: 0.5, should_stop=lambda it: it.clock.seconds >= 3)
    assert found.run(requests(1_000)) is None
    assert max(one.at for one in found.pool.begun) < 3.5
    assert found.ledgers.tally.accepted == 5 * len(found.pool.begun)
    assert_settled(found)


def test_a_run_that_was_overtaken_writes_down_what_it_sent_and_sends_no_more() -> None:
    found = Simulation()
    numbers = itertools.count()

    def overtaken() -> None:
        if next(numbers) == 3:
            raise OvertakenError("another run went on")

    found.ledgers.fail = overtaken
    with pytest.raises(OvertakenError):
        found.run(requests(500))
    assert found.pool.running == []
    assert_settled(found)


def test_a_run_that_stood_still_for_longer_than_its_lease_begins_nothing_before_it_has_looked_for_others() -> None:
    found = Simulation()
    found.ledgers.lease_ends = 5.05
    assert found.run(requests(1_000)) is None
    renewed = next(one.at for one in found.ledgers.writes if one.at > 5.05)
    assert [one.at for one in found.pool.begun if 5.05 < one.at < renewed] == []
    assert found.ledgers.tally.accepted == 5_000
    assert_settled(found)


def test_ledgers_that_fail_stop_the_delivery_when_what_is_under_way_was_answered() -> None:
    found = Simulation()
    numbers = itertools.count()

    def fail() -> None:
        if next(numbers) == 3:
            raise WarehouseError("the disk is full")

    found.ledgers.fail = fail
    with pytest.raises(WarehouseError):
        found.run(requests(500))
    assert found.pool.running == []


def test_one_at_a_time_is_strictly_in_order_and_halves_go_before_what_comes_next() -> None:
    found = Simulation(
        lambda request: REFUSED if "b" in keys_of(request) else ACCEPTED, concurrency=1, seconds=lambda _: 0.2
    )
    lists = [ids("remove", "abcd"), *(ids("add", [f"{letter}{number}" for number in range(3)]) for letter in "xyz")]
    assert found.run(lists) is None
    assert found.pool.most_at_once == 1
    begun = ["".join(keys_of(one.request)) for one in found.pool.begun]
    assert begun == ["abcd", "ac", "bd", "b", "d", "x0x1x2", "y0y1y2", "z0z1z2"]
    assert [one.request.operation for one in found.pool.begun] == ["remove"] * 5 + ["add"] * 3
    for key in "abcd":
        numbers = [int(one.batch_id.split()[1]) for one in found.pool.begun if key in keys_of(one.request)]
        assert numbers == sorted(numbers)
    assert_settled(found)


def test_one_at_a_time_is_also_written_at_most_once_a_second_while_one_is_under_way() -> None:
    found = Simulation(concurrency=1, seconds=lambda _: 0.1)
    found.run(ids("add", [f"id {number}"]) for number in range(200))
    assert len(found.ledgers.writes) < 30
    assert found.taken == [f"id {number}" for number in range(200)]


def test_what_is_in_doubt_is_written_before_statsig_is_asked_and_what_it_has_is_accepted() -> None:
    asked: list[str] = []

    def ask(settled: Sequence[Settled]) -> Sequence[Settled]:
        written = found.ledgers.outcomes
        assert all(written[batch.batch_id] == [State.UNKNOWN] for batch, _ in settled)
        asked.extend(batch.batch_id for batch, _ in settled)
        return [
            (batch, ACCEPTED) if "10" in batch.lines["key"].to_list() else (batch, outcome)
            for batch, outcome in settled
        ]

    doubts = {"10": iter([LOST]), "20": iter([LOST])}
    found = Simulation(
        lambda request: next(doubts.get(keys_of(request)[0], iter(())), ACCEPTED), patience=Patience(), ask=ask
    )
    assert found.run(requests(50)) is None
    assert sorted(asked) == ["batch 3", "batch 5"]
    assert Counter(found.taken)["10"] == 0
    assert Counter(found.taken)["20"] == 1
    assert (found.ledgers.tally.accepted, found.ledgers.tally.unknown) == (250, 0)
    assert found.ledgers.outcomes["batch 3"] == [State.UNKNOWN, State.ACCEPTED]


def test_a_stop_while_something_is_in_doubt_asks_about_it_and_begins_nothing() -> None:
    found = Simulation(
        lambda request: LOST if "0" in keys_of(request) else ACCEPTED,
        patience=Patience(),
        ask=lambda settled: settled,
        should_stop=lambda it: it.clock.seconds > 0.05,
    )
    assert found.run(requests(50)) is None
    assert len(found.pool.begun) == 8
    assert found.ledgers.tally.unknown == 5


_OUTCOMES = st.sampled_from([ACCEPTED, ACCEPTED, ACCEPTED, REFUSED, LOST, NOT_TAKEN])


@settings(max_examples=300, deadline=None)
@given(
    data=st.data(),
    sizes=st.lists(st.integers(1, 6), max_size=25),
    concurrency=st.integers(1, 9),
    patience=st.sampled_from([None, Patience(), Patience(attempts=2)]),
    bad=st.frozensets(st.integers(0, 60)),
    stop_at=st.none() | st.floats(0, 5),
)
def test_whatever_is_answered_every_key_is_settled_once(
    *,
    data: st.DataObject,
    sizes: list[int],
    concurrency: int,
    patience: Patience | None,
    bad: frozenset[int],
    stop_at: float | None,
) -> None:
    surprises = data.draw(st.dictionaries(st.integers(0, 60), _OUTCOMES, max_size=8))
    numbers = itertools.count()

    def answer(request: Request) -> Outcome:
        number = next(numbers)
        if {str(key) for key in bad} & set(keys_of(request)):
            return REFUSED
        return surprises.get(number, ACCEPTED)

    delays = data.draw(st.lists(st.floats(0.001, 3), min_size=1, max_size=5))
    found = Simulation(
        answer,
        seconds=lambda request: delays[int(keys_of(request)[0]) % len(delays)],
        concurrency=concurrency,
        write_seconds=data.draw(st.floats(0, 0.5)),
        patience=patience,
        should_stop=lambda it: stop_at is not None and it.clock.seconds >= stop_at,
    )
    starts = [0, *itertools.accumulate(sizes)]
    ending = found.run(events(range(first, first + size)) for first, size in zip(starts, sizes, strict=False))
    assert_settled(found)
    assert found.pool.most_at_once <= concurrency

    total, tally = sum(sizes), found.ledgers.tally
    fates = {key: fate_of(found, str(key)) for key in range(total)}
    counts = Counter(fates.values())
    assert counts["accepted"] == tally.accepted == found.accepted
    assert counts["rejected"] == tally.rejected
    assert counts["unknown"] == tally.unknown
    if ending is None and stop_at is None:
        assert counts["unsent"] == 0
    taken = Counter(found.taken)
    assert max(taken.values(), default=0) <= 1


def fate_of(found: Simulation, key: str) -> str:
    """What the ledgers say of a key."""
    if any(key in batch.lines["key"].to_list() for one in found.ledgers.writes for batch, _ in one.refused):
        return "rejected"
    states = {
        outcome.state
        for one in found.ledgers.writes
        for batch, outcome in one.settled
        if key in batch.lines["key"].to_list()
    }
    return next((state.value for state in (State.ACCEPTED, State.UNKNOWN) if state in states), "unsent")
