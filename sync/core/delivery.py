"""What an answer means: which requests are repeated, and what is known of those that are not.

The rules, and why:

- A 2xx whose body says ``"success": false`` is not a success: Statsig itself says so, so it is repeated.
- A 2xx whose body is not Statsig's JSON (a proxy's page, a cut answer) proves nothing: in doubt.
- 503 with ``{"success": false}`` is Statsig's documented answer to overload: not taken, repeated.
  Every other 5xx may come from a gateway that had already passed the request on: in doubt.
- 429 and 409 are refused before anything is applied: repeated after a pause.
- A connection that fails before the request is written took nothing along: repeated. One that is lost
  afterwards, or times out while waiting, may have been applied: in doubt.
- 413, and 400 and 422 with Statsig's JSON, speak of the content: rejected, and split by the caller where it
  can be. The same statuses with a proxy's page do not.
- Every other status, such as 401, 403, 404, a redirect or what a proxy says, speaks of the key or the way
  there: unsent, and not repeated. No row is to blame for it.

Setting a member again is harmless, so a segment's request in doubt is simply repeated. An event that is
repeated may count twice, so an event's request in doubt goes back to the caller, who writes it down first.
A doubt stays, whatever a later attempt is answered, until one is accepted.

Statuses: Statsig's HTTP API and Console API references.
"""

from __future__ import annotations

import datetime as dt
import email.utils
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import msgspec


class State(str, Enum):
    """What is known of a request, as the batch ledger spells it."""

    CLAIMED = "claimed"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNSENT = "unsent"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Answer:
    """What came back for one attempt: an HTTP answer, or a failure of the connection.

    ``status`` is None where no answer came; ``was_written`` then says whether the request may have
    reached the server. ``retry_after`` is the header as sent.
    """

    status: int | None
    body: bytes = b""
    retry_after: str | None = None
    failure: str | None = None
    was_written: bool = True


@dataclass(frozen=True)
class Outcome:
    """How a request ended, over all its attempts.

    ``elapsed_ms`` counts pauses too; ``pause_seconds`` is how long the server asked to be left alone.
    """

    state: State
    http_status: int | None
    message: str | None
    attempts: int = 0
    elapsed_ms: int = 0
    should_split: bool = False
    data: Any = None
    pause_seconds: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What one attempt means: its outcome if it is the last, and whether another may follow."""

    outcome: Outcome
    may_retry: bool
    in_doubt: bool
    pause_seconds: float | None = None


_CONTENT_STATUSES = {400, 422}


def judge(answer: Answer, now: dt.datetime) -> Verdict:
    """The meaning of one attempt. ``now`` is aware, and turns a ``Retry-After`` date into seconds."""
    verdict = _judge(answer)
    if answer.retry_after is None:
        return verdict
    return replace(verdict, pause_seconds=retry_after_seconds(answer.retry_after, now))


def _judge(answer: Answer) -> Verdict:
    status = answer.status
    if status is None:
        return _no_answer(answer)
    if 200 <= status < 300:
        return _success(answer)
    message = statsig_message(answer.body) or f"HTTP {status}"
    if status in (409, 425, 429):
        return Verdict(Outcome(State.UNSENT, status, message), may_retry=True, in_doubt=False)
    if status >= 500:
        in_doubt = not (status == 503 and _says_no_success(answer.body))
        state = State.UNKNOWN if in_doubt else State.UNSENT
        return Verdict(Outcome(state, status, message), may_retry=True, in_doubt=in_doubt)
    if status == 413 or (status in _CONTENT_STATUSES and _json_object(answer.body) is not None):
        return Verdict(Outcome(State.REJECTED, status, message, should_split=True), may_retry=False, in_doubt=False)
    return Verdict(Outcome(State.UNSENT, status, message), may_retry=False, in_doubt=False)


def _no_answer(answer: Answer) -> Verdict:
    state = State.UNKNOWN if answer.was_written else State.UNSENT
    return Verdict(Outcome(state, None, answer.failure), may_retry=True, in_doubt=answer.was_written)


def _success(answer: Answer) -> Verdict:
    found = _json_object(answer.body)
    if found is None:
        message = f"HTTP {answer.status}, but the body is not Statsig's JSON (a proxy in between?)"
        return Verdict(Outcome(State.UNKNOWN, answer.status, message), may_retry=True, in_doubt=True)
    if found.get("success") is False:
        message = statsig_message(answer.body) or 'Statsig answered "success": false'
        return Verdict(Outcome(State.UNSENT, answer.status, message), may_retry=True, in_doubt=False)
    if found.get("success", True) is not True or not ({"success", "message", "data"} & found.keys()):
        message = f"HTTP {answer.status}, but the body is not an answer of Statsig's"
        return Verdict(Outcome(State.UNKNOWN, answer.status, message), may_retry=True, in_doubt=True)
    return Verdict(Outcome(State.ACCEPTED, answer.status, None, data=found), may_retry=False, in_doubt=False)


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _says_no_success(body: bytes) -> bool:
    found = _json_object(body)
    return found is not None and found.get("success") is False


def statsig_message(body: bytes) -> str | None:
    """The ``message`` of an error answer, shortened; None where the body has none."""
    found = _json_object(body)
    message = found.get("message") if found else None
    return message[:500] if isinstance(message, str) else None


def retry_after_seconds(header: str, now: dt.datetime) -> float | None:
    """``Retry-After`` in seconds from now, in both its forms (RFC 9110); None where it is neither."""
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.timezone.utc)
    return max(0.0, (moment - now).total_seconds())


def never() -> bool:
    """Asks nobody to stop."""
    return False


@dataclass(frozen=True)
class Patience:
    """How long to try: attempts per request, seconds for all of them, and seconds per attempt.

    No attempt begins where ``should_stop`` says so.
    """

    attempts: int = 8
    total_seconds: float = 300.0
    connect_seconds: float = 10.0
    read_seconds: float = 60.0
    should_stop: Callable[[], bool] = never


STOPPED = Verdict(Outcome(State.UNSENT, None, "stopped before it was sent"), may_retry=False, in_doubt=False)


def overall(last: Outcome, doubts: Sequence[Outcome]) -> Outcome:
    """The outcome of a request whose last attempt ended like this, after attempts that are in doubt."""
    if not doubts or last.state is State.ACCEPTED:
        return last
    message = last.message if last.state is State.REJECTED else doubts[-1].message
    return replace(last, state=State.UNKNOWN, message=message)


# Requests in doubt after which events wait for the next run.
_MAX_RESENDS = 3


@dataclass(frozen=True)
class Trail:
    """What the keys of a request have behind them: requests in doubt, their attempts, and seconds, pauses included.

    ``pause_seconds`` is how long they have to wait before they go again.
    """

    doubts: int = 0
    attempts: int = 0
    seconds: float = 0.0
    pause_seconds: float = 0.0

    def after(self, outcome: Outcome) -> Trail:
        """The trail after one more request in doubt; pauses grow, and are never shorter than the server asks."""
        pause = max(0.5 * 2 ** (self.doubts + 1), outcome.pause_seconds or 0.0)
        seconds = self.seconds + outcome.elapsed_ms / 1000 + pause
        return Trail(self.doubts + 1, self.attempts + outcome.attempts, seconds, pause)

    def with_attempts(self, outcome: Outcome) -> Outcome:
        """The outcome of the last request, with the attempts of those before it."""
        return replace(outcome, attempts=self.attempts + outcome.attempts)

    def is_within(self, patience: Patience) -> bool:
        """Whether one more request may follow."""
        return (
            self.doubts <= _MAX_RESENDS and self.attempts < patience.attempts and self.seconds <= patience.total_seconds
        )


class FollowUp(Enum):
    """What becomes of the keys of a request that has ended."""

    NONE = "none"
    SPLIT = "split"
    REFUSE = "refuse"
    RESEND = "resend"


def follow_up(outcome: Outcome, keys: int, trail: Trail, patience: Patience | None) -> FollowUp:
    """The next step for a request of ``keys`` keys with this trail before it.

    A request that Statsig refuses for its content is cut in halves until the key that is at fault stands
    alone. One in doubt is sent again as a request of its own within ``patience``; None stands for never.
    """
    if outcome.should_split and keys > 1:
        return FollowUp.SPLIT
    if outcome.state is State.REJECTED:
        return FollowUp.REFUSE
    if outcome.state is State.UNKNOWN and patience is not None and trail.after(outcome).is_within(patience):
        return FollowUp.RESEND
    return FollowUp.NONE
