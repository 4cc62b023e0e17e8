"""``check``: everything that can be checked before data is sent."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field

from sync.core.delivery import Patience
from sync.core.mapping import ignored_columns_note, key_test_warning
from sync.core.orphans import KnownList, LeftBehind
from sync.edges.settings import endpoint
from sync.errors import ConfigError, Fault
from sync.run.consoles import Consoles, look_up_segment
from sync.run.environments import check_environments
from sync.run.gather_segments import known_members
from sync.run.gone import gone_warnings
from sync.run.lineages import lineages
from sync.run.lists import find_left_behind
from sync.run.prepare import Configured, Request, configured, with_relation_faults
from sync.run.world import World
from sync.run.written import draft
from sync.spec.model import SegmentConfig, Sync


@dataclass(frozen=True)
class Checked:
    """A sync that passed, with what is worth knowing of it."""

    sync: Sync
    note: str


@dataclass(frozen=True)
class CheckReport:
    """The syncs that passed, what is worth a warning, and the lists that no sync of the project writes any more.

    ``notes`` say where the syncs stand, where that is not the last build.
    """

    syncs: tuple[Checked, ...]
    warnings: tuple[str, ...]
    orphans: tuple[KnownList, ...]
    notes: tuple[str, ...] = ()


def check(world: World, request: Request, patience: Patience) -> CheckReport:
    """Checks the configuration, the keys, the models' columns, and the segments in Statsig.

    Raises ``ConfigError`` with every fault that can be found without the network, then with every fault
    of the segments; ``DeliveryError`` where Statsig cannot be asked.
    """
    drafted = draft(world)
    world = drafted.world
    found = configured(world, request, needs_keys=True)
    if faults := with_relation_faults(world, found):
        raise ConfigError(faults)
    with ExitStack() as stack:
        consoles = Consoles(world, patience, stack)
        environments = check_environments(found.syncs, consoles)
        checks = _Checks(world, consoles, dict.fromkeys(environments.faults))
        checked = tuple(checks.of(sync) for sync in found.syncs)
    if checks.faults:
        raise ConfigError(list(checks.faults))
    left, gone = _left_behind(world, found)
    warnings = (*drafted.warnings, *environments.warnings, *checks.warnings, *gone, *left.warnings)
    return CheckReport(checked, warnings, left.orphans, drafted.notes)


@dataclass
class _Checks:
    """Looks at sync after sync, and keeps what is wrong, or worth a warning."""

    world: World
    consoles: Consoles
    faults: dict[Fault, None] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def of(self, sync: Sync) -> Checked:
        """What there is to say of a sync, where nothing is wrong with it."""
        if not isinstance(sync.config, SegmentConfig):
            found = endpoint(sync, self.world.environment)
            if warning := key_test_warning(sync, self.world.graph):
                self.warnings.append(warning)
            return Checked(sync, f"events to {found.url}, key in {found.key_variable}")
        looked_up = look_up_segment(sync, sync.config, self.consoles)
        known = self._known_members(sync) if looked_up.is_missing or looked_up.is_empty else None
        if fault := looked_up.fault_of(sync, sync.config, known):
            self.faults[fault] = None
        self.warnings += looked_up.warnings(sync, sync.config, known)
        self.warnings += looked_up.emptied_warnings(sync, sync.config, known)
        note = ignored_columns_note(sync)
        return Checked(sync, looked_up.description + (f" ({note})" if note else ""))

    def _known_members(self, sync: Sync) -> int | None:
        with self.world.warehouse.reading() as session:
            return known_members(self.world, lineages(self.world, [sync], session)[sync.name], sync, session)


def _left_behind(world: World, found: Configured) -> tuple[LeftBehind, tuple[str, ...]]:
    with world.warehouse.reading() as session:
        left = find_left_behind(world, found.all_syncs, session)
        return left, gone_warnings(world, session)
