"""``prune``: forgets old lines of the ledgers that nothing depends on any more.

What keeps an event from being sent twice, an id from being lost, and a first run from being taken for one,
stays: so pruning never changes what the next run sends.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sync.core import ledger, sql
from sync.core.columns import Column
from sync.core.event_sql import resolve
from sync.core.terms import Term
from sync.edges.warehouse import Session
from sync.errors import UnreadableError
from sync.run.gather import Source, check_relations, source, stored, unreadable_error, unreadable_model
from sync.run.gather_events import keys_from
from sync.run.gather_history import read_runs
from sync.run.lease import Lease
from sync.run.lineages import lineages
from sync.run.prepare import GateMode, gate_refusals, refuse
from sync.run.world import World, all_syncs
from sync.spec.model import EventConfig, Sync


@dataclass(frozen=True)
class PruneRequest:
    """What the command line asks of ``prune``: the least age of what is deleted, and the gate.

    ``is_dry`` says that nothing is to be written.
    """

    older_than: dt.timedelta
    gate: GateMode = "strict"
    is_dry: bool = False


@dataclass(frozen=True)
class Pruned:
    """The number of lines that were deleted, or would be, per ledger, and before which time.

    ``warnings`` say what the gate warns of, and of which syncs no event was forgotten.
    """

    deleted: Mapping[str, int]
    before: dt.datetime
    warnings: tuple[str, ...]


def prune(world: World, request: PruneRequest, holder: str, term: Term) -> Pruned:
    """Deletes old lines; where it is only to say which, nothing is written, and no sync is held.

    Events are forgotten only when their key is in the model no more, so a model that is half built would
    make their next run send them again. A sync whose keys look as if they meant other rows than those that were sent
    forgets none, which is a warning. Raises ``RefusedError`` where dbt's last build did not prove a model, and while a
    run holds a sync.
    """
    syncs = all_syncs(world.graph)
    with world.warehouse.reading() as session:
        columns = check_relations(world, syncs, session)
    events = [sync for sync in syncs if isinstance(sync.config, EventConfig)]
    refusals, warnings = gate_refusals(world, request.gate, events)
    if refusals:
        refuse(refusals)
    before = ledger.naive_utc(world.clock.now() - request.older_than)
    if request.is_dry:
        with world.warehouse.rehearsing() as session:
            deleted, kept = _delete(world, session, syncs, columns, before)
            return Pruned(deleted, before, (*warnings, *kept))
    lease = Lease(world, world.new_id(), holder, term)
    with lease.held(syncs, ("finished", "prune")), world.warehouse.writing() as session:
        deleted, kept = _delete(world, session, syncs, columns, before)
        return Pruned(deleted, before, (*warnings, *kept))


def _delete(
    world: World,
    session: Session,
    syncs: Sequence[Sync],
    columns: Mapping[str, tuple[Column, ...]],
    before: dt.datetime,
) -> tuple[dict[str, int], list[str]]:
    """How many lines of each ledger were deleted, and what to say of syncs that forget no event."""
    counts, kept = dict.fromkeys(ledger.LEDGERS, 0), []
    histories = lineages(world, syncs, session)
    events = [source(world, sync, columns[sync.name], histories[sync.name]) for sync in syncs if _is_of_events(sync)]
    keys = [_keys(world, session, found) for found in events]
    for found, relation in zip(events, keys, strict=True):
        if problem := _keys_problem(world, session, found, relation):
            if _old_events(world, session, found, relation, before):
                kept.append(problem)
        else:
            counts[ledger.CHANGELOG] += _forget_events(world, session, found, relation, before)
    counts[ledger.BUILD_LOG] += session.delete(world.ledgers[ledger.BUILD_LOG], _old_builds(world), {"before": before})
    changelog = world.ledgers[ledger.CHANGELOG]
    for condition in (_superseded(world), _forgotten(world), _without_batch(world)):
        counts[ledger.CHANGELOG] += session.delete(changelog, condition, {"before": before})
    counts[ledger.BATCH_LOG] += session.delete(world.ledgers[ledger.BATCH_LOG], _old_batches(world), {"before": before})
    counts[ledger.REJECT_LOG] += session.delete(
        world.ledgers[ledger.REJECT_LOG], "logged_at < $before and reason <> 'refused_by_statsig'", {"before": before}
    )
    for name in (ledger.DRIFT_LOG, ledger.ARRIVAL_LOG):
        counts[name] += session.delete(world.ledgers[name], "logged_at < $before", {"before": before})
    counts[ledger.RUN_LOG] += session.delete(world.ledgers[ledger.RUN_LOG], _old_runs(world), {"before": before})
    return counts, kept


def _is_of_events(sync: Sync) -> bool:
    return isinstance(sync.config, EventConfig)


def _keys(world: World, session: Session, found: Source) -> str:
    """The keys that the model of an event sync has, as a temporary table with the one column ``key``.

    Raises ``UnreadableError`` where the model cannot be read.
    """
    sync = found.sync
    assert isinstance(sync.config, EventConfig)  # noqa: S101 - narrows the type
    key = sql.text_form(resolve(sync.config, found.columns).unique_key)
    name = f"statsig_sync_keys_{hashlib.md5(sync.name.encode(), usedforsecurity=False).hexdigest()}"
    try:
        with session.one_model(found.relation):
            return session.keep(name, f"select {key} as key from {stored(found, session).relation}", {})
    except UnreadableError as error:
        raise unreadable_error([unreadable_model(sync, error)]) from error


# With fewer keys than these, nothing can be said of most of them.
_FEW_KEYS = 3


def _keys_problem(world: World, session: Session, found: Source, keys: str) -> str | None:
    """Why the keys of a model may mean other rows than those that were sent; None where nothing speaks for that.

    A run refuses such keys. Should they be mended after their events were forgotten, these would be sent again.
    """
    config, name = found.sync.config, found.sync.name
    assert isinstance(config, EventConfig)  # noqa: S101 - narrows the type
    advice = f"Run first: statsig-sync run --select {name}. Where that is refused, it says what to mend."
    were, are = read_runs(world, found.lineage, session).keys_were_from, keys_from(found, config)
    if were not in (None, are):
        return f"{name}: none of its events is forgotten, because its keys were {were} in the last run. {advice}"
    own = found.lineage.condition
    all_keys = f"from (select distinct key from {keys} where key is not null)"
    new = int(
        session.value(
            f"select count(*) {all_keys} where key not in (select key from {world.ledgers[ledger.DELIVERIES]}"
            f" where {own} and operation in ('log', 'skip') and state in ('accepted', 'unknown') and key is not null)"
            f" and key not in (select key from {world.ledgers[ledger.REJECT_LOG]} where {own} and key is not null)"
        )
    )
    count = int(session.value(f"select count(*) {all_keys}"))
    if new < _FEW_KEYS or 2 * new <= count:
        return None
    return (
        f"{name}: none of its events is forgotten, because {new:,} of the {count:,} keys in its model were never sent: "
        f"if each build makes other keys, what is forgotten would be sent again once that is mended. {advice}"
    )


def _old_events(world: World, session: Session, found: Source, keys: str, before: dt.datetime) -> int:
    """How many events of a sync would be forgotten."""
    changelog = world.ledgers[ledger.CHANGELOG]
    values = {"before": before, "sync_name": found.sync.name}
    return int(session.value(f"select count(*) from {changelog} where {_is_old_event(world, found, keys)}", values))


def _forget_events(world: World, session: Session, found: Source, keys: str, before: dt.datetime) -> int:
    """Forgets events that were accepted and whose key the model does not have any more.

    Where the model has no row at all, none is forgotten: that is a source that was not loaded more often
    than a truth.
    """
    values = {"before": before, "sync_name": found.sync.name}
    return session.delete(world.ledgers[ledger.CHANGELOG], _is_old_event(world, found, keys), values)


def _is_old_event(world: World, found: Source, keys: str) -> str:
    return (
        "logged_at < $before and operation in ('log', 'skip')"
        f" and batch_id in (select batch_id from {world.ledgers[ledger.BATCHES]} where state <> 'unknown'"
        f" and (sync_name = $sync_name or {found.lineage.condition}))"
        f" and key not in (select key from {keys} where key is not null)"
        f" and exists (select 1 from {keys})"
    )


def _superseded(world: World) -> str:
    """A line of the changelog about an id, where a later accepted request for the same id says more."""
    deliveries = world.ledgers[ledger.DELIVERIES]
    return (
        "logged_at < $before and operation in ('add', 'remove', 'adopt') and (batch_id, key) in ("
        f"select older.batch_id, older.key from {deliveries} as older join"
        f" (select project, destination, key, max(sequence) as sequence from {deliveries}"
        " where state = 'accepted' and operation in ('add', 'remove', 'adopt') group by all) as latest"
        " using (project, destination, key) where older.sequence < latest.sequence)"
    )


def _forgotten(world: World) -> str:
    """A line of the changelog about an id of a list that was forgotten since."""
    batches = world.ledgers[ledger.BATCH_LOG]
    return (
        "logged_at < $before and operation in ('add', 'remove', 'adopt') and batch_id in ("
        f"select earlier.batch_id from {batches} as earlier join"
        f" (select project, destination, max(sequence) as sequence from {batches}"
        " where operation = 'forget' and state = 'accepted' group by project, destination) as forgotten"
        " using (project, destination) where earlier.sequence < forgotten.sequence)"
    )


def _without_batch(world: World) -> str:
    """A line of the changelog that was written piece by piece before its batch, by a run that died in between."""
    return f"logged_at < $before and batch_id not in (select batch_id from {world.ledgers[ledger.BATCH_LOG]})"


def _old_batches(world: World) -> str:
    """A line about a batch of which the changelog has no key any more.

    One line that a list was forgotten says more than all before it, and has no line in the changelog.
    """
    return (
        "logged_at < $before and operation <> 'forget' and batch_id in (select batch_id from "
        f"{world.ledgers[ledger.BATCHES]} where state <> 'unknown')"
        f" and batch_id not in (select batch_id from {world.ledgers[ledger.CHANGELOG]})"
    )


def _old_runs(world: World) -> str:
    """Runs that have ended, but for the last one of each sync that read rows and finished, and what later runs ask for.

    That is the last run that sent something, and the last that carried on the history of another name.
    """
    runs = world.ledgers[ledger.RUN_LOG]
    last = f"select project, sync_name, max_by(run_id, logged_at) from {runs} where project is not null and"
    ended = f"select run_id from {runs} where state in ('finished', 'failed', 'aborted')"
    return f"logged_at < $before and run_id in ({ended})" + "".join(
        f" and (project, sync_name, run_id) not in ({last} {condition} group by project, sync_name)"
        for condition in (
            "state = 'finished' and rows_read is not null",
            "keys_accepted > 0",
            "renamed_from is not null",
        )
    )


def _old_builds(world: World) -> str:
    """What dbt has written of commands, but for the last of each project and target and the last run of each node.

    A command that knew of other runs of syncs, or of other nodes, than the last one stays, and a run that left rows
    out.
    """
    own = "project_name, profile_name, target_name, target_database, target_schema, unique_id"
    last = world.ledgers[ledger.INVOCATIONS]
    is_kept = (
        "(left_out_rows is not null and resource_type not in ('test', 'unit_test'))"
        f" or ({own}, invocation_id) in (select {own}, invocation_id from {world.ledgers[ledger.NODE_RUNS]})"
    )
    return (
        f"logged_at < $before and invocation_id not in (select invocation_id from {last})"
        f" and case when record = 'invocation' then known_syncs in (select known_syncs from {last})"
        f" and lineage_hash in (select lineage_hash from {last}) else not ({is_kept}) end"
    )
