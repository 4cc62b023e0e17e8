"""The events that arrived, in memory. Nothing is deduplicated, as in Statsig."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Any

import msgspec

from sync.sandbox.contract import (
    ENVIRONMENTS,
    EVENTS_KEPT_PER_REQUEST,
    Batch,
    Event,
    check_event,
    drop_reason,
    is_from_sdk,
    lost_metadata_keys,
)
from sync.sandbox.journal import without_keys
from sync.sandbox.metrics import DayCounts
from sync.sandbox.settings import KeepMode

BEYOND_LIMIT = f"only the first {EVENTS_KEPT_PER_REQUEST} events of a request are kept"
ON_PURPOSE = "dropped by the sandbox on purpose"


def is_drawn(purpose: str, body: bytes, percent: float) -> bool:
    """Whether an event is among so many of a hundred: the same for the same event and purpose, whenever it comes."""
    drawn = int.from_bytes(sha256(purpose.encode() + body).digest()[:8], "big") / 2**64
    return drawn * 100 < percent


@dataclass(frozen=True)
class Dropping:
    """Which events are answered with 202 and not kept: `percent` of those whose name fits the pattern `named`."""

    named: str | None = None
    percent: float = 100.0

    def takes(self, name: str, body: bytes) -> bool:
        """Whether it takes an event of this name away."""
        return self.named is not None and fnmatchcase(name, self.named) and is_drawn("drop", body, self.percent)


@dataclass(frozen=True)
class Intake:
    """How a request of events was received: its number, when (seconds since the epoch), and under which rules."""

    request: int
    at: float
    environments: Collection[str] = ENVIRONMENTS
    dropping: Dropping = Dropping()


@dataclass(frozen=True)
class Arrival:
    """An event that was accepted, as it came: `body` is its JSON. `dropped` says why Statsig would not keep it.

    `received_at` is in seconds since the epoch; the SDK is what `statsigMetadata` said.
    """

    number: int
    request: int
    body: bytes
    dropped: str | None
    received_at: float = 0.0
    sdk_type: str | None = None
    sdk_version: str | None = None

    def described(self) -> dict[str, Any]:
        """The event as Statsig stores it, without private attributes and without the metadata that it loses."""
        event = msgspec.json.decode(self.body)
        if event.get("user"):
            event["user"].pop("privateAttributes", None)
        lost = lost_metadata_keys(event.get("metadata"))
        for key in lost:
            del event["metadata"][key]
        return {
            "number": self.number,
            "request": self.request,
            "dropped": self.dropped,
            "lost_metadata_keys": lost,
            "event": event,
        }


@dataclass(frozen=True)
class _Kept:
    """The events of a request as they came, numbered from `first`; `dropped` maps their places to reasons."""

    first: int
    intake: Intake
    batch: Batch
    dropped: dict[int, str]

    def arrivals(self) -> Iterator[Arrival]:
        """Each of them."""
        for place, body in enumerate(self.batch.events):
            yield Arrival(
                self.first + place,
                self.intake.request,
                body,
                self.dropped.get(place),
                self.intake.at,
                self.batch.sdk_type,
                self.batch.sdk_version,
            )


class EventLog:
    """Events by arrival: custom events, and apart from them what SDKs log by themselves.

    With `keep="counts"` bodies are not kept. `days` has the counts of kept events in either case.
    """

    def __init__(self, keep: KeepMode):
        self.keep = keep
        self.by_name: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.arrived = 0
        self.from_sdks = 0
        self.with_lost_metadata = 0
        self.days = DayCounts()
        # Whole batches rather than an object for each event: memory and time for a million events.
        self._batches: list[_Kept] = []
        self._sdk_batches: list[_Kept] = []

    def receive(self, batch: Batch, intake: Intake) -> None:
        """Check all events of a request, then record them: one that breaks the contract refuses all (400)."""
        bodies = batch.events
        checked = [check_event(body, index, intake.environments) for index, body in enumerate(bodies)]
        own = {index for index, event in enumerate(checked) if is_from_sdk(event.event_name)}
        custom = [index for index in range(len(bodies)) if index not in own]
        dropped: dict[int, str] = {}
        kept: list[Event] = []
        for place, index in enumerate(custom):
            reason = _reason(checked[index], index, bodies[index], intake.dropping)
            if reason is None:
                kept.append(checked[index])
            else:
                dropped[place] = reason
        self._count(kept, dropped, intake.at)
        if self.keep == "events":
            self._keep(batch, intake, custom, dropped)
            # Diagnostics repeat the addresses that were fetched, and one of them holds the key.
            hidden = [without_keys(bodies[index].decode()).encode() for index in sorted(own)]
            self._sdk_batches.append(_Kept(self.from_sdks + 1, intake, Batch(hidden), {}))
        self.arrived += len(custom)
        self.from_sdks += len(own)

    def _keep(self, batch: Batch, intake: Intake, custom: list[int], dropped: dict[int, str]) -> None:
        bodies = [batch.events[index] for index in custom]
        kept = Batch(bodies, batch.sdk_type, batch.sdk_version)
        self._batches.append(_Kept(self.arrived + 1, intake, kept, dropped))

    def _count(self, kept: list[Event], dropped: dict[int, str], received_at: float) -> None:
        self.dropped.update(dropped.values())
        self.by_name.update(event.event_name for event in kept)
        self.with_lost_metadata += sum(bool(lost_metadata_keys(event.metadata)) for event in kept)
        self.days.count(kept, received_at)

    def arrivals(self, *, of_sdks: bool = False) -> Iterator[Arrival]:
        """Custom events in the order of their arrival, or what SDKs logged by themselves."""
        for batch in self._sdk_batches if of_sdks else self._batches:
            yield from batch.arrivals()

    def summary(self) -> dict[str, Any]:
        """Counts of what arrived; `kept` leaves out what Statsig would have dropped."""
        return {
            "arrived": self.arrived,
            "kept": self.arrived - sum(self.dropped.values()),
            "dropped": dict(self.dropped),
            "by_name": dict(self.by_name),
            "with_lost_metadata": self.with_lost_metadata,
            "from_sdks": self.from_sdks,
        }


def _reason(event: Event, index: int, body: bytes, dropping: Dropping) -> str | None:
    """Why an event of a request is not kept; its `index` counts what SDKs log too."""
    if index >= EVENTS_KEPT_PER_REQUEST:
        return BEYOND_LIMIT
    if dropping.takes(event.event_name, body):
        return ON_PURPOSE
    return drop_reason(event)
