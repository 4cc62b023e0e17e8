"""What a test asks of the sandbox over HTTP: what arrived, what to hold ready, and which faults to make."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import requests

LOG_EVENT = "POST /v1/log_event"
ADD_IDS = "PATCH /console/*/id_list"
REMOVE_IDS = "DELETE /console/*/id_list"
CHANGE_IDS = "* /console/*/id_list"
LOOK_UP_SEGMENT = "GET /console/v1/segments/*"


def rule(kind: str, *, call: str = LOG_EVENT, count: int | None = 1, **fault: Any) -> dict[str, Any]:
    """A fault and the requests that get it, as ``StandIn.fault`` has them."""
    method, path = call.split()
    match: dict[str, Any] = {"path": path}
    if method != "*":
        match["method"] = method
    if count is not None:
        match["count"] = count
    return {"fault": {"kind": kind, **fault}, "match": match}


@dataclass(frozen=True)
class StandIn:
    """The sandbox at this base address."""

    url: str

    def put_segment(self, segment_id: str, *ids: str, **more: str) -> None:
        """Makes a segment with members; ``type`` and ``idType`` as Statsig names them."""
        self._call("POST", "/segments", {"id": segment_id, "ids": list(ids), **more})

    def ids(self, segment_id: str) -> set[str]:
        """The members of a segment."""
        found: list[str] = self._call("GET", f"/segments/{segment_id}")["ids"]
        assert len(set(found)) == len(found)
        return set(found)

    def segments(self) -> dict[str, dict[str, Any]]:
        """All segments, by their id."""
        return {one["id"]: one for one in self._call("GET", "/segments")["segments"]}

    def events(self) -> list[dict[str, Any]]:
        """The events by arrival; fails where Statsig would have dropped one, or a part of one."""
        found = self._call("GET", "/events")["events"]
        assert [one for one in found if one["dropped"] or one["lost_metadata_keys"]] == []
        return [one["event"] for one in found]

    def events_by_name(self) -> dict[str, list[dict[str, Any]]]:
        """The events by their name."""
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for event in self.events():
            found[event["eventName"]].append(event)
        return found

    def users(self) -> list[str]:
        """Whose events arrived, sorted; a user stands there once per event."""
        return sorted(event["user"]["userID"] for event in self.events())

    def requests(self, call: str = "* *") -> list[dict[str, Any]]:
        """The requests by arrival, with status, headers and whether they were applied; no keys."""
        return [
            one
            for one in self._call("GET", "/requests")["requests"]
            if fnmatchcase(f"{one['method']} {one['path']}", call)
        ]

    def changes(self, segment_id: str) -> list[tuple[str, int]]:
        """The changes of an id list by arrival: method and number of ids."""
        found = self.requests(f"* /console/v1/segments/{segment_id}/id_list")
        return [(one["method"], one["ids"]) for one in found if one["method"] != "GET"]

    def sent_data(self) -> int:
        """How many requests carried events or changed a segment."""
        return len([one for one in self.requests() if one["method"] != "GET"])

    def fault(self, kind: str, *, call: str = LOG_EVENT, count: int | None = 1, **fault: Any) -> None:
        """Makes this fault and no other, ``count`` times (None: always), for ``call``: method and path, or patterns."""
        self.faults(rule(kind, call=call, count=count, **fault))

    def faults(self, *rules: Any) -> None:
        """Makes the faults of these rules and no others: of those that fit, the first is taken."""
        self._call("POST", "/faults", {"rules": list(rules)})

    def no_faults(self) -> None:
        """Ends all faults."""
        self._call("POST", "/faults", {})

    def no_limits(self) -> None:
        """Switches the rate limits off."""
        self._call("POST", "/limits", {"enabled": False})

    def processing_seconds(self, seconds: float) -> None:
        """Sets how long an update of an id list takes, also of those that are under way."""
        self._call("POST", "/settings", {"processing_seconds": seconds})

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        response = requests.request(method, f"{self.url}/sandbox{path}", json=body, timeout=60)
        assert response.ok, response.text
        return response.json()
