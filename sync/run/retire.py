"""``retire``: ends a list that no sync writes any more."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Literal

import polars as pl

from sync.core import ledger, preflight
from sync.core.delivery import Outcome, State
from sync.core.ledger import Batch
from sync.core.lineage import Identity, Lineage
from sync.core.orphans import KnownList, Writer, namesake
from sync.core.plan import Plan, SegmentFacts, SegmentPlan
from sync.core.segments import CHANGED, IN, OUT, Change, Counts, with_status
from sync.edges.settings import endpoint, key_faults
from sync.edges.spool import Spool
from sync.edges.warehouse import Session
from sync.errors import ConfigError, DeliveryError, Fault, RefusedError, StoppedError
from sync.run.apply import Applier, SyncResult
from sync.run.commands import Manner
from sync.run.consoles import Consoles
from sync.run.gather import check_ledgers, last_sequence, recent_requests
from sync.run.gather_segments import membership_of
from sync.run.lease import Lease
from sync.run.lists import is_within_reach, known_lists, members_by_list, sync_of, written_lists
from sync.run.world import World, find_syncs
from sync.spec.model import SegmentConfig, Sync
from sync.spec.statsig import LIMIT_WINDOWS

How = Literal["empty", "archive", "forget"]


@dataclass(frozen=True)
class Retirement:
    """What the command line asks of ``retire``: which list, what becomes of it, and whether only to say so."""

    name: str
    how: How
    is_dry: bool = False


@dataclass(frozen=True)
class Retired:
    """The list, what became of it, or would, and how its members were taken out, where they were."""

    known: KnownList
    how: How
    result: SyncResult | None = None


def retire(world: World, wanted: Retirement, manner: Manner) -> Retired:
    """Ends a list: takes the members out that the ledgers know, or archives the segment, or only forgets it.

    Raises ``ConfigError`` for a name that names no list, or several, and where the segment is not what can be ended
    like this; ``RefusedError`` for a list that a sync writes, or may write under another name, and while a run holds
    it; ``DeliveryError`` where Statsig does not archive it.
    """
    syncs, faults = find_syncs(world.graph)
    if faults:
        raise ConfigError(faults)
    with world.warehouse.reading() as session:
        check_ledgers(world, session)
        known = _chosen(world, wanted, syncs, session)
        sync = sync_of(world, known, syncs, _model(world, known, session))
    if wanted.how != "forget" and (found := key_faults([sync], world.environment)):
        raise ConfigError(found)
    lease = Lease(world, world.new_id(), manner.holder, manner.term, manner.should_stop)
    ending = _Ending(world, lease, sync, manner)
    with ExitStack() as stack:
        if wanted.is_dry:
            ending.rehearse(wanted.how, stack)
            return Retired(known, wanted.how)
        stack.enter_context(lease.held([sync], ("finished", f"retire --{wanted.how}")))
        return Retired(known, wanted.how, ending.of(wanted.how, stack))


def _chosen(world: World, wanted: Retirement, syncs: Sequence[Sync], session: Session) -> KnownList:
    known = [one for one in known_lists(world, members_by_list(world, session), session) if is_within_reach(world, one)]
    written = written_lists(world, syncs, session)
    named = [one for one in known if one.is_named(wanted.name)]
    # Only to forget a list does no harm where another project writes it: its next run adopts it.
    taken = {place for place, writer in written.items() if wanted.how != "forget" or writer.elsewhere is None}
    left = [one for one in named if one.place not in taken]
    if len(left) == 1:
        if wanted.how != "forget" and (found := namesake(left[0], written)):
            raise RefusedError(f"{found.warning}.")
        return left[0]
    if left:
        message = f"'{wanted.name}' names {len(left)} lists: {_listed(left)}. Name one of them."
        raise ConfigError([Fault("", "", "NAME", message)])
    if named:
        raise RefusedError(_written_problem(named[0], written[named[0].place]))
    others = _listed([one for one in known if one.place not in written])
    message = (
        f"'{wanted.name}' names no list that the ledgers know. The lists that no sync writes any more are: {others}."
    )
    raise ConfigError([Fault("", "", "NAME", message)])


def _written_problem(known: KnownList, writer: Writer) -> str:
    """Why a list that a sync writes is not retired."""
    refused = f"{writer}: writes segment '{known.segment_id}', so it cannot be retired."
    if writer.elsewhere is None:
        return f"{refused} Take the exposure out, or give it another segment_id, and run dbt build first."
    return (
        f"{refused} Take the exposure out there and run dbt build there first. If that project or target is not there "
        f"any more, end it with: statsig-sync retire {known.whole_name} --forget"
    )


def _listed(lists: Sequence[KnownList]) -> str:
    return ", ".join(f"{one.whole_name} ({one.members:,} members)" for one in lists) or "none"


def _model(world: World, known: KnownList, session: Session) -> str:
    """What the sync read that wrote the list last."""
    found = session.value(
        f"select model from {world.ledgers[ledger.RUN_LOG]} where project = $project and destination = $destination"
        " and sync_name = $sync_name and model is not null order by logged_at desc limit 1",
        {"project": known.project, "destination": known.segment_id, "sync_name": known.writers[0]},
    )
    return str(found or "")


@dataclass(frozen=True)
class _Ending:
    """The end of a list, in the name of the sync that wrote it last, which is held where something is done."""

    world: World
    lease: Lease
    sync: Sync
    manner: Manner

    def rehearse(self, how: How, stack: ExitStack) -> None:
        """Looks for what would keep it from being done. Raises as the real one."""
        if how != "forget":
            self._look_up(how, Consoles(self.world, self.manner.patience, stack))

    def of(self, how: How, stack: ExitStack) -> SyncResult | None:
        """Does it."""
        if how == "forget":
            self._forget("a person said so")
            return None
        consoles = Consoles(self.world, self.manner.patience, stack, self.lease.heartbeat)
        consoles.earlier_requests = self._earlier_requests()
        self._look_up(how, consoles)
        if how == "empty":
            return self._empty(consoles, stack)
        self._archive(consoles)
        return None

    def _earlier_requests(self) -> dict[str, list[float]]:
        project = self.lease.identity(self.sync).project
        with self.world.warehouse.reading() as session:
            return {project: recent_requests(self.world, project, LIMIT_WINDOWS[-1], session)}

    def _look_up(self, how: How, consoles: Consoles) -> None:
        """Raises ``ConfigError`` where there is no such segment any more, or no list that can be changed."""
        segment, outcome = consoles.of(self.sync).segment(self.sync.destination)
        if segment is None and outcome.http_status != 404:
            raise self._failure(outcome, "could not be looked up")
        if segment is None:
            what = "is not in this Statsig project any more"
        elif how == "empty" and segment.type != "id_list":
            what = "is no ID list any more"
        elif how == "empty" and segment.is_archived:
            what = "is archived already"
        else:
            return
        segment_id = self.sync.destination
        message = f"segment '{segment_id}' {what}. End it with: statsig-sync retire {segment_id} --forget"
        raise ConfigError([Fault("", self.sync.name, "NAME", message)])

    def _empty(self, consoles: Consoles, stack: ExitStack) -> SyncResult:
        project, segment_id = self.lease.identity(self.sync).project, self.sync.destination
        with self.world.warehouse.reading() as session:
            membership = membership_of(self.world, Lineage(Identity(project, self.sync.name)), segment_id, session)
            last = last_sequence(self.world, project, self.sync, session)
        config = self.sync.config
        assert isinstance(config, SegmentConfig)  # noqa: S101 - narrows the type
        leaving = membership.filter(pl.col("status") != OUT).select(CHANGED.names()).cast(CHANGED).sort("id")
        sure = with_status(leaving, (IN,))
        change = Change(leaving=leaving)
        facts = SegmentFacts(self.sync, config, project, Counts(None, 0, sure, leaving.height - sure), change, last)
        spool = stack.enter_context(closing(Spool()))
        applier = Applier(self.world, self.lease, spool, consoles, self.manner.patience, remark="retire --empty")
        plan = Plan((SegmentPlan(facts, change),))
        results = applier.apply(plan, self.manner.should_stop, self.manner.observer)
        if not results:
            raise StoppedError("stopped by a signal; nothing was sent.")
        return results[0]

    def _archive(self, consoles: Consoles) -> None:
        outcome = consoles.of(self.sync).archive(self.sync.destination)
        if outcome.state is not State.ACCEPTED:
            raise self._failure(outcome, "could not be archived")
        self._forget("archived in Statsig")

    def _forget(self, why: str) -> None:
        run = self.lease.identity(self.sync)
        now = self.world.clock.now()
        with self.world.warehouse.writing() as session:
            self.lease.keep(session)
            number = last_sequence(self.world, run.project, self.sync, session) + 1
            batch = Batch(self.world.new_id(), "forget", number, 0)
            line = ledger.batch_state(run, batch, Outcome(State.ACCEPTED, None, why), now)
            session.append(self.world.ledgers[ledger.BATCH_LOG], ledger.frame(ledger.BATCH_LOG, [line]))

    def _failure(self, outcome: Outcome, what: str) -> DeliveryError:
        found = endpoint(self.sync, self.world.environment)
        reason = preflight.explain(outcome, found.key_variable, found.url)
        return DeliveryError(f"{self.sync.name}: segment '{self.sync.destination}' {what}: {reason} Nothing was sent.")
