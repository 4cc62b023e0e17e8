"""The command line ``statsig-sync``: arguments, printing, exit codes."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits with its code."""
    for stream in (sys.stdout, sys.stderr):
        # An id that the terminal's encoding does not have must not end a run.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    from sync.cli.command import execute  # noqa: PLC0415 - keeps ``import sync.cli`` free of side effects
    from sync.cli.streams import kept_standard_streams  # noqa: PLC0415

    with kept_standard_streams():
        code = execute(sys.argv[1:] if arguments is None else arguments)
    sys.exit(code)
