"""Sends parcels in waves: claim in the ledgers, send, settle with the next wave's claims.

A wave that dies half-way is in doubt as a whole, so waves are small; within one, requests go out side by
side where the destination allows it.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from sync.core.delivery import FollowUp, Outcome, Patience, State, Trail, follow_up
from sync.core.events import Event, request_body
from sync.core.ledger import Batch
from sync.run.journal import Journal, Settled

# Rows refused one after the other, with none accepted between them, after which a sync gives up: the fault may not
# be in the rows.
_HOPELESS_REFUSALS = 20


@dataclass(frozen=True)
class Parcel:
    """What one request carries: ids, or events; ``trail`` tells of the requests before it that are in doubt."""

    operation: str
    ids: Sequence[str] = ()
    events: Sequence[Event] = ()
    trail: Trail = field(default_factory=Trail)

    @property
    def size(self) -> int:
        """Keys in it."""
        return len(self.ids) or len(self.events)

    def halves(self) -> tuple[Parcel, Parcel]:
        """Two parcels, for a parcel of two keys or more.

        Neighbours part ways: rows that are bad often stand together, and good ones between them show that the
        fault is in the rows.
        """
        return (
            replace(self, ids=self.ids[::2], events=self.events[::2]),
            replace(self, ids=self.ids[1::2], events=self.events[1::2]),
        )

    def batch(self, journal: Journal) -> Batch:
        """The batch that the ledgers know it by."""
        if self.ids:
            return journal.batch(self.operation, self.ids, None, None)
        keys = [event.key for event in self.events]
        hashes = [event.row_hash for event in self.events]
        batch = journal.batch(self.operation, keys, hashes, len(request_body(self.events)))
        names, times = [event.name for event in self.events], [event.event_time for event in self.events]
        return replace(batch, event_names=names, event_times=times)


@dataclass(frozen=True)
class Route:
    """How parcels travel: what sends one, how many go side by side, and how long those in doubt are sent again.

    ``patience`` is None where what is in doubt must not go again; ``should_stop`` is asked between waves;
    ``progress`` is told the keys that were accepted. ``ask`` finds out what became of requests in doubt that the
    ledgers have, as far as that can be; None where nobody is asked.
    """

    send: Callable[[Parcel], Outcome]
    wave_size: int
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


def deliver(parcels: Iterator[Parcel], route: Route, journal: Journal) -> Ending | None:
    """Sends all parcels; returns what ended it early, or None when all were tried."""
    pool = ThreadPoolExecutor(max_workers=route.wave_size)
    try:
        return _Delivery(route, journal).run(parcels, pool)
    finally:
        # Whoever stops the process at once must not wait for the answers: the claims stand in the ledger.
        pool.shutdown(wait=False, cancel_futures=True)


@dataclass
class _Delivery:
    """A delivery under way.

    ``waiting`` holds what follows from requests that have ended, ``suspects`` rows that Statsig has refused by
    themselves since it last took something: only when it takes another is the fault known to be in the rows.
    """

    route: Route
    journal: Journal
    waiting: deque[Parcel] = field(default_factory=deque)
    suspects: list[tuple[Parcel, Settled]] = field(default_factory=list)

    def run(self, parcels: Iterator[Parcel], pool: ThreadPoolExecutor) -> Ending | None:
        """Sends wave after wave."""
        settled: Sequence[Settled] = []
        refused: list[Settled] = []
        ending: Ending | None = None
        while ending is None and not self.route.should_stop():
            wave = self._next_wave(parcels)
            if not wave:
                refused += self._at_fault()
                break
            batches = [parcel.batch(self.journal) for parcel in wave]
            self.journal.record(settled, batches, refused)
            answered = list(zip(batches, pool.map(self.route.send, wave), strict=True))
            outcomes, settled = self._asked(answered)
            ending = self._settle(wave, outcomes)
            refused = self._at_fault() if _was_any_taken(outcomes) else []
        self._count_doubts()
        if settled or refused:
            self.journal.record(settled, [], refused)
        return ending

    def _next_wave(self, parcels: Iterator[Parcel]) -> list[Parcel]:
        """What waits goes first, but for one place for what is new: a fault that is not in the rows shows there."""
        size = self.route.wave_size
        new = list(itertools.islice(parcels, 1 if size > 1 else 0))
        again = [self.waiting.popleft() for _ in range(min(size - len(new), len(self.waiting)))]
        return again + new + list(itertools.islice(parcels, size - len(again) - len(new)))

    def _asked(self, answered: Sequence[Settled]) -> tuple[Sequence[Settled], Sequence[Settled]]:
        """The outcomes with what is known of those in doubt, and those of them that have to be written down yet."""
        if self.route.ask is None or all(outcome.state is not State.UNKNOWN for _, outcome in answered):
            return answered, answered
        self.journal.record(answered, [])
        outcomes = self.route.ask(answered)
        return outcomes, [one for one, before in zip(outcomes, answered, strict=True) if one is not before]

    def _settle(self, wave: Sequence[Parcel], settled: Sequence[Settled]) -> Ending | None:
        """Counts what became of a wave, and returns what ends the sync with it."""
        ending: Ending | None = None
        for parcel, one in zip(wave, settled, strict=True):
            following = self._settle_one(parcel, one)
            # Depth first: a fault that is in every row shows after few requests.
            self.waiting.extendleft(reversed(following))
            is_stuck = one[1].state in (State.UNSENT, State.UNKNOWN) and not following
            ending = ending or (Ending(parcel.trail.with_attempts(one[1])) if is_stuck else None)
        refusals = sum(parcel.size for parcel, _ in self.suspects)
        if ending is None and refusals >= _HOPELESS_REFUSALS and not _was_any_taken(settled):
            return Ending(self.suspects[-1][1][1], refusals)
        return ending

    def _settle_one(self, parcel: Parcel, settled: Settled) -> Sequence[Parcel]:
        """Counts what became of a parcel, and returns what has to follow it."""
        outcome, tally = settled[1], self.journal.tally
        tally.requests += outcome.attempts
        match follow_up(outcome, parcel.size, parcel.trail, self.route.patience):
            case FollowUp.SPLIT:
                return parcel.halves()
            case FollowUp.RESEND:
                return (replace(parcel, trail=parcel.trail.after(outcome)),)
            case FollowUp.REFUSE:
                self.suspects.append((parcel, settled))
            case FollowUp.NONE if outcome.state is State.ACCEPTED:
                tally.accepted += parcel.size
                self.route.progress(parcel.size)
            case FollowUp.NONE if outcome.state is State.UNKNOWN or parcel.trail.doubts:
                tally.unknown += parcel.size
        return ()

    def _at_fault(self) -> list[Settled]:
        """The suspects, now that they are known to be at fault themselves; they are held back from then on."""
        refused = [settled for _, settled in self.suspects]
        self.journal.tally.rejected += sum(parcel.size for parcel, _ in self.suspects)
        self.suspects = []
        return refused

    def _count_doubts(self) -> None:
        """Counts the keys that are left and that an earlier request may have brought to Statsig."""
        left = [*self.waiting, *(parcel for parcel, _ in self.suspects)]
        self.journal.tally.unknown += sum(parcel.size for parcel in left if parcel.trail.doubts)


def _was_any_taken(settled: Sequence[Settled]) -> bool:
    return any(outcome.state is State.ACCEPTED for _, outcome in settled)
