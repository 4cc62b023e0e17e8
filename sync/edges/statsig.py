"""Statsig over HTTP: one narrow transport, the calls that a sync makes, and patience.

Sources: Statsig's HTTP API reference (``log_event``) and Console API reference, version 20240601
(segments). TLS is verified, and redirects are not followed, so that a key goes to one host only.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlsplit

import requests
import tenacity
from pyrate_limiter import InMemoryBucket, Rate, RateItem
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ReadTimeoutError, SSLError

from sync import __version__
from sync.core.addresses import is_loopback
from sync.core.clock import Clock
from sync.core.delivery import STOPPED, Answer, Outcome, Patience, State, Verdict, judge, overall
from sync.core.reading import Page, Version
from sync.spec.statsig import CONSOLE_LIMITS, ID_LIST_LIMITS, MAX_IDS_PER_REQUEST

_CONSOLE_API_VERSION = "20240601"
_PAGE_SIZE = 1_000
_MAX_ANSWER_BYTES = 64 * 1024 * 1024
# Statsig counts a request when it arrives, this side when it leaves; the margin covers the difference.
_LIMIT_MARGIN_MS = 300


@dataclass(frozen=True)
class Segment:
    """A segment as Statsig has it; ``id_type`` is ``userID``, ``stableID`` or a custom id's name."""

    id: str
    type: str
    id_type: str
    count: int
    is_enabled: bool = True
    is_archived: bool = False


class Connection:
    """One base address and one key: sends requests, repeats them, and hides the key in what comes back.

    ``key_header`` maps the header's name to the key. Used from several threads at once.
    """

    def __init__(self, url: str, key_header: tuple[str, str], clock: Clock, patience: Patience) -> None:
        self._url, self._clock, self._patience = url, clock, patience
        self._key = key_header[1]
        self._session = requests.Session()
        self._session.headers.update(
            {
                "User-Agent": f"statsig-sync/{__version__}",
                "Accept-Encoding": "gzip",
                key_header[0]: key_header[1],
            }
        )
        # What is meant for this machine must not leave it by a proxy, least of all with the key in plain http.
        self._proxies = {"no_proxy": urlsplit(url).hostname or ""} if is_loopback(url) else None
        self._session.auth = _no_auth
        self._session.cookies.set_policy(_NoCookies())
        adapter = HTTPAdapter(pool_maxsize=32, max_retries=0)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def request(self, call: Call) -> Outcome:
        """The outcome of a call over all its attempts. Waiting for the own rate limits does not cost patience."""
        started = self._clock.monotonic()
        held_up, attempts = 0.0, 0
        doubts: list[Outcome] = []

        def attempt() -> Verdict:
            nonlocal held_up, attempts
            begun = self._clock.monotonic()
            if call.before_attempt is not None:
                call.before_attempt()
            held_up += self._clock.monotonic() - begun
            if self._patience.should_stop():
                return STOPPED
            attempts += 1
            verdict = judge(self._send(call), self._clock.now())
            if verdict.in_doubt:
                doubts.append(verdict.outcome)
            return verdict

        def is_worth_repeating(verdict: Verdict) -> bool:
            return verdict.may_retry and (call.is_idempotent or not verdict.in_doubt)

        def is_over(state: tenacity.RetryCallState) -> bool:
            spent = self._clock.monotonic() - started - held_up + state.upcoming_sleep
            return state.attempt_number >= self._patience.attempts or spent > self._patience.total_seconds

        retrying = tenacity.Retrying(
            sleep=self._clock.sleep,
            wait=_pause,
            retry=tenacity.retry_if_result(is_worth_repeating),
            stop=is_over,
            retry_error_callback=_last_verdict,
        )
        verdict = retrying(attempt)
        outcome = overall(verdict.outcome, doubts)
        return replace(
            outcome,
            attempts=attempts,
            elapsed_ms=round((self._clock.monotonic() - started) * 1000),
            message=outcome.message.replace(self._key, "[key hidden]") if outcome.message else None,
            pause_seconds=verdict.pause_seconds,
        )

    def _send(self, call: Call) -> Answer:
        timeout = (self._patience.connect_seconds, self._patience.read_seconds)
        body = _Body(call.body or b"")
        try:
            with self._session.request(
                call.method,
                self._url + call.path,
                params=call.params,
                data=body if call.body else None,
                headers=call.headers,
                timeout=timeout,
                proxies=self._proxies,
                allow_redirects=False,
                stream=True,
            ) as response:
                # Hidden before anything is cut out of it: a part of the key would not be found any more.
                answer = self._read(response).replace(self._key.encode(), b"[key hidden]")
                return Answer(response.status_code, answer, response.headers.get("Retry-After"))
        except Exception as error:
            # Answers that are no HTTP leave the libraries as whatever went wrong in them, such as a ValueError.
            return Answer(None, failure=_failure(error, body.is_taken), was_written=body.is_taken)

    def _read(self, response: requests.Response) -> bytes:
        """The body, as it comes: a read never waits for more than what is there, so that the deadline holds."""
        deadline = self._clock.monotonic() + self._patience.read_seconds
        parts: list[bytes] = []
        size = 0
        while part := response.raw.read1(65536, decode_content=True):
            parts.append(part)
            size += len(part)
            if size > _MAX_ANSWER_BYTES or self._clock.monotonic() > deadline:
                raise requests.exceptions.ReadTimeout("the answer is too long or too slow")
        return b"".join(parts)

    def close(self) -> None:
        """Closes the connections."""
        self._session.close()


@dataclass(frozen=True)
class Call:
    """A request. ``before_attempt`` runs before each attempt: a rate limit waits there."""

    method: str
    path: str
    body: bytes | None = None
    headers: dict[str, str] | None = None
    params: dict[str, int] | None = None
    is_idempotent: bool = True
    before_attempt: Callable[[], None] | None = None


class _NoCookies(requests.cookies.cookielib.DefaultCookiePolicy):  # type: ignore[name-defined,misc]
    def set_ok(self, cookie: Any, request: Any) -> bool:
        return False


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keeps requests from adding credentials of a .netrc file."""
    return request


_backoff = tenacity.wait_exponential(multiplier=0.5, max=60) + tenacity.wait_random(0, 0.5)


def _pause(state: tenacity.RetryCallState) -> float:
    """Exponential backoff with jitter, and never less than the server asks for."""
    verdict = _last_verdict(state)
    asked = verdict.pause_seconds if verdict is not None else None
    return max(float(_backoff(state)), asked or 0.0)


def _last_verdict(state: tenacity.RetryCallState) -> Any:
    return state.outcome.result() if state.outcome else None


class _Body:
    """A request's body that knows whether it was taken to be written.

    The body is asked for only after the connection stands, TLS included, and the headers are out: until then
    Statsig cannot have applied the request, whatever has failed.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.is_taken = False

    def __len__(self) -> int:
        return len(self._content)

    def __iter__(self) -> Iterator[bytes]:
        self.is_taken = True
        yield self._content


_FAILURES = (
    ((requests.exceptions.SSLError, SSLError), "the server's certificate could not be verified, or TLS failed"),
    (requests.exceptions.ProxyError, "the proxy could not be reached"),
    (requests.exceptions.ConnectTimeout, "no connection within the time limit"),
    ((requests.exceptions.ReadTimeout, ReadTimeoutError), "no answer within the time limit"),
)


def _failure(error: Exception, was_written: bool) -> str:
    """What went wrong, in plain words; never the library's text, which may hold an address with secrets."""
    for kind, message in _FAILURES:
        if isinstance(error, kind):
            return message
    return "the connection was lost" if was_written else "no connection could be made, or it was lost at once"


class RateLimit:
    """Waits so that no more requests go out than Statsig takes; one per key, shared by all syncs of a run."""

    def __init__(self, rates: Sequence[tuple[int, int]], clock: Clock, should_stop: Callable[[], bool]) -> None:
        self._clock, self._should_stop = clock, should_stop
        self._bucket = InMemoryBucket([Rate(count, seconds * 1000 + _LIMIT_MARGIN_MS) for count, seconds in rates])

    def wait(self) -> None:
        """Returns when the next request may go out, and counts it; at once where none is to go out any more."""
        item = RateItem("request", self._now())
        while not self._should_stop() and not self._bucket.put(item):
            self._clock.sleep(max(1, self._waiting(item)) / 1000)
            item = RateItem("request", self._now())

    def count_earlier(self, seconds_ago: Sequence[float]) -> None:
        """Counts requests that earlier runs have sent, given how long ago, oldest first."""
        for seconds in seconds_ago:
            moment = self._now() - round(seconds * 1000)
            # A ledger knows when a request ended, not each of its attempts: what does not fit there came later.
            while not self._bucket.put(item := RateItem("request", moment)):
                moment += max(1, self._waiting(item))

    def _waiting(self, item: RateItem) -> int:
        """Milliseconds from the item's time until it fits."""
        found = self._bucket.waiting(item)
        return found if isinstance(found, int) else 1

    def _now(self) -> int:
        return round(self._clock.monotonic() * 1000)


class EventsClient:
    """Sends events: ``POST /v1/log_event``."""

    def __init__(self, url: str, key: str, clock: Clock, patience: Patience) -> None:
        self._clock = clock
        self._connection = Connection(url, ("statsig-api-key", key), clock, patience)

    def pause(self, seconds: float) -> None:
        """Waits for so long and a little longer, before events whose outcome is in doubt are sent again."""
        if seconds:
            self._clock.sleep(seconds + random.uniform(0, 0.5))  # noqa: S311 - jitter, not a secret

    def log_event(self, body: bytes, count: int) -> Outcome:
        """Sends one body of ``count`` events. An outcome in doubt is not repeated here."""
        headers = {
            "Content-Type": "application/json",
            "Content-Encoding": "gzip",
            "STATSIG-CLIENT-TIME": str(round(self._clock.now().timestamp() * 1000)),
            "STATSIG-EVENT-COUNT": str(count),
        }
        compressed = gzip.compress(body, compresslevel=1, mtime=0)
        return self._connection.request(Call("POST", "/v1/log_event", compressed, headers, is_idempotent=False))

    def close(self) -> None:
        """Closes the connections."""
        self._connection.close()


class ConsoleClient:
    """Reads and changes segments under Statsig's rate limits."""

    def __init__(self, url: str, key: str, clock: Clock, patience: Patience) -> None:
        self._connection = Connection(url, ("STATSIG-API-KEY", key), clock, patience)
        self._changes = RateLimit(CONSOLE_LIMITS, clock, patience.should_stop)
        self._id_list_changes = RateLimit(ID_LIST_LIMITS, clock, patience.should_stop)

    def count_earlier(self, seconds_ago: Sequence[float]) -> None:
        """Counts id_list requests of earlier runs against the limits; seconds ago, oldest first."""
        self._changes.count_earlier(seconds_ago)
        self._id_list_changes.count_earlier(seconds_ago)

    def segment(self, segment_id: str) -> tuple[Segment | None, Outcome]:
        """The segment, or None with the reason in the outcome."""
        outcome = self._connection.request(Call("GET", _path(segment_id), headers=_console_headers()))
        return _segment(outcome), outcome

    def create_id_list(self, segment_id: str, id_type: str) -> Outcome:
        """Makes an ID list segment whose name is its id."""
        body = {"name": segment_id, "id": segment_id, "type": "id_list", "idType": id_type}
        call = Call(
            "POST",
            "/console/v1/segments",
            json.dumps(body).encode(),
            _console_headers(),
            before_attempt=self._changes.wait,
        )
        return self._connection.request(call)

    def change_ids(self, segment_id: str, operation: str, ids: Sequence[str]) -> Outcome:
        """Adds ids to (``add``) or removes them from (``remove``) a list: one request, at most 10,000 ids."""
        if len(ids) > MAX_IDS_PER_REQUEST:
            raise ValueError(f"{len(ids)} ids in one request")

        def wait() -> None:
            self._changes.wait()
            self._id_list_changes.wait()

        method = {"add": "PATCH", "remove": "DELETE"}[operation]
        body = json.dumps({"ids": list(ids)}, ensure_ascii=False).encode()
        return self._connection.request(
            Call(method, _path(segment_id) + "/id_list", body, _console_headers(), before_attempt=wait)
        )

    def reset_ids(self, segment_id: str, ids: Sequence[str]) -> Outcome:
        """Replaces a list at once; atomic up to 1,000 ids (Console API reference, "Reset ID list")."""
        body = json.dumps({"ids": list(ids)}, ensure_ascii=False).encode()
        path = _path(segment_id) + "/id_list/reset"
        return self._connection.request(Call("POST", path, body, _console_headers(), before_attempt=self._changes.wait))

    def id_page(self, segment_id: str, number: int) -> tuple[Page | None, Outcome]:
        """A page of a list's members, the first of which is 1, or None with the reason in the outcome."""
        params = {"limit": _PAGE_SIZE, "page": number}
        call = Call("GET", _path(segment_id) + "/id_list", headers=_console_headers(), params=params)
        outcome = self._connection.request(call)
        return _id_page(outcome), outcome

    def id_list_version(self, segment_id: str) -> Version | None:
        """The version of a list; None where Statsig does not tell it."""
        call = Call("GET", _path(segment_id) + "/idlist_metadata", headers=_console_headers())
        return _version(self._connection.request(call))

    def close(self) -> None:
        """Closes the connections."""
        self._connection.close()


def _path(segment_id: str) -> str:
    return f"/console/v1/segments/{quote(segment_id, safe='')}"


def _console_headers() -> dict[str, str]:
    return {"STATSIG-API-VERSION": _CONSOLE_API_VERSION, "Content-Type": "application/json"}


def _segment(outcome: Outcome) -> Segment | None:
    data = outcome.data.get("data") if outcome.state is State.ACCEPTED else None
    if not isinstance(data, dict):
        return None
    count = data.get("count")
    return Segment(
        str(data.get("id", "")),
        str(data.get("type", "")),
        str(data.get("idType", "")),
        count if isinstance(count, int) else 0,
        data.get("isEnabled") is not False,
        data.get("archived") is True or data.get("isArchived") is True,
    )


def _id_page(outcome: Outcome) -> Page | None:
    found = outcome.data if outcome.state is State.ACCEPTED else {}
    data, pagination = found.get("data"), found.get("pagination")
    if not isinstance(data, dict) or not isinstance(pagination, dict):
        return None
    ids, total = data.get("ids"), pagination.get("totalItems")
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids) or not isinstance(total, int):
        return None
    return Page(ids, total, is_last=pagination.get("nextPage") is None)


def _version(outcome: Outcome) -> Version | None:
    data = outcome.data.get("data") if outcome.state is State.ACCEPTED else None
    if not isinstance(data, dict):
        return None
    number, is_updating = data.get("currentVersion"), data.get("isUpdating")
    if not isinstance(number, int | str) or not isinstance(is_updating, bool):
        return None
    return Version(number, is_updating)
