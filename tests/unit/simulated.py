"""A delivery under a simulated clock: requests take as long as a test says, and nothing waits for real."""

from __future__ import annotations

import gzip
import heapq
import itertools
import json
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import polars as pl

from sync.core.compression import compressed
from sync.core.delivery import Outcome, Patience, State
from sync.core.ledger import LINES, Batch, key_lines
from sync.core.requests import Request
from sync.run.deliver import Ending, Route, deliver
from sync.run.journal import Settled, Tally

ACCEPTED = Outcome(State.ACCEPTED, 202, None, attempts=1)
REFUSED = Outcome(State.REJECTED, 400, "no", attempts=1, should_split=True)
LOST = Outcome(State.UNKNOWN, None, "the connection was lost", attempts=1)
NOT_TAKEN = Outcome(State.UNSENT, 401, "no", attempts=1)


def events(keys: Iterable[int]) -> Request:
    """A request of events with these keys."""
    bodies = [json.dumps({"key": key, "value": 1.50}).encode() for key in keys]
    body = b'{"events":[' + b",".join(bodies) + b'],"statsigMetadata":{"sdkType":"test"}}'
    rows = [(str(key), f"hash {key}", "visit", key) for key in keys]
    return Request("log", pl.DataFrame(rows, schema=dict(LINES), orient="row"), compressed(body), len(body))


def ids(operation: str, keys: Iterable[str]) -> Request:
    """A request for ids of a list."""
    return Request(operation, key_lines(pl.Series(list(keys), dtype=pl.String)))


def keys_of(request: Request) -> list[str]:
    """The keys of a request; of events, those in its body."""
    keys = request.lines["key"].to_list()
    if request.body is not None:
        body = gzip.decompress(request.body)
        assert len(body) == request.body_bytes
        assert [str(event["key"]) for event in json.loads(body)["events"]] == keys
    return keys


@dataclass
class SimulatedClock:
    """``sync.core.clock.Clock``, of which only what waits and tells seconds is needed; ``watchers`` hear of it."""

    seconds: float = 0.0
    watchers: list[Callable[[float], None]] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        moment = self.seconds + seconds
        for watcher in self.watchers:
            watcher(moment)
        self.seconds = moment


@dataclass(frozen=True)
class Written:
    """A write of the ledgers: when, how many requests were under way then, and what was written."""

    at: float
    under_way: int
    left: int
    settled: Sequence[Settled]
    claims: Sequence[Batch]
    refused: Sequence[Settled]


@dataclass
class SimulatedLedgers:
    """``sync.run.journal.Journal`` as a delivery uses it; ``write_seconds`` is how long a write takes."""

    clock: SimulatedClock
    write_seconds: float = 0.0
    tally: Tally = field(default_factory=Tally)
    writes: list[Written] = field(default_factory=list)
    fail: Callable[[], None] = lambda: None
    lease_ends: float = float("inf")
    pool: Any = None

    def __post_init__(self) -> None:
        self.world = SimpleNamespace(clock=self.clock)
        self.lease = self
        self._numbers = itertools.count(1)

    @property
    def is_held(self) -> bool:
        return self.clock.seconds < self.lease_ends

    def batch(self, operation: str, lines: pl.DataFrame, body_bytes: int | None = None) -> Batch:
        number = next(self._numbers)
        return Batch(f"batch {number}", operation, number, lines.height, body_bytes, lines)

    def record(
        self, settled: Sequence[Settled], claims: Sequence[Batch] | None, refused: Sequence[Settled] = ()
    ) -> None:
        left = len(self.claimed - self.pool.begun_batches)
        self.writes.append(Written(self.clock.seconds, len(self.pool.running), left, settled, (), refused))
        self.clock.sleep(self.write_seconds)
        if claims is not None:
            self.fail()
            if not self.is_held:
                self.lease_ends = self.clock.seconds + 100
            self.writes[-1] = replace(self.writes[-1], claims=list(claims))

    @property
    def claimed(self) -> set[str]:
        return {batch.batch_id for one in self.writes for batch in one.claims}

    @property
    def outcomes(self) -> dict[str, list[State]]:
        """The states that were written of each batch, in order."""
        found: dict[str, list[State]] = {batch_id: [] for batch_id in self.claimed}
        for one in self.writes:
            for batch, outcome in one.settled:
                found[batch.batch_id].append(outcome.state)
        return found


@dataclass(frozen=True)
class Begun:
    """A request that has begun: when, and what it was."""

    at: float
    batch_id: str
    request: Request


@dataclass
class SimulatedPool:
    """``sync.run.senders.Pool`` in one thread. A request takes ``seconds(request)`` and ends as ``answer`` says."""

    concurrency: int
    clock: SimulatedClock
    ledgers: SimulatedLedgers
    answer: Callable[[Request], Outcome]
    seconds: Callable[[Request], float]
    begun: list[Begun] = field(default_factory=list)
    running: list[tuple[float, int, str, Outcome]] = field(default_factory=list)
    most_at_once: int = 0
    ended: list[tuple[float, str, Outcome]] = field(default_factory=list)
    is_closed: bool = False

    def __post_init__(self) -> None:
        self._queue: deque[tuple[str, Request]] = deque()
        self._answers: list[tuple[str, Outcome]] = []
        self._is_halted = False
        self.clock.watchers.append(self._go_on_until)

    @property
    def begun_batches(self) -> set[str]:
        return {one.batch_id for one in self.begun}

    def submit(self, batch_id: str, request: Request) -> None:
        assert not self.is_closed
        assert batch_id in self.ledgers.claimed, "a request that no ledger knows"
        self._queue.append((batch_id, request))
        self._start()

    def _start(self) -> None:
        self._is_halted = self._is_halted or not self.ledgers.is_held
        while self._queue and not self._is_halted and len(self.running) < self.concurrency:
            batch_id, request = self._queue.popleft()
            self.begun.append(Begun(self.clock.seconds, batch_id, request))
            end = self.clock.seconds + self.seconds(request)
            heapq.heappush(self.running, (end, len(self.begun), batch_id, self.answer(request)))
            self.most_at_once = max(self.most_at_once, len(self.running))

    def _go_on_until(self, moment: float) -> None:
        while self.running and self.running[0][0] <= moment:
            self._end_next()

    def _end_next(self) -> None:
        end, _, batch_id, outcome = heapq.heappop(self.running)
        self.clock.seconds = max(self.clock.seconds, end)
        self.ended.append((end, batch_id, outcome))
        self._answers.append((batch_id, outcome))
        self._is_halted = self._is_halted or outcome.state is not State.ACCEPTED
        self._start()

    def take(self, seconds: float) -> Sequence[tuple[str, Outcome]]:
        assert seconds > 0
        if not self._answers:
            moment = self.clock.seconds + seconds
            if self.running and self.running[0][0] <= moment:
                self._end_next()
            else:
                self.clock.seconds = moment
        answers, self._answers = self._answers, []
        return answers

    def withdraw(self) -> Sequence[str]:
        self._is_halted = False
        withdrawn = [batch_id for batch_id, _ in self._queue]
        self._queue.clear()
        return withdrawn

    def close(self) -> None:
        self.is_closed = True


@dataclass
class Simulation:
    """A delivery and all that it has to do with."""

    answer: Callable[[Request], Outcome] = lambda _: ACCEPTED
    seconds: Callable[[Request], float] = lambda _: 0.1
    concurrency: int = 8
    write_seconds: float = 0.0
    patience: Patience | None = None
    should_stop: Callable[[Simulation], bool] = lambda _: False
    ask: Callable[[Sequence[Settled]], Sequence[Settled]] | None = None
    accepted: int = 0

    def __post_init__(self) -> None:
        self.clock = SimulatedClock()
        self.ledgers = SimulatedLedgers(self.clock, self.write_seconds)
        self.pool = SimulatedPool(self.concurrency, self.clock, self.ledgers, self.answer, self.seconds)
        self.ledgers.pool = self.pool

    def run(self, requests: Iterable[Request]) -> Ending | None:
        route = Route(self.concurrency, self.patience, lambda: self.should_stop(self), self._progress, self.ask)
        return deliver(iter(requests), route, self.ledgers, self.pool)  # type: ignore[arg-type]

    def _progress(self, keys: int) -> None:
        self.accepted += keys

    @property
    def taken(self) -> list[str]:
        """The keys of the requests that were accepted, in the order in which they began."""
        states = {batch_id: outcome.state for _, batch_id, outcome in self.pool.ended}
        return [
            key for one in self.pool.begun if states.get(one.batch_id) is State.ACCEPTED for key in keys_of(one.request)
        ]
