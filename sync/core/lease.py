"""One run of a sync at a time, by lines in the run ledger alone.

A run appends its line first and reads afterwards. Of two runs that start at once, the one that reads last
sees the other's line, so at least one of them steps back, on any warehouse that shows committed rows.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from sync.core.ledger import RunIdentity
from sync.core.lineage import Identity


@dataclass(frozen=True)
class Claim:
    """A run of a sync: what it writes, who holds it, since when and until when (UTC, without a zone)."""

    run_id: str
    sync_name: str
    project: str
    object: str
    destination: str
    holder: str
    since: dt.datetime
    expires_at: dt.datetime

    def concerns(self, run: RunIdentity, earlier: Collection[Identity] = ()) -> bool:
        """Whether it is on the same sync, as it is called or was, or on another that writes the same segment."""
        if Identity(self.project, self.sync_name) in earlier:
            return True
        is_same_sync = self.sync_name == run.sync_name
        return self.project == run.project and (is_same_sync or self.is_on_segment_of(run))

    def is_on_segment_of(self, run: RunIdentity) -> bool:
        """Whether both write the same segment."""
        return self.object == run.object == "segment" and self.destination == run.destination


def first_conflict(
    claims: Iterable[Claim], runs: Iterable[RunIdentity], earlier: Mapping[str, Collection[Identity]] | None = None
) -> tuple[RunIdentity, Claim] | None:
    """A run that a claim of another concerns, and the claim; None where there is none.

    ``earlier`` holds what syncs were called before, by their names.
    """
    wanted = [(run, (earlier or {}).get(run.sync_name, ())) for run in runs]
    return next(((run, claim) for claim in claims for run, names in wanted if claim.concerns(run, names)), None)


def holding(claims: Iterable[Claim], now: dt.datetime) -> tuple[Claim, ...]:
    """The claims that hold now."""
    return tuple(claim for claim in claims if claim.expires_at > now)


def _whose(run: RunIdentity, claim: Claim) -> str:
    if claim.sync_name == run.sync_name:
        return "of this sync"
    what = "which writes the same segment" if claim.is_on_segment_of(run) else "as this sync is or was called elsewhere"
    return f"of {claim.sync_name}, {what},"


def held_message(run: RunIdentity, claim: Claim) -> str:
    """Who holds a sync, and what to do."""
    return (
        f"{run.sync_name}: another run {_whose(run, claim)} is under way: run {claim.run_id} of {claim.holder}, since "
        f"{claim.since:%Y-%m-%d %H:%M:%S} UTC. Wait for it with --wait; if it has died, its lease ends at "
        f"{claim.expires_at:%Y-%m-%d %H:%M:%S} UTC."
    )


def overtaken_message(run: RunIdentity, claim: Claim) -> str:
    """Who went on with a sync while this run stood still for longer than its lease."""
    return (
        f"{run.sync_name}: this run stood still for longer than its lease, and another run {_whose(run, claim)} went "
        f"on meanwhile: run {claim.run_id} of {claim.holder}, at {claim.since:%Y-%m-%d %H:%M:%S} UTC. Nothing more is "
        "sent here; the next run goes on from what both have sent."
    )
