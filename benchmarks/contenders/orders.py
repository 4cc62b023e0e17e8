"""The orders that every contender sends, as rows of the warehouse and as Statsig's events.

Imports nothing but DuckDB: each contender has an environment of its own.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import duckdb

EVENT_NAME, SECRET, REQUEST_EVENTS = "order_completed", "secret-benchmark", 500
COLUMNS = (
    *("order_id", "user_id", "event_time", "event_value", "custom", "country", "email"),
    *("sku", "channel", "is_gift", "deliver_on", "campaign"),
)

_EPOCH = dt.datetime(1970, 1, 1)

Row = tuple[Any, ...]


def batches(database: str, size: int = REQUEST_EVENTS) -> Iterator[list[Row]]:
    """The rows of the table ``orders``, ``size`` at a time, in the order of ``COLUMNS``."""
    with duckdb.connect(database, read_only=True) as connection:
        connection.execute(f"select {', '.join(COLUMNS)} from orders")
        while rows := connection.fetchmany(size):
            yield rows


def metadata(row: Row) -> dict[str, str]:
    """The columns of an order that describe it, as text."""
    order_id, sku, channel, is_gift, deliver_on, campaign = row[0], *row[7:]
    return {
        "order_id": order_id,
        "sku": sku,
        "channel": channel,
        "is_gift": "true" if is_gift else "false",
        "deliver_on": deliver_on.isoformat(),
        "campaign": campaign,
    }


def event(row: Row, custom: Any) -> dict[str, Any]:
    """A row as Statsig takes it; ``custom`` is what its column holds, as the caller encodes it."""
    _, user_id, event_time, event_value, _, country, email = row[:7]
    return {
        "eventName": EVENT_NAME,
        # Times are UTC without a zone: the difference is exact, and quicker than to name the zone.
        "time": _milliseconds(event_time),
        "value": float(event_value),
        "metadata": metadata(row),
        "user": {
            "userID": user_id,
            "email": email,
            "country": country,
            "custom": custom,
            "statsigEnvironment": {"tier": "production"},
        },
    }


def person(row: Row) -> dict[str, Any]:
    """Who an order is of, as the arguments of an SDK's ``StatsigUser``."""
    return {"user_id": row[1], "email": row[6], "country": row[5], "custom": json.loads(row[4])}


def _milliseconds(moment: dt.datetime) -> int:
    passed = moment - _EPOCH
    return (passed.days * 86_400 + passed.seconds) * 1000 + passed.microseconds // 1000
