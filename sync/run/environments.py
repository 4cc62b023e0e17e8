"""Whether the environments that event syncs name are there in Statsig.

Every project has production, staging and development unless somebody has renamed them, so these are taken as they
are. What Statsig does with an event of an environment that a project does not have is not documented.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sync.core import preflight
from sync.core.delivery import State
from sync.errors import Fault
from sync.run.consoles import Consoles
from sync.spec.model import EventConfig, Sync
from sync.spec.parse import META_PATH, nearest
from sync.spec.statsig import USUAL_ENVIRONMENTS


@dataclass(frozen=True)
class Environments:
    """What is wrong with the environments of some syncs, and which could not be checked: the sync's name, and why."""

    faults: tuple[Fault, ...] = ()
    unchecked: tuple[tuple[str, str], ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be checked, as warnings."""
        return tuple(f"{name}: {reason}" for name, reason in self.unchecked)


def check_environments(syncs: Iterable[Sync], consoles: Consoles) -> Environments:
    """Asks Statsig for the environments of each project whose events go to one of its own; once per project."""
    faults: list[Fault] = []
    unchecked: list[tuple[str, str]] = []
    asked: dict[str, tuple[str, ...] | str] = {}
    for sync in syncs:
        if not isinstance(sync.config, EventConfig) or sync.config.environment in USUAL_ENVIRONMENTS:
            continue
        project = consoles.endpoint(sync).project
        if project not in asked:
            asked[project] = _ask(sync, consoles)
        found, name = asked[project], sync.config.environment
        if isinstance(found, str):
            suggestion = nearest(name, USUAL_ENVIRONMENTS)
            unchecked.append((sync.name, f"environment '{name}' could not be checked: {found}{suggestion}"))
        elif name not in found:
            faults.append(_unknown(sync, name, found))
    return Environments(tuple(faults), tuple(unchecked))


def _ask(sync: Sync, consoles: Consoles) -> tuple[str, ...] | str:
    """The names of the project's environments, or why they are not known."""
    beside = consoles.beside(sync)
    if beside is None:
        return "there is no Console API Key for its Statsig project."
    console, endpoint = beside
    names, outcome = console.environments()
    if names:
        return names
    if outcome.state is State.ACCEPTED:
        return "Statsig's answer names no environments, or not all of them."
    return preflight.explain(outcome, endpoint.key_variable, endpoint.url)


def _unknown(sync: Sync, name: str, found: tuple[str, ...]) -> Fault:
    message = (
        f"is '{name}', which is no environment of this Statsig project.{nearest(name, found)} They are: "
        f"{', '.join(found)}."
    )
    return Fault(sync.file, f"exposure {sync.name}", f"{META_PATH}.environment", message)
