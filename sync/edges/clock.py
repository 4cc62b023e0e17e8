"""The machine's own clock."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable

from sync.core.delivery import never

_NAP_SECONDS = 0.25


class SystemClock:
    """``sync.core.clock.Clock`` for real; waiting ends early where ``should_stop`` says so."""

    def __init__(self, should_stop: Callable[[], bool] = never) -> None:
        self._should_stop = should_stop

    def now(self) -> dt.datetime:
        """The time in UTC."""
        return dt.datetime.now(dt.timezone.utc)

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Waits, in short naps: a signal does not end a sleep by itself, and only one thread hears of it."""
        end = time.monotonic() + seconds
        while not self._should_stop() and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _NAP_SECONDS))
