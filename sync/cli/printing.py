"""What a person reads: the plan, and the end of a run."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import polars as pl

from sync.cli import arrivals
from sync.core.plan import EventPlan, Plan, SegmentPlan, SyncPlan, rejected_rows, summary
from sync.core.reasons import MEANING, SENT_WITHOUT
from sync.run.apply import SyncResult
from sync.run.commands import RunReport

if TYPE_CHECKING:
    from sync.run.verify import Verification, Verified


def exit_code(report: RunReport, fail_on_rejects: bool) -> int:
    """The exit code of a run that was carried out."""
    if len(report.results) < len(report.plan.syncs) or not all(result.is_delivered for result in report.results):
        return 1
    if any(result.waiting or result.stuck for result in report.results):
        return 1
    if fail_on_rejects and any(result.rows_rejected for result in report.results):
        return 1
    return refused_exit_code(report.plan)


def refused_exit_code(plan: Plan) -> int:
    """The exit code for what a plan leaves out."""
    if plan.has_unreadable:
        return 1
    return 3 if plan.refusals else 0


def verified_exit_code(found: Verification) -> int:
    """The exit code of ``verify``; as in a run, what is not right comes before what was refused."""
    if found.errors or found.unrepaired or found.missing_events:
        return 1
    return 3 if found.refusals else 0


def verified_errors(found: Verification) -> list[str]:
    """What kept segments from being compared or repaired."""
    return [*found.errors, *(f"{refusal.sync_name}: {refusal.message}" for refusal in found.refusals)]


def verified_summary(found: Verification) -> dict[str, Any]:
    """What ``verify`` found, as data that JSON can hold."""
    return {
        "segments": [asdict(one) for one in found.segments],
        "events": arrivals.summary(found.arrivals),
        "notes": list(found.notes),
        "warnings": list(found.warnings),
        "orphans": [one.summary for one in found.orphans],
    }


def report_summary(report: RunReport) -> dict[str, Any]:
    """A run as data that JSON can hold."""
    return {
        "run_id": report.run_id,
        "plan": summary(report.plan),
        "results": [asdict(result) for result in report.results],
    }


def print_plan(plan: Plan) -> None:
    """The plan, sync by sync."""
    for one in plan.syncs:
        print(_headline(one))
        if one.sync.name in plan.built:
            print(f"  {plan.built[one.sync.name]}")
        for line in _plan_lines(one):
            print(f"  {line}")
    for remark in remarks(plan):
        print(remark)
    _print_refusals(plan)
    if plan.is_empty and not plan.refusals:
        print("Nothing to send.")
    elif plan.seconds:
        print(f"Statsig's rate limits on ID lists make this take {plan.seconds:,} s at the least.")


def _print_refusals(plan: Plan) -> None:
    for refusal in plan.refusals:
        print(f"{refusal.kind}: {refusal.sync_name}: {refusal.message}")


def printable(text: str) -> str:
    """Text of data or of Statsig's with what would steer a terminal, or turn a line around, escaped."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def remarks(plan: Plan) -> list[str]:
    """The notes and warnings of a plan, a line each."""
    return [*(f"note: {note}" for note in plan.notes), *(f"warning: {warning}" for warning in plan.warnings)]


def _headline(plan: SyncPlan) -> str:
    first = ", FIRST RUN" if plan.is_first_run else ""
    if isinstance(plan, SegmentPlan):
        return f"{plan.sync.name}: {plan.facts.config.mode} segment {plan.sync.destination}{first}"
    return f"{plan.sync.name}: events{first}"


def _plan_lines(plan: SyncPlan) -> list[str]:
    if isinstance(plan, SegmentPlan):
        found = len(plan.facts.adopted) if plan.facts.adopted is not None else 0
        lines = [
            *([_to_be_made(plan)] if plan.facts.is_missing else []),
            *([f"{found:,} ids found in Statsig, adopted as the baseline"] if found else []),
            _member_line(plan),
            *_samples("remove", plan.change.removes, plan.removes_of_others, "not known as members"),
            *_samples("add", plan.change.adds, plan.adds_in_doubt, "in doubt"),
        ]
    else:
        lines = [
            f"{plan.keys:,} of {plan.rows_read:,} rows to send{plan.times.text}",
            *(f"  {printable(sample)}" for sample in plan.samples),
        ]
        if plan.skipped:
            lines.append(f"{plan.skipped:,} events left out by backfill, for good")
    requests = [f"{plan.requests:,} request(s)"] if plan.requests else ["nothing to send"]
    return [*lines, *_reject_lines(_rejected(plan)), *requests]


def _member_line(plan: SegmentPlan) -> str:
    """The members before and after; with what the lines on removals and additions say, the numbers add up."""
    doubts = f"{plan.members_in_doubt:,} in doubt, " if plan.members_in_doubt else ""
    return (
        f"{plan.facts.counts.audience:,} ids in the audience, {plan.members_before:,} known as members, {doubts}"
        f"{plan.members_after:,} afterwards"
    )


def _to_be_made(plan: SegmentPlan) -> str:
    return "gone from Statsig; run makes it again" if plan.facts.is_gone else "not in Statsig yet; run creates it"


def _samples(operation: str, ids: pl.Series, odd: int, oddity: str) -> list[str]:
    """How many ids a change takes, some of them, and how many of them do not change the number of members."""
    if not len(ids):
        return []
    counted = f"{len(ids):,} to {operation}" + (f", {odd:,} of them {oddity}" if odd else "")
    return [f"{counted}, such as {printable(', '.join(ids.head(3).to_list()))}"]


def _rejected(plan: SyncPlan) -> dict[tuple[str, str], int]:
    if isinstance(plan, EventPlan):
        return dict(plan.rejected_rows)
    return rejected_rows(plan.facts.rejects)


def _reject_lines(counts: dict[tuple[str, str], int]) -> list[str]:
    return [
        f"{rows:,} row(s) {'go without a part' if effect == SENT_WITHOUT else 'not sent'}: {reason}"
        f" ({MEANING.get(reason, reason)})"
        for (reason, effect), rows in sorted(counts.items())
    ]


def print_report(report: RunReport) -> None:
    """How a run ended; what there is to remark on its plan was told before it began."""
    _print_refusals(report.plan)
    for plan, result in zip(report.plan.syncs, report.results, strict=False):
        print(result_line(result))
        for line in _reject_lines(_rejected(plan)):
            print(f"  {line}")
        if plan.is_first_run:
            print("  FIRST RUN")
    if len(report.results) < len(report.plan.syncs):
        print(f"stopped: {len(report.plan.syncs) - len(report.results)} sync(s) not started")
    print(f"run {report.run_id}; see statsig_sync_runs, statsig_batches and statsig_reject_log in the warehouse")


def result_line(result: SyncResult) -> str:
    """How a sync ended, in one line."""
    counts = [
        f"{count:,} {word}"
        for count, word in (
            (result.rejected, "refused by Statsig"),
            (result.unsent, "not sent"),
            (result.unknown + result.waiting, "in doubt"),
            (result.stuck, "not taken out"),
        )
        if count
    ]
    said = f"{result.accepted:,} of {result.planned:,} delivered" if result.planned else "nothing to send"
    parts = [f"{result.sync_name}: {result.state}, {said}", *counts]
    message = f". {result.message[0].upper()}{printable(result.message[1:])}" if result.message else ""
    return ", ".join(parts) + message


def print_verified(found: Verification) -> None:
    """How the lists in Statsig differ from the ledgers, and what to do about it."""
    for one in found.segments:
        print(f"{one.sync_name}: segment {one.segment_id}: {_difference(one)}")
        if one.samples:
            print(f"  such as {printable(', '.join(one.samples))}; all of them are in statsig_drift_log")
        if one.repair is not None:
            print(f"  repair: {result_line(one.repair)}")
    arrivals.print_arrivals(found.arrivals)
    for note in found.notes:
        print(f"note: {note}")
    for warning in found.warnings:
        print(f"warning: {warning}")
    # Counts do not tell what a repair would do.
    if names := [one.sync_name for one in found.unrepaired if one.missing is not None]:
        print(f"A run does not mend this; statsig-sync verify --repair --select {' '.join(names)} does.")


def _difference(one: Verified) -> str:
    if one.missing is None:
        return _difference_of_counts(one)
    found = f"{one.missing:,} missing, {one.extra:,} extra" if one.has_drift else f"as it should be, {one.listed:,} ids"
    others = f"; {one.others:,} other differences, which mode {one.mode} leaves alone" if one.others else ""
    return found + others


def _difference_of_counts(one: Verified) -> str:
    counts = f"{one.listed:,} ids in Statsig, {one.known:,} in the ledgers"
    if one.has_drift:
        return f"{counts}; run verify without --counts-only"
    if one.mode == "mirror":
        return f"as it should be, {one.listed:,} ids"
    return f"{counts}, which mode {one.mode} allows; who they are is told without --counts-only"
