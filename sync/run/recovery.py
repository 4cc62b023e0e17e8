"""Settles what a run that died on this machine has left open, by the journal that it kept here."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

from sync.core import ledger
from sync.core.delivery import Outcome, State
from sync.core.ledger import Batch, RunIdentity
from sync.edges.local_journal import Remains, left_behind
from sync.edges.warehouse import Session
from sync.run.world import World

_NOT_BEGUN = Outcome(State.UNSENT, None, "the run died before it was sent")
_NO_ANSWER = Outcome(State.UNKNOWN, None, "the run died before the answer came")
_DIED = "the process died; the next run on this machine has written down what is known of its requests"


def recover(world: World) -> None:
    """Settles the runs that have died, as far as their journals are here and this warehouse knows them.

    A batch that was answered has that outcome. Of the others, one that was not begun is unsent, where the journal
    proves it, and the rest stays in doubt. Then the run is over, and its journal is removed; that of a run which
    another warehouse knows is left alone.
    """
    with left_behind(world.journals) as found:
        if not found:
            return
        with world.warehouse.writing() as session:
            settled = [remains for remains in found if _settle(world, session, remains)]
        for remains in settled:
            remains.remove()


def _settle(world: World, session: Session, remains: Remains) -> bool:
    """Writes what is known of a run; returns whether that is all that there will ever be.

    Only a process of this start of this machine has surely died. Any other may live where its lock is not seen from
    here, so its lease holds.
    """
    now = world.clock.now()
    runs = _runs(world, session, remains.run_id)
    may_live = not remains.is_of_this_boot and any(expires > ledger.naive_utc(now) for _, expires in runs if expires)
    if not runs or may_live:
        return False
    by_name = {run.sync_name: run for run, _ in runs}
    states = [
        ledger.batch_state(by_name[name], batch, _outcome(remains, batch), now)
        for name, batch in _open_batches(world, session, remains.run_id)
    ]
    session.append(world.ledgers[ledger.BATCH_LOG], ledger.frame(ledger.BATCH_LOG, states))
    ends = [ledger.run_line(run, "aborted", now, {"message": _DIED}) for run, expires in runs if expires]
    session.append(world.ledgers[ledger.RUN_LOG], ledger.frame(ledger.RUN_LOG, ends))
    return True


def _outcome(remains: Remains, batch: Batch) -> Outcome:
    if answered := remains.answered.get(batch.batch_id):
        return answered
    was_begun = batch.batch_id in remains.begun or not remains.is_complete
    return _NO_ANSWER if was_begun else _NOT_BEGUN


def _runs(world: World, session: Session, run_id: str) -> list[tuple[RunIdentity, dt.datetime | None]]:
    """The syncs of a run, each with when its lease ends; None where its run has ended."""
    columns = "run_id, sync_name, project, destination, object, mode, holder, model"
    rows = session.rows(
        f"select {columns}, max(dbt_invocation_id),"
        " case when max(case when state in ('finished', 'failed', 'aborted') then 1 else 0 end) = 0"
        " then coalesce(max(lease_expires_at), max(logged_at)) end"
        f" from {world.ledgers[ledger.RUN_LOG]} where run_id = $run_id group by {columns}",
        {"run_id": run_id},
    )
    return [(RunIdentity(*row[:9]), row[9]) for row in rows]


def _open_batches(world: World, session: Session, run_id: str) -> Iterator[tuple[str, Batch]]:
    """The batches of a run that are claimed and not settled, each with the name of its sync."""
    rows: Iterator[tuple[Any, ...]] = session.rows(
        f"select sync_name, batch_id, operation, sequence, keys, body_bytes from {world.ledgers[ledger.BATCHES]}"
        " where run_id = $run_id and settled_at is null order by sequence",
        {"run_id": run_id},
    )
    for name, *fields in rows:
        yield name, Batch(*fields)
