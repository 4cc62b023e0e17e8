"""The sandbox's rules on request bodies."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.sandbox.contract import (
    RefusedError,
    batch_of,
    check_event,
    decompress,
    drop_reason,
    events_of,
    ids_of,
    lost_metadata_keys,
    segment_to_create,
    time_or,
)
from sync.sandbox.id_list_files import IdListFile, byte_range, id_hash

GOOD: dict[str, Any] = {
    "eventName": "order_completed",
    "value": 12.5,
    "time": 1_700_000_000_000,
    "user": {
        "userID": "ann",
        "email": "ann@example.com",
        "ip": "10.0.0.1",
        "userAgent": "x",
        "country": "DE",
        "locale": "de_DE",
        "appVersion": "1.2",
        "custom": {"plan": "pro", "n": 1, "f": 0.5, "b": True, "tags": ["a", "b"]},
        "customIDs": {"stableID": "device-1"},
        "privateAttributes": {"secret": {"nested": 1}},
        "statsigEnvironment": {"tier": "production"},
    },
    "metadata": {"sku": "a"},
}


def event(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def refusal(call: Any, *arguments: Any, **named: Any) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        call(*arguments, **named)
    return caught.value


@pytest.mark.parametrize("value", ["12.5", 12, 12.5, -1, "", 10**20])
def test_value_is_a_string_or_a_number(value: object) -> None:
    assert check_event(event(value=value), 0).value == value


@pytest.mark.parametrize("time", [1_700_000_000_000, "2024-01-01T00:00:00Z", "2024-01-01T00:00:00.123+02:00"])
def test_time_is_integer_milliseconds_or_iso_text(time: object) -> None:
    check_event(event(time=time), 0)


def test_everything_but_the_name_may_be_left_out() -> None:
    assert check_event(b'{"eventName": "x"}', 0).user is None


@pytest.mark.parametrize(
    ("changes", "member"),
    [
        ({"eventName": ""}, "eventName"),
        ({"eventName": 1}, "eventName"),
        ({"eventName": None}, "eventName"),
        ({"value": True}, "value"),
        ({"value": ["x"]}, "value"),
        ({"time": 1.5}, "time"),
        ({"time": "yesterday"}, "time"),
        ({"user": "ann"}, "user"),
        ({"user": {"userID": 42}}, "user.userID"),
        ({"user": {"email": 42}}, "user.email"),
        ({"user": {"custom": []}}, "user.custom"),
        ({"user": {"custom": {"a": {"b": 1}}}}, "user.custom[...]"),
        ({"user": {"custom": {"a": [1]}}}, "user.custom[...][0]"),
        ({"user": {"customIDs": {"stableID": 1}}}, "user.customIDs[...]"),
        ({"user": {"statsigEnvironment": {"tier": "prod"}}}, "user.statsigEnvironment.tier"),
        ({"metadata": {"sku": 1}}, "metadata[...]"),
        ({"metadata": []}, "metadata"),
    ],
)
def test_a_bad_event_is_refused_naming_its_index_and_member(changes: dict[str, Any], member: str) -> None:
    error = refusal(check_event, event(**changes), 7)
    assert error.status == 400
    assert f"`events[7].{member}`" in error.message


@pytest.mark.parametrize("tier", ["production", "Staging", "QA", "qa"])
def test_an_environment_is_one_of_the_projects_whatever_its_case(tier: str) -> None:
    body = event(user={"userID": "ann", "statsigEnvironment": {"tier": tier}})
    assert check_event(body, 0, ("Production", "staging", "Qa")).event_name == "order_completed"
    assert refusal(check_event, body, 4, ("live",)).message.endswith("`events[4].user.statsigEnvironment.tier`")


@pytest.mark.parametrize("tier", [1, None, ["production"]])
def test_an_environment_is_a_text(tier: object) -> None:
    body = event(user={"userID": "ann", "statsigEnvironment": {"tier": tier}})
    assert "`events[0].user.statsigEnvironment.tier`" in refusal(check_event, body, 0).message


@pytest.mark.parametrize(
    ("time", "milliseconds"),
    [
        (1_700_000_000_123, 1_700_000_000_123),
        ("2023-11-14T22:13:20.123Z", 1_700_000_000_123),
        ("2023-11-15T00:13:20.123+02:00", 1_700_000_000_123),
        ("2023-11-14T22:13:20.123", 1_700_000_000_123),
        (None, 5_000),
    ],
)
def test_an_event_happened_at_its_time_or_when_it_was_received(time: object, milliseconds: int) -> None:
    assert time_or(check_event(event(time=time), 0), 5.0) == milliseconds


def test_a_batch_names_the_sdk_that_has_sent_it() -> None:
    metadata = {"sdkType": "test", "sdkVersion": 2, "other": None}
    batch = batch_of(json.dumps({"events": [GOOD], "statsigMetadata": metadata}).encode())
    assert (len(batch.events), batch.sdk_type, batch.sdk_version) == (1, "test", "2")


def test_an_event_without_a_name_is_refused_naming_its_index() -> None:
    error = refusal(check_event, b'{"value": 1}', 3)
    assert "eventName" in error.message
    assert "`events[3]`" in error.message


def test_what_sdks_log_by_themselves_may_have_other_forms() -> None:
    body = b'{"eventName": "statsig::diagnostics", "metadata": {"markers": [{"key": "overall"}]}}'
    assert check_event(body, 0).event_name == "statsig::diagnostics"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nope",
        b"[]",
        b"{}",
        b'{"events": [], "statsigMetadata": {}}',
        b'{"events": [{"eventName": "x"}]}',
        b'{"events": {"eventName": "x"}, "statsigMetadata": {}}',
        b'{"events": [{"eventName": "x", "value": NaN}], "statsigMetadata": {}}',
        b'{"events": [{"eventName": "x", "value": Infinity}], "statsigMetadata": {}}',
        b'{"events": [{"eventName": "x"},], "statsigMetadata": {}}',
        b'{"events": [{"eventName": "x"}], "statsigMetadata": {}} trailing',
        b'{"events": [{"eventName": "\xff"}], "statsigMetadata": {}}',
    ],
)
def test_a_body_that_is_not_strict_json_of_events_is_refused(body: bytes) -> None:
    def take() -> None:
        for index, one in enumerate(events_of(body)):
            check_event(one, index)

    assert refusal(take).status == 400


@given(st.lists(st.text(min_size=1), min_size=1))
def test_events_come_out_of_a_body_as_they_went_in(names: list[str]) -> None:
    sent = [{"eventName": name} for name in names]
    body = json.dumps({"events": sent, "statsigMetadata": {}}).encode()
    assert [json.loads(one) for one in events_of(body)] == sent


@pytest.mark.parametrize("character", "\\[]{}<>#=;&$%|\0\r\n")
def test_an_event_whose_name_holds_a_forbidden_character_is_dropped(character: str) -> None:
    reason = drop_reason(check_event(event(eventName=f"order{character}completed"), 0))
    assert reason is not None
    assert repr(character) in reason


@pytest.mark.parametrize("name", ["order completed", "order.completed", "Bestellung/ü", "a:b", "statsig"])
def test_an_event_with_another_name_is_kept(name: str) -> None:
    assert drop_reason(check_event(event(eventName=name), 0)) is None


@pytest.mark.parametrize(
    "user", [None, {}, {"userID": ""}, {"email": "a@b"}, {"customIDs": {}}, {"customIDs": {"x": ""}}]
)
def test_an_event_without_an_identifier_is_dropped(user: object) -> None:
    assert drop_reason(check_event(event(user=user), 0)) == "user has no identifier"


def test_a_custom_id_is_an_identifier() -> None:
    assert drop_reason(check_event(event(user={"customIDs": {"stableID": "d"}}), 0)) is None


def test_metadata_keys_with_a_dot_lose_their_value() -> None:
    assert lost_metadata_keys({"a.b": "1", "c": "2", ".": "3"}) == ["a.b", "."]


@given(st.binary(max_size=2000))
def test_gzip_is_undone(content: bytes) -> None:
    assert decompress(gzip.compress(content), "GZIP", 2000) == content
    assert decompress(gzip.compress(content) + gzip.compress(content), "gzip", 4000) == content * 2


# Names of their own: gzip writes the time into its output, and the tests must have the same names in every process.
@pytest.mark.parametrize(
    "body",
    [b"not gzip", gzip.compress(b"x" * 100)[:-3], gzip.compress(b"x")[:5]],
    ids=["not gzip", "without its end", "within its header"],
)
def test_broken_gzip_is_refused(body: bytes) -> None:
    assert refusal(decompress, body, "gzip", 1000).status == 400


def test_a_body_over_the_limit_is_refused_as_too_large_before_and_after_decompression() -> None:
    assert decompress(b"x" * 10, "", 10) == b"x" * 10
    assert refusal(decompress, b"x" * 11, "", 10).status == 413
    assert refusal(decompress, gzip.compress(b"x" * 10_000_000), "gzip", 10).status == 413


def test_an_unknown_content_encoding_is_refused() -> None:
    assert refusal(decompress, b"x", "br", 10).status == 400


def test_an_id_left_out_is_made_from_the_name() -> None:
    segment = segment_to_create(b'{"name": "Repeat buyers", "type": "id_list"}')
    assert (segment.id, segment.id_type) == ("repeat_buyers", "userID")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "abc"},
        {"name": "ab", "type": "id_list"},
        {"name": "a" * 101, "type": "id_list"},
        {"name": "größe", "type": "id_list"},
        {"name": "a/b/c", "type": "id_list"},
        {"name": "abc\n", "type": "id_list"},
        {"name": "abc", "type": "list"},
        {"name": "abc", "type": "id_list", "id": "a b c"},
        {"name": "abc", "type": "id_list", "idType": ""},
        {"name": "abc", "type": "id_list", "tags": "x"},
        {"name": "abc", "type": "id_list", "team": 1},
        {"name": "abc", "type": "id_list", "creatorEmail": ["a@b"]},
        {"name": "abc", "type": "id_list", "description": "x" * 1001},
    ],
)
def test_a_segment_with_a_wrong_name_id_or_type_is_refused(body: dict[str, object]) -> None:
    assert refusal(segment_to_create, json.dumps(body).encode()).status == 400


@pytest.mark.parametrize("ids", ["a", [1], [""], [None], [], ["a", "b", "c"], {"a": 1}])
def test_ids_are_a_list_of_non_empty_strings_no_longer_than_the_limit(ids: object) -> None:
    assert refusal(ids_of, json.dumps({"ids": ids}).encode(), 2).status == 400


def test_ids_are_taken_byte_for_byte() -> None:
    ids = ["42", "42.0", "Ann", "ann", "x", "x "]
    assert ids_of(json.dumps({"ids": ids}).encode(), 10) == ids


def test_an_empty_list_of_ids_is_allowed_where_a_list_is_replaced() -> None:
    assert ids_of(b'{"ids": []}', 10, may_be_empty=True) == []


@given(st.text(min_size=1))
def test_id_hash_is_the_start_of_the_base64_of_the_sha256(unit_id: str) -> None:
    assert id_hash(unit_id) == base64.b64encode(hashlib.sha256(unit_id.encode()).digest()).decode()[:8]


def test_an_id_list_file_only_grows() -> None:
    file = IdListFile(creation_time=1)
    file.append("+", ["a", "b"])
    before = bytes(file.content)
    file.append("-", ["a"])
    assert file.content == before + f"-{id_hash('a')}\n".encode()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, (0, 30)),
        ("bytes=0-", (0, 30)),
        ("bytes=10-", (10, 30)),
        ("bytes=10-19", (10, 20)),
        ("bytes=10-99", (10, 30)),
        ("bytes=30-", None),
        ("bytes=-5", (0, 30)),
        ("lines=1-", (0, 30)),
    ],
)
def test_a_range_header_names_the_bytes_from_a_place_on(header: str | None, expected: tuple[int, int] | None) -> None:
    assert byte_range(header, 30) == expected
