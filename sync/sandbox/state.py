"""All that one sandbox remembers."""

from __future__ import annotations

import asyncio
from typing import Any

from sync.sandbox.events import EventLog
from sync.sandbox.faults import Faults
from sync.sandbox.journal import Journal
from sync.sandbox.limits import RateLimits
from sync.sandbox.segments import Segments
from sync.sandbox.settings import Settings


class Processing:
    """How long an update of an id list takes. Shortening it lets updates that are waiting finish at once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._changed = asyncio.Event()

    def set(self, seconds: float) -> None:
        """Set the time of every update from now on, and end the waiting of those under way."""
        self.seconds = seconds
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self) -> None:
        """Take as long as an update takes."""
        if self.seconds > 0:
            try:
                await asyncio.wait_for(self._changed.wait(), self.seconds)
            except asyncio.TimeoutError:
                return


class SandboxState:
    """Segments, events, limits, faults and the journal of requests, held while the sandbox runs."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.keep = settings.keep
        self.processing = Processing()
        self.limits = RateLimits(settings.clock)
        self.segments = Segments(settings.clock, settings.max_project_ids)
        self.events = EventLog(self.keep)
        self.journal = Journal()
        self.faults = Faults()

    def reset(self) -> None:
        """Forget segments, events, requests and faults; limits keep their options and start counting anew."""
        self.segments.clear()
        self.events = EventLog(self.keep)
        self.journal = Journal()
        self.faults = Faults()
        self.limits.configure(self.limits.options)
        self.processing.set(0)

    def summary(self) -> dict[str, Any]:
        """Counts of everything."""
        return {
            "events": self.events.summary(),
            "segments": {segment.id: len(segment.members) for segment in self.segments},
            "requests": self.journal.summary(),
            "faults": len(self.faults.fired),
        }
