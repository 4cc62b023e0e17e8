"""What a seed stands for: data that change, faults of the network, and the moments at which a run is struck down.

Everything here follows from the seed alone. How far a run has come when it is struck does not: that is up to
the machine, so one seed is worth trying more than once.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from sync.sandbox.faults import DelayFault, FaultPlan, Match, RandomProfile, Rule, StatusFault

MIRROR, ADD, REMOVE = "mirror", "add", "remove"
MODES = (MIRROR, ADD, REMOVE)

EVENTS_PATH, ID_LIST_PATHS = "/v1/log_event", "/console/*/id_list"
_MOST_STEPS = 3
_SLOW_SECONDS = 0.06
_METHODS: tuple[Moment, ...] = ("POST", "PATCH", "DELETE")
# The highest count, and the longest time after it.
_BLOWS: dict[Moment, tuple[int, float]] = {
    "POST": (6, 2 * _SLOW_SECONDS),
    "PATCH": (2, 2 * _SLOW_SECONDS),
    "DELETE": (2, 2 * _SLOW_SECONDS),
    "ledger": (14, 0.02),
    "time": (1, 2.5),
}
_PEOPLE = tuple(f"user-{number}" for number in range(240)) + tuple(
    f"{odd}{number}" for odd in ("o'brien ", '"quoted" ', "Zoë-", "名前", "🙂", "a,b;", "\\n") for number in range(9)
)

Moment = Literal["POST", "PATCH", "DELETE", "ledger", "time"]


@dataclass(frozen=True)
class Event:
    """A row of the event model; ``version`` changes whenever the row does."""

    key: int
    version: int


@dataclass(frozen=True)
class DataSet:
    """What the models hold at one time: the audience of each segment mode, and the rows of the events."""

    audiences: dict[str, frozenset[str]]
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Blow:
    """A signal for a run: so many seconds after its ``count``-th request of a method reached Statsig, after it
    was seen writing to its ledgers for the ``count``-th time, or after it was started.
    """

    number: signal.Signals
    moment: Moment
    count: int
    seconds: float


@dataclass(frozen=True)
class Step:
    """A run: the data that it finds, the faults that it meets, what strikes it, and its options."""

    data: DataSet
    faults: FaultPlan
    blow: Blow | None
    options: tuple[str, ...]


@dataclass(frozen=True)
class Scenario:
    """A seed's story.

    ``members`` holds who is in a segment before the first run; None where there is no segment yet.
    ``is_fresh`` says whether runs are started as a user starts them, which takes longer. ``loses_journals`` says that
    each run finds itself on another machine than the one before, and ``folds`` that dbt folds the snapshot of the
    members whenever it builds the models.
    """

    seed: int
    steps: tuple[Step, ...]
    final: DataSet
    members: dict[str, frozenset[str] | None]
    on_unknown: Literal["resend", "hold"]
    on_first_run: Literal["adopt", "reset"]
    is_fresh: bool
    loses_journals: bool
    folds: bool


def scenario(seed: int) -> Scenario:
    """The story of a seed."""
    draw = random.Random(seed)
    sets = _data_sets(draw, draw.choice((2, 2, 2, _MOST_STEPS)) + 1)
    probability = draw.choice((0.1, 0.2, 0.35, 0.6))
    steps = tuple(_step(draw, data, seed * _MOST_STEPS + place, probability) for place, data in enumerate(sets[:-1]))
    # Sometimes nothing new comes after the last broken run: then all that is left to do is to settle it.
    final = draw.choice((sets[-1], sets[-2]))
    members = {mode: _members(draw, mode) for mode in MODES}
    on_unknown: Literal["resend", "hold"] = "hold" if draw.random() < 0.25 else "resend"
    on_first_run: Literal["adopt", "reset"] = "reset" if draw.random() < 0.25 else "adopt"
    return Scenario(
        seed,
        steps,
        final,
        members,
        on_unknown,
        on_first_run,
        is_fresh=seed % 20 == 0,
        loses_journals=draw.random() < 0.25,
        folds=draw.random() < 0.6,
    )


def _data_sets(draw: random.Random, count: int) -> list[DataSet]:
    audiences = {mode: _sample(draw, _PEOPLE, 30, 160) for mode in MODES}
    events = [Event(key, 0) for key in range(draw.randint(600, 2_400))]
    next_key = len(events)
    found = [DataSet(dict(audiences), tuple(events))]
    while len(found) < count:
        audiences = {mode: _changed(draw, audience) for mode, audience in audiences.items()}
        new = draw.choice((0, draw.randint(1, 400), draw.randint(600, 1_600)))
        kept = [Event(one.key, one.version + (draw.random() < 0.1)) for one in events if draw.random() > 0.02]
        events = [*kept, *(Event(key, 0) for key in range(next_key, next_key + new))]
        next_key += new
        found.append(DataSet(dict(audiences), tuple(events)))
    return found


def _changed(draw: random.Random, audience: frozenset[str]) -> frozenset[str]:
    """Some leave and some come; sometimes nobody does."""
    if draw.random() < 0.15:
        return audience
    left = _sample(draw, sorted(audience), 0, len(audience) // 2)
    return (audience - left) | _sample(draw, _PEOPLE, 1, 60)


def _sample(draw: random.Random, people: Sequence[str], least: int, most: int) -> frozenset[str]:
    return frozenset(draw.sample(people, draw.randint(least, most)))


def _members(draw: random.Random, mode: str) -> frozenset[str] | None:
    # A sync that only removes has nothing to do in a segment that is not there.
    if mode != REMOVE and draw.random() < 0.5:
        return None
    return _sample(draw, [*_PEOPLE, *(f"stranger-{number}" for number in range(40))], 1, 200)


def _step(draw: random.Random, data: DataSet, seed: int, probability: float) -> Step:
    blow = _blow(draw)
    rules = [_burst(draw)] if draw.random() < 0.4 else []
    if blow and blow.moment in _METHODS:
        # The request that the blow waits for takes its time, so that it is still under way then, or just over.
        slow = DelayFault(_SLOW_SECONDS, draw.choice(("before", "after")))
        rules.insert(0, Rule(slow, Match(method=blow.moment, nth=[blow.count])))
    # A run that cannot read ends before it sends anything, which is not what most stories are about.
    paths = (EVENTS_PATH, draw.choice(("/console/*", ID_LIST_PATHS, ID_LIST_PATHS)))
    return Step(data, FaultPlan(rules, RandomProfile(seed, probability, 0.05, paths)), blow, _options(draw))


def _burst(draw: random.Random) -> Rule:
    first, length = draw.randint(1, 4), draw.randint(2, 5)
    fault = StatusFault(429, retry_after=0, retry_after_form=draw.choice(("seconds", "http_date")))
    return Rule(fault, Match(path=draw.choice((EVENTS_PATH, ID_LIST_PATHS)), nth=list(range(first, first + length))))


def _blow(draw: random.Random) -> Blow | None:
    if draw.random() < 0.2:
        return None
    number = draw.choice((signal.SIGKILL,) * 9 + (signal.SIGTERM,))
    moment: Moment = draw.choice((*_METHODS, *_METHODS, "ledger", "time"))
    most, longest = _BLOWS[moment]
    return Blow(number, moment, draw.randint(1, most), draw.uniform(0, longest))


def _options(draw: random.Random) -> tuple[str, ...]:
    return ("--max-attempts", str(draw.choice((1, 2, 4, 6))), "--max-seconds", "20")


def ever(data_sets: Iterable[DataSet], mode: str) -> frozenset[str]:
    """Everybody who was in an audience at any of these times."""
    return frozenset().union(*(one.audiences[mode] for one in data_sets))
