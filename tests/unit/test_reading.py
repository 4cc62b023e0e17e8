"""A list that was read page by page is taken for whole only where that can be told."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.core.reading import Reading, Version

REST = Version(7, is_updating=False)


def reading(
    ids: str = "abc",
    totals: tuple[int, ...] = (3,),
    is_ended: bool = True,
    versions: tuple[Version, ...] = (REST, REST),
) -> Reading:
    return Reading(pl.Series("id", list(ids), pl.String), len(ids), frozenset(totals), is_ended, versions, pages=2)


@pytest.mark.parametrize("versions", [(REST, REST), (REST,), ()], ids=["both told", "one told", "none told"])
def test_a_list_is_whole_where_ids_and_totals_agree_and_no_version_speaks_against_it(
    versions: tuple[Version, ...],
) -> None:
    assert reading(versions=versions).is_whole
    assert not reading("ab", versions=versions).is_whole
    assert not reading("abcd", versions=versions).is_whole
    assert not reading(totals=(3, 2), versions=versions).is_whole


def test_a_list_whose_last_page_did_not_come_is_not_whole() -> None:
    assert not reading(is_ended=False).is_whole


@pytest.mark.parametrize("number", [8, "7"])
def test_a_list_that_has_another_version_afterwards_is_not_whole(number: int | str) -> None:
    assert not reading(versions=(REST, Version(number, is_updating=False))).is_whole


@pytest.mark.parametrize("place", [0, 1])
def test_a_list_that_is_being_updated_is_not_whole(place: int) -> None:
    versions = [REST, REST]
    versions[place] = Version(7, is_updating=True)
    assert not reading(versions=tuple(versions)).is_whole


def read_in_pages(members: list[str], changes: dict[int, tuple[str, str]], size: int) -> Reading:
    """Reads a list to which, after the page of this number, an id goes and another comes."""
    ids: list[str] = []
    totals: set[int] = set()
    version, number, is_ended = 0, 0, False
    while not is_ended:
        number += 1
        ids += members[(number - 1) * size : number * size]
        totals.add(len(members))
        is_ended = number * size >= len(members)
        if not is_ended and number in changes:
            gone, come = changes[number]
            members = [*(one for one in members if one not in (gone, come)), come]
            version += 1
    versions = (Version(0, is_updating=False), Version(version, is_updating=False))
    different = pl.Series("id", ids, pl.String).unique(maintain_order=True)
    return Reading(different, len(ids), frozenset(totals), True, versions, number)


ids = st.sampled_from("abcdefghij")


@given(
    members=st.lists(ids, unique=True, max_size=10),
    changes=st.dictionaries(st.integers(1, 4), st.tuples(ids, ids), max_size=2),
    size=st.integers(1, 4),
)
def test_what_is_taken_for_whole_is_the_list_at_one_moment(
    members: list[str], changes: dict[int, tuple[str, str]], size: int
) -> None:
    found = read_in_pages(members, changes, size)
    assert not found.is_whole or set(found.ids) == set(members)
    assert found.is_whole or changes
