"""The project that is measured: orders that become events and buyers that become a segment, built by dbt.

Everything is made by SQL, the members that the ledgers know of included.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.dbt_projects import dbt, install_package
from benchmarks.environments import Environment
from benchmarks.measure import CommandError, Measured, measured, measured_with_output

FILE_NAME = "benchmark.duckdb"
# In 100 ids, so many that are new and so many that are gone.
_CHANGED_PERCENT = 1
_LEDGER_BATCH = 10_000

_ORDERS = """
select
    'order-' || i as order_id,
    'user_' || mod(i * 7919, 500000) as user_id,
    timestamp '2026-01-01' + to_seconds(mod(i, 2000000)) as event_time,
    cast(mod(i, 100000) / 100 as decimal(12, 2)) as event_value,
    '{"plan":"pro","n":' || mod(i, 1000) || ',"beta":true}' as custom,
    'DE' as country,
    'user' || mod(i, 500000) || '@example.com' as email,
    'sku-' || mod(i, 977) as sku,
    'web' as channel,
    mod(i, 2) = 0 as is_gift,
    date '2026-02-01' + cast(mod(i, 300) as integer) as deliver_on,
    'campaign ' || mod(i, 31) as campaign
from range(%(rows)d) as numbers (i)
"""
_BUYERS = "select 'user_' || i as user_id from range(%(first)d, %(first)d + %(rows)d) as numbers (i)"
# Members as a run leaves them in the ledgers: each in a batch that was claimed, then accepted. Times are long past.
_MEMBERS = """
create table members as select 'user_' || i as id, i // %(batch)d as batch from range(%(rows)d) as numbers (i);
insert into statsig_run_log by name
select 'run-1' as run_id, 'buyers' as sync_name, state, timestamp '2026-10-01 06:00:00' + seconds * interval 1 second
    as logged_at, 'benchmark' as holder, 'segment' as object, 'mirror' as mode, 'sandbox' as project,
    'buyers' as destination, 'model.benchmark.buyers' as model,
    case when state = 'finished' then %(rows)d end as keys_accepted
from (values ('started', 0), ('finished', 3600)) as states (state, seconds);
insert into statsig_batch_log by name
select 'batch-' || batch as batch_id, 'run-1' as run_id, 'buyers' as sync_name, 'sandbox' as project,
    'buyers' as destination, 'add' as operation, state, timestamp '2026-10-01 06:00:00' + batch * interval 1 second
    as logged_at, batch as sequence, count(*) as keys
from members cross join (values ('claimed'), ('accepted')) as states (state) group by batch, state;
insert into statsig_changelog by name
select 'batch-' || batch as batch_id, 'buyers' as sync_name, 'add' as operation, id as key,
    timestamp '2026-10-01 06:00:00' + batch * interval 1 second as logged_at
from members;
"""


@dataclass(frozen=True)
class Project:
    """A built project of ``rows`` orders and as many buyers, and the commands in it.

    ``warehouse`` is the DuckDB file, which stays as dbt left it; ``tool`` is this tool's environment.
    """

    folder: Path
    rows: int
    tool: Environment

    @property
    def warehouse(self) -> Path:
        """The DuckDB file."""
        return self.folder / FILE_NAME

    def copy(self, folder: Path) -> Path:
        """A copy of the warehouse in another folder, for a command that writes; what was there is gone."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return Path(shutil.copy(self.warehouse, folder))

    def command(self, warehouse: Path, url: str, *arguments: str) -> Measured:
        """Runs ``statsig-sync`` on one of the files."""
        return measured([self.tool.programs / "statsig-sync", *arguments], self.folder, self._variables(warehouse, url))

    def plan(self, warehouse: Path, url: str, sync: str) -> tuple[Measured, Any]:
        """Plans one sync: what it cost, and what the plan says of it."""
        command = [self.tool.programs / "statsig-sync", "plan", "--select", sync, "--json"]
        variables = dict(self._variables(warehouse, url))
        if sync == "buyers":
            # With this key, the first run of events asks Statsig what it has, which is another thing to measure.
            variables["STATSIG_CONSOLE_API_KEY"] = "console-sandbox"
        cost, said = measured_with_output(command, self.folder, variables)
        return cost, json.loads(said)["syncs"][0]

    def seconds_of(self, warehouse: Path, statements: str) -> float:
        """How long DuckDB takes for statements, in a process of its own and without the time to open the file."""
        command = [self.tool.programs / "python", Path(__file__).with_name("run_sql.py"), warehouse]
        done = subprocess.run(command, input=statements, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CommandError(f"a query on {warehouse} failed:\n{done.stderr}")
        return float(done.stdout)

    def _variables(self, warehouse: Path, url: str) -> Mapping[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("STATSIG_", "DBT_", "PYTHON"))}
        return {
            **own,
            "STATSIG_EVENTS_URL": url,
            "STATSIG_CONSOLE_URL": url,
            "STATSIG_SERVER_SECRET": "secret-sandbox",
            "DBT_PROFILES_DIR": str(self.folder),
            "BENCHMARK_WAREHOUSE": str(warehouse),
        }


def build(folder: Path, rows: int, tool: Environment, concurrency: int | None = None) -> Project:
    """Makes the project and builds it with dbt.

    The ledgers know of ``rows`` members of the segment, of which 1 % are no buyers any more, and 1 % of the buyers are
    no members yet. ``concurrency`` is what the sync of the events says.
    """
    print(f"Building a project of {rows:,} orders and {rows:,} buyers ...", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "models").mkdir(parents=True)
    project = Project(folder, rows, tool)
    install_package(folder)
    numbers = {"rows": rows, "first": rows * _CHANGED_PERCENT // 100, "batch": _LEDGER_BATCH}
    (folder / "models" / "orders.sql").write_text(_ORDERS % numbers)
    (folder / "models" / "buyers.sql").write_text(_BUYERS % numbers)
    (folder / "models" / "models.yml").write_text(json.dumps(_properties(rows, concurrency)))
    settings = {"name": "benchmark", "profile": "benchmark", "models": {"benchmark": {"+materialized": "table"}}}
    (folder / "dbt_project.yml").write_text(json.dumps(settings))
    path = f"{{{{ env_var('BENCHMARK_WAREHOUSE', '{project.warehouse}') }}}}"
    output = {"type": "duckdb", "path": path, "threads": 2}
    (folder / "profiles.yml").write_text(json.dumps({"benchmark": {"target": "dev", "outputs": {"dev": output}}}))
    dbt(folder, "run", "--select", "package:statsig_sync")
    project.seconds_of(project.warehouse, _MEMBERS % numbers)
    dbt(folder, "build", "--exclude-resource-type", "unit_test")
    return project


def _properties(rows: int, concurrency: int | None) -> Any:
    orders = {
        "object": "events",
        "unique_key": "order_id",
        "event_name": "order_completed",
        "backfill": "all",
        "guard": {"max_events": rows},
        **({"concurrency": concurrency} if concurrency else {}),
    }
    buyers = {"object": "segment", "segment_id": "buyers", "mode": "mirror"}
    return {
        "models": [_model("orders", "order_id"), _model("buyers", "user_id")],
        "exposures": [_exposure("orders", orders), _exposure("buyers", buyers)],
    }


def _model(name: str, key: str) -> Any:
    return {"name": name, "columns": [{"name": key, "data_tests": ["unique", "not_null"]}]}


def _exposure(name: str, meta: Any) -> Any:
    return {
        "name": name,
        "type": "application",
        "owner": {"name": "Growth", "email": "growth@example.com"},
        "depends_on": [f"ref('{name}')"],
        "config": {"meta": {"statsig": meta}},
    }
