"""The first half of every command: check, gate, gather, decide. Nothing is written, nothing is sent."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NoReturn

from sync.core.gate import age_problem, built, gate_problem
from sync.core.guards import overlap_refusal
from sync.core.ledger import naive_utc
from sync.core.plan import BuiltWhen, EventPlan, Plan, Refusal, SegmentFacts
from sync.edges.settings import console_key_faults, distinct, key_faults
from sync.edges.spool import Spool
from sync.edges.warehouse import Session
from sync.errors import ConfigError, Fault, RefusedError, UnreadableError, WarehouseError
from sync.run.ask_arrived import with_arrived
from sync.run.consoles import Consoles
from sync.run.decide import Gathered, decide
from sync.run.environments import check_environments
from sync.run.gather import (
    Source,
    earlier_requests,
    look_at_models,
    source,
    unreadable_model,
)
from sync.run.gather_events import gather_events
from sync.run.gather_segments import Again, gather_segment, shared_ids
from sync.run.gone import gone_warnings
from sync.run.lineages import inherited, lineages
from sync.run.lists import find_left_behind, members_by_list, members_by_project
from sync.run.lookups import look_up_segments
from sync.run.world import NO_SYNC, World, find_syncs, matching, named, of_mode, pattern_faults
from sync.run.written import unbuilt_warnings
from sync.spec.durations import duration
from sync.spec.model import SegmentConfig, Sync
from sync.spec.parse import limits_of, partners

GateMode = Literal["strict", "warn", "off"]


@dataclass(frozen=True)
class Request:
    """What the command line asks for.

    ``select`` and all that starts with ``allow_`` hold patterns of exposures' names; ``retry_rejected``
    sends rows again that Statsig has refused; ``keep_going`` runs the syncs that nothing refuses although others
    are refused. Data that is older than ``max_age`` is refused; None leaves it to each sync.
    """

    select: Sequence[str] = ()
    gate: GateMode = "strict"
    retry_rejected: bool = False
    keep_going: bool = False
    allow_removals: Sequence[str] = ()
    allow_new_keys: Sequence[str] = ()
    allow_events: Sequence[str] = ()
    max_age: dt.timedelta | None = None


@dataclass(frozen=True)
class Selection:
    """The syncs of a command that the gate lets through, what it refuses, and what it only warns of."""

    syncs: tuple[Sync, ...]
    all_syncs: tuple[Sync, ...]
    refusals: tuple[Refusal, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Configured:
    """The syncs that a request names, all of the project's, and what can be found wrong without the warehouse."""

    syncs: tuple[Sync, ...]
    all_syncs: tuple[Sync, ...]
    faults: tuple[Fault, ...]


def configured(world: World, request: Request, needs_keys: bool) -> Configured:
    """What the configuration, the request and the keys come to.

    Keys that are not set are no fault where they are not needed; those for questions about events are looked at all the
    same, for ``plan`` asks too.

    Raises ``ConfigError`` where the project has no sync to find anything wrong with.
    """
    if not world.graph.exposures:
        raise ConfigError([NO_SYNC])
    everything, faults = find_syncs(world.graph)
    syncs = matching(everything, request.select)
    # An exposure that has faults of its own is named by a pattern all the same.
    names = sorted(exposure.name for exposure in world.graph.exposures)
    mirrors, events = (of_mode(names, everything, mode) for mode in ("mirror", "insert"))
    found = [
        *faults,
        *pattern_faults(names, request.select, "--select"),
        *pattern_faults(mirrors, request.allow_removals, "--allow-removals", "mirror"),
        *pattern_faults(events, request.allow_new_keys, "--allow-new-keys", "event sync"),
        *pattern_faults(events, request.allow_events, "--allow-events", "event sync"),
        *distinct(
            [
                *(key_faults(syncs, world.environment, everything) if needs_keys else ()),
                *console_key_faults(syncs, everything, world.environment, is_asking=needs_keys),
            ]
        ),
    ]
    return Configured(syncs, everything, tuple(found))


def with_relation_faults(world: World, found: Configured) -> tuple[Fault, ...]:
    """The faults of the configuration, and those between it and the models.

    A warehouse that fails is one more fault beside others, and raises ``WarehouseError`` where it is alone.
    """
    try:
        with world.warehouse.reading() as session:
            models = look_at_models(world, found.syncs, session)
    except ConfigError as error:
        return (*found.faults, *error.faults)
    except WarehouseError as error:
        if not found.faults:
            raise
        return (*found.faults, Fault("", "", "", str(error)))
    files = {sync.name: sync.file for sync in found.syncs}
    unreadable = (
        Fault(files[one.sync_name], f"exposure {one.sync_name}", "", one.message) for one in models.unreadable
    )
    return (*found.faults, *unreadable)


def select(world: World, request: Request, needs_keys: bool) -> Selection:
    """The selected syncs, after the gate.

    Raises ``ConfigError`` with every fault in the configuration, the keys and the models' columns where
    there is one that can be seen without the warehouse; faults that only the warehouse shows are found when the
    models are read.
    """
    found = configured(world, request, needs_keys)
    if (found.faults or world.warehouse.is_missing) and (faults := with_relation_faults(world, found)):
        raise ConfigError(faults)
    refusals, warnings = gate_refusals(world, request.gate, found.syncs, request.max_age)
    refused = {refusal.sync_name for refusal in refusals}
    syncs = tuple(sync for sync in found.syncs if sync.name not in refused)
    return Selection(syncs, found.all_syncs, refusals, warnings)


def refuse(refusals: Sequence[Refusal], others: Sequence[Sync] = ()) -> NoReturn:
    """Ends the command: nothing was sent, also not for the others, which nothing refuses.

    Raises ``RefusedError``, or ``UnreadableError`` where the model of one cannot be read.
    """
    messages = [f"{refusal.sync_name}: {refusal.message}" for refusal in refusals]
    if others:
        names = ", ".join(sync.name for sync in others)
        messages.append(f"Nothing was sent, also not for {names}; --keep-going runs what nothing refuses.")
    if unreadable := [refusal.sync_name for refusal in refusals if refusal.kind == "unreadable"]:
        raise UnreadableError(*messages, sync_names=unreadable)
    raise RefusedError(*messages)


def refuse_all(syncs: Sequence[Sync], message: str) -> NoReturn:
    """Ends the command for a reason that all of these syncs share: nothing was sent."""
    refuse([Refusal(sync.name, message) for sync in syncs])


def gate_refusals(
    world: World, mode: GateMode, syncs: Sequence[Sync], max_age: dt.timedelta | None = None
) -> tuple[tuple[Refusal, ...], tuple[str, ...]]:
    """What the gate refuses in this mode, and what it only warns of."""
    too_old = tuple(Refusal(sync.name, problem) for sync in syncs if (problem := _age_problem(world, sync, max_age)))
    if mode == "off":
        return too_old, ()
    refusals = tuple(_gate(world, syncs))
    if mode == "warn":
        return too_old, tuple(f"{refusal.sync_name}: {refusal.message}" for refusal in refusals)
    return (*refusals, *too_old), ()


def _gate(world: World, syncs: Sequence[Sync]) -> Iterator[Refusal]:
    """What dbt has not proved, and whether it is what the user means at all."""
    doubt = world.source.doubt()
    for sync in syncs:
        if problem := doubt or gate_problem(sync.name, sync.model, world.graph, world.proof):
            yield Refusal(sync.name, f"{problem}.")


def _age_problem(world: World, sync: Sync, max_age: dt.timedelta | None) -> str | None:
    own = duration(sync.config.max_age) if sync.config.max_age else None
    most, said_by = (max_age, "--max-age") if max_age is not None else (own, "max_age")
    now = naive_utc(world.clock.now())
    problem = age_problem(built(sync.model, world.graph, world.proof), now, most, said_by)
    return f"{problem}." if problem else None


def make_plan(world: World, request: Request, selection: Selection, spool: Spool | None, consoles: Consoles) -> Plan:
    """The plan of the selected syncs; its events are in the spool, or only counted where there is none.

    What the guards refuse stands in it.

    Raises ``ConfigError`` for faults between the configuration and the models, or the segments, and
    ``RefusedError`` where dbt has run since the gate.
    """
    gathered, gather_again = _gather(world, request, selection, spool, consoles)
    _refuse_if_changed(world, request, selection)
    removals = named(selection.all_syncs, request.allow_removals, "--allow-removals")
    new_keys = named(selection.all_syncs, request.allow_new_keys, "--allow-new-keys")
    events = named(selection.all_syncs, request.allow_events, "--allow-events")
    gathered = replace(gathered, events=tuple(with_arrived(one, world, consoles) for one in gathered.events))
    looked_up = look_up_segments(world, gathered, consoles, gather_again)
    if gather_again.is_used:
        _refuse_if_changed(world, request, selection)
    plan = decide(looked_up, removals, new_keys, events)
    environments = check_environments([one.sync for one in plan.syncs if one.keys], consoles)
    if environments.faults:
        raise ConfigError(environments.faults)
    return replace(
        plan,
        refusals=(*selection.refusals, *plan.refusals),
        built={sync.name: _built(world, sync) for sync in selection.syncs},
        warnings=(*selection.warnings, *unbuilt_warnings(world), *plan.warnings, *environments.warnings),
        limits={
            consoles.endpoint(sync).project: limits_of(sync.config.project, selection.all_syncs)
            for sync in selection.syncs
        },
    )


def _refuse_if_changed(world: World, request: Request, selection: Selection) -> None:
    if request.gate == "strict" and world.has_changed(selection.syncs):
        refuse_all(
            selection.syncs, "dbt has run while the rows were read, so they may not be those that it proved. Run again."
        )


def _built(world: World, sync: Sync) -> BuiltWhen:
    """When the model of a sync was built, as seen now."""
    found = built(sync.model, world.graph, world.proof)
    age = (naive_utc(world.clock.now()) - found.at).total_seconds() if found.at else None
    return BuiltWhen(found.at, age, found.tests, found.is_proved)


def _gather(
    world: World, request: Request, selection: Selection, spool: Spool | None, consoles: Consoles
) -> tuple[Gathered, Again]:
    """What was read, and what reads a segment once more."""
    with world.warehouse.reading() as session:
        sources, unreadable = _sources(world, selection, session)
        own = [sources[sync.name] for sync in selection.syncs if sync.name in sources]
        segment_sources = [one for one in own if isinstance(one.sync.config, SegmentConfig)]
        consoles.earlier_requests = earlier_requests(world, segment_sources, session)
        members = members_by_list(world, session) if segment_sources else {}
        segments: list[SegmentFacts] = []
        events: list[EventPlan] = []
        for one in own:
            try:
                if isinstance(one.sync.config, SegmentConfig):
                    segments.append(gather_segment(world, one, session, request.retry_rejected))
                else:
                    events.append(gather_events(world, one, session, spool, request.retry_rejected))
            except UnreadableError as error:
                unreadable.append(unreadable_model(one.sync, error))
        readable = {facts.sync.name: sources[facts.sync.name] for facts in segments}
        gathered = Gathered(
            tuple(segments),
            tuple(events),
            members_by_project(members),
            (
                *unreadable,
                *inherited(world, selection.syncs, session),
                *_overlaps(readable, sources, selection, session),
            ),
            notes=tuple(note for one in own if (note := _view_note(one, session))),
            warnings=gone_warnings(world, session),
            left=find_left_behind(world, selection.all_syncs, session),
        )
    return gathered, Again(world, readable, request.retry_rejected)


def _sources(world: World, selection: Selection, session: Session) -> tuple[dict[str, Source], list[Refusal]]:
    """The sources of the selected syncs, and of those that share a segment with one; and whose cannot be read."""
    wanted = {sync.name: sync for sync in selection.syncs}
    for sync in selection.syncs:
        wanted.update({other.name: other for other in partners(sync, selection.all_syncs)})
    models = look_at_models(world, list(wanted.values()), session)
    own = {sync.name for sync in selection.syncs}
    unreadable = [one for one in models.unreadable if one.sync_name in own]
    found = lineages(world, list(wanted.values()), session)
    sources = {name: source(world, wanted[name], columns, found[name]) for name, columns in models.columns.items()}
    return sources, unreadable


def _view_note(source: Source, session: Session) -> str | None:
    """What to say of a sync that reads a view; None where it reads a table."""
    if session.kind(source.relation) != "view":
        return None
    return (
        f"{source.sync.name}: reads a view: its rows can differ from those that dbt tested. Make it a table "
        "(materialized: table)."
    )


def _overlaps(
    own: Mapping[str, Source], sources: Mapping[str, Source], selection: Selection, session: Session
) -> Iterator[Refusal]:
    """What refuses syncs that share a segment and ids. A partner that cannot be read does not run, nor refuse."""
    for one in own.values():
        for other in partners(one.sync, selection.all_syncs):
            if other.name not in sources:
                continue
            try:
                shared = shared_ids(one, sources[other.name], session)
            except UnreadableError:
                continue
            refusals = overlap_refusal((one.sync.name, other.name), one.sync.destination, shared)
            yield from (refusal for refusal in refusals if refusal.sync_name == one.sync.name)
