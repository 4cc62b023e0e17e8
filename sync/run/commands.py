"""The commands ``plan`` and ``run``, from the request to the report."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace

from sync.core.delivery import Patience
from sync.core.plan import Plan, ask_note
from sync.core.terms import Term
from sync.edges.spool import Spool
from sync.run.apply import Applier, Observer, SyncResult
from sync.run.ask import Asker
from sync.run.consoles import Consoles
from sync.run.lease import Lease
from sync.run.prepare import Request, Selection, make_plan, refuse, refuse_all, select
from sync.run.world import World


@dataclass(frozen=True)
class Manner:
    """How a run goes about it: patience with Statsig, the lease, how to stop, and who is told."""

    patience: Patience
    term: Term
    holder: str
    should_stop: Callable[[], bool]
    observer: Observer


@dataclass(frozen=True)
class RunReport:
    """A run: its id, the plan that it executed, and what became of each sync."""

    run_id: str
    plan: Plan
    results: tuple[SyncResult, ...]


def plan(world: World, request: Request, patience: Patience) -> Plan:
    """What ``run`` would send now. Nothing is written anywhere.

    Statsig is asked for each segment, and for the members of those that the ledgers do not know yet.
    """
    selection = select(world, request, needs_keys=False)
    with ExitStack() as stack:
        made = make_plan(world, request, selection, None, Consoles(world, patience, stack))
    notes = [note for one in made.syncs if (note := ask_note(one))]
    return replace(made, notes=(*made.notes, *notes))


def run(world: World, request: Request, manner: Manner) -> RunReport:
    """Sends what the plan says.

    Raises ``RefusedError`` where the gate, a guard or another run refuses a sync: then nothing is sent at
    all, unless the request says to keep going with the others.
    """
    selection = select(world, request, needs_keys=True)
    lease = Lease(world, world.new_id(), manner.holder, manner.term, manner.should_stop)
    lease.note_refusals(selection.refusals, selection.all_syncs)
    _refuse_unless_others_go_on(selection, request)
    with lease.held(selection.syncs, ("aborted", "the run was stopped before this sync began")):
        if world.has_changed():
            world, selection = _select_again(world, request, selection, lease)
        return _run(world, request, manner, selection, lease)


def _refuse_unless_others_go_on(selection: Selection, request: Request) -> None:
    if selection.refusals and not (request.keep_going and selection.syncs):
        refuse(selection.refusals, selection.syncs)


def _select_again(world: World, request: Request, before: Selection, lease: Lease) -> tuple[World, Selection]:
    """The world and the selection as they are now: dbt has run while this run waited for another to end."""
    current = world.refreshed()
    selection = select(current, request, needs_keys=True)
    _refuse_unless_others_go_on(selection, request)
    if any(sync not in before.syncs for sync in selection.syncs):
        refuse_all(before.syncs, "dbt has built the project anew while this run waited, with other syncs. Run again.")
    lease.follow(current)
    lease.refuse(selection.refusals)
    return current, selection


def _run(world: World, request: Request, manner: Manner, selection: Selection, lease: Lease) -> RunReport:
    with ExitStack() as stack:
        asker = Asker(world, lease, manner.patience)
        asker.settle_earlier(selection.syncs)
        spool = stack.enter_context(closing(Spool()))
        consoles = Consoles(world, manner.patience, stack, lease.heartbeat)
        made = make_plan(world, request, selection, spool, consoles)
        made = replace(made, notes=(*asker.notes, *made.notes), warnings=(*asker.warnings, *made.warnings))
        manner.observer.planned(made)
        found = _without_refused(made, request)
        lease.refuse(found.refusals)
        applier = Applier(world, lease, spool, consoles, manner.patience)
        results = applier.apply(found, manner.should_stop, manner.observer)
        return RunReport(lease.run_id, found, results)


def _without_refused(found: Plan, request: Request) -> Plan:
    """The plan without the syncs that are refused. Raises ``RefusedError`` unless it keeps going."""
    if not found.refusals:
        return found
    refused = {refusal.sync_name for refusal in found.refusals}
    left = tuple(one for one in found.syncs if one.sync.name not in refused)
    if not request.keep_going or not left:
        refuse(found.refusals, [one.sync for one in left])
    return replace(found, syncs=left)
