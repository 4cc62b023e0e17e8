"""From exposures to syncs: every key of the configuration, right and wrong."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sync.errors import Fault
from sync.spec.limits import Limits
from sync.spec.model import EventConfig, EventGuard, Exposure, Former, Guard, SegmentConfig, Sync
from sync.spec.parse import META_PATH, limits_of, nearest, parse_sync, parse_syncs, partners
from tests.unit.values import texts

FILE = "models/marts/_exposures.yml"
SEGMENT = {"object": "segment", "segment_id": "repeat_buyers", "mode": "mirror"}
EVENTS = {"object": "events", "unique_key": "order_id"}


def exposure(meta: Any, name: str = "buyers", depends_on: tuple[str, ...] = ("model.shop.audience",)) -> Exposure:
    return Exposure(name, FILE, depends_on, meta)


def parsed(meta: Any) -> SegmentConfig | EventConfig:
    sync, faults = parse_sync(exposure(meta))
    assert faults == ()
    assert sync is not None
    assert (sync.name, sync.file, sync.model) == ("buyers", FILE, "model.shop.audience")
    return sync.config


def faults_of(meta: Any) -> dict[str, str]:
    """Each faulty key with its message; every fault names the file and the exposure."""
    sync, faults = parse_sync(exposure(meta))
    assert sync is None
    assert {(fault.where, fault.subject) for fault in faults} == {(FILE, "exposure buyers")}
    found = {fault.key.removeprefix(META_PATH).removeprefix("."): fault.message for fault in faults}
    assert len(found) == len(faults)
    return found


def test_a_segment_with_the_keys_that_it_must_have() -> None:
    config = parsed(SEGMENT)
    assert isinstance(config, SegmentConfig)
    assert (config.segment_id, config.mode, config.id_type) == ("repeat_buyers", "mirror", "user_id")
    assert (config.statsig_id_type, config.id_column, config.create_if_missing) == ("userID", "user_id", False)


def test_events_with_the_keys_that_they_must_have() -> None:
    config = parsed(EVENTS)
    assert isinstance(config, EventConfig)
    assert (config.unique_key, config.mode, config.environment) == ("order_id", "insert", "production")
    assert (config.backfill, config.backfill_from, config.event_name) == (None, None, None)


VALID = [
    *((SEGMENT, "mode", mode, mode) for mode in ("add", "remove", "mirror")),
    (SEGMENT, "id_type", "user_id", "user_id"),
    (SEGMENT, "id_type", "stable_id", "stable_id"),
    ({**SEGMENT, "custom_id": "companyID"}, "id_type", "custom_id", "custom_id"),
    ({**SEGMENT, "id_type": "custom_id"}, "custom_id", "companyID", "companyID"),
    (SEGMENT, "create_if_missing", True, True),
    # What env_var and var render arrives as text.
    (SEGMENT, "create_if_missing", "true", True),
    (SEGMENT, "create_if_missing", "False", False),
    (SEGMENT, "segment_id", "Repeat-Buyers_2", "Repeat-Buyers_2"),
    (SEGMENT, "segment_id", "20260131", "20260131"),
    (SEGMENT, "columns", {"user_id": "customer_id"}, {"user_id": "customer_id"}),
    (SEGMENT, "custom_ids", {"stableID": "device"}, {"stableID": "device"}),
    (SEGMENT, "exclude", ["email"], ("email",)),
    (SEGMENT, "api_key_env", "SECOND_PROJECT_KEY", "SECOND_PROJECT_KEY"),
    *((SEGMENT, "on_first_run", choice, choice) for choice in ("adopt", "refuse", "reset")),
    *((SEGMENT, "diff", choice, choice) for choice in ("auto", "polars", "warehouse")),
    (SEGMENT, "guard", {"max_removals": "5"}, Guard(max_removals=5)),
    (SEGMENT, "guard", {"max_removals_percent": 7.5}, Guard(max_removals_percent=7.5)),
    (SEGMENT, "guard", {"allow_empty": True}, Guard(allow_empty=True)),
    (EVENTS, "unique_key", "id", "id"),
    (EVENTS, "mode", "insert", "insert"),
    (EVENTS, "event_name", "order_completed", "order_completed"),
    *((EVENTS, "environment", tier, tier) for tier in ("production", "staging", "qa", "Pre-Prod 2", "x" * 64)),
    *((base, "max_age", text, text) for base in (SEGMENT, EVENTS) for text in ("90m", "12 hours", "2 days", "1d")),
    *((base, "statsig_project", name, name) for base in (SEGMENT, EVENTS) for name in ("shop", "A-1_b", "x" * 64)),
    (SEGMENT, "limits", {"id_list_changes_per_10_seconds": 24}, Limits(id_list_changes_per_10_seconds=24)),
    (EVENTS, "limits", {"changes_per_15_minutes": "1800"}, Limits(changes_per_15_minutes=1800)),
    (EVENTS, "limits", {}, Limits()),
    *((EVENTS, "columns", {field: "a"}, {field: "a"}) for field in (
        "user_id", "event_name", "event_value", "event_time", "email", "country", "custom",
        "ip", "user_agent", "locale", "app_version",
    )),
    (EVENTS, "custom_ids", {"stableID": "a", "companyID": "b"}, {"stableID": "a", "companyID": "b"}),
    (EVENTS, "exclude", ["password", "notes"], ("password", "notes")),
    (EVENTS, "backfill", "all", "all"),
    (EVENTS, "backfill", "none", "none"),
    (EVENTS, "backfill", "2026-01-31", "2026-01-31"),
    (EVENTS, "backfill", dt.date(2026, 1, 31), "2026-01-31"),
    (EVENTS, "guard", {"max_events": "5"}, EventGuard(max_events=5)),
    (EVENTS, "guard", {"max_times_usual": 2.5}, EventGuard(max_times_usual=2.5)),
    (EVENTS, "guard", {"max_duplicates_percent": 0}, EventGuard(max_duplicates_percent=0)),
    (EVENTS, "guard", {"allow_gone_keys": True}, EventGuard(allow_gone_keys=True)),
    *((base, "renamed_from", value, expected) for base in (EVENTS, SEGMENT) for value, expected in (
        ("old", (Former(exposure="old"),)),
        (["old", "older"], (Former(exposure="old"), Former(exposure="older"))),
        ({"exposure": "old", "api_key_env": "OLD"}, (Former(exposure="old", api_key_env="OLD"),)),
        ([{"api_key_env": "OLD"}, "older"], (Former(api_key_env="OLD"), Former(exposure="older"))),
        ([], ()),
    )),
    (EVENTS, "on_unknown", "resend", "resend"),
    (EVENTS, "on_unknown", "hold", "hold"),
    (EVENTS, "on_unknown", "ask", "ask"),
    *(({**EVENTS, "on_unknown": "ask"}, "ask_then", choice, choice) for choice in ("resend", "hold")),
    (EVENTS, "api_key_env", "_KEY_2", "_KEY_2"),
    *((EVENTS, "concurrency", value, int(value)) for value in (1, 32, 64, "32")),
]  # fmt: skip


@pytest.mark.parametrize(("base", "key", "value", "expected"), VALID)
def test_every_documented_setting_is_taken(base: dict[str, Any], key: str, value: Any, expected: Any) -> None:
    assert getattr(parsed({**base, key: value}), key) == expected


def test_every_key_has_a_valid_and_a_wrong_example_here() -> None:
    keys = {*SegmentConfig.model_fields, *EventConfig.model_fields} - {"object"}
    assert keys <= {key for _, key, _, _ in VALID}
    assert keys <= {key.split(".")[0] for _, _, key, _ in WRONG}


WRONG = [
    (SEGMENT, {"mode": "mirorr"}, "mode", ["'mirorr'", "add, remove or mirror", "Did you mean 'mirror'?"]),
    (SEGMENT, {"mode": "insert"}, "mode", ["add, remove or mirror"]),
    (SEGMENT, {"mode": None}, "mode", ["add, remove or mirror"]),
    (SEGMENT, {"id_type": "userID"}, "id_type", ["user_id"]),
    (SEGMENT, {"id_type": "custom_id"}, "custom_id", ["companyID"]),
    (SEGMENT, {"custom_id": "companyID"}, "custom_id", ["id_type: custom_id"]),
    (SEGMENT, {"segment_id": ""}, "segment_id", []),
    (SEGMENT, {"segment_id": "ab"}, "segment_id", ["3 to 100"]),
    (SEGMENT, {"segment_id": "a" * 101}, "segment_id", ["3 to 100"]),
    (SEGMENT, {"segment_id": "repeat buyers"}, "segment_id", ["letters, digits"]),
    (SEGMENT, {"segment_id": "../segments/other"}, "segment_id", ["letters, digits"]),
    (SEGMENT, {"segment_id": "buyers\n"}, "segment_id", ["letters, digits"]),
    (SEGMENT, {"create_if_missing": "perhaps"}, "create_if_missing", ["'perhaps'", "true or false"]),
    (SEGMENT, {"create_if_missing": None}, "create_if_missing", ["is empty", "true or false"]),
    (SEGMENT, {"segment_id": True}, "segment_id", ["is true, a boolean", 'segment_id: "true"']),
    (SEGMENT, {"id_type": "custom_id", "custom_id": ["companyID"]}, "custom_id", ["a list", "such as companyID"]),
    (SEGMENT, {"columns": ["customer_id"]}, "columns", ["is a list", "a mapping, such as {user_id: customer_id}"]),
    (SEGMENT, {"columns": {"": "customer_id"}}, "columns", ["a key without a name"]),
    (SEGMENT, {"columns": {" ": None}}, "columns", ["a key without a name"]),
    (SEGMENT, {"": "mirror"}, "", ["a key without a name"]),
    (SEGMENT, {"columns": {"usr_id": "a"}}, "columns.usr_id", ["Did you mean 'user_id'?"]),
    (SEGMENT, {"custom_ids": "device"}, "custom_ids", ["'device'", "a mapping, such as {stableID: device_id}"]),
    (SEGMENT, {"custom_ids": {"": "device"}}, "custom_ids", ["a key without a name"]),
    (SEGMENT, {"exclude": {"a": "b"}}, "exclude", ["is a mapping", "a list of columns"]),
    (SEGMENT, {"exclude": [None]}, "exclude.0", ["is empty", "the name of a column"]),
    (SEGMENT, {"segmentid": "x"}, "segmentid", ["Did you mean 'segment_id'?"]),
    (SEGMENT, {"on_first_run": "adpot"}, "on_first_run", ["Did you mean 'adopt'?"]),
    (SEGMENT, {"diff": "warehous"}, "diff", ["auto, polars or warehouse", "Did you mean 'warehouse'?"]),
    (EVENTS, {"diff": "polars"}, "diff", ["is not a key of statsig-sync."]),
    (SEGMENT, {"on_first_run": "reset", "mode": "add"}, "on_first_run", ["mode: mirror"]),
    (SEGMENT, {"guard": {"max_removal": 5}}, "guard.max_removal", ["Did you mean 'max_removals'?", "allow_empty"]),
    *((SEGMENT, {"guard": {"max_removals": value}}, "guard.max_removals", [said, "a whole number, 0 or more"])
      for value, said in ((-1, "-1"), (5.5, "5.5"), ("few", "'few'"), ([5], "a list"), (None, "empty"))),
    *((SEGMENT, {"guard": {"max_removals_percent": value}}, "guard.max_removals_percent", [said, "from 0 to 100"])
      for value, said in ((101, "101"), (-1, "-1"), ("20 %", "'20 %'"), ({}, "a mapping"))),
    (SEGMENT, {"guard": {"allow_empty": 2}}, "guard.allow_empty", ["is 2", "true or false"]),
    (SEGMENT, {"guard": "off"}, "guard", ["'off'", "a mapping, such as {max_removals: 100}"]),
    (SEGMENT, {"unique_key": "order_id"}, "unique_key", ["segment_id"]),
    (EVENTS, {"mode": "mirror"}, "mode", ["insert", "append-only"]),
    (EVENTS, {"mode": "update"}, "mode", ["insert", "append-only"]),
    (EVENTS, {"unique_key": None}, "unique_key", ["is empty", "the name of the column"]),
    (EVENTS, {"unique_key": ""}, "unique_key", ["is empty", "the name of the column"]),
    (EVENTS, {"unique_key": ["a", "b"]}, "unique_key", ["a list"]),
    (EVENTS, {"event_name": "a{b}"}, "event_name", ["'{'", "'}'"]),
    (EVENTS, {"event_name": " "}, "event_name", ["blank"]),
    (EVENTS, {"event_name": False}, "event_name", ["is false, a boolean", 'event_name: "false"']),
    (EVENTS, {"event_name": "x" * 128}, "event_name", ["127"]),
    (EVENTS, {"event_name": "a", "columns": {"event_name": "b"}}, "columns.event_name", ["event_name"]),
    *((EVENTS, {"environment": value}, "environment", [said, "the name of an environment"])
      for value, said in (("", "is empty"), (" ", "is blank"), (None, "is empty"), ("x" * 65, "1 to 64"))),
    *(
        (base, {"max_age": value}, "max_age", [said, "12h"])
        for base in (SEGMENT, EVENTS)
        for value, said in (("soon", "soon"), ("0h", "0h"), ("1.5 days", "1.5 days"), ([1], "list"))
    ),
    *((SEGMENT, {"statsig_project": value}, "statsig_project", [said, "name"])
      for value, said in (("", "''"), ("my shop", "letters, digits"), ("x" * 65, "1 to 64"), (["a"], "a list"))),
    (SEGMENT, {"limits": 12}, "limits", ["is 12", "a mapping, such as {id_list_changes_per_10_seconds: 24}"]),
    (SEGMENT, {"limits": {"changes_per_10_second": 5}}, "limits.changes_per_10_second",
     ["Did you mean 'changes_per_10_seconds'?", "id_list_reads_per_15_minutes"]),
    *((EVENTS, {"limits": {"changes_per_10_seconds": value}}, "limits.changes_per_10_seconds", [said, "a whole number"])
      for value, said in ((0, "0"), (-1, "-1"), (1.5, "1.5"), ("many", "'many'"), (True, "true"), (None, "empty"))),
    (EVENTS, {"columns": {"timestamp": "a"}}, "columns.timestamp", ["event_time"]),
    (EVENTS, {"columns": {"event_tiem": "a"}}, "columns.event_tiem", ["Did you mean 'event_time'?"]),
    (EVENTS, {"columns": {"stable_id": "a"}}, "columns.stable_id", ["custom_ids: {stableID: <column>}"]),
    (EVENTS, {"columns": {"user_id": None}}, "columns.user_id", ["is empty", "the name of a column"]),
    (EVENTS, {"custom_ids": {"userID": "a"}}, "custom_ids.userID", ["columns: {user_id: <column>}"]),
    (EVENTS, {"exclude": "email"}, "exclude", ["'email'", "a list of columns, such as [email]"]),
    (EVENTS, {"exclude": ["mail"], "columns": {"email": "mail"}}, "exclude", ["'mail'"]),
    (EVENTS, {"exclude": ["MAIL"], "columns": {"email": "mail"}}, "exclude", ["'MAIL'"]),
    (EVENTS, {"exclude": ["device"], "custom_ids": {"stableID": "device"}}, "exclude", ["'device'"]),
    (EVENTS, {"backfill": "yesterday"}, "backfill", ["all, none, or a date"]),
    (EVENTS, {"backfill": None}, "backfill", ["is empty", "all, none, or a date"]),
    (EVENTS, {"backfill": "2026-02-30"}, "backfill", ["all, none, or a date"]),
    (EVENTS, {"backfill": "20260131"}, "backfill", ["all, none, or a date"]),
    (EVENTS, {"backfill": "2026-W05-6"}, "backfill", ["all, none, or a date"]),
    (EVENTS, {"backfill": "2026-01-31T10:00:00"}, "backfill", ["all, none, or a date"]),
    (EVENTS, {"guard": 5}, "guard", ["a mapping"]),
    (EVENTS, {"guard": {"max_removals": 5}}, "guard.max_removals", ["max_events", "max_times_usual"]),
    (EVENTS, {"guard": {"max_times_usual": 0}}, "guard.max_times_usual", ["1 or more"]),
    (EVENTS, {"guard": {"max_events": -1}}, "guard.max_events", ["0 or more"]),
    (EVENTS, {"guard": {"max_duplicates_percent": 101}}, "guard.max_duplicates_percent", ["0 to 100"]),
    (EVENTS, {"guard": {"allow_gone_keys": "perhaps"}}, "guard.allow_gone_keys", ["true or false"]),
    (SEGMENT, {"guard": {"max_events": 5}}, "guard.max_events", ["max_removals"]),
    (SEGMENT, {"renamed_from": ""}, "renamed_from", ["the former name"]),
    (SEGMENT, {"renamed_from": "buyers"}, "renamed_from", ["the sync itself"]),
    (EVENTS, {"renamed_from": {}}, "renamed_from", ["the sync itself"]),
    (EVENTS, {"renamed_from": {"exposre": "old"}}, "renamed_from.exposre", ["Did you mean 'exposure'?"]),
    (EVENTS, {"renamed_from": ["old", None]}, "renamed_from.1", ["the former name"]),
    (EVENTS, {"renamed_from": ["old", {"exposre": "old"}]}, "renamed_from.1.exposre", ["Did you mean 'exposure'?"]),
    *((base, {"statsig_project": key}, "statsig_project", ["never the key"])
      for base in (SEGMENT, EVENTS) for key in ("secret-abc123", "console-abc123", "client-abc123", '"secret-a b"')),
    *((SEGMENT, {"guard": {key: truth}}, f"guard.{key}", [str(truth).lower(), "number"])
      for key in ("max_removals", "max_removals_percent") for truth in (True, False)),
    *((EVENTS, {"guard": {key: True}}, f"guard.{key}", ["is true", "number"])
      for key in ("max_events", "max_times_usual", "max_duplicates_percent")),
    # dbt's hook writes .inf and .nan as texts.
    *((EVENTS, {"guard": {key: value}}, f"guard.{key}", ["number"])
      for key in ("max_events", "max_times_usual", "max_duplicates_percent")
      for value in ("inf", "-inf", "nan", float("inf"), float("nan"))),
    (SEGMENT, {"guard": {"max_removals_percent": "nan"}}, "guard.max_removals_percent", ["is 'nan'", "from 0 to 100"]),
    (EVENTS, {"limits": {"changes_per_10_seconds": "inf"}}, "limits.changes_per_10_seconds", ["is 'inf'"]),
    (EVENTS, {"max_age": "inf"}, "max_age", ["'inf'", "12h"]),
    (EVENTS, {"renamed_from": {"api_key_env": "secret-abc123"}}, "renamed_from", ["never the key"]),
    (EVENTS, {"on_unknown": "retry"}, "on_unknown", ["resend, hold or ask"]),
    (EVENTS, {"on_unknown": "ask", "ask_then": "drop"}, "ask_then", ["resend or hold"]),
    (EVENTS, {"ask_then": "hold"}, "ask_then", ["goes with on_unknown: ask", "resend"]),
    (EVENTS, {"on_unknown": "hold", "ask_then": "resend"}, "ask_then", ["goes with on_unknown: ask", "hold"]),
    *((EVENTS, {"concurrency": value}, "concurrency", ["1 to 64"])
      for value in (0, 65, -1, 1.5, True, "many", None, [8])),
    (SEGMENT, {"concurrency": 2}, "concurrency", ["is not a key"]),
    (EVENTS, {"api_key_env": "secret-abc123"}, "api_key_env", ["the name of an environment variable"]),
    (EVENTS, {"api_key_env": "MY KEY"}, "api_key_env", ["the name of an environment variable"]),
    (EVENTS, {"api_key_env": ["A"]}, "api_key_env", ["a list"]),
    (EVENTS, {"enviroment": "staging"}, "enviroment", ["Did you mean 'environment'?"]),
    (EVENTS, {"Unique_Key": "a"}, "Unique_Key", ["Did you mean 'unique_key'?"]),
    (EVENTS, {"segment_id": "a"}, "segment_id", ["unique_key"]),
]  # fmt: skip


@pytest.mark.parametrize(("base", "wrong", "key", "said"), WRONG)
def test_every_wrong_setting_is_named_with_what_to_write_instead(
    base: dict[str, Any], wrong: dict[str, Any], key: str, said: list[str]
) -> None:
    found = faults_of({**base, **wrong})
    assert list(found) == [key]
    for part in said:
        assert part in found[key]


# Each text of a sync as YAML has it, the key that is at fault, and what is said.
NOT_TEXT = [
    ("segment_id: 2026_01", "segment_id", 'is 202601, a number; write it in quotes, as in segment_id: "202601"'),
    ("segment_id: 0404", "segment_id", 'is 260, a number; write it in quotes, as in segment_id: "260"'),
    ("segment_id: 1e3", "", ""),
    ("segment_id: 1.0e+3", "segment_id", "is 1000.0, a number"),
    (
        "segment_id: 2026-01-31",
        "segment_id",
        'is 2026-01-31, a date; write it in quotes, as in segment_id: "2026-01-31"',
    ),
    ("segment_id: off", "segment_id", "is false, a boolean; write it in quotes"),
    ("id_type: custom_id\ncustom_id: 12", "custom_id", 'as in custom_id: "12"'),
    ("unique_key: 0x1F", "unique_key", "is 31, a number"),
    ("event_name: 1.10", "event_name", "is 1.1, a number"),
    ("event_name: 12:30", "event_name", "is 750, a number"),
    ("event_name: .nan", "event_name", "a number"),
    ("event_name: 2026-01-31 10:00:00", "event_name", "is 2026-01-31T10:00:00, a time"),
    ("environment: 1", "environment", "is 1"),
    ("api_key_env: 12", "api_key_env", 'as in api_key_env: "12"'),
    ("columns: {user_id: 7}", "columns.user_id", 'as in user_id: "7"'),
    ("columns: {1: a}", "columns.1", 'as in "1": <column>'),
    ('custom_ids: {"2026": 1.5}', "custom_ids.2026", 'as in "2026": "1.5"'),
    ("renamed_from: 2026", "renamed_from", 'is 2026, a number; write it in quotes, as in renamed_from: "2026"'),
    ("renamed_from: [old, 2026]", "renamed_from.1", 'as in renamed_from: ["2026"]'),
    ("renamed_from: {exposure: 2026}", "renamed_from.exposure", 'as in exposure: "2026"'),
    ("renamed_from: [{exposure: yes}]", "renamed_from.0.exposure", 'as in exposure: "true"'),
    ("custom_ids: {companyID: yes}", "custom_ids.companyID", "is true, a boolean"),
    ("custom_ids: {404: a}", "custom_ids.404", 'is 404, a number; write it in quotes, as in "404": <column>'),
    ("custom_ids: {on: a}", "custom_ids.true", 'is true, a boolean; write it in quotes, as in "true": <column>'),
    ("custom_ids: {1.5: a}", "custom_ids.1.5", "is 1.5, a number"),
    ("custom_ids: {2026-01-31: a}", "custom_ids.2026-01-31", "is 2026-01-31, a date"),
    ("custom_ids: {~: a}", "custom_ids", "a key without a name"),
    ("exclude: [a, 12]", "exclude.1", 'as in exclude: ["12"]'),
    ("exclude: [no]", "exclude.0", 'as in exclude: ["false"]'),
    ("1: a", "1", "is not a key of statsig-sync"),
    ("guard: {1: a}", "guard.1", "The keys are: allow_empty"),
    ("statsig_project: 12", "statsig_project", "is 12, a number; write it in quotes"),
    ("max_age: 2", "max_age", "is 2; write a time"),
    ("limits: {1: a}", "limits.1", "The keys are: changes_per_10_seconds"),
    ("backfill: 20260131", "backfill", "all, none, or a date"),
    ("backfill: 2026-01-31 10:00:00", "backfill", "all, none, or a date"),
]


@pytest.mark.parametrize(("written", "key", "said"), NOT_TEXT)
def test_what_yaml_has_not_read_as_text_is_not_taken_for_text(written: str, key: str, said: str) -> None:
    own = yaml.safe_load(written)
    is_of_segments = not {"segment_id", "custom_id", "guard"}.isdisjoint(own)
    meta = {**(SEGMENT if is_of_segments else EVENTS), **own}
    if not key:
        parsed(meta)
        return
    found = faults_of(meta)
    assert list(found) == [key]
    assert said in found[key]


def test_a_number_where_text_is_meant_may_have_been_written_otherwise() -> None:
    assert (
        "YAML reads 2026_01, 0404, 1.10 and 12:30 as numbers too"
        in faults_of({**SEGMENT, "segment_id": 260})["segment_id"]
    )


def test_a_number_may_come_from_a_template_where_quotes_do_not_help() -> None:
    message = faults_of({**EVENTS, "event_name": 404})["event_name"]
    assert message.endswith("""write | as_text in it, as in "{{ var('name') | as_text }}".""")
    # YAML gives a date, a template never does.
    assert "as_text" not in faults_of({**EVENTS, "event_name": dt.date(2026, 1, 1)})["event_name"]


def test_a_key_of_statsig_in_the_projects_name_is_not_repeated() -> None:
    for key in ("secret-abc123", "'console-abc123'", "client-abc 123"):
        assert "abc" not in faults_of({**EVENTS, "statsig_project": key})["statsig_project"]


@pytest.mark.parametrize("written", ["2026-01-01T10:00:00Z", "2026-1-1 1:00:00", "2001-12-14t21:59:43.10-5"])
@pytest.mark.parametrize("key", ["event_name", "environment", "unique_key", "columns.user_id", "exclude.0"])
def test_a_time_that_yaml_has_changed_is_no_name_as_text_either(written: str, key: str) -> None:
    text = yaml.safe_load(written).isoformat()
    outer, _, inner = key.partition(".")
    value: Any = {"columns": {inner: text}, "exclude": [text]}.get(outer, text)
    found = faults_of({**EVENTS, outer: value})
    assert list(found) == [key]
    assert f"is {text}, which YAML may have made of a time in another form. Write it in quotes" in found[key]


@pytest.mark.parametrize("name", ["2026-01-01T10:00:00Z", "2026-01-01 10:00", "2026-01-01T10:00", "2026-01-01"])
def test_a_time_in_a_form_that_yaml_does_not_make_is_a_name(name: str) -> None:
    assert parsed({**EVENTS, "event_name": name}).event_name == name


def test_a_segment_may_be_called_by_a_date() -> None:
    # dbt hands on a date without quotes as the same text, so nothing is lost.
    assert parsed({**SEGMENT, "segment_id": "2026-01-01"}).segment_id == "2026-01-01"
    assert "3 to 100 letters" in faults_of({**SEGMENT, "segment_id": "2026-01-01T10:00:00"})["segment_id"]


@pytest.mark.parametrize("key", ["segment_id", "mode"])
def test_a_key_that_a_segment_must_have_is_asked_for(key: str) -> None:
    found = faults_of({name: value for name, value in SEGMENT.items() if name != key})
    assert list(found) == [key]
    assert "is missing" in found[key]


def test_the_key_that_events_must_have_is_asked_for_with_the_reason() -> None:
    found = faults_of({"object": "events"})
    assert list(found) == ["unique_key"]
    assert "no deduplication" in found["unique_key"]


@pytest.mark.parametrize("meta", [None, "segment", 5, ["segment"], True])
def test_meta_that_is_no_mapping_is_said_to_be_none(meta: Any) -> None:
    assert "write a mapping" in faults_of(meta)[""]


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        ({}, "is empty"),
        ({"object": "segmnt"}, "Did you mean 'segment'?"),
        ({"object": "event"}, "Did you mean 'events'?"),
        ({"object": ["segment"]}, "'segment' or 'events'"),
    ],
)
def test_an_object_that_is_not_known_is_named(meta: dict[str, Any], said: str) -> None:
    assert said in faults_of(meta)["object"]


def test_a_key_of_statsig_in_the_configuration_is_not_repeated() -> None:
    _, faults = parse_sync(exposure({**EVENTS, "api_key_env": "secret-abc123", "api_key": "secret-xyz789"}))
    said = "\n".join(map(str, faults))
    assert "secret-abc123" not in said
    assert "secret-xyz789" not in said


def test_every_fault_of_a_segment_is_reported_at_once() -> None:
    found = faults_of(
        {
            "object": "segment",
            "segment_id": "x",
            "mdoe": "mirror",
            "id_type": "custom_id",
            "columns": {"usr_id": "a", "email": None},
            "custom_ids": {"userID": "b"},
            "api_key_env": "not a name",
            "create_if_missing": "perhaps",
            "exclude": ["b"],
        }
    )
    assert set(found) == {
        *("segment_id", "mdoe", "mode", "custom_id", "columns.usr_id", "columns.email", "custom_ids.userID"),
        *("api_key_env", "create_if_missing", "exclude"),
    }


def test_every_fault_of_events_is_reported_at_once() -> None:
    found = faults_of(
        {
            "object": "events",
            "event_name": "a;b",
            "environment": "",
            "backfill": "soon",
            "on_unknown": "drop",
            "columns": {"event_name": "n", "ip_address": "i"},
            "colums": {},
        }
    )
    assert set(found) == {
        *("unique_key", "event_name", "environment", "backfill", "on_unknown", "colums"),
        *("columns.event_name", "columns.ip_address"),
    }


def test_a_rule_does_not_judge_by_a_key_that_is_itself_wrong() -> None:
    assert set(faults_of({**SEGMENT, "id_type": "custom", "custom_id": "companyID"})) == {"id_type"}


def test_the_faults_of_all_exposures_are_reported_at_once() -> None:
    exposures = [exposure({**SEGMENT, "mode": "x"}, "one"), exposure({}, "two"), exposure(SEGMENT, "three", ())]
    syncs, faults = parse_syncs(exposures)
    assert syncs == ()
    assert [fault.subject for fault in faults] == ["exposure one", "exposure two", "exposure three"]


def test_two_exposures_of_one_name_are_refused_and_both_files_are_named() -> None:
    other = Exposure("buyers", "models/_package.yml", ("model.package.audience",), EVENTS)
    for exposures in ([exposure(SEGMENT), other], [exposure({}), other]):
        _, faults = parse_syncs(exposures)
        fault = faults[-1]
        assert (fault.where, fault.subject, fault.key) == ("models/_package.yml", "exposure buyers", "name")
        assert FILE in fault.message
        assert "Rename one" in fault.message
    assert parse_syncs([exposure(SEGMENT), exposure(EVENTS, "orders")])[1] == ()


def test_a_name_that_still_belongs_to_a_sync_is_no_former_name() -> None:
    for meta in (SEGMENT, {"object": "segment"}):
        found = [exposure({**EVENTS, "renamed_from": ["older", "old"]}, "orders"), exposure(meta, "old")]
        (fault,) = [one for one in parse_syncs(found)[1] if one.subject == "exposure orders"]
        assert fault.key == f"{META_PATH}.renamed_from"
        assert fault.message.startswith("names old, which is still a sync")
    itself = exposure({**EVENTS, "renamed_from": {"exposure": "orders", "api_key_env": "OLD"}}, "orders")
    assert parse_syncs([itself])[1] == ()


@pytest.mark.parametrize(
    "depends_on", [(), ("model.shop.a", "model.shop.b"), ("source.shop.raw.a",), ("metric.shop.a",)]
)
def test_a_sync_depends_on_exactly_one_model(depends_on: tuple[str, ...]) -> None:
    sync, faults = parse_sync(exposure(SEGMENT, depends_on=depends_on))
    assert sync is None
    assert [fault.key for fault in faults] == ["depends_on"]
    assert "ref(" in faults[0].message


@pytest.mark.parametrize("node", ["model.shop.a", "snapshot.shop.a", "seed.shop.a"])
def test_a_model_a_snapshot_or_a_seed_can_be_synced(node: str) -> None:
    sync, _ = parse_sync(exposure(SEGMENT, depends_on=(node,)))
    assert sync is not None
    assert sync.model == node


@pytest.mark.parametrize(
    ("settings_", "id_type", "column"),
    [
        ({}, "userID", "user_id"),
        ({"columns": {"user_id": "customer"}}, "userID", "customer"),
        ({"id_type": "stable_id"}, "stableID", "stable_id"),
        ({"id_type": "stable_id", "custom_ids": {"stableID": "device"}}, "stableID", "device"),
        ({"id_type": "custom_id", "custom_id": "companyID"}, "companyID", "companyID"),
        (
            {"id_type": "custom_id", "custom_id": "companyID", "custom_ids": {"companyID": "org"}},
            "companyID",
            "org",
        ),
    ],
)
def test_the_id_type_says_what_statsig_calls_it_and_which_column_has_the_ids(
    settings_: dict[str, Any], id_type: str, column: str
) -> None:
    config = parsed({**SEGMENT, **settings_})
    assert isinstance(config, SegmentConfig)
    assert (config.statsig_id_type, config.id_column) == (id_type, column)


SPELLINGS = ["stable_id", "stableid", "STABLEID", "Stable_ID", "stableId", "stable_ID", "StableID", "_stable_id_"]


@pytest.mark.parametrize("base", [SEGMENT, {**SEGMENT, "id_type": "stable_id"}, EVENTS])
@pytest.mark.parametrize("name", SPELLINGS)
def test_the_stable_id_has_one_spelling_under_custom_ids(base: dict[str, Any], name: str) -> None:
    found = faults_of({**base, "custom_ids": {name: "device"}})
    assert list(found) == [f"custom_ids.{name}"]
    assert "write custom_ids: {stableID: <column>}" in found[f"custom_ids.{name}"]


@pytest.mark.parametrize(("name", "id_type"), [("userId", "user_id"), *((name, "stable_id") for name in SPELLINGS)])
def test_an_id_type_of_statsigs_own_is_no_custom_id(name: str, id_type: str) -> None:
    found = faults_of({**SEGMENT, "id_type": "custom_id", "custom_id": name, "custom_ids": {"companyID": "a"}})
    assert list(found) == ["custom_id"]
    assert f"write id_type: {id_type}," in found["custom_id"]


@pytest.mark.parametrize("name", ["company_id", "companyid", "COMPANYID", "Company_ID"])
def test_a_segments_custom_id_has_one_spelling(name: str) -> None:
    company = {**SEGMENT, "id_type": "custom_id", "custom_id": "companyID"}
    found = faults_of({**company, "custom_ids": {name: "company"}})
    assert list(found) == [f"custom_ids.{name}"]
    assert "which is companyID" in found[f"custom_ids.{name}"]
    parsed({**company, "custom_ids": {"companyID": "company", "vendorID": "vendor"}})
    # Events may have custom ids of any spelling.
    parsed({**EVENTS, "custom_ids": {name: "company"}})


def segment_syncs(*changes: dict[str, Any]) -> tuple[tuple[Sync, ...], tuple[Fault, ...]]:
    return parse_syncs([exposure({**SEGMENT, **change}, f"sync_{number}") for number, change in enumerate(changes)])


def test_two_syncs_that_own_one_segment_are_refused() -> None:
    _, faults = segment_syncs({}, {})
    assert [fault.key for fault in faults] == [f"{META_PATH}.segment_id"]
    assert "sync_0, sync_1" in faults[0].message


def test_one_sync_that_adds_and_one_that_removes_may_share_a_segment() -> None:
    syncs, faults = segment_syncs({"mode": "add"}, {"mode": "remove"})
    assert faults == ()
    assert partners(syncs[0], syncs) == (syncs[1],)


@pytest.mark.parametrize("modes", [("add", "add"), ("mirror", "add"), ("add", "remove", "remove")])
def test_no_other_syncs_may_share_a_segment(modes: tuple[str, ...]) -> None:
    _, faults = segment_syncs(*({"mode": mode} for mode in modes))
    assert len(faults) == 1


def test_segments_of_two_statsig_projects_may_have_one_id() -> None:
    assert segment_syncs({}, {"api_key_env": "OTHER_PROJECT_KEY"})[1] == ()


def test_syncs_of_one_statsig_project_are_partners_whatever_keys_they_have() -> None:
    syncs, faults = segment_syncs(
        {"mode": "add", "statsig_project": "shop"},
        {"mode": "remove", "statsig_project": "shop", "api_key_env": "SECOND_KEY"},
        {"mode": "mirror", "api_key_env": "SECOND_KEY"},
    )
    assert faults == ()
    assert partners(syncs[0], syncs) == (syncs[1],)
    _, faults = segment_syncs({"statsig_project": "shop", "api_key_env": "ONE"}, {"statsig_project": "shop"})
    assert len(faults) == 1


def test_a_project_is_called_by_its_name_else_by_the_variable_of_its_key() -> None:
    names = [
        parsed({**SEGMENT, **more}).project
        for more in (
            {},
            {"api_key_env": "STATSIG_CONSOLE_API_KEY"},
            {"api_key_env": "SECOND_KEY"},
            {"statsig_project": "shop"},
            {"statsig_project": "shop", "api_key_env": "SECOND_KEY"},
        )
    ]
    assert names == [None, None, "SECOND_KEY", "shop", "shop"]


SLOW, FAST = {"limits": {"changes_per_10_seconds": 5}}, {"limits": {"changes_per_10_seconds": 500}}


def test_two_syncs_of_one_statsig_project_have_one_set_of_limits() -> None:
    one, two = {"segment_id": "one"}, {"segment_id": "two"}
    _, faults = segment_syncs({**one, **SLOW}, {**two, **FAST})
    assert [(fault.subject, fault.key) for fault in faults] == [("exposure sync_1", f"{META_PATH}.limits")]
    assert "sync_0" in faults[0].message
    assert segment_syncs({**one, **SLOW}, {**two, **SLOW})[1] == ()
    assert segment_syncs({**one, **SLOW}, {**two, **FAST, "api_key_env": "SECOND_KEY"})[1] == ()
    shop = {"statsig_project": "shop"}
    assert len(segment_syncs({**one, **SLOW, **shop}, {**two, **FAST, **shop, "api_key_env": "SECOND_KEY"})[1]) == 1


def test_limits_that_one_sync_writes_count_for_all_of_its_statsig_project() -> None:
    syncs, _ = segment_syncs({}, {"segment_id": "two", **FAST}, {"segment_id": "three", "api_key_env": "SECOND_KEY"})
    assert limits_of(None, syncs).changes == ((500, 10), (900, 900))
    assert limits_of("SECOND_KEY", syncs) == Limits()


def test_naming_the_usual_variable_does_not_make_another_project() -> None:
    assert len(segment_syncs({}, {"api_key_env": "STATSIG_CONSOLE_API_KEY"})[1]) == 1


def test_a_fault_reads_as_file_exposure_key_and_message() -> None:
    _, faults = parse_sync(exposure({**SEGMENT, "mode": "sync"}))
    expected = "models/marts/_exposures.yml: exposure buyers: config.meta.statsig.mode: is 'sync'; write"
    assert str(faults[0]).startswith(expected)


@pytest.mark.parametrize(
    ("word", "known", "said"),
    [
        ("dev", ["production", "development"], " Did you mean 'development'?"),
        ("mirorr", ["add", "mirror"], " Did you mean 'mirror'?"),
        ("EVENTS", ["events"], " Did you mean 'events'?"),
        ("zzz", ["add"], ""),
        ("", ["add"], ""),
        ("add", [], ""),
    ],
)
def test_the_nearest_spelling_is_suggested_and_nothing_that_is_far(word: str, known: list[str], said: str) -> None:
    assert nearest(word, known) == said


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(sorted({*SegmentConfig.model_fields, *EventConfig.model_fields}))
metas = st.one_of(
    json_values,
    st.builds(
        lambda base, changes: {**base, **changes},
        st.sampled_from([SEGMENT, EVENTS]),
        st.dictionaries(
            keys | texts,
            json_values | st.dictionaries(keys | texts, json_values, max_size=2) | st.sampled_from(["add", "none"]),
            max_size=4,
        ),
    ),
)


# What pydantic says of Python's types, and what stands for a key whose words were forgotten.
FOREIGN = ("valid", "instance", "Input", "input", "should", "string", "tuple", "dict", "parse", "another value")


@settings(max_examples=max(500, settings().max_examples))
@given(
    base=st.sampled_from([SEGMENT, EVENTS]),
    path=st.sampled_from([
        *((key,) for key in sorted({*SegmentConfig.model_fields, *EventConfig.model_fields} - {"object"})),
        *(("guard", key) for key in Guard.model_fields),
        *((key, name) for key in ("columns", "custom_ids") for name in ("user_id", "stableID", "")),
        ("exclude", 0),
    ]),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", " ", "x", "5.5", "1e400"]),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["", "a"]), inner, max_size=2),
        max_leaves=4,
    ),
)  # fmt: skip
def test_no_fault_speaks_of_pythons_types(base: dict[str, Any], path: tuple[str | int, ...], value: Any) -> None:
    inner: Any = value
    if len(path) > 1:
        inner = [value] if path[1] == 0 else {path[1]: value}
    _, faults = parse_sync(exposure({**base, str(path[0]): inner}))
    for fault in faults:
        assert not [word for word in FOREIGN if word in fault.message], fault


@settings(max_examples=max(200, settings().max_examples))
@given(meta=metas, depends_on=st.lists(st.sampled_from(["model.shop.a", "source.shop.a", ""]), max_size=2).map(tuple))
@example({**EVENTS, "columns": {"": None, "\0": {"a": []}}}, ("model.shop.a",))
@example({**SEGMENT, "guard": {"max_removal": 5, "max_removals": "x"}}, ("model.shop.a",))
@example({**EVENTS, "backfill": "\u0662\u0660\u0662\u0666-01-31"}, ("model.shop.a",))
@example({**SEGMENT, "segment_id": 10**4000}, ("model.shop.a",))
@example({"object": "segment", "exclude": [1, None, {}]}, ())
def test_whatever_stands_in_meta_is_a_sync_or_has_faults_that_name_their_place(
    meta: Any, depends_on: tuple[str, ...]
) -> None:
    sync, faults = parse_sync(exposure(meta, depends_on=depends_on))
    assert (sync is None) == bool(faults)
    for fault in faults:
        assert (fault.where, fault.subject) == (FILE, "exposure buyers")
        assert fault.key == "depends_on" or fault.key.startswith(META_PATH)
        assert fault.message
    if sync is not None:
        assert sync.destination
        json.dumps(sync.config.model_dump())
