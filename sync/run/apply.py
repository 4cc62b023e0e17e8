"""The second half of ``run``: executes a plan, sync by sync, and says what became of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from sync.core import preflight, segments
from sync.core.delivery import Outcome, Patience, State
from sync.core.events import rejected_frame
from sync.core.ledger import NO_LINES, key_lines
from sync.core.plan import EventPlan, Plan, SegmentPlan, SyncPlan, is_idle, resend_advice, settle_advice, stuck_text
from sync.core.requests import Request
from sync.edges.settings import endpoint
from sync.edges.spool import Spool
from sync.edges.warehouse import Session
from sync.errors import DeliveryError
from sync.run.ask import Asker
from sync.run.consoles import Consoles, look_up_segment
from sync.run.deliver import Ending, Route, deliver
from sync.run.doubts import unsettled_events
from sync.run.journal import Journal, Sequences, Settled
from sync.run.lease import Lease
from sync.run.senders import Pool, Send
from sync.run.spooled import requests
from sync.run.world import World
from sync.spec.model import EventConfig, Labels
from sync.spec.statsig import MAX_IDS_PER_REQUEST

if TYPE_CHECKING:
    from sync.edges.statsig import ConsoleClient

_STOPPED = "stopped by a signal; the next run goes on from here."
# A list takes one change after the other.
_ONE_BY_ONE = 1


class Observer(Protocol):
    """Is told how a run goes on."""

    def planned(self, plan: Plan) -> None:
        """The plan is made: nothing is sent yet, and what the plan refuses is not left out yet."""

    def started(self, plan: SyncPlan) -> None:
        """A sync starts to send."""

    def accepted(self, plan: SyncPlan, keys: int) -> None:
        """Statsig took this many more keys of the sync."""

    def ended(self, result: SyncResult) -> None:
        """A sync is over."""


Manner = tuple[Callable[[], bool], Observer]
# A segment that is not there yet: its Statsig project, and its id.
Missing = tuple[str, str]


@dataclass(frozen=True)
class SyncResult:
    """What became of a sync's keys. ``state`` is finished, failed or aborted, as in the run ledger.

    ``rows_rejected`` counts rows that were refused before sending, and that no earlier run had counted; ``waiting``
    events of earlier runs that are still in doubt, and that no run sends again by itself; ``stuck`` counts ids that
    stay in a list because Statsig refused in an earlier run to take them out.
    """

    sync_name: str
    state: str
    planned: int
    accepted: int
    rejected: int
    unsent: int
    unknown: int
    requests: int
    rows_rejected: int
    message: str | None
    waiting: int = 0
    stuck: int = 0

    @property
    def is_delivered(self) -> bool:
        """Whether everything that was planned was taken by Statsig."""
        return self.state == "finished" and self.accepted == self.planned


@dataclass(frozen=True)
class Applier:
    """What all syncs of a run share: the lease, the spool, the Console clients, patience, and the batches' numbers.

    ``remark`` is what the run ledger says of a sync of which there is nothing else to say.
    """

    world: World
    lease: Lease
    spool: Spool
    consoles: Consoles
    patience: Patience
    sequences: Sequences = field(default_factory=Sequences)
    remark: str | None = None

    def apply(self, plan: Plan, should_stop: Callable[[], bool], observer: Observer) -> tuple[SyncResult, ...]:
        """Executes the plan, and makes the segments that it knows to be missing."""
        missing = {_segment(one) for one in plan.syncs if isinstance(one, SegmentPlan) and one.facts.is_missing}
        results = self._end_idle([one for one in plan.syncs if is_idle(one)])
        # All begin before the first sends: what was found in a list comes before what is changed there.
        forgotten: set[Missing] = set()
        journals = [self._begin(one, forgotten) for one in plan.syncs if one.sync.name not in results]
        for journal in journals:
            if should_stop():
                break
            observer.started(journal.plan)
            result = self._apply(journal, missing, (should_stop, observer))
            results[result.sync_name] = result
            observer.ended(result)
        return tuple(results[one.sync.name] for one in plan.syncs if one.sync.name in results)

    def _end_idle(self, plans: Sequence[SyncPlan]) -> dict[str, SyncResult]:
        """Ends the syncs that have nothing to do, all at once: opening a warehouse takes time."""
        if not plans:
            return {}
        journals = [Journal(self.world, self.lease, plan, self.sequences) for plan in plans]
        with self.world.warehouse.writing() as session:
            results = [self._end(session, journal, ("finished", None)) for journal in journals]
        return {result.sync_name: result for result in results}

    def _end(self, session: Session, journal: Journal, conclusion: tuple[str, str | None]) -> SyncResult:
        """Writes how a sync has ended: its last state, why it is not finished, and what waits for a person."""
        plan, (state, message) = journal.plan, conclusion
        waiting = 0
        if isinstance(plan, EventPlan) and (plan.doubts.unsettled or journal.tally.unknown):
            unsettled = unsettled_events(self.world, plan.lineage, session)
            waiting = _waiting(plan, journal, unsettled)
            message = " ".join([*([message] if message else []), *_still_in_doubt(plan, waiting, unsettled)]) or None
        if isinstance(plan, SegmentPlan) and plan.stuck:
            left = stuck_text(plan.facts, plan.stuck)
            message = f"{message} {left}" if message else left
        journal.end(session, state, message or self.remark)
        return _result(journal, state, message, waiting)

    def _begin(self, plan: SyncPlan, forgotten: set[Missing]) -> Journal:
        """The journal of a sync, with what it has to write down before it sends.

        What the ledgers knew of a segment that is gone is forgotten once, also where two syncs share it.
        """
        journal = Journal(self.world, self.lease, plan, self.sequences)
        if isinstance(plan, SegmentPlan):
            is_gone = plan.facts.is_gone and _segment(plan) not in forgotten
            forgotten.update([_segment(plan)] if is_gone else [])
            journal.start([rejected_frame(plan.facts.rejects)], (_started_over if is_gone else _found)(plan, journal))
        else:
            journal.start(
                (self.spool.read_frame(record) for record in plan.reject_records),
                (self._skipped(journal, record) for record in plan.skip_records),
            )
        return journal

    def _apply(self, journal: Journal, missing: set[Missing], manner: Manner) -> SyncResult:
        plan = journal.plan
        if isinstance(plan, SegmentPlan):
            ending = self._apply_segment(plan, journal, missing, manner)
        else:
            ending = self._apply_events(plan, journal, manner)
        state, message = self._conclusion(journal, ending, is_stopped=manner[0]())
        conclusion = state, " ".join(part for part in (message, journal.warning) if part) or None
        with self.world.warehouse.writing() as session:
            return self._end(session, journal, conclusion)

    def _apply_segment(
        self, plan: SegmentPlan, journal: Journal, missing: set[Missing], manner: Manner
    ) -> Ending | None:
        if not plan.keys and _segment(plan) not in missing:
            return None
        console, config = self.consoles.of(plan.sync), plan.facts.config
        if _segment(plan) in missing:
            created = self._create(plan, journal, console)
            if created.state is not State.ACCEPTED and not self._is_there_after_all(plan):
                return Ending(created)
            # Another sync may write the same segment.
            missing.discard(_segment(plan))
        if plan.is_reset:
            return _reset(plan, journal, console)

        def send(request: Request) -> Outcome:
            return console.change_ids(config.segment_id, request.operation, request.lines["key"].to_list())

        return deliver(
            _id_requests(plan), self._route(plan, _ONE_BY_ONE, manner), journal, self._pool(send, _ONE_BY_ONE)
        )

    def _create(self, plan: SegmentPlan, journal: Journal, console: ConsoleClient) -> Outcome:
        """Makes the segment with its exposure's labels, or without them where Statsig does not take them."""
        config, labels = plan.facts.config, plan.sync.labels
        created = console.create_id_list(config.segment_id, config.statsig_id_type, labels)
        if created.http_status not in (400, 422) or labels == Labels():
            return created
        bare = console.create_id_list(config.segment_id, config.statsig_id_type)
        if bare.state is State.ACCEPTED:
            journal.remark = preflight.unlabelled(config, created)
        return bare

    def _is_there_after_all(self, plan: SegmentPlan) -> bool:
        """Whether a segment that could not be made is there: an answer that was lost may have been a success."""
        try:
            found = look_up_segment(plan.sync, plan.facts.config, self.consoles)
        except DeliveryError:
            return False
        return not found.is_missing and found.fault is None

    def _apply_events(self, plan: EventPlan, journal: Journal, manner: Manner) -> Ending | None:
        if not plan.batches:
            return None
        # Slow to import, and most runs have nothing to send.
        from sync.edges.statsig import EventsClient  # noqa: PLC0415

        found = endpoint(plan.sync, self.world.environment)
        client = EventsClient(found.url, found.required_key.reveal(), self.world.clock, self.patience)

        def send(request: Request) -> Outcome:
            return client.log_event(request.body or b"", request.size)

        concurrency = plan.config.concurrency
        route = self._route(plan, concurrency, manner)
        asker = Asker(self.world, self.lease, self.patience)
        if isinstance(plan.sync.config, EventConfig) and plan.sync.config.on_unknown == "ask":
            route = replace(route, ask=lambda settled: asker.about(plan.sync, settled))
        with closing(client):
            ending = deliver(requests(plan.batches, self.spool), route, journal, self._pool(send, concurrency))
        journal.warning = " ".join(one.removeprefix(f"{plan.sync.name}: ") for one in asker.warnings) or None
        return ending

    def _skipped(self, journal: Journal, record: int) -> Settled:
        skipped = self.spool.read_frame(record)
        batch = journal.batch("skip", key_lines(skipped["key"], skipped["row_hash"]))
        return batch, Outcome(State.ACCEPTED, None, "left out by backfill")

    def _pool(self, send: Send, concurrency: int) -> Pool:
        return self.world.open_pool(send, concurrency, self.lease.local, lambda: self.lease.is_held)

    def _route(self, plan: SyncPlan, concurrency: int, manner: Manner) -> Route:
        should_stop, observer = manner
        patience = self.patience if isinstance(plan, EventPlan) and plan.may_resend else None
        return Route(concurrency, patience, should_stop, lambda keys: observer.accepted(plan, keys))

    def _conclusion(self, journal: Journal, ending: Ending | None, is_stopped: bool) -> tuple[str, str | None]:
        """The run's last state, and why it is not finished."""
        if is_stopped and (journal.unsent or journal.tally.unknown):
            return "aborted", _STOPPED
        if ending is not None and ending.refusals:
            return "failed", preflight.explain_refusals(ending.outcome, ending.refusals)
        if ending is not None:
            found = endpoint(journal.plan.sync, self.world.environment)
            return "failed", _explained(journal, preflight.explain(ending.outcome, found.key_variable, found.url))
        if journal.tally.unknown:
            return "failed", _unknown(journal.plan)
        if journal.tally.rejected:
            return "finished", "Statsig refused some rows; see statsig_reject_log."
        return "finished", journal.remark


def _unknown(plan: SyncPlan) -> str:
    # Of events, the end of the run says more.
    where = "" if isinstance(plan, EventPlan) else "; see statsig_unsettled"
    return f"the outcome of some requests is not known{where}."


def _waiting(plan: EventPlan, journal: Journal, unsettled: int) -> int:
    """How many of the unsettled events are of earlier runs and wait for a person.

    Where events in doubt may go again, what this run meant to send and Statsig did not take goes again.
    """
    if not plan.may_resend:
        return unsettled - journal.tally.unknown
    return min(unsettled, max(plan.doubts.waiting, unsettled - journal.tally.unknown - journal.unsent))


def _still_in_doubt(plan: EventPlan, waiting: int, unsettled: int) -> Iterator[str]:
    """What to say of the events that are in doubt at the end of a run: those that wait, and those that go again."""
    for_a_person = waiting if plan.may_resend else unsettled
    for events, advice in ((for_a_person, settle_advice(plan)), (unsettled - for_a_person, resend_advice(plan))):
        if events:
            yield f"{events:,} event(s) are still in doubt; see statsig_unsettled. {advice}"


def _explained(journal: Journal, explanation: str) -> str:
    """Why a sync gave up; with events that are held in doubt, another run does not go on.

    One that asks Statsig does: it asks again.
    """
    config = journal.plan.sync.config
    if not journal.tally.unknown or not isinstance(config, EventConfig) or config.on_unknown != "hold":
        return explanation
    rest = "; run again to go on with what was not sent." if journal.unsent else "."
    return explanation.replace(preflight.RUN_AGAIN, rest)


def _result(journal: Journal, state: str, message: str | None, waiting: int) -> SyncResult:
    tally, plan = journal.tally, journal.plan
    return SyncResult(
        journal.run.sync_name,
        state,
        plan.keys,
        tally.accepted,
        tally.rejected,
        journal.unsent,
        tally.unknown,
        tally.requests,
        plan.rows_rejected,
        message,
        waiting,
        plan.stuck if isinstance(plan, SegmentPlan) else 0,
    )


def _found(plan: SegmentPlan, journal: Journal) -> Iterator[Settled]:
    """Members that were found in Statsig, as batches that need no request."""
    for ids in segments.slices(plan.facts.adopted, MAX_IDS_PER_REQUEST) if plan.facts.adopted is not None else ():
        batch = journal.batch("adopt", key_lines(ids))
        yield batch, Outcome(State.ACCEPTED, None, "found in Statsig")


def _started_over(plan: SegmentPlan, journal: Journal) -> Iterator[Settled]:
    """What is known of a segment that is gone: nothing more but who is to be in it.

    They stand as in doubt until the requests that put them in are settled. So a run that dies before it has made or
    filled the segment leaves a list that the next run fills, and a guard that knows who is to be there.
    """
    yield journal.batch("forget", NO_LINES), Outcome(State.ACCEPTED, None, "the segment was gone from Statsig")
    for ids in segments.slices(plan.change.adds, MAX_IDS_PER_REQUEST):
        batch = journal.batch("add", key_lines(ids))
        yield batch, Outcome(State.UNKNOWN, None, "the segment is made again, and may not be filled yet", attempts=0)


def _reset(plan: SegmentPlan, journal: Journal, console: ConsoleClient) -> Ending | None:
    """Replaces the list by one request, which the ledgers know as removals and additions."""
    changes = (("remove", plan.change.removes), ("add", plan.change.adds))
    batches = [journal.batch(operation, key_lines(ids)) for operation, ids in changes if len(ids)]
    journal.record([], batches)
    local = journal.lease.local
    for batch in batches:
        local.begun(batch.batch_id)
    outcome = console.reset_ids(plan.facts.config.segment_id, plan.ids_of_reset.to_list())
    for batch in batches:
        local.answered(batch.batch_id, outcome)
    journal.tally.requests += outcome.attempts
    match outcome.state:
        case State.ACCEPTED:
            journal.tally.accepted += plan.keys
        case State.UNKNOWN:
            journal.tally.unknown += plan.keys
    journal.record([(batch, outcome) for batch in batches], None)
    return None if outcome.state is State.ACCEPTED else Ending(outcome)


def _segment(plan: SegmentPlan) -> Missing:
    return plan.facts.project, plan.facts.config.segment_id


def _id_requests(plan: SegmentPlan) -> Iterator[Request]:
    """Removals before additions, so that a list never passes its limit on the way."""
    for operation, ids in (("remove", plan.change.removes), ("add", plan.change.adds)):
        for batch in segments.slices(ids, MAX_IDS_PER_REQUEST):
            yield Request(operation, key_lines(batch))
