"""The ``statsig`` SDK: ``log_event`` for each row, and ``flush`` after 500.

Without ``flush`` the SDK sends two of its batches of 1,000 a second, holds ten, and drops the others: of 100,000 events
in a row, 87,000.
"""

from __future__ import annotations

import sys

import statsig as sdk
from orders import EVENT_NAME, SECRET, batches, metadata, person
from statsig import statsig


def main(database: str, url: str) -> None:
    """Sends every row of the table."""
    options = sdk.StatsigOptions(
        api=f"{url}/v1/",
        # The default has an entry that sends everything to Statsig's own address, and wins over `api`.
        proxy_configs={},
        disable_diagnostics=True,
        disable_country_lookup=True,
        disable_ua_parser=True,
        log_event_connection_reuse=True,
        tier="production",
    )
    statsig.initialize(SECRET, options)
    for rows in batches(database):
        for row in rows:
            user = sdk.StatsigUser(**person(row))
            statsig.log_event(sdk.StatsigEvent(user, EVENT_NAME, float(row[3]), metadata(row)))
        statsig.flush()
    statsig.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
