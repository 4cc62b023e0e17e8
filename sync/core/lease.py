"""One run of a sync at a time, by lines in the run ledger alone.

A run appends its line first and reads afterwards. Of two runs that start at once, the one that reads last
sees the other's line, so at least one of them steps back, on any warehouse that shows committed rows.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """A run that has not ended: who holds the sync, since when and until when (UTC, without a zone)."""

    run_id: str
    sync_name: str
    holder: str
    since: dt.datetime
    expires_at: dt.datetime


def others(claims: Iterable[Claim], run_id: str, now: dt.datetime) -> tuple[Claim, ...]:
    """The claims of other runs that hold now."""
    return tuple(claim for claim in claims if claim.run_id != run_id and claim.expires_at > now)


def held_message(claim: Claim) -> str:
    """Who holds a sync, and what to do."""
    return (
        f"another run of this sync is under way: run {claim.run_id} of {claim.holder}, since "
        f"{claim.since:%Y-%m-%d %H:%M:%S} UTC. Wait for it with --wait; if it has died, its lease ends at "
        f"{claim.expires_at:%Y-%m-%d %H:%M:%S} UTC."
    )
