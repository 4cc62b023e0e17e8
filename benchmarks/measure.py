"""What a process costs, from its start to its exit."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_BYTES_OF_MAXRSS = 1 if sys.platform == "darwin" else 1024
_KEPT_OUTPUT = 4_000


class CommandError(SystemExit):
    """A command failed; the message has the end of what it printed. It ends the program unless somebody can go on."""


@dataclass(frozen=True)
class Measured:
    """A process and its children: seconds on the wall and of the processor, the peak memory of one of them in bytes."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def measured(command: Sequence[str | Path], folder: Path, environment: Mapping[str, str]) -> Measured:
    """Runs a command in a folder and says what it cost.

    Raises ``CommandError`` where it fails. No peak is below what this process itself holds, so it holds little: no
    DuckDB, and nothing of dbt.
    """
    return measured_with_output(command, folder, environment)[0]


def measured_with_output(
    command: Sequence[str | Path], folder: Path, environment: Mapping[str, str]
) -> tuple[Measured, str]:
    """``measured``, and what the command wrote to its standard output."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        started = time.monotonic()
        process = subprocess.Popen(list(command), cwd=folder, env=dict(environment), stdout=output, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        said = [_content(file) for file in (output, errors)]
    if process.returncode:
        end = "\n".join(text[-_KEPT_OUTPUT:] for text in said)
        raise CommandError(f"{' '.join(map(str, command))} ended with {process.returncode}\n{end}")
    cost = Measured(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * _BYTES_OF_MAXRSS)
    return cost, said[0]


def _content(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
