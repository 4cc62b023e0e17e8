"""The demo, whole: the real dbt, the real sandbox, and each day's run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.integration.harness import ROOT

SYNCS = {
    "statsig_repeat_buyers",
    "statsig_beta_testers",
    "statsig_marketing_opt_outs",
    "statsig_orders",
    "statsig_page_views",
}


def demo(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "demo.py", "--folder", folder],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "new"


@pytest.fixture(scope="module")
def output(folder: Path) -> str:
    """What the demo prints."""
    finished = demo(folder)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.fixture
def warehouse(folder: Path, output: str) -> Iterator[Any]:
    with duckdb.connect(str(folder / "shop.duckdb"), read_only=True) as connection:
        yield connection


def test_a_second_run_over_the_demos_data_sends_nothing(output: str, warehouse: Any) -> None:
    (last,) = re.findall(r"^== Once more, with nothing new$(.*?)^==", output, re.M | re.S)
    assert set(re.findall(r"^(\w+): finished, nothing to send$", last, re.M)) == SYNCS
    figures = "max(started_at) as last, sum(requests) as requests, sum(keys_accepted) as accepted"
    # Only runs have read rows: what was refused, and verify, have not.
    runs = warehouse.execute(
        f"select {figures} from statsig_sync_runs where rows_read is not null group by run_id order by last"
    ).fetchall()
    assert [(one[1] > 0, one[2] > 0) for one in runs] == [(True, True), (True, True), (False, False)]


@pytest.mark.usefixtures("output")
def test_the_mirror_takes_in_who_came_and_takes_out_who_left_on_the_second_day(warehouse: Any) -> None:
    figures = "adds_planned, removes_planned, keys_accepted"
    condition = "sync_name = 'statsig_repeat_buyers' and rows_read is not null"
    runs = f"select {figures} from statsig_sync_runs where {condition} order by started_at"
    (_, (adds, removes, accepted), third) = warehouse.execute(runs).fetchall()
    assert adds > 0
    assert removes > 0
    assert accepted == adds + removes
    assert third == (0, 0, 0)
    audience = (
        "select customer_id::varchar from statsig_audience__demo_repeat_buyers "
        "where customer_id is not null order by all"
    )
    members = "select id from statsig_members where segment_id = 'repeat_buyers' and status = 'in' order by all"
    assert warehouse.execute(members).fetchall() == warehouse.execute(audience).fetchall() != []


def test_a_model_that_was_rebuilt_without_its_tests_is_refused(output: str) -> None:
    (shown,) = re.findall(r"^== A model that is rebuilt without its tests is not sent$(.*?)^==", output, re.M | re.S)
    assert "(exit code 3: nothing was sent)" in shown
    assert "has not run since statsig_events__demo_orders was built" in shown
    assert "Then run: dbt build --select +exposure:statsig_orders" in shown


def test_rows_that_were_not_sent_are_in_the_reject_ledger_with_their_reasons(output: str, warehouse: Any) -> None:
    rejected = warehouse.execute("select distinct reason from statsig_reject_log").fetchall()
    assert {"missing_identifier", "invalid_event_name"} <= {reason for (reason,) in rejected}
    assert all(reason in output for (reason,) in rejected)


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("irreplaceable")
    finished = demo(tmp_path)
    assert (finished.returncode, "is not empty" in finished.stderr) == (1, True)
    assert [one.name for one in tmp_path.iterdir()] == ["thesis.txt"]
