"""Events of earlier runs of which nobody knows whether they arrived."""

from __future__ import annotations

from sync.core import ledger, sql
from sync.core.event_sql import resolve
from sync.core.lineage import Lineage
from sync.core.plan import Doubts
from sync.edges.warehouse import Session
from sync.run.gather import Source
from sync.run.world import World
from sync.spec.model import EventConfig


def doubts(world: World, source: Source, relation: str, session: Session) -> Doubts:
    """What is in doubt of a sync before it runs; ``relation`` holds the model's rows as they are sent."""
    config = source.sync.config
    assert isinstance(config, EventConfig)  # noqa: S101 - narrows the type
    unsettled = unsettled_events(world, source.lineage, session)
    if not unsettled or config.unknown_then == "hold":
        return Doubts(unsettled, unsettled)
    key = sql.text_form(resolve(config, source.columns).unique_key)
    left = session.value(
        f"select count(*) from {_unsettled_keys(world, source.lineage)}"
        f" and key not in (select {key} from {relation} where {key} is not null)"
    )
    return Doubts(unsettled, int(left))


def unsettled_events(world: World, lineage: Lineage, session: Session) -> int:
    """How many events of a sync are in doubt."""
    batches = f"select exists (select 1 from {world.ledgers[ledger.BATCHES]} where {lineage.condition}"
    # Most syncs have none, and there are far fewer batches than events.
    if not session.value(f"{batches} and operation = 'log' and state = 'unknown')"):
        return 0
    return int(session.value(f"select count(*) from {_unsettled_keys(world, lineage)}"))


def _unsettled_keys(world: World, lineage: Lineage) -> str:
    """The keys in doubt: what follows ``from``. Those that were sent again since, under another name, are known."""
    own = f"{lineage.condition} and operation = 'log'"
    return (
        f"(select key, max(claimed_at) as doubtful_at from {world.ledgers[ledger.UNSETTLED]} where {own} group by key)"
        f" as doubts where not exists (select 1 from {world.ledgers[ledger.DELIVERIES]} as taken where {own}"
        " and state = 'accepted' and taken.key = doubts.key and taken.claimed_at > doubtful_at)"
    )
