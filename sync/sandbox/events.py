"""The events that arrived, in memory. Nothing is deduplicated, as in Statsig."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from sync.sandbox.contract import (
    EVENTS_KEPT_PER_REQUEST,
    Event,
    check_event,
    drop_reason,
    is_from_sdk,
    lost_metadata_keys,
)
from sync.sandbox.journal import without_keys
from sync.sandbox.settings import KeepMode

BEYOND_LIMIT = f"only the first {EVENTS_KEPT_PER_REQUEST} events of a request are kept"


@dataclass(frozen=True)
class Arrival:
    """An event that was accepted, as it came: `body` is its JSON. `dropped` says why Statsig would not keep it."""

    number: int
    request: int
    body: bytes
    dropped: str | None

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
class _Batch:
    """The events of a request as they came, numbered from `first`; `dropped` maps their places to reasons."""

    first: int
    request: int
    bodies: list[bytes]
    dropped: dict[int, str]


class EventLog:
    """Events by arrival: custom events, and apart from them what SDKs log by themselves.

    With `keep="counts"` bodies are not kept.
    """

    def __init__(self, keep: KeepMode):
        self.keep = keep
        self.by_name: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.arrived = 0
        self.from_sdks = 0
        self.with_lost_metadata = 0
        # Whole batches rather than an object for each event: memory and time for a million events.
        self._batches: list[_Batch] = []
        self._sdk_batches: list[_Batch] = []

    def receive(self, bodies: list[bytes], request: int) -> None:
        """Check all events of a request, then record them: one that breaks the contract refuses all (400)."""
        checked = [check_event(body, index) for index, body in enumerate(bodies)]
        own = {index for index, event in enumerate(checked) if is_from_sdk(event.event_name)}
        custom = [index for index in range(len(bodies)) if index not in own]
        dropped: dict[int, str] = {}
        for place, index in enumerate(custom):
            reason = drop_reason(checked[index]) if index < EVENTS_KEPT_PER_REQUEST else BEYOND_LIMIT
            self._count(checked[index], reason)
            if reason is not None:
                dropped[place] = reason
        if self.keep == "events":
            kept = [bodies[index] for index in custom]
            self._batches.append(_Batch(self.arrived + 1, request, kept, dropped))
            # Diagnostics repeat the addresses that were fetched, and one of them holds the key.
            hidden = [without_keys(bodies[index].decode()).encode() for index in sorted(own)]
            self._sdk_batches.append(_Batch(self.from_sdks + 1, request, hidden, {}))
        self.arrived += len(custom)
        self.from_sdks += len(own)

    def _count(self, event: Event, reason: str | None) -> None:
        if reason is not None:
            self.dropped[reason] += 1
            return
        self.by_name[event.event_name] += 1
        self.with_lost_metadata += bool(lost_metadata_keys(event.metadata))

    def arrivals(self, *, of_sdks: bool = False) -> Iterator[Arrival]:
        """Custom events in the order of their arrival, or what SDKs logged by themselves."""
        for batch in self._sdk_batches if of_sdks else self._batches:
            for place, body in enumerate(batch.bodies):
                yield Arrival(batch.first + place, batch.request, body, batch.dropped.get(place))

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
