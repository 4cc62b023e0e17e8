"""Lists that a sync has filled and that no sync of the project writes any more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class KnownList:
    """A list as the ledgers know it: its Statsig project, the syncs that wrote it (the last one first), its members.

    ``members`` counts the ids that are in, or may be.
    """

    project: str
    segment_id: str
    writers: tuple[str, ...]
    members: int

    @property
    def place(self) -> tuple[str, str]:
        """Where it is: the project, and the segment's id."""
        return self.project, self.segment_id

    @property
    def whole_name(self) -> str:
        """A name that no other list has."""
        return f"{self.project}/{self.segment_id}"

    @property
    def summary(self) -> dict[str, object]:
        """The list as data that JSON can hold."""
        return {
            "project": self.project,
            "segment_id": self.segment_id,
            "sync": self.writers[0],
            "members": self.members,
        }

    def is_named(self, name: str) -> bool:
        """Whether a person means this list by a name: the segment's id, its whole name, or a sync that wrote it."""
        return name in (self.segment_id, self.whole_name, *self.writers)


def orphan_warning(one: KnownList) -> str:
    """What to say of a list that nobody writes any more."""
    return (
        f"segment '{one.segment_id}' of {one.project} still has the {one.members:,} members that {one.writers[0]} left "
        f"there, and no sync writes it any more. End it with: statsig-sync retire {one.segment_id} --empty, --archive "
        "or --forget."
    )


def orphans(known: Iterable[KnownList], written: Iterable[tuple[str, str]]) -> tuple[KnownList, ...]:
    """The lists with members that are not in one of the places that the project's syncs write."""
    kept = set(written)
    return tuple(one for one in known if one.members and one.place not in kept)
