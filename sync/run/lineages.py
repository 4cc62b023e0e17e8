"""Finds out whose history each sync carries on: what its configuration names, and what the run ledger says."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from sync.core import ledger
from sync.core.lineage import Identity, Lineage, identities, trace
from sync.core.plan import Refusal
from sync.edges.settings import former_identities, identity
from sync.edges.warehouse import Session
from sync.errors import ConfigError
from sync.run.world import World, find_syncs
from sync.spec.model import Sync


def lineages(world: World, syncs: Sequence[Sync], session: Session) -> dict[str, Lineage]:
    """The lineage of each of these syncs, by its name."""
    links = _links(world, session)
    return {sync.name: _lineage(world, sync, links) for sync in syncs}


def inherited(world: World, syncs: Sequence[Sync], session: Session) -> Iterator[Refusal]:
    """Refuses the syncs whose name is one that another sync of the project had before: its history is not theirs."""
    links = _links(world, session)
    others, _ = find_syncs(world.graph)
    for other in others:
        with contextlib.suppress(ConfigError):
            earlier = _lineage(world, other, links).earlier
            for sync in syncs:
                if sync.name != other.name and identity(sync, world.environment) in earlier:
                    message = (
                        f"{other.name} was called {sync.name} before and carries its history on, so what is sent here "
                        "would count as sent there. Give this exposure another name."
                    )
                    yield Refusal(sync.name, message)


def live_identities(world: World) -> frozenset[Identity]:
    """What the ledgers call the syncs that the project has now."""
    found: set[Identity] = set()
    for sync in find_syncs(world.graph)[0]:
        with contextlib.suppress(ConfigError):
            found.add(identity(sync, world.environment))
    return frozenset(found)


def _lineage(world: World, sync: Sync, links: Mapping[Identity, Sequence[Identity]]) -> Lineage:
    return trace(identity(sync, world.environment), former_identities(sync, world.environment), links)


def _links(world: World, session: Session) -> dict[Identity, list[Identity]]:
    """The identities that the runs of each identity have carried on.

    A new name that the project has no more leads back to the old one: the rename was undone.
    """
    live = live_identities(world)
    found: dict[Identity, list[Identity]] = {}
    for project, sync_name, renamed_from in session.rows(
        f"select distinct project, sync_name, renamed_from from {world.ledgers[ledger.RUN_LOG]}"
        " where renamed_from is not null and project is not null"
    ):
        heir = Identity(project, sync_name)
        for one in identities(renamed_from):
            found.setdefault(heir, []).append(one)
            if heir not in live:
                found.setdefault(one, []).append(heir)
    return found
