"""The half of ``verify`` that is about events: asks Statsig whether what it accepted has arrived."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sync.core import arrival, ledger, sql
from sync.core.arrival import DayArrival, DaySent, HourSent, Sought
from sync.core.delivery import State
from sync.core.ledger import RunIdentity
from sync.core.lineage import Lineage
from sync.edges.settings import console_endpoint, missing_console_key
from sync.edges.warehouse import Session
from sync.run.consoles import Consoles
from sync.run.lineages import lineages
from sync.run.sightings import Sightings, key_metadata, why
from sync.run.world import World
from sync.spec.model import EventConfig, Sync

if TYPE_CHECKING:
    from sync.edges.statsig import ConsoleClient

# The most days, each of one name, whose counts are asked for of a sync: a model may name its events in many ways.
_MOST_DAYS = 200


@dataclass(frozen=True)
class KeyArrival:
    """An event that was looked for: ``found``, ``not_found`` (which proves nothing), or ``unknown``."""

    event_name: str
    key: str
    verdict: str


@dataclass(frozen=True)
class Arrival:
    """What is known of the events of a sync; ``notes`` say what cannot be known, and why.

    ``recent`` counts those of the requests of the last days, whatever their own days are.
    """

    sync_name: str
    keys: tuple[KeyArrival, ...]
    days: tuple[DayArrival, ...]
    notes: tuple[str, ...]
    recent: int

    @property
    def missing(self) -> int:
        """Events that surely did not arrive."""
        return sum(one.missing for one in self.days)


@dataclass(frozen=True)
class Sent:
    """What the ledgers know of the events of a sync that is verified.

    ``recent`` counts the events of recent requests, ``sample`` holds some of them, ``days`` all days that are looked
    at; ``key_metadata`` is the metadata key that holds the unique key, None where none does.
    """

    sync: Sync
    key_metadata: str | None
    recent: int
    sample: tuple[Sought, ...]
    days: tuple[DaySent, ...]


def without_console_key(
    syncs: Sequence[Sync], all_syncs: Sequence[Sync], world: World
) -> tuple[tuple[Sync, ...], tuple[str, ...]]:
    """The event syncs that can be verified, and notes about those whose Console key is not set."""
    asked, notes = [], []
    for sync in syncs:
        if console_endpoint(sync, all_syncs, world.environment) is not None:
            asked.append(sync)
        else:
            notes.append(f"{sync.name}: events cannot be verified without {missing_console_key(sync)}.")
    return tuple(asked), tuple(notes)


def read_sent(world: World, sync: Sync, sample: int, session: Session) -> Sent:
    """What the ledgers know of the events of a sync; ``sample`` is how many of them to look for."""
    now = ledger.naive_utc(world.clock.now())
    lineage = lineages(world, [sync], session)[sync.name]
    recent, since = _recent(world, lineage.condition), {"since": now - dt.timedelta(days=arrival.DAYS)}
    events = int(session.value(f"select coalesce(sum(keys), 0) from {recent}", since))
    chosen = _sample(world, recent, since, sample, session) if sample else ()
    return Sent(sync, key_metadata(world, sync, session), events, chosen, _days(world, lineage, now, session))


def _recent(world: World, own: str) -> str:
    """The requests that were accepted since ``$since``: what follows ``from``."""
    batches = world.ledgers[ledger.BATCHES]
    return f"{batches} where {own} and operation = 'log' and state = 'accepted' and settled_at > $since"


def _sample(
    world: World, recent: str, since: Mapping[str, dt.datetime], count: int, session: Session
) -> tuple[Sought, ...]:
    """Some events of recent requests, newest first."""
    changelog = world.ledgers[ledger.CHANGELOG]
    # Batches of which a key was forgotten, or was written before names were, have fewer keys to choose from.
    named = f"from {changelog} where event_name is not null and batch_id in"
    found = session.rows(
        f"select recent.batch_id, claimed_at, settled_at, count(*) from (select * from {recent}) as recent"
        f" join (select batch_id {named} (select batch_id from {recent})) as named on recent.batch_id = named.batch_id"
        " group by all order by settled_at desc, max(sequence) desc",
        since,
    )
    requests = list(found)
    places = arrival.spread([int(row[3]) for row in requests], count)
    wanted = {requests[request][0]: requests[request][1:3] for request, _ in places}
    if not wanted:
        return ()
    listed = ", ".join(map(sql.literal, wanted))
    ranked = session.rows(
        "select * from (select batch_id, row_number() over (partition by batch_id order by key) - 1 as place, key,"
        f" event_name, event_time {named} ({listed})) where (batch_id, place) in"
        f" ({', '.join(f'({sql.literal(requests[request][0])}, {place})' for request, place in places)})"
    )
    chosen = {(row[0], int(row[1])): arrival.sought(row[3], row[2], (row[4], *wanted[row[0]])) for row in ranked}
    return tuple(chosen[requests[request][0], place] for request, place in places)


def _days(world: World, lineage: Lineage, now: dt.datetime, session: Session) -> tuple[DaySent, ...]:
    """The days of the names that a sync has sent. Other syncs of the project that send them count too."""
    first = arrival.first_day(now)
    hours = world.ledgers[ledger.EVENT_HOURS]
    rows = session.rows(
        "select event_name, first_hour, hour, events, last_settled_at"
        f" from {hours} where {lineage.project_condition} and hour >= $since"
        f" and event_name in (select event_name from {hours} where {lineage.condition} and hour >= $since)",
        {"since": arrival.end_of(first - dt.timedelta(days=2))},
    )
    return tuple(arrival.days_sent(HourSent(row[0], row[1], row[2], int(row[3]), row[4]) for row in rows))


def ask(world: World, sent: Sent, consoles: Consoles) -> Arrival:
    """What Statsig says of the events of a sync that has a Console key."""
    beside = consoles.beside(sent.sync)
    if beside is None:
        raise LookupError(f"{sent.sync.name} was not checked")
    keys, key_notes = _ask_keys(sent, beside[0], consoles)
    days, day_notes = _ask_days(sent, _Counts(beside[0], consoles), ledger.naive_utc(world.clock.now()))
    return Arrival(sent.sync.name, keys, days, (*key_notes, *day_notes), sent.recent)


def _ask_keys(sent: Sent, client: ConsoleClient, consoles: Consoles) -> tuple[tuple[KeyArrival, ...], list[str]]:
    if sent.key_metadata is None:
        notes = [_no_metadata(sent.sync)] if sent.sample else []
        return tuple(KeyArrival(one.event_name, one.key, arrival.UNKNOWN) for one in sent.sample), notes
    sightings = Sightings(client, sent.key_metadata)
    found = []
    for one in sent.sample:
        consoles.heartbeat()
        found.append(KeyArrival(one.event_name, one.key, _KEY_VERDICTS[sightings.is_there(one)]))
    problem = f"{sent.sync.name}: single events could not be looked for in Statsig's logs: {sightings.problem}"
    return tuple(found), [problem] if sightings.problem else []


def _ask_days(sent: Sent, counts: _Counts, now: dt.datetime) -> tuple[tuple[DayArrival, ...], list[str]]:
    first, last = arrival.first_day(now), arrival.pacific_day(now)
    wanted = [one for one in sent.days if first <= one.day <= last]
    newest = sorted(wanted, key=lambda one: (one.day, one.events), reverse=True)[:_MOST_DAYS]
    days = _by_name(sent.days)
    found = [
        arrival.judge_day(one, counts.of(one), days[one.event_name], now)
        for one in sorted(newest, key=lambda one: (one.event_name, one.day))
    ]
    notes = []
    if counts.problem:
        done = "be asked for" if counts.is_refused else "all be read"
        notes.append(f"{sent.sync.name}: Statsig's counts of days could not {done}: {counts.problem}")
    if len(wanted) > len(newest):
        notes.append(f"{sent.sync.name}: {len(wanted) - len(newest):,} more days of other names were not looked at.")
    return tuple(found), notes


@dataclass
class _Counts:
    """Statsig's counts of days, each asked for once; ``problem`` says why some cannot be had.

    Where Statsig refuses to answer, it is not asked again; an answer that cannot be read is one of a single day.
    """

    client: ConsoleClient
    consoles: Consoles
    problem: str | None = None
    is_refused: bool = False
    _known: dict[str, dict[dt.date, int | None]] = field(default_factory=dict)

    def of(self, sent: DaySent) -> dict[dt.date, int | None]:
        """The counts of a name that it takes to judge a day."""
        counts = self._known.setdefault(sent.event_name, {})
        self._ask(sent.event_name, [sent.day], counts)
        self._ask(sent.event_name, arrival.neighbours(sent, counts), counts)
        return counts

    def _ask(self, name: str, days: Iterable[dt.date], counts: dict[dt.date, int | None]) -> None:
        for day in days:
            if day in counts or self.is_refused:
                continue
            self.consoles.heartbeat()
            count, outcome = self.client.event_count(day, name)
            counts[day] = count.count if count is not None else None
            if count is None:
                self.problem = why(outcome)
                self.is_refused = outcome.state is not State.ACCEPTED


def _by_name(days: Iterable[DaySent]) -> dict[str, dict[dt.date, DaySent]]:
    found: dict[str, dict[dt.date, DaySent]] = {}
    for one in days:
        found.setdefault(one.event_name, {})[one.day] = one
    return found


_KEY_VERDICTS = {True: arrival.FOUND, False: arrival.NOT_FOUND, None: arrival.UNKNOWN}


def _no_metadata(sync: Sync) -> str:
    column = sync.config.unique_key if isinstance(sync.config, EventConfig) else ""
    return (
        f"{sync.name}: single events cannot be looked for in Statsig's logs: {column} is not in their metadata, "
        "because the column is mapped to another field or excluded, or its name is none that Statsig's filter takes."
    )


def lines(run: RunIdentity, found: Arrival, now: dt.datetime) -> list[dict[str, Any]]:
    """The lines of the arrival ledger for a sync."""
    common = {
        "run_id": run.run_id,
        "sync_name": run.sync_name,
        "logged_at": ledger.naive_utc(now),
        "project": run.project,
    }
    keys = [
        {**common, "kind": "key", "event_name": one.event_name, "key": one.key, "verdict": one.verdict}
        for one in found.keys
    ]
    days = [
        {
            **common,
            "kind": "day",
            "event_name": one.event_name,
            "day": one.day,
            "expected": one.expected,
            "counted": one.counted,
            "verdict": one.verdict,
        }
        for one in found.days
    ]
    return keys + days
