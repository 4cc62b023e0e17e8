"""The machine's own clock."""

from __future__ import annotations

import datetime as dt
import time


class SystemClock:
    """``sync.core.clock.Clock`` for real."""

    def now(self) -> dt.datetime:
        """The time in UTC."""
        return dt.datetime.now(dt.timezone.utc)

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Waits."""
        time.sleep(seconds)
