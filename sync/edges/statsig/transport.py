"""One narrow transport: requests, their repetition, and what is kept out of them.

TLS is verified, and redirects are not followed, so that a key goes to one host only.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import requests
import tenacity
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ReadTimeoutError, SSLError

from sync import __version__
from sync.core.addresses import is_loopback
from sync.core.clock import Clock
from sync.core.delivery import STOPPED, Answer, Outcome, Patience, Verdict, judge, overall
from sync.spec.limits import MAX_CONCURRENCY

_MAX_ANSWER_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Call:
    """A request. ``before_attempt`` runs before each attempt: a rate limit waits there.

    ``time_header`` names a header that carries the clock at the moment of each attempt, in milliseconds.
    ``limit_pauses`` are the seconds to wait out a 429 that does not say for how long, one after the other; where
    there are none, such a 429 is repeated like an overload. ``is_bare_list`` says that the answer may be a list
    without an object around it.
    """

    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, int | str] | None = None
    is_idempotent: bool = True
    before_attempt: Callable[[], None] | None = None
    time_header: str | None = None
    limit_pauses: Sequence[float] = ()
    is_bare_list: bool = False


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
        adapter = HTTPAdapter(pool_maxsize=MAX_CONCURRENCY, max_retries=0)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def request(self, call: Call) -> Outcome:
        """The outcome of a call over all its attempts. Waiting for rate limits does not cost patience."""
        return _Attempts(self, call, self._clock, self._patience).outcome()

    def send(self, call: Call) -> Answer:
        """One attempt."""
        timeout = (self._patience.connect_seconds, self._patience.read_seconds)
        body = _Body(call.body or b"")
        try:
            with self._session.request(
                call.method,
                self._url + call.path,
                params=call.params,
                data=body if call.body else None,
                headers=self._headers(call),
                timeout=timeout,
                proxies=self._proxies,
                allow_redirects=False,
                stream=True,
            ) as response:
                # Hidden before anything is cut out of it: a part of the key would not be found any more.
                answer = self.hidden(self._read(response))
                answer = b'{"data":%b}' % answer if call.is_bare_list and answer.lstrip()[:1] == b"[" else answer
                return Answer(response.status_code, answer, response.headers.get("Retry-After"))
        except Exception as error:
            # Answers that are no HTTP leave the libraries as whatever went wrong in them, such as a ValueError.
            return Answer(None, failure=_failure(error, body.is_taken), was_written=body.is_taken)

    def _headers(self, call: Call) -> dict[str, str]:
        now = str(round(self._clock.now().timestamp() * 1000))
        return {**call.headers, **({call.time_header: now} if call.time_header else {})}

    def hidden(self, text: bytes) -> bytes:
        """The text without the key."""
        return text.replace(self._key.encode(), b"[key hidden]")

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


@dataclass
class _Attempts:
    """The attempts of a call.

    ``held_up`` counts the seconds that were waited for rate limits, ``limited`` the answers 429 that did not say
    for how long.
    """

    connection: Connection
    call: Call
    clock: Clock
    patience: Patience
    held_up: float = 0.0
    attempts: int = 0
    limited: int = 0
    doubts: list[Outcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._started = self.clock.monotonic()

    def outcome(self) -> Outcome:
        """Tries until there is an outcome, or the patience is at its end."""
        retrying = tenacity.Retrying(
            sleep=self.clock.sleep,
            wait=self._pause,
            retry=tenacity.retry_if_result(self._is_worth_repeating),
            stop=self._is_over,
            before_sleep=self._count_waiting,
            retry_error_callback=_last_verdict,
        )
        verdict = retrying(self._attempt)
        outcome = overall(verdict.outcome, self.doubts)
        return replace(
            outcome,
            attempts=self.attempts,
            elapsed_ms=round((self.clock.monotonic() - self._started) * 1000),
            message=self.connection.hidden(outcome.message.encode()).decode() if outcome.message else None,
            pause_seconds=verdict.pause_seconds,
        )

    def _attempt(self) -> Verdict:
        begun = self.clock.monotonic()
        if self.call.before_attempt is not None:
            self.call.before_attempt()
        self.held_up += self.clock.monotonic() - begun
        if self.patience.should_stop():
            return STOPPED
        self.attempts += 1
        verdict = judge(self.connection.send(self.call), self.clock.now())
        self.limited += self._is_limited(verdict)
        if verdict.in_doubt:
            self.doubts.append(verdict.outcome)
        return verdict

    def _is_limited(self, verdict: Verdict) -> bool:
        is_refused = verdict.outcome.http_status == 429 and verdict.pause_seconds is None
        return is_refused and bool(self.call.limit_pauses)

    def _is_worth_repeating(self, verdict: Verdict) -> bool:
        return verdict.may_retry and (self.call.is_idempotent or not verdict.in_doubt)

    def _is_over(self, state: tenacity.RetryCallState) -> bool:
        if self._is_limited(_last_verdict(state)):
            is_held = self.limited > len(self.call.limit_pauses)
            return is_held or self.attempts >= self.patience.attempts
        spent = self.clock.monotonic() - self._started - self.held_up + state.upcoming_sleep
        return self.attempts >= self.patience.attempts or spent > self.patience.total_seconds

    def _count_waiting(self, state: tenacity.RetryCallState) -> None:
        if self._is_limited(_last_verdict(state)):
            self.held_up += state.upcoming_sleep

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """Exponential backoff with jitter, and never less than the server asks for; or the pause for a rate limit."""
        verdict = _last_verdict(state)
        if self._is_limited(verdict):
            pauses = self.call.limit_pauses
            return pauses[min(self.limited, len(pauses)) - 1] + random.uniform(0, 0.5)  # noqa: S311 - jitter
        return max(float(_backoff(state)), verdict.pause_seconds or 0.0)


class _NoCookies(requests.cookies.cookielib.DefaultCookiePolicy):  # type: ignore[name-defined,misc]
    def set_ok(self, cookie: Any, request: Any) -> bool:
        return False


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keeps requests from adding credentials of a .netrc file."""
    return request


_backoff = tenacity.wait_exponential(multiplier=0.5, max=60) + tenacity.wait_random(0, 0.5)


def _last_verdict(state: tenacity.RetryCallState) -> Verdict:
    verdict = state.outcome.result() if state.outcome else None
    return verdict if isinstance(verdict, Verdict) else STOPPED


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
