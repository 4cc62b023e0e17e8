"""The SQL that encodes events, run in a real DuckDB against a slow reference in Python."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import Any

import duckdb
import pytest
from arro3.core import RecordBatch, RecordBatchReader
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sync.core import event_reading, event_sql, reasons, sql
from sync.core.columns import Column
from sync.core.events import RejectedRow, trimmed_counts
from sync.core.mapping import mapping_faults
from sync.engine.connection import Engine
from sync.engine.encoder import EventEncoder
from sync.spec.model import EventConfig, Sync
from sync.spec.statsig import event_name_problem
from tests.unit import reference_encoder
from tests.unit.reference_encoder import Cell
from tests.unit.settling import Event, Row, events_of, rejected_rows, rows_of, settle_row, settled_at_once
from tests.unit.values import TYPES, ValueType, texts

BASE = {"object": "events", "unique_key": "k"}
# As dbt names a relation in DuckDB.
RELATION = '"memory"."main"."source"'
OWN = "project = 'statsig' and sync_name = 'orders'"


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as opened:
        opened.execute("set timezone = 'UTC'")
        yield opened


@dataclass(frozen=True)
class Table:
    """A relation to be: the types of its columns, and rows of values."""

    types: Mapping[str, ValueType]
    rows: Sequence[Sequence[Any]]

    def cells(self) -> list[dict[str, Cell]]:
        return [
            {name: Cell(kind, value) for (name, kind), value in zip(self.types.items(), row, strict=True)}
            for row in self.rows
        ]

    def create(self, connection: duckdb.DuckDBPyConnection, name: str = "source") -> tuple[Column, ...]:
        """Makes the table; returns its columns as the warehouse describes them."""
        columns = ", ".join(f"{sql.identifier(column)} {kind.sql}" for column, kind in self.types.items())
        connection.execute(f"create or replace table {name} ({columns})")
        places = ", ".join(f"cast(? as {kind.sql})" for kind in self.types.values())
        parameters = [
            [
                None if value is None else kind.parameter(value)
                for value, kind in zip(row, self.types.values(), strict=True)
            ]
            for row in self.rows
        ]
        if parameters:
            connection.executemany(f"insert into {name} values ({places})", parameters)
        described = connection.execute(f"describe {name}").fetchall()
        return tuple(Column(row[0], row[1]) for row in described)


def config_of(**settings_: Any) -> EventConfig:
    return EventConfig.model_validate({**BASE, **settings_})


def faults_of(config: EventConfig, columns: Sequence[Column]) -> list[str]:
    sync = Sync("orders", "models/exposures.yml", "model.shop.orders", config)
    return [fault.key.removeprefix("config.meta.statsig.") for fault in mapping_faults(sync, columns)]


@cache
def engine() -> Engine:
    """One for all tests: to open one takes longer than most of them."""
    return Engine()


def batches(connection: duckdb.DuckDBPyConnection, query: str) -> Iterator[RecordBatch]:
    """What a warehouse answers."""
    yield from RecordBatchReader.from_stream(connection.sql(query))


def encoded(connection: duckdb.DuckDBPyConnection, config: EventConfig, columns: Sequence[Column]) -> list[Row]:
    """The rows of the table, in order, as the engine encodes what the warehouse gives it."""
    resolved = event_sql.resolve(config, columns)
    query = f"select {event_reading.EventSource(resolved, RELATION).select_list} from {RELATION}"
    encoder = EventEncoder(engine(), config, event_reading.arrived(resolved))
    return [row for frame in encoder.rows(batches(connection, query)) for row in rows_of(frame)]


def assert_same(config: EventConfig, table: Table, rows: Sequence[Row]) -> None:
    """Every row came to what the reference says."""
    assert len(rows) == len(table.rows)
    nested = {name for name, kind in table.types.items() if kind.is_nested}
    for row, cells in zip(rows, table.cells(), strict=True):
        expected = reference_encoder.encode(config, cells)
        event, rejected = settle_row(row)
        if expected.event is None:
            assert event is None
            assert row.reason in expected.reasons
            assert [(one.reason, one.effect) for one in rejected] == [(row.reason, reasons.NOT_SENT)]
            continue
        assert (row.reason, event is not None) == (None, True), rejected
        assert event is not None
        assert (event.key, event.event_time) == (expected.key, expected.event_time)
        assert {one.reason for one in rejected} == expected.without
        assert {one.effect for one in rejected} <= {reasons.SENT_WITHOUT}
        assert same_spelling(strict(event), config, nested) == same_spelling(expected.event, config, nested)


def strict(event: Event) -> dict[str, Any]:
    """The event as strict JSON; metadata that holds nothing is no metadata."""
    found = reference_encoder.strict_json(event.body)
    if found.get("metadata") == {}:
        del found["metadata"]
    return dict(found)


def typed(value: Any) -> Any:
    """A copy in which true is not 1, and a number equals every spelling of it."""
    match value:
        case bool():
            return ("boolean", value)
        case dict():
            return {name: typed(item) for name, item in value.items()}
        case list():
            return [typed(item) for item in value]
        case _:
            return value


def same_spelling(event: dict[str, Any], config: EventConfig, nested: set[str]) -> dict[str, Any]:
    """The event with lists, structs and maps spelled in one way: JSON leaves some escapes to the writer."""
    event = typed(event)
    sources = {**config.columns, **{name: name for name in nested if name not in config.columns.values()}}
    for name, column in sources.items():
        if column in nested:
            for holder, key in (
                (event, "value" if name == "event_value" else ""),
                (event.get("metadata", {}), column),
                (event["user"], reference_encoder.USER_KEYS.get(name, "")),
            ):
                if isinstance(holder.get(key), str):
                    holder[key] = json.dumps(json.loads(holder[key]))
    return dict(event)


# Which types fit where; ``anywhere`` stands for the value, the fields of the user and metadata.
TIMES = {"DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMPTZ"}
TEXTS = {"VARCHAR", "ISO text", "custom as text", "ENUM"}
INTEGERS = {name for name in TYPES if name.endswith("INT") or name in ("INTEGER", "UINTEGER", "BIGNUM")}
DECIMALS = {name for name in TYPES if name.startswith("DECIMAL")}
FITTING = {
    "unique_key": TIMES | TEXTS | INTEGERS | DECIMALS | {"UUID"},
    "identifiers": INTEGERS | {"DECIMAL(4,0)", "DECIMAL(38,0)", "UUID"} | TEXTS,
    "event_time": TIMES | TEXTS | INTEGERS | DECIMALS | {"DOUBLE", "FLOAT"},
    "custom": TEXTS | {"JSON", "custom as JSON", "LIST", "ARRAY", "STRUCT", "MAP"},
    "event_name": set(TYPES),
    "anywhere": set(TYPES),
}
COLUMNS = {
    "unique_key": ["k"],
    "identifiers": ["user_id", "device"],
    "anywhere": ["event_value", "country", "user_agent", "it's anything"],
}
FAULTY_KEYS = {
    "unique_key": ["unique_key"],
    "identifiers": ["columns.user_id", "custom_ids.deviceID"],
}
POSITIONS = [(position, name) for position in FITTING for name in TYPES]


@pytest.mark.parametrize(("position", "name"), [case for case in POSITIONS if case[1] in FITTING[case[0]]])
def test_every_type_in_every_place_is_encoded_as_the_reference_says(
    connection: duckdb.DuckDBPyConnection, position: str, name: str
) -> None:
    filled = COLUMNS.get(position, [position])
    types = {"k": TYPES["BIGINT"], "user_id": TYPES["VARCHAR"], "device": TYPES["VARCHAR"]}
    types |= dict.fromkeys(filled, TYPES[name])
    values = {"k": st.integers(0, 99), "user_id": st.just("ann"), "device": st.none()}
    values |= {column: st.none() | TYPES[name].values for column in filled}
    config = config_of(custom_ids={"deviceID": "device"}, event_name=None if position == "event_name" else "view")

    @settings(max_examples=max(3, settings().max_examples // 16))
    @given(st.lists(st.tuples(*values.values()), min_size=4, max_size=10))
    def check(rows: list[tuple[Any, ...]]) -> None:
        table = Table(types, rows)
        columns = table.create(connection)
        assert faults_of(config, columns) == []
        assert_same(config, table, encoded(connection, config, columns))

    check()


@pytest.mark.parametrize(("position", "name"), [case for case in POSITIONS if case[1] not in FITTING[case[0]]])
def test_a_type_that_does_not_fit_its_place_is_a_fault_of_the_configuration(
    connection: duckdb.DuckDBPyConnection, position: str, name: str
) -> None:
    types = {"k": TYPES["BIGINT"], "user_id": TYPES["VARCHAR"], "device": TYPES["VARCHAR"]}
    types |= dict.fromkeys(COLUMNS.get(position, [position]), TYPES[name])
    columns = Table(types, []).create(connection)
    mapped = {} if position in FAULTY_KEYS else {position: position}
    config = config_of(event_name="view", columns=mapped, custom_ids={"deviceID": "device"})
    assert faults_of(config, columns) == FAULTY_KEYS.get(position, [f"columns.{position}"])


# DuckDB folds the case of names; a dot in a metadata key is refused by the mapping.
column_names = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\0.\ufeff"), min_size=1, max_size=12)
    | st.sampled_from(['a"b', "it's", "x; drop table source", "{{ this }}", "$project", "a\nb", "\u202e", "select"]),
    min_size=7,
    max_size=7,
    unique_by=lambda name: name.lower().casefold(),
).filter(lambda names: not {name.lower() for name in names} & {"k", *reference_encoder.FIELDS})
id_names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=10).filter(
    lambda name: name.lower() not in ("userid", "user_id")
)


@settings(max_examples=max(40, settings().max_examples))
@given(names=column_names, id_name=id_names, data=st.data())
def test_hostile_names_and_values_reach_statsig_as_they_are(
    connection: duckdb.DuckDBPyConnection, names: list[str], id_name: str, data: st.DataObject
) -> None:
    user, event, value, time, device, custom, note = names
    types = {
        "k": TYPES["BIGINT"],
        user: TYPES["VARCHAR"],
        event: TYPES["VARCHAR"],
        value: TYPES[data.draw(st.sampled_from(["VARCHAR", "DOUBLE", "DECIMAL(10,2)", "HUGEINT"]))],
        time: TYPES[data.draw(st.sampled_from(["TIMESTAMPTZ", "TIMESTAMP", "ISO text", "BIGINT"]))],
        device: TYPES["VARCHAR"],
        custom: TYPES["custom as text"],
        note: TYPES["VARCHAR"],
    }
    config = config_of(
        environment=data.draw(st.sampled_from(["production", "staging", "development"])),
        columns={"user_id": user, "event_name": event, "event_value": value, "event_time": time, "custom": custom},
        custom_ids={id_name: device},
        exclude=["k"],
    )
    usable = st.sampled_from(["ann", "it's", '"quoted"', "{{ user }}", "\U0001f600"])
    values = {name: st.none() | kind.values for name, kind in types.items()}
    values |= {"k": st.integers(0, 9), user: usable | texts, event: usable | texts, device: st.none() | usable | texts}
    rows = data.draw(st.lists(st.tuples(*values.values()), min_size=1, max_size=6))
    table = Table(types, rows)
    columns = table.create(connection)
    assert faults_of(config, columns) == []
    assert_same(config, table, encoded(connection, config, columns))


@given(name=texts.filter(lambda text: event_name_problem(text) is None))
@example("it's {{ not }} SQL".replace("{", "(").replace("}", ")"))
def test_a_static_name_is_the_name_of_every_event(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    config = config_of(event_name=name)
    types = {"k": TYPES["BIGINT"], "user_id": TYPES["VARCHAR"], "event_name": TYPES["VARCHAR"]}
    table = Table(types, [[1, "ann", "a column of this name is metadata then"], [2, "bob", None]])
    assert_same(config, table, encoded(connection, config, table.create(connection)))


def one_row(
    connection: duckdb.DuckDBPyConnection, types: Mapping[str, str], values: Sequence[Any], **settings_: Any
) -> tuple[Event | None, list[RejectedRow]]:
    """What becomes of one row of a table with the key 1 and the user ann."""
    kinds = {"k": TYPES["BIGINT"], "user_id": TYPES["VARCHAR"]}
    kinds |= {column: TYPES[name] for column, name in types.items()}
    columns = Table(kinds, [[1, "ann", *values]]).create(connection)
    (row,) = encoded(connection, config_of(**{"event_name": "view", **settings_}), columns)
    return settle_row(row)


def body_of(event: Event | None) -> dict[str, Any]:
    assert event is not None
    return dict(json.loads(event.body))


def test_a_whole_event_has_the_shape_of_statsigs_reference(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(
        """create or replace table source as select 7 as order_id, 42 as customer_id, 'd-1' as device,
        timestamp '2026-01-31 10:00:00.5' as ordered_at, 12.50::decimal(10,2) as amount, 'ann@example.com' as email,
        'DE' as country, '203.0.113.7' as ip, 'Firefox' as agent, 'de_DE' as locale, '1.2' as version,
        {'plan': 'pro'} as props, ['a', 'b'] as skus, true as is_first, date '2026-02-01' as deliver_on,
        null::varchar as coupon, 'secret' as internal"""
    )
    columns = tuple(Column(row[0], row[1]) for row in connection.execute("describe source").fetchall())
    config = EventConfig.model_validate(
        {
            "object": "events",
            "unique_key": "order_id",
            "event_name": "order_completed",
            "environment": "staging",
            "columns": {
                "user_id": "customer_id",
                "event_time": "ordered_at",
                "event_value": "amount",
                "user_agent": "agent",
                "app_version": "version",
                "custom": "props",
            },
            "custom_ids": {"stableID": "device"},
            "exclude": ["internal"],
        }
    )
    (row,) = encoded(connection, config, columns)
    event, rejected = settle_row(row)
    assert rejected == []
    assert body_of(event) == {
        "eventName": "order_completed",
        "time": 1769853600500,
        "value": 12.5,
        "metadata": {"order_id": "7", "skus": '["a","b"]', "is_first": "true", "deliver_on": "2026-02-01"},
        "user": {
            "userID": "42",
            "email": "ann@example.com",
            "ip": "203.0.113.7",
            "userAgent": "Firefox",
            "country": "DE",
            "locale": "de_DE",
            "appVersion": "1.2",
            "customIDs": {"stableID": "d-1"},
            "statsigEnvironment": {"tier": "staging"},
            "custom": {"plan": "pro"},
        },
    }


@pytest.mark.parametrize("environment", ["production", "staging", "development"])
def test_the_environment_stands_in_the_events_user(connection: duckdb.DuckDBPyConnection, environment: str) -> None:
    event, _ = one_row(connection, {}, [], environment=environment)
    assert body_of(event)["user"]["statsigEnvironment"] == {"tier": environment}


@pytest.mark.parametrize(
    ("kind", "value", "milliseconds"),
    [
        ("BIGINT", 0, 0),
        ("BIGINT", 1769853600, 1769853600000),
        ("DOUBLE", 1769853600.25, 1769853600250),
        ("DECIMAL(18,3)", Decimal("1769853600.123"), 1769853600123),
        ("ISO text", "2026-01-31", 1769817600000),
        ("ISO text", "2026-01-31T10:00:00Z", 1769853600000),
        ("ISO text", "2026-01-31T12:00:00+02:00", 1769853600000),
        ("ISO text", "2026-01-31 10:00:00", 1769853600000),
        ("ISO text", "2026-01-31T10:00:00.123999Z", 1769853600123),
    ],
)
def test_times_become_milliseconds_in_utc(
    connection: duckdb.DuckDBPyConnection, kind: str, value: Any, milliseconds: int
) -> None:
    event, _ = one_row(connection, {"event_time": kind}, [value])
    assert body_of(event)["time"] == milliseconds


DHAKA_IS_NO_MATTER = [
    ("'2026-01-31'", 1769817600000),
    ("'2026-01-31T10:00'", 1769853600000),
    ("'2026-01-31 10:00:00'", 1769853600000),
    ("'2026-01-31T10:00:00.5'", 1769853600500),
    ("'2026-01-31T10:00:00Z'", 1769853600000),
    ("'2026-01-31T12:00:00+02'", 1769853600000),
    ("'2026-01-31T12:00:00+0200'", 1769853600000),
    ("'2026-01-31T06:30:00-03:30'", 1769853600000),
    ("'2026-02-01T00:00:00+14:00'", 1769853600000),
    ("date '2026-01-31'", 1769817600000),
    ("timestamp '2026-01-31 10:00:00'", 1769853600000),
    ("timestamptz '2026-01-31 10:00:00+00'", 1769853600000),
    ("1769853600", 1769853600000),
]


@pytest.fixture
def dhaka(connection: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """A session whose zone is not UTC."""
    connection.execute("set timezone = 'Asia/Dhaka'")
    yield connection
    connection.execute("set timezone = 'UTC'")


@pytest.mark.parametrize(("moment", "milliseconds"), DHAKA_IS_NO_MATTER)
def test_times_do_not_depend_on_the_zone_of_the_session(
    dhaka: duckdb.DuckDBPyConnection, moment: str, milliseconds: int
) -> None:
    dhaka.execute(f"create or replace table source as select 1 as k, 'ann' as user_id, {moment} as event_time")
    columns = tuple(Column(row[0], row[1]) for row in dhaka.execute("describe source").fetchall())
    (row,) = encoded(dhaka, config_of(event_name="view"), columns)
    assert (row.event_time, row.reason) == (milliseconds, None)


_MOMENT = "timestamptz '2026-01-31 10:00:00.5+00'"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (_MOMENT, "2026-01-31T10:00:00.5Z"),
        (f"[{_MOMENT}, null, timestamptz 'infinity']", '["2026-01-31 10:00:00.5+00",null,"infinity"]'),
        (f"[[{_MOMENT}]]", '[["2026-01-31 10:00:00.5+00"]]'),
        (f"[{_MOMENT}]::timestamptz[1]", '["2026-01-31 10:00:00.5+00"]'),
        (
            f"{{'it''s \"at\", (so)': {_MOMENT}, 'n': {{'l': [{_MOMENT}]}}, 'i': 1}}",
            '{"it\'s \\"at\\", (so)":"2026-01-31 10:00:00.5+00","n":{"l":["2026-01-31 10:00:00.5+00"]},"i":1}',
        ),
        ("[{'at': null::timestamptz}, null]", '[{"at":null},null]'),
        (f"map {{'a': {_MOMENT}}}", '{"a":"2026-01-31 10:00:00.5+00"}'),
        (
            f"map {{{_MOMENT}: [{{'at': {_MOMENT}}}]}}",
            '{"2026-01-31 10:00:00.5+00":[{"at":"2026-01-31 10:00:00.5+00"}]}',
        ),
        ("null::map(varchar, timestamptz)", None),
        ('null::struct("at" timestamptz)', None),
        (
            "{'at': timestamp '2026-01-31 10:00:00', 'of': '10:00:00+06'::timetz}",
            '{"at":"2026-01-31 10:00:00","of":"10:00:00+06"}',
        ),
    ],
)
def test_text_of_times_does_not_depend_on_the_zone_of_the_session(
    dhaka: duckdb.DuckDBPyConnection, value: str, text: str | None
) -> None:
    dhaka.execute(f"create or replace table source as select 1 as k, 'ann' as user_id, {value} as note")
    columns = tuple(Column(row[0], row[1]) for row in dhaka.execute("describe source").fetchall())
    (row,) = encoded(dhaka, config_of(event_name="view"), columns)
    event, _ = settle_row(row)
    assert body_of(event)["metadata"].get("note") == text


LONG, LONG_JSON = "x" * 65, "x" * 4097


@pytest.mark.parametrize(
    ("types", "values", "settings_", "kinds"),
    [
        ({"note": "VARCHAR"}, ["x" * 64], {}, []),
        ({"note": "VARCHAR"}, [LONG], {}, ["metadata_value"]),
        ({"note": "VARCHAR"}, ["\U0001f600" * 64], {}, []),
        ({"note": "VARCHAR", "more": "LIST"}, ["short", [LONG]], {}, ["metadata_value"]),
        ({"note": "VARCHAR"}, [LONG_JSON], {}, ["metadata_value", "metadata"]),
        ({"note": "VARCHAR"}, [LONG_JSON], {"exclude": ["note"]}, []),
        ({}, [], {"event_name": "x" * 64}, []),
        ({}, [], {"event_name": LONG}, ["event_name"]),
        ({"event_name": "VARCHAR"}, [LONG], {"event_name": None}, ["event_name"]),
        ({"event_value": "VARCHAR"}, [LONG], {}, ["event_value"]),
        ({"event_value": "VARCHAR"}, ["x" * 128], {}, []),
        ({"event_value": "DOUBLE"}, [1.5], {}, []),
        ({"device": "VARCHAR"}, [LONG], {"custom_ids": {"stableID": "device"}}, ["id"]),
        ({"device": "VARCHAR"}, [LONG], {"columns": {"user_id": "device"}, "exclude": ["user_id"]}, ["id"]),
        ({"email": "VARCHAR"}, [LONG], {}, []),
        ({"email": "VARCHAR"}, [LONG_JSON], {}, ["user"]),
        ({"custom": "VARCHAR"}, [json.dumps({"a": "x" * 4000})], {}, []),
        ({"custom": "VARCHAR"}, [json.dumps({"a": "x" * 4080})], {}, ["user"]),
        ({"custom": "VARCHAR"}, [json.dumps({"a": LONG_JSON})], {}, ["custom", "user"]),
        ({"custom": "VARCHAR"}, [f'{{"a": NaN, "b": "{LONG_JSON}"}}'], {}, []),
        ({"note": "VARCHAR"}, [None], {}, []),
    ],
)
def test_what_statsig_may_trim_is_told_by_kind(
    connection: duckdb.DuckDBPyConnection,
    types: dict[str, str],
    values: list[Any],
    settings_: dict[str, Any],
    kinds: list[str],
) -> None:
    own = {"k": TYPES["BIGINT"], "user_id": TYPES["VARCHAR"], **{name: TYPES[kind] for name, kind in types.items()}}
    columns = Table(own, [[1, "ann", *values]]).create(connection)
    (row,) = encoded(connection, config_of(**{"event_name": "view", **settings_}), columns)
    event, _ = settle_row(row)
    assert event is not None
    assert list(trimmed_counts(settled_at_once([row]).events)) == kinds


@pytest.mark.parametrize("kind", sorted(TIMES - {"DATE"}))
def test_times_do_not_depend_on_the_zone_of_the_machine(connection: duckdb.DuckDBPyConnection, kind: str) -> None:
    utc = "timezone('UTC', timestamptz '2026-01-31 10:00:00+00')"
    moment = f"timezone('UTC', {utc})" if kind == "TIMESTAMPTZ" else f"cast({utc} as {kind})"
    connection.execute("set timezone = 'America/New_York'")
    try:
        connection.execute(f"create or replace table source as select 1 as k, 'ann' as user_id, {moment} as event_time")
        columns = tuple(Column(row[0], row[1]) for row in connection.execute("describe source").fetchall())
        (row,) = encoded(connection, config_of(event_name="view"), columns)
    finally:
        connection.execute("set timezone = 'UTC'")
    assert row.event_time == 1769853600000


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("BIGINT", 1769853600000),
        ("BIGINT", -1),
        ("DOUBLE", float("nan")),
        ("DOUBLE", float("inf")),
        ("HUGEINT", 2**127 - 1),
        ("BIGNUM", "9" * 400),
        ("DATE", "infinity"),
        ("DATE", "300000-01-01"),
        ("DATE", "4713-01-01 (BC)"),
        ("TIMESTAMP", "-infinity"),
        ("TIMESTAMP", dt.datetime(1969, 12, 31, 23, 59, 59, 999000)),
        ("TIMESTAMP", dt.datetime(2100, 1, 1)),
        ("ISO text", "yesterday"),
        ("ISO text", "1769853600"),
        ("ISO text", "31.01.2026"),
        ("ISO text", "20260131"),
        ("ISO text", "20260131T100000Z"),
        ("ISO text", "2026-W05-6"),
        ("ISO text", "2026-031"),
        ("ISO text", "2026-01-31T10"),
        ("ISO text", "2026-01-31T100000"),
        ("ISO text", "2026-13-01"),
        ("ISO text", "infinity"),
        ("ISO text", ""),
        # Zones that DuckDB knows by name, some of them as others than those that are meant.
        ("ISO text", "2026-07-01 10:00:00 BST"),
        ("ISO text", "2026-07-01 10:00:00 ART"),
        ("ISO text", "2026-07-01 10:00:00 EST"),
        ("ISO text", "2026-07-01 10:00:00 UTC"),
        ("ISO text", "2026-07-01T10:00:00UTC"),
        ("ISO text", "2026-07-01 10:00:00 Europe/Paris"),
        ("ISO text", "2026-07-01 10:00:00+02:00 Europe/Paris"),
        ("ISO text", "2026-07-01T10:00:00[Europe/Paris]"),
        ("ISO text", "2026-07-01 BST"),
        # No place is farther from UTC than 14 hours.
        ("ISO text", "2026-07-01 10:00:00+14:01"),
        ("ISO text", "2026-07-01 10:00:00+14:59"),
        ("ISO text", "2026-07-01 10:00:00-1459"),
        ("ISO text", "2026-07-01Z"),
        ("ISO text", "2026-07-01 (BC)"),
        ("ISO text", "2026-07-01T10:00:00z"),
        # Offsets that no place on earth has.
        ("ISO text", "2026-07-01T10:00:00+25:00"),
        ("ISO text", "2026-07-01T10:00:00+15:00"),
        ("ISO text", "2026-07-01T10:00:00-05:60"),
        ("ISO text", "2026-07-01T10:00:00+2"),
        ("ISO text", "2026-07-01T10:00:00+020000"),
        ("ISO text", "2026-07-01T10:00:00 +02:00"),
        # Moments that no clock shows, and text around one.
        ("ISO text", "2026-01-31T24:00:01"),
        ("ISO text", "2026-01-31T10:60:00Z"),
        ("ISO text", "2026-01-31T10:00:61Z"),
        ("ISO text", "2026-01-32"),
        ("ISO text", "2026-01-32T10:00:00Z"),
        ("ISO text", "2026-02-29T10:00:00Z"),
        ("ISO text", "2026-01-31T10:00:00Z and more"),
        ("ISO text", " 2026-01-31T10:00:00Z"),
        ("ISO text", "2026-01-31T10:00:00Z\n"),
        ("ISO text", "2026-01-31T10:00:00."),
        ("ISO text", "2026-01-31T10:00:00.Z"),
        ("ISO text", "12026-01-31T10:00:00Z"),
    ],
)
def test_what_is_no_time_between_1970_and_2100_refuses_the_row(
    connection: duckdb.DuckDBPyConnection, kind: str, value: Any
) -> None:
    event, rejected = one_row(connection, {"event_time": kind}, [value])
    assert event is None
    assert [one.reason for one in rejected] == [reasons.INVALID_EVENT_TIME]


def test_an_event_whose_other_columns_are_all_kept_out_has_no_metadata(connection: duckdb.DuckDBPyConnection) -> None:
    event, rejected = one_row(connection, {"note": "VARCHAR"}, ["internal"], exclude=["k", "note"])
    assert body_of(event)["user"]["userID"] == "ann"
    assert "metadata" not in body_of(event)
    assert rejected == []


def test_an_event_without_a_time_is_sent_without_one(connection: duckdb.DuckDBPyConnection) -> None:
    event, rejected = one_row(connection, {"event_time": "TIMESTAMP"}, [None])
    assert "time" not in body_of(event)
    assert rejected == []


@pytest.mark.parametrize("character", sorted(reference_encoder.FORBIDDEN))
def test_a_name_with_a_character_that_statsig_drops_refuses_the_row(
    connection: duckdb.DuckDBPyConnection, character: str
) -> None:
    event, rejected = one_row(connection, {"event_name": "VARCHAR"}, [f"order{character}paid"], event_name=None)
    assert event is None
    assert [one.reason for one in rejected] == [reasons.INVALID_EVENT_NAME]


@pytest.mark.parametrize(
    "space", ["", " ", "\t", "\n", "\r", "\v", "\f", "\x85", "\u00a0", "\u2003", "\u2028", "\u3000"]
)
def test_a_blank_is_no_name_and_no_identifier(connection: duckdb.DuckDBPyConnection, space: str) -> None:
    event, rejected = one_row(connection, {"event_name": "VARCHAR"}, [space], event_name=None)
    assert (event, [one.reason for one in rejected]) == (None, [reasons.MISSING_EVENT_NAME])
    event, rejected = one_row(
        connection, {"device": "VARCHAR"}, [space], columns={"user_id": "device"}, exclude=["user_id"]
    )
    assert (event, [one.reason for one in rejected]) == (None, [reasons.MISSING_IDENTIFIER])
    event, rejected = one_row(connection, {"device": "VARCHAR"}, [space], custom_ids={"stableID": "device"})
    assert rejected == []
    assert "customIDs" not in body_of(event)["user"]


@pytest.mark.parametrize("space", [" ", "\t", "\n", "\v", "\x85", "\u00a0", "\u2003", "\u3000"])
@pytest.mark.parametrize("form", ["{0}x", "x{0}"])
def test_outer_white_space_of_an_identifier_refuses_the_row(
    connection: duckdb.DuckDBPyConnection, space: str, form: str
) -> None:
    custom_ids = {"stableID": "device"}
    event, rejected = one_row(connection, {"device": "VARCHAR"}, [form.format(space)], custom_ids=custom_ids)
    assert event is None
    assert [(one.reason, one.detail) for one in rejected] == [(reasons.OUTER_WHITESPACE, "column device")]


def test_a_value_as_long_as_statsig_takes_is_sent_and_a_longer_one_left_out(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    event, rejected = one_row(connection, {"event_value": "VARCHAR"}, ["x" * 127])
    assert (body_of(event)["value"], rejected) == ("x" * 127, [])
    event, rejected = one_row(connection, {"event_value": "VARCHAR"}, ["x" * 128])
    assert "value" not in body_of(event)
    assert [(one.reason, one.effect) for one in rejected] == [(reasons.INVALID_EVENT_VALUE, reasons.SENT_WITHOUT)]


def test_an_event_that_alone_is_larger_than_a_request_refuses_the_row(connection: duckdb.DuckDBPyConnection) -> None:
    event, rejected = one_row(connection, {"note": "VARCHAR"}, ["x" * 1024 * 1024])
    assert event is None
    assert [one.reason for one in rejected] == [reasons.EVENT_TOO_LARGE]


def test_the_smallest_decimals_are_numbers_in_json(connection: duckdb.DuckDBPyConnection) -> None:
    event, rejected = one_row(connection, {"event_value": "DECIMAL(2,2)"}, [Decimal("-0.05")])
    assert rejected == []
    assert body_of(event)["value"] == -0.05


def test_what_is_inside_a_struct_is_written_as_duckdbs_to_json_writes_it(connection: duckdb.DuckDBPyConnection) -> None:
    inside = "{'at': timestamp '2026-01-31 10:00:00', 'zoned': timestamptz '2026-01-31 10:00:00Z', 'no': 'nan'::double}"
    connection.execute(f"create or replace table source as select 1 as k, 'ann' as user_id, {inside} as inside")
    columns = tuple(Column(row[0], row[1]) for row in connection.execute("describe source").fetchall())
    (row,) = encoded(connection, config_of(event_name="view"), columns)
    event, _ = settle_row(row)
    expected = '{"at":"2026-01-31 10:00:00","zoned":"2026-01-31 10:00:00+00","no":NaN}'
    assert body_of(event)["metadata"]["inside"] == expected


def test_numbers_keep_every_digit(connection: duckdb.DuckDBPyConnection) -> None:
    event, _ = one_row(connection, {"event_value": "HUGEINT"}, [2**126 + 1])
    assert event is not None
    assert f'"value":{2**126 + 1},'.encode() in event.body


@dataclass
class Ledgers:
    """The two relations that an event sync reads, with rows of a test's own."""

    connection: duckdb.DuckDBPyConnection
    deliveries: list[tuple[Any, ...]] = field(default_factory=list)
    rejects: list[tuple[Any, ...]] = field(default_factory=list)
    ranked_at_once: int = 1_000

    def rows(self, config: EventConfig, columns: Sequence[Column]) -> list[Row]:
        """All rows that the sync would read."""
        self.connection.execute(
            "create or replace table deliveries (project varchar, sync_name varchar, operation varchar,"
            " key varchar, row_hash varchar, state varchar)"
        )
        self.connection.execute(
            "create or replace table reject_log (project varchar, sync_name varchar, key varchar, row_hash varchar,"
            " reason varchar)"
        )
        for table, rows in (("deliveries", self.deliveries), ("reject_log", self.rejects)):
            for row in rows:
                self.connection.execute(f"insert into {table} values ({', '.join('?' * len(row))})", list(row))
        ledgers = event_reading.EventLedgers("deliveries", "reject_log", OWN, config.unknown_then)
        source = event_reading.EventSource(event_sql.resolve(config, columns), RELATION)
        for name, query in event_reading.temporary_tables(source, ledgers).items():
            self.connection.execute(f"create or replace temp table {name} as {query}")
        has_shared = bool(self.connection.execute(event_reading.has_shared_keys_query()).fetchall()[0][0])
        encoder = EventEncoder(engine(), config, event_reading.arrived(source.columns), self.ranked_at_once)
        encoder.know(batches(self.connection, event_reading.logged_query(ledgers)))
        single = event_reading.single_rows_query(source, ledgers, has_shared)
        frames = list(encoder.rows(batches(self.connection, single)))
        if has_shared:
            frames.extend(encoder.shared_rows(batches(self.connection, event_reading.shared_rows_query(source))))
        return [row for frame in frames for row in rows_of(frame)]

    def note(self, events: Sequence[Event], state: str = "accepted") -> None:
        self.deliveries.extend(("statsig", "orders", "log", one.key, one.row_hash, state) for one in events)

    def note_rejects(self, rejected: Sequence[RejectedRow]) -> None:
        self.rejects.extend(("statsig", "orders", one.key, one.row_hash, one.reason) for one in rejected)


@pytest.fixture
def ledgers(connection: duckdb.DuckDBPyConnection) -> Ledgers:
    return Ledgers(connection)


EVENTS = {"k": TYPES["BIGINT"], "user_id": TYPES["VARCHAR"], "event_time": TYPES["TIMESTAMP"], "note": TYPES["VARCHAR"]}
VIEW = config_of(event_name="view")


def settled(rows: Sequence[Row]) -> tuple[list[Event], list[RejectedRow]]:
    found = settled_at_once(rows)
    return events_of(found), rejected_rows(found.rejects)


few_rows = st.lists(
    st.tuples(
        st.none() | st.integers(1, 4),
        st.sampled_from(["ann", "bob", "", None]),
        st.none() | TYPES["TIMESTAMP"].values,
        st.sampled_from(["a", "b"]),
    ),
    max_size=8,
)


@settings(max_examples=max(40, settings().max_examples // 2))
@given(rows=few_rows)
def test_every_row_is_sent_or_rejected_and_no_key_is_sent_twice(
    connection: duckdb.DuckDBPyConnection, rows: list[tuple[Any, ...]]
) -> None:
    ledgers = Ledgers(connection)
    columns = Table(EVENTS, rows).create(connection)
    events, rejected = settled(ledgers.rows(VIEW, columns))
    assert len({event.key for event in events}) == len(events)
    assert len(events) + sum(one.row_count for one in rejected if one.effect == reasons.NOT_SENT) == len(rows)
    sendable = {str(row[0]) for row in rows if settle_in_reference(row)}
    assert {event.key for event in events} == sendable

    ledgers.note(events)
    ledgers.note_rejects(rejected)
    assert settled(ledgers.rows(VIEW, columns)) == ([], [])


def settle_in_reference(row: tuple[Any, ...]) -> bool:
    cells = {name: Cell(kind, value) for (name, kind), value in zip(EVENTS.items(), row, strict=True)}
    return reference_encoder.encode(VIEW, cells).event is not None


@settings(max_examples=max(20, settings().max_examples // 4))
@given(rows=few_rows, sent=st.sets(st.integers(1, 4)), at_once=st.integers(1, 4))
def test_rows_that_share_keys_are_ranked_part_by_part_as_they_are_all_at_once(
    connection: duckdb.DuckDBPyConnection, rows: list[tuple[Any, ...]], sent: set[int], at_once: int
) -> None:
    columns = Table(EVENTS, rows).create(connection)
    deliveries = [("statsig", "orders", "log", str(key), "another hash", "accepted") for key in sent]
    whole, partial = (
        Ledgers(connection, list(deliveries), ranked_at_once=number).rows(VIEW, columns) for number in (1_000, at_once)
    )
    assert sorted(map(repr, partial)) == sorted(map(repr, whole))


@pytest.mark.parametrize("name", ["key", "is_shared", "in_model", "row_hash", "sent_hash", "logged", "source"])
def test_a_column_may_have_any_name_that_stands_in_the_queries(ledgers: Ledgers, name: str) -> None:
    types = {name: TYPES["BIGINT"], "user_id": TYPES["VARCHAR"]}
    columns = Table(types, [[1, "ann"], [2, "bob"], [2, "bob"], [3, "eve"]]).create(ledgers.connection)
    ledgers.deliveries.append(("statsig", "orders", "log", "3", "h", "accepted"))
    events, rejected = settled(ledgers.rows(config_of(event_name="view", unique_key=name), columns))
    assert sorted(body_of(event)["metadata"][name] for event in events) == ["1", "2"]
    assert [(one.key, one.reason) for one in rejected] == [("2", reasons.DUPLICATE_KEY)]


def at(day: str) -> dt.datetime:
    return dt.datetime.fromisoformat(day)


def keys_sent(ledgers: Ledgers, rows: Sequence[Sequence[Any]], config: EventConfig = VIEW) -> list[str]:
    columns = Table(EVENTS, rows).create(ledgers.connection)
    return [event.key for event in settled(ledgers.rows(config, columns))[0]]


@pytest.mark.parametrize("state", ["claimed", "rejected", "unsent"])
def test_a_key_whose_request_did_not_arrive_is_sent(ledgers: Ledgers, state: str) -> None:
    ledgers.deliveries.append(("statsig", "orders", "log", "1", "h", state))
    assert keys_sent(ledgers, [[1, "ann", None, "a"]]) == ["1"]


@pytest.mark.parametrize("operation", ["log", "skip"])
def test_a_key_that_was_accepted_or_skipped_is_never_sent_again_even_where_its_row_changed(
    ledgers: Ledgers, operation: str
) -> None:
    ledgers.deliveries.append(("statsig", "orders", operation, "1", "another hash", "accepted"))
    assert keys_sent(ledgers, [[1, "ann", None, "a"], [2, "bob", None, "b"]]) == ["2"]


@pytest.mark.parametrize(("on_unknown", "sent"), [("resend", ["1"]), ("hold", [])])
def test_on_unknown_decides_whether_a_key_in_doubt_is_sent_again(
    ledgers: Ledgers, on_unknown: str, sent: list[str]
) -> None:
    ledgers.deliveries.append(("statsig", "orders", "log", "1", "h", "unknown"))
    assert keys_sent(ledgers, [[1, "ann", None, "a"]], config_of(event_name="view", on_unknown=on_unknown)) == sent


@pytest.mark.parametrize("other", [("sandbox", "orders"), ("statsig", "page_views")])
def test_what_another_sync_or_project_sent_does_not_count(ledgers: Ledgers, other: tuple[str, str]) -> None:
    ledgers.deliveries.append((*other, "log", "1", "h", "accepted"))
    assert keys_sent(ledgers, [[1, "ann", None, "a"]]) == ["1"]


def notes_sent(ledgers: Ledgers, rows: Sequence[Sequence[Any]]) -> list[str]:
    columns = Table(EVENTS, rows).create(ledgers.connection)
    return [body_of(event)["metadata"]["note"] for event in settled(ledgers.rows(VIEW, columns))[0]]


def test_of_rows_that_share_a_key_the_earliest_is_sent(ledgers: Ledgers) -> None:
    times = {"none": None, "later": at("2026-01-02"), "earliest": at("2026-01-01")}
    assert notes_sent(ledgers, [[1, "ann", time, note] for note, time in times.items()]) == ["earliest"]


def test_of_rows_that_share_a_key_one_that_can_be_sent_comes_before_an_earlier_one_that_cannot(
    ledgers: Ledgers,
) -> None:
    rows: list[list[Any]] = [[1, None, at("2026-01-01"), "nobody's"], [1, "ann", at("2026-01-02"), "usable"]]
    assert notes_sent(ledgers, rows) == ["usable"]


def test_the_choice_among_rows_that_share_a_key_does_not_depend_on_their_order(ledgers: Ledgers) -> None:
    rows = [[1, "ann", None, note] for note in "abcde"]
    assert notes_sent(ledgers, rows) == notes_sent(ledgers, rows[::-1])


def test_rows_that_are_the_same_to_the_letter_are_one_event_and_its_copies_are_counted(ledgers: Ledgers) -> None:
    columns = Table(EVENTS, [[1, "ann", None, "a"]] * 3).create(ledgers.connection)
    events, rejected = settled(ledgers.rows(VIEW, columns))
    assert len(events) == 1
    assert [(one.reason, one.row_count) for one in rejected] == [(reasons.DUPLICATE_KEY, 2)]


def test_a_row_that_arrives_later_with_a_key_that_was_sent_is_a_duplicate(ledgers: Ledgers) -> None:
    columns = Table(EVENTS, [[1, "ann", at("2026-01-02"), "first"]]).create(ledgers.connection)
    sent, _ = settled(ledgers.rows(VIEW, columns))
    ledgers.note(sent)
    rows = [[1, "ann", at("2026-01-02"), "first"], [1, "ann", at("2026-01-01"), "late"]]
    columns = Table(EVENTS, rows).create(ledgers.connection)
    events, rejected = settled(ledgers.rows(VIEW, columns))
    assert events == []
    assert [(one.reason, one.row_count) for one in rejected] == [(reasons.DUPLICATE_KEY, 1)]
    assert rejected[0].row_hash != sent[0].row_hash


def test_what_another_statsig_project_refused_holds_nothing_back(ledgers: Ledgers) -> None:
    """A local stand-in is another project than the real Statsig."""
    columns = Table(EVENTS, [[1, "ann", at("2026-01-02"), "first"]]).create(ledgers.connection)
    (row,) = ledgers.rows(VIEW, columns)
    ledgers.rejects.append(("sandbox", "orders", row.key, row.row_hash, reasons.REFUSED_BY_STATSIG))
    events, _ = settled(ledgers.rows(VIEW, columns))
    assert [event.key for event in events] == ["1"]


def test_a_row_that_statsig_refused_is_held_back_until_it_changes(ledgers: Ledgers) -> None:
    columns = Table(EVENTS, [[1, "ann", None, "bad"]]).create(ledgers.connection)
    (event,) = settled(ledgers.rows(VIEW, columns))[0]
    ledgers.rejects.append(("statsig", "orders", event.key, event.row_hash, reasons.REFUSED_BY_STATSIG))
    assert keys_sent(ledgers, [[1, "ann", None, "bad"]]) == []
    assert keys_sent(ledgers, [[1, "ann", None, "better"]]) == ["1"]


def test_rows_with_the_same_content_and_different_keys_are_each_reported_once(ledgers: Ledgers) -> None:
    config = config_of(event_name="view", exclude=["k"])
    columns = Table(EVENTS, [[1, None, None, "a"]]).create(ledgers.connection)
    ledgers.note_rejects(settled(ledgers.rows(config, columns))[1])
    columns = Table(EVENTS, [[1, None, None, "a"], [2, None, None, "a"]]).create(ledgers.connection)
    _, rejected = settled(ledgers.rows(config, columns))
    assert [(one.key, one.reason) for one in rejected] == [("2", reasons.MISSING_IDENTIFIER)]


def test_a_row_that_goes_wrong_in_another_way_is_reported_again(ledgers: Ledgers) -> None:
    columns = Table(EVENTS, [[1, None, None, "a"]]).create(ledgers.connection)
    ledgers.note_rejects(settled(ledgers.rows(VIEW, columns))[1])
    columns = Table(EVENTS, [[1, "x ", None, "a"]]).create(ledgers.connection)
    _, rejected = settled(ledgers.rows(VIEW, columns))
    assert [one.reason for one in rejected] == [reasons.OUTER_WHITESPACE]
