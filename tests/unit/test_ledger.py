"""What this version appends to the ledgers, and reads of their views, is what their YAML says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from sync.core import ledger

FOLDER = Path(__file__).resolve().parents[2] / "models" / "statsig"
TYPES = {"string": pl.String, "timestamp": pl.Datetime("us"), "bigint": pl.Int64, "date": pl.Date}


def _columns(file: str, model: str) -> list[dict[str, Any]]:
    models = {one["name"]: one for one in yaml.safe_load((FOLDER / file).read_text(encoding="utf-8"))["models"]}
    return list(models[model]["columns"])


@pytest.mark.parametrize("name", ledger.SCHEMAS)
def test_a_ledger_is_appended_to_as_its_contract_has_it(name: str) -> None:
    found = {column["name"]: TYPES[column["data_type"]] for column in _columns("_statsig__ledgers.yml", name)}
    assert dict(ledger.SCHEMAS[name]) == found


@pytest.mark.parametrize("name", ledger.VIEWS)
def test_a_view_is_read_as_its_contract_has_it(name: str) -> None:
    assert ledger.VIEWS[name] == tuple(column["name"] for column in _columns("_statsig__views.yml", name))
