"""Keeps Statsig's rate limits on this side, so that a run waits before it is refused."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from sync.core.clock import Clock
from sync.spec.limits import Limits

# Statsig counts a request when it arrives, this side when it leaves; the margin covers the difference.
_MARGIN_SECONDS = 0.3


class RateLimit:
    """Waits so that no more requests go out than Statsig takes, for one kind of call; ``rates`` as in ``Limits``."""

    def __init__(self, rates: Sequence[tuple[int, int]], clock: Clock, should_stop: Callable[[], bool]) -> None:
        self._rates, self._clock, self._should_stop = rates, clock, should_stop
        self._sent: deque[float] = deque(maxlen=max(count for count, _ in rates))

    def wait(self) -> None:
        """Returns when the next request may go out, and counts it; at once where none is to go out any more."""
        while not self._should_stop() and (seconds := self._seconds_left()) > 0:
            self._clock.sleep(max(seconds, 0.001))
        self._sent.append(self._clock.monotonic())

    def count_earlier(self, seconds_ago: Sequence[float]) -> None:
        """Counts requests that earlier runs have sent, given how long ago, oldest first."""
        now = self._clock.monotonic()
        self._sent.extend(now - seconds for seconds in seconds_ago)

    def _seconds_left(self) -> float:
        """Until every window has room for one more: until the last but so many is old enough."""
        now = self._clock.monotonic()
        full = (rate for rate in self._rates if len(self._sent) >= rate[0])
        return max((self._sent[-count] + seconds + _MARGIN_SECONDS - now for count, seconds in full), default=0.0)


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
