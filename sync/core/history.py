"""What the ledgers know of an event sync before a run: whether it has run, what is usual, and what it last sent."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields

from sync.core.lineage import Identity

_WINDOW = dt.timedelta(days=30)
_DAY = dt.timedelta(days=1)
_LEAST_RUNS = 3


@dataclass(frozen=True)
class KeySource:
    """What the keys of an event sync mean: a dbt node's unique id, and the key's column with its kind of text."""

    model: str
    unique_key: str

    def __str__(self) -> str:
        return f"{self.unique_key} of {self.model}"


@dataclass(frozen=True)
class RunLine:
    """A line of the run ledger about a run of an event sync; times are UTC, without a zone.

    ``unique_key`` is text as of ``KeySource``, ``metadata_columns`` a JSON list. What a line does not say is None.
    """

    run_id: str
    state: str
    logged_at: dt.datetime
    object: str | None = None
    model: str | None = None
    unique_key: str | None = None
    rows_read: int | None = None
    rows_rejected: int | None = None
    events_planned: int | None = None
    keys_accepted: int | None = None
    events_until: dt.datetime | None = None
    metadata_columns: str | None = None
    message: str | None = None

    @property
    def is_finished_run(self) -> bool:
        """Whether a run has ended well with it; other commands hold syncs too, but only a run has read rows."""
        return self.state == "finished" and self.object == "events" and self.rows_read is not None

    @property
    def has_left_something(self) -> bool:
        """Whether a run has ended well that sent something, or that left rows out for good."""
        is_left_out = self.events_planned == 0 and (self.rows_read or 0) > (self.rows_rejected or 0)
        is_of_events = self.state == "finished" and self.object == "events"
        return is_of_events and bool((self.keys_accepted or 0) > 0 or is_left_out)


RUN_LINE_COLUMNS = tuple(field.name for field in fields(RunLine))


@dataclass(frozen=True)
class PastRuns:
    """The lines of the run ledger about one sync, in any order."""

    lines: Sequence[RunLine]

    @property
    def has_finished(self) -> bool:
        """Whether a run has ended well."""
        return any(line.is_finished_run for line in self.lines)

    @property
    def has_left_something(self) -> bool:
        """Whether a run has ended well that sent something, or that left rows out for good."""
        return any(line.has_left_something for line in self.lines)

    @property
    def keys_were_from(self) -> KeySource | None:
        """What the keys meant in the last run that had any; None where there was none."""
        last = _latest(line for line in self.lines if line.model is not None and line.unique_key is not None)
        return KeySource(last.model or "", last.unique_key or "") if last else None

    @property
    def last_that_sent(self) -> RunLine | None:
        """The end of the last run of which Statsig took something."""
        return _latest(line for line in self.lines if (line.keys_accepted or 0) > 0 and line.object == "events")

    def usual(self, now: dt.datetime) -> float | None:
        """How many events are usual by now, as ``usual`` has it."""
        finished = [line for line in self.lines if line.state == "finished" and line.rows_read is not None]
        finished.sort(key=lambda line: line.logged_at)
        return usual([FinishedRun(line.logged_at, line.keys_accepted or 0) for line in finished], now)

    def has_pruned_since(self, moment: dt.datetime) -> bool:
        """Whether old lines of the ledgers were forgotten after a time."""
        return any(line.message == "prune" and line.logged_at > moment for line in self.lines)


def _latest(lines: Iterable[RunLine]) -> RunLine | None:
    return max(lines, key=lambda line: line.logged_at, default=None)


@dataclass(frozen=True)
class FinishedRun:
    """A run that finished: when (UTC, without a zone), and how many events Statsig took."""

    ended_at: dt.datetime
    accepted: int


@dataclass(frozen=True)
class LastSent:
    """What was sent last: by the last run that sent something, and by those before where it sent little.

    ``keys`` is what they sent, ``gone`` how many of those the model has no more, ``lost`` how many the ledgers say were
    accepted and know nothing more of, and ``newest_keys`` how many of ``keys`` the last run sent, where that is not
    all. ``until`` is the latest time of the last run's events in milliseconds UTC, and
    ``metadata_columns`` what was metadata; each is None where the ledgers do not say.
    """

    keys: int
    gone: int
    until: int | None
    metadata_columns: tuple[str, ...] | None
    lost: int = 0
    newest_keys: int | None = None


@dataclass(frozen=True)
class Sibling:
    """Another sync of these ledgers that has sent keys which the first run of this one would send again.

    ``is_live`` says whether the project still has it: then it is no earlier name of this sync. ``is_other`` says that
    it reads another model, so that its events may well be others.
    """

    identity: Identity
    keys: int
    is_live: bool
    is_other: bool = False


@dataclass(frozen=True)
class OtherLedgers:
    """Ledgers in another schema of the database in which a sync of this name has sent events."""

    schema: str
    events: int


@dataclass(frozen=True)
class Arrived:
    """What Statsig itself knows before a first run.

    Of ``asked`` keys that the run would send, ``found`` are there. ``days`` counts the events of this name by day
    (Pacific time). ``problem`` says why Statsig could not be asked.
    """

    asked: int = 0
    found: int = 0
    days: Mapping[dt.date, int] = field(default_factory=dict)
    problem: str | None = None


@dataclass(frozen=True)
class FirstRun:
    """What speaks against a first run being one.

    ``was_seen`` says that the ledger of dbt's builds knows of earlier runs of this sync. ``is_again`` says that a run
    has ended well before, which had nothing to send: it was the first, but what comes now is the first that is sent.
    """

    siblings: tuple[Sibling, ...] = ()
    elsewhere: tuple[OtherLedgers, ...] = ()
    was_seen: bool = False
    is_again: bool = False
    arrived: Arrived = field(default_factory=Arrived)


@dataclass(frozen=True)
class EventHistory:
    """What an event sync has done before.

    ``first_run`` is None where a run has sent something or left it out. ``keys_were_from`` says what the keys meant in
    the last run that had any, ``usual`` how many events are usual by now (None where there were too few runs to say),
    and ``last_sent`` what was sent last.
    """

    first_run: FirstRun | None = None
    keys_were_from: KeySource | None = None
    usual: float | None = None
    last_sent: LastSent | None = None


def usual(runs: Sequence[FinishedRun], now: dt.datetime) -> float | None:
    """How many events are usual by now: what a day brings, times the days since events were last sent (1 or more).

    ``runs`` are all finished runs, oldest first; the first is left out, since it sends what is old. None where fewer
    than 3 others of the last 30 days have sent something.
    """
    recent = [run for run in runs[1:] if run.ended_at > now - _WINDOW]
    if sum(run.accepted > 0 for run in recent) < _LEAST_RUNS:
        return None
    before = runs[-len(recent) - 1].ended_at
    days = max((recent[-1].ended_at - max(before, now - _WINDOW)) / _DAY, 1.0)
    sent = [run for run in runs if run.accepted]
    since = (now - sent[-1].ended_at) / _DAY if sent else 1.0
    return sum(run.accepted for run in recent) / days * max(since, 1.0)
