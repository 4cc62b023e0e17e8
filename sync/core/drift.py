"""How a list in Statsig differs from what the ledgers say, and what would make it right."""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

from sync.core.plan import SegmentFacts, SegmentPlan
from sync.core.segments import IN, MEMBERSHIP, OUT, UNCERTAIN, Change, Counts, changed, with_status

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
    missing = _of_status(membership, IN).join(actual, on="id", how="anti")["id"].sort()
    extra = actual.join(possible, on="id", how="anti")
    nothing = missing.clear()
    match mode:
        case "mirror":
            return Drift(missing, extra["id"].sort())
        case "add":
            return Drift(missing, nothing, extra.height)
        case "remove":
            back = extra.join(_of_status(membership, OUT), on="id", how="semi")["id"].sort()
            return Drift(nothing, back, extra.height - len(back) + len(missing))
        case _:
            raise ValueError(f"no such mode: {mode!r}")


def count_fits(mode: str, known: Counts, count: int) -> bool:
    """Whether a list of this many ids can be without drift; who was put back, a count does not tell."""
    match mode:
        case "mirror":
            return known.members <= count <= known.members + known.in_doubt
        case "add":
            return known.members <= count
        case _:
            return True


def expected(facts: SegmentFacts) -> SegmentFacts:
    """The facts as the list has to be: ids whose removal Statsig refused have to be out, whatever the ledgers know."""
    stuck = _stuck(facts)
    counts = replace(
        facts.counts,
        members=facts.counts.members - with_status(stuck, (IN,)),
        in_doubt=facts.counts.in_doubt - with_status(stuck, (UNCERTAIN,)),
    )
    return replace(facts, counts=counts)


def expected_membership(facts: SegmentFacts, membership: pl.DataFrame) -> pl.DataFrame:
    """The membership that the ledgers know, in the same way."""
    out = _stuck(facts).select("id", status=pl.lit(OUT), doubt=pl.lit(None, pl.String))
    others = membership.join(out, on="id", how="anti").select(MEMBERSHIP.names())
    return pl.concat([others, out])


def _stuck(facts: SegmentFacts) -> pl.DataFrame:
    """The ids that are to leave the segment, and whose removal Statsig refused before."""
    return facts.change.leaving.join(pl.DataFrame({"id": facts.refused}), on="id", how="semi")


def repair(facts: SegmentFacts, found: Drift, listed: pl.Series) -> SegmentPlan:
    """What makes the list right as far as the sync's mode goes; ``facts`` are those that are expected.

    What is no drift is not written down either: ids that somebody else puts in and takes out again would be
    taken for members that are missing. The guard counts removals against the list as it is.
    """
    counts = Counts(None, facts.counts.members, len(listed), 0, facts.counts.carried)
    change = Change(changed(found.extra, IN), changed(found.missing, None))
    return SegmentPlan(replace(facts, counts=counts, change=change, rejects=()), change, is_repair=True)


def _of_status(membership: pl.DataFrame, status: str) -> pl.DataFrame:
    return membership.filter(pl.col("status") == status).select("id")
