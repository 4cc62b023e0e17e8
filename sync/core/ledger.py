"""The rows of the ledgers. Names and types are those of ``models/statsig``; times are UTC without a zone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl

from sync import __version__
from sync.core import reasons
from sync.core.columns import Column, Kind
from sync.core.delivery import Outcome, State
from sync.core.events import LINES

RUN_LOG = "statsig_run_log"
BATCH_LOG = "statsig_batch_log"
CHANGELOG = "statsig_changelog"
REJECT_LOG = "statsig_reject_log"
DRIFT_LOG = "statsig_drift_log"
ARRIVAL_LOG = "statsig_arrival_log"
BUILD_LOG = "statsig_build_log"
SNAPSHOT = "statsig_snapshot"
DELIVERIES = "statsig_deliveries"
MEMBERSHIP = "statsig_membership"
UNSETTLED = "statsig_unsettled"
BATCHES = "statsig_batches"
INVOCATIONS = "statsig_invocations"
NODE_RUNS = "statsig_node_runs"
EVENT_HOURS = "statsig_event_hours"

# Python appends to all of them but the build log, to which dbt does.
LEDGERS = (RUN_LOG, BATCH_LOG, CHANGELOG, REJECT_LOG, DRIFT_LOG, ARRIVAL_LOG, BUILD_LOG)
RELATIONS = (*LEDGERS, SNAPSHOT, BATCHES, DELIVERIES, MEMBERSHIP, UNSETTLED, INVOCATIONS, NODE_RUNS, EVENT_HOURS)


def materialized(name: str) -> str:
    """How dbt has to materialize one of ``RELATIONS``."""
    if name == SNAPSHOT:
        return "fold"
    return "ledger" if name in LEDGERS else "view"


_TIME = pl.Datetime("us")
SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    RUN_LOG: {
        "run_id": pl.String,
        "sync_name": pl.String,
        "state": pl.String,
        "logged_at": _TIME,
        "lease_expires_at": _TIME,
        "holder": pl.String,
        "object": pl.String,
        "mode": pl.String,
        "project": pl.String,
        "destination": pl.String,
        "model": pl.String,
        "unique_key": pl.String,
        "dbt_invocation_id": pl.String,
        "sync_version": pl.String,
        "overrides": pl.String,
        "event_name": pl.String,
        "renamed_from": pl.String,
        "metadata_columns": pl.String,
        "events_from": _TIME,
        "events_until": _TIME,
        "notes": pl.String,
        "rows_read": pl.Int64,
        "rows_rejected": pl.Int64,
        "adds_planned": pl.Int64,
        "removes_planned": pl.Int64,
        "events_planned": pl.Int64,
        "keys_accepted": pl.Int64,
        "keys_rejected": pl.Int64,
        "keys_unsent": pl.Int64,
        "keys_unknown": pl.Int64,
        "requests": pl.Int64,
        "message": pl.String,
    },
    BATCH_LOG: {
        "batch_id": pl.String,
        "run_id": pl.String,
        "sync_name": pl.String,
        "project": pl.String,
        "destination": pl.String,
        "operation": pl.String,
        "state": pl.String,
        "logged_at": _TIME,
        "sequence": pl.Int64,
        "keys": pl.Int64,
        "body_bytes": pl.Int64,
        "attempts": pl.Int64,
        "http_status": pl.Int64,
        "elapsed_ms": pl.Int64,
        "message": pl.String,
    },
    CHANGELOG: {
        "batch_id": pl.String,
        "sync_name": pl.String,
        "operation": pl.String,
        "key": pl.String,
        "row_hash": pl.String,
        "event_name": pl.String,
        "event_time": _TIME,
        "logged_at": _TIME,
    },
    REJECT_LOG: {
        "run_id": pl.String,
        "sync_name": pl.String,
        "project": pl.String,
        "logged_at": _TIME,
        "key": pl.String,
        "row_hash": pl.String,
        "reason": pl.String,
        "detail": pl.String,
        "effect": pl.String,
        "row_count": pl.Int64,
        "batch_id": pl.String,
        "http_status": pl.Int64,
    },
    DRIFT_LOG: {
        "run_id": pl.String,
        "sync_name": pl.String,
        "logged_at": _TIME,
        "project": pl.String,
        "segment_id": pl.String,
        "id": pl.String,
        "drift": pl.String,
    },
    ARRIVAL_LOG: {
        "run_id": pl.String,
        "sync_name": pl.String,
        "logged_at": _TIME,
        "project": pl.String,
        "event_name": pl.String,
        "kind": pl.String,
        "key": pl.String,
        "day": pl.Date,
        "expected": pl.Int64,
        "counted": pl.Int64,
        "verdict": pl.String,
    },
}

# The views over them, and what is read there. Those of the build log are looked at where that is read.
VIEWS: Mapping[str, tuple[str, ...]] = {
    BATCHES: (
        *("batch_id", "run_id", "sync_name", "project", "destination", "operation", "state", "sequence", "keys"),
        *("body_bytes", "attempts", "http_status", "elapsed_ms", "message", "claimed_at", "settled_at"),
    ),
    DELIVERIES: (
        *("sync_name", "project", "destination", "operation", "key", "row_hash", "event_name", "event_time", "state"),
        *("batch_id", "run_id", "sequence", "claimed_at", "settled_at"),
    ),
    MEMBERSHIP: ("project", "segment_id", "id", "status", "doubt"),
    UNSETTLED: (
        *("sync_name", "project", "destination", "operation", "key", "batch_id", "run_id", "claimed_at", "message"),
    ),
    EVENT_HOURS: ("sync_name", "project", "event_name", "first_hour", "hour", "events", "last_settled_at"),
}


@dataclass(frozen=True)
class RunIdentity:
    """What every line of a run of one sync shares. ``holder`` is the host and process that runs it."""

    run_id: str
    sync_name: str
    project: str
    destination: str
    object: str
    mode: str
    holder: str
    model: str
    dbt_invocation_id: str


# A batch that says something of its destination and of no key.
NO_LINES = pl.DataFrame(schema=dict(LINES))


def key_lines(keys: pl.Series, row_hashes: pl.Series | None = None) -> pl.DataFrame:
    """The lines of keys that have no event, such as ids; null stands for what they do not have."""
    hashes = pl.lit(None, pl.String) if row_hashes is None else row_hashes.alias("row_hash")
    return pl.DataFrame({"key": keys.cast(pl.String)}).select(
        "key",
        hashes.alias("row_hash"),
        pl.lit(None, pl.String).alias("event_name"),
        pl.lit(None, pl.Int64).alias("event_time"),
    )


@dataclass(frozen=True)
class Batch:
    """A request as the ledgers know it: how many keys it has, their ``LINES``, and the bytes of its body.

    ``operation`` is add, remove, log, adopt, skip or forget; ``sequence`` orders the batches of one destination.
    ``lines`` is empty for a batch whose lines the changelog has already.
    """

    batch_id: str
    operation: str
    sequence: int
    keys: int
    body_bytes: int | None = None
    lines: pl.DataFrame = field(default_factory=lambda: NO_LINES, compare=False)


def naive_utc(moment: dt.datetime) -> dt.datetime:
    """The time as the ledgers hold it."""
    return moment.astimezone(dt.timezone.utc).replace(tzinfo=None)


def run_line(run: RunIdentity, state: str, now: dt.datetime, more: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the run ledger; ``more`` holds the columns that differ from line to line."""
    return {**asdict(run), "state": state, "logged_at": naive_utc(now), "sync_version": __version__, **more}


def batch_state(run: RunIdentity, batch: Batch, outcome: Outcome | None, now: dt.datetime) -> dict[str, Any]:
    """A line of the batch ledger: the claim where there is no outcome yet, else the outcome."""
    return {
        "batch_id": batch.batch_id,
        "run_id": run.run_id,
        "sync_name": run.sync_name,
        "project": run.project,
        "destination": run.destination,
        "operation": batch.operation,
        "state": (outcome.state if outcome else State.CLAIMED).value,
        "logged_at": naive_utc(now),
        "sequence": batch.sequence,
        "keys": batch.keys,
        "body_bytes": batch.body_bytes,
        "attempts": outcome.attempts if outcome else None,
        "http_status": outcome.http_status if outcome else None,
        "elapsed_ms": outcome.elapsed_ms if outcome else None,
        "message": outcome.message if outcome else None,
    }


def changes(run: RunIdentity, batch: Batch, now: dt.datetime) -> pl.DataFrame:
    """The lines of the changelog for a batch: one per key."""
    return batch.lines.select(
        pl.lit(batch.batch_id).alias("batch_id"),
        pl.lit(run.sync_name).alias("sync_name"),
        pl.lit(batch.operation).alias("operation"),
        "key",
        "row_hash",
        "event_name",
        pl.col("event_time").cast(pl.Datetime("ms")).cast(_TIME),
        pl.lit(naive_utc(now), dtype=_TIME).alias("logged_at"),
    )


def rejects(run: RunIdentity, rows: pl.DataFrame, now: dt.datetime) -> pl.DataFrame:
    """The lines of the reject ledger for rows refused before sending, which are ``sync.core.events.REJECTED``."""
    schema, context = SCHEMAS[REJECT_LOG], _reject_context(run, now)
    return rows.with_columns(pl.lit(value, schema[name]).alias(name) for name, value in context.items())


def refused_by_statsig(run: RunIdentity, batch: Batch, outcome: Outcome, now: dt.datetime) -> list[dict[str, Any]]:
    """The lines of the reject ledger for the keys of a batch that Statsig refused."""
    return [
        {
            **_reject_context(run, now),
            "key": key,
            "row_hash": row_hash or "",
            "reason": reasons.REFUSED_BY_STATSIG,
            "detail": outcome.message,
            "effect": reasons.NOT_SENT,
            "row_count": 1,
            "batch_id": batch.batch_id,
            "http_status": outcome.http_status,
        }
        for key, row_hash in batch.lines.select("key", "row_hash").iter_rows()
    ]


def _reject_context(run: RunIdentity, now: dt.datetime) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "sync_name": run.sync_name,
        "project": run.project,
        "logged_at": naive_utc(now),
        "batch_id": None,
        "http_status": None,
    }


def drift(run: RunIdentity, ids: pl.Series, kind: str, now: dt.datetime) -> pl.DataFrame:
    """The lines of the drift ledger for ids that are all missing, or all extra."""
    return pl.DataFrame({"id": ids}).select(
        pl.lit(run.run_id).alias("run_id"),
        pl.lit(run.sync_name).alias("sync_name"),
        pl.lit(naive_utc(now), dtype=_TIME).alias("logged_at"),
        pl.lit(run.project).alias("project"),
        pl.lit(run.destination).alias("segment_id"),
        "id",
        pl.lit(kind).alias("drift"),
    )


_KINDS = {
    pl.String: Kind.TEXT,
    pl.Int64: Kind.INTEGER,
    pl.Float64: Kind.FLOAT,
    pl.Date: Kind.DATE,
    _TIME: Kind.TIMESTAMP,
}


def column_problem(ledger: str, columns: Sequence[Column]) -> str | None:
    """What keeps a ledger that has these columns from taking what this version appends; None where nothing does."""
    schema = SCHEMAS.get(ledger, {})
    found = {column.name.lower(): column for column in columns}
    others = [
        f"{name} is {found[name].type} and has to be a {_KINDS[kind].value}"
        for name, kind in schema.items()
        if name in found and found[name].kind is not _KINDS[kind]
    ]
    lacking = lacking_columns(tuple(schema), columns)
    return "; ".join([*([lacking] if lacking else []), *others]) or None


def lacking_columns(wanted: Sequence[str], columns: Sequence[Column]) -> str | None:
    """Which of the wanted columns a relation does not have, as part of a sentence; None where it has all."""
    found = {column.name.lower() for column in columns}
    missing = [name for name in wanted if name not in found]
    return f"has no column {', '.join(missing)}" if missing else None


def frame(ledger: str, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows as a data frame with the ledger's columns and types; what a row lacks is null."""
    return pl.DataFrame([dict(row) for row in rows], schema=dict(SCHEMAS[ledger]))
