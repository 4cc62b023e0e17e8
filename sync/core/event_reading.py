"""The SQL that reads the rows of an event sync which are not settled yet, with what the ledgers know of them.

An engine that is short of memory fails where it has to hash much, and may turn a join around and hash the
rows themselves. So a large sync is read in parts of its keys; what is joined to the rows is put into narrow
temporary tables first; it is looked up by scalar subqueries, which are not turned around; and rows that
share a key are sorted by the caller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sync.core import sql
from sync.core.event_sql import EventColumns, source_query
from sync.spec.model import EventConfig

# Rows of the model and lines of the ledgers that are hashed at once.
_LINES_PER_PART = 500_000
# Temporary tables. Columns that stand beside the model's own have names that no model has.
_SETTLED, _SHARED, _LOGGED = "statsig_sync_settled", "statsig_sync_shared", "statsig_sync_logged"
_KEY, _SENT_HASH = "statsig_sync_key", "statsig_sync_sent_hash"
# A separator that JSON text cannot hold keeps two different rows from the same hash.
_HASH = "md5(coalesce(head, '') || chr(1) || coalesce(custom, ''))"


@dataclass(frozen=True)
class Part:
    """One of ``count`` parts of the keys of a sync. Rows without a key are all in one of them."""

    number: int
    count: int

    def holds(self, key: str) -> str:
        """A condition: whether a key, given as an expression, is in this part."""
        return f"hash({key}) % {self.count} = {self.number}" if self.count > 1 else "true"


def parts(lines: int) -> Sequence[Part]:
    """The parts in which to read a sync with this many lines in its model and its ledgers.

    Each part costs a pass over the model and the ledgers.
    """
    count = max(1, -(-lines // _LINES_PER_PART))
    return [Part(number, count) for number in range(count)]


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
    """A relation with events, what its columns become, and the part of its keys that is read."""

    config: EventConfig
    columns: EventColumns
    relation: str
    part: Part

    @property
    def key(self) -> str:
        """An expression for the unique key as text."""
        return sql.text_form(self.columns.unique_key)

    @property
    def rows(self) -> str:
        """The rows of the part, as a subquery."""
        return f"(select * from {self.relation} where {self.part.holds(self.key)})"


def lines_query(relation: str, ledgers: EventLedgers) -> str:
    """How many lines the relation and the ledgers have."""
    sources = (relation, ledgers.sent, ledgers.logged)
    return "select " + " + ".join(f"(select count(*) from {one})" for one in sources)


def temporary_tables(source: EventSource, ledgers: EventLedgers) -> Mapping[str, str]:
    """The temporary tables that the other queries need: a query for each by its name, in the order to fill them."""
    is_own = source.part.holds("key")
    return {
        # Keys of the model that were sent, or that stand in several rows.
        _SETTLED: f"""
select key as {_KEY}, count(*) filter (in_model) > 1 as is_shared
from (
    select {source.key} as key, true as in_model from {source.rows}
    union all
    select key, false as in_model from {ledgers.sent} and {is_own}
)
where key is not null
group by key
having count(*) > 1 and bool_or(in_model)
""",
        # Keys that stand in several rows, with the hash of the row that was sent.
        _SHARED: f"""
select key as {_KEY}, max(row_hash) as {_SENT_HASH}
from (
    select {_KEY} as key, null as row_hash from temp.main.{_SETTLED} where is_shared
    union all
    select key, coalesce(row_hash, '') as row_hash from {ledgers.sent}
        and key in (select {_KEY} from temp.main.{_SETTLED} where is_shared)
)
group by key
""",
        # The hash alone leaves out the key.
        _LOGGED: f"""
select key, row_hash, string_agg(distinct reason, ',') as reasons
from {ledgers.logged} and {is_own}
group by key, row_hash
""",
    }


def single_rows_query(source: EventSource) -> str:
    """The rows whose key stands in one row only and was not sent, and those without a key; the columns of ``Row``."""
    unsettled = f"anti join (select {_KEY} from temp.main.{_SETTLED}) on {_KEY} = {source.key}"
    return _rows_query(source, unsettled, "cast(null as varchar)")


def shared_rows_query(source: EventSource) -> str:
    """The rows whose key stands in several rows, in any order; the columns of ``Row``."""
    return _rows_query(source, f"inner join temp.main.{_SHARED} on {_KEY} = {source.key}", _SENT_HASH)


def has_shared_keys_query() -> str:
    """Whether any key stands in several rows."""
    return f"select exists (select 1 from temp.main.{_SHARED})"


def _rows_query(source: EventSource, join: str, sent_hash: str) -> str:
    encoded = source_query(source.config, source.columns, f"{source.rows} {join}", f", {sent_hash} as sent_hash")
    return f"""
with source as not materialized ({encoded}),
hashed as not materialized (select *, {_HASH} as row_hash from source)
select key, row_hash, event_time, reason, detail, without, head, custom,
    sent_hash is not null as was_sent, coalesce(sent_hash = row_hash, false) as is_the_sent_one,
    (select reasons from temp.main.{_LOGGED} as logged
        where logged.row_hash = hashed.row_hash and logged.key is not distinct from hashed.key) as logged, trimmed,
    event_name
from hashed
"""
