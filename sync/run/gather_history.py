"""Reads what the ledgers know of an event sync: whether it has run, what is usual, and what it last sent."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sync.core import event_sql, ledger, sql
from sync.core.history import (
    EventHistory,
    FinishedRun,
    FirstRun,
    KeySource,
    LastSent,
    OtherLedgers,
    Sibling,
    usual,
)
from sync.core.lineage import Identity, Lineage
from sync.edges.warehouse import Session
from sync.run.gather import Source, is_first_run
from sync.run.lineages import live_identities
from sync.run.world import World
from sync.spec.model import EventConfig

# The keys of the last run that are looked up in the model: enough to say what part of them is gone.
_KEYS_LOOKED_UP = 10_000
_LAST_KEYS = "statsig_sync_last_keys"


@dataclass(frozen=True)
class Past:
    """What is known before the rows are read.

    Of the last run that sent something, ``last_run`` is the id, ``last_keys`` how many keys it sent, ``last_until`` the
    latest time of its events (milliseconds UTC), and ``last_metadata`` what was metadata; None where there is none.
    """

    is_first_run: bool
    keys_were_from: KeySource | None
    usual: float | None
    last_run: str | None = None
    last_keys: int = 0
    last_until: int | None = None
    last_metadata: tuple[str, ...] | None = None


def read_past(world: World, source: Source, session: Session) -> Past:
    """What the ledgers know of the sync before its rows are read."""
    own = source.lineage.condition
    runs = world.ledgers[ledger.RUN_LOG]
    past = (
        is_first_run(world, source.lineage, session),
        _keys_were_from(runs, own, session),
        usual(_finished(runs, own, session), ledger.naive_utc(world.clock.now())),
    )
    found = session.rows(
        f"select run_id, keys_accepted, coalesce(events_until, logged_at), metadata_columns from {runs} where {own}"
        " and keys_accepted > 0 and object = 'events' order by logged_at desc limit 1"
    )
    for run_id, keys, until, metadata in found:
        return Past(*past, run_id, keys, _milliseconds(until), tuple(json.loads(metadata)) if metadata else None)
    return Past(*past)


def read_history(world: World, source: Source, relation: str, past: Past, session: Session) -> EventHistory:
    """All that the ledgers know of a sync that has something to send, or runs for the first time."""
    first_run = _first_run(world, source, relation, session) if past.is_first_run else None
    last_sent = None
    if past.last_run is not None:
        gone = _gone(world, source, relation, past, session)
        last_sent = LastSent(past.last_keys, gone, past.last_until, past.last_metadata)
    return EventHistory(first_run, past.keys_were_from, past.usual, last_sent)


def idle_history(past: Past) -> EventHistory:
    """What is worth knowing of a sync that has nothing to send."""
    last_sent = LastSent(0, 0, past.last_until, past.last_metadata) if past.last_run is not None else None
    return EventHistory(None, past.keys_were_from, past.usual, last_sent)


def _finished(runs: str, own: str, session: Session) -> list[FinishedRun]:
    rows = session.rows(
        f"select logged_at, coalesce(keys_accepted, 0) from {runs} where {own} and state = 'finished'"
        " and rows_read is not null order by logged_at"
    )
    return [FinishedRun(*row) for row in rows]


def _keys_were_from(runs: str, own: str, session: Session) -> KeySource | None:
    """What the keys meant in the last run that had any; None where there was none."""
    found = session.rows(
        f"select model, unique_key from {runs} where {own}"
        " and model is not null and unique_key is not null order by logged_at desc limit 1"
    )
    return next((KeySource(model, unique_key) for model, unique_key in found), None)


def _milliseconds(moment: dt.datetime) -> int:
    return round(moment.replace(tzinfo=dt.timezone.utc).timestamp() * 1000)


def _gone(world: World, source: Source, relation: str, past: Past, session: Session) -> int:
    """How many of the keys that the last run sent the model has no more: where there are many, by a sample."""
    config = source.sync.config
    assert isinstance(config, EventConfig)  # noqa: S101 - narrows the type
    every = max(1, past.last_keys // _KEYS_LOOKED_UP)
    looked_up = session.keep(
        _LAST_KEYS,
        f"select distinct key from {world.ledgers[ledger.DELIVERIES]} where {source.lineage.condition}"
        f" and run_id = $run_id and operation = 'log' and state = 'accepted' and hash(key) % {every} = 0",
        {"run_id": past.last_run},
    )
    key = sql.text_form(event_sql.resolve(config, source.columns).unique_key)
    sample = int(session.value(f"select count(*) from {looked_up}"))
    query = f"select count(distinct {key}) from {relation} where {key} in (select key from {looked_up})"
    found = int(session.value(query))
    return round(past.last_keys * (sample - found) / sample) if sample else 0


def _first_run(world: World, source: Source, relation: str, session: Session) -> FirstRun:
    return FirstRun(
        tuple(_siblings(world, source, relation, session)),
        tuple(_elsewhere(world, source, session)),
        _was_seen(world, source, session),
    )


def _was_seen(world: World, source: Source, session: Session) -> bool:
    """Whether dbt has seen the sync in the run ledger, which has no run of that name any more, to whatever project."""
    names = {one.sync_name for one in source.lineage.identities}
    if not names & world.state.known_syncs:
        return False
    return not session.value(
        f"select exists (select 1 from {world.ledgers[ledger.RUN_LOG]} where sync_name in ({_listed(names)})"
        " and state = 'finished' and rows_read is not null)"
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sql.literal(name) for name in sorted(names))


def _siblings(world: World, source: Source, relation: str, session: Session) -> Iterator[Sibling]:
    """Other syncs of these ledgers that have sent what this one would send."""
    live = live_identities(world)
    others = tuple(_candidates(world, source, live, session))
    if others and (query := _sent_by(world, source, relation, others)):
        for project, sync_name, keys in session.rows(query):
            other = Identity(project, sync_name)
            yield Sibling(other, int(keys), other in live)


def _candidates(world: World, source: Source, live: Collection[Identity], session: Session) -> Iterator[Identity]:
    """Syncs that may be this one under another name.

    One that the project still has, and that goes to another Statsig project or reads another model, is another sync.
    """
    own = source.lineage.own
    for project, sync_name, model in session.rows(
        f"select project, sync_name, max_by(model, logged_at) from {world.ledgers[ledger.RUN_LOG]}"
        " where object = 'events' and model is not null and project is not null"
        " group by project, sync_name order by all"
    ):
        other = Identity(project, sync_name)
        is_other_sync = other in live and (project != own.project or model != source.sync.model)
        if other not in source.lineage.identities and _service(project) == _service(own.project) and not is_other_sync:
            yield other


def _sent_by(world: World, source: Source, relation: str, others: Sequence[Identity]) -> str | None:
    """How many of the keys that a first run would send others have sent, each; None where it sends nothing."""
    config = source.sync.config
    assert isinstance(config, EventConfig)  # noqa: S101 - narrows the type
    if config.backfill == "none":
        return None
    rows = event_sql.source_query(config, event_sql.resolve(config, source.columns), relation)
    wanted = "reason is null"
    if config.backfill_from is not None:
        midnight = dt.datetime.combine(config.backfill_from, dt.time())
        wanted += f" and (event_time is null or event_time >= {_milliseconds(midnight)})"
    is_theirs = Lineage(others[0], tuple(others[1:])).condition
    return (
        "select sent.project, sent.sync_name, count(distinct sent.key) from (select project, sync_name, key, event_name"
        f" from {world.ledgers[ledger.DELIVERIES]} where {is_theirs} and operation = 'log'"
        f" and state in ('accepted', 'unknown')) as sent join (select key, event_name from ({rows}) where {wanted})"
        " as planned on sent.key = planned.key"
        " and (sent.event_name is null or sent.event_name = planned.event_name)"
        " group by sent.project, sent.sync_name order by all"
    )


def _service(project: str) -> str:
    """Whether this is Statsig itself or a stand-in for it: what was sent to one was not sent to the other."""
    return project.partition(":")[0]


def _elsewhere(world: World, source: Source, session: Session) -> Iterator[OtherLedgers]:
    """Ledgers in other schemas that know the sync."""
    names = _listed({one.sync_name for one in source.lineage.identities})
    own = _plain(world.ledgers[ledger.BATCH_LOG])
    for relation in session.relations_named(ledger.BATCH_LOG):
        columns = {column.name.lower() for column in session.columns(relation) or ()}
        is_other = not _plain(relation).endswith(own)
        if is_other and {"batch_id", "sync_name", "project", "operation", "state", "keys"} <= columns:
            rows = session.rows(
                "select project, sum(keys) from (select project, batch_id, max(keys) as keys"
                f" from {relation} where sync_name in ({names}) and operation = 'log' and state = 'accepted'"
                " group by project, batch_id) group by project"
            )
            sent = sum(int(keys) for project, keys in rows if _service(project) == _service(source.lineage.own.project))
            if sent:
                yield OtherLedgers(relation.rpartition(".")[0].replace('"', ""), sent)


def _plain(relation: str) -> str:
    """A relation's name without quotes, for a comparison."""
    return relation.replace('"', "").lower()
