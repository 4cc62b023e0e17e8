"""Everybody who can send events, side by side: the same rows of the same table to the same server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import Environment, environment
from benchmarks.measure import Measured, measured
from benchmarks.project import Project
from benchmarks.receiver import Received, Receiver

OURS = "statsig-sync"
_CONTENDERS = Path(__file__).resolve().parent / "contenders"


@dataclass(frozen=True)
class Sent:
    """One time that a contender sent all rows: what it cost, and what the server received."""

    measured: Measured
    received: Received


@dataclass(frozen=True)
class Peer:
    """Another way to send the rows.

    ``packages`` are what it is installed from, ``shown`` those whose version counts; ``prepare`` writes what it needs
    into an empty folder and returns its command, which runs in that folder.
    """

    packages: Sequence[str]
    shown: Sequence[str]
    prepare: Callable[[Path, Environment, Path, str], Sequence[str | Path]]


def _script(name: str) -> Callable[[Path, Environment, Path, str], Sequence[str | Path]]:
    def prepare(folder: Path, own: Environment, warehouse: Path, url: str) -> Sequence[str | Path]:
        return [own.programs / "python", _CONTENDERS / name, warehouse, url]

    return prepare


def _drt(folder: Path, own: Environment, warehouse: Path, url: str) -> Sequence[str | Path]:
    shutil.copy(_CONTENDERS / "drt_project.yml", folder)
    (folder / "syncs").mkdir()
    sync = (_CONTENDERS / "drt_sync.yml").read_text().replace("{{URL}}", url)
    (folder / "syncs" / "orders.yml").write_text(sync)
    # It reads its profiles from the home folder.
    (folder / ".drt").mkdir()
    (folder / ".drt" / "profiles.yml").write_text(f"benchmark:\n  type: duckdb\n  database: {warehouse}\n")
    return [own.programs / "drt", "run"]


PEERS: Mapping[str, Peer] = {
    "orjson and requests": Peer(["orjson>=3.10,<4", "requests>=2.32,<3"], ["orjson"], _script("plain_loop.py")),
    "statsig": Peer(["statsig>=0.60,<1"], ["statsig"], _script("statsig_sdk.py")),
    "statsig-python-core": Peer(
        ["statsig-python-core>=0.10,<1"], ["statsig-python-core"], _script("statsig_core_sdk.py")
    ),
    "dlt": Peer(["dlt>=1.20,<2"], ["dlt"], _script("dlt_destination.py")),
    "drt-core": Peer(["drt-core>=1.2,<2"], ["drt-core"], _drt),
}


def peer_environment(name: str) -> Environment:
    """The environment of a peer. Raises ``CommandError`` where it cannot be installed."""
    return environment(name.replace(" ", "-"), PEERS[name].packages)


def send_by_peer(name: str, own: Environment, place: tuple[Path, Path], receiver: Receiver) -> Sent:
    """Lets a peer send the rows; ``place`` is a folder to work in, which starts empty, and the warehouse.

    Raises ``CommandError`` where it fails.
    """
    folder, warehouse = place
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = PEERS[name].prepare(folder, own, warehouse, receiver.url)
    # No caches and no settings of the one who runs this, and no usage statistics.
    variables = {**os.environ, "HOME": str(folder), "DO_NOT_TRACK": "1", "RUNTIME__DLTHUB_TELEMETRY": "false"}
    receiver.reset()
    cost = measured(command, folder, variables)
    return Sent(cost, receiver.received())


def send_by_sync(project: Project, warehouse: Path, receiver: Receiver) -> Sent:
    """Lets this tool send the rows; the warehouse has the ledgers of the run then."""
    receiver.reset()
    cost = project.command(warehouse, receiver.url, "run", "--select", "orders")
    return Sent(cost, receiver.received())
