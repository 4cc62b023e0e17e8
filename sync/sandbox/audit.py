"""Who changed an id list, as Statsig's audit logs tell it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

ID_LIST_UPDATE = "ID_list_update"
# Who changes lists by hand where nothing else is said.
CONSOLE_USER = "Console user"


@dataclass(frozen=True)
class Change:
    """A change of a list: by whom, when (seconds since the epoch), and how many members it had before and after."""

    number: int
    segment: str
    change_log: str
    updated_by: str
    at: float
    counts: tuple[int, int]

    @property
    def moment(self) -> dt.datetime:
        """When, in UTC."""
        return dt.datetime.fromtimestamp(self.at, dt.timezone.utc)

    def described(self) -> dict[str, Any]:
        """The entry as the Console API shows it, with its two texts for the time."""
        old, new = self.counts
        return {
            "id": f"audit{self.number}",
            "name": self.segment,
            "changeLog": self.change_log,
            "actionType": ID_LIST_UPDATE,
            "date": f"{self.moment:%a %b %d %Y}",
            "time": f"{self.moment:%H:%M:%S} GMT+0000 (Coordinated Universal Time)",
            "updatedBy": self.updated_by,
            "updatedByUserID": self.updated_by.lower().replace(" ", "_"),
            "modifierEmail": None,
            "changes": {"count": {"old": old, "new": new}},
        }


@dataclass
class AuditLog:
    """The changes of id lists in their order."""

    entries: list[Change] = field(default_factory=list)

    def record(self, segment: str, change_log: str, updated_by: str, at: float, counts: tuple[int, int]) -> None:
        """Write a change down."""
        self.entries.append(Change(len(self.entries) + 1, segment, change_log, updated_by, at, counts))

    def between(self, first: dt.date, last: dt.date) -> list[Change]:
        """The changes of these days (UTC), newest first."""
        return [entry for entry in reversed(self.entries) if first <= entry.moment.date() <= last]
