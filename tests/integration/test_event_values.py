"""What an event looks like when it arrives: every field, every kind of value, in one run of many syncs."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sync import sandbox
from tests.integration.harness import Project, write_profiles
from tests.integration.stand_in import StandIn

Events = dict[str, list[dict[str, Any]]]

CUSTOM = {"tier": "gold", "visits": 3, "score": 0.5, "is_new": True, "tags": ["a", "b"]}
ROW = f"""
    select 1 as row_id, 'ann' as buyer, 'order_completed' as kind, 12.5::double as amount,
        timestamp '2026-01-31 10:00:00.5' as happened, 'ann@example.com' as mail, 'SE' as land,
        '{json.dumps(CUSTOM)}' as properties, '192.0.2.7' as address, 'Mozilla/5.0' as browser, 'sv-SE' as language,
        '1.2.3' as release, 77 as company, 'device-9' as device, 'sku-1' as sku, 'do not send' as note"""
MAPPING = {
    "user_id": "buyer",
    "event_name": "kind",
    "event_value": "amount",
    "event_time": "happened",
    "email": "mail",
    "country": "land",
    "custom": "properties",
    "ip": "address",
    "user_agent": "browser",
    "locale": "language",
    "app_version": "release",
}
FIELDS = [
    ("user_id", ("user", "userID"), "ann"),
    ("event_name", ("eventName",), "order_completed"),
    ("event_value", ("value",), 12.5),
    ("event_time", ("time",), 1769853600500),
    ("email", ("user", "email"), "ann@example.com"),
    ("country", ("user", "country"), "SE"),
    ("custom", ("user", "custom"), CUSTOM),
    ("ip", ("user", "ip"), "192.0.2.7"),
    ("user_agent", ("user", "userAgent"), "Mozilla/5.0"),
    ("locale", ("user", "locale"), "sv-SE"),
    ("app_version", ("user", "appVersion"), "1.2.3"),
]

# Name of a column: an expression for it, and the time in ISO form that arrives (None: no time).
TIMES = {
    "date": ("date '2026-01-31'", "2026-01-31T00:00:00+00:00"),
    "timestamp": ("timestamp '2026-01-31 10:00:00.5'", "2026-01-31T10:00:00.500+00:00"),
    "microseconds": ("timestamp '2026-01-31 10:00:00.123999'", "2026-01-31T10:00:00.123+00:00"),
    "with_zone": ("timestamptz '2026-01-31 10:00:00.5+05:30'", "2026-01-31T04:30:00.500+00:00"),
    "seconds": ("1769853600", "2026-01-31T10:00:00+00:00"),
    "seconds_and_part": ("1769853600.25::double", "2026-01-31T10:00:00.250+00:00"),
    "seconds_decimal": ("1769853600.250::decimal(20,3)", "2026-01-31T10:00:00.250+00:00"),
    "iso_utc": ("'2026-01-31T10:00:00Z'", "2026-01-31T10:00:00+00:00"),
    "iso_offset": ("'2026-01-31T10:00:00.5+02:00'", "2026-01-31T08:00:00.500+00:00"),
    "iso_no_zone": ("'2026-01-31T10:00:00'", "2026-01-31T10:00:00+00:00"),
    "iso_date": ("'2026-01-31'", "2026-01-31T00:00:00+00:00"),
    "nothing": ("cast(null as timestamp)", None),
}
TEXT_FORMS = {
    "is_true": ("true", "true"),
    "is_false": ("false", "false"),
    "whole": ("42", "42"),
    "huge": ("170141183460469231731687303715884105727::hugeint", "170141183460469231731687303715884105727"),
    "money": ("12.5::decimal(10,2)", "12.50"),
    "part": ("-0.25::decimal(2,2)", "-0.25"),
    "ratio": ("0.1::double", "0.1"),
    "day": ("date '2026-01-31'", "2026-01-31"),
    "moment": ("timestamp '2026-01-31 10:00:00.5'", "2026-01-31T10:00:00.5"),
    "moment_with_zone": ("timestamptz '2026-01-31 10:00:00+02:00'", "2026-01-31T08:00:00Z"),
    "names": ("['a', 'b']", '["a","b"]'),
    "pair": ("{'first': 1, 'second': 'x'}", '{"first":1,"second":"x"}'),
    "uuid": ("'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    "document": ("""'{"a": [1]}'::json""", '{"a": [1]}'),
    "text": ("""'say "hi", \\ <b>Ünï🎉</b>' || chr(10) || chr(1)""", 'say "hi", \\ <b>Ünï🎉</b>\n\x01'),
    "empty": ("''", ""),
    "no_text": ("cast(null as varchar)", None),
    "no_number": ("cast(null as double)", None),
}
VALUES: dict[str, tuple[str, Any]] = {
    "integer": ("42", 42),
    "big": ("9007199254740993", 9007199254740993),
    "decimal": ("12.50::decimal(10,2)", 12.5),
    "double": ("0.1::double", 0.1),
    "negative": ("-3", -3),
    "text": ("'gold'", "gold"),
    "number_as_text": ("'12'", "12"),
    "boolean": ("true", "true"),
    "date": ("date '2026-01-31'", "2026-01-31"),
    "list": ("['a']", '["a"]'),
    "nothing": ("cast(null as integer)", None),
    "infinite": ("'infinity'::double", None),
}


def columns_of(forms: dict[str, tuple[str, Any]]) -> str:
    return ", ".join(f"{expression} as {name}" for name, (expression, _) in forms.items())


@pytest.fixture(scope="module")
def sent(built_ledgers: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Events]:
    """All events of all the syncs below, by their names."""
    folder = tmp_path_factory.mktemp("values") / "project"
    shutil.copytree(built_ledgers, folder)
    write_profiles(folder)
    with sandbox.running() as server:
        project = Project(folder, server.url)
        project.table("wide", ROW)
        project.table("own_names", f"select row_id, {own_names()} from ({ROW})")
        project.table("times", f"select 1 as id, 'ann' as user_id, {columns_of(TIMES)}")
        project.table("forms", f"select 1 as id, 'ann' as user_id, {columns_of(TEXT_FORMS)}")
        project.table("numbers", f"select 1 as id, 'ann' as user_id, {columns_of(VALUES)}")
        project.table("visits", "select 1 as id, 'ann' as user_id")
        add_syncs(project)
        # Times without a zone are UTC whatever the zone of the machine.
        project.run(TZ="America/New_York")
        yield StandIn(server.url).events_by_name()


def own_names() -> str:
    mapped = {**MAPPING, "event_name": "'named_by_column'"}
    return ", ".join(f"{column} as {field}" for field, column in mapped.items())


def add_syncs(project: Project) -> None:
    def add(name: str, model: str, unique_key: str = "id", **more: Any) -> None:
        project.sync(name, model, {"object": "events", "unique_key": unique_key, **more})

    ids = {"companyID": "company", "stableID": "device"}
    add("wide", "wide", "row_id", columns=MAPPING, custom_ids=ids, exclude=["note", "row_id"])
    add("own_names", "own_names", "row_id")
    static = {**MAPPING}
    del static["event_name"]
    add("static", "wide", "row_id", columns=static, event_name="static_name")
    add("no_user", "wide", "row_id", event_name="by_device", custom_ids={"stableID": "device"})
    for name in TIMES:
        add(f"time_{name}", "times", event_name=f"time_{name}", columns={"event_time": name})
    for name in VALUES:
        add(f"value_{name}", "numbers", event_name=f"value_{name}", columns={"event_value": name})
    for tier in ("production", "staging", "development"):
        add(f"in_{tier}", "visits", event_name=f"in_{tier}", environment=tier)
    add("anywhere", "visits", event_name="anywhere")
    add("forms", "forms", event_name="forms")


def at(event: dict[str, Any], path: tuple[str, ...]) -> Any:
    for part in path:
        event = event[part]
    return event


@pytest.mark.parametrize(("field", "path", "value"), FIELDS, ids=[field for field, _, _ in FIELDS])
def test_a_mapped_column_feeds_its_field(sent: Events, field: str, path: tuple[str, ...], value: Any) -> None:
    (event,) = sent["order_completed"]
    assert at(event, path) == value
    assert MAPPING[field] not in event["metadata"]


@pytest.mark.parametrize(("field", "path", "value"), FIELDS, ids=[field for field, _, _ in FIELDS])
def test_a_column_with_the_fields_own_name_needs_no_mapping(
    sent: Events, field: str, path: tuple[str, ...], value: Any
) -> None:
    (event,) = sent["named_by_column"]
    assert at(event, path) == ("named_by_column" if field == "event_name" else value)


def test_custom_ids_are_columns_under_their_own_names_as_strings(sent: Events) -> None:
    assert sent["order_completed"][0]["user"]["customIDs"] == {"companyID": "77", "stableID": "device-9"}


def test_a_custom_id_is_identifier_enough(sent: Events) -> None:
    user = sent["by_device"][0]["user"]
    assert (user["customIDs"], "userID" in user) == ({"stableID": "device-9"}, False)


def test_every_other_column_is_metadata_but_those_kept_out(sent: Events) -> None:
    assert sent["order_completed"][0]["metadata"] == {"sku": "sku-1"}
    assert sent["static_name"][0]["metadata"] == {
        "row_id": "1",
        "kind": "order_completed",
        "company": "77",
        "device": "device-9",
        "sku": "sku-1",
        "note": "do not send",
    }


def test_nothing_else_is_in_an_event(sent: Events) -> None:
    (event,) = sent["order_completed"]
    assert set(event) == {"eventName", "time", "value", "metadata", "user"}
    fields = {path[1] for _, path, _ in FIELDS if path[0] == "user"}
    assert set(event["user"]) == fields | {"customIDs", "statsigEnvironment"}


def test_a_static_event_name_names_every_event(sent: Events) -> None:
    assert len(sent["static_name"]) == 1


@pytest.mark.parametrize("tier", ["production", "staging", "development"])
def test_the_environment_stands_on_the_user(sent: Events, tier: str) -> None:
    assert sent[f"in_{tier}"][0]["user"]["statsigEnvironment"] == {"tier": tier}


def test_an_event_without_a_set_environment_is_of_production(sent: Events) -> None:
    assert sent["anywhere"][0]["user"]["statsigEnvironment"] == {"tier": "production"}


@pytest.mark.parametrize("name", TIMES)
def test_a_time_arrives_as_whole_milliseconds_in_utc(sent: Events, name: str) -> None:
    (event,) = sent[f"time_{name}"]
    iso = TIMES[name][1]
    if iso is None:
        assert "time" not in event
    else:
        assert isinstance(event["time"], int)
        assert event["time"] == round(dt.datetime.fromisoformat(iso).timestamp() * 1000)


@pytest.mark.parametrize("name", VALUES)
def test_a_number_stays_a_number_in_value_and_all_else_is_a_string(sent: Events, name: str) -> None:
    (event,) = sent[f"value_{name}"]
    expected = VALUES[name][1]
    found = event.get("value")
    assert found == expected
    assert isinstance(found, str) == isinstance(expected, str)


@pytest.mark.parametrize("name", TEXT_FORMS)
def test_a_kind_of_value_has_one_text_form_in_metadata_and_null_is_left_out(sent: Events, name: str) -> None:
    metadata = sent["forms"][0]["metadata"]
    expected = TEXT_FORMS[name][1]
    assert metadata.get(name) == expected
    assert (name in metadata) == (expected is not None)
