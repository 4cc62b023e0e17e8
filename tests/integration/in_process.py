"""Runs in this process: fast to start, or under a clock that only moves when someone waits."""

from __future__ import annotations

import datetime as dt
import io
import json
import os
import signal
import subprocess
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sync.cli import printing
from sync.cli.command import execute
from sync.cli.observers import QuietObserver
from sync.core.delivery import Patience
from sync.core.terms import Term
from sync.run.apply import Observer, SyncResult
from sync.run.commands import Manner, run
from sync.run.prepare import Request
from sync.run.world import Location, World, open_world
from tests.integration.harness import Project


@dataclass
class StillClock:
    """``sync.core.clock.Clock``; ``pauses`` are the seconds that were waited, in order."""

    start: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.timezone.utc))
    elapsed: float = 0.0
    pauses: list[float] = field(default_factory=list)
    _lock: Any = field(default_factory=threading.Lock)

    def now(self) -> dt.datetime:
        return self.start + dt.timedelta(seconds=self.elapsed)

    def monotonic(self) -> float:
        return self.elapsed

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.pauses.append(seconds)
            self.elapsed += seconds

    def epoch(self) -> float:
        """Seconds since 1970: what a sandbox takes for its clock."""
        return self.now().timestamp()


@dataclass(frozen=True)
class Ran:
    """What a run came to."""

    exit_code: int
    results: tuple[SyncResult, ...]

    @property
    def result(self) -> SyncResult:
        (only,) = self.results
        return only


def world_of(project: Project, clock: StillClock) -> World:
    """What a command works on, in this project."""
    location = Location(project.folder, project.folder)
    return open_world(location, project.environment, clock, lambda: uuid.uuid4().hex)


def manner_of(observer: Observer | None = None, **term: float) -> Manner:
    """How a run goes about it here: nobody is told unless an observer is given; ``term`` holds fields of ``Term``."""
    quiet = QuietObserver(io.StringIO())
    return Manner(Patience(), Term(**term), "a test", lambda: False, observer or quiet)


def run_still(
    project: Project, clock: StillClock | None = None, patience: Patience | None = None, **request: Any
) -> Ran:
    """``statsig-sync run`` under a clock that stands still; ``request`` holds fields of ``Request``."""
    manner = replace(manner_of(), patience=patience or Patience())
    report = run(world_of(project, clock or StillClock()), Request(**request), manner)
    return Ran(printing.exit_code(report, fail_on_rejects=False), report.results)


def command_here(project: Project, *arguments: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
    """As ``Project.command``, without a process of its own."""
    output, errors = io.StringIO(), io.StringIO()
    with _place(project, environment), redirect_stdout(output), redirect_stderr(errors):
        try:
            code = execute(arguments)
        except SystemExit as wrong_usage:
            code = int(wrong_usage.code or 0)
    return subprocess.CompletedProcess(arguments, code, output.getvalue(), errors.getvalue())


def run_here(project: Project, *arguments: str, expect: int = 0, **environment: str | None) -> Any:
    """As ``Project.run``, without a process of its own."""
    finished = command_here(project, "run", *arguments, "--json", **environment)
    assert finished.returncode == expect, finished.stdout + finished.stderr
    return json.loads(finished.stdout)


@contextmanager
def _place(project: Project, environment: Mapping[str, str | None]) -> Iterator[None]:
    """The current folder, the environment and the signals of a process of the project's."""
    folder, before = Path.cwd(), dict(os.environ)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        os.chdir(project.folder)
        os.environ.clear()
        os.environ.update(project.process_environment(environment))
        yield
    finally:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
