"""Reads the world: what is in the warehouse for each sync, and what the ledgers know of it."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sync import __version__
from sync.core import ledger
from sync.core.columns import Column, find
from sync.core.lineage import Lineage
from sync.core.mapping import mapping_faults
from sync.core.plan import Refusal
from sync.edges.settings import Endpoint, endpoint
from sync.edges.warehouse import Session
from sync.errors import ConfigError, Fault, UnreadableError
from sync.run.world import BUILD_LEDGERS, World
from sync.spec.model import SegmentConfig, Sync
from sync.spec.statsig import LIMIT_WINDOWS


def check_ledgers(world: World, session: Session) -> None:
    """Raises ``ConfigError`` with the command that mends it where ledgers are not as this version appends to them."""
    faults = list(_ledger_faults(world, session))
    if faults:
        raise ConfigError([Fault("", "", "ledgers", message) for message in faults])


def _ledger_faults(world: World, session: Session) -> Iterator[str]:
    missing = sorted(relation for relation in world.ledgers.values() if session.kind(relation) is None)
    if missing:
        yield f"there is no {', '.join(missing)} in the warehouse. Create it with: {BUILD_LEDGERS}"
    own = [name for name in ledger.LEDGERS if world.ledgers[name] not in missing]
    version = world.state.package_version
    faults = [fault for name in own for fault in _ledger_fault(name, world.ledgers[name], session, version)]
    yield from faults
    if not missing and not faults:
        # A view over a ledger that is not as it has to be fails with it.
        for name in ledger.RELATIONS:
            if name not in own:
                yield from _view_fault(name, world.ledgers[name], session, version)


def _ledger_fault(name: str, relation: str, session: Session, package_version: str | None) -> Iterator[str]:
    if session.kind(relation) == "view":
        yield (
            f"the ledger {relation} is a view, as dbt clone leaves one, and has to be a table, to which statsig-sync "
            f"appends. Drop the view and create the ledger with: {BUILD_LEDGERS}"
        )
    elif problem := ledger.column_problem(name, session.columns(relation) or ()):
        yield f"the ledger {relation} {problem}. {_versions(package_version)}"


def _view_fault(name: str, relation: str, session: Session, package_version: str | None) -> Iterator[str]:
    try:
        columns = session.columns(relation)
    except UnreadableError as error:
        yield f"{error} Create it again with: {BUILD_LEDGERS}"
    else:
        if problem := ledger.lacking_columns(ledger.VIEWS.get(name, ()), columns or ()):
            yield f"the view {relation} {problem}. {_versions(package_version)}"


def _versions(package_version: str | None) -> str:
    package = f"statsig_sync {package_version}" if package_version else "statsig_sync"
    return (
        f"This is statsig-sync {__version__}, and the ledgers are of the dbt package {package}: install the package in "
        f"version {__version__} (dbt deps), then run: {BUILD_LEDGERS}"
    )


@dataclass(frozen=True)
class Models:
    """The models of syncs as they are in the warehouse: the columns of those that can be read, by the sync's name.

    ``unreadable`` holds a refusal for each sync whose model is there and cannot be read.
    """

    columns: Mapping[str, tuple[Column, ...]]
    unreadable: tuple[Refusal, ...]


def look_at_models(world: World, syncs: Sequence[Sync], session: Session) -> Models:
    """The models of the syncs.

    Raises ``ConfigError`` with every fault of the relations, and with the ledgers that are not as they have to be.
    """
    found: dict[str, tuple[Column, ...]] = {}
    unreadable: list[Refusal] = []
    faults: list[Fault] = []
    try:
        check_ledgers(world, session)
    except ConfigError as error:
        faults.extend(error.faults)
    for sync in syncs:
        try:
            found[sync.name] = _columns(world, sync, session)
        except ConfigError as error:
            faults.extend(error.faults)
        except UnreadableError as error:
            unreadable.append(unreadable_model(sync, error))
        else:
            faults.extend(mapping_faults(sync, found[sync.name]))
    if faults:
        raise ConfigError(faults)
    return Models(found, tuple(unreadable))


def check_relations(world: World, syncs: Sequence[Sync], session: Session) -> Mapping[str, tuple[Column, ...]]:
    """The columns of each sync's relation, by the sync's name.

    Raises as ``look_at_models``, and ``UnreadableError`` with every model that is there and cannot be read.
    """
    found = look_at_models(world, syncs, session)
    if found.unreadable:
        raise unreadable_error(found.unreadable)
    return found.columns


def unreadable_model(sync: Sync, error: UnreadableError) -> Refusal:
    """What becomes of a sync whose model cannot be read."""
    advice = (
        " Run dbt build. Where dbt can read the view and statsig-sync cannot, make it a table (materialized: table)."
        if error.is_view
        else ""
    )
    return Refusal(sync.name, f"its model is {error}{advice}", "unreadable")


def unreadable_error(refusals: Sequence[Refusal]) -> UnreadableError:
    """The error for syncs whose models cannot be read."""
    messages = [f"{refusal.sync_name}: {refusal.message}" for refusal in refusals]
    return UnreadableError(*messages, sync_names=[refusal.sync_name for refusal in refusals])


def _columns(world: World, sync: Sync, session: Session) -> tuple[Column, ...]:
    relation = world.relation(sync)
    columns = session.columns(relation)
    if columns is None:
        message = f"is {relation}, which is not in the warehouse. Run dbt build first."
        raise ConfigError([Fault(sync.file, f"exposure {sync.name}", "depends_on", message)])
    return columns


@dataclass(frozen=True)
class Source:
    """A sync with all that is needed to read its rows; ``lineage`` says whose history in the ledgers is its own."""

    sync: Sync
    relation: str
    columns: tuple[Column, ...]
    endpoint: Endpoint
    lineage: Lineage


def source(world: World, sync: Sync, columns: tuple[Column, ...], lineage: Lineage) -> Source:
    """The source of a sync."""
    return Source(sync, world.relation(sync), columns, endpoint(sync, world.environment), lineage)


def stored(source: Source, session: Session) -> Source:
    """The source with a copy of its rows in place of a view, which is read under dbt's session, and once.

    A view may give other rows at each reading, and under other settings. Of a segment, only the ids are copied.
    """
    if session.kind(source.relation) == "table":
        return source
    columns = (id_column(source),) if isinstance(source.sync.config, SegmentConfig) else ()
    # The copy of events is large: the next takes its place.
    name = _copy_name(source) if columns else "statsig_sync_model"
    return replace(source, relation=session.copy_view(name, source.relation, columns))


def _copy_name(source: Source) -> str:
    what = f"{source.relation} {id_column(source).name}"
    return f"statsig_sync_ids_{hashlib.md5(what.encode(), usedforsecurity=False).hexdigest()}"


def is_first_run(world: World, lineage: Lineage, session: Session) -> bool:
    """Whether no run of a segment sync has ended well, and none has left a batch.

    Other commands leave lines in the run ledger too; only a run has read rows.
    """
    return not session.value(
        f"select exists (select 1 from {world.ledgers[ledger.RUN_LOG]} where {lineage.condition}"
        " and object <> 'events' and state = 'finished' and rows_read is not null)"
        f" or exists (select 1 from {world.ledgers[ledger.BATCH_LOG]} where {lineage.condition}"
        " and operation not in ('log', 'skip'))"
    )


def last_sequence(world: World, project: str, sync: Sync, session: Session) -> int:
    """The number of the last batch that the ledgers have for the sync's destination; 0 where none."""
    found = session.value(
        f"select max(sequence) from {world.ledgers[ledger.BATCH_LOG]}"
        " where project = $project and destination = $destination",
        {"project": project, "destination": sync.destination},
    )
    return int(found or 0)


def earlier_requests(world: World, sources: Sequence[Source], session: Session) -> dict[str, list[float]]:
    """How many seconds ago earlier requests went out that still count against the limits, per project of a source."""
    projects = sorted({one.endpoint.project for one in sources})
    return {project: recent_requests(world, project, LIMIT_WINDOWS[-1], session) for project in projects}


def recent_requests(world: World, project: str, seconds: int, session: Session) -> list[float]:
    """How many seconds ago the id_list requests of the last ``seconds`` went out, oldest first.

    One that was claimed and never settled counts once: whoever died may have sent it.
    """
    now = ledger.naive_utc(world.clock.now())
    rows = session.rows(
        f"select coalesce(settled_at, claimed_at) as moment, coalesce(attempts, 1) from {world.ledgers[ledger.BATCHES]}"
        " where project = $project and operation in ('add', 'remove') and moment > $since order by moment",
        {"project": project, "since": now - dt.timedelta(seconds=seconds)},
    )
    return [max(0.0, (now - row[0]).total_seconds()) for row in rows for _ in range(int(row[1]))]


def id_column(source: Source) -> Column:
    """The column that holds the ids of a segment sync."""
    config = source.sync.config
    column = find(source.columns, config.id_column) if isinstance(config, SegmentConfig) else None
    if column is None:
        raise LookupError(f"{source.sync.name} was not checked")
    return column
