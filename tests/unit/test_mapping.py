"""Whether a relation has the columns that a sync names, and who feeds what."""

from __future__ import annotations

from typing import Any

import pytest

from sync.core.columns import Column, find
from sync.core.event_sql import resolve
from sync.core.mapping import ignored_columns_note, mapping_faults
from sync.spec.model import EventConfig, SegmentConfig, Sync

FILE = "models/marts/_exposures.yml"
COLUMNS = (
    Column("order_id", "BIGINT"),
    Column("customer_id", "BIGINT"),
    Column("device", "UUID"),
    Column("ordered_at", "TIMESTAMP"),
    Column("amount", "DECIMAL(10,2)"),
    Column("properties", "VARCHAR"),
)
USER = {"columns": {"user_id": "customer_id"}}


def events(**settings: Any) -> Sync:
    base = {"object": "events", "unique_key": "order_id", "event_name": "order", **USER}
    return Sync("orders", FILE, "model.shop.orders", EventConfig.model_validate({**base, **settings}))


def segment(**settings: Any) -> Sync:
    base = {"object": "segment", "segment_id": "buyers", "mode": "mirror"}
    return Sync("buyers", FILE, "model.shop.buyers", SegmentConfig.model_validate({**base, **settings}))


def faults_of(sync: Sync, columns: tuple[Column, ...] = COLUMNS) -> dict[str, str]:
    faults = mapping_faults(sync, columns)
    assert {(fault.where, fault.subject) for fault in faults} <= {(FILE, f"exposure {sync.name}")}
    return {fault.key.removeprefix("config.meta.statsig."): fault.message for fault in faults}


def test_a_sync_whose_columns_are_all_there_has_no_fault() -> None:
    assert faults_of(events(custom_ids={"stableID": "device"}, exclude=["amount"])) == {}
    assert faults_of(segment(**USER)) == {}


@pytest.mark.parametrize("sync", [events(), segment(**USER), segment(columns={"user_id": "\ufeffcustomer_id"})])
@pytest.mark.parametrize("name", ["customer_id", "note"])
def test_a_column_whose_name_starts_with_a_byte_order_mark_is_said_to(sync: Sync, name: str) -> None:
    columns = (Column(f"\ufeff{name}", "BIGINT"), *(one for one in COLUMNS if one.name != name))
    found = faults_of(sync, columns)
    assert list(found) == ["depends_on"]
    assert f"whose column '{name}' has a byte order mark (U+FEFF) before its name" in found["depends_on"]


@pytest.mark.parametrize(
    ("sync", "key", "name"),
    [
        (events(unique_key="ordr_id"), "unique_key", "order_id"),
        (events(columns={"user_id": "customer"}), "columns.user_id", "customer_id"),
        (events(custom_ids={"stableID": "devise"}), "custom_ids.stableID", "device"),
        (events(exclude=["amout"]), "exclude", "amount"),
        (segment(columns={"user_id": "costumer_id"}), "columns.user_id", "customer_id"),
        (segment(**USER, custom_ids={"stableID": "devise"}), "custom_ids.stableID", "device"),
    ],
)
def test_a_column_that_the_model_does_not_have_is_named_with_the_nearest_one(sync: Sync, key: str, name: str) -> None:
    found = faults_of(sync)
    assert list(found) == [key]
    assert f"Did you mean '{name}'?" in found[key]
    assert "ordered_at" in found[key]


def test_all_missing_columns_are_named_at_once() -> None:
    sync = events(unique_key="a", columns={"user_id": "b", "email": "c"}, custom_ids={"x": "d"}, exclude=["e"])
    assert set(faults_of(sync)) == {"unique_key", "columns.user_id", "columns.email", "custom_ids.x", "exclude"}


def test_missing_columns_do_not_hide_what_else_is_wrong_with_a_sync() -> None:
    columns = (*COLUMNS, Column("ratio", "DOUBLE"), Column("is_new", "BOOLEAN"), Column("cart.total", "BIGINT"))
    mapped = {"user_id": "ratio", "event_time": "is_new", "email": "mail", "custom": "amount"}
    sync = events(unique_key="is_new", columns=mapped, custom_ids={"stableID": "devise"}, exclude=["note"])
    # Two faults are of exclude: the column that is missing, and the one with a dot.
    assert sorted(fault.key.removeprefix("config.meta.statsig.") for fault in mapping_faults(sync, columns)) == [
        *("columns.custom", "columns.email", "columns.event_time", "columns.user_id"),
        *("custom_ids.stableID", "exclude", "exclude", "unique_key"),
    ]
    sync = segment(columns={"user_id": "ratio", "email": "mail"})
    assert set(faults_of(sync, columns)) == {"columns.user_id", "columns.email"}
    sync = segment(columns={"email": "mail"})
    assert set(faults_of(sync, columns)) == {"columns.user_id", "columns.email"}


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"columns": {"user_id": "nobody"}}, "columns.user_id"),
        ({"columns": {}, "custom_ids": {"stableID": "nothing"}}, "custom_ids.stableID"),
        ({"unique_key": "order.id"}, "unique_key"),
        ({"backfill": "2026-01-31", "columns": {**USER["columns"], "event_time": "never"}}, "columns.event_time"),
    ],
)
def test_a_column_that_is_missing_is_one_fault_and_not_two(settings: dict[str, Any], key: str) -> None:
    assert [fault.key for fault in mapping_faults(events(**settings), COLUMNS)] == [f"config.meta.statsig.{key}"]


@pytest.mark.parametrize(
    "kind", ["DOUBLE", "FLOAT", "DECIMAL(10,2)", "BOOLEAN", "DATE", "TIMESTAMP", "JSON", "BLOB", "VARCHAR[]"]
)
def test_an_id_without_one_text_form_is_a_fault_in_segments_and_in_events(kind: str) -> None:
    columns = (Column("order_id", "BIGINT"), Column("customer_id", kind), Column("device", kind))
    assert "42.0 is not 42" in faults_of(segment(**USER), columns)["columns.user_id"]
    found = faults_of(events(custom_ids={"stableID": "device"}), columns)
    assert set(found) == {"columns.user_id", "custom_ids.stableID"}


@pytest.mark.parametrize(
    "kind", ["BIGINT", "UTINYINT", "HUGEINT", "DECIMAL(38,0)", "VARCHAR", "UUID", "ENUM('a', 'b')"]
)
def test_whole_numbers_text_and_uuids_are_ids(kind: str) -> None:
    assert faults_of(segment(**USER), (Column("customer_id", kind),)) == {}


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({}, "columns.user_id"),
        ({"id_type": "stable_id"}, "custom_ids.stableID"),
        ({"id_type": "custom_id", "custom_id": "companyID"}, "custom_ids.companyID"),
    ],
)
def test_a_segment_needs_the_column_of_its_id_type(settings: dict[str, Any], key: str) -> None:
    assert list(faults_of(segment(**settings))) == [key]


@pytest.mark.parametrize(
    ("settings", "column"),
    [
        ({}, "user_id"),
        ({"id_type": "stable_id"}, "stable_id"),
        ({"id_type": "custom_id", "custom_id": "companyID"}, "companyid"),
    ],
)
def test_a_segment_finds_the_column_with_the_id_types_own_name(settings: dict[str, Any], column: str) -> None:
    assert faults_of(segment(**settings), (Column(column, "BIGINT"),)) == {}


def test_events_need_a_name() -> None:
    assert list(faults_of(events(event_name=None))) == ["event_name"]
    assert faults_of(events(event_name=None), (*COLUMNS, Column("event_name", "VARCHAR"))) == {}


def test_events_need_somebody_whose_they_are() -> None:
    assert list(faults_of(events(columns={}))) == ["columns.user_id"]
    assert faults_of(events(columns={}, custom_ids={"stableID": "device"})) == {}


def test_a_backfill_from_a_date_needs_a_time() -> None:
    assert list(faults_of(events(backfill="2026-01-31"))) == ["backfill"]
    mapped = {"user_id": "customer_id", "event_time": "ordered_at"}
    assert faults_of(events(backfill="2026-01-31", columns=mapped)) == {}


@pytest.mark.parametrize(
    "settings",
    [
        {"exclude": ["order_id"]},
        {"columns": {**USER["columns"], "event_value": "order_id"}},
        {"unique_key": "order id"},
        {"unique_key": "order:id"},
    ],
    ids=str,
)
def test_to_ask_about_events_needs_a_key_that_statsigs_logs_can_be_asked_for(settings: dict[str, Any]) -> None:
    columns = (*COLUMNS, Column("order id", "BIGINT"), Column("order:id", "BIGINT"))
    assert list(faults_of(events(on_unknown="ask", **settings), columns)) == ["on_unknown"]
    assert faults_of(events(on_unknown="hold", **settings), columns) == {}
    assert faults_of(events(on_unknown="ask"), columns) == {}


def test_a_dot_in_a_metadata_key_is_a_fault_until_the_column_is_excluded() -> None:
    columns = (*COLUMNS, Column("cart.total", "BIGINT"))
    assert "cart.total" in faults_of(events(), columns)["exclude"]
    assert faults_of(events(exclude=["cart.total"]), columns) == {}
    assert faults_of(events(columns={**USER["columns"], "event_value": "cart.total"}), columns) == {}


def test_a_segment_ignores_what_is_mapped_besides_its_id_and_says_so() -> None:
    sync = segment(columns={"user_id": "customer_id", "email": "properties", "event_time": "ordered_at"})
    assert faults_of(sync) == {}
    note = ignored_columns_note(sync)
    assert note is not None
    assert "email, event_time" in note
    assert "user_id" not in note
    assert ignored_columns_note(segment(**USER)) is None
    assert ignored_columns_note(events()) is None


def resolved(relation: tuple[Column, ...], **settings: Any) -> tuple[dict[str, str], list[str]]:
    """The fields with their columns, and the columns that become metadata."""
    sync = events(**settings)
    assert isinstance(sync.config, EventConfig)
    found = resolve(sync.config, relation)
    return {name: column.name for name, column in found.fields.items()}, [column.name for column in found.metadata]


def test_every_column_that_is_not_mapped_becomes_metadata_in_order() -> None:
    assert resolved(COLUMNS) == (
        {"user_id": "customer_id"},
        ["order_id", "device", "ordered_at", "amount", "properties"],
    )


def test_excluded_columns_and_columns_of_custom_ids_are_no_metadata() -> None:
    _, metadata = resolved(COLUMNS, custom_ids={"stableID": "device"}, exclude=["amount", "properties"])
    assert metadata == ["order_id", "ordered_at"]


def test_a_field_that_is_not_mapped_takes_the_column_of_its_own_name() -> None:
    columns = (*COLUMNS, Column("email", "VARCHAR"), Column("event_time", "TIMESTAMP"))
    fields, metadata = resolved(columns)
    assert fields == {"user_id": "customer_id", "email": "email", "event_time": "event_time"}
    assert "email" not in metadata


@pytest.mark.parametrize(
    ("name", "fits", "others"),
    [
        ("event_time", ["DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "BIGINT", "DOUBLE", "DECIMAL(9,3)", "VARCHAR"],
         ["BOOLEAN", "UUID", "JSON", "BLOB", "VARCHAR[]", "TIME", "INTERVAL"]),
        ("custom", ["VARCHAR", "JSON", "STRUCT(a INTEGER)", "MAP(VARCHAR, VARCHAR)"],
         ["BIGINT", "DOUBLE", "BOOLEAN", "DATE", "TIMESTAMP", "UUID", "BLOB"]),
    ],
)  # fmt: skip
def test_a_column_of_a_fields_name_feeds_it_only_where_its_type_fits_and_is_metadata_else(
    name: str, fits: list[str], others: list[str]
) -> None:
    for kind in (*fits, *others):
        columns = (*COLUMNS, Column(name, kind))
        assert faults_of(events(), columns) == {}
        fields, metadata = resolved(columns)
        assert (name in fields, name in metadata) == (kind in fits, kind in others), kind
        # A column that the configuration names is meant, so there it is a fault.
        mapped = faults_of(events(columns={**USER["columns"], name: name}), columns)
        assert list(mapped) == ([] if kind in fits else [f"columns.{name}"])


def test_a_user_id_that_cannot_be_an_id_is_not_lost_among_the_metadata() -> None:
    columns = (*COLUMNS, Column("user_id", "DOUBLE"))
    found = faults_of(events(columns={}, custom_ids={"stableID": "device"}), columns)
    assert "42.0 is not 42" in found["columns.user_id"]


def test_a_column_of_a_fields_name_that_is_excluded_is_not_sent() -> None:
    columns = (*COLUMNS, Column("email", "VARCHAR"))
    fields, metadata = resolved(columns, exclude=["EMAIL"])
    assert "email" not in fields
    assert "email" not in metadata


def test_a_column_that_feeds_another_field_does_not_feed_the_one_of_its_name() -> None:
    columns = (*COLUMNS, Column("country", "VARCHAR"))
    fields, _ = resolved(columns, columns={"user_id": "customer_id", "locale": "country"})
    assert fields == {"user_id": "customer_id", "locale": "country"}


def test_a_static_name_leaves_a_column_of_that_name_in_the_metadata() -> None:
    _, metadata = resolved((*COLUMNS, Column("event_name", "VARCHAR")))
    assert "event_name" in metadata


def test_one_column_may_feed_two_fields() -> None:
    fields, metadata = resolved(COLUMNS, columns={"user_id": "customer_id", "event_value": "customer_id"})
    assert fields == {"user_id": "customer_id", "event_value": "customer_id"}
    assert "customer_id" not in metadata


def test_a_column_is_found_in_the_case_it_has_or_in_any_when_only_one_fits() -> None:
    columns = (Column("ID", "BIGINT"), Column("id", "BIGINT"), Column("Email", "VARCHAR"))
    assert find(columns, "id") == columns[1]
    assert find(columns, "Id") is None
    assert find(columns, "EMAIL") == columns[2]
    assert find(columns, "mail") is None
