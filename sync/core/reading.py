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
    """Ids of a list, how many the whole list had when they were read, and whether no other page follows.

    The last two are None where Statsig does not say.
    """

    ids: Sequence[str]
    total: int | None
    is_last: bool | None


@dataclass(frozen=True)
class Reading:
    """One way through a list: its different ids, how many were read, the totals that the pages gave, whether all came.

    ``versions`` are those before and after, where Statsig has told them; ``pages`` counts the pages with ids.
    """

    ids: pl.Series
    count: int
    totals: frozenset[int]
    is_ended: bool
    versions: tuple[Version, ...]
    pages: int

    @property
    def is_whole(self) -> bool:
        """Whether the ids are those of one moment, as far as it can be told."""
        is_at_rest = not any(version.is_updating for version in self.versions)
        is_unchanged = len({version.number for version in self.versions}) <= 1
        fits = self.totals == {len(self.ids)} if self.totals else self.count == len(self.ids)
        return self.is_ended and is_at_rest and is_unchanged and fits

    @property
    def is_proved(self) -> bool:
        """Whether a change between two pages would have shown: by a total, by the versions, or with one page only."""
        return bool(self.totals) or len(self.versions) > 1 or self.pages <= 1


def is_short(page: Page, place: tuple[int, int, int]) -> bool:
    """Whether Statsig gives fewer ids at once than it is asked for, so that places are counted in another size.

    ``place`` is the page's number, the size that was asked for, and the ids that came before it.
    """
    number, size, before = place
    if not page.ids or len(page.ids) >= size:
        return False
    lacks = page.total is None or before + len(page.ids) < page.total
    return lacks and (page.is_last is False or number == 1)
