"""The lists that the ledgers know, and which of them the project's syncs write."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sync.core import ledger, orphans
from sync.core.lineage import is_same_service
from sync.core.orphans import KnownList, LeftBehind, Place, Writer
from sync.edges.settings import endpoint, without_keys
from sync.edges.warehouse import Session
from sync.run.build_log import other_projects
from sync.run.lineages import lineages
from sync.run.world import World
from sync.spec.model import SegmentConfig, Sync
from sync.spec.parse import parse_syncs


def members_by_list(world: World, session: Session) -> dict[Place, int]:
    """How many ids are in each list, or may be, by the list's project and segment id."""
    rows = session.rows(
        f"select project, segment_id, count(*) from {world.ledgers[ledger.MEMBERSHIP]} where status <> 'out'"
        " group by project, segment_id"
    )
    return {(project, segment_id): int(count) for project, segment_id, count in rows}


def members_by_project(members: Mapping[Place, int]) -> dict[str, int]:
    """How many ids the ledgers know in all lists together, per project."""
    found: dict[str, int] = defaultdict(int)
    for (project, _), count in members.items():
        found[project] += count
    return dict(found)


def known_lists(world: World, members: Mapping[Place, int], session: Session) -> tuple[KnownList, ...]:
    """The lists that syncs of these ledgers have written, and that were not forgotten since."""
    forgotten = _last_forgotten(world, session)
    last: dict[Place, dict[str, int]] = defaultdict(dict)
    rows = session.rows(
        f"select project, destination, sync_name, max(sequence) from {world.ledgers[ledger.BATCH_LOG]}"
        " where operation in ('add', 'remove', 'adopt') and state in ('claimed', 'accepted', 'unknown')"
        " group by project, destination, sync_name"
    )
    for project, segment_id, sync_name, sequence in rows:
        if sequence > forgotten.get((project, segment_id), -1):
            last[project, segment_id][sync_name] = sequence
    return tuple(
        KnownList(*place, tuple(sorted(writers, key=lambda name: -writers[name])), members.get(place, 0))
        for place, writers in sorted(last.items())
    )


def _last_forgotten(world: World, session: Session) -> dict[Place, int]:
    rows = session.rows(
        f"select project, destination, max(sequence) from {world.ledgers[ledger.BATCH_LOG]}"
        " where operation = 'forget' and state = 'accepted' group by project, destination"
    )
    return {(project, segment_id): int(sequence) for project, segment_id, sequence in rows}


def written_lists(world: World, syncs: Sequence[Sync], session: Session) -> dict[Place, Writer]:
    """The lists that syncs write, under all names of their Statsig project, with one that does.

    ``syncs`` are those of the project at hand. Other dbt projects and targets may have their ledgers in the same
    schema, and so the same ledgers: their syncs count too, as far as dbt's build log knows them.
    """
    found: dict[Place, Writer] = {}
    # Where a list is follows from addresses and names alone, and the keys of other projects may not be here.
    elsewhere = replace(world, environment=without_keys(world.environment))
    for other in other_projects(session, world.ledgers[ledger.INVOCATIONS], world.wanted):
        found |= _written(elsewhere, parse_syncs(other.exposures)[0], session, other.name)
    return found | _written(world, syncs, session)


def _written(
    world: World, syncs: Sequence[Sync], session: Session, elsewhere: str | None = None
) -> dict[Place, Writer]:
    segments = [sync for sync in syncs if isinstance(sync.config, SegmentConfig)]
    found = lineages(world, segments, session)
    return {
        (project, sync.destination): Writer(sync.name, elsewhere)
        for sync in segments
        for project in found[sync.name].projects
    }


def find_left_behind(world: World, syncs: Sequence[Sync], session: Session) -> LeftBehind:
    """The lists that none of these syncs, which are all of the project's, writes any more, nor another project's.

    What was sent to a stand-in is no list of Statsig's, and the other way round.
    """
    written = written_lists(world, syncs, session)
    known = known_lists(world, {}, session)
    left = [one for one in known if one.place not in written and is_within_reach(world, one)]
    # Counting the members of every list is dear, and most projects have left none behind.
    members = members_by_list(world, session) if left else {}
    return orphans.left_behind([replace(one, members=members.get(one.place, 0)) for one in left], written)


def is_within_reach(world: World, known: KnownList) -> bool:
    """Whether a list is where this environment's requests go: at Statsig, or at a stand-in for it."""
    here = endpoint(sync_of(world, known, ()), world.environment).project
    return is_same_service(here, known.project)


def sync_of(world: World, known: KnownList, syncs: Sequence[Sync], model: str = "") -> Sync:
    """A sync that takes ids out of a list, in the name of the one that wrote it last; ``model`` is what that one read.

    It goes by the key of one of ``syncs`` in the same Statsig project. Where there is none, what the ledgers call the
    project says which variable has held the key.
    """
    variable = known.project.partition(":")[2] or None
    config = SegmentConfig(object="segment", segment_id=known.segment_id, mode="remove", api_key_env=variable)
    for other in syncs:
        if isinstance(other.config, SegmentConfig) and endpoint(other, world.environment).project == known.project:
            config = other.config.model_copy(update={"segment_id": known.segment_id, "mode": "remove"})
    return Sync(known.writers[0], "", model, config)
