"""An audience against the members of a segment: what differs, by a rule that Polars and the warehouse follow alike.

Either way compares the rows of an audience with a membership (``sync.core.segments.MEMBERSHIP``) and gives
``COMPARED``: the ids that differ, and of all others only how many there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from sync.core import reasons, sql
from sync.core.columns import Column, Kind
from sync.core.segments import CHANGED, IN, OUT, UNCERTAIN, Change

# Up to this many rows and this many members, Polars compares as fast as the warehouse does (benchmarks/difference.py).
MOST_IDS_FOR_POLARS = 100_000

ADD, REMOVE = "add", "remove"
# A line for each id that changes: ``operation`` is what it takes. Lines without one only count: known ids that are not
# in the audience and stay as they are, by status, and the rows of the audience that cannot be used.
COMPARED = pl.Schema(
    {
        "operation": pl.String,
        "is_in_audience": pl.Boolean,
        "status": pl.String,
        "id": pl.String,
        "row_count": pl.Int64,
    }
)
# Ids that cannot be used, why, and how many rows have them; the null ids are one line.
UNUSABLE = pl.Schema({"id": pl.String, "reason": pl.String, "row_count": pl.Int64})


@dataclass(frozen=True)
class Rule:
    """What becomes of the ids of an audience, and of those that are known and are not in it.

    ``operation`` is for the ids of the audience but for those whose status is ``settled``. ``operation_of_others`` is
    for other ids that are surely in the segment where ``takes_members``, and for those of which one of the operations
    ``doubts`` is in doubt.
    """

    operation: str
    settled: str | None
    operation_of_others: str
    takes_members: bool
    doubts: tuple[str, ...]

    @property
    def changes_others(self) -> str:
        """As a condition in SQL on ``status`` and ``doubt``: an id that is not in the audience changes."""
        surely = f"status = '{IN}'" if self.takes_members else "1 = 0"
        listed = ", ".join(f"'{one}'" for one in self.doubts)
        return f"({surely} or (status = '{UNCERTAIN}' and doubt in ({listed})))" if listed else f"({surely})"


def rule(mode: str, is_gone: bool = False) -> Rule:
    """The rule that brings a segment to its audience; ``is_gone`` says that the segment is made again, empty.

    A mirror adds what is not surely in and removes what is not surely out. ``add`` never removes, and ``remove`` never
    adds: it removes what was not surely removed before, whether or not the ledgers know it as a member, so that an id
    put in by hand goes too. What is in doubt is settled by sending it again; an addition in doubt is not the business
    of ``remove``, nor a removal that of ``add``. A segment that is gone is filled from nothing; where the mode is
    ``add``, with all whom the ledgers know in it too.
    """
    match mode:
        case "mirror":
            return Rule(ADD, None, REMOVE, False, ()) if is_gone else Rule(ADD, IN, REMOVE, True, (ADD, REMOVE))
        case "add":
            return Rule(ADD, None if is_gone else IN, ADD, is_gone, (ADD,))
        case "remove":
            return Rule(REMOVE, None if is_gone else OUT, REMOVE, False, () if is_gone else (REMOVE,))
        case _:
            raise ValueError(f"no such mode: {mode!r}")


def is_for_polars(setting: str, rows: int, members: int) -> bool:
    """Whether ids are compared in this process: ``diff`` of the sync says so, or leaves it to their number."""
    return setting == "polars" or (setting == "auto" and max(rows, members) <= MOST_IDS_FOR_POLARS)


def audience_query(column: Column, relation: str) -> str:
    """The rows of an audience: ``id``, and ``reason`` where it cannot be used."""
    ids = f"select {sql.text_form(column)} as id from {relation}"
    if column.kind is not Kind.TEXT:
        return f"select id, case when id is null then '{reasons.NULL_ID}' end as reason from ({ids}) as ids"
    # Expressions on every character are dear, and most ids show with two characters that they need none.
    return (
        f"select id, case when {sql.starts_visibly('from_end')} and {sql.starts_visibly('id')} then null"
        f" when id is null then '{reasons.NULL_ID}' when {sql.is_blank('id')} then '{reasons.BLANK_ID}'"
        f" when {sql.has_outer_space('id')} then '{reasons.OUTER_WHITESPACE}' end as reason"
        f" from (select id, {sql.reversed_text('id')} as from_end from ({ids}) as ids) as both_ends"
    )


def usable_query(audience: str) -> str:
    """The rows of an audience as they are compared: ``id``, which is null where it cannot be used."""
    return f"select case when reason is null then id end as id from ({audience}) as audience_rows"


def unusable_query(audience: str) -> str:
    """The ids of an audience that cannot be used, as ``UNUSABLE``."""
    return (
        f"select id, reason, count(*) as row_count from ({audience}) as audience_rows where reason is not null"
        " group by id, reason order by reason, id"
    )


def compared_query(how: Rule, audience: str, membership: str) -> str:
    """``compared`` as a query; ``audience``, as of ``audience_query``, and ``membership`` are queries too."""
    settled = f"status = '{how.settled}'" if how.settled else "1 = 0"
    return (
        f"with audience as ({usable_query(audience)}),\n"
        f"membership as (select id, status, doubt from ({membership}) as known),\n"
        # A known id has one line for each of its rows, or one without an audience.
        "both_sides as (\n"
        "  select coalesce(audience.id, membership.id) as id, status, doubt,\n"
        "    audience.id is not null or membership.id is null as is_in_audience\n"
        "  from audience full outer join membership on audience.id = membership.id\n"
        "),\n"
        "with_operation as (\n"
        "  select *, case when id is null then null\n"
        f"    when not is_in_audience then case when {how.changes_others} then '{how.operation_of_others}' end\n"
        f"    when status is null or not ({settled}) then '{how.operation}' end as operation\n"
        "  from both_sides\n"
        ")\n"
        "select operation, is_in_audience, status, case when operation is not null then id end as id,\n"
        "  count(*) as row_count\n"
        "from with_operation where operation is not null or not is_in_audience or id is null\n"
        "group by 1, 2, 3, 4"
    )


def compared(how: Rule, audience: pl.Series, membership: pl.DataFrame) -> pl.DataFrame:
    """What differs between an audience and a membership, as ``COMPARED``.

    ``audience`` has the ids of all rows, null where one cannot be used; in the membership an id is at most once.
    """
    ids = pl.DataFrame({"id": audience.drop_nulls()})
    settled = membership.filter(pl.col("status") == how.settled) if how.settled else membership.clear()
    own = (
        ids.join(settled, on="id", how="anti")
        .group_by("id")
        .agg(row_count=pl.len())
        .join(membership, on="id", how="left")
        .with_columns(operation=pl.lit(how.operation), is_in_audience=True)
    )
    surely = (pl.col("status") == IN) & how.takes_members
    in_doubt = (pl.col("status") == UNCERTAIN) & pl.col("doubt").is_in(list(how.doubts))
    operation = pl.when(surely | in_doubt).then(pl.lit(how.operation_of_others))
    others = (
        membership.join(ids, on="id", how="anti")
        .with_columns(operation=operation)
        .group_by("operation", "status", id=pl.when(pl.col("operation").is_not_null()).then("id"))
        .agg(row_count=pl.len())
        .with_columns(is_in_audience=False)
    )
    unusable = pl.DataFrame({"row_count": [audience.null_count()]}).filter(pl.col("row_count") > 0)
    parts = [own, others, unusable.with_columns(is_in_audience=True)]
    return pl.concat([_as_compared(part) for part in parts])


def _as_compared(part: pl.DataFrame) -> pl.DataFrame:
    return part.select(
        (pl.col(name) if name in part.columns else pl.lit(None).alias(name)).cast(kind)
        for name, kind in COMPARED.items()
    )


def change(found: pl.DataFrame) -> Change:
    """The change that the lines of ``COMPARED`` come to."""
    return Change(_changed(found, REMOVE), _changed(found, ADD))


def _changed(found: pl.DataFrame, operation: str) -> pl.DataFrame:
    own = found.filter(pl.col("operation") == operation)
    return own.select(pl.col(name).cast(kind) for name, kind in CHANGED.items()).sort("id")


def unusable_rows(found: pl.DataFrame) -> int:
    """How many rows of the audience cannot be used."""
    return int(found.filter("is_in_audience", pl.col("operation").is_null())["row_count"].sum())


def audience_size(found: pl.DataFrame, ids_by_status: Mapping[str, int]) -> int:
    """How many different ids of the audience can be used, given how many the membership has of each status.

    They are the known ids but for those that are not in the audience, and the ids that nobody knows.
    """
    others = found.filter(~pl.col("is_in_audience"))
    new = found.filter("is_in_audience", pl.col("operation").is_not_null(), pl.col("status").is_null()).height
    return sum(ids_by_status.values()) - int(others["row_count"].sum()) + new
