"""``statsig-sync run`` in a process of its own that can be struck down while it works.

Python takes longer to start and to import than most runs take. So a process that has imported the command
forks itself for each run, but for some seeds, whose runs are started as a user starts them.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Protocol

from sync.cli import main
from sync.sandbox.server import RunningSandbox
from tests.chaos.scenario import Blow
from tests.integration.harness import Project

# A commit is over much sooner than a request.
_LEDGER_POLL_SECONDS, _REQUEST_POLL_SECONDS = 0.003, 0.01
_LONGEST_SECONDS = 300.0

# What is only imported has no thread that a fork could miss: Polars and DuckDB start theirs at their first use.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.chaos.process", "sync.run.commands", "sync.cli.printing", "sync.edges.statsig"])
# Starting a process looks after all others too, so two threads must not do it at once.
_FORKS_LOCK = threading.Lock()


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code (negative: a signal's number), what it printed, and whether a signal came."""

    code: int
    output: str
    was_struck: bool


class Process(Protocol):
    """A process under way."""

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""

    def wait(self, timeout: float) -> int:
        """Its exit code, when it has ended; raises ``subprocess.TimeoutExpired`` after so many seconds."""

    def send_signal(self, number: int) -> None:
        """Sends it a signal, if it still runs."""


@dataclass(frozen=True)
class Runner:
    """Runs the syncs of a project; ``is_fresh`` says whether Python is started anew for each run."""

    project: Project
    sandbox: RunningSandbox
    is_fresh: bool

    def run(self, *options: str, blow: Blow | None = None) -> Ended:
        """Runs all syncs; the blow falls when its moment comes, if the run has not ended by then."""
        printed = self.project.folder / "output.txt"
        arguments = ("run", "--json", *options)
        environment = self.project.process_environment({})
        has_come = self._moment(blow) if blow else None
        start = _start_afresh if self.is_fresh else _Fork
        process: Process = start(self.project.folder, arguments, environment, printed)
        try:
            was_struck = blow is not None and has_come is not None and _strike(process, blow, has_come)
            code = process.wait(_LONGEST_SECONDS)
        finally:
            process.send_signal(signal.SIGKILL)
        return Ended(code, printed.read_text(), was_struck)

    def _moment(self, blow: Blow) -> Callable[[], bool]:
        if blow.moment == "time":
            return lambda: True
        if blow.moment == "ledger":
            return _LedgerWrites(self.project.folder / "warehouse.duckdb.wal", blow.count).have_come
        journal = self.sandbox.state.journal.entries
        before = len(journal)
        return lambda: sum(entry.method == blow.moment for entry in journal[before:]) >= blow.count


class _LedgerWrites:
    """Counts how often the warehouse was seen being written to: its write-ahead log comes and goes."""

    def __init__(self, log: Path, count: int) -> None:
        self._log, self._left = str(log), count
        self._was_there = os.path.exists(self._log)

    def have_come(self) -> bool:
        """Whether the wanted number has been seen."""
        is_there = os.path.exists(self._log)
        self._left -= is_there and not self._was_there
        self._was_there = is_there
        return self._left <= 0


def _strike(process: Process, blow: Blow, has_come: Callable[[], bool]) -> bool:
    """Lets the blow fall when its moment comes; returns false where the process ended before."""
    for look in itertools.count():
        # Looking at the process costs much more than looking for the moment.
        if look % 16 == 0 and process.poll() is not None:
            return False
        if has_come():
            break
        time.sleep(_LEDGER_POLL_SECONDS if blow.moment == "ledger" else _REQUEST_POLL_SECONDS)
    time.sleep(blow.seconds)
    process.send_signal(blow.number)
    return True


def _start_afresh(
    folder: Path, arguments: Sequence[str], environment: Mapping[str, str], printed: Path
) -> subprocess.Popen[bytes]:
    with printed.open("wb") as file:
        command = [sys.executable, "-m", "sync", *arguments]
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT)


class _Fork:
    """A process that was forked from one that has imported the command."""

    def __init__(self, *arguments: object) -> None:
        self._process = _FORKS.Process(target=_execute, args=arguments)
        with _FORKS_LOCK:
            self._process.start()

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        with _FORKS_LOCK:
            return self._process.exitcode

    def wait(self, timeout: float) -> int:
        """Its exit code, when it has ended; raises ``subprocess.TimeoutExpired`` after so many seconds."""
        connection.wait([self._process.sentinel], timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("statsig-sync run", timeout)
        return code

    def send_signal(self, number: int) -> None:
        """Sends it a signal, if it still runs."""
        if self.poll() is None and self._process.pid is not None:
            os.kill(self._process.pid, number)


def _execute(folder: Path, arguments: Sequence[str], environment: Mapping[str, str], printed: Path) -> None:
    """In the fork: what a shell does before the command starts, and the command."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    descriptor = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    main(arguments)
