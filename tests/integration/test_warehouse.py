"""The warehouse: how it is opened, and what is said where it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from sync.edges.warehouse import open_warehouse
from sync.errors import WarehouseError
from tests.integration.in_process import StillClock


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A DuckDB file."""
    found = str(tmp_path / "shop.duckdb")
    duckdb.connect(found).close()
    return found


def setting(path: str, settings: dict[Any, Any], name: str) -> Any:
    output = {"type": "duckdb", "path": path, "settings": settings}
    with open_warehouse("profiles.yml", output, StillClock()).reading() as session:
        return session.value(f"select current_setting('{name}')")


def refusal(path: str, settings: dict[Any, Any] | None = None) -> str:
    with pytest.raises(WarehouseError) as found:
        setting(path, settings or {}, "threads")
    return str(found.value)


def test_the_settings_of_the_profile_are_those_of_the_warehouse(path: str) -> None:
    assert setting(path, {"threads": 1}, "threads") == 1
    assert setting(path, {"memory_limit": "1GiB"}, "memory_limit") == "1.0 GiB"


def test_times_are_utc_whatever_the_profile_says(path: str) -> None:
    assert setting(path, {"timezone": "Asia/Tokyo"}, "timezone") == "UTC"


def test_a_setting_that_duckdb_does_not_know_is_named(path: str) -> None:
    assert "no_such_setting" in refusal(path, {"no_such_setting": 1})


@pytest.mark.parametrize("name", ["threads = 1; drop table people; set threads", 7])
def test_a_setting_whose_name_is_more_than_a_name_is_not_set(path: str, name: object) -> None:
    assert "is not the name of a setting" in refusal(path, {name: 1})


def test_a_file_that_is_no_database_is_an_error_at_once_with_its_path(tmp_path: Path) -> None:
    page = tmp_path / "page.duckdb"
    page.write_text("<html>" * 1_000)
    said = refusal(str(page))
    assert str(page) in said
    assert "held by another process" not in said


def test_a_database_that_this_process_has_open_otherwise_is_an_error_with_its_path(path: str) -> None:
    with duckdb.connect(path):
        assert path in refusal(path)
