"""What arrived at the stand-in for Statsig, against the audiences, the events and the ledgers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import duckdb
import msgspec

from sync.sandbox.server import RunningSandbox
from tests.chaos.scenario import ADD, MIRROR, MODES, REMOVE, DataSet, Scenario, ever
from tests.integration.harness import Project

Keys = frozenset[str]


@dataclass(frozen=True)
class Batch:
    """A batch of events as the ledgers have it in the end."""

    batch_id: str
    state: str
    sequence: int
    keys: Keys


@dataclass(frozen=True)
class Ledgers:
    """What the ledgers say in the end.

    ``batches`` are those of events, in the order of their claims, and ``unsettled`` the events in doubt;
    ``changed`` has the ids per segment that were sent, or perhaps sent, ``members`` in or uncertain by
    segment and id, and ``doubts`` the batches whose outcome is not known, by operation.
    """

    batches: tuple[Batch, ...]
    unsettled: Keys
    changed: Mapping[str, Keys]
    members: Mapping[str, Mapping[str, str]]
    doubts: Counter[str]


def read_ledgers(project: Project) -> Ledgers:
    """Reads the ledgers through the views that people read."""
    with duckdb.connect(str(project.folder / "warehouse.duckdb"), read_only=True) as warehouse:
        batches = warehouse.execute(
            "select batch_id, any_value(state), any_value(sequence), list(key) from statsig_deliveries"
            " where operation = 'log' group by batch_id order by 3"
        ).fetchall()
        changed = warehouse.execute(
            "select destination, list(distinct key) from statsig_deliveries"
            " where operation in ('add', 'remove') and state in ('accepted', 'unknown') group by destination"
        ).fetchall()
        members: dict[str, dict[str, str]] = defaultdict(dict)
        for segment, one, status in warehouse.execute("select segment_id, id, status from statsig_members").fetchall():
            members[segment][one] = status
        doubts = warehouse.execute(
            "select operation, count(*) from statsig_batches where state = 'unknown' group by operation"
        ).fetchall()
        return Ledgers(
            tuple(Batch(batch_id, state, sequence, frozenset(keys)) for batch_id, state, sequence, keys in batches),
            frozenset(row[0] for row in warehouse.execute(_UNSETTLED_EVENTS).fetchall()),
            {segment: frozenset(ids) for segment, ids in changed},
            members,
            Counter(dict(doubts)),
        )


# Batches that were claimed by a run that did not live to write down what became of them.
OPEN_CLAIMS = "select count(*) from statsig_batches where settled_at is null"
# The most batches that a run which died has in doubt because nobody has their answer, by operation.
_DIED_OVER = """
    select operation, max(batches)
    from (
        select run_id, operation, count(*) as batches from statsig_batches
        where message = 'the run died before the answer came' group by run_id, operation
    )
    group by operation
"""
# What may be in flight at once: a list takes one request after the other.
_IN_FLIGHT = {"log": 8, "add": 1, "remove": 1}
_UNSETTLED_EVENTS = "select key from statsig_unsettled where operation = 'log'"


@dataclass(frozen=True)
class Evidence:
    """A project and its stand-in for Statsig, while no run is under way."""

    project: Project
    sandbox: RunningSandbox

    def members(self, mode: str) -> Keys:
        """Who is in the segment; nobody where there is none."""
        return frozenset(*(one.ids for one in self.sandbox.state.segments if one.id == mode))

    def event_requests(self) -> list[Keys]:
        """The keys of the events of each request that was applied, by arrival."""
        found: dict[int, list[str]] = defaultdict(list)
        for arrival in self.sandbox.state.events.arrivals():
            found[arrival.request].append(_KEY.decode(arrival.body).metadata.order_id)
        assert all(len(set(keys)) == len(keys) for keys in found.values()), "a request held an event twice"
        return [frozenset(keys) for keys in found.values()]


class _Metadata(msgspec.Struct):
    order_id: str


class _Event(msgspec.Struct):
    metadata: _Metadata


_KEY = msgspec.json.Decoder(_Event)


def waiting_code(project: Project) -> int:
    """The exit code of a run that delivers all it can: 1 while events of earlier runs wait for a person's word."""
    return int(bool(project.rows(_UNSETTLED_EVENTS)))


def check_doubts(project: Project) -> None:
    """After a run on the machine of the runs before: of each that died, no more is in doubt than was in flight."""
    for operation, batches in project.rows(_DIED_OVER):
        # A list of its own for each segment sync.
        most = _IN_FLIGHT[operation] * (1 if operation == "log" else len(MODES))
        assert batches <= most, f"{batches} batches ({operation}) are in doubt after a run died"


def check_delivered(evidence: Evidence, data: DataSet, may_hold: bool) -> None:
    """What a run that delivers all it can promises: all that the models hold is in Statsig; where events in doubt
    are held back (``may_hold``), they are listed instead. Exit code 0 says that none is.
    """
    audiences = data.audiences
    _assert_same(evidence.members(MIRROR), audiences[MIRROR], "the mirror's members")
    _assert_none(audiences[ADD] - evidence.members(ADD), "ids that were not added")
    _assert_none(audiences[REMOVE] & evidence.members(REMOVE), "ids that were not removed")
    arrived = frozenset().union(*evidence.event_requests())
    missing = {str(event.key) for event in data.events} - arrived
    if missing and may_hold:
        missing -= {row[0] for row in evidence.project.rows(_UNSETTLED_EVENTS)}
    _assert_none(missing, "events that did not arrive")


def check_segments(evidence: Evidence, ledgers: Ledgers, story: Scenario) -> None:
    """After the last run: nobody is where no audience put them, and the ledgers agree with the lists."""
    data_sets = [*(step.data for step in story.steps), story.final]
    before = {mode: story.members[mode] or frozenset() for mode in MODES}
    added, left = evidence.members(ADD), evidence.members(REMOVE)
    _assert_none(added - before[ADD] - ever(data_sets, ADD), "ids that nobody wanted added")
    _assert_none((before[ADD] | ledgers.changed.get(ADD, frozenset())) - added, "ids that an add lost")
    _assert_none(before[REMOVE] - ever(data_sets, REMOVE) - left, "ids that nobody wanted removed")
    _assert_none(left - before[REMOVE], "ids that a remove added")
    _assert_none(ledgers.changed.get(REMOVE, frozenset()) & left, "ids whose removal was undone")
    for mode in MODES:
        known = ledgers.members[mode]
        _assert_none({one for one, status in known.items() if status != "in"}, f"{mode}: ids still in doubt")
        _assert_same(frozenset(known), evidence.members(mode), f"{mode}: the members that the ledgers know")


def check_events(requests: Sequence[Keys], batches: Sequence[Batch], may_repeat: bool) -> tuple[Keys, int]:
    """After the last run: what arrived is what the ledgers say, batch by batch.

    A batch that is called accepted has arrived exactly once, one in doubt at most once, any other not at
    all, and no event was claimed again once it was accepted; none arrives more than once unless it
    ``may_repeat``. Returns those that did, and the number of batches in doubt that hold one.
    """
    # A batch in doubt is sent again as it was, so several batches may hold the same events.
    arrivals = Counter(requests)
    states: dict[Keys, Counter[str]] = defaultdict(Counter)
    for batch in batches:
        states[batch.keys][batch.state] += 1
    _assert_none([sorted(keys)[:3] for keys in arrivals.keys() - states.keys()], "requests that were never claimed")
    for keys, known in states.items():
        least, most = known["accepted"], known["accepted"] + known["unknown"]
        example = f"the batch with {sorted(keys)[:3]} arrived {arrivals[keys]} times and is known as {dict(known)}"
        assert least <= arrivals[keys] <= most, example
    _check_order(batches)
    repeated = frozenset(key for key, count in Counter(key for keys in requests for key in keys).items() if count > 1)
    in_doubt = frozenset().union(*(batch.keys for batch in batches if batch.state == "unknown"))
    _assert_none(repeated - in_doubt, "events that arrived more than once although no batch of theirs is in doubt")
    assert may_repeat or not repeated, f"held events were sent again: {sorted(repeated)[:5]}"
    return repeated, sum(1 for batch in batches if batch.state == "unknown" and batch.keys & repeated)


def _check_order(batches: Iterable[Batch]) -> None:
    accepted: set[str] = set()
    for batch in batches:
        _assert_none(batch.keys & accepted, f"events claimed again by batch {batch.sequence} after they were accepted")
        if batch.state == "accepted":
            accepted |= batch.keys


def _assert_same(found: Keys, expected: Keys, what: str) -> None:
    missing, extra = sorted(expected - found), sorted(found - expected)
    assert found == expected, f"{what}: {len(missing)} missing {missing[:5]}, {len(extra)} extra {extra[:5]}"


def _assert_none(found: Iterable[object], what: str) -> None:
    listed = sorted(found, key=str)
    assert not listed, f"{what}: {len(listed)}, such as {listed[:5]}"
