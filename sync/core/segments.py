"""What to add to and remove from a segment: the audience against what the ledgers know of its members."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from sync.core import reasons, sql
from sync.core.columns import Column

IN, OUT, UNCERTAIN = "in", "out", "uncertain"
# What the ledgers know of a segment's ids; ``doubt`` is the operation in doubt of an uncertain id, else null.
MEMBERSHIP = pl.Schema({"id": pl.String, "status": pl.String, "doubt": pl.String})


@dataclass(frozen=True)
class Change:
    """Ids to remove and ids to add, each once, in the order of their text. Removals go first."""

    removes: pl.Series
    adds: pl.Series


def audience_query(column: Column, relation: str) -> str:
    """The ids of an audience: ``id`` (text), ``reason`` (null where it can be used), ``row_count``.

    One line per different id; the null ids are one line.
    """
    text = sql.text_form(column)
    return (
        f"select id, row_count, case when id is null then '{reasons.NULL_ID}'"
        f" when {sql.is_blank('id')} then '{reasons.BLANK_ID}'"
        f" when {sql.has_outer_space('id')} then '{reasons.OUTER_WHITESPACE}' end as reason\n"
        f"from (select {text} as id, count(*) as row_count from {relation} group by 1)"
    )


def diff(mode: str, audience: pl.Series, membership: pl.DataFrame) -> Change:
    """The change that brings the segment to the audience.

    ``audience`` holds different, usable ids; ``membership`` has the columns of ``MEMBERSHIP``, an id at most
    once. A mirror adds what is not surely in and removes what is not surely out. ``add`` never removes, and
    ``remove`` never adds: it removes what was not surely removed before, whether or not the ledgers know it
    as a member, so that an id put in by hand goes too. What is in doubt is settled by sending it again; an
    addition in doubt is not the business of ``remove``, nor a removal that of ``add``.
    """
    ids = pl.DataFrame({"id": audience})
    surely_in = membership.filter(pl.col("status") == IN)
    surely_out = membership.filter(pl.col("status") == OUT)
    own_doubts = membership.filter(pl.col("status") == UNCERTAIN, pl.col("doubt") == mode).select("id")
    not_in = ids.join(surely_in, on="id", how="anti")
    nothing = ids.clear()
    match mode:
        case "mirror":
            present = membership.filter(pl.col("status") != OUT).select("id")
            return _change(present.join(ids, on="id", how="anti"), not_in)
        case "add":
            return _change(nothing, pl.concat([not_in, own_doubts.join(ids, on="id", how="anti")]))
        case "remove":
            not_out = ids.join(surely_out, on="id", how="anti")
            return _change(pl.concat([not_out, own_doubts.join(ids, on="id", how="anti")]), nothing)
        case _:
            raise ValueError(f"no such mode: {mode!r}")


def members(ids: pl.Series) -> pl.DataFrame:
    """The membership of a list in which these ids are."""
    return pl.DataFrame({"id": ids}).select("id", status=pl.lit(IN), doubt=pl.lit(None, pl.String))


def _change(removes: pl.DataFrame, adds: pl.DataFrame) -> Change:
    return Change(removes["id"].sort(), adds["id"].sort())


def slices(ids: pl.Series, size: int) -> Iterator[pl.Series]:
    """Batches of at most ``size`` ids, in order; none is empty."""
    for offset in range(0, len(ids), size):
        yield ids.slice(offset, size)
