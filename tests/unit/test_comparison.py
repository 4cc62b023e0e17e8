"""An audience against a membership: Polars and SQL in a real DuckDB follow one rule, and the counts are right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import duckdb
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.core import comparison, reasons
from sync.core.columns import Column
from sync.core.segments import IN, MEMBERSHIP, OUT, UNCERTAIN
from tests.segment_facts import by_status
from tests.unit.reference_encoder import is_blank, is_space
from tests.unit.values import NASTY

MODES = ("mirror", "add", "remove")
ids = st.sampled_from([*"abcdefgh", "A", "\u00e9", "e\u0301", " a", "a\u3000", "\u2003", *NASTY])
# A model's rows: with duplicates, nulls, blanks and outer white space.
rows = st.lists(st.none() | ids, max_size=16)
# A status, and the operation in doubt.
standings = st.sampled_from([(IN, None), (OUT, None), (UNCERTAIN, "add"), (UNCERTAIN, "remove")])
memberships = st.dictionaries(ids, standings, max_size=16)
Membership = Mapping[str, tuple[str, str | None]]
rules = st.builds(comparison.rule, st.sampled_from(MODES), st.booleans())
# "nocase" is a collation for which ann and Ann are the same.
COLLATIONS = ("", " collate nocase", " collate noaccent")


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 2}) as opened:
        for number, collation in enumerate(COLLATIONS):
            opened.execute(f"create table audience_{number} (id varchar{collation})")
        opened.execute("create table membership (id varchar, status varchar, doubt varchar)")
        yield opened


def frame(membership: Membership) -> pl.DataFrame:
    return pl.DataFrame([(one, *standing) for one, standing in membership.items()], schema=MEMBERSHIP, orient="row")


def reason(identity: str | None) -> str | None:
    if identity is None:
        return reasons.NULL_ID
    if is_blank(identity):
        return reasons.BLANK_ID
    return reasons.OUTER_WHITESPACE if is_space(identity[0]) or is_space(identity[-1]) else None


def usable(values: Sequence[str | None]) -> list[str]:
    """The different ids that can be used, in the order of their text."""
    return sorted({one for one in values if one is not None and reason(one) is None})


def audience(values: Sequence[str | None]) -> pl.Series:
    return pl.Series("id", [one if reason(one) is None else None for one in values], pl.String)


def fill(connection: duckdb.DuckDBPyConnection, table: str, lines: Sequence[Sequence[str | None]]) -> None:
    connection.execute(f"delete from {table}")
    if lines:
        marks = ", ".join("?" for _ in lines[0])
        connection.executemany(f"insert into {table} values ({marks})", lines)


@pytest.mark.parametrize("number", range(len(COLLATIONS)))
def test_the_warehouse_finds_what_polars_finds(connection: duckdb.DuckDBPyConnection, number: int) -> None:
    @given(rows, memberships, rules)
    def check(values: list[str | None], membership: Membership, how: comparison.Rule) -> None:
        table = f"audience_{number}"
        fill(connection, table, [[one] for one in values])
        fill(connection, "membership", frame(membership).rows())
        query = comparison.audience_query(Column("id", "VARCHAR"), table)
        relation = connection.sql(comparison.compared_query(how, query, "select * from membership"))
        by_sql = pl.DataFrame(relation).cast(dict(comparison.COMPARED))
        by_polars = comparison.compared(how, audience(values), frame(membership))
        assert sorted(by_sql.rows(), key=repr) == sorted(by_polars.rows(), key=repr)
        from_warehouse = connection.sql(comparison.usable_query(query)).fetchall()
        assert Counter(from_warehouse) == Counter((one,) for one in audience(values))

    check()


@given(rows, memberships, rules)
def test_what_is_counted_is_what_a_set_would_have(
    values: list[str | None], membership: Membership, how: comparison.Rule
) -> None:
    found = comparison.compared(how, audience(values), frame(membership))
    assert comparison.audience_size(found, by_status(frame(membership))) == len(usable(values))
    assert comparison.unusable_rows(found) == len([one for one in values if reason(one) is not None])


@given(values=rows)
def test_ids_that_cannot_be_used_are_told_once_each_with_the_reason_and_their_rows(
    connection: duckdb.DuckDBPyConnection, values: list[str | None]
) -> None:
    fill(connection, "audience_0", [[one] for one in values])
    query = comparison.audience_query(Column("id", "VARCHAR"), "audience_0")
    found = connection.sql(comparison.unusable_query(query)).fetchall()
    expected = {(one, reason(one), values.count(one)) for one in values if reason(one) is not None}
    assert sorted(found, key=repr) == sorted(expected, key=repr)


@given(rows, memberships, rules)
def test_a_change_says_of_each_id_what_the_ledgers_know_of_it(
    values: list[str | None], membership: Membership, how: comparison.Rule
) -> None:
    change = comparison.change(comparison.compared(how, audience(values), frame(membership)))
    for identity, status in [*change.leaving.iter_rows(), *change.joining.iter_rows()]:
        assert status == membership.get(identity, (None, None))[0]


@given(rows, memberships)
def test_a_mirror_of_a_segment_that_is_gone_adds_all_of_its_audience_and_nobody_else(
    values: list[str | None], membership: Membership
) -> None:
    how = comparison.rule("mirror", is_gone=True)
    change = comparison.change(comparison.compared(how, audience(values), frame(membership)))
    assert change.adds.to_list() == usable(values)
    assert change.removes.to_list() == []


@given(rows, memberships)
def test_add_fills_a_segment_that_is_gone_with_all_who_were_put_in(
    values: list[str | None], membership: Membership
) -> None:
    how = comparison.rule("add", is_gone=True)
    change = comparison.change(comparison.compared(how, audience(values), frame(membership)))
    put_in = {one for one, standing in membership.items() if standing in ((IN, None), (UNCERTAIN, "add"))}
    assert change.adds.to_list() == sorted({*put_in, *usable(values)})


def test_ids_of_a_type_that_has_no_white_space_are_not_tested_for_it() -> None:
    assert "regexp" not in comparison.audience_query(Column("id", "BIGINT"), "people")
    assert "regexp" in comparison.audience_query(Column("id", "VARCHAR"), "people")


@pytest.mark.parametrize(
    ("setting", "is_small", "is_large"),
    [("auto", True, False), ("polars", True, True), ("warehouse", False, False)],
)
def test_few_ids_are_compared_here_and_many_in_the_warehouse_unless_the_sync_says_where(
    setting: str, is_small: bool, is_large: bool
) -> None:
    most = comparison.MOST_IDS_FOR_POLARS
    assert comparison.is_for_polars(setting, most, most) is is_small
    assert comparison.is_for_polars(setting, most + 1, 0) is is_large
    assert comparison.is_for_polars(setting, 0, most + 1) is is_large


def test_a_mode_that_is_not_known_is_an_error() -> None:
    with pytest.raises(ValueError, match="replace"):
        comparison.rule("replace")
