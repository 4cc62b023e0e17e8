"""Options and fixtures of the chaos test: many seeds side by side, and their figures at the end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from sync.core.ledger import SNAPSHOT
from tests.chaos.experiment import FOLD, Played, declare_syncs, play
from tests.chaos.figures import Figures
from tests.chaos.scenario import scenario
from tests.integration.harness import Project, build_ledgers, compiled

_FIGURES = pytest.StashKey[Figures]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("chaos")
    group.addoption("--seeds", type=int, default=200, help="chaos: how many seeds to play (default: 200)")
    group.addoption("--first-seed", type=int, default=0, help="chaos: the first of them (default: 0)")
    # A run under fire waits for most of its time, so there are more of them than processors.
    jobs = 8 * (os.cpu_count() or 1)
    group.addoption("--jobs", type=int, default=jobs, help=f"chaos: seeds side by side (default here: {jobs})")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_FIGURES] = Figures()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        first, count = metafunc.config.getoption("--first-seed"), metafunc.config.getoption("--seeds")
        metafunc.parametrize("seed", range(first, first + count))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures = config.stash[_FIGURES]
    if figures.seeds:
        terminalreporter.section("chaos")
        for line in figures.lines():
            terminalreporter.write_line(line)


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """The figures of all seeds so far."""
    return request.config.stash[_FIGURES]


@pytest.fixture(scope="session")
def chaos_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dbt project with the ledgers, four models and a sync on each."""
    folder = tmp_path_factory.mktemp("chaos") / "project"
    build_ledgers(folder)
    declare_syncs(Project(folder, ""))
    (folder / FOLD).write_text(compiled(folder, "--select", SNAPSHOT)[SNAPSHOT])
    return folder


@pytest.fixture(scope="session")
def played(request: pytest.FixtureRequest, chaos_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """All seeds that pytest has chosen, side by side."""
    folder = tmp_path_factory.mktemp("seeds")

    def play_seed(seed: int) -> Figures:
        found = play(scenario(seed), chaos_project, folder / str(seed))
        shutil.rmtree(folder / str(seed))
        return found

    # All are over before the first test begins: pytest changes the environment at each test, and what the seeds
    # start reads it.
    with ThreadPoolExecutor(request.config.getoption("--jobs")) as pool:
        seeds = {seed: pool.submit(play_seed, seed) for seed in _seeds(request.session.items)}
        wait(seeds.values())
    return Played(seeds, folder)


def _seeds(items: Sequence[pytest.Item]) -> list[int]:
    parameters = [one.callspec.params for one in items if isinstance(one, pytest.Function) and hasattr(one, "callspec")]
    return [int(str(one["seed"])) for one in parameters if "seed" in one]
