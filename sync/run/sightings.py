"""Looks for single events in Statsig's logs, by their unique key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sync.core import event_sql
from sync.core.arrival import Sought
from sync.core.log_query import MARK, event_query
from sync.edges.warehouse import Session
from sync.errors import ConfigError, WarehouseError
from sync.run.world import World
from sync.spec.model import EventConfig, Sync

if TYPE_CHECKING:
    from sync.core.delivery import Outcome
    from sync.edges.statsig import ConsoleClient


def key_metadata(world: World, sync: Sync, session: Session) -> str | None:
    """The metadata key by which Statsig's logs can be asked for the events of a sync; None where they cannot."""
    if not isinstance(sync.config, EventConfig):
        return None
    try:
        found = event_sql.resolve(sync.config, session.columns(world.relation(sync)) or ())
    except (ConfigError, WarehouseError, LookupError):
        # What is wrong with the model is told by what needs its rows.
        return None
    return event_sql.key_metadata(found)


# Rows that are looked at of those that fit: an event is there once, or a few times where others send it too.
_ROWS = 20


@dataclass
class Sightings:
    """Asks the logs of one Statsig project. ``problem`` says why they cannot be asked, from the first time on."""

    client: ConsoleClient
    key_metadata: str
    problem: str | None = None

    def is_there(self, event: Sought) -> bool | None:
        """Whether an event is in the logs; None where they cannot be asked. One that is not there proves nothing."""
        if self.problem is not None:
            return None
        wanted = [(self.key_metadata, event.key)] + ([(MARK, event.mark)] if event.mark is not None else [])
        query, columns = event_query(event.event_name, *wanted), [f"metadata.{name}" for name, _ in wanted]
        page, outcome = self.client.logs(query, columns, event.start_ms, event.end_ms, _ROWS)
        if page is None:
            self.problem = why(outcome)
            return None
        # How exactly the filter compares is not documented.
        return any(
            row.event_name == event.event_name and all(row.metadata(name) == value for name, value in wanted)
            for row in page.rows
        )


def why(outcome: Outcome) -> str:
    """Why there is no answer to go by, as a sentence."""
    said = (outcome.message or "the answer cannot be read").rstrip(".")
    has_status = outcome.http_status is not None and not said.startswith("HTTP")
    return f"HTTP {outcome.http_status}: {said}." if has_status else f"{said}."
