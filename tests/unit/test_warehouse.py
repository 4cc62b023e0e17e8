"""Where the warehouse is, what is told of it, and how much memory and room it takes."""

from __future__ import annotations

import datetime as dt
import shutil
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from sync.edges.warehouse import Session, Warehouse, open_warehouse
from sync.errors import ConfigError, WarehouseError


class StillClock:
    """A clock on which waiting takes no time."""

    elapsed = 0.0

    def now(self) -> dt.datetime:
        return dt.datetime(2026, 11, 23, tzinfo=dt.timezone.utc)

    def monotonic(self) -> float:
        return self.elapsed

    def sleep(self, seconds: float) -> None:
        self.elapsed += seconds


def warehouse(path: Path | str, settings: Mapping[str, Any] | None = None, **more: Any) -> Warehouse:
    output = {"type": "duckdb", "path": str(path), "settings": settings or {}, **more}
    return open_warehouse("profiles.yml", output, StillClock())


def error_of(opened: Warehouse) -> ConfigError | WarehouseError:
    with pytest.raises((ConfigError, WarehouseError)) as found, opened.reading():
        pass
    return found.value


def test_a_file_that_was_never_there_is_a_fault_of_the_configuration_and_one_that_goes_is_not(tmp_path: Path) -> None:
    file = tmp_path / "shop.duckdb"
    opened = warehouse(file)
    assert opened.is_missing
    error = error_of(opened)
    assert (type(error), error.exit_code) == (ConfigError, 2)
    assert str(error) == f"{file} does not exist. Run dbt build first: it creates the database."

    duckdb.connect(str(file)).close()
    with opened.reading() as session:
        assert session.value("select 1") == 1
    file.unlink()
    error = error_of(opened)
    assert (type(error), error.exit_code) == (WarehouseError, 1)
    assert f"{file} does not exist" in str(error)


@pytest.mark.parametrize(
    "query", ["motherduck_token=tOk3n-a%2Fb==", "tOk3n-a%2Fb==", "a=1&motherduck_token=tOk3n-a/b=="]
)
def test_the_query_of_a_path_is_told_neither_by_us_nor_in_duckdbs_own_words(tmp_path: Path, query: str) -> None:
    missing = warehouse(f"{tmp_path}/nowhere?{query}")
    # DuckDB says the whole path of what it cannot open.
    folder = tmp_path / f"shop?{query}"
    folder.mkdir(parents=True)
    unreadable = warehouse(folder)
    for opened in (missing, unreadable):
        error = error_of(opened)
        told = "".join(traceback.format_exception(error))
        assert str(tmp_path) in str(error)
        assert "tOk3n" not in told
    assert "(hidden)" in str(error)


def test_a_token_in_a_message_that_is_cut_is_not_told_in_part(tmp_path: Path) -> None:
    token = "tOk3n" * 40
    folder = tmp_path / ("x" * 200) / ("y" * 200) / f"shop?motherduck_token={token}"
    folder.mkdir(parents=True)
    assert "tOk3n" not in str(error_of(warehouse(folder)))


# How much memory DuckDB takes, and where it puts what does not fit.

# It takes 150 MB or more, and cannot be spilled.
LARGE = "select length(string_agg(repeat(range::varchar, 30), '')) from range(300_000)"
# It takes more than 50 MB, and can be spilled.
SPILLED = "create or replace temp table keys as select md5(range::varchar) as key from range(2_000_000)"


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = str(tmp_path / "warehouse.duckdb")
    duckdb.connect(path).close()
    return path


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary folder, as far as this process knows."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def limit(session: Session) -> str:
    return str(session.value("select current_setting('memory_limit')"))


@pytest.mark.parametrize("name", ["memory_limit", "max_memory", "MEMORY_LIMIT"])
def test_a_limit_in_the_profile_stands(file: str, name: str) -> None:
    with warehouse(file, {name: "64MB"}).reading() as session, session.in_little_memory():
        assert limit(session) == "61.0 MiB"
    with (
        pytest.raises(WarehouseError, match="Out of Memory"),
        warehouse(file, {name: "64MB"}).reading() as session,
    ):
        session.value(LARGE)


def test_what_may_be_large_is_read_in_little_memory_and_few_threads(file: str) -> None:
    with warehouse(file, {"threads": 8}).reading() as session:
        before = limit(session)
        with session.in_little_memory():
            assert limit(session) == "122.0 MiB"
            assert session.value("select current_setting('threads')") == 2
        assert (limit(session), session.value("select current_setting('threads')")) == (before, 8)


def test_what_does_not_fit_in_memory_is_in_a_private_folder_and_gone_afterwards(
    file: str, tmp_path: Path, temporary: Path
) -> None:
    with warehouse(file, {"memory_limit": "50MB"}).reading() as session:
        session.value(SPILLED)
        (folder,) = temporary.iterdir()
        assert list(folder.iterdir()) != []
        assert folder.stat().st_mode & 0o077 == 0
    assert list(temporary.iterdir()) == []
    assert sorted(one.name for one in tmp_path.iterdir()) == ["temporary", "warehouse.duckdb"]


def test_a_temporary_folder_in_the_profile_stands(file: str, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    settings = {"memory_limit": "50MB", "temp_directory": str(own)}
    with warehouse(file, settings).reading() as session:
        session.value(SPILLED)
        assert list(own.iterdir()) != []


def test_without_a_temporary_folder_nothing_is_read_and_the_message_says_which(
    file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(WarehouseError, match=r"/nowhere.*TMPDIR"), warehouse(file).reading():
        pass


def test_what_has_happened_is_written_down_also_where_the_temporary_folder_is_gone(file: str, temporary: Path) -> None:
    own = warehouse(file)
    with own.writing() as session:
        session.value("create table log as select 1 as line")
    shutil.rmtree(temporary)
    with own.writing() as session:
        session.append("log", pl.DataFrame({"line": [2]}))
    with own.reading() as session:
        assert session.value("select count(*) from log") == 2


def test_several_queries_of_one_reading_are_of_one_moment(file: str) -> None:
    with warehouse(file).reading() as session:

        def moments() -> list[Any]:
            with session.one_moment():
                streamed = [batch.column("now") for batch in session.batches("select now() as now")]
                return [session.value("select now()") for _ in range(3)] + [one[0].as_py() for one in streamed]

        first, second = moments(), moments()
    assert len(set(first)) == len(set(second)) == 1
    assert first[0] < second[0]


def test_a_stream_holds_all_rows_and_the_session_answers_again_after_it(file: str) -> None:
    with warehouse(file).reading() as session:
        query = "select range as number, 'x' || range as text from range(300_000)"
        batches = list(session.batches(query))
        assert len(batches) > 1
        assert sum(batch.num_rows for batch in batches) == 300_000
        assert pl.concat([pl.DataFrame(one) for one in batches])["number"].to_list() == list(range(300_000))
        assert session.value("select 1") == 1


@pytest.mark.parametrize("row", [0, 250_000], ids=["in the first batch", "in the middle"])
def test_a_stream_that_fails_is_a_problem_of_the_warehouse_wherever_it_fails(file: str, row: int) -> None:
    query = f"select case when range = {row} then error('this row is odd') end as odd from range(300_000)"
    with pytest.raises(WarehouseError, match="this row is odd"), warehouse(file).reading() as session:
        list(session.batches(query))


def test_a_file_can_be_opened_again_after_an_error_in_the_middle_of_a_stream(file: str) -> None:
    opened = warehouse(file)

    def read() -> None:
        with opened.reading() as session, session.one_moment():
            for _ in session.batches("select range from range(1000000)"):
                raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle") as caught:
        read()
    # What the error refers to is still there.
    assert caught.value.__traceback__ is not None
    with opened.writing() as session:
        assert session.value("select 1") == 1


def test_a_stream_without_rows_has_no_batch(file: str) -> None:
    with warehouse(file).reading() as session:
        assert [one.num_rows for one in session.batches("select 1 as one where false") if one.num_rows] == []


@pytest.mark.parametrize("settings", [{}, {"default_collation": "nocase"}], ids=["default", "nocase"])
def test_texts_that_differ_are_different(file: str, settings: dict[str, str]) -> None:
    with warehouse(file, settings).reading() as session:
        assert session.value("select count(*) from (select 'A' as id union select 'a')") == 2


def test_too_little_memory_says_what_to_do(file: str) -> None:
    with (
        pytest.raises(WarehouseError, match="Set a larger memory_limit under settings in the profile"),
        warehouse(file, {"memory_limit": "64MB"}).reading() as session,
    ):
        session.value(LARGE)
