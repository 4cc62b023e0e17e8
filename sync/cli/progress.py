"""A progress bar, on a terminal."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from sync.cli.observers import PlainObserver, first_run_mark
from sync.core.plan import SyncPlan
from sync.run.apply import SyncResult


class ProgressObserver(PlainObserver):
    """A bar for the sync that is under way; it goes when the sync is over."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(file=self._stream),
            transient=True,
        )
        self._task: TaskID | None = None

    def started(self, plan: SyncPlan) -> None:
        """Shows a bar for this sync."""
        if plan.keys:
            self._task = self._progress.add_task(f"{plan.sync.name}{first_run_mark(plan)}", total=plan.keys)
            self._progress.start()

    def accepted(self, plan: SyncPlan, keys: int) -> None:
        """Moves the bar."""
        if self._task is not None:
            self._progress.advance(self._task, keys)

    def ended(self, result: SyncResult) -> None:
        """Takes the bar away."""
        if self._task is not None:
            # Stopping shows the bar as it is now, however soon after the last change.
            self._progress.stop()
            self._progress.remove_task(self._task)
            self._task = None
