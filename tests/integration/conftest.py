"""Fixtures: the ledgers built once, and per test a project and a stand-in for Statsig of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sync import sandbox
from tests.integration.harness import Project, build_ledgers, write_profiles
from tests.integration.stand_in import StandIn


@pytest.fixture(scope="session")
def built_ledgers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dbt project that holds the ledgers, built."""
    folder = tmp_path_factory.mktemp("built") / "project"
    build_ledgers(folder)
    return folder


@pytest.fixture
def statsig() -> Iterator[Any]:
    """The sandbox, on a port of its own."""
    with sandbox.running() as server:
        yield server


@pytest.fixture
def arrived(statsig: Any) -> StandIn:
    """What a test asks of the sandbox."""
    return StandIn(statsig.url)


@pytest.fixture
def project(built_ledgers: Path, tmp_path: Path, statsig: Any) -> Project:
    """A project with empty ledgers, next to its own stand-in for Statsig."""
    folder = tmp_path / "project"
    shutil.copytree(built_ledgers, folder)
    write_profiles(folder)
    return Project(folder, statsig.url)
