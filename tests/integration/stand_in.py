"""What a test asks of the sandbox over HTTP: what arrived, what to hold ready, and which faults to make."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import requests

from sync.sandbox.events import ON_PURPOSE

LOG_EVENT = "POST /v1/log_event"
ADD_IDS = "PATCH /console/*/id_list"
REMOVE_IDS = "DELETE /console/*/id_list"
CHANGE_IDS = "* /console/*/id_list"
READ_IDS = "GET /console/*/id_list"
READ_LOGS = "GET /console/v1/logs"
READ_METRICS = "GET /console/v1/metrics/values"
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

    def put_segment(self, segment_id: str, *ids: str, **more: Any) -> None:
        """Makes a segment with members; ``type``, ``idType`` and ``isEnabled`` as Statsig names them."""
        self._call("POST", "/segments", {"id": segment_id, "ids": list(ids), **more})

    def delete_segment(self, segment_id: str) -> None:
        """Deletes a segment, as people do in the console."""
        self._call("DELETE", f"/segments/{segment_id}")

    def archive_segment(self, segment_id: str) -> None:
        """Archives a segment."""
        self._call("PATCH", f"/segments/{segment_id}", {"isArchived": True})

    def disable_segment(self, segment_id: str) -> None:
        """Switches a segment off."""
        self._call("PATCH", f"/segments/{segment_id}", {"isEnabled": False})

    def set_type(self, segment_id: str, kind: str) -> None:
        """Gives a segment another type, as Statsig names it."""
        self._call("PATCH", f"/segments/{segment_id}", {"type": kind})

    def ids(self, segment_id: str) -> set[str]:
        """The members of a segment."""
        found: list[str] = self._call("GET", f"/segments/{segment_id}")["ids"]
        assert len(set(found)) == len(found)
        return set(found)

    def segments(self) -> dict[str, dict[str, Any]]:
        """All segments, by their id."""
        return {one["id"]: one for one in self._call("GET", "/segments")["segments"]}

    def events(self) -> list[dict[str, Any]]:
        """The events by arrival; fails where Statsig would have dropped one, or a part of one.

        What ``drop_events`` took away is left out.
        """
        found = [one for one in self._call("GET", "/events")["events"] if one["dropped"] != ON_PURPOSE]
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
        self.limits(enabled=False)

    def limits(self, **options: Any) -> None:
        """Makes the rate limits as strict as this says, and starts to count."""
        self._call("POST", "/limits", options)

    def settings(self, **changes: Any) -> None:
        """Changes how the sandbox answers; what is not named stays."""
        self._call("POST", "/settings", changes)

    def environments(self, *names: str) -> None:
        """Gives the project these environments; ``production`` is always one."""
        self.settings(environments=names)

    def drop_events(self, named: str | None = "*", percent: float = 100) -> None:
        """From now on, answers events of these names with 202 and does not keep so many of a hundred; None ends it."""
        self.settings(drop_events_named=named, drop_events_percent=percent)

    def dropped(self) -> list[dict[str, Any]]:
        """The events that ``drop_events`` or the fault ``drop`` took away."""
        return [one["event"] for one in self._call("GET", "/events")["events"] if one["dropped"] == ON_PURPOSE]

    def processing_seconds(self, seconds: float) -> None:
        """Sets how long an update of an id list takes, also of those that are under way."""
        self.settings(processing_seconds=seconds)

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        response = requests.request(method, f"{self.url}/sandbox{path}", json=body, timeout=60)
        assert response.ok, response.text
        return response.json()
