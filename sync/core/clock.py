"""Time, as an argument: what decides or waits is handed a clock."""

from __future__ import annotations

import datetime as dt
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits."""

    def now(self) -> dt.datetime:
        """The time, with its zone, in UTC."""

    def monotonic(self) -> float:
        """Seconds that never run backwards."""

    def sleep(self, seconds: float) -> None:
        """Waits."""
