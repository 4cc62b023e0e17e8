"""``dlt`` with a custom destination, as its documentation describes reverse ETL: 500 rows to a call that posts them.

https://dlthub.com/docs/dlt-ecosystem/destinations/destination
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import dlt
from dlt.sources.helpers import requests
from orders import COLUMNS, REQUEST_EVENTS, SECRET, batches, event


def main(database: str, url: str) -> None:
    """Sends every row of the table."""
    headers = {"statsig-api-key": SECRET}

    @dlt.resource(name="orders")
    def orders() -> Iterator[list[dict[str, Any]]]:
        for rows in batches(database, 10_000):
            yield [dict(zip(COLUMNS, row, strict=True)) for row in rows]

    @dlt.destination(batch_size=REQUEST_EVENTS, name="statsig")
    def log_event(items: list[dict[str, Any]], table: Any) -> None:
        # dlt gives every time the zone UTC.
        naive = [{**item, "event_time": item["event_time"].replace(tzinfo=None)} for item in items]
        rows = [tuple(item[name] for name in COLUMNS) for item in naive]
        events = [event(row, json.loads(row[4])) for row in rows]
        requests.post(f"{url}/v1/log_event", json={"events": events}, headers=headers).raise_for_status()

    pipeline = dlt.pipeline("orders_to_statsig", pipelines_dir="pipelines", destination=log_event)
    pipeline.run(orders()).raise_on_failed_jobs()


if __name__ == "__main__":
    main(*sys.argv[1:])
