"""What is told while a run is under way, where standard error is not a terminal."""

from __future__ import annotations

from typing import TextIO

from sync.cli.printing import remarks
from sync.cli.streams import as_far_as_possible
from sync.core.plan import EventPlan, Plan, SyncPlan
from sync.run.apply import SyncResult


def first_run_mark(plan: SyncPlan) -> str:
    """What is said behind what a sync sends at its first run; empty where it has run."""
    times = plan.times.text if isinstance(plan, EventPlan) else ""
    return f", FIRST RUN{times}" if plan.is_first_run else ""


class PlainObserver:
    """Plain lines, for logs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = as_far_as_possible(stream)

    def planned(self, plan: Plan) -> None:
        """Says when what is sent was built, and what else is worth knowing before anything is sent."""
        for one in plan.syncs:
            if one.sync.name in plan.built:
                print(f"{one.sync.name}: {plan.built[one.sync.name]}", file=self._stream, flush=True)
        for remark in remarks(plan):
            print(remark, file=self._stream, flush=True)

    def started(self, plan: SyncPlan) -> None:
        """Says what is about to be sent."""
        if plan.keys:
            print(f"{plan.sync.name}: sending {plan.keys:,} keys{first_run_mark(plan)}", file=self._stream, flush=True)

    def accepted(self, plan: SyncPlan, keys: int) -> None:
        """Says nothing: a log has no use for a line per request."""

    def ended(self, result: SyncResult) -> None:
        """Says nothing: the report does."""


class QuietObserver(PlainObserver):
    """Says nothing at all."""

    def planned(self, plan: Plan) -> None:
        """Says nothing."""

    def started(self, plan: SyncPlan) -> None:
        """Says nothing."""
