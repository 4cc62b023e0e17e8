"""Keeps Statsig's rate limits on this side, so that a run waits before it is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyrate_limiter import InMemoryBucket, Rate, RateItem

from sync.core.clock import Clock
from sync.spec.limits import Limits

# Statsig counts a request when it arrives, this side when it leaves; the margin covers the difference.
_LIMIT_MARGIN_MS = 300


class RateLimit:
    """Waits so that no more requests go out than Statsig takes; for one kind of call."""

    def __init__(self, rates: Sequence[tuple[int, int]], clock: Clock, should_stop: Callable[[], bool]) -> None:
        self._clock, self._should_stop = clock, should_stop
        self._bucket = InMemoryBucket([Rate(count, seconds * 1000 + _LIMIT_MARGIN_MS) for count, seconds in rates])

    def wait(self) -> None:
        """Returns when the next request may go out, and counts it; at once where none is to go out any more."""
        item = RateItem("request", self._now())
        while not self._should_stop() and not self._bucket.put(item):
            self._clock.sleep(max(1, self._waiting(item)) / 1000)
            item = RateItem("request", self._now())

    def count_earlier(self, seconds_ago: Sequence[float]) -> None:
        """Counts requests that earlier runs have sent, given how long ago, oldest first."""
        for seconds in seconds_ago:
            moment = self._now() - round(seconds * 1000)
            # A ledger knows when a request ended, not each of its attempts: what does not fit there came later.
            while moment <= self._now() and not self._bucket.put(item := RateItem("request", moment)):
                moment += max(1, self._waiting(item))

    def _waiting(self, item: RateItem) -> int:
        """Milliseconds from the item's time until it fits."""
        found = self._bucket.waiting(item)
        return found if isinstance(found, int) else 1

    def _now(self) -> int:
        return round(self._clock.monotonic() * 1000)


class RateLimits:
    """The windows of one Statsig project. All of its keys, and all syncs of a run, share them."""

    def __init__(self, limits: Limits, clock: Clock, should_stop: Callable[[], bool]) -> None:
        self._changes = RateLimit(limits.changes, clock, should_stop)
        self._id_list_changes = RateLimit(limits.id_list_changes, clock, should_stop)
        self._id_list_reads = RateLimit(limits.id_list_reads, clock, should_stop)

    def wait_to_change(self) -> None:
        """Returns when the next change of a segment may go out."""
        self._changes.wait()

    def wait_to_change_ids(self) -> None:
        """Returns when the next addition to a list, or removal from one, may go out."""
        self._changes.wait()
        self._id_list_changes.wait()

    def wait_to_read_ids(self) -> None:
        """Returns when the next page of a list may be asked for."""
        self._id_list_reads.wait()

    def count_earlier(self, seconds_ago: Sequence[float]) -> None:
        """Counts id_list requests of earlier runs; seconds ago, oldest first."""
        self._changes.count_earlier(seconds_ago)
        self._id_list_changes.count_earlier(seconds_ago)
