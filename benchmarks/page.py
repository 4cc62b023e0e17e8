"""The page ``docs/performance.md``: what is measured, the tables, and where they come from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from benchmarks.measure import Measured
from benchmarks.report import Contest, Work, contest_table, growth_table, start_table, table, work_table

SLOW_SERVER = "Python, as there is no C compiler: it may be what is measured"

_OPENING = """# How fast is it?

Made by `{command}` on {day}.

For the figures of your machine, run it again: `make bench` writes this page, and `make bench-quick` takes under three
minutes and only prints small sizes. Nothing here is a test: no figure makes anything fail.

Each figure is of a whole process, from its start to its exit: the median of its seconds and CPU seconds, its children
included, and the highest peak of its memory. Everything is measured in rounds, in turn, and a ratio is the median of
the ratios of each round. A megabyte is 1,000,000 bytes."""

_CONTEST = """## The same events, to the same server

{events:,} events from one DuckDB table of 12 columns, which dbt has built, to one local server. The server reads each
body to its end, decompresses it, counts the events by their `order_id`, and answers as Statsig does. It took
{cpu:.1f} CPU seconds for all that is in this table.

{table}

- **statsig-sync** is `statsig-sync run` with all that it does: the gate, the plan, and the ledgers in the same file.
- `orjson and requests` is a plain loop: 500 events to a request of one session, not compressed. It keeps no ledger: a
  second run sends everything again, and after a crash nobody knows what was sent.
- `statsig` and `statsig-python-core` are Statsig's SDKs: `log_event` for each row, then `shutdown`. `statsig` is also
  flushed after every 500, as it drops most of what comes faster than it sends. Both stamp events with the time of the
  call.
- `dlt` has a custom destination that posts 500 rows. It normalizes the table first, which is what it is for.
- `drt-core` posts 500 rows with its REST API destination in batch mode, without its limit of 10 requests a second.
- Who loses events has no speed.{left_out}"""

_LATENCY = """## A server that takes its time

The same events to a server that answers each request after {latency} ms, with {concurrency}.

{table}"""

_WORKS = """## What a schedule does

A *row* is an event or an id. The segment has as many members in the ledgers as there are ids, 1 % of which are gone and
1 % new. A yardstick is a query in DuckDB on the same file, without the start of a process and the opening of the file.

{table}

### How it grows

Below 1, the time to start weighs less as there are more rows.

{growth}"""

_START = """## Nothing to do

The demo's five syncs, each of which looks at its ledgers, and at its segment in Statsig.

{table}"""


def opening(command: str, day: dt.date) -> str:
    """What the page is, and how it was made."""
    return _OPENING.format(command=command, day=day.isoformat())


def contest_section(contest: Contest, cpu_seconds: float, left_out: Mapping[str, str]) -> str:
    """The contenders; ``cpu_seconds`` are those of the server.

    ``left_out`` is why peers are missing, by name: what they printed, of which the last line is shown.
    """
    reasons = [f"\n- `{name}` is left out: {reason.strip().splitlines()[-1]}" for name, reason in left_out.items()]
    return _CONTEST.format(
        events=contest.events, cpu=cpu_seconds, table=contest_table(contest), left_out="".join(reasons)
    )


def latency_section(contest: Contest, latency_ms: int, concurrency: int | None) -> str:
    """This tool before a slow server; ``concurrency`` is what its sync says, None where it says nothing."""
    said = f"`concurrency: {concurrency}`" if concurrency else "the usual number of requests in flight"
    return _LATENCY.format(latency=latency_ms, concurrency=said, table=contest_table(contest))


def works_section(works: Sequence[Work]) -> str:
    """What this tool does besides, and how it grows."""
    return _WORKS.format(table=work_table(works), growth=growth_table(works))


def start_section(starts: Mapping[str, Sequence[Measured]]) -> str:
    """What each command costs where there is nothing to do."""
    return _START.format(table=start_table(starts))


def closing(about: Sequence[tuple[str, str]], versions: Sequence[tuple[str, str]]) -> str:
    """The machine and the versions."""
    rows = [*about, *versions]
    return f"## Where this was measured\n\n{table(('what', 'value'), rows)}"
