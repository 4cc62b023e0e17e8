"""``check``: everything that can be checked before data is sent."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from sync.core.delivery import Patience
from sync.core.mapping import ignored_columns_note
from sync.edges.settings import endpoint
from sync.errors import ConfigError, Fault
from sync.run.consoles import Consoles, look_up_segment
from sync.run.environments import check_environments
from sync.run.gather import known_members
from sync.run.prepare import Request, configured, with_relation_faults
from sync.run.world import World
from sync.spec.model import SegmentConfig, Sync


@dataclass(frozen=True)
class Checked:
    """A sync that passed, with what is worth knowing of it."""

    sync: Sync
    note: str


def check(world: World, request: Request, patience: Patience) -> tuple[Checked, ...]:
    """Checks the configuration, the keys, the models' columns, and the segments in Statsig.

    Raises ``ConfigError`` with every fault that can be found without the network, then with every fault
    of the segments; ``DeliveryError`` where Statsig cannot be asked.
    """
    found = configured(world, request, needs_keys=True)
    if faults := with_relation_faults(world, found):
        raise ConfigError(faults)
    with ExitStack() as stack:
        return _check_segments(found.syncs, Consoles(world, patience, stack), world)


def _check_segments(syncs: tuple[Sync, ...], consoles: Consoles, world: World) -> tuple[Checked, ...]:
    environments = check_environments(syncs, consoles)
    faults: list[Fault] = list(environments.faults)
    checked: list[Checked] = []
    for sync in syncs:
        if not isinstance(sync.config, SegmentConfig):
            found = endpoint(sync, world.environment)
            unchecked = "".join(f" (warning: {reason})" for name, reason in environments.unchecked if name == sync.name)
            checked.append(Checked(sync, f"events to {found.url}, key in {found.key_variable}{unchecked}"))
            continue
        looked_up = look_up_segment(sync, sync.config, consoles)
        fault = looked_up.fault_of(sync, sync.config, _known_members(world, sync) if looked_up.is_missing else None)
        if fault and fault not in faults:
            faults.append(fault)
        note = ignored_columns_note(sync)
        checked.append(Checked(sync, looked_up.description + (f" ({note})" if note else "")))
    if faults:
        raise ConfigError(faults)
    return tuple(checked)


def _known_members(world: World, sync: Sync) -> int | None:
    with world.warehouse.reading() as session:
        return known_members(world, endpoint(sync, world.environment).project, sync, session)
