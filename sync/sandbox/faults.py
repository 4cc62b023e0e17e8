"""Faults on purpose: which request gets which, decided by rules (pure, apart from how often a rule has fired).

A decision depends on the rules, their seeds and the number of the request, so a run can be repeated.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

import msgspec

When = Literal["before", "after"]
Seconds = Annotated[float, msgspec.Meta(ge=0)]

_PROXY_PAGE = "<!DOCTYPE html><html><head><title>Web filter</title></head><body>Please sign in.</body></html>"


class _Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """What happens to a request. `when` says whether it is applied first (`after`) or not at all (`before`)."""

    @property
    def kind(self) -> str:
        """The name of this fault in JSON."""
        return str(self.__struct_config__.tag)


class StatusFault(_Fault, frozen=True, tag="status"):
    """An error status. Retry-After is `retry_after` seconds, sent as seconds or as the HTTP date that is so far off."""

    status: Annotated[int, msgspec.Meta(ge=300, le=599)]
    when: When = "before"
    body: str | None = None
    headers: dict[str, str] = {}
    retry_after: Annotated[int, msgspec.Meta(ge=0)] | None = None
    retry_after_form: Literal["seconds", "http_date"] = "seconds"


class BodyFault(_Fault, frozen=True, tag="body"):
    """A success whose body is not Statsig's: a proxy's page, `{"success": false}`, half a JSON document."""

    body: str
    when: When = "before"
    status: Annotated[int, msgspec.Meta(ge=200, le=299)] = 200
    headers: dict[str, str] = {}


class DelayFault(_Fault, frozen=True, tag="delay"):
    """The usual answer, late: the time passes before the request is applied, or after it."""

    seconds: Seconds
    when: When = "before"


class ResetFault(_Fault, frozen=True, tag="reset"):
    """The connection is reset without an answer."""

    when: When = "before"


class TruncateFault(_Fault, frozen=True, tag="truncate"):
    """The request is applied, and half of the answer comes under the Content-Length of the whole."""


class SlowBodyFault(_Fault, frozen=True, tag="slow_body"):
    """The request is applied, and the answer comes byte by byte, in so many seconds."""

    seconds: Seconds


class BusyFault(_Fault, frozen=True, tag="busy"):
    """409, as while another update of the list is in progress. The request is not applied."""


class DropFault(_Fault, frozen=True, tag="drop"):
    """The usual answer, and the events of the request are not kept. Other requests are as always."""


Fault = StatusFault | BodyFault | DelayFault | ResetFault | TruncateFault | SlowBodyFault | BusyFault | DropFault


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which requests a rule is for. All that is given must hold.

    `path` is a shell pattern (`/console/*/id_list`); `nth` counts the requests that match method and path, from 1;
    `count` is how often the rule fires at most; `probability` is drawn from `seed` and the number of the request.
    """

    method: str | None = None
    path: str | None = None
    nth: list[int] | None = None
    count: int | None = None
    probability: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    seed: int = 0


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fault and the requests that get it."""

    fault: Fault
    match: Match = Match()


class RandomProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mixture of all faults but `drop` over the events API and the Console API.

    Each request gets a fault with `probability`; which one follows from `seed` and the number of the request. Delays
    and slow answers take at most `max_seconds`. What answers `"success": false`, 409 or 429 was not applied, as
    Statsig's contract has it; every other fault comes before the request is applied or after.
    """

    seed: int
    probability: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.3
    max_seconds: Seconds = 0.05
    paths: tuple[str, ...] = ("/v1/log_event", "/console/*")


class FaultPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /sandbox/faults`: rules, of which the first that fits is taken, then the random profile."""

    rules: list[Rule] = []
    random: RandomProfile | None = None


@dataclass(frozen=True)
class Fired:
    """A fault that a request got; `rule` is the place of its rule, None for the random profile."""

    request: int
    method: str
    path: str
    rule: int | None
    fault: Fault


@dataclass
class Faults:
    """The plan in force, how often each of its rules has matched and fired, and all faults so far."""

    plan: FaultPlan = field(default_factory=FaultPlan)
    fired: list[Fired] = field(default_factory=list)
    _matched: dict[int, int] = field(default_factory=dict)
    _firings: dict[int, int] = field(default_factory=dict)

    def follow(self, plan: FaultPlan) -> None:
        """Put another plan in force. What has fired stays on record."""
        self.plan = plan
        self._matched.clear()
        self._firings.clear()

    def choose(self, request: int, method: str, path: str, shown_path: str) -> Fault | None:
        """The fault for this request, if any; it is recorded as fired, under `shown_path`."""
        for place, rule in enumerate(self.plan.rules):
            if self._fires(place, rule.match, request, (method, path)):
                return self._record(Fired(request, method, shown_path, place, rule.fault))
        profile = self.plan.random
        fault = random_fault(profile, request, path) if profile else None
        return self._record(Fired(request, method, shown_path, None, fault)) if fault else None

    def _fires(self, place: int, match: Match, request: int, call: tuple[str, str]) -> bool:
        if not _is_for(match, *call):
            return False
        nth = self._matched[place] = self._matched.get(place, 0) + 1
        if match.nth is not None and nth not in match.nth:
            return False
        if match.count is not None and self._firings.get(place, 0) >= match.count:
            return False
        if match.probability is not None and _draw(match.seed, request).random() >= match.probability:
            return False
        self._firings[place] = self._firings.get(place, 0) + 1
        return True

    def _record(self, fired: Fired) -> Fault:
        self.fired.append(fired)
        return fired.fault

    def described(self) -> dict[str, Any]:
        """The plan and the faults that fired, JSON-ready."""
        return {
            "plan": msgspec.to_builtins(self.plan),
            "fired": [
                {
                    "request": fired.request,
                    "method": fired.method,
                    "path": fired.path,
                    "rule": fired.rule,
                    "fault": msgspec.to_builtins(fired.fault),
                }
                for fired in self.fired
            ],
        }


def _is_for(match: Match, method: str, path: str) -> bool:
    if match.method is not None and match.method.upper() != method:
        return False
    return match.path is None or fnmatchcase(path, match.path)


def _draw(seed: int, request: int) -> random.Random:
    return random.Random(f"{seed}:{request}")  # noqa: S311 (a repeatable draw is the point)


def random_fault(profile: RandomProfile, request: int, path: str) -> Fault | None:
    """What the profile has for the request of this number: the same for the same seed and number."""
    if not any(fnmatchcase(path, pattern) for pattern in profile.paths):
        return None
    draw = _draw(profile.seed, request)
    if draw.random() >= profile.probability:
        return None
    menu = [fault for fault in _random_menu(profile, draw) if fault.kind != "busy" or "/id_list" in path]
    return draw.choice(menu)


def _random_menu(profile: RandomProfile, draw: random.Random) -> Sequence[Fault]:
    seconds = draw.uniform(0, profile.max_seconds)
    when: When = draw.choice(("before", "after"))
    form: Literal["seconds", "http_date"] = draw.choice(("seconds", "http_date"))
    return (
        DelayFault(seconds, when),
        ResetFault(when),
        StatusFault(draw.choice((500, 502, 503, 504)), when),
        StatusFault(503, body='{"success": false}'),
        StatusFault(429, retry_after=draw.choice((0, 1)), retry_after_form=form),
        BusyFault(),
        TruncateFault(),
        SlowBodyFault(seconds),
        BodyFault(_PROXY_PAGE, when, headers={"Content-Type": "text/html"}),
        BodyFault('{"success": false}'),
        BodyFault('{"success": tr', when),
    )
