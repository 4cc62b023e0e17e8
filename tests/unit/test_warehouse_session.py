"""A session: what SQL means in it, and what is said of errors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from sync.core.columns import Column
from sync.edges.warehouse import Session, Warehouse, open_warehouse
from sync.errors import UnreadableError, WarehouseError
from tests.unit.test_warehouse import StillClock

ODD = {
    "TimeZone": "Asia/Tokyo",
    "default_collation": "nocase",
    "default_null_order": "nulls_first",
    "default_order": "desc",
    "integer_division": True,
    "preserve_insertion_order": False,
}
# What it gives depends on each of these settings.
MEANINGS = """
select 'a' = 'A', 5 / 2, cast(timestamptz '2026-07-01 20:00:00+00' as date)::varchar,
    (select list(x order by x) from (values (2), (null), (1)) as rows (x))
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "shop.duckdb"
    with duckdb.connect(str(found)) as connection:
        connection.execute("create table people as select unnest(['ann', 'ANN', 'bob']) as id, 1 as number")
        connection.execute("create table log (line integer not null)")
        connection.execute(f"create view meanings as {MEANINGS}")
        connection.execute("create view failing as select cast(id as integer) as id from people")
        connection.execute("create view unbound as select number from people")
        connection.execute("alter table people drop column number")
    return found


def opened(file: Path, settings: Mapping[str, Any] | None = None, **more: Any) -> Warehouse:
    output = {"type": "duckdb", "path": str(file), "settings": settings or {}, **more}
    return open_warehouse("profiles.yml", output, StillClock())


def meaning(session: Session) -> tuple[Any, ...]:
    return next(session.rows(MEANINGS))


def as_dbt(file: Path, settings: Mapping[str, Any]) -> tuple[Any, ...]:
    """What the view gives in a session that is made as dbt-duckdb makes its own."""
    with duckdb.connect(str(file)) as connection:
        for name, value in settings.items():
            connection.execute(f"set {name} = '{value}'")
        return connection.execute("select * from meanings").fetchall()[0]


@pytest.mark.parametrize("where", ["settings", "config_options"])
def test_our_sql_means_the_same_under_every_profile_and_a_view_what_it_means_to_dbt(file: Path, where: str) -> None:
    with opened(file).reading() as session:
        plain = meaning(session)
    # DuckDB takes a time zone as a setting only.
    odd = {name: str(value) for name, value in ODD.items() if where == "settings" or name != "TimeZone"}
    with opened(file, **{where: odd}).reading() as session:
        assert meaning(session) == plain
        session.copy_view("copied", "meanings")
        assert meaning(session) == plain
        seen = next(session.rows("select * from temp.main.copied"))
    assert seen == as_dbt(file, odd)
    # What kind of division it is was decided when the view was made.
    assert [one != other for one, other in zip(seen, plain, strict=True)] == [True, False, where == "settings", True]


def test_only_the_columns_that_are_needed_are_copied(file: Path) -> None:
    with duckdb.connect(str(file)) as connection:
        connection.execute('create view wide as select id, 1 as "an odd name", 2 as other from people')
    with opened(file).reading() as session:
        relation = session.copy_view("copied", "wide", [Column("an odd name", "INTEGER")])
        assert session.columns(relation) == (Column("an odd name", "INTEGER"),)


def test_a_relation_is_a_table_or_a_view_or_not_there(file: Path) -> None:
    with opened(file).reading() as session:
        kinds = {name: session.kind(name) for name in ("people", '"SHOP"."main"."People"', "main.meanings", "nobody")}
        session.keep("own", "select 1 as a", {})
        assert session.kind("temp.main.own") == "table"
        assert session.columns("nobody") is None
    assert list(kinds.values()) == ["table", "table", "view", None]


@pytest.mark.parametrize("in_transaction", [True, False])
def test_a_view_that_cannot_be_read_is_told_from_one_that_is_not_there_and_the_session_goes_on(
    file: Path, in_transaction: bool
) -> None:
    with opened(file, ODD).reading() as session:
        if in_transaction:
            session.begin()
        with pytest.raises(UnreadableError, match=r"(?s)unbound, a view, which cannot be read.*number"):
            session.columns("unbound")
        assert session.columns("failing") == (Column("id", "INTEGER"),)
        with pytest.raises(UnreadableError, match="Could not convert string"), session.one_model("failing"):
            session.copy_view("copied", "failing")
        # Under our own settings again.
        assert session.value("select count(distinct id) from people") == 3


def test_the_first_error_of_a_transaction_is_told(file: Path) -> None:
    own = opened(file)
    rows = pl.DataFrame({"no_such_column": [2]})
    with pytest.raises(WarehouseError) as found, own.writing() as session:
        session.append("log", rows)
    assert "no_such_column" in str(found.value)
    assert "aborted" not in str(found.value)
    with pytest.raises(WarehouseError, match="NOT NULL"), own.writing() as session:
        session.append("log", pl.DataFrame({"line": [None]}, schema={"line": pl.Int32}))
    with own.writing() as session:
        assert session.value("select count(*) from log") == 0


def test_names_in_a_view_never_mean_variables_of_this_program(file: Path) -> None:
    with duckdb.connect(str(file)) as connection:
        connection.execute("create table rows as select 1 as a")
        connection.execute("create view named as select * from rows")
        connection.execute("drop table rows")
    with opened(file).reading() as session, pytest.raises(UnreadableError, match="rows"):
        session.columns("named")


def test_a_view_over_an_attached_file_is_read_and_the_file_is_left_alone_otherwise(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "crm.duckdb"
    with duckdb.connect(str(other)) as connection:
        connection.execute("create table leads as select 7 as id")
    with duckdb.connect(str(file)) as connection:
        connection.execute(f"attach '{other}' as crm")
        connection.execute("create view of_crm as select id from crm.main.leads")
    attach = [{"path": str(other), "alias": "crm"}]
    with opened(file, attach=attach).reading() as session:
        databases = "select count(*) from duckdb_databases() where database_name = 'crm'"
        assert (session.columns("people"), session.value(databases)) == ((Column("id", "VARCHAR"),), 0)
        assert session.value(f"select count(*) from {session.copy_view('copied', 'of_crm')}") == 1
        assert session.value("select readonly from duckdb_databases() where database_name = 'crm'")
    with opened(file, attach=attach).reading() as session:
        assert session.value('select id from "crm"."main"."leads"') == 7
    with opened(file, attach=attach).writing() as session:
        session.append("crm.main.leads", pl.DataFrame({"id": [8]}))
    with opened(other).reading() as session:
        assert session.value("select max(id) from leads") == 8


def test_options_that_would_keep_the_session_from_being_set_up_are_left_out(file: Path) -> None:
    options = {"lock_configuration": True, "access_mode": "READ_WRITE", "enable_external_access": False}
    with opened(file, config_options=options).reading() as session:
        assert session.value("select count(*) from people") == 3
        assert session.value("select current_setting('enable_external_access')") is False


@pytest.mark.parametrize("path", ["md:shop?motherduck_token=t0ken", "motherduck:shop"])
def test_a_motherduck_database_that_cannot_be_opened_is_called_that(path: str, tmp_path: Path) -> None:
    # Nothing can be downloaded there.
    options = {"extension_directory": str(tmp_path), "custom_extension_repository": "http://127.0.0.1:1"}
    own = open_warehouse("profiles.yml", {"type": "duckdb", "path": path, "config_options": options}, StillClock())
    with pytest.raises(WarehouseError) as found, own.reading():
        pass
    assert f"{path.partition('?')[0]}, a MotherDuck database: " in str(found.value)
    assert "motherduck" in str(found.value)
    assert "t0ken" not in str(found.value)


def test_a_frame_is_kept_as_a_table_of_a_session_that_only_reads(file: Path) -> None:
    with opened(file).reading() as session:
        kept = session.keep_frame("listed", pl.DataFrame({"id": ["ann", None]}))
        assert list(session.rows(f"select id from {kept} order by id")) == [("ann",), (None,)]
        kept = session.keep_frame("listed", pl.DataFrame({"id": ["bob"]}))
        assert list(session.rows(f"select id from {kept}")) == [("bob",)]
    with opened(file).reading() as session:
        assert session.kind(kept) is None
