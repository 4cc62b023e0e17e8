"""Holds syncs for a run, so that no other run pushes them at the same time."""

from __future__ import annotations

import contextlib
import datetime as dt
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sync.core import lease, ledger
from sync.core.delivery import never
from sync.core.lease import Claim
from sync.core.ledger import RunIdentity
from sync.core.plan import Refusal
from sync.core.terms import Term
from sync.edges.local_journal import LocalJournal, opened
from sync.edges.settings import endpoint
from sync.edges.warehouse import Session
from sync.errors import (
    ConfigError,
    DeliveryError,
    LockedError,
    OvertakenError,
    RefusedError,
    StatsigSyncError,
    StoppedError,
    UnreadableError,
    WarehouseError,
)
from sync.run.gather import check_ledgers
from sync.run.lineages import lineages
from sync.run.recovery import recover
from sync.run.world import World
from sync.spec.model import Sync

_POLL_SECONDS = 2.0
_ATTEMPTS_AT_A_TIE = 5


def own_message(sync_name: str, error: StatsigSyncError) -> str | None:
    """What an error says of this sync; None where it is about another one."""
    if isinstance(error, ConfigError):
        subjects = (f"exposure {sync_name}", sync_name)
        own = [str(fault) for fault in error.faults if fault.subject in subjects]
        general = [
            str(fault)
            for fault in error.faults
            if fault.subject not in subjects and not fault.subject.startswith("exposure ")
        ]
        return "\n".join([*own, *general]) or None
    subject = f"{sync_name}: "
    own = [message.removeprefix(subject) for message in error.messages if message.startswith(subject)]
    is_of_others = isinstance(error, RefusedError | DeliveryError | UnreadableError)
    return "\n".join(own) or (None if is_of_others else str(error))


@dataclass
class Lease:
    """The syncs that one run holds; each until its run has ended, or until nothing was heard for a while.

    ``should_stop`` is asked while the run waits or reads, before anything is sent. ``local`` is the run's journal on
    this machine while it holds syncs.
    """

    world: World
    run_id: str
    holder: str
    term: Term
    should_stop: Callable[[], bool] = never
    local: LocalJournal = field(default_factory=LocalJournal)
    _expires: dict[str, dt.datetime] = field(default_factory=dict)
    _identities: dict[str, RunIdentity] = field(default_factory=dict)

    def identity(self, sync: Sync) -> RunIdentity:
        """What the ledgers call this run of a sync."""
        if sync.name not in self._identities:
            self._identities[sync.name] = RunIdentity(
                self.run_id,
                sync.name,
                endpoint(sync, self.world.environment).project,
                sync.destination,
                sync.config.object,
                sync.config.mode,
                self.holder,
                sync.model,
                self.world.invocation_of(sync),
            )
        return self._identities[sync.name]

    def follow(self, world: World) -> None:
        """Goes on with a world whose artifacts are newer: the lines from now on name their dbt invocation."""
        self.world = world
        syncs = {exposure.name: exposure.depends_on for exposure in world.graph.exposures}
        for name, run in self._identities.items():
            found = world.proof.runs.get(next(iter(syncs.get(name, ())), ""))
            invocation = found.invocation_id if found else world.state.invocation_id
            self._identities[name] = replace(run, dbt_invocation_id=invocation)

    @contextlib.contextmanager
    def held(self, syncs: Sequence[Sync], ending: tuple[str, str]) -> Iterator[None]:
        """Holds the syncs while the block runs.

        Syncs whose run has not ended by then end with ``ending`` (a state and a message), or with the error
        that left the block. Raises ``RefusedError`` where another run holds one, ``ConfigError`` where the
        ledgers are not there.
        """
        with opened(self.world.journals, self.run_id) as self.local, self._held(syncs, ending):
            yield

    @contextlib.contextmanager
    def _held(self, syncs: Sequence[Sync], ending: tuple[str, str]) -> Iterator[None]:
        try:
            self.acquire(syncs)
        except WarehouseError as error:
            # A file that another process holds would only be waited for once more.
            if not isinstance(error, LockedError):
                with self.world.warehouse.reading() as session:
                    check_ledgers(self.world, session)
            raise
        try:
            yield
        except StatsigSyncError as error:
            self._fail(error)
            raise
        except BaseException:
            self.release("aborted", "the process was stopped")
            raise
        self.release(*ending)

    def acquire(self, syncs: Sequence[Sync]) -> None:
        """Takes all of the syncs or none. Raises ``RefusedError`` with who holds one, or its segment.

        A run that died on this machine is settled first, and holds nothing any more.
        """
        deadline = self.world.clock.monotonic() + self.term.wait_seconds
        attempts = 0
        while (held := self._try(syncs)) is not None:
            self._stop_where_asked()
            run, claim = held
            attempts += 1
            is_tie = attempts <= _ATTEMPTS_AT_A_TIE and claim.since > self._now() - dt.timedelta(seconds=5)
            if not is_tie and self.world.clock.monotonic() >= deadline:
                raise RefusedError(lease.held_message(run, claim))
            self.world.clock.sleep(random.uniform(0.5, 1.0) * (0.5 if is_tie else _POLL_SECONDS))  # noqa: S311

    def _try(self, syncs: Sequence[Sync]) -> tuple[RunIdentity, Claim] | None:
        """Takes the syncs, or says who is in the way of which."""
        recover(self.world)
        with self.world.warehouse.writing() as session:
            runs = [self.identity(sync) for sync in syncs]
            found = lineages(self.world, syncs, session)
            earlier = {name: lineage.earlier for name, lineage in found.items()}
            if held := lease.first_conflict(self._held_by_others(session), runs, earlier):
                return held
            for run in runs:
                self.extend(session, run, "started", {})
            session.commit_so_far()
            # Only what is read after the own lines are committed counts.
            held = lease.first_conflict(self._held_by_others(session), runs, earlier)
        if held:
            self.release("aborted", f"run {held[1].run_id} holds {held[1].sync_name}")
        return held

    def _held_by_others(self, session: Session) -> Sequence[Claim]:
        """What other runs hold now."""
        having = (
            "having max(lease_expires_at) is not null"
            " and max(case when state in ('finished', 'failed', 'aborted') then 1 else 0 end) = 0"
        )
        return lease.holding(self._claims(session, having, {}), self._now())

    def _gone_on_since(self, session: Session, moment: dt.datetime) -> Sequence[Claim]:
        """Other runs that were at work after this moment; one that was only refused has the one state ``aborted``."""
        having = "having max(case when state <> 'aborted' and logged_at > $moment then 1 else 0 end) = 1"
        return self._claims(session, having, {"moment": moment})

    def _claims(self, session: Session, having: str, parameters: Mapping[str, object]) -> list[Claim]:
        """The other runs that meet a condition."""
        rows = session.rows(
            "select run_id, sync_name, project, object, destination, coalesce(max(holder), 'an unknown host'),"
            " min(logged_at), coalesce(max(lease_expires_at), max(logged_at))"
            f" from {self.world.ledgers[ledger.RUN_LOG]} where run_id <> $run_id"
            f" group by run_id, sync_name, project, object, destination {having}",
            {"run_id": self.run_id, **parameters},
        )
        return [Claim(*row) for row in rows]

    def extend(self, session: Session, run: RunIdentity, state: str, more: dict[str, object]) -> None:
        """Writes a line of the run that says until when it holds its sync."""
        expires = self._now() + dt.timedelta(seconds=self.term.lease_seconds)
        line = ledger.run_line(run, state, self.world.clock.now(), {**more, "lease_expires_at": expires})
        session.append(self.world.ledgers[ledger.RUN_LOG], ledger.frame(ledger.RUN_LOG, [line]))
        self._expires[run.sync_name] = expires

    def heartbeat(self) -> None:
        """Gives a sign of life when it is due, while no session of the warehouse is open.

        Raises ``StoppedError`` where a signal has asked to stop, ``OvertakenError`` as ``keep``.
        """
        self._stop_where_asked()
        self.renew()

    def renew(self) -> None:
        """As ``heartbeat``, also where a signal has asked to stop: what was sent is still to be written down."""
        if self._seconds_left() < self.term.renewed_below:
            with self.world.warehouse.writing() as session:
                self.keep(session)

    def _stop_where_asked(self) -> None:
        if self.should_stop():
            raise StoppedError("stopped by a signal; nothing was sent.")

    @property
    def is_held(self) -> bool:
        """Whether no other run may have gone on with the syncs yet; asked from several threads."""
        return self._seconds_left() > 0

    def _seconds_left(self) -> float:
        return (min(self._expires.values()) - self._now()).total_seconds()

    def keep(self, session: Session) -> None:
        """Gives a sign of life for all syncs that are still held, when it is due.

        Raises ``OvertakenError`` where a lease had ended meanwhile and another run has gone on with a sync, or
        with its segment: what this run has read is old then. What was appended before is kept, for it has
        happened.
        """
        left = self._seconds_left()
        if left >= self.term.renewed_below:
            return
        last_sign = min(self._expires.values()) - dt.timedelta(seconds=self.term.lease_seconds)
        runs = [self._identities[name] for name in self._expires]
        for run in runs:
            self.extend(session, run, "running", {})
        if left > 0:
            return
        # Only what is read after the own lines are committed counts.
        session.commit_so_far()
        others = [*self._held_by_others(session), *self._gone_on_since(session, last_sign)]
        if overtaken := lease.first_conflict(others, runs):
            raise OvertakenError(lease.overtaken_message(*overtaken))

    def end(self, session: Session, run: RunIdentity, state: str, more: dict[str, object]) -> None:
        """Writes the last line of a sync's run, which gives the sync back."""
        line = ledger.run_line(run, state, self.world.clock.now(), more)
        session.append(self.world.ledgers[ledger.RUN_LOG], ledger.frame(ledger.RUN_LOG, [line]))
        self._expires.pop(run.sync_name, None)

    def release(self, state: str, message: str) -> None:
        """Gives back every sync that is still held, and says why its run did not come to an end of its own."""
        self._end_held(lambda _: (state, message))

    def _fail(self, error: StatsigSyncError) -> None:
        """Gives back every sync that is still held; each line says what this sync has to do with the error."""

        culprits = [name for name in self._expires if own_message(name, error)]
        named = f": {', '.join(culprits)}" if culprits else ""

        def ending(name: str) -> tuple[str, str]:
            if isinstance(error, StoppedError):
                return "aborted", str(error)
            if own := own_message(name, error):
                return _state_after(error, name), own
            return "aborted", f"the run was stopped by another sync of it{named}"

        self._end_held(ending)

    def _end_held(self, ending: Callable[[str], tuple[str, str]]) -> None:
        """Ends what is still held, each sync with the state and the message for its name."""
        if not self._expires:
            return
        with self.world.warehouse.writing() as session:
            for name in list(self._expires):
                state, message = ending(name)
                self.end(session, self._identities[name], state, {"message": message})

    def refuse(self, refusals: Sequence[Refusal]) -> None:
        """Gives back the syncs that are refused, each with why, while the run goes on with the others."""
        messages = {name: message for name, message in _by_sync(refusals).items() if name in self._expires}
        unreadable = {refusal.sync_name for refusal in refusals if refusal.kind == "unreadable"}
        if messages:
            with self.world.warehouse.writing() as session:
                for name, message in messages.items():
                    state = "failed" if name in unreadable else "aborted"
                    self.end(session, self._identities[name], state, {"message": message})

    def note_refusals(self, refusals: Sequence[Refusal], syncs: Sequence[Sync]) -> None:
        """Writes for syncs that were never held why they were refused.

        The refusal stands whether or not it can be written down: there may be no ledger yet.
        """
        if not refusals:
            return
        by_name = {sync.name: sync for sync in syncs}
        with contextlib.suppress(StatsigSyncError), self.world.warehouse.writing() as session:
            for name, message in _by_sync(refusals).items():
                self.end(session, self.identity(by_name[name]), "aborted", {"message": message})

    def _now(self) -> dt.datetime:
        return ledger.naive_utc(self.world.clock.now())


def _state_after(error: StatsigSyncError, sync_name: str) -> str:
    """The last state of a sync that an error is about."""
    is_refused = isinstance(error, RefusedError) or (
        isinstance(error, UnreadableError) and sync_name not in error.sync_names
    )
    return "aborted" if is_refused else "failed"


def _by_sync(refusals: Sequence[Refusal]) -> dict[str, str]:
    """All that refuses a sync, by the sync's name."""
    found: dict[str, str] = {}
    for refusal in refusals:
        before = f"{found[refusal.sync_name]}\n" if refusal.sync_name in found else ""
        found[refusal.sync_name] = before + refusal.message
    return found
