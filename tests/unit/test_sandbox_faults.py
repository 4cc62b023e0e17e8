"""Which request gets which fault."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from sync.sandbox.faults import (
    BusyFault,
    FaultPlan,
    Faults,
    Match,
    RandomProfile,
    ResetFault,
    Rule,
    StatusFault,
    random_fault,
)

ID_LIST = "/console/v1/segments/buyers/id_list"
EVENTS = "/v1/log_event"


def requests_hit(match: Match, calls: list[tuple[str, str]]) -> list[int]:
    """The numbers of the calls, from 1, that a rule with this match gives a fault to."""
    faults = Faults()
    faults.follow(FaultPlan([Rule(ResetFault(), match)]))
    return [number for number, (method, path) in enumerate(calls, 1) if faults.choose(number, method, path, path)]


def test_a_rule_without_a_match_hits_every_request() -> None:
    assert requests_hit(Match(), [("GET", "/a"), ("POST", "/b")]) == [1, 2]


def test_a_rule_can_be_for_a_method_and_a_path_pattern() -> None:
    calls = [("PATCH", ID_LIST), ("DELETE", ID_LIST), ("PATCH", EVENTS), ("PATCH", ID_LIST + "/reset")]
    assert requests_hit(Match(method="patch", path="/console/*/id_list"), calls) == [1]


def test_nth_counts_only_the_requests_that_match() -> None:
    calls = [("GET", "/a"), ("POST", EVENTS), ("GET", "/a"), ("POST", EVENTS), ("POST", EVENTS)]
    assert requests_hit(Match(path=EVENTS, nth=[2, 3]), calls) == [4, 5]


def test_a_rule_fires_at_most_count_times() -> None:
    assert requests_hit(Match(count=2), [("GET", "/a")] * 5) == [1, 2]


def test_a_probability_draws_the_same_from_the_same_seed() -> None:
    calls = [("GET", "/a")] * 200
    hit = requests_hit(Match(probability=0.5, seed=1), calls)
    assert 60 < len(hit) < 140
    assert hit == requests_hit(Match(probability=0.5, seed=1), calls)
    assert hit != requests_hit(Match(probability=0.5, seed=2), calls)


def test_the_first_rule_that_fits_is_taken_and_recorded() -> None:
    faults = Faults()
    faults.follow(FaultPlan([Rule(BusyFault(), Match(count=1)), Rule(ResetFault())]))
    chosen = [faults.choose(number, "GET", "/a", "/shown") for number in (1, 2)]
    assert chosen == [BusyFault(), ResetFault()]
    assert [(fired.request, fired.rule, fired.path) for fired in faults.fired] == [(1, 0, "/shown"), (2, 1, "/shown")]


def test_a_new_plan_counts_from_the_start_and_keeps_the_record() -> None:
    faults = Faults()
    plan = FaultPlan([Rule(ResetFault(), Match(count=1))])
    for number in (1, 2, 3):
        faults.follow(plan)
        assert faults.choose(number, "GET", "/a", "/a") == ResetFault()
    assert len(faults.fired) == 3


def test_the_random_profile_depends_on_seed_and_request_number_only() -> None:
    def drawn(seed: int) -> list[object]:
        profile = RandomProfile(seed, probability=0.5)
        return [random_fault(profile, number, EVENTS) for number in range(100)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_the_random_profile_mixes_all_kinds_of_fault() -> None:
    profile = RandomProfile(3, probability=1.0)
    kinds = Counter(fault.kind for n in range(500) if (fault := random_fault(profile, n, ID_LIST)))
    assert set(kinds) == {"status", "body", "delay", "reset", "truncate", "slow_body", "busy"}


def test_the_random_profile_leaves_sdk_downloads_alone_and_answers_busy_for_id_lists_only() -> None:
    profile = RandomProfile(3, probability=1.0)
    assert {random_fault(profile, n, "/v1/get_id_lists") for n in range(50)} == {None}
    assert "busy" not in {fault.kind for n in range(500) if (fault := random_fault(profile, n, EVENTS))}


def test_a_fault_is_read_from_json_by_its_kind() -> None:
    plan = msgspec.json.decode(
        b'{"rules": [{"fault": {"kind": "status", "status": 503, "when": "after"}}]}', type=FaultPlan
    )
    assert plan.rules[0].fault == StatusFault(503, "after")


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "explode"},
        {"kind": "drop", "when": "after"},
        {"kind": "status"},
        {"kind": "status", "status": 200},
        {"kind": "body", "body": "x", "status": 500},
        {"kind": "truncate", "when": "before"},
        {"kind": "reset", "seconds": 1},
        {"kind": "delay", "seconds": -1},
    ],
)
def test_a_fault_with_an_option_that_it_does_not_have_is_refused(fault: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"rules": [{"fault": fault}]}, FaultPlan)
