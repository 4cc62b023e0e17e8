"""Events of earlier runs of which nobody knows whether they arrived."""

from __future__ import annotations

from sync.core import ledger, sql
from sync.core.event_sql import resolve
from sync.core.plan import Doubts
from sync.edges.warehouse import Session
from sync.run.gather import Source
from sync.run.world import World
from sync.spec.model import EventConfig, Sync

_OWN = "project = $project and sync_name = $sync_name"


def doubts(world: World, source: Source, relation: str, session: Session) -> Doubts:
    """What is in doubt of a sync before it runs; ``relation`` holds the model's rows as they are sent."""
    config, project = source.sync.config, source.endpoint.project
    assert isinstance(config, EventConfig)  # noqa: S101 - narrows the type
    unsettled = unsettled_events(world, project, source.sync, session)
    if not unsettled or config.unknown_then == "hold":
        return Doubts(unsettled, unsettled)
    key = sql.text_form(resolve(config, source.columns).unique_key)
    left = session.value(
        f"select count(*) from {world.ledgers[ledger.UNSETTLED]} where {_OWN} and operation = 'log'"
        f" and key not in (select {key} from {relation} where {key} is not null)",
        {"project": project, "sync_name": source.sync.name},
    )
    return Doubts(unsettled, int(left))


def unsettled_events(world: World, project: str, sync: Sync, session: Session) -> int:
    """How many events of a sync are in doubt."""
    parameters = {"project": project, "sync_name": sync.name}
    batches = f"select exists (select 1 from {world.ledgers[ledger.BATCHES]} where {_OWN} and operation = 'log'"
    # Most syncs have none, and there are far fewer batches than events.
    if not session.value(f"{batches} and state = 'unknown')", parameters):
        return 0
    query = f"select count(*) from {world.ledgers[ledger.UNSETTLED]} where {_OWN} and operation = 'log'"
    return int(session.value(query, parameters))
