"""How much longer dbt takes because it writes its build log.

Makes a project of many models, a few of which are synced, and runs one model again and again, with the hooks of the
package switched on and off in turn. What the hooks do depends on how many nodes the project has, and on how many of
these the syncs rest on, not on how many are built.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.dbt_projects import dbt, install_package
from benchmarks.measure import Measured

_LAYERS = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the figures; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=2000, metavar="NUMBER", help="models (default: 2000)")
    parser.add_argument("--syncs", type=int, default=5, metavar="NUMBER", help="syncs (default: 5)")
    parser.add_argument("--times", type=int, default=5, metavar="NUMBER", help="commands of each (default: 5)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        print(f"Making a project of {options.models:,} models and {options.syncs} syncs ...", flush=True)
        _write_project(folder, options.models, options.syncs)
        dbt(folder, "run", "--select", "package:statsig_sync", "--target-path", "target_on")
        switched = {"on": (), "off": ("--vars", "{statsig_sync_build_log: false}")}
        found: dict[str, list[Measured]] = {name: [] for name in switched}
        for time_of_all in range(options.times + 1):
            for name, flags in switched.items():
                # dbt parses the whole project again where --vars change, so each has a target folder of its own.
                cost = dbt(folder, "run", "--select", "model_0", "--target-path", f"target_{name}", *flags)
                if time_of_all:
                    found[name].append(cost)
        for state, all_measured in found.items():
            _report(f"dbt run of one model, build log {state}", all_measured)
    return 0


def _write_project(folder: Path, models: int, syncs: int) -> None:
    """Layers of views, each on two of the layer above, with a test on each; the syncs are on the last models."""
    install_package(folder)
    (folder / "models").mkdir()
    width = max(models // _LAYERS, 1)
    described = []
    for number in range(models):
        parents = [number - width, number - width + 1] if number >= width else []
        sources = [f"select id from {{{{ ref('model_{parent}') }}}}" for parent in parents] or ["select 1 as id"]
        (folder / "models" / f"model_{number}.sql").write_text("\nunion\n".join(sources))
        described.append({"name": f"model_{number}", "columns": [{"name": "id", "data_tests": ["not_null"]}]})
    exposures = [_exposure(models - 1 - number) for number in range(syncs)]
    (folder / "models" / "models.yml").write_text(json.dumps({"models": described, "exposures": exposures}))
    (folder / "dbt_project.yml").write_text(json.dumps({"name": "many", "profile": "many"}))
    output = {"type": "duckdb", "path": str(folder / "many.duckdb")}
    (folder / "profiles.yml").write_text(json.dumps({"many": {"target": "dev", "outputs": {"dev": output}}}))


def _exposure(number: int) -> dict[str, object]:
    meta = {"object": "segment", "segment_id": f"segment_{number}", "mode": "mirror", "columns": {"user_id": "id"}}
    return {
        "name": f"sync_{number}",
        "type": "application",
        "owner": {"name": "Growth", "email": "growth@example.com"},
        "depends_on": [f"ref('model_{number}')"],
        "config": {"meta": {"statsig": meta}},
    }


def _report(what: str, measured: Sequence[Measured]) -> None:
    seconds, cpu = [one.seconds for one in measured], [one.cpu_seconds for one in measured]
    print(
        f"{what}: {statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f}), "
        f"{statistics.median(cpu):.2f} s of the processor ({min(cpu):.2f} to {max(cpu):.2f})"
    )


if __name__ == "__main__":
    sys.exit(main())
