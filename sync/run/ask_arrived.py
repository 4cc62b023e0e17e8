"""Asks Statsig before a first run of events whether it has them already: the ledgers may be new, and Statsig is not."""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sync.core.delivery import Outcome
from sync.core.events import Event
from sync.core.history import Arrived
from sync.core.log_query import event_query
from sync.core.plan import EventPlan
from sync.edges.spool import Spool
from sync.errors import ConfigError
from sync.run.consoles import Consoles
from sync.run.world import World

if TYPE_CHECKING:
    from sync.edges.statsig import ConsoleClient

# Keys that are looked up: of events that have all arrived, one is enough.
_KEYS = 10
# Days before today whose counts are asked for, and how far back events are looked up that have no time.
_DAYS, _LOOK_BACK = 3, dt.timedelta(days=30)
_DAY = dt.timedelta(days=1)
# Statsig's days are Pacific time. Whether that is 7 or 8 hours behind UTC makes no difference to what is told.
_PACIFIC = dt.timezone(dt.timedelta(hours=-8))


def with_arrived(plan: EventPlan, world: World, spool: Spool, consoles: Consoles) -> EventPlan:
    """The plan with what Statsig knows of its events; the same where it has run before, or no Console key is there."""
    first_run = plan.history.first_run
    if first_run is None or not plan.keys:
        return plan
    try:
        beside = consoles.beside(plan.sync)
    except ConfigError as error:
        arrived = Arrived(problem=str(error))
    else:
        arrived = Arrived() if beside is None else _Question(beside[0], plan, world.clock.now(), consoles).ask(spool)
    return replace(plan, history=replace(plan.history, first_run=replace(first_run, arrived=arrived)))


@dataclass(frozen=True)
class _Question:
    client: ConsoleClient
    plan: EventPlan
    now: dt.datetime
    consoles: Consoles

    def ask(self, spool: Spool) -> Arrived:
        """What Statsig has of these events, as far as it answers."""
        sample = list(_sample(self.plan, spool))
        asked, found = 0, 0
        for key, event in ((self.plan.traits.key_metadata, event) for event in sample):
            if key is None:
                break
            page, outcome = self.client.logs(event_query(event.name or "", (key, event.key)), (), *self._window, 1)
            if page is None:
                return Arrived(asked, found, problem=_why(outcome))
            asked, found = asked + 1, found + bool(page.rows)
            self.consoles.heartbeat()
        return self._with_counts(Arrived(asked, found), sorted({event.name or "" for event in sample}))

    def _with_counts(self, arrived: Arrived, names: Sequence[str]) -> Arrived:
        today = self.now.astimezone(_PACIFIC).date()
        days: dict[dt.date, int] = {}
        for day in (today - dt.timedelta(days=back) for back in range(_DAYS, -1, -1)):
            for name in names:
                count, outcome = self.client.event_count(day, name)
                if count is None:
                    return replace(arrived, days=days, problem=_why(outcome))
                days[day] = days.get(day, 0) + (count.count or 0)
                self.consoles.heartbeat()
        return replace(arrived, days=days)

    @property
    def _window(self) -> tuple[int, int]:
        """From when until when the events may be, in milliseconds: Statsig shows one without a time when it came."""
        start, end = self.now - _LOOK_BACK, self.now + _DAY
        first, last = round(start.timestamp() * 1000), round(end.timestamp() * 1000)
        times = self.plan.times
        return (
            first if times.first is None else max(0, min(first, times.first)),
            last if times.last is None else max(last, times.last),
        )


def _sample(plan: EventPlan, spool: Spool) -> Iterator[Event]:
    """Some of the events to send, from the first to the last."""
    count = min(_KEYS, plan.keys)
    wanted = deque(place * (plan.keys - 1) // max(count - 1, 1) for place in range(count))
    before = 0
    for batch in plan.batches:
        if wanted and wanted[0] < before + batch.events:
            events = spool.read(batch.record, list[Event])
            while wanted and wanted[0] < before + batch.events:
                yield events[wanted.popleft() - before]
        before += batch.events


def _why(outcome: Outcome) -> str:
    """Why there is no answer to go by, as a sentence."""
    said = (outcome.message or "it gave no answer that can be read").rstrip(".")
    return f"HTTP {outcome.http_status}: {said}." if outcome.http_status else f"{said}."
