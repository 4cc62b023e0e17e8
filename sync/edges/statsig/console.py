"""The Console API. Source: Statsig's Console API reference, version 20240601."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote

from sync.core import console_answers as answers
from sync.core.clock import Clock
from sync.core.console_answers import DayCount, LogPage, Segment
from sync.core.delivery import Outcome, Patience
from sync.core.reading import Page, Version
from sync.edges.statsig.limits import RateLimits
from sync.edges.statsig.transport import Call, Connection
from sync.spec.limits import Limits
from sync.spec.model import Labels
from sync.spec.statsig import LIMIT_PAUSES, MAX_DESCRIPTION_LENGTH, MAX_IDS_PER_REQUEST, MAX_LOG_ROWS

_CONSOLE_API_VERSION = "20240601"
_HEADERS = {"STATSIG-API-VERSION": _CONSOLE_API_VERSION, "Content-Type": "application/json"}


class ConsoleClient:
    """Reads and changes segments under Statsig's rate limits, and asks what has arrived.

    ``limits`` are those of the Statsig project, which all of its keys share; without them the client has its own.
    """

    def __init__(self, url: str, key: str, clock: Clock, patience: Patience, limits: RateLimits | None = None) -> None:
        self._connection = Connection(url, ("STATSIG-API-KEY", key), clock, patience)
        self._limits = limits or RateLimits(Limits(), clock, patience.should_stop)

    # Segments

    def segment(self, segment_id: str) -> tuple[Segment | None, Outcome]:
        """The segment, or None with the reason in the outcome."""
        outcome = self._get(_path(segment_id))
        return answers.segment(outcome), outcome

    def create_id_list(self, segment_id: str, id_type: str, labels: Labels | None = None) -> Outcome:
        """Makes an ID list segment whose name is its id."""
        body = {"name": segment_id, "id": segment_id, "type": "id_list", "idType": id_type}
        return self._change("POST", "/console/v1/segments", {**body, **_extras(labels or Labels())})

    def archive(self, segment_id: str) -> Outcome:
        """Archives a segment; nobody matches it from then on."""
        return self._change("PUT", f"{_path(segment_id)}/archive")

    def change_ids(self, segment_id: str, operation: str, ids: Sequence[str]) -> Outcome:
        """Adds ids to (``add``) or removes them from (``remove``) a list: one request, at most 10,000 ids."""
        if len(ids) > MAX_IDS_PER_REQUEST:
            raise ValueError(f"{len(ids)} ids in one request")
        method = {"add": "PATCH", "remove": "DELETE"}[operation]
        body = {"ids": list(ids)}
        return self._change(method, f"{_path(segment_id)}/id_list", body, self._limits.wait_to_change_ids)

    def reset_ids(self, segment_id: str, ids: Sequence[str]) -> Outcome:
        """Replaces a list at once; atomic up to 1,000 ids (Console API reference, "Reset ID list")."""
        return self._change("POST", f"{_path(segment_id)}/id_list/reset", {"ids": list(ids)})

    def id_page(self, segment_id: str, number: int, size: int) -> tuple[Page | None, Outcome]:
        """A page of at most ``size`` members of a list, the first of which is 1, or None with the reason."""
        params = {"limit": size, "page": number}
        outcome = self._get(f"{_path(segment_id)}/id_list", params, self._limits.wait_to_read_ids)
        return answers.id_page(outcome), outcome

    def id_list_version(self, segment_id: str) -> Version | None:
        """The version of a list; None where Statsig does not tell it."""
        return answers.version(self._get(f"{_path(segment_id)}/idlist_metadata"))

    # The project, and what has arrived in it

    def environments(self) -> tuple[tuple[str, ...] | None, Outcome]:
        """The names of the project's environments, or None with the reason in the outcome.

        They are None also where only some of them can be had: a page that cannot be read, or pages without an end.
        """
        names: dict[str, None] = {}
        number = 1
        while True:
            outcome = self._get("/console/v1/environments", {"page": number} if number > 1 else None)
            page = answers.environments(outcome)
            if page is None:
                return None, outcome
            if not page.has_more:
                return tuple(names | dict.fromkeys(page.names)), outcome
            if names.keys() >= set(page.names):
                return None, outcome
            names |= dict.fromkeys(page.names)
            number += 1

    def logs(
        self, query: str, columns: Sequence[str], start_ms: int, end_ms: int, limit: int = MAX_LOG_ROWS
    ) -> tuple[LogPage | None, Outcome]:
        """Events that the Logs Explorer finds for a query in its filter syntax, or None with the reason.

        Times are in milliseconds since 1970; ``columns`` are what ``LogRow.fields`` holds, such as
        ``metadata.order_id``; ``limit`` is at most 1,000. How long events are kept there, how soon they appear and
        whether they are sampled is not documented: one that is not found proves nothing.
        """
        params: dict[str, int | str] = {"source": "events", "query": query, "columns": ",".join(columns)}
        outcome = self._get("/console/v1/logs", {**params, "start_ts": start_ms, "end_ts": end_ms, "limit": limit})
        return answers.log_page(outcome), outcome

    def event_count(self, day: dt.date, name: str) -> tuple[DayCount | None, Outcome]:
        """How many events of a name Statsig counts on a day (Pacific time), or None with the reason."""
        params = {"date": day.isoformat(), "metricName": name, "metricType": "event_count"}
        outcome = self._get("/console/v1/metrics/values", {**params, "limit": 100}, is_bare_list=True)
        return answers.event_count(outcome, name), outcome

    def close(self) -> None:
        """Closes the connections."""
        self._connection.close()

    def _get(
        self,
        path: str,
        params: Mapping[str, int | str] | None = None,
        wait: Callable[[], None] | None = None,
        is_bare_list: bool = False,
    ) -> Outcome:
        call = Call(
            "GET",
            path,
            headers=_HEADERS,
            params=params,
            before_attempt=wait,
            limit_pauses=LIMIT_PAUSES,
            is_bare_list=is_bare_list,
        )
        return self._connection.request(call)

    def _change(self, method: str, path: str, body: object = None, wait: Callable[[], None] | None = None) -> Outcome:
        call = Call(
            method,
            path,
            json.dumps(body, ensure_ascii=False).encode() if body is not None else None,
            _HEADERS,
            before_attempt=wait or self._limits.wait_to_change,
            limit_pauses=LIMIT_PAUSES,
        )
        return self._connection.request(call)


def _path(segment_id: str) -> str:
    return f"/console/v1/segments/{quote(segment_id, safe='')}"


def _extras(labels: Labels) -> dict[str, object]:
    """What a segment takes over from its exposure; nothing of what the exposure does not have."""
    found = {
        "description": labels.description.strip()[:MAX_DESCRIPTION_LENGTH],
        "tags": list(labels.tags),
        "creatorEmail": labels.owner_email,
    }
    return {name: value for name, value in found.items() if value}
