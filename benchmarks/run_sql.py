"""Runs the SQL of standard input on the DuckDB file that is its argument, and prints the seconds that it took.

It imports nothing but DuckDB, so that every environment can run it. Opening the file does not count.
"""

from __future__ import annotations

import sys
import time

import duckdb


def main(database: str) -> None:
    """Runs all statements of standard input."""
    with duckdb.connect(database) as connection:
        connection.execute("set enable_progress_bar = false")
        statements = sys.stdin.read()
        started = time.monotonic()
        connection.execute(statements).fetchall()
        print(time.monotonic() - started)


if __name__ == "__main__":
    main(*sys.argv[1:])
