"""What this version reads of the ledgers' views is what dbt makes them of."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sync.core import ledger

FILE = Path(__file__).resolve().parents[2] / "models" / "statsig" / "_statsig__views.yml"


@pytest.mark.parametrize("name", ledger.VIEWS)
def test_a_view_is_read_as_its_contract_has_it(name: str) -> None:
    models = {one["name"]: one for one in yaml.safe_load(FILE.read_text(encoding="utf-8"))["models"]}
    assert ledger.VIEWS[name] == tuple(column["name"] for column in models[name]["columns"])
