"""What a run works on: the project as dbt left it, the warehouse, and the environment."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from sync.core import ledger
from sync.core.clock import Clock
from sync.core.graph import DbtState, Graph, Proof
from sync.core.sql import is_relation
from sync.edges import local_journal
from sync.edges.profiles import Choice, Project, current_folder, find_profile, find_project, target_path, usual_names
from sync.edges.warehouse import Warehouse, open_warehouse, silent, target_place
from sync.errors import ConfigError, Fault
from sync.run.artifact_state import ArtifactSource, find_artifacts
from sync.run.build_log import Wanted
from sync.run.logged_state import LoggedSource
from sync.run.senders import OpenPool, Senders
from sync.spec.model import Sync
from sync.spec.parse import nearest, parse_syncs


@dataclass(frozen=True)
class Location:
    """Where the project is, as the command line says; None stands for dbt's own default.

    ``manifest`` and ``run_results`` are artifacts to go by instead of the build log in the warehouse.
    """

    project_dir: Path | None = None
    profiles_dir: Path | None = None
    target: str | None = None
    manifest: Path | None = None
    run_results: Path | None = None
    profile: str | None = None


class Source(Protocol):
    """Where it stands what dbt has done: the build log in the warehouse, or the artifacts."""

    @property
    def wanted(self) -> Wanted:
        """The profile and the target that it is about."""

    def read(self) -> DbtState:
        """What it says now. Raises ``ConfigError`` where it says nothing that can be read."""

    def doubt(self) -> str | None:
        """Why it may not be what the user means; None where nothing speaks against it."""


@dataclass(frozen=True)
class World:
    """Everything that stays the same during a run.

    ``ledgers`` maps the ledgers' names to their relations; ``state`` is the project as dbt left it when the world was
    opened, and ``project`` the dbt project at hand, None where there is none. ``artifacts`` is the folder of those of
    the project; None where they are what stands for the build log. ``journals`` is the folder of the local journals,
    None where there is no project beside which it could be; ``open_pool`` makes what sends requests side by side.
    """

    source: Source
    state: DbtState
    warehouse: Warehouse
    ledgers: Mapping[str, str]
    environment: Mapping[str, str]
    clock: Clock
    new_id: Callable[[], str]
    project: Project | None = None
    artifacts: Path | None = None
    journals: Path | None = None
    open_pool: OpenPool = Senders

    @property
    def graph(self) -> Graph:
        """The project's nodes and syncs."""
        return self.state.graph

    @property
    def proof(self) -> Proof:
        """What dbt has done last with each node."""
        return self.state.proof

    @property
    def wanted(self) -> Wanted:
        """The project, the profile and the target at hand."""
        return replace(self.source.wanted, project=self.graph.project_name or None)

    def has_changed(self, syncs: Sequence[Sync] | None = None) -> bool:
        """Whether dbt has gone on since this world was opened, as far as these syncs rest on it (None: at all)."""
        current = self.source.read()
        if syncs is None:
            return current != self.state
        models = tuple(sync.model for sync in syncs)
        return current.proof.void != self.proof.void or current.proof.of(self.graph, models) != self.proof.of(
            self.graph, models
        )

    def refreshed(self) -> World:
        """The world as dbt has left it now. Raises ``ConfigError`` where that cannot be read."""
        state = self.source.read()
        return replace(self, state=state, ledgers=_ledger_relations(state))

    def invocation_of(self, sync: Sync) -> str:
        """The dbt command that built a sync's model last, or the last of all where that is not known."""
        run = self.proof.runs.get(sync.model)
        return run.invocation_id if run else self.state.invocation_id

    def relation(self, sync: Sync) -> str:
        """The relation that a sync reads."""
        node = self.graph.nodes.get(sync.model)
        if node is None or node.relation is None:
            is_ephemeral = node is not None and node.materialized == "ephemeral"
            what = "an ephemeral model, " if is_ephemeral else ""
            message = (
                f"is {sync.model}, {what}which has no relation in the warehouse; a sync needs a table or a view. Write "
                "materialized: table in the model's config, and run dbt build."
            )
            raise ConfigError([Fault(sync.file, f"exposure {sync.name}", "depends_on", message)])
        return _checked_relation(node.relation)


def _checked_relation(relation: str) -> str:
    """The relation, where it is a name and nothing else."""
    if not is_relation(relation):
        message = f"is {relation[:200]!r}, which is not the name of a relation."
        raise ConfigError([Fault("dbt", "", "relation_name", message)])
    return relation


def open_world(
    location: Location,
    environment: Mapping[str, str],
    clock: Clock,
    new_id: Callable[[], str],
    tell: Callable[[str], None] = silent,
) -> World:
    """Finds the project and the profile as dbt does, and reads what dbt has written of its last commands.

    ``tell`` is told what the warehouse waits for. Raises ``ConfigError`` where one of them is not there,
    ``WarehouseError`` where the warehouse cannot be read.
    """
    cwd = current_folder()
    project = find_project(location.project_dir, environment, cwd)
    choice = Choice(location.profiles_dir, location.profile, location.target)
    profile = find_profile(choice, project, environment, cwd)
    warehouse = open_warehouse(profile.file, profile.output, clock, tell)
    folder = target_path(project, profile, environment) if project else None
    usual = _usual(location, project, environment, cwd)
    source: Source
    if location.manifest or location.run_results:
        source = ArtifactSource(*find_artifacts(location.manifest, location.run_results, folder), profile, usual)
    else:
        own = project.name if project and project.name else None
        wanted = Wanted(profile.name, profile.target, own, *target_place(profile.output))
        is_explicit = location.target is not None or location.profile is not None
        source = LoggedSource(warehouse, clock, wanted, folder, usual, is_explicit=is_explicit)
    state = source.read()
    if project and project.name and state.graph.project_name not in ("", project.name):
        message = (
            f"is of the project '{state.graph.project_name}', but the project here is '{project.name}'. Run dbt build "
            "here."
        )
        raise ConfigError([Fault("manifest.json", "", "", message)])
    return World(
        source=source,
        state=state,
        warehouse=warehouse,
        ledgers=_ledger_relations(state),
        environment=environment,
        clock=clock,
        new_id=new_id,
        project=project,
        artifacts=folder if isinstance(source, LoggedSource) else None,
        journals=folder.parent / local_journal.FOLDER if folder else None,
    )


# What dbt writes among the arguments of a command as if its command line had said it.
_NAMED = frozenset(f"DBT_{engine}{name}" for engine in ("", "ENGINE_") for name in ("TARGET", "PROFILE"))


def _usual(location: Location, project: Project | None, environment: Mapping[str, str], cwd: Path) -> Wanted | None:
    """The profile and the target of a dbt command that names none; None where they cannot be found here."""
    unnamed = {name: value for name, value in environment.items() if name not in _NAMED}
    profile, target = usual_names(location.profiles_dir, project, unnamed, cwd)
    return Wanted(profile, target) if profile else None


# The whole build: a build of the ledgers alone proves nothing of the models.
BUILD_LEDGERS = "dbt build"


def _ledger_relations(state: DbtState) -> dict[str, str]:
    found = {
        name: _checked_relation(one.relation)
        for name, one in state.ledgers.items()
        if name in ledger.RELATIONS and one.relation
    }
    missing = [name for name in ledger.RELATIONS if name not in found]
    if missing:
        message = (
            f"there is no model {', '.join(missing)}. The ledgers are models of statsig-sync: install it as a dbt "
            "package; then run dbt build."
        )
        raise ConfigError([Fault("dbt", "", "", message)])
    if faults := tuple(_materialization_faults(state)):
        raise ConfigError(faults)
    return found


def _materialization_faults(state: DbtState) -> Iterator[Fault]:
    """The ledgers that dbt would make at each build, and their views that would be old by the next run."""
    for name, one in state.ledgers.items():
        if name not in ledger.RELATIONS or one.materialized is None:
            continue
        expected = ledger.materialized(name)
        if one.materialized != expected:
            message = (
                f"is a {one.materialized}, but has to be a {expected}. Write +materialized below your project's own "
                "name in dbt_project.yml, so that it does not count for the models of statsig_sync; then run dbt build."
            )
            yield Fault("dbt", f"model {name}", "materialized", message)


NO_SYNC = Fault(
    "dbt",
    "",
    "",
    "no exposure has config.meta.statsig, so there is nothing to sync. Write one beside your models (README, 'Write a "
    "sync'), and run dbt build.",
)


def all_syncs(graph: Graph) -> tuple[Sync, ...]:
    """The project's syncs, in the order of their names. Raises ``ConfigError`` with every fault, or for no sync."""
    syncs, faults = find_syncs(graph)
    if faults or not syncs:
        raise ConfigError(faults or [NO_SYNC])
    return syncs


def find_syncs(graph: Graph) -> tuple[tuple[Sync, ...], tuple[Fault, ...]]:
    """The project's syncs, in the order of their names, and every fault of its exposures."""
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
