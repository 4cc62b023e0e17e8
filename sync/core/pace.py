"""How many requests are claimed ahead of those that are under way."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Beyond what goes out from one write to the next, so many times as much is claimed.
_MARGIN = 1.5
# What takes longer between two writes than so many seconds says nothing of the next.
_LONGEST_SECONDS = 2.0
_MOST_AHEAD = 400


@dataclass
class Pace:
    """What goes out between two writes of the ledgers: ``answered`` counts the requests since the last of them.

    ``ahead`` is how many requests may be claimed and not answered; ``least`` go out side by side.
    """

    least: int
    ahead: int = 0
    answered: int = 0

    def __post_init__(self) -> None:
        self.ahead = self.least

    def run_short(self) -> None:
        """Nothing was left to send before the next write was due: from now on twice as much is claimed."""
        if self.answered:
            self._set(2 * self.ahead)

    def go_by(self, seconds: float) -> None:
        """The next write is due, so many seconds after the last: from now on as much is claimed as goes out."""
        if self.answered:
            answered = self.answered * min(1.0, _LONGEST_SECONDS / seconds)
            self._set(self.least + math.ceil(_MARGIN * answered))

    def _set(self, ahead: int) -> None:
        self.ahead, self.answered = min(ahead, max(self.least, _MOST_AHEAD)), 0
