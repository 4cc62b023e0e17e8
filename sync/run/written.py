"""What stands in the dbt project at hand by now, where dbt has not built it yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sync.edges.artifacts import Written, read_written
from sync.edges.project_files import YAML, changed_files, listed
from sync.errors import ConfigError
from sync.run.world import World


def unbuilt_warnings(world: World) -> tuple[str, ...]:
    """What to say of files that were changed after dbt's last command: what they say does not count yet."""
    if world.project is None or world.state.built_at is None:
        return ()
    changed = changed_files(world.project.folder, world.project.folders, world.state.built_at)
    if not changed:
        return ()
    verb = "was" if len(changed) == 1 else "were"
    return (f"{listed(changed)} {verb} changed after dbt's last build; what is new counts from the next dbt build.",)


@dataclass(frozen=True)
class Draft:
    """The world with the syncs as they are written by now, and what to say of that."""

    world: World
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def draft(world: World) -> Draft:
    """The syncs as dbt has parsed them last, where that is younger than what it has built."""
    if world.project is None or world.artifacts is None or world.state.built_at is None:
        return Draft(world)
    file = world.artifacts / "manifest.json"
    found = _younger(world)
    read_at = max(world.state.built_at, found.written_at) if found and found.written_at else world.state.built_at
    warnings = _unparsed_warnings(changed_files(world.project.folder, world.project.folders, read_at, YAML))
    if found is None or found.graph.exposures == world.graph.exposures:
        return Draft(world, warnings=warnings)
    note = f"these are the syncs of {file}, which is younger than the last build; plan and run go by the build."
    nodes = {**world.graph.nodes, **found.graph.nodes}
    graph = replace(world.graph, nodes=nodes, exposures=found.graph.exposures)
    return Draft(replace(world, state=replace(world.state, graph=graph)), (note,), warnings)


def _younger(world: World) -> Written | None:
    """What dbt has parsed for this project and target after its last build."""
    if world.artifacts is None or world.state.built_at is None:
        return None
    try:
        found = read_written(world.artifacts / "manifest.json")
    except ConfigError:
        return None
    # A manifest does not name its target, but where the ledgers are it says.
    own = {name: one.relation for name, one in world.state.ledgers.items()}
    is_here = all(name in found.ledgers and found.ledgers[name].relation == where for name, where in own.items())
    is_younger = found.written_at is not None and found.written_at > world.state.built_at
    return found if is_here and is_younger else None


def _unparsed_warnings(changed: Sequence[str]) -> tuple[str, ...]:
    if not changed:
        return ()
    verb = "was" if len(changed) == 1 else "were"
    return (f"{listed(changed)} {verb} changed after dbt read it last: run dbt parse first, so that this is checked.",)
