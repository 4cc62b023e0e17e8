"""Where the warehouse is, and what is told of it."""

from __future__ import annotations

import datetime as dt
import traceback
from pathlib import Path

import duckdb
import pytest

from sync.edges.warehouse import Warehouse, open_warehouse
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


def warehouse(path: Path | str) -> Warehouse:
    return open_warehouse("profiles.yml", {"type": "duckdb", "path": str(path)}, StillClock())


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
