"""The ids of an audience, read by SQL in a real DuckDB."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync.core import reasons
from sync.core.columns import Column
from sync.core.comparison import audience_query
from tests.unit.reference_encoder import is_blank, is_space
from tests.unit.values import NASTY, TYPES, ValueType

WHITE_SPACE = ["\t", "\n", "\v", "\f", "\r", " ", "\x85", "\u00a0", "\u1680", "\u2003", "\u2028", "\u2029", "\u3000"]
ID_TYPES = [name for name in TYPES if name.endswith("INT") or name in ("INTEGER", "UINTEGER", "BIGNUM")]
ID_TYPES += ["DECIMAL(4,0)", "DECIMAL(38,0)", "UUID", "VARCHAR", "ENUM"]


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as opened:
        yield opened


def audience(
    connection: duckdb.DuckDBPyConnection, kind: ValueType, values: Sequence[Any]
) -> dict[str | None, tuple[int, str | None]]:
    """Each id with the number of its rows and the reason that refuses it; an id with two reasons is an error."""
    connection.execute(f'create or replace table audience ("the ""id""" {kind.sql})')
    parameters = [[None if value is None else kind.parameter(value)] for value in values]
    if parameters:
        connection.executemany(f"insert into audience values (cast(? as {kind.sql}))", parameters)
    described = connection.execute("describe audience").fetchall()
    column = Column(described[0][0], described[0][1])
    assert column.can_be_id
    query = audience_query(column, "audience")
    answer = connection.execute(f"select id, count(*), reason from ({query}) group by id, reason").fetchall()
    found = {identity: (count, reason) for identity, count, reason in answer}
    assert len(found) == len(answer)
    return found


@pytest.mark.parametrize("name", ID_TYPES)
def test_every_id_has_one_text_form(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    kind = TYPES[name]

    @settings(max_examples=max(6, settings().max_examples // 8))
    @given(st.lists(st.none() | kind.values, max_size=10))
    def check(values: list[Any]) -> None:
        expected = Counter(None if value is None else kind.text(value) for value in values)
        found = audience(connection, kind, values)
        assert {identity: count for identity, (count, _) in found.items()} == expected
        for identity, (_, reason) in found.items():
            assert reason == expected_reason(identity)

    check()


def expected_reason(identity: str | None) -> str | None:
    if identity is None:
        return reasons.NULL_ID
    if is_blank(identity):
        return reasons.BLANK_ID
    return reasons.OUTER_WHITESPACE if is_space(identity[0]) or is_space(identity[-1]) else None


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("BIGINT", 42, "42"),
        ("TINYINT", -1, "-1"),
        ("HUGEINT", 2**127 - 1, "170141183460469231731687303715884105727"),
        ("UBIGINT", 2**64 - 1, "18446744073709551615"),
        ("DECIMAL(38,0)", Decimal(42), "42"),
        ("UUID", UUID("ABCDEF00-1234-5678-9abc-DEF012345678"), "abcdef00-1234-5678-9abc-def012345678"),
        ("VARCHAR", "42.0", "42.0"),
        ("VARCHAR", "0042", "0042"),
        ("VARCHAR", "Ann", "Ann"),
    ],
)
def test_the_text_form_of_an_id_is_what_is_documented(
    connection: duckdb.DuckDBPyConnection, name: str, value: Any, text: str
) -> None:
    assert audience(connection, TYPES[name], [value, value]) == {text: (2, None)}


@pytest.mark.parametrize(
    "name", ["DOUBLE", "FLOAT", "DECIMAL(10,2)", "BOOLEAN", "DATE", "TIMESTAMP", "BLOB", "JSON", "LIST"]
)
def test_a_type_with_no_one_text_form_cannot_be_an_id(name: str) -> None:
    assert not Column("id", TYPES[name].sql).can_be_id


def test_nulls_are_refused_as_one_line_that_counts_them(connection: duckdb.DuckDBPyConnection) -> None:
    assert audience(connection, TYPES["BIGINT"], [None, 1, None]) == {None: (2, reasons.NULL_ID), "1": (1, None)}


@pytest.mark.parametrize("blank", ["", " ", "  ", *WHITE_SPACE, "".join(WHITE_SPACE)])
def test_a_blank_is_no_id(connection: duckdb.DuckDBPyConnection, blank: str) -> None:
    assert audience(connection, TYPES["VARCHAR"], [blank]) == {blank: (1, reasons.BLANK_ID)}


@pytest.mark.parametrize("space", WHITE_SPACE)
@pytest.mark.parametrize("form", ["{0}x", "x{0}", "{0}x{0}", "x\n{0}"])
def test_an_id_with_outer_white_space_is_refused(connection: duckdb.DuckDBPyConnection, space: str, form: str) -> None:
    identity = form.format(space)
    assert audience(connection, TYPES["VARCHAR"], [identity]) == {identity: (1, reasons.OUTER_WHITESPACE)}


@pytest.mark.parametrize("space", WHITE_SPACE)
def test_white_space_within_an_id_belongs_to_it(connection: duckdb.DuckDBPyConnection, space: str) -> None:
    assert audience(connection, TYPES["VARCHAR"], [f"a{space}b"]) == {f"a{space}b": (1, None)}


@pytest.mark.parametrize(
    "identity", ["x\r\n", "\u0600 ", "x\u0600 ", "x\u0301 ", "x \u0301", "\u0301 x", "\u00e9", "\x7f", "~"]
)
def test_characters_that_are_drawn_as_one_do_not_hide_white_space(
    connection: duckdb.DuckDBPyConnection, identity: str
) -> None:
    assert audience(connection, TYPES["VARCHAR"], [identity]) == {identity: (1, expected_reason(identity))}


def test_ids_that_differ_in_a_byte_are_different_ids(connection: duckdb.DuckDBPyConnection) -> None:
    ids = ["Ann", "ann", "\u00e9", "e\u0301", "a\0b", "a\0c", "\u202eann", "\U0001f600"]
    assert audience(connection, TYPES["VARCHAR"], ids) == dict.fromkeys(ids, (1, None))


def test_hostile_ids_are_values_and_nothing_else(connection: duckdb.DuckDBPyConnection) -> None:
    found = audience(connection, TYPES["VARCHAR"], NASTY)
    assert set(found) == set(NASTY)
