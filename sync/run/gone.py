"""Event syncs that are in no project any more, and left events in doubt."""

from __future__ import annotations

from dataclasses import replace

from sync.core import ledger
from sync.core.lineage import Identity, Lineage
from sync.edges.settings import endpoint, without_keys
from sync.edges.warehouse import Session
from sync.run.build_log import other_projects
from sync.run.lineages import lineages
from sync.run.world import World, find_syncs
from sync.spec.model import EventConfig, Sync
from sync.spec.parse import parse_syncs


def gone_warnings(world: World, session: Session) -> tuple[str, ...]:
    """What to say of events in doubt whose sync no project has any more: no run tells of them."""
    if not _has_doubts(world, session):
        return ()
    kept = _kept(world, session)
    rows = session.rows(
        f"select project, sync_name, count(distinct key) from {world.ledgers[ledger.UNSETTLED]}"
        " where operation = 'log' group by project, sync_name order by all"
    )
    return tuple(
        f"{sync_name}: is in the project no more, and {int(events):,} event(s) that it has sent are in doubt; see "
        f"statsig_unsettled. Settle them with: statsig-sync resolve {sync_name} --as sent, or --as unsent."
        for project, sync_name, events in rows
        if Identity(project, sync_name) not in kept and _is_within_reach(world, project)
    )


def find_gone(world: World, name: str, session: Session) -> tuple[Sync, Lineage] | None:
    """An event sync that only the ledgers know, and what it has been there; None where it left nothing in doubt."""
    rows = session.rows(
        f"select distinct project from {world.ledgers[ledger.BATCHES]}"
        " where sync_name = $sync_name and operation = 'log' and state = 'unknown' order by project",
        {"sync_name": name},
    )
    projects = [project for (project,) in rows if _is_within_reach(world, project)]
    if not projects:
        return None
    model = session.value(
        f"select max_by(model, logged_at) from {world.ledgers[ledger.RUN_LOG]} where sync_name = $sync_name"
        " and object = 'events' and model is not null",
        {"sync_name": name},
    )
    own, *others = (Identity(project, name) for project in projects)
    return Sync(name, "", str(model or ""), _config(own.project)), Lineage(own, tuple(others))


def _config(project: str) -> EventConfig:
    """What makes a sync of this Statsig project; nothing is read or sent with it."""
    return EventConfig(
        object="events", unique_key="unknown", event_name="unknown", statsig_project=project.partition(":")[2] or None
    )


def _has_doubts(world: World, session: Session) -> bool:
    """Whether any event is in doubt: most ledgers have none, and there are far fewer batches than events."""
    batches = world.ledgers[ledger.BATCHES]
    return bool(session.value(f"select exists (select 1 from {batches} where operation = 'log' and state = 'unknown')"))


def _kept(world: World, session: Session) -> frozenset[Identity]:
    """What the ledgers call, or called, the syncs of the project, and of others that keep the same ledgers."""
    elsewhere = replace(world, environment=without_keys(world.environment))
    syncs = [*find_syncs(world.graph)[0]]
    for other in other_projects(session, world.ledgers[ledger.INVOCATIONS], world.wanted):
        syncs += parse_syncs(other.exposures)[0]
    found: set[Identity] = set()
    # One by one: two projects may have syncs of the same name.
    for sync in syncs:
        found.update(lineages(elsewhere, [sync], session)[sync.name].identities)
    return frozenset(found)


def _is_within_reach(world: World, project: str) -> bool:
    """Whether events of this project go where this environment's events go: to Statsig, or to a stand-in for it."""
    here = endpoint(Sync("any", "", "", _config(project)), without_keys(world.environment)).project
    return here == project
