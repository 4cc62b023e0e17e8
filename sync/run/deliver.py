"""Sends requests: each is claimed in the ledgers before it begins, and settled there after it was answered.

The ledgers are written at most once a second while requests are under way: claims of those that will begin until the
next write, and the outcomes of those that were answered since the last. Nothing waits for all requests in flight.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from sync.core.delivery import FollowUp, Outcome, Patience, State, follow_up
from sync.core.ledger import Batch
from sync.core.pace import Pace
from sync.core.requests import Request
from sync.errors import OvertakenError
from sync.run.journal import Journal, Settled
from sync.run.senders import Pool

# Rows refused one after the other, with none accepted between them, after which a sync gives up: the fault may not
# be in the rows.
_HOPELESS_REFUSALS = 20
# So many requests in a row that were not accepted are no sign yet of a fault that is not in the rows; or as many as go
# side by side.
_FEW_MISSES = 4
_WRITE_SECONDS = 1.0
# So long at most, and at least, answers are waited for before something else is looked at.
_LONGEST_LOOK, _SHORTEST_LOOK = 1.0, 0.01
# Bodies that are in memory because they are claimed.
_MOST_BYTES = 64 * 1024 * 1024
_NOT_BEGUN = Outcome(State.UNSENT, None, "the sync ended before it was sent")


@dataclass(frozen=True)
class Route:
    """How requests travel: how many side by side, and how long those in doubt are sent again.

    ``patience`` is None where what is in doubt must not go again; ``should_stop`` is asked before anything begins;
    ``progress`` is told the keys that were accepted. ``ask`` finds out what became of requests in doubt that the
    ledgers have, as far as that can be; None where nobody is asked.
    """

    concurrency: int
    patience: Patience | None
    should_stop: Callable[[], bool]
    progress: Callable[[int], None]
    ask: Callable[[Sequence[Settled]], Sequence[Settled]] | None = None


@dataclass(frozen=True)
class Ending:
    """The outcome that ended a sync early, with the attempts of all requests that the same keys have behind them.

    ``refusals`` counts rows refused in a row, where those ended it."""

    outcome: Outcome
    refusals: int = 0


@dataclass(frozen=True)
class _Claimed:
    """A request that the ledgers know; ``is_new`` says that it does not follow from another."""

    request: Request
    batch: Batch
    is_new: bool


def deliver(requests: Iterator[Request], route: Route, journal: Journal, pool: Pool) -> Ending | None:
    """Sends all requests; returns what ended it early, or None when all were tried."""
    delivery = _Delivery(route, journal, pool, _Source(requests))
    try:
        return delivery.run()
    except OvertakenError:
        delivery.drain()
        delivery.write_rest()
        raise
    except Exception:
        # What is answered now is not in the ledgers any more, but in the local journal.
        delivery.drain()
        raise
    finally:
        # Whoever stops the process at once must not wait for the answers: the claims stand in the ledgers.
        pool.close()


class _Source:
    """The new requests, with a look at the next."""

    def __init__(self, requests: Iterator[Request]) -> None:
        self._requests = requests
        self._next: Request | None = None

    @property
    def is_empty(self) -> bool:
        if self._next is None:
            self._next = next(self._requests, None)
        return self._next is None

    def take(self) -> Request | None:
        if self.is_empty:
            return None
        found, self._next = self._next, None
        return found


@dataclass
class _Delivery:
    """A delivery under way.

    A request is in one place at a time: new in the ``source``, following from another in ``waiting`` with the moment
    (of the clock) before which it does not go, ``claimed_again`` or ``claimed_new`` once the ledgers know it,
    ``under_way`` by its batch, and of those that were answered ``asking`` while Statsig is to be asked about it,
    ``suspects`` where its row was refused by itself since Statsig last took something: only when it takes another is
    the fault known to be in the rows. ``settled`` and ``refused`` are what the ledgers have yet to learn.
    ``misses`` counts the answers since the last acceptance; ``may_probe`` says that with what follows from others a
    new request may go too.
    """

    route: Route
    journal: Journal
    pool: Pool
    source: _Source
    waiting: deque[tuple[float, Request]] = field(default_factory=deque)
    claimed_again: deque[_Claimed] = field(default_factory=deque)
    claimed_new: deque[_Claimed] = field(default_factory=deque)
    under_way: dict[str, _Claimed] = field(default_factory=dict)
    asking: list[tuple[_Claimed, Settled]] = field(default_factory=list)
    suspects: list[tuple[Request, Settled]] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)
    refused: list[Settled] = field(default_factory=list)
    misses: int = 0
    may_probe: bool = False
    ending: Ending | None = None

    def __post_init__(self) -> None:
        self.clock = self.journal.world.clock
        self.pace = Pace(self.route.concurrency)
        self.written_at = self.clock.monotonic()

    def run(self) -> Ending | None:
        """Sends until all is settled, or something ends it."""
        is_complete = False
        while not (is_complete or self.ending or self.route.should_stop()):
            is_complete = not self._go_on()
        self.drain()
        if self.asking:
            self._write(())
            self._ask()
        if is_complete:
            self._blame()
        self.write_rest()
        return self.ending

    def _go_on(self) -> bool:
        """One step; returns false when nothing is left to do."""
        if not self.journal.lease.is_held:
            # The machine has slept, perhaps: another run may be at work.
            self.drain()
            self._write(())
        self._begin()
        if self.under_way:
            if self._is_write_due():
                self.pace.go_by(self.clock.monotonic() - self.written_at)
                self._write_and_ask(self._next_claims())
            else:
                self._take(self._look_seconds())
            return True
        if not (self.waiting or self.asking) and self.source.is_empty:
            return False
        if not self._is_doubtful:
            self.pace.run_short()
        claims = self._next_claims()
        if claims or self.settled or self.refused:
            self._write_and_ask(claims)
        else:
            self.clock.sleep(max(0.0, min(due for due, _ in self.waiting) - self.clock.monotonic()))
        return True

    # What begins

    @property
    def _is_doubtful(self) -> bool:
        """Whether so many requests in a row were not accepted that the fault may be in none of them."""
        return self.misses >= max(_FEW_MISSES, self.route.concurrency)

    @property
    def _keeps_order(self) -> bool:
        """Whether nothing new may begin before what follows from a refusal: where one goes after the other."""
        return self.route.concurrency == 1 and any(not request.trail.doubts for _, request in self.waiting)

    def _begin(self) -> None:
        """Hands claimed requests to the pool: all of them, or few while Statsig takes nothing."""
        if not self._is_doubtful:
            while one := self._next_of_all():
                self._submit(one)
            return
        while len(self.under_way) < self.route.concurrency and (one := self._next_in_doubt()):
            self._submit(one)

    def _next_of_all(self) -> _Claimed | None:
        if self.claimed_again:
            return self.claimed_again.popleft()
        return self.claimed_new.popleft() if self.claimed_new and not self._keeps_order else None

    def _submit(self, one: _Claimed) -> None:
        self.under_way[one.batch.batch_id] = one
        self.pool.submit(one.batch.batch_id, one.request)

    def _next_in_doubt(self) -> _Claimed | None:
        """What follows from others goes first, but for one place for what is new: a fault that is not in the rows
        shows there.
        """
        is_new_at_work = any(one.is_new for one in self.under_way.values())
        is_its_turn = self.may_probe or not (self.waiting or self.asking)
        may_be_new = bool(self.claimed_new) and is_its_turn and not is_new_at_work
        is_last_place = self.route.concurrency > 1 and len(self.under_way) == self.route.concurrency - 1
        if may_be_new and (is_last_place or not self.claimed_again):
            self.may_probe = False
            return self.claimed_new.popleft()
        return self.claimed_again.popleft() if self.claimed_again else None

    def _withdraw(self) -> None:
        """Takes back what has not begun."""
        back = [self.under_way.pop(batch_id) for batch_id in self.pool.withdraw()]
        self.claimed_again.extendleft(one for one in reversed(back) if not one.is_new)
        self.claimed_new.extendleft(one for one in reversed(back) if one.is_new)

    # What is written

    def _is_write_due(self) -> bool:
        has_passed = self.clock.monotonic() - self.written_at >= _WRITE_SECONDS
        return has_passed and self._has_to_write()

    def _has_to_write(self) -> bool:
        return bool(self.settled or self.refused or self._has_due()) or self._room() > 0

    def _has_due(self) -> bool:
        now = self.clock.monotonic()
        return any(due <= now for due, _ in self.waiting)

    @property
    def _claimed(self) -> int:
        return len(self.under_way) + len(self.claimed_again) + len(self.claimed_new)

    def _room(self) -> int:
        """How many new requests to claim now."""
        if self.source.is_empty:
            return 0
        if self._is_doubtful:
            return 0 if self.claimed_new else 1
        claimed = [*self.under_way.values(), *self.claimed_again, *self.claimed_new]
        if sum(len(one.request.body or b"") for one in claimed) > _MOST_BYTES:
            return 0
        return max(0, self.pace.ahead - len(claimed))

    def _next_claims(self) -> Sequence[_Claimed]:
        """The requests to claim with the next write."""
        again = self._due(max(1, self.route.concurrency - 1) if self._is_doubtful else self.pace.ahead)
        room = self._room() - (0 if self._is_doubtful else len(again))
        new = [one for _ in range(room) if (one := self.source.take())]
        if not (again or new or self._claimed) and (first := self.source.take()):
            new = [first]
        return [self._claim(one, is_new=False) for one in again] + [self._claim(one, is_new=True) for one in new]

    def _claim(self, request: Request, is_new: bool) -> _Claimed:
        batch = self.journal.batch(request.operation, request.lines, request.body_bytes)
        return _Claimed(request, batch, is_new)

    def _due(self, most: int) -> Sequence[Request]:
        """Takes out what may go now, so many at most."""
        now = self.clock.monotonic()
        found: list[Request] = []
        left: deque[tuple[float, Request]] = deque()
        for due, request in self.waiting:
            if due <= now and len(found) < most:
                found.append(request)
            else:
                left.append((due, request))
        self.waiting = left
        return found

    def _write(self, claims: Sequence[_Claimed]) -> None:
        """Writes what is settled and what is claimed."""
        settled, self.settled = self.settled, []
        refused, self.refused = self.refused, []
        self.journal.record(settled, [one.batch for one in claims], refused)
        self.written_at = self.clock.monotonic()
        if any(not one.is_new for one in claims):
            # They go first.
            self._withdraw()
            self.may_probe = any(not (one.is_new or one.request.trail.doubts) for one in claims)
        self.claimed_again.extendleft(one for one in reversed(claims) if not one.is_new)
        self.claimed_new.extend(one for one in claims if one.is_new)

    def _write_and_ask(self, claims: Sequence[_Claimed]) -> None:
        self._write(claims)
        if self.asking:
            self._begin()
            self._ask()

    def _ask(self) -> None:
        assert self.route.ask is not None  # noqa: S101 - narrows the type
        asking, self.asking = self.asking, []
        answered = [settled for _, settled in asking]
        for (one, before), after in zip(asking, self.route.ask(answered), strict=True):
            if after is not before:
                self.settled.append(after)
            self._settle(one, after)

    # What was answered

    def _look_seconds(self) -> float:
        """How long to wait for answers."""
        now = self.clock.monotonic()
        moments = [due for due, _ in self.waiting]
        if self._has_to_write():
            moments.append(self.written_at + _WRITE_SECONDS)
        return max(_SHORTEST_LOOK, min([_LONGEST_LOOK, *(moment - now for moment in moments if moment > now)]))

    def _take(self, seconds: float) -> None:
        answered = self.pool.take(seconds)
        for batch_id, outcome in answered:
            one = self.under_way.pop(batch_id)
            settled = (one.batch, outcome)
            self.pace.answered += 1
            self.misses += 1
            self.settled.append(settled)
            if outcome.state is State.UNKNOWN and self.route.ask is not None:
                self.asking.append((one, settled))
            else:
                self._settle(one, settled)
        if any(outcome.state is not State.ACCEPTED for _, outcome in answered):
            self._withdraw()

    def _settle(self, one: _Claimed, settled: Settled) -> None:
        """Counts what became of a request, and notes what follows, or what ends the sync."""
        request, outcome = one.request, settled[1]
        if outcome.state is State.ACCEPTED:
            self.misses = 0
            self._blame()
        following = self._follow(request, settled)
        if one.is_new:
            self.waiting.extend(following)
        else:
            # Depth first: a fault that is in every row shows after few requests.
            self.waiting.extendleft(reversed(following))
        if self.ending is not None:
            return
        refusals = sum(suspect.size for suspect, _ in self.suspects)
        if outcome.state in (State.UNSENT, State.UNKNOWN) and not following:
            self.ending = Ending(request.trail.with_attempts(outcome))
        elif refusals >= _HOPELESS_REFUSALS:
            self.ending = Ending(outcome, refusals)

    def _follow(self, request: Request, settled: Settled) -> Sequence[tuple[float, Request]]:
        """Counts what became of a request, and returns what has to follow it, and when."""
        outcome, tally, now = settled[1], self.journal.tally, self.clock.monotonic()
        tally.requests += outcome.attempts
        match follow_up(outcome, request.size, request.trail, self.route.patience):
            case FollowUp.SPLIT:
                return [(now, half) for half in request.halves()]
            case FollowUp.RESEND:
                trail = request.trail.after(outcome)
                jitter = random.uniform(0, 0.5)  # noqa: S311 - not a secret
                return [(now + trail.pause_seconds + jitter, replace(request, trail=trail))]
            case FollowUp.REFUSE:
                self.suspects.append((request, settled))
            case FollowUp.NONE if outcome.state is State.ACCEPTED:
                tally.accepted += request.size
                self.route.progress(request.size)
            case FollowUp.NONE if outcome.state is State.UNKNOWN or request.trail.doubts:
                tally.unknown += request.size
        return ()

    def _blame(self) -> None:
        """The suspects are known to be at fault themselves: they are held back from now on."""
        self.refused += [settled for _, settled in self.suspects]
        self.journal.tally.rejected += sum(request.size for request, _ in self.suspects)
        self.suspects = []

    # The end

    def drain(self) -> None:
        """Begins nothing more, and waits for the answers to what is under way."""
        self._withdraw()
        while self.under_way:
            self._take(_LONGEST_LOOK)

    def write_rest(self) -> None:
        """Writes what is settled, and that what was claimed and has not begun was not sent.

        Counts the keys that are left and that an earlier request may have brought to Statsig.
        """
        claimed = [*self.claimed_again, *self.claimed_new]
        self.settled += [(one.batch, _NOT_BEGUN) for one in claimed]
        asked = [one.request for one, _ in self.asking]
        left = [request for _, request in self.waiting] + [request for request, _ in self.suspects]
        left += [one.request for one in claimed]
        self.journal.tally.unknown += sum(one.size for one in asked)
        self.journal.tally.unknown += sum(one.size for one in left if one.trail.doubts)
        if self.settled or self.refused:
            self.journal.record(self.settled, None, self.refused)
