"""Whether the pages of an ID list, read one after the other, are the list as it was at one moment.

Statsig numbers pages by place: an id that comes or goes between two of them shifts the others, so that one
is read twice, or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Version:
    """What ``idlist_metadata`` says of a list: another number after each change, and whether one is under way."""

    number: int | str
    is_updating: bool


@dataclass(frozen=True)
class Page:
    """Ids of a list, and how many the whole list had when they were read."""

    ids: Sequence[str]
    total: int
    is_last: bool


@dataclass(frozen=True)
class Reading:
    """One way through a list: its different ids, the totals that the pages gave, and whether the last one came.

    ``versions`` are those before and after, where Statsig has told them.
    """

    ids: pl.Series
    totals: frozenset[int]
    is_ended: bool
    versions: tuple[Version, ...]

    @property
    def is_whole(self) -> bool:
        """Whether the ids are those of one moment, as far as it can be told."""
        is_at_rest = not any(version.is_updating for version in self.versions)
        is_unchanged = len({version.number for version in self.versions}) <= 1
        return self.is_ended and is_at_rest and is_unchanged and self.totals == {len(self.ids)}
