"""dbt projects with the package in them, for measuring."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from benchmarks.measure import Measured, measured
from scripts.demo import ROOT


def install_package(folder: Path) -> None:
    """Puts the ledgers and the macros into a project, as ``dbt deps`` does."""
    package = folder / "dbt_packages" / "statsig_sync"
    (package / "models").mkdir(parents=True)
    shutil.copy(ROOT / "dbt_project.yml", package)
    shutil.copytree(ROOT / "macros", package / "macros")
    shutil.copytree(ROOT / "models" / "statsig", package / "models" / "statsig")


def dbt(folder: Path, *arguments: str) -> Measured:
    """Runs dbt in a project that holds its own profiles.yml. Raises ``CommandError`` where it fails."""
    variables = {**os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
    command = [sys.executable, "-m", "dbt.cli.main", *arguments, "--profiles-dir", str(folder)]
    return measured(command, folder, variables)
