"""All that one sandbox remembers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from sync.sandbox.audit import AuditLog
from sync.sandbox.events import Dropping, EventLog, Intake
from sync.sandbox.faults import Faults
from sync.sandbox.journal import Journal
from sync.sandbox.limits import RateLimits
from sync.sandbox.logs import Visibility
from sync.sandbox.segments import Segments
from sync.sandbox.settings import Settings, environments_of


class Processing:
    """How long an update of an id list takes. Shortening it lets updates that are waiting finish at once."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
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
        self._first_settings = self.settings = settings
        self.processing = Processing(settings.processing_seconds)
        self.limits = RateLimits(settings.clock)
        self.segments = Segments(settings.clock, settings.max_project_ids)
        self.events = EventLog(settings.keep)
        self.audit = AuditLog()
        self.journal = Journal()
        self.faults = Faults()

    def adjust(self, **changes: Any) -> None:
        """Change settings while it runs."""
        self.settings = replace(self.settings, **changes)
        self.events.keep = self.settings.keep
        if "processing_seconds" in changes:
            self.processing.set(self.settings.processing_seconds)

    def reset(self) -> None:
        """Forget segments, events, requests, faults and changes of settings.

        Limits keep their options and start counting from nothing.
        """
        self.settings = self._first_settings
        self.segments.clear()
        self.events = EventLog(self.settings.keep)
        self.audit = AuditLog()
        self.journal = Journal()
        self.faults = Faults()
        self.limits.configure(self.limits.options)
        self.processing.set(self.settings.processing_seconds)

    def intake(self, request: int, *, drop_all: bool) -> Intake:
        """How a request of events that comes now is received."""
        settings = self.settings
        dropping = Dropping("*") if drop_all else Dropping(settings.drop_events_named, settings.drop_events_percent)
        return Intake(request, settings.clock(), environments_of(settings), dropping)

    def visibility(self) -> Visibility:
        """Which events logs show now."""
        settings = self.settings
        return Visibility(
            settings.clock(), settings.logs_lag_seconds, settings.logs_sample_percent, settings.logs_retention_seconds
        )

    def summary(self) -> dict[str, Any]:
        """Counts of everything."""
        return {
            "events": self.events.summary(),
            "segments": {segment.id: len(segment.members) for segment in self.segments},
            "requests": self.journal.summary(),
            "faults": len(self.faults.fired),
        }
