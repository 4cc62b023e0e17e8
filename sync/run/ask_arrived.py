"""Asks Statsig before a first run of events whether it has them already: the ledgers may be new, and Statsig is not."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sync.core import ledger
from sync.core.arrival import Sought, pacific_day
from sync.core.history import Arrived
from sync.core.plan import EventPlan
from sync.errors import ConfigError
from sync.run.consoles import Consoles
from sync.run.sightings import Sightings, why
from sync.run.world import World

if TYPE_CHECKING:
    from sync.edges.statsig import ConsoleClient

# Days before today whose counts are asked for, and how far back events are looked up that have no time.
_DAYS, _LOOK_BACK = 3, dt.timedelta(days=30)
_DAY = dt.timedelta(days=1)


def with_arrived(plan: EventPlan, world: World, consoles: Consoles) -> EventPlan:
    """The plan with what Statsig knows of its events; the same where it has run before, or no Console key is there."""
    first_run = plan.history.first_run
    if first_run is None or not plan.keys:
        return plan
    try:
        beside = consoles.beside(plan.sync)
    except ConfigError as error:
        arrived = Arrived(problem=str(error))
    else:
        arrived = Arrived() if beside is None else _Question(beside[0], plan, world.clock.now(), consoles).ask()
    return replace(plan, history=replace(plan.history, first_run=replace(first_run, arrived=arrived)))


@dataclass(frozen=True)
class _Question:
    client: ConsoleClient
    plan: EventPlan
    now: dt.datetime
    consoles: Consoles

    def ask(self) -> Arrived:
        """What Statsig has of these events, as far as it answers."""
        sample = self.plan.looked_up
        metadata = self.plan.traits.key_metadata
        arrived = self._looked_up(Sightings(self.client, metadata), sample) if metadata else Arrived()
        names = sorted({name for name, _ in sample})
        return arrived if arrived.problem else self._with_counts(arrived, names)

    def _looked_up(self, sightings: Sightings, sample: Sequence[tuple[str, str]]) -> Arrived:
        asked, found = 0, 0
        for name, key in sample:
            is_there = sightings.is_there(Sought(name, key, *self._window))
            if is_there is None:
                break
            asked, found = asked + 1, found + is_there
            self.consoles.heartbeat()
        return Arrived(asked, found, problem=sightings.problem)

    def _with_counts(self, arrived: Arrived, names: Sequence[str]) -> Arrived:
        today = pacific_day(ledger.naive_utc(self.now))
        days: dict[dt.date, int] = {}
        for day in (today - dt.timedelta(days=back) for back in range(_DAYS, -1, -1)):
            for name in names:
                count, outcome = self.client.event_count(day, name)
                if count is None:
                    return replace(arrived, days=days, problem=why(outcome))
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
