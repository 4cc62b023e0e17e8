"""What was asked of the sandbox on Statsig's paths, and what it answered. No key is ever kept."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

_KEY_HEADERS = frozenset({"statsig-api-key", "authorization", "cookie"})
_KEY = re.compile(r"\b(secret|console|client)-[A-Za-z0-9_\-]+")


def without_keys(text: str) -> str:
    """Replace what looks like a Statsig key; the legacy SDK puts its key into the path."""
    return _KEY.sub(r"\1-***", text)


@dataclass
class Entry:
    """A request. `status` is None where the connection was closed without an answer, or is still open.

    `query` is what stands after the question mark. `applied` says whether the request reached the application, `events`
    and `ids` how many it carried.
    """

    number: int
    method: str
    path: str
    headers: dict[str, str]
    query: str = ""
    status: int | None = None
    applied: bool = False
    events: int | None = None
    ids: int | None = None
    fault: str | None = None


@dataclass
class Journal:
    """Requests in the order of their arrival, numbered from 1."""

    entries: list[Entry] = field(default_factory=list)

    def open(self, method: str, path: str, query: str, headers: Iterable[tuple[str, str]]) -> Entry:
        """Write down a request that has just arrived."""
        shown = {name: without_keys(value) for name, value in headers if name.lower() not in _KEY_HEADERS}
        entry = Entry(len(self.entries) + 1, method, without_keys(path), shown, without_keys(query))
        self.entries.append(entry)
        return entry

    def described(self) -> list[dict[str, Any]]:
        """The requests as JSON-ready rows."""
        return [asdict(entry) for entry in self.entries]

    def summary(self) -> dict[str, Any]:
        """Counts by method and path, and by status."""
        return {
            "count": len(self.entries),
            "by_call": dict(Counter(f"{entry.method} {entry.path}" for entry in self.entries)),
            "by_status": dict(Counter(str(entry.status) for entry in self.entries)),
        }
