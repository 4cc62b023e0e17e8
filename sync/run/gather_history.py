"""Reads what the ledgers know of an event sync: whether it has run, what is usual, and what it last sent."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from sync.core import event_sql, ledger, sql
from sync.core.history import (
    RUN_LINE_COLUMNS,
    EventHistory,
    FirstRun,
    KeySource,
    LastSent,
    OtherLedgers,
    PastRuns,
    RunLine,
    Sibling,
)
from sync.core.lineage import Identity, Lineage, is_same_service
from sync.edges.warehouse import Session
from sync.run.gather import Source
from sync.run.lineages import live_identities
from sync.run.world import World
from sync.spec.model import EventConfig

# The keys that were sent last that are looked up in the model: enough to say what part of them is gone.
_KEYS_LOOKED_UP = 10_000
# Where the last run sent fewer keys than these, those before it are looked at too, as far as so many runs go.
_ENOUGH_KEYS, _MOST_RUNS = 1_000, 50
_LAST_KEYS = "statsig_sync_last_keys"


@dataclass(frozen=True)
class Past:
    """What is known before the rows are read.

    ``has_left_nothing`` says that no run has sent anything or left it out, as a first run that found no rows.
    ``last_runs`` are the ids of the runs that sent something last, and ``last_keys`` how many keys they sent, the last
    of them ``newest_keys``; ``lost`` counts those of the last run that the ledgers do not know any more. ``last_until``
    is the latest time of the last run's events (milliseconds UTC), and ``last_metadata`` what was metadata; None where
    there is none.
    """

    is_first_run: bool
    has_left_nothing: bool
    keys_were_from: KeySource | None
    usual: float | None
    last_runs: tuple[str, ...] = ()
    last_keys: int = 0
    newest_keys: int = 0
    lost: int = 0
    last_until: int | None = None
    last_metadata: tuple[str, ...] | None = None

    @property
    def has_sent(self) -> bool:
        """Whether the ledgers have anything of what was sent."""
        return bool(self.last_runs) or self.lost > 0


def read_past(world: World, source: Source, session: Session) -> Past:
    """What the ledgers know of the sync before its rows are read."""
    own = source.lineage.condition
    runs = read_runs(world, source.lineage, session)
    has_left_nothing = not runs.has_left_something and not _may_have_sent(world, own, session)
    past = Past(
        has_left_nothing and not runs.has_finished,
        has_left_nothing,
        runs.keys_were_from,
        runs.usual(ledger.naive_utc(world.clock.now())),
    )
    past = _with_last_runs(past, world, own, session)
    last = runs.last_that_sent
    if last is None:
        return past
    columns = tuple(json.loads(last.metadata_columns)) if last.metadata_columns else None
    is_lost = not runs.has_pruned_since(last.logged_at) and not _is_known(world, own, last.run_id, session)
    until = _milliseconds(last.events_until or last.logged_at)
    lost = (last.keys_accepted or 0) if is_lost else 0
    return replace(past, lost=lost, last_until=until, last_metadata=columns)


def read_runs(world: World, lineage: Lineage, session: Session) -> PastRuns:
    """What the run ledger says of a sync."""
    columns = ", ".join(RUN_LINE_COLUMNS)
    lines = session.rows(f"select {columns} from {world.ledgers[ledger.RUN_LOG]} where {lineage.condition}")
    return PastRuns([RunLine(*line) for line in lines])


def _may_have_sent(world: World, own: str, session: Session) -> bool:
    """Whether any event of a sync may have reached Statsig, or was left out for good, by what the batches say.

    What was in doubt and what a person has settled as unsent counts: it is known, and sent again on somebody's word.
    """
    batches = world.ledgers[ledger.BATCH_LOG]
    return bool(
        session.value(
            f"select exists (select 1 from {batches} where {own} and operation in ('log', 'skip')"
            " and state in ('accepted', 'unknown'))"
            f" or exists (select 1 from {world.ledgers[ledger.BATCHES]} where {own} and operation in ('log', 'skip')"
            " and state in ('accepted', 'unknown'))"
        )
    )


def _with_last_runs(past: Past, world: World, own: str, session: Session) -> Past:
    """The last runs that sent something; after a quiet day those before it, too."""
    ids: list[str] = []
    keys, newest, until = 0, 0, None
    for run_id, count, last in session.rows(
        f"select run_id, sum(keys), max(coalesce(settled_at, claimed_at)) as last from {world.ledgers[ledger.BATCHES]}"
        f" where {own} and operation = 'log' and state = 'accepted' group by run_id order by last desc"
        f" limit {_MOST_RUNS}"
    ):
        if keys < _ENOUGH_KEYS:
            ids.append(run_id)
            newest = newest or int(count)
            keys, until = keys + int(count), until or _milliseconds(last)
    return replace(past, last_runs=tuple(ids), last_keys=keys, newest_keys=newest, last_until=until)


def _is_known(world: World, own: str, run_id: str, session: Session) -> bool:
    """Whether the ledgers have any event of a run."""
    deliveries = world.ledgers[ledger.DELIVERIES]
    query = f"select exists (select 1 from {deliveries} where {own} and run_id = $run_id)"
    return bool(session.value(query, {"run_id": run_id}))


def read_history(world: World, source: Source, relation: str, past: Past, session: Session) -> EventHistory:
    """All that the ledgers know of a sync that has something to send, or runs for the first time."""
    first_run = None
    if past.has_left_nothing:
        first_run = replace(_first_run(world, source, relation, session), is_again=not past.is_first_run)
    last_sent = None
    if past.has_sent:
        gone = _gone(world, source, relation, past, session)
        last_sent = LastSent(past.last_keys, gone, past.last_until, past.last_metadata, past.lost, past.newest_keys)
    return EventHistory(first_run, past.keys_were_from, past.usual, last_sent)


def idle_history(past: Past) -> EventHistory:
    """What is worth knowing of a sync that has nothing to send."""
    last_sent = LastSent(0, 0, past.last_until, past.last_metadata) if past.has_sent else None
    return EventHistory(None, past.keys_were_from, past.usual, last_sent)


def _milliseconds(moment: dt.datetime) -> int:
    return round(moment.replace(tzinfo=dt.timezone.utc).timestamp() * 1000)


def _gone(world: World, source: Source, relation: str, past: Past, session: Session) -> int:
    """How many of the keys that were sent last the model has no more: where there are many, by a sample."""
    config = source.sync.config
    assert isinstance(config, EventConfig)  # noqa: S101 - narrows the type
    if not past.last_runs:
        return 0
    every = max(1, past.last_keys // _KEYS_LOOKED_UP)
    looked_up = session.keep(
        _LAST_KEYS,
        f"select distinct key from {world.ledgers[ledger.DELIVERIES]} where {source.lineage.condition}"
        f" and run_id in ({_listed(past.last_runs)}) and operation = 'log' and state = 'accepted'"
        f" and hash(key) % {every} = 0",
        {},
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
    """Whether dbt has seen the sync in the run ledger, which has no run of it with rows any more, to any project."""
    names = {one.sync_name for one in source.lineage.identities}
    if not names & world.state.known_syncs:
        return False
    return not session.value(
        f"select exists (select 1 from {world.ledgers[ledger.RUN_LOG]} where sync_name in ({_listed(names)})"
        " and state = 'finished' and rows_read > 0)"
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sql.literal(name) for name in sorted(names))


def _siblings(world: World, source: Source, relation: str, session: Session) -> Iterator[Sibling]:
    """Other syncs of these ledgers that have sent what this one would send."""
    live = live_identities(world)
    found = dict(_candidates(world, source, live, session))
    if found and (query := _sent_by(world, source, relation, tuple(found))):
        for project, sync_name, keys in session.rows(query):
            other = Identity(project, sync_name)
            yield Sibling(other, int(keys), other in live, found[other])


def _candidates(
    world: World, source: Source, live: Collection[Identity], session: Session
) -> Iterator[tuple[Identity, bool]]:
    """Syncs that may be this one under another name, and whether each is surely another.

    One that the project still has, and that goes to another Statsig project or reads another model, is another sync.
    """
    own = source.lineage.own
    for project, sync_name, model in session.rows(
        f"select project, sync_name, max_by(model, logged_at) from {world.ledgers[ledger.RUN_LOG]}"
        " where object = 'events' and model is not null and project is not null"
        " group by project, sync_name order by all"
    ):
        other = Identity(project, sync_name)
        is_other = other in live and (project != own.project or model != source.sync.model)
        is_elsewhere = is_other and project != own.project
        if other not in source.lineage.identities and is_same_service(project, own.project) and not is_elsewhere:
            yield other, is_other


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
            sent = sum(int(keys) for project, keys in rows if is_same_service(project, source.lineage.own.project))
            if sent:
                yield OtherLedgers(relation.rpartition(".")[0].replace('"', ""), sent)


def _plain(relation: str) -> str:
    """A relation's name without quotes, for a comparison."""
    return relation.replace('"', "").lower()
