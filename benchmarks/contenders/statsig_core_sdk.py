"""The ``statsig-python-core`` SDK: ``log_event`` for each row, then ``shutdown``, which sends what is left."""

from __future__ import annotations

import sys

import statsig_python_core
from orders import EVENT_NAME, SECRET, batches, metadata, person


def main(database: str, url: str) -> None:
    """Sends every row of the table."""
    options = statsig_python_core.StatsigOptions(
        specs_url=f"{url}/v2/download_config_specs",
        log_event_url=f"{url}/v1/log_event",
        id_lists_url=f"{url}/v1/get_id_lists",
        fallback_to_statsig_api=False,
        disable_country_lookup=True,
        log_event_connection_reuse=True,
        environment="production",
        output_log_level="error",
    )
    server = statsig_python_core.Statsig(SECRET, options)
    server.initialize().wait()
    for rows in batches(database):
        for row in rows:
            user = statsig_python_core.StatsigUser(**person(row))
            server.log_event(user, EVENT_NAME, float(row[3]), metadata(row))
    server.shutdown().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
