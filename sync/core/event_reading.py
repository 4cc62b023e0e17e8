"""The queries that a warehouse answers for an event sync: its rows whose keys are not settled, and no others.

What is joined to the rows is narrow: a key, and a hash.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sync.core import sql, wire
from sync.core.columns import Column
from sync.core.event_sql import EventColumns

# Columns that stand beside the model's own have names that no model has.
SENT_HASH = "statsig_sync_sent_hash"
_KEY = "statsig_sync_key"
# Temporary tables.
_SHARED, _SENT = "statsig_sync_shared", "statsig_sync_sent"


@dataclass(frozen=True)
class EventLedgers:
    """The relations that say what was sent and what was refused, as SQL text.

    ``own`` is the condition that a line is the sync's. ``on_unknown`` decides whether an event whose outcome is
    unknown counts as sent (``hold``) or is sent again (``resend``).
    """

    deliveries: str
    reject_log: str
    own: str
    on_unknown: str

    @property
    def sent(self) -> str:
        """The keys, with the hash of the row, that must not be sent again: what follows ``from``."""
        states = "('accepted', 'unknown')" if self.on_unknown == "hold" else "('accepted')"
        return f"{self.deliveries} where {self.own} and operation in ('log', 'skip') and state in {states}"

    @property
    def logged(self) -> str:
        """What the reject ledger has: what follows ``from``."""
        return f"{self.reject_log} where {self.own}"


@dataclass(frozen=True)
class EventSource:
    """A relation with events, and what its columns become."""

    columns: EventColumns
    relation: str

    @property
    def key(self) -> str:
        """An expression for the unique key as text."""
        return sql.text_form(self.columns.unique_key)

    @property
    def select_list(self) -> str:
        """The columns that an event is made of, as they travel."""
        return wire.select_list(self.columns.read)


def arrived(columns: EventColumns) -> EventColumns:
    """The columns as the engine has them."""

    def of(column: Column) -> Column:
        return wire.wire(column).column

    return EventColumns(
        of(columns.unique_key),
        {name: of(column) for name, column in columns.fields.items()},
        {name: of(column) for name, column in columns.custom_ids.items()},
        tuple(of(column) for column in columns.metadata),
        columns.mark,
    )


def temporary_tables(source: EventSource, ledgers: EventLedgers) -> Mapping[str, str]:
    """The temporary tables that the other queries need: a query for each by its name, in the order to fill them."""
    keys = f"select {source.key} as {_KEY} from {source.relation}"
    return {
        # Numbers are counted before texts are: they take a fraction of the memory, and most models share no key.
        _SHARED: f"""
select {_KEY} from ({keys})
where hash({_KEY}) in (select hash({_KEY}) as hashed from ({keys}) group by hashed having count(*) > 1)
group by {_KEY}
having {_KEY} is not null and count(*) > 1
""",
        # Keys that stand in several rows, with the hash of the row that was sent.
        _SENT: f"""
select {_KEY}, max(coalesce(row_hash, '')) as {SENT_HASH}
from temp.main.{_SHARED} as shared
join (select key, row_hash from {ledgers.sent}) as sent on sent.key = shared.{_KEY}
group by {_KEY}
""",
    }


# Rows that are looked at to find out how wide rows are, and the bytes that are to be in memory at once.
_SAMPLED, _BYTES_AT_ONCE = 2_000, 16 * 2**20
# Rows are wide where they have more bytes than this on average.
_WIDE = 2_048


def width_query(source: EventSource) -> str:
    """How many bytes the columns of a row have as text, on average of the first rows; null where there are no rows."""
    columns = (sql.identifier(column.name) for column in source.columns.read)
    bytes_of_row = " + ".join(f"coalesce(strlen(cast({name} as varchar)), 0)" for name in columns)
    return f"select avg(bytes) from (select {bytes_of_row} as bytes from {source.relation} limit {_SAMPLED})"


def rows_at_once(width: float | None) -> int | None:
    """How many rows of this many bytes to read at once; None where they are narrow, and any number will do."""
    return None if width is None or width <= _WIDE else max(1, int(_BYTES_AT_ONCE / width))


def has_shared_keys_query() -> str:
    """Whether any key stands in several rows."""
    return f"select exists (select 1 from temp.main.{_SHARED})"


def single_rows_query(source: EventSource, ledgers: EventLedgers, has_shared_keys: bool) -> str:
    """The rows whose key stands in one row only and was not sent, and those without a key."""
    settled = f"select key as {_KEY} from {ledgers.sent}"
    if has_shared_keys:
        settled += f" union all select {_KEY} from temp.main.{_SHARED}"
    return f"select {source.select_list} from {source.relation} anti join ({settled}) on {_KEY} = {source.key}"


def shared_rows_query(source: EventSource) -> str:
    """The rows whose key stands in several rows, in any order, each with the hash of the row that was sent."""
    return f"""
select {source.select_list}, (select {SENT_HASH} from temp.main.{_SENT} where {_KEY} = {source.key}) as {SENT_HASH}
from {source.relation}
semi join temp.main.{_SHARED} on {_KEY} = {source.key}
"""


def logged_query(ledgers: EventLedgers) -> str:
    """What the reject ledger has of rows, each once: ``key``, ``row_hash``, and ``logged``, reasons joined by commas.

    The hash alone leaves out the key.
    """
    return (
        f"select key, row_hash, string_agg(distinct reason, ',') as logged from {ledgers.logged} group by key, row_hash"
    )
