"""How a list in Statsig differs from what the ledgers say, and what would make it right."""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

from sync.core.plan import SegmentFacts, SegmentPlan, stuck_ids
from sync.core.segments import IN, MEMBERSHIP, OUT, UNCERTAIN, Change, members

MISSING, EXTRA = "missing", "extra"


@dataclass(frozen=True)
class Drift:
    """The ids in which a list is not what a sync would keep, as far as its mode goes.

    ``missing`` have to be in the list and are not, ``extra`` have to be out of it and are in. ``others`` counts
    ids in which the list and the ledgers differ too, and which the mode leaves to whoever else fills the list.
    """

    missing: pl.Series
    extra: pl.Series
    others: int = 0

    @property
    def count(self) -> int:
        """Ids that a repair would change."""
        return len(self.missing) + len(self.extra)


def drift(mode: str, membership: pl.DataFrame, listed: pl.Series) -> Drift:
    """Compares the ledgers' membership (``id``, ``status``) with the ids of the list.

    A mirror answers for the whole list. ``add`` answers for the members that the ledgers know, not for who else
    is in; ``remove`` for the ids that the ledgers know as taken out, not for who else is in or has gone. So of
    two syncs that share a segment each finds its own half. An uncertain id may be in the list or not: it is no
    drift either way.
    """
    actual = pl.DataFrame({"id": listed})
    possible = membership.filter(pl.col("status").is_in([IN, UNCERTAIN]))
    missing = _with_status(membership, IN).join(actual, on="id", how="anti")["id"].sort()
    extra = actual.join(possible, on="id", how="anti")
    nothing = missing.clear()
    match mode:
        case "mirror":
            return Drift(missing, extra["id"].sort())
        case "add":
            return Drift(missing, nothing, extra.height)
        case "remove":
            back = extra.join(_with_status(membership, OUT), on="id", how="semi")["id"].sort()
            return Drift(nothing, back, extra.height - len(back) + len(missing))
        case _:
            raise ValueError(f"no such mode: {mode!r}")


def count_fits(mode: str, membership: pl.DataFrame, count: int) -> bool:
    """Whether a list of this many ids can be without drift; who was put back, a count does not tell."""
    sure, uncertain = (_with_status(membership, status).height for status in (IN, UNCERTAIN))
    match mode:
        case "mirror":
            return sure <= count <= sure + uncertain
        case "add":
            return sure <= count
        case _:
            return True


def expected(facts: SegmentFacts) -> SegmentFacts:
    """The facts as the list has to be: ids whose removal Statsig refused have to be out, whatever the ledgers know."""
    stuck = stuck_ids(facts)
    if not len(stuck):
        return facts
    out = pl.DataFrame({"id": stuck}).select("id", status=pl.lit(OUT), doubt=pl.lit(None, pl.String))
    others = facts.membership.join(out, on="id", how="anti").select(MEMBERSHIP.names())
    return replace(facts, membership=pl.concat([others, out]))


def repair(facts: SegmentFacts, found: Drift, listed: pl.Series) -> SegmentPlan:
    """What makes the list right as far as the sync's mode goes.

    What is no drift is not written down either: ids that somebody else puts in and takes out again would be
    taken for members that are missing. The guard counts removals against the list as it is.
    """
    as_listed = replace(
        facts,
        audience=_with_status(facts.membership, IN)["id"],
        rows_read=None,
        rejects=(),
        membership=members(listed),
    )
    return SegmentPlan(as_listed, Change(found.extra, found.missing), is_repair=True)


def _with_status(membership: pl.DataFrame, status: str) -> pl.DataFrame:
    return membership.filter(pl.col("status") == status).select("id")
