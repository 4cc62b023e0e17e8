"""Reads what segment syncs need: how an audience and the members of its segment differ, and what the ledgers know."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from sync.core import comparison, ledger, reasons, sql
from sync.core.events import RejectedRow
from sync.core.lineage import Lineage
from sync.core.plan import SegmentFacts
from sync.core.segments import IN, MEMBERSHIP, OUT, UNCERTAIN, Counts
from sync.edges.warehouse import Session
from sync.run.gather import Source, id_column, is_first_run, last_sequence, stored
from sync.run.world import World
from sync.spec.model import SegmentConfig, Sync

_LISTED = "statsig_sync_listed"


@dataclass(frozen=True)
class Start:
    """What a segment is brought to its audience from, as far as the ledgers do not know: what Statsig says of it.

    ``listed`` holds the ids of a list that the ledgers do not know; ``is_gone`` says that it is not there any more.
    """

    listed: pl.Series | None = None
    is_gone: bool = False


FROM_LEDGERS = Start()


def gather_segment(
    world: World, source: Source, session: Session, retry_rejected: bool = False, start: Start = FROM_LEDGERS
) -> SegmentFacts:
    """How the audience of a segment sync and the segment differ, and what the ledgers know of it.

    Raises ``UnreadableError`` where the model cannot be read.
    """
    lineage, config = source.lineage, _config(source)
    known = _known_query(world, lineage, config.segment_id)
    membership = known if start.listed is None else _with_listed(known, start.listed, session)
    ids_by_status = _ids_by_status(membership, session)
    found = _compared(source, membership, sum(ids_by_status.values()), start, session)
    counts = Counts(
        found.rows,
        comparison.audience_size(found.lines, ids_by_status),
        ids_by_status.get(IN, 0),
        ids_by_status.get(UNCERTAIN, 0),
        _carried(known, lineage, session),
    )
    logged = _logged_hashes(world, lineage, session)
    return SegmentFacts(
        source.sync,
        config,
        source.endpoint.project,
        counts,
        comparison.change(found.lines),
        last_sequence(world, source.endpoint.project, source.sync, session),
        is_known=_is_known(world, lineage, source.sync, session),
        rejects=tuple(row for row in _rejected_ids(found.unusable) if (row.row_hash, row.reason) not in logged),
        refused=pl.Series("id", [], pl.String) if retry_rejected else _refused(world, lineage, source.sync, session),
        lineage=lineage,
        is_first_run=is_first_run(world, lineage, session),
    )


def _config(source: Source) -> SegmentConfig:
    config = source.sync.config
    assert isinstance(config, SegmentConfig)  # noqa: S101 - narrows the type
    return config


@dataclass(frozen=True)
class _Compared:
    """How many rows a model has, what of them cannot be used, and how the others and the membership differ."""

    rows: int
    unusable: pl.DataFrame
    lines: pl.DataFrame


def _compared(source: Source, membership: str, members: int, start: Start, session: Session) -> _Compared:
    config = _config(source)
    how = comparison.rule(config.mode, start.is_gone)
    with session.one_model(source.relation):
        at_hand = stored(source, session)
        audience = _audience_query(at_hand)
        rows = int(session.value(f"select count(*) from {at_hand.relation}"))
        if comparison.is_for_polars(config.diff, rows, members):
            known = session.frame(f"select {', '.join(MEMBERSHIP.names())} from ({membership}) as known")
            lines = comparison.compared(how, session.frame(comparison.usable_query(audience))["id"], known)
        else:
            lines = session.frame(comparison.compared_query(how, audience, membership))
        # Most models have none, and this is another way through all rows.
        unusable = pl.DataFrame(schema=comparison.UNUSABLE)
        if comparison.unusable_rows(lines):
            unusable = session.frame(comparison.unusable_query(audience))
    return _Compared(rows, unusable, lines)


def _known_query(world: World, lineage: Lineage, segment_id: str) -> str:
    """What the ledgers know of a segment's ids: the columns of ``MEMBERSHIP``, and ``is_carried``.

    That is whether they know the id only under an earlier name of the Statsig project; the later name counts.
    """
    view, own = world.ledgers[ledger.MEMBERSHIP], f"segment_id = {sql.literal(segment_id)}"
    parts: list[str] = []
    for number, project in enumerate(lineage.projects):
        later = ", ".join(map(sql.literal, lineage.projects[:number]))
        is_new = (
            f" and not exists (select 1 from {view} as later where project in ({later}) and {own}"
            " and later.id = known.id)"
            if later
            else ""
        )
        parts.append(
            f"select id, status, doubt, {'true' if later else 'false'} as is_carried from {view} as known"
            f" where project = {sql.literal(project)} and {own}{is_new}"
        )
    return " union all ".join(parts)


def _with_listed(known: str, listed: pl.Series, session: Session) -> str:
    """The membership with the ids of a list as members, whatever the ledgers know of them."""
    relation = session.keep_frame(_LISTED, pl.DataFrame({"id": listed}))
    return (
        f"select id, '{IN}' as status, cast(null as varchar) as doubt from {relation}"
        f" union all select id, status, doubt from ({known}) as unlisted"
        f" where not exists (select 1 from {relation} as listed where listed.id = unlisted.id)"
    )


def _ids_by_status(membership: str, session: Session) -> Mapping[str, int]:
    return dict(session.rows(f"select status, count(*) from ({membership}) as known group by status"))


def _carried(known: str, lineage: Lineage, session: Session) -> int:
    """How many ids that may be in the segment are known only under an earlier name of the project."""
    if len(lineage.projects) == 1:
        return 0
    return int(session.value(f"select count(*) from ({known}) as known where is_carried and status <> '{OUT}'"))


def membership_of(world: World, lineage: Lineage, segment_id: str, session: Session) -> pl.DataFrame:
    """What the ledgers know of a segment's ids, as ``sync.core.segments.MEMBERSHIP``: all of it, in memory."""
    known = _known_query(world, lineage, segment_id)
    return session.frame(f"select {', '.join(MEMBERSHIP.names())} from ({known}) as known")


def _rejected_ids(ids: pl.DataFrame) -> Iterator[RejectedRow]:
    """One line per different id; null ids have no identity, so their number stands for them."""
    for identity, row_count, reason in ids.select("id", "row_count", "reason").iter_rows():
        what = f"{row_count} rows" if identity is None else identity
        row_hash = hashlib.md5(what.encode(), usedforsecurity=False).hexdigest()
        yield RejectedRow(identity, row_hash, reason, None, reasons.NOT_SENT, row_count)


def _logged_hashes(world: World, lineage: Lineage, session: Session) -> set[tuple[str, str]]:
    rows = session.rows(
        f"select distinct row_hash, reason from {world.ledgers[ledger.REJECT_LOG]} where {lineage.condition}"
    )
    return {(row[0], row[1]) for row in rows}


def _refused(world: World, lineage: Lineage, sync: Sync, session: Session) -> pl.Series:
    """The ids that Statsig refused by themselves, and has not taken since.

    The numbers of batches say what came later only within a project: across its names, time does.
    """
    own = f"{world.ledgers[ledger.REJECT_LOG]} where {lineage.condition} and reason = '{reasons.REFUSED_BY_STATSIG}'"
    # Most syncs have none, and what became of an id since is looked for in all that was ever sent.
    if not session.value(f"select exists (select 1 from {own})"):
        return pl.Series("id", [], pl.String)
    return session.frame(
        f"select rejects.key as id from (select * from {own}) as rejects"
        f" join {world.ledgers[ledger.BATCHES]} as batches on rejects.batch_id = batches.batch_id"
        " left join (select key, project, max(sequence) as sequence, max(settled_at) as settled_at"
        f" from {world.ledgers[ledger.DELIVERIES]}"
        f" where {lineage.project_condition} and destination = $destination and state = 'accepted'"
        f" and key in (select key from {own})"
        " group by key, project) as taken on rejects.key = taken.key"
        " and case when taken.project = batches.project then taken.sequence > batches.sequence"
        " else taken.settled_at > batches.settled_at end"
        " where batches.destination = $destination"
        " group by rejects.key, batches.batch_id having count(taken.key) = 0",
        {"destination": sync.destination},
    )["id"].unique(maintain_order=True)


def known_members(world: World, lineage: Lineage, sync: Sync, session: Session) -> int | None:
    """``SegmentFacts.known_members``, without reading the audience."""
    if not _is_known(world, lineage, sync, session):
        return None
    return _ids_by_status(_known_query(world, lineage, sync.destination), session).get(IN, 0)


def _is_known(world: World, lineage: Lineage, sync: Sync, session: Session) -> bool:
    """Whether any request to the segment is known to have succeeded, or its members were adopted.

    What was before the ledgers were told to forget the segment counts no more.
    """
    batches = world.ledgers[ledger.BATCH_LOG]
    return bool(
        session.value(
            f"select exists (select 1 from {batches} as done where {lineage.project_condition}"
            " and destination = $destination and state = 'accepted' and operation <> 'log' and sequence >"
            f" (select coalesce(max(sequence), -1) from {batches} as forgotten where forgotten.project = done.project"
            " and destination = $destination and state = 'accepted' and operation = 'forget'))",
            {"destination": sync.destination},
        )
    )


def shared_ids(first: Source, second: Source, session: Session) -> int:
    """How many usable ids the audiences of two segment syncs share.

    Raises ``UnreadableError`` where the model of the second cannot be read.
    """
    with session.one_model(second.relation):
        own, other = (f"({_audience_query(stored(one, session))})" for one in (first, second))
        return int(
            session.value(
                f"select count(distinct id) from {own} as own where reason is null and exists"
                f" (select 1 from {other} as other where other.id = own.id and other.reason is null)"
            )
        )


def _audience_query(source: Source) -> str:
    return comparison.audience_query(id_column(source), source.relation)


@dataclass
class Again:
    """Gathers segments once more, from what Statsig says of them; ``sources`` are by the sync's name.

    ``is_used`` says whether it has.
    """

    world: World
    sources: Mapping[str, Source]
    retry_rejected: bool = False
    is_used: bool = False

    def __call__(self, facts: SegmentFacts, start: Start) -> SegmentFacts:
        """The facts of the same sync from another start. Raises as ``gather_segment``."""
        self.is_used = True
        with self.world.warehouse.reading() as session:
            return gather_segment(self.world, self.sources[facts.sync.name], session, self.retry_rejected, start)
