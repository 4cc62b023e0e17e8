"""The demo: a shop's raw data through dbt and statsig-sync into a local stand-in for Statsig.

Builds the project as of one day, syncs, shows what the gate refuses, builds it as of the next day, syncs again, and
checks what arrived.
Everything is written below ``.demo``, which each demo starts anew, or into a new folder of your choice.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_FOLDER = ROOT / ".demo"
BIN = Path(sys.executable).parent
FIRST_DAY, SECOND_DAY = "2026-10-31", "2026-11-01"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demo; returns the exit code."""
    parser = argparse.ArgumentParser(description="A shop's raw data through dbt and statsig-sync into a stand-in.")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="an empty or new folder to write into")
    parser.add_argument("--url", metavar="URL", help="a sandbox that runs already (default: one of the demo's own)")
    options = parser.parse_args(arguments)
    folder = _prepared(options.folder)
    shutil.copy(ROOT / "profiles.example.yml", folder / "profiles.yml")
    if options.url:
        return _demo(options.url, folder)
    sandbox = subprocess.Popen([BIN / "statsig-sandbox", "--port", "0", "--quiet"], stdout=subprocess.PIPE, text=True)
    try:
        return _demo(_address(sandbox), folder)
    finally:
        sandbox.terminate()
        sandbox.wait()


def _prepared(wanted: Path | None) -> Path:
    """The folder to write into, empty. Only the demo's own is emptied for that."""
    if wanted is None:
        shutil.rmtree(DEFAULT_FOLDER, ignore_errors=True)
    folder = (wanted or DEFAULT_FOLDER).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise SystemExit(f"{folder} is not empty")
    return folder


def _address(sandbox: subprocess.Popen[str]) -> str:
    assert sandbox.stdout is not None
    line = sandbox.stdout.readline()
    if "http://" not in line:
        raise SystemExit(f"the sandbox did not start: {line!r}")
    return line.split()[-1]


def environment(folder: Path, url: str) -> dict[str, str]:
    """What dbt and statsig-sync find set: the demo's folder, and a stand-in for Statsig at this address."""
    return {
        **os.environ,
        "STATSIG_EVENTS_URL": url,
        "STATSIG_CONSOLE_URL": url,
        "STATSIG_SERVER_SECRET": "secret-sandbox",
        "STATSIG_CONSOLE_API_KEY": "console-sandbox",
        "STATSIG_SYNC_DUCKDB": str(folder / "shop.duckdb"),
        "DBT_TARGET_PATH": str(folder / "target"),
        "DBT_LOG_PATH": str(folder / "logs"),
        "DBT_PROFILES_DIR": str(folder),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }


def _demo(url: str, folder: Path) -> int:
    variables = environment(folder, url)
    # The newsletter's list is kept by somebody else; the demo's sync only takes people off it.
    newsletter = {
        "id": "newsletter",
        "name": "newsletter",
        "type": "id_list",
        "idType": "userID",
        "ids": [str(10_001 + number) for number in range(1_200)],
    }
    _post(f"{url}/sandbox/segments", newsletter)
    first, second = (["--vars", json.dumps({"as_of": day})] for day in (FIRST_DAY, SECOND_DAY))
    _title(f"The shop as of {FIRST_DAY}: the first run")
    _run(["dbt", "--quiet", "build", *first], variables)
    _run(["statsig-sync", "plan"], variables)
    _run(["statsig-sync", "run"], variables)
    _title("A model that is rebuilt without its tests is not sent")
    _run(["dbt", "--quiet", "run", "--select", "statsig_events__demo_orders", *second], variables)
    _run(["statsig-sync", "run", "--select", "statsig_orders"], variables, expect=3)
    _title(f"The shop as of {SECOND_DAY}")
    _run(["dbt", "--quiet", "build", *second], variables)
    _run(["statsig-sync", "plan"], variables)
    _run(["statsig-sync", "run"], variables)
    _title("Once more, with nothing new")
    _run(["statsig-sync", "run"], variables)
    _title("Did it arrive?")
    _run(["statsig-sync", "verify"], variables)
    _title("What Statsig has now")
    _show(url)
    _title("What the ledgers say")
    _query(
        folder,
        "select sync_name, state, events_planned, adds_planned, removes_planned, keys_accepted, rows_rejected,"
        " requests from statsig_sync_runs order by started_at, sync_name",
    )
    _query(
        folder,
        "select sync_name, reason, effect, sum(row_count)::bigint as source_rows from statsig_reject_log"
        " group by all order by all",
    )
    _title("Where to look next")
    print(f"""The warehouse is {folder / "shop.duckdb"}. In it, with any SQL client that reads DuckDB:
  statsig_sync_runs      planned, accepted, refused and in doubt, per run
  statsig_batches        every request: its state, attempts, status and time
  statsig_changelog      every id and event that was ever in a request
  statsig_reject_log     every row that was not sent, and why
  statsig_members        who is in each segment
The syncs are the exposures in models/marts/_marts__exposures.yml; README.md says what each key does.""")
    return 0


def _title(text: str) -> None:
    print(f"\n== {text}\n", flush=True)


def _run(command: list[str], variables: Mapping[str, str], expect: int = 0) -> None:
    print("$ " + " ".join(command), flush=True)
    finished = subprocess.run(
        [BIN / command[0], *command[1:]], cwd=ROOT, env=dict(variables), stderr=subprocess.STDOUT, check=False
    )
    if finished.returncode != expect:
        raise SystemExit(f"{' '.join(command)} ended with {finished.returncode}")
    if expect:
        print(f"(exit code {expect}: nothing was sent)", flush=True)


def _post(url: str, body: dict[str, Any]) -> None:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        response.read()


def _get(url: str) -> Any:
    with urllib.request.urlopen(url) as response:
        return json.load(response)


def _show(url: str) -> None:
    for segment in _get(f"{url}/sandbox/segments")["segments"]:
        print(
            f"segment {segment['id']}: {len(segment['ids']):,} {segment['idType']}s,"
            f" such as {', '.join(segment['ids'][:3])}"
        )
    names: dict[str, int] = {}
    for event in _get(f"{url}/sandbox/events")["events"]:
        name = event["event"]["eventName"]
        names[name] = names.get(name, 0) + 1
    for name, count in sorted(names.items()):
        print(f"event {name}: {count:,}")


def _query(folder: Path, query: str) -> None:
    with duckdb.connect(str(folder / "shop.duckdb"), read_only=True) as connection:
        connection.sql(query).show(max_rows=40, max_width=200)


if __name__ == "__main__":
    sys.exit(main())
