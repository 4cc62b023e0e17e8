"""Rate limits of the Console API on changing calls, as sliding windows for each key."""

from __future__ import annotations

import math
from collections.abc import Callable
from email.utils import formatdate
from enum import Enum
from typing import Annotated, Literal, cast

import msgspec
from pyrate_limiter import Duration, InMemoryBucket, Rate, RateItem

from sync.sandbox.contract import RefusedError


class Page(Enum):
    """Which limits a call counts against. Reads count against none.

    About 100 changes in 10 seconds and 900 in 15 minutes in all; the two calls that add to and remove from an id list
    have 12 in 10 seconds on their own pages beside that.
    """

    READ = "read"
    GENERAL = "general"
    ID_LIST = "id_list"


class LimitOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How strict the limits are: `scale` multiplies every number of requests, `retry_after` is the header's form."""

    enabled: bool = True
    scale: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    retry_after: Literal["seconds", "http_date"] = "seconds"


class RateLimits:
    """The windows of every key. A refused request takes no room in a window."""

    def __init__(self, clock: Callable[[], float]):
        self._clock = clock
        self._buckets: dict[tuple[str, Page], InMemoryBucket] = {}
        self.options = LimitOptions()

    def configure(self, options: LimitOptions) -> None:
        """Change the options; what was counted so far is forgotten."""
        self.options = options
        self._buckets.clear()

    def admit(self, key: str, page: Page) -> None:
        """Count a call of `key`; 429 with Retry-After where a limit is passed."""
        if page is Page.READ or not self.options.enabled:
            return
        if page is Page.ID_LIST:
            self._take(key, Page.ID_LIST)
        self._take(key, Page.GENERAL)

    def _take(self, key: str, page: Page) -> None:
        bucket = self._buckets.get((key, page))
        if bucket is None:
            bucket = self._buckets[key, page] = InMemoryBucket(self._rates(page))
        now = int(self._clock() * 1000)
        bucket.leak(now)
        item = RateItem(page.value, now)
        if not bucket.put(item):
            # Typed as possibly awaitable; a bucket in memory answers at once.
            waiting = cast("int", bucket.waiting(item))
            # Longer than the wait and never equal to it: a window still holds what is exactly as old as it is long.
            raise self._too_many(waiting // 1000 + 1)

    def _rates(self, page: Page) -> list[Rate]:
        if page is Page.ID_LIST:
            return [Rate(self._scaled(12), 10 * Duration.SECOND)]
        return [
            Rate(self._scaled(100), 10 * Duration.SECOND),
            Rate(self._scaled(900), 15 * Duration.MINUTE),
        ]

    def _scaled(self, requests: int) -> int:
        return max(1, round(requests * self.options.scale))

    def _too_many(self, seconds: int) -> RefusedError:
        http_date = self.options.retry_after == "http_date"
        value = formatdate(math.ceil(self._clock() + seconds), usegmt=True) if http_date else str(seconds)
        return RefusedError(429, "Too many requests. Try again later.", {"Retry-After": value})
