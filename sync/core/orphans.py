"""Lists that a sync has filled and that no sync of the project writes any more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sync.core.lineage import is_same_service
from sync.spec.statsig import CONSOLE_KEY_VARIABLE

Place = tuple[str, str]


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
    def place(self) -> Place:
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


@dataclass(frozen=True)
class Writer:
    """A sync that writes a list; ``elsewhere`` names the dbt project and target it is of, None for those at hand."""

    sync_name: str
    elsewhere: str | None = None

    def __str__(self) -> str:
        return f"{self.sync_name} ({self.elsewhere})" if self.elsewhere else self.sync_name


@dataclass(frozen=True)
class Namesake:
    """A list that nobody writes, and one of the same id that ``writer`` fills under another name of its project."""

    known: KnownList
    project: str
    writer: Writer

    @property
    def warning(self) -> str:
        """What to say of it: a list is known by its project's name in the ledgers, which may have changed."""
        known, name = self.known, self.writer.sync_name
        key = known.project.partition(":")[2] or CONSOLE_KEY_VARIABLE
        former = "" if name in known.writers else f"exposure: {known.writers[0]}, "
        return (
            f"segment '{known.segment_id}' of {known.project} has the {known.members:,} members that "
            f"{known.writers[0]} left there, and {self.writer} writes a segment of the same id in {self.project}. It "
            "may be the same list, if only its key's variable or statsig_project was changed: then write renamed_from: "
            f"{{{former}api_key_env: {key}}} under config.meta.statsig of {name}, and its history is carried on. If it "
            f"is another list, end it by hand, and then with: statsig-sync retire {known.whole_name} --forget"
        )


@dataclass(frozen=True)
class LeftBehind:
    """The lists with members that nobody writes any more, and those that may be written under another name."""

    orphans: tuple[KnownList, ...] = ()
    namesakes: tuple[Namesake, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to say of them."""
        return (*map(orphan_warning, self.orphans), *(one.warning for one in self.namesakes))


def namesake(known: KnownList, written: Mapping[Place, Writer]) -> Namesake | None:
    """The list of the same id that a sync writes under another name of a Statsig project, which may be the same list.

    A stand-in and Statsig itself are never the same.
    """
    for (project, segment_id), writer in written.items():
        if segment_id == known.segment_id and project != known.project and is_same_service(project, known.project):
            return Namesake(known, project, writer)
    return None


def left_behind(known: Iterable[KnownList], written: Mapping[Place, Writer]) -> LeftBehind:
    """The lists with members that are not in one of the places that syncs write."""
    left = [one for one in known if one.members and one.place not in written]
    found = {one.place: namesake(one, written) for one in left}
    return LeftBehind(
        tuple(one for one in left if found[one.place] is None), tuple(one for one in found.values() if one is not None)
    )
