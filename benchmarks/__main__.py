"""Everything that there is to measure, side by side in one go: ``make bench``, or ``make bench-quick``.

Needs the package index once, for the environments of the contenders, and nothing beyond 127.0.0.1 after that.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import contest, machine, page
from benchmarks.contest import OURS, PEERS, Sent
from benchmarks.environments import CACHE, Environment, own_environment
from benchmarks.measure import CommandError
from benchmarks.project import Project, build
from benchmarks.receiver import compiled, receiving
from benchmarks.report import Contest, Work
from benchmarks.start import starts
from benchmarks.works import works
from scripts.demo import ROOT

PARTS = ("contest", "latency", "works", "start")
_PAGE = ROOT / "docs" / "performance.md"
# What is larger is measured once: it takes minutes, and noise is small against that.
_ONCE_FROM = 5_000_000


@dataclass
class Bench:
    """What is measured, and what was built for it so far; ``folder`` is where everything is written."""

    options: argparse.Namespace
    folder: Path
    tool: Environment
    program: Path | None
    projects: dict[tuple[int, int | None], Project] = field(default_factory=dict)

    def project(self, rows: int, concurrency: int | None = None) -> Project:
        """A project of so many rows; it is built once."""
        key = rows, concurrency
        if key not in self.projects:
            self.projects[key] = build(self.folder / f"project_{rows}_{concurrency}", rows, self.tool, concurrency)
        return self.projects[key]


@dataclass(frozen=True)
class Entrants:
    """The peers that take part, with their environments, and why others do not."""

    peers: dict[str, Environment]
    left_out: dict[str, str]

    def leave_out(self, name: str, error: CommandError) -> None:
        """Goes on without a peer that cannot be installed or that failed."""
        self.peers.pop(name, None)
        self.left_out[name] = str(error)
        print(f"{name} is left out: {error}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables, and writes them down where that is wanted; returns the exit code."""
    options = _options(arguments)
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as place:
        folder = Path(place)
        bench = Bench(options, folder, own_environment(), compiled(folder))
        about = [*machine.description(), ("server", "C" if bench.program else page.SLOW_SERVER)]
        text = _measure(bench, about)
    print(text)
    if options.write:
        options.write.write_text(text, encoding="utf-8")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes: under three minutes, prints only")
    parser.add_argument("--full", action="store_true", help="10,000,000 rows as well; takes much longer")
    parser.add_argument("--events", type=int, metavar="NUMBER", help="events of the contest (default: 1,000,000)")
    parser.add_argument("--sizes", type=int, nargs="+", metavar="ROWS", help="default: 100,000 and 1,000,000")
    parser.add_argument("--rounds", type=int, metavar="NUMBER", help="of everything (default: 3)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts of it (default: all)")
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS), help="default: all")
    parser.add_argument("--latency-ms", type=int, default=50, metavar="MS", help="of the slow server (default: 50)")
    parser.add_argument("--concurrency", type=int, metavar="NUMBER", help="of the sync to the slow server")
    parser.add_argument("--write", type=Path, metavar="FILE", help="default: docs/performance.md, none with --quick")
    options = parser.parse_args(arguments)
    quick = options.quick
    options.events = options.events or (20_000 if quick else 1_000_000)
    options.rounds = options.rounds or (2 if quick else 3)
    larger = [10_000_000] if options.full else []
    options.sizes = options.sizes or ([20_000, 100_000] if quick else [100_000, 1_000_000, *larger])
    options.write = options.write or (None if quick else _PAGE)
    return options


def _measure(bench: Bench, about: Sequence[tuple[str, str]]) -> str:
    options = bench.options
    sections, versions = [page.opening(_command(), dt.date.today())], _own_versions(bench)
    if "contest" in options.only:
        entrants = Entrants({}, {})
        for name in options.peers:
            _enter(entrants, name)
        contest_found, cpu_seconds = _contest(bench, entrants)
        sections.append(page.contest_section(contest_found, cpu_seconds, entrants.left_out))
        versions += _peer_versions(entrants)
    if "latency" in options.only:
        sections.append(page.latency_section(_latency(bench), options.latency_ms, options.concurrency))
    if "works" in options.only:
        sections.append(page.works_section(_works(bench)))
    if "start" in options.only:
        sections.append(page.start_section(starts(options.rounds if options.quick else max(options.rounds, 5))))
    sections.append(page.closing(about, versions))
    return "\n\n".join(sections) + "\n"


def _enter(entrants: Entrants, name: str) -> None:
    try:
        entrants.peers[name] = contest.peer_environment(name)
    except CommandError as error:
        entrants.leave_out(name, error)


def _contest(bench: Bench, entrants: Entrants) -> tuple[Contest, float]:
    """The contest, and the CPU seconds of the server."""
    events = bench.options.events
    project = bench.project(events)
    rounds: dict[str, list[Sent]] = {}
    with receiving(bench.program, events) as receiver:
        for number in range(bench.options.rounds):
            names = [OURS, *entrants.peers]
            # Each round starts with another one, so that nobody is always the first after somebody else.
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                print(f"Round {number + 1}: {name} ...", flush=True)
                if name == OURS:
                    warehouse = project.copy(bench.folder / "round")
                    rounds.setdefault(name, []).append(contest.send_by_sync(project, warehouse, receiver))
                    continue
                place = bench.folder / "peer", project.warehouse
                try:
                    sent = contest.send_by_peer(name, entrants.peers[name], place, receiver)
                    rounds.setdefault(name, []).append(sent)
                except CommandError as error:
                    entrants.leave_out(name, error)
        whole = {name: found for name, found in rounds.items() if name not in entrants.left_out}
        return Contest(events, whole), receiver.received().cpu_seconds


def _latency(bench: Bench) -> Contest:
    events, concurrency = bench.options.events, bench.options.concurrency
    project = bench.project(events, concurrency)
    rounds = []
    with receiving(bench.program, events, bench.options.latency_ms) as receiver:
        for number in range(bench.options.rounds):
            print(f"Round {number + 1}: {OURS}, a slow server ...", flush=True)
            rounds.append(contest.send_by_sync(project, project.copy(bench.folder / "round"), receiver))
    return Contest(events, {OURS: rounds})


def _works(bench: Bench) -> list[Work]:
    found = []
    with receiving(bench.program, max(bench.options.sizes)) as receiver:
        for rows in bench.options.sizes:
            project = bench.project(rows)
            print(f"Plans and runs of {rows:,} rows ...", flush=True)
            times = bench.options.rounds if rows < _ONCE_FROM else 1
            found.extend(works(project, receiver, bench.folder / "round", times))
    return found


def _own_versions(bench: Bench) -> list[tuple[str, str]]:
    return [(name, bench.tool.versions[name]) for name in (OURS, "duckdb")]


def _peer_versions(entrants: Entrants) -> list[tuple[str, str]]:
    return [(name, own.versions[name]) for peer, own in entrants.peers.items() for name in PEERS[peer].shown]


def _command() -> str:
    return " ".join(["python -m benchmarks", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
