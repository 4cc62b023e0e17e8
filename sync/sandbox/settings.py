"""What a sandbox can be told when it starts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

KeepMode = Literal["events", "counts"]

FIRST_PROJECT = "sandbox"


@dataclass(frozen=True)
class Keys:
    """The three kinds of key of a Statsig project, and keys of further projects.

    Events take the server secret, segments the Console API key; the client key is valid for neither. `more` are further
    keys, each for what it starts with, and each of a project of its own unless written `KEY@PROJECT`; the project of
    the first three keys is `sandbox`. Only rate limits tell projects apart: what is sent to any of them is kept in one
    place.
    """

    server_secret: str = field(default="secret-sandbox", repr=False)
    console: str = field(default="console-sandbox", repr=False)
    client: str = field(default="client-sandbox", repr=False)
    more: tuple[str, ...] = field(default=(), repr=False)

    def opens_events(self, key: str) -> bool:
        """Whether events are taken with this key."""
        return key == self.server_secret or (key in self._projects() and key.startswith("secret-"))

    def opens_segments(self, key: str) -> bool:
        """Whether the Console API takes this key."""
        return key == self.console or (key in self._projects() and key.startswith("console-"))

    def project_of(self, key: str) -> str:
        """The project of a key that is right."""
        return self._projects().get(key, FIRST_PROJECT)

    def name_of(self, key: str) -> str:
        """What audit logs call a key that is right: its number among the Console API keys."""
        consoles = [self.console, *(other for other in self._projects() if other.startswith("console-"))]
        return f"Console API key {consoles.index(key) + 1}"

    def _projects(self) -> dict[str, str]:
        """The project of each further key."""
        split = (entry.partition("@") for entry in self.more)
        return {key: project or key for key, _, project in split}


@dataclass(frozen=True)
class Settings:
    """Keys, limits and clock of a sandbox, and how it answers.

    `max_events_body` is in bytes of decoded JSON: 1 MiB of events and the envelope around them. `max_ids` is per
    request, `max_project_ids` over all id lists. `clock` gives seconds since the epoch; rate limits, creation times,
    versions of lists, and the age of events follow it. `keep="counts"` stores no event bodies, for measurements over
    many events.

    What follows can be changed by `POST /sandbox/settings` while it runs. An update of an id list takes
    `processing_seconds`. A page of ids holds `max_page` at most: a larger `limit` is answered with fewer, or with 400
    where `large_pages` is `refuse`; `total_items=False` leaves the optional `totalItems` out. Events are shown in logs
    and counted in metrics once they have been here for so many seconds (`..._lag_seconds`); logs hold
    `logs_sample_percent` of them, until `logs_retention_seconds` after their time (None: for ever). Events whose name
    fits the pattern `drop_events_named` are answered with 202 and not kept: `drop_events_percent` of them.
    """

    keys: Keys = Keys()
    keep: KeepMode = "events"
    max_events_body: int = 1024 * 1024 + 4096
    max_ids: int = 10_000
    max_project_ids: int = 10_000_000
    clock: Callable[[], float] = time.time
    processing_seconds: float = 0.0
    max_page: int = 1_000
    large_pages: Literal["fewer", "refuse"] = "fewer"
    total_items: bool = True
    environments: tuple[str, ...] = ("development", "staging", "production")
    unit_id_types: tuple[str, ...] = ("userID", "stableID")
    reviews_required: bool = False
    logs_lag_seconds: float = 0.0
    logs_sample_percent: float = 100.0
    logs_retention_seconds: float | None = None
    metrics_lag_seconds: float = 0.0
    drop_events_named: str | None = None
    drop_events_percent: float = 100.0


def environments_of(settings: Settings) -> tuple[str, ...]:
    """The project's environments. They can be renamed and added to, except for production."""
    has_production = any(name.lower() == "production" for name in settings.environments)
    return settings.environments if has_production else (*settings.environments, "production")
