"""Rate limits of the Console API, as sliding windows for each project over all of its keys."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from email.utils import formatdate
from enum import Enum
from typing import Annotated, Literal

import msgspec

from sync.sandbox.contract import RefusedError

_Count = Annotated[int, msgspec.Meta(ge=1)]
_Seconds = Annotated[float, msgspec.Meta(gt=0)]
Windows = tuple[tuple[_Count, _Seconds], ...]


class Page(Enum):
    """Which limits a call counts against.

    `GENERAL` are all calls that change something, `ID_LIST` the two that add to and remove from an id list, which have
    narrower windows on their own pages beside the general ones, `ID_LIST_READ` the pages of ids, which count by
    themselves. Other reads (`READ`) count against none.
    """

    READ = "read"
    GENERAL = "general"
    ID_LIST = "id_list"
    ID_LIST_READ = "id_list_read"


class LimitOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How strict the limits are: for each page its windows, as pairs of requests and seconds.

    `scale` multiplies every number of requests. `retry_after` is the form of the header, `none` leaves it out, as
    Statsig does not promise it. Where Statsig's pages disagree, the strictest figures are the default; a page about
    reading ids says that it is limited and not how, so it has those of the changes of ids.
    """

    enabled: bool = True
    scale: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    retry_after: Literal["seconds", "http_date", "none"] = "seconds"
    general: Windows = ((100, 10), (900, 900))
    id_list: Windows = ((12, 10), (900, 900))
    id_list_read: Windows = ((12, 10), (900, 900))


class RateLimits:
    """What each project has attempted lately. A refused attempt takes its room in the windows too."""

    def __init__(self, clock: Callable[[], float]):
        self._clock = clock
        self._attempts: dict[tuple[str, Page], list[float]] = {}
        self.options = LimitOptions()

    def configure(self, options: LimitOptions) -> None:
        """Change the options; what was counted so far is forgotten."""
        self.options = options
        self._attempts.clear()

    def admit(self, project: str, page: Page) -> None:
        """Count a call to `project`; 429 where it passes a limit."""
        if page is Page.READ or not self.options.enabled:
            return
        now = self._clock()
        pages = (Page.ID_LIST, Page.GENERAL) if page is Page.ID_LIST else (page,)
        # Every page counts the attempt, also where another has refused it.
        waiting = max([self._waiting((project, one), now) for one in pages])
        if waiting >= 0:
            raise self._too_many(int(waiting) + 1)

    def _waiting(self, counted: tuple[str, Page], now: float) -> float:
        """Count an attempt; seconds until one more would be taken, less than 0 where this one is."""
        windows = self._windows(counted[1])
        attempts = self._attempts.setdefault(counted, [])
        del attempts[: bisect_left(attempts, now - max((seconds for _, seconds in windows), default=0))]
        attempts.append(now)
        waits = [-1.0]
        for count, seconds in windows:
            if len(attempts) - bisect_left(attempts, now - seconds) > count:
                # The next one is the last of `count` when the attempt that is as many places before it has gone.
                waits.append(attempts[-count] + seconds - now)
        return max(waits)

    def _windows(self, page: Page) -> list[tuple[int, float]]:
        windows: Windows = getattr(self.options, page.value)
        return [(max(1, round(count * self.options.scale)), seconds) for count, seconds in windows]

    def _too_many(self, seconds: int) -> RefusedError:
        """429. Retry-After is longer than the wait: a window still holds what is exactly as old as it is long."""
        headers = {
            "seconds": {"Retry-After": str(seconds)},
            "http_date": {"Retry-After": formatdate(math.ceil(self._clock() + seconds), usegmt=True)},
            "none": {},
        }[self.options.retry_after]
        return RefusedError(429, "Too Many Requests", headers)
