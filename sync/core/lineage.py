"""Whose history a sync carries on: its own, and that of the names and Statsig projects that it had before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sync.core import sql

_JOINT = ", "


@dataclass(frozen=True, order=True)
class Identity:
    """What the ledgers know a sync by: the Statsig project that it writes to, and its exposure's name."""

    project: str
    sync_name: str

    def __str__(self) -> str:
        return f"{self.project}/{self.sync_name}"


@dataclass(frozen=True)
class Lineage:
    """A sync's own identity, and the earlier ones whose history counts as its own."""

    own: Identity
    earlier: tuple[Identity, ...] = ()

    @property
    def identities(self) -> tuple[Identity, ...]:
        """All of them, its own first."""
        return (self.own, *self.earlier)

    @property
    def projects(self) -> tuple[str, ...]:
        """What the ledgers call the Statsig project, now and before."""
        return tuple(dict.fromkeys(one.project for one in self.identities))

    @property
    def condition(self) -> str:
        """As SQL: a line of a ledger with the columns ``project`` and ``sync_name`` belongs to it."""
        each = [
            f"project = {sql.literal(one.project)} and sync_name = {sql.literal(one.sync_name)}"
            for one in self.identities
        ]
        return f"({' or '.join(each)})"

    @property
    def project_condition(self) -> str:
        """As SQL: a line of a ledger with the column ``project`` is of the Statsig project, as it is called or was."""
        return f"project in ({', '.join(map(sql.literal, self.projects))})"

    @property
    def text(self) -> str | None:
        """The earlier identities as the run ledger has them; None where there are none."""
        return _JOINT.join(map(str, self.earlier)) or None


def is_same_service(project: str, other: str) -> bool:
    """Whether both projects, as the ledgers call them, are at Statsig itself, or both at a stand-in for it.

    What was sent to the one was not sent to the other.
    """
    return project.partition(":")[0] == other.partition(":")[0]


def identities(text: str) -> tuple[Identity, ...]:
    """What ``Lineage.text`` was made from."""
    parts = [one.rpartition("/") for one in text.split(_JOINT)]
    return tuple(Identity(project, name) for project, _, name in parts if project and name)


def trace(own: Identity, named: Iterable[Identity], links: Mapping[Identity, Iterable[Identity]]) -> Lineage:
    """The lineage of a sync whose configuration names some earlier identities.

    ``links`` holds, for identities of the ledgers, those that their runs have carried on: so a name in the
    configuration may go after the first run.
    """
    found: dict[Identity, None] = {own: None}
    waiting = [*named, *links.get(own, ())]
    while waiting:
        one = waiting.pop(0)
        if one not in found:
            found[one] = None
            waiting.extend(links.get(one, ()))
    return Lineage(own, tuple(one for one in found if one != own))
