"""What a person reads of the commands that settle, end or delete what the ledgers know."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sync.cli.printing import printable, result_line

if TYPE_CHECKING:
    from sync.run.prune import Pruned
    from sync.run.resolve import Resolved
    from sync.run.retire import Retired

_DRY = "This was a dry run: nothing was written or sent."


def resolved_summary(resolved: Resolved, is_dry: bool) -> dict[str, Any]:
    """The batches as data that JSON can hold."""
    doubts = resolved.doubts
    return {
        "sync_name": resolved.sync_name,
        "settled_as": resolved.settled_as,
        "dry_run": is_dry,
        "batches": {one.batch.batch_id: one.batch.keys for one in doubts},
        "claimed_at": {one.batch.batch_id: f"{one.claimed_at.isoformat()}Z" for one in doubts},
    }


def print_resolved(resolved: Resolved, is_dry: bool) -> None:
    """The batches one by one, and how many events they are together."""
    done = "would be settled" if is_dry else "settled"
    for one in resolved.doubts:
        why = f": {printable(one.message)}" if one.message else ""
        print(
            f"batch {one.batch.batch_id}: {one.batch.keys:,} event(s), claimed at "
            f"{one.claimed_at:%Y-%m-%d %H:%M:%S} UTC{why}"
        )
    events = sum(one.batch.keys for one in resolved.doubts)
    print(
        f"{resolved.sync_name}: {len(resolved.doubts)} batch(es), {events:,} event(s) {done} as {resolved.settled_as}"
    )
    if is_dry:
        print(_DRY)


def retired_summary(retired: Retired, is_dry: bool) -> dict[str, Any]:
    """The list as data that JSON can hold, with how many of its members were taken out."""
    result = asdict(retired.result) if retired.result is not None else None
    return {**retired.known.summary, "action": retired.how, "dry_run": is_dry, "result": result}


def print_retired(retired: Retired, is_dry: bool) -> None:
    """What became of the list, or would."""
    known = retired.known
    would = "would be" if is_dry else "is"
    # What became of a list that was to be emptied is said in the line below.
    is_left = retired.result is not None and not retired.result.is_delivered
    were = "would be" if is_dry else "were to be" if is_left else "are"
    to_do = {
        "empty": f"the {known.members:,} members that the ledgers know {were} taken out",
        "archive": f"{would} archived in Statsig, and forgotten in the ledgers",
        "forget": f"{would} forgotten in the ledgers, with {known.members:,} members; in Statsig it stays as it is",
    }
    print(f"segment '{known.segment_id}' of {known.project}: {to_do[retired.how]}")
    if retired.result is not None:
        print(result_line(retired.result))
    if is_dry:
        print(_DRY)


def pruned_summary(pruned: Pruned, is_dry: bool) -> dict[str, Any]:
    """The numbers of lines as data that JSON can hold."""
    return {
        "dry_run": is_dry,
        "before": f"{pruned.before.isoformat()}Z",
        "deleted": dict(pruned.deleted),
        "warnings": list(pruned.warnings),
    }


def print_pruned(pruned: Pruned, is_dry: bool) -> None:
    """The number of lines, ledger by ledger."""
    for warning in pruned.warnings:
        print(f"warning: {warning}")
    print(f"lines from before {pruned.before:%Y-%m-%d %H:%M:%S} UTC that nothing depends on:")
    for name, count in pruned.deleted.items():
        print(f"{name}: {count:,} line(s) {'would be deleted' if is_dry else 'deleted'}")
    if is_dry:
        print(_DRY)
