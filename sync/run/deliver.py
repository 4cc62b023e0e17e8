"""Sends parcels in waves: claim in the ledgers, send, settle with the next wave's claims.

A wave that dies half-way is in doubt as a whole, so waves are small; within one, requests go out side by
side where the destination allows it.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from sync.core.delivery import FollowUp, Outcome, State, follow_up
from sync.core.events import Event, request_body
from sync.core.ledger import Batch
from sync.run.journal import Journal, Settled, Tally

# Refused rows, with none accepted, after which a run gives up: the fault is not in the rows.
_HOPELESS_REFUSALS = 20


@dataclass(frozen=True)
class Parcel:
    """What one request carries: ids, or events. ``resends`` counts the requests before it that are in doubt."""

    operation: str
    ids: Sequence[str] = ()
    events: Sequence[Event] = ()
    resends: int = 0

    @property
    def size(self) -> int:
        """Keys in it."""
        return len(self.ids) or len(self.events)

    def halves(self) -> tuple[Parcel, Parcel]:
        """Two parcels, for a parcel of two keys or more."""
        middle = self.size // 2
        return (
            replace(self, ids=self.ids[:middle], events=self.events[:middle]),
            replace(self, ids=self.ids[middle:], events=self.events[middle:]),
        )

    def batch(self, journal: Journal) -> Batch:
        """The batch that the ledgers know it by."""
        if self.ids:
            return journal.batch(self.operation, self.ids, None, None)
        keys = [event.key for event in self.events]
        hashes = [event.row_hash for event in self.events]
        return journal.batch(self.operation, keys, hashes, len(request_body(self.events)))


@dataclass(frozen=True)
class Route:
    """How parcels travel: what sends one, how many go side by side, and what happens to those in doubt.

    ``should_stop`` is asked between waves; ``progress`` is told the keys that were accepted.
    """

    send: Callable[[Parcel], Outcome]
    wave_size: int
    may_resend: bool
    should_stop: Callable[[], bool]
    progress: Callable[[int], None]


def deliver(parcels: Iterator[Parcel], route: Route, journal: Journal) -> Outcome | None:
    """Sends all parcels; returns the outcome that ended it early, or None when all were tried."""
    pool = ThreadPoolExecutor(max_workers=route.wave_size)
    try:
        return _deliver(parcels, route, journal, pool)
    finally:
        # Whoever stops the process at once must not wait for the answers: the claims stand in the ledger.
        pool.shutdown(wait=False, cancel_futures=True)


def _deliver(parcels: Iterator[Parcel], route: Route, journal: Journal, pool: ThreadPoolExecutor) -> Outcome | None:
    waiting: deque[Parcel] = deque()
    settled: list[Settled] = []
    refused: list[Settled] = []
    ending: Outcome | None = None
    while ending is None and not route.should_stop():
        wave = _next_wave(waiting, parcels, route.wave_size)
        if not wave:
            break
        batches = [parcel.batch(journal) for parcel in wave]
        journal.record(settled, batches, refused)
        settled = list(zip(batches, pool.map(route.send, wave), strict=True))
        refused = []
        for parcel, one in zip(wave, settled, strict=True):
            following = _settle(parcel, one, route, journal, refused)
            # Depth first: a fault that is in every row shows after few requests.
            waiting.extendleft(reversed(following))
            ending = ending or _ending(one[1], bool(following), journal.tally)
    journal.tally.unknown += sum(parcel.size for parcel in waiting if parcel.resends)
    if settled:
        journal.record(settled, [], refused)
    return ending


def _next_wave(waiting: deque[Parcel], parcels: Iterator[Parcel], size: int) -> list[Parcel]:
    again = [waiting.popleft() for _ in range(min(size, len(waiting)))]
    return again + list(itertools.islice(parcels, size - len(again)))


def _settle(
    parcel: Parcel, settled: Settled, route: Route, journal: Journal, refused: list[Settled]
) -> Sequence[Parcel]:
    """Counts what became of a parcel, and returns what has to follow it."""
    outcome, tally = settled[1], journal.tally
    tally.requests += outcome.attempts
    match follow_up(outcome, parcel.size, parcel.resends, route.may_resend):
        case FollowUp.SPLIT:
            return parcel.halves()
        case FollowUp.RESEND:
            return (replace(parcel, resends=parcel.resends + 1),)
        case FollowUp.REFUSE:
            tally.rejected += parcel.size
            refused.append(settled)
        case FollowUp.NONE if outcome.state is State.ACCEPTED:
            tally.accepted += parcel.size
            route.progress(parcel.size)
        case FollowUp.NONE if outcome.state is State.UNKNOWN or parcel.resends:
            tally.unknown += parcel.size
    return ()


def _ending(outcome: Outcome, is_followed_up: bool, tally: Tally) -> Outcome | None:
    """The outcome, where what stopped this request would stop the next ones too."""
    is_stuck = outcome.state in (State.UNSENT, State.UNKNOWN) and not is_followed_up
    is_hopeless = tally.accepted == 0 and tally.rejected >= _HOPELESS_REFUSALS
    return outcome if is_stuck or is_hopeless else None
