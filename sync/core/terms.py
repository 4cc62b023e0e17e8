"""For how long a run holds its syncs."""

from __future__ import annotations

from dataclasses import dataclass

# How old a sign of life may be before it is time for another.
RENEWAL_SECONDS = 120.0


@dataclass(frozen=True)
class Term:
    """How long a lease lasts without a sign of life, and how long to wait for one that is held, in seconds.

    A lease must outlast the longest time between two signs of life: the rate limits of 15 minutes, a 429 that does
    not say how long it lasts, and the patience of a request.
    """

    lease_seconds: float = 2400.0
    wait_seconds: float = 0.0

    @property
    def renewed_below(self) -> float:
        """With fewer seconds left than this it is time for a sign of life."""
        return self.lease_seconds - min(self.lease_seconds / 3, RENEWAL_SECONDS)
