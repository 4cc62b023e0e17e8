"""How a list in Statsig differs from what the ledgers say, and what would make it right."""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

from sync.core.plan import SegmentFacts, SegmentPlan
from sync.core.segments import IN, OUT, UNCERTAIN, Change, members

MISSING, EXTRA = "missing", "extra"


@dataclass(frozen=True)
class Drift:
    """The ids that the ledgers have and the list has not (``missing``), and the other way round (``extra``)."""

    missing: pl.Series
    extra: pl.Series

    @property
    def count(self) -> int:
        """Ids in which the two differ."""
        return len(self.missing) + len(self.extra)


def drift(membership: pl.DataFrame, listed: pl.Series) -> Drift:
    """Compares the ledgers' membership (``id``, ``status``) with the ids of the list.

    An uncertain id may be in the list or not: it is no drift either way.
    """
    actual = pl.DataFrame({"id": listed})
    sure = membership.filter(pl.col("status") == IN).select("id")
    possible = membership.filter(pl.col("status").is_in([IN, UNCERTAIN])).select("id")
    missing = sure.join(actual, on="id", how="anti")["id"]
    return Drift(missing.sort(), actual.join(possible, on="id", how="anti")["id"].sort())


def count_fits(membership: pl.DataFrame, count: int) -> bool:
    """Whether a list of this many ids can be what the ledgers say."""
    sure = membership.filter(pl.col("status") == IN).height
    uncertain = membership.filter(pl.col("status") == UNCERTAIN).height
    return sure <= count <= sure + uncertain


def repair(facts: SegmentFacts, found: Drift, listed: pl.Series) -> SegmentPlan:
    """What makes the list right as far as the sync's mode may change it; the ledgers learn the rest.

    A mirror adds what is missing and removes what is extra. ``add`` adds what is missing and takes what is
    extra for members. ``remove`` removes again what it had removed, takes other extra ids for members, and
    lets go of what is missing. The guard counts removals against the list as it is.
    """
    known_out = facts.membership.filter(pl.col("status") == OUT)["id"]
    nothing = pl.Series("id", [], pl.String)
    match facts.config.mode:
        case "mirror":
            change, adopted, released = Change(found.extra, found.missing), nothing, nothing
        case "add":
            change, adopted, released = Change(nothing, found.missing), found.extra, nothing
        case _:
            was_removed = found.extra.is_in(known_out.implode()) if len(known_out) else found.extra.is_null()
            change = Change(found.extra.filter(was_removed), nothing)
            adopted, released = found.extra.filter(~was_removed), found.missing
    target = facts.membership.filter(pl.col("status") == IN)["id"]
    as_listed = replace(
        facts,
        audience=target,
        rejects=(),
        membership=members(listed),
        adopted=adopted,
        released=released,
    )
    return SegmentPlan(as_listed, change)
