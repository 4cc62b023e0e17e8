"""The command line ``statsig-sync``: arguments, printing, exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits with its code."""
    from sync.cli.command import execute  # noqa: PLC0415 - keeps ``import sync.cli`` free of side effects

    sys.exit(execute(sys.argv[1:] if arguments is None else arguments))
