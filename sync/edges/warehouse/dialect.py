"""The settings that decide what SQL means: dbt's while a view is read, and our own for all else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import duckdb

from sync.core import sql

# What our own SQL is written for. A version of DuckDB that does not have one of these does without it.
_OWN = {
    "arrow_large_buffer_size": "false",
    "arrow_lossless_conversion": "false",
    "arrow_output_list_view": "false",
    "binary_as_string": "false",
    "calendar": "gregorian",
    # Ids and keys that differ in anything are different, also in the views of the ledgers.
    "default_collation": "",
    "default_null_order": "NULLS_LAST",
    "default_order": "ASCENDING",
    "dialect_compatibility_mode": "NONE",
    "disable_timestamptz_casts": "false",
    "error_on_division_by_zero": "true",
    "ieee_floating_point_ops": "true",
    "integer_division": "false",
    "lambda_syntax": "DEFAULT",
    "legacy_disable_null_type": "false",
    "old_implicit_casting": "false",
    "order_by_non_integer_literal": "false",
    "preserve_identifier_case": "preserve_case",
    # Without it, the rows of a stream need not come in the order that was asked for.
    "preserve_insertion_order": "true",
    "regex_match_operator_semantics": "partial",
    "scalar_subquery_error_on_multiple_rows": "true",
    "search_path": "",
    # Times in text without a zone are UTC, whatever the machine's zone is.
    "timezone": "UTC",
    "warnings_as_errors": "false",
}
# What is ours also while a view is read: it decides how errors are told, and whether names of SQL may mean variables of
# this program.
_ALWAYS = {"errors_as_json": "false", "python_enable_replacements": "false"}


class Dialect:
    """Switches a connection, on which dbt's settings are in force, to and fro."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._differing: dict[str, str] = {}
        self.note_dbt()

    def note_dbt(self) -> None:
        """Takes what is in force now for dbt's, and goes over to our own."""
        found = self._connection.execute("select lower(name), value from duckdb_settings()").fetchall()
        values = {name: value or "" for name, value in found}
        self._differing = {
            name: values[name] for name, own in _OWN.items() if name in values and values[name].lower() != own.lower()
        }
        for name in _ALWAYS.keys() & values.keys():
            self._set(name, _ALWAYS[name])
        self.use_own()

    def use_own(self) -> None:
        """From now on SQL means what ours is written for."""
        for name in self._differing:
            self._set(name, _OWN[name])

    def use_dbt(self) -> None:
        """From now on SQL means what it means to dbt."""
        for name, value in self._differing.items():
            self._set(name, value)

    def _set(self, name: str, value: str) -> None:
        self._connection.execute(f"set {name} = {sql.literal(value)}")

    @contextmanager
    def of_dbt(self) -> Iterator[None]:
        """The block reads as dbt does. After an error in it, the transaction is over."""
        self.use_dbt()
        try:
            yield
        except duckdb.Error:
            # In a transaction that has failed no setting can be set.
            roll_back(self._connection)
            raise
        finally:
            self.use_own()


def roll_back(connection: duckdb.DuckDBPyConnection) -> None:
    """Ends the transaction, if there is one."""
    with suppress(duckdb.TransactionException):
        connection.execute("rollback")
