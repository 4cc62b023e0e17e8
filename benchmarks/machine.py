"""The machine that was measured on."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path


def description() -> list[tuple[str, str]]:
    """What a reader has to know of this machine, as names and values."""
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return [
        ("processor", next(_processors(), platform.machine())),
        ("cores", str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())),
        ("memory", f"{gigabytes:.0f} GB"),
        ("system", next(_systems(), f"{platform.system()} {platform.release()}")),
        ("Python", sys.version.split()[0]),
        ("load before", " ".join(f"{load:.2f}" for load in os.getloadavg())),
    ]


def _processors() -> Iterator[str]:
    yield from _values(Path("/proc/cpuinfo"), "model name", ":")


def _systems() -> Iterator[str]:
    yield from (f"{name}, Linux {platform.release()}" for name in _values(Path("/etc/os-release"), "PRETTY_NAME", "="))


def _values(file: Path, wanted: str, separator: str) -> Iterator[str]:
    if file.exists():
        for line in file.read_text().splitlines():
            name, _, value = line.partition(separator)
            if name.strip() == wanted:
                yield value.strip(' "')
