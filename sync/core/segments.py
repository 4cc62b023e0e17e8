"""A segment's members as the ledgers know them, and a change of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import polars as pl

IN, OUT, UNCERTAIN = "in", "out", "uncertain"
# What the ledgers know of a segment's ids; ``doubt`` is the operation in doubt of an uncertain id, else null.
MEMBERSHIP = pl.Schema({"id": pl.String, "status": pl.String, "doubt": pl.String})
# Ids of a change, each with what the ledgers know of it; null where they know nothing. A byte a status: a first run
# may change ten million ids.
CHANGED = pl.Schema([("id", pl.String()), ("status", pl.Enum([IN, OUT, UNCERTAIN]))])


def _nobody() -> pl.DataFrame:
    return pl.DataFrame(schema=CHANGED)


@dataclass(frozen=True)
class Change:
    """Ids to remove and ids to add, as ``CHANGED``, each once, in the order of their text. Removals go first."""

    leaving: pl.DataFrame = field(default_factory=_nobody)
    joining: pl.DataFrame = field(default_factory=_nobody)

    @property
    def removes(self) -> pl.Series:
        """The ids to remove."""
        return self.leaving["id"]

    @property
    def adds(self) -> pl.Series:
        """The ids to add."""
        return self.joining["id"]

    def without(self, ids: pl.Series) -> Change:
        """The change without these ids."""
        if not len(ids):
            return self
        others = ~pl.col("id").is_in(ids.implode())
        return Change(self.leaving.filter(others), self.joining.filter(others))


@dataclass(frozen=True)
class Counts:
    """How many ids an audience and the segment have.

    ``rows`` counts the model's rows; None where the change does not come from the model. ``audience`` counts the
    different ids that can be used, ``members`` the ids that are surely in the segment as far as the ledgers know,
    ``in_doubt`` those that may be, and ``carried`` the ids that they know only under an earlier name of the project.
    """

    rows: int | None
    audience: int
    members: int
    in_doubt: int
    carried: int = 0


def changed(ids: pl.Series, status: str | None) -> pl.DataFrame:
    """These ids as ``CHANGED``, in the order of their text, all with one status."""
    return pl.DataFrame({"id": ids.sort()}).select("id", status=pl.lit(status, CHANGED["status"]))


def with_status(ids: pl.DataFrame, statuses: Collection[str]) -> int:
    """How many of the ids, which are as ``CHANGED``, have one of these statuses."""
    return ids.filter(pl.col("status").is_in(list(statuses))).height


def members(ids: pl.Series) -> pl.DataFrame:
    """The membership of a list in which these ids are."""
    return pl.DataFrame({"id": ids}).select("id", status=pl.lit(IN), doubt=pl.lit(None, pl.String))


def slices(ids: pl.Series, size: int) -> Iterator[pl.Series]:
    """Batches of at most ``size`` ids, in order; none is empty."""
    for offset in range(0, len(ids), size):
        yield ids.slice(offset, size)
