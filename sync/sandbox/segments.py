"""Segments and the members of id lists, in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sync.sandbox.contract import CreateSegment, RefusedError
from sync.sandbox.id_list_files import IdListFile


@dataclass
class Segment:
    """A segment of a project. `id_type` is Statsig's name: userID, stableID, or a custom id type's name.

    `busy` is true while an update of the list is under way: Statsig refuses a second one meanwhile. An archived segment
    is shown as such and its list cannot be changed; nobody is in one that is archived or not enabled.
    """

    id: str
    name: str
    type: str
    id_type: str
    description: str
    tags: list[str]
    file: IdListFile
    team: str | None = None
    creator_email: str | None = None
    is_enabled: bool = True
    is_archived: bool = False
    version: int = 1
    busy: bool = False
    members: dict[str, None] = field(default_factory=dict, repr=False)
    _page_order: list[str] | None = field(default=None, repr=False)

    @property
    def ids(self) -> list[str]:
        """The members in the order of their arrival. The list is kept until the next change: do not alter it."""
        if self._page_order is None:
            self._page_order = list(self.members)
        return self._page_order

    def described(self) -> dict[str, Any]:
        """The segment as the Console API shows it. How it shows an archived one is not documented."""
        return {
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "type": self.type,
            "idType": self.id_type,
            "count": len(self.members),
            "isEnabled": self.is_enabled,
            "tags": self.tags,
            **{name: value for name, value in self._optional().items() if value},
        }

    def _optional(self) -> dict[str, Any]:
        return {"team": self.team, "creatorEmail": self.creator_email, "isArchived": self.is_archived}

    def add(self, ids: Iterable[str]) -> int:
        """Add members; those that are there already are left as they are. Returns how many are new."""
        new = [unit_id for unit_id in dict.fromkeys(ids) if unit_id not in self.members]
        self.members.update(dict.fromkeys(new))
        self.file.append("+", new)
        self._changed()
        return len(new)

    def remove(self, ids: Iterable[str]) -> int:
        """Remove members; those that are not there are passed over. Returns how many went."""
        gone = [unit_id for unit_id in dict.fromkeys(ids) if unit_id in self.members]
        for unit_id in gone:
            del self.members[unit_id]
        self.file.append("-", gone)
        self._changed()
        return len(gone)

    def start_over(self, creation_time: int) -> None:
        """Empty the list and give it a new file."""
        self.members = {}
        self.file = IdListFile(max(creation_time, self.file.creation_time + 1))
        self._changed()

    def _changed(self) -> None:
        self.version += 1
        self._page_order = None


class Segments:
    """All segments of the project. `changed_at` (milliseconds) grows with every change but those of members."""

    def __init__(self, clock: Callable[[], float], max_project_ids: int):
        self._clock = clock
        self._max_project_ids = max_project_ids
        self._by_id: dict[str, Segment] = {}
        self.changed_at = self.now()

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return int(self._clock() * 1000)

    def __iter__(self) -> Iterator[Segment]:
        return iter(list(self._by_id.values()))

    def get(self, segment_id: str) -> Segment:
        """The segment of this id; 404 where there is none."""
        try:
            return self._by_id[segment_id]
        except KeyError:
            raise RefusedError(404, "Segment not found.") from None

    def create(self, wanted: CreateSegment) -> Segment:
        """Add a segment; 400 where its id or name is taken.

        Statsig keeps 409 for an update in progress, which is worth repeating; this is not.
        """
        if any(wanted.id == other.id or wanted.name == other.name for other in self._by_id.values()):
            raise RefusedError(400, f"A segment with the name or id '{wanted.id}' already exists.")
        segment = Segment(
            id=wanted.id,
            name=wanted.name,
            type=wanted.type,
            id_type=wanted.id_type,
            description=wanted.description,
            tags=wanted.tags,
            team=wanted.team,
            creator_email=wanted.creator_email,
            file=IdListFile(self.now()),
        )
        self._by_id[segment.id] = segment
        self._changed()
        return segment

    def alter(self, segment_id: str, **changes: Any) -> Segment:
        """Change attributes of a segment; 404 where there is none."""
        segment = self.get(segment_id)
        for name, value in changes.items():
            setattr(segment, name, value)
        self._changed()
        return segment

    def delete(self, segment_id: str) -> Segment:
        """Take a segment away; 404 where there is none."""
        segment = self.get(segment_id)
        del self._by_id[segment_id]
        self._changed()
        return segment

    def _changed(self) -> None:
        self.changed_at = max(self.now(), self.changed_at + 1)

    def put(self, wanted: CreateSegment, ids: Iterable[str]) -> Segment:
        """Make a segment with these members whatever its type, in place of one of the same id."""
        self._by_id.pop(wanted.id, None)
        segment = self.create(wanted)
        segment.add(ids)
        return segment

    def size_of(self, segment_id: str) -> int:
        """How many members a segment has; 0 where there is none."""
        segment = self._by_id.get(segment_id)
        return len(segment.members) if segment else 0

    def file(self, file_id: str) -> IdListFile:
        """The id list file of this id; 404 where no list uses it any more."""
        for segment in self._by_id.values():
            if segment.file.file_id == file_id:
                return segment.file
        raise RefusedError(404, "Id list file not found.")

    def check_room(self, more: Iterable[str], segment: Segment, *, replacing: bool = False) -> None:
        """Refuse (400) what would take the id lists of the project past their common limit."""
        total = sum(len(other.members) for other in self._by_id.values())
        kept = {} if replacing else segment.members
        if replacing:
            total -= len(segment.members)
        total += len({unit_id for unit_id in more if unit_id not in kept})
        if total > self._max_project_ids:
            raise RefusedError(
                400, f"A project can hold at most {self._max_project_ids} ids across all id lists; this makes {total}."
            )

    def clear(self) -> None:
        """Forget every segment."""
        self._by_id.clear()
        self._changed()
