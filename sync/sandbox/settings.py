"""What a sandbox can be told when it starts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

KeepMode = Literal["events", "counts"]


@dataclass(frozen=True)
class Keys:
    """The three kinds of key of a Statsig project.

    Events take the server secret, segments the Console API key; the client key is valid for neither. `more` are keys of
    further projects, each for what it starts with; what is sent with them is kept as if it were of the first project.
    """

    server_secret: str = field(default="secret-sandbox", repr=False)
    console: str = field(default="console-sandbox", repr=False)
    client: str = field(default="client-sandbox", repr=False)
    more: tuple[str, ...] = field(default=(), repr=False)

    def opens_events(self, key: str) -> bool:
        """Whether events are taken with this key."""
        return key == self.server_secret or (key in self.more and key.startswith("secret-"))

    def opens_segments(self, key: str) -> bool:
        """Whether the Console API takes this key."""
        return key == self.console or (key in self.more and key.startswith("console-"))


@dataclass(frozen=True)
class Settings:
    """Keys, limits and clock of a sandbox.

    `max_events_body` is in bytes of decoded JSON: 1 MiB of events and the envelope around them. `max_ids` is per
    request, `max_project_ids` over all id lists. `clock` gives seconds since the epoch; rate limits, creation times and
    versions of lists follow it. `keep="counts"` stores no event bodies, for measurements over many events.
    """

    keys: Keys = Keys()
    keep: KeepMode = "events"
    max_events_body: int = 1024 * 1024 + 4096
    max_ids: int = 10_000
    max_project_ids: int = 10_000_000
    clock: Callable[[], float] = time.time
