"""What a run works on: the project as dbt left it, the warehouse, and the environment."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sync.core import ledger
from sync.core.clock import Clock
from sync.core.graph import BuildResults, Graph
from sync.core.sql import is_relation
from sync.edges.artifacts import Stamp, read_graph, read_results, stamp
from sync.edges.profiles import find_profiles_file, read_profile, read_project
from sync.edges.warehouse import Warehouse, open_warehouse
from sync.errors import ConfigError, Fault
from sync.spec.model import Sync
from sync.spec.parse import nearest, parse_syncs


@dataclass(frozen=True)
class Location:
    """Where the project is, as the command line says; None stands for dbt's own default."""

    project_dir: Path
    profiles_dir: Path | None = None
    target: str | None = None
    manifest: Path | None = None
    run_results: Path | None = None


@dataclass(frozen=True)
class World:
    """Everything that stays the same during a run.

    ``ledgers`` maps the ledgers' names to their relations; ``results_file`` is read only where the gate
    asks. ``stamps`` tells the artifacts from those that a later dbt command writes in their place.
    """

    graph: Graph
    manifest_file: Path
    results_file: Path
    stamps: tuple[Stamp, Stamp]
    warehouse: Warehouse
    ledgers: Mapping[str, str]
    environment: Mapping[str, str]
    clock: Clock
    new_id: Callable[[], str]

    def results(self) -> BuildResults:
        """What the last dbt invocation said."""
        return read_results(self.results_file)

    def has_changed(self) -> bool:
        """Whether dbt has written another manifest or other results since this world was opened."""
        return self.stamps != (stamp(self.manifest_file), stamp(self.results_file))

    def refreshed(self) -> World:
        """The world with the artifacts that are there now. Raises ``ConfigError`` where they cannot be read."""
        stamps = (stamp(self.manifest_file), stamp(self.results_file))
        graph = read_graph(self.manifest_file)
        return replace(self, graph=graph, stamps=stamps, ledgers=_ledger_relations(graph))

    def relation(self, sync: Sync) -> str:
        """The relation that a sync reads."""
        node = self.graph.nodes.get(sync.model)
        if node is None or node.relation is None:
            message = f"is {sync.model}, which has no relation in the warehouse; a sync needs a table or a view."
            raise ConfigError([Fault(sync.file, f"exposure {sync.name}", "depends_on", message)])
        return _checked_relation(node.relation)


def _checked_relation(relation: str) -> str:
    """The relation, where it is a name and nothing else."""
    if not is_relation(relation):
        message = f"relation_name is {relation[:200]!r}, which is not the name of a relation."
        raise ConfigError([Fault("manifest.json", "", "", message)])
    return relation


def open_world(location: Location, environment: Mapping[str, str], clock: Clock, new_id: Callable[[], str]) -> World:
    """Reads the project, its artifacts and its profile. Nothing is connected to yet."""
    project = read_project(location.project_dir, environment)
    manifest_file = location.manifest or project.target_path / "manifest.json"
    results_file = location.run_results or project.target_path / "run_results.json"
    stamps = (stamp(manifest_file), stamp(results_file))
    graph = read_graph(manifest_file)
    if graph.project_name and project.name and graph.project_name != project.name:
        message = (
            f"is of the project '{graph.project_name}', but the project here is '{project.name}'. Run dbt build here."
        )
        raise ConfigError([Fault(str(manifest_file), "", "", message)])
    profiles_file = find_profiles_file(location.profiles_dir, project, environment)
    profile = read_profile(profiles_file, project.profile, location.target, environment)
    warehouse = open_warehouse(profile.file, profile.output, clock)
    return World(
        graph,
        manifest_file,
        results_file,
        stamps,
        warehouse,
        _ledger_relations(graph),
        environment,
        clock,
        new_id,
    )


# The whole build: after one of the ledgers alone, the results hold nothing else, and the gate refuses every sync.
BUILD_LEDGERS = "dbt build"


def _ledger_relations(graph: Graph) -> dict[str, str]:
    found = {
        node.name: _checked_relation(node.relation)
        for node in graph.nodes.values()
        if node.resource_type == "model" and node.name in ledger.RELATIONS and node.relation
    }
    missing = [name for name in ledger.RELATIONS if name not in found]
    if missing:
        message = (
            f"the project has no model {', '.join(missing)}. The ledgers are models of statsig-sync: install it "
            "as a dbt package; then run dbt build."
        )
        raise ConfigError([Fault("manifest.json", "", "", message)])
    if faults := tuple(_materialization_faults(graph)):
        raise ConfigError(faults)
    return found


def _materialization_faults(graph: Graph) -> Iterator[Fault]:
    """The ledgers that dbt would make anew, and their views that would be old by the next run."""
    for node in graph.nodes.values():
        if node.resource_type != "model" or node.name not in ledger.RELATIONS or node.materialized is None:
            continue
        expected = "ledger" if node.name in ledger.LEDGERS else "view"
        if node.materialized != expected:
            message = (
                f"is a {node.materialized}, but has to be a {expected}. Write +materialized below your project's own "
                "name in dbt_project.yml, so that it does not count for the models of statsig_sync; then run dbt build."
            )
            yield Fault("manifest.json", f"model {node.name}", "materialized", message)


def all_syncs(graph: Graph) -> tuple[Sync, ...]:
    """The project's syncs, in the order of their names. Raises ``ConfigError`` with every fault."""
    syncs, faults = find_syncs(graph)
    if faults:
        raise ConfigError(faults)
    return syncs


def find_syncs(graph: Graph) -> tuple[tuple[Sync, ...], tuple[Fault, ...]]:
    """The project's syncs, in the order of their names, and every fault of its exposures.

    Raises ``ConfigError`` where there is no sync to find anything wrong with.
    """
    if not graph.exposures:
        message = (
            "no exposure has config.meta.statsig, so there is nothing to sync. Write one beside your models (README, "
            "'Write a sync'), and run dbt build."
        )
        raise ConfigError([Fault("manifest.json", "", "", message)])
    syncs, faults = parse_syncs(graph.exposures)
    return tuple(sorted(syncs, key=lambda sync: sync.name)), faults


def choose(syncs: Sequence[Sync], patterns: Sequence[str], option: str) -> tuple[Sync, ...]:
    """Those of the syncs that the patterns name (all where there are none), in the order given.

    Raises ``ConfigError`` with every pattern that names no sync; ``option`` is where they were written.
    """
    if faults := tuple(pattern_faults([sync.name for sync in syncs], patterns, option)):
        raise ConfigError(faults)
    return matching(syncs, patterns)


def matching(syncs: Sequence[Sync], patterns: Sequence[str]) -> tuple[Sync, ...]:
    """Those of the syncs that the patterns name (all where there are none), in the order given."""
    return tuple(sync for sync in syncs if not patterns or any(_names(one, sync.name) for one in patterns))


def pattern_faults(names: Sequence[str], patterns: Sequence[str], option: str, kind: str = "sync") -> Iterator[Fault]:
    """The patterns that name none of these syncs, which are of this kind; ``option`` is where they were written."""
    for pattern in dict.fromkeys(patterns):
        if not any(_names(pattern, name) for name in names):
            suggestion = nearest(pattern.removeprefix(_PREFIX), names)
            message = f"'{pattern}' names no {kind}.{suggestion} The {kind}s are: {', '.join(names) or 'none'}."
            yield Fault("", "", option, message)


def of_mode(names: Sequence[str], syncs: Sequence[Sync], mode: str) -> list[str]:
    """The names but for those of syncs that have another mode."""
    others = {sync.name for sync in syncs if sync.config.mode != mode}
    return [name for name in names if name not in others]


# As dbt names an exposure on its own command line.
_PREFIX = "exposure:"


def _names(pattern: str, name: str) -> bool:
    """Whether a pattern, which may have ``*`` and ``?`` and start with ``exposure:``, names this sync."""
    return fnmatch.fnmatchcase(name, pattern.removeprefix(_PREFIX))


def named(syncs: Sequence[Sync], patterns: Sequence[str], option: str) -> frozenset[str]:
    """The names of the syncs that the patterns name, as ``choose`` reads them; none where there are none."""
    return frozenset(sync.name for sync in choose(syncs, patterns, option)) if patterns else frozenset()
