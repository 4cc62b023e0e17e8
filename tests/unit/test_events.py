"""From encoded rows to request bodies."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sync.core import reasons
from sync.core.compression import compressed
from sync.core.custom import custom_problem, oddities
from sync.core.events import EVENTS, is_strict_json, left_out
from sync.core.packing import ENVELOPE_BYTES, request_body
from sync.engine.packer import pack
from sync.spec.model import EventConfig
from tests.unit.reference_encoder import strict_json
from tests.unit.settling import Event, Row, events_of, frame_of, settle_row, settled_at_once
from tests.unit.values import custom_values, texts

MIB = 1024 * 1024
HEAD = '{"eventName":"view","user":{"userID":"ann","statsigEnvironment":{"tier":"production"}'


def row(**known: Any) -> Row:
    """A row that can be sent, but for what is said of it."""
    usable = {
        "key": "1",
        "row_hash": "h",
        "event_time": 0,
        "reason": None,
        "detail": None,
        "without": None,
        "head": HEAD,
        "custom": None,
        "was_sent": False,
        "logged": None,
        "trimmed": None,
        "event_name": "view",
        "copies": 1,
        "is_chosen": True,
    }
    return Row(**{**usable, **known})


def noted(given_row: Row, retry_rejected: bool = False) -> list[tuple[str, str, int]]:
    _, rejected = settle_row(given_row, retry_rejected)
    return [(one.reason, one.effect, one.row_count) for one in rejected]


def test_a_row_without_a_reason_is_an_event() -> None:
    event, rejected = settle_row(row(custom='{"plan":"pro"}'))
    assert event == Event("1", "h", 0, (HEAD + ',"custom":{"plan":"pro"}}}').encode(), "view")
    assert rejected == []


def test_a_row_with_a_reason_is_rejected_with_all_its_copies() -> None:
    refused = row(reason=reasons.MISSING_IDENTIFIER, copies=3)
    assert settle_row(refused)[0] is None
    assert noted(refused) == [(reasons.MISSING_IDENTIFIER, reasons.NOT_SENT, 3)]


def test_copies_of_the_row_that_is_sent_are_rejected() -> None:
    assert settle_row(row(copies=3))[0] is not None
    assert noted(row(copies=3)) == [(reasons.DUPLICATE_KEY, reasons.NOT_SENT, 2)]


def test_a_row_that_is_not_the_one_for_its_key_is_rejected_with_its_copies() -> None:
    assert settle_row(row(is_chosen=False, copies=2))[0] is None
    assert noted(row(is_chosen=False, copies=2)) == [(reasons.DUPLICATE_KEY, reasons.NOT_SENT, 2)]


def test_a_row_that_was_sent_is_neither_sent_again_nor_rejected() -> None:
    assert settle_row(row(was_sent=True)) == (None, [])


def test_what_the_reject_ledger_knows_is_not_reported_again() -> None:
    for known in (
        row(reason=reasons.MISSING_IDENTIFIER, logged=reasons.MISSING_IDENTIFIER),
        row(is_chosen=False, logged=f"{reasons.INVALID_CUSTOM},{reasons.DUPLICATE_KEY}"),
        row(custom="[]", logged=reasons.INVALID_CUSTOM),
    ):
        assert noted(known) == []


def test_a_reason_that_the_reject_ledger_does_not_know_is_reported() -> None:
    changed = row(reason=reasons.MISSING_IDENTIFIER, logged=reasons.INVALID_EVENT_TIME)
    assert noted(changed) == [(reasons.MISSING_IDENTIFIER, reasons.NOT_SENT, 1)]


def test_a_row_that_statsig_refused_is_held_back_until_it_is_asked_for() -> None:
    refused = row(logged=reasons.REFUSED_BY_STATSIG)
    assert settle_row(refused) == (None, [])
    event, rejected = settle_row(refused, retry_rejected=True)
    assert event is not None
    assert rejected == []


def test_a_reason_that_only_took_a_part_away_does_not_hold_the_event_back() -> None:
    event, _ = settle_row(row(without=reasons.INVALID_EVENT_VALUE, logged=reasons.INVALID_EVENT_VALUE))
    assert event is not None


def test_an_event_goes_without_a_custom_that_is_no_json_object_and_that_is_noted() -> None:
    event, _ = settle_row(row(custom="not JSON"))
    assert event is not None
    assert event.body == (HEAD + "}}").encode()
    assert noted(row(custom="not JSON")) == [(reasons.INVALID_CUSTOM, reasons.SENT_WITHOUT, 1)]


def test_an_event_that_went_without_two_parts_is_noted_twice() -> None:
    found = noted(row(custom="[]", without=reasons.INVALID_EVENT_VALUE))
    assert {reason for reason, _, _ in found} == {reasons.INVALID_CUSTOM, reasons.INVALID_EVENT_VALUE}


def test_an_event_may_fill_a_request_and_not_a_byte_more() -> None:
    fits = f'{{"user":{{"userID":"{"a" * 10}"}}}}'
    longest = 10 + MIB - ENVELOPE_BYTES - len(fits)
    event, rejected = settle_row(row(head=f'{{"user":{{"userID":"{"a" * longest}"'))
    assert (event is not None, rejected) == (True, [])
    assert event is not None
    assert len(request_body(event.body)) == MIB
    assert noted(row(head=f'{{"user":{{"userID":"{"a" * (longest + 1)}"')) == [
        (reasons.EVENT_TOO_LARGE, reasons.NOT_SENT, 1)
    ]


@pytest.mark.parametrize(
    "head", ['{"eventName":NaN,"user":{', '{"eventName":.5,"user":{', '{"eventName":"a\n","user":{']
)
def test_what_is_not_strict_json_never_reaches_a_batch(head: str) -> None:
    assert noted(row(head=head)) == [(reasons.NOT_STRICT_JSON, reasons.NOT_SENT, 1)]


@pytest.mark.parametrize(
    "body", [b'{"a":1,}', b'{"a":NaN}', b"{'a':1}", b'{"a":01}', b"\xff", b'{"a":"\xff"}', b"", b"[" * 100_000]
)
def test_strict_json_is_strict(body: bytes) -> None:
    assert not is_strict_json(body)


@given(properties=st.dictionaries(texts, custom_values | st.lists(texts, max_size=3), max_size=5))
def test_custom_keeps_what_statsig_takes_and_leaves_nulls_out(properties: dict[str, Any]) -> None:
    text = json.dumps(properties, ensure_ascii=False)
    found, problem = custom_problem(text)
    assert problem is None
    assert found is not None
    kept = {name: value for name, value in strict_json(text).items() if value is not None}
    assert strict_json(found) == kept


@pytest.mark.parametrize("number", ["12345678901234567890123", "0.1000000000000000055511151231257827", "1e2"])
def test_numbers_in_custom_keep_their_digits(number: str) -> None:
    assert custom_problem(f'{{"n": {number}}}') == (f'{{"n": {number}}}'.encode(), None)
    found, _ = custom_problem(f'{{"n": {number}, "gone": null}}')
    assert found == f'{{"n":{number}}}'.encode()


@pytest.mark.parametrize(
    "custom",
    [
        "",
        " ",
        "null",
        "1",
        "true",
        '"text"',
        "[]",
        '[{"a":1}]',
        "{",
        '{"a":1',
        '{"a":1,}',
        '{"a":NaN}',
        '{"a":Infinity}',
        "{'a':1}",
        '{"a":1}{"b":2}',
        '{"a":1} -- x',
        "{a:1}",
        '{"a":undefined}',
        "[" * 100_000,
        '{"a":' * 100_000,
    ],
)
def test_custom_that_is_no_json_object_is_a_problem(custom: str) -> None:
    assert custom_problem(custom) == (None, "it is not a JSON object")


@pytest.mark.parametrize(
    ("custom", "key"),
    [
        ('{"a":1,"a":1}', "a"),
        ('{"a":1,"b":2,"a":null}', "a"),
        ('{"a":1,"\\u0061":2}', "a"),
        ('{"\\ud83d\\ude00":1,"\U0001f600":2}', "\U0001f600"),
        ('{"a" : "x:y" ,\n"a"\t:["b"]}', "a"),
        ('{"":1,"":2}', ""),
        (f'{{"n":{"9" * 100},"n":1}}', "n"),
    ],
)
def test_custom_has_each_key_once(custom: str, key: str) -> None:
    assert custom_problem(custom) == (None, f"property {key!r} is there twice")


@pytest.mark.parametrize(
    "custom",
    [
        '{"a":"a","b":"a"}',
        '{"A":1,"a":2}',
        '{"a":"\\"a\\":1, \\"a\\" : 2"}',
        '{"at":"2026-01-31T10:00:00","url":"https://a.b:80"}',
        '{"a" : 1, "b\\":" : 2}',
        '{"list":["a:b","a","a"]}',
    ],
)
def test_what_only_looks_like_a_key_that_is_there_twice_is_sent_as_it_is(custom: str) -> None:
    assert custom_problem(custom) == (custom.encode(), None)


@given(
    pairs=st.lists(st.tuples(st.sampled_from(["a", "b", "\\u0061", ':"', "x\\", "\u00e9"]), texts), max_size=5),
    separators=st.sampled_from([(",", ":"), (" , ", " : ")]),
)
def test_an_object_is_custom_exactly_where_no_key_is_there_twice(
    pairs: list[tuple[str, str]], separators: tuple[str, str]
) -> None:
    comma, colon = separators
    names = [name if name == "\\u0061" else json.dumps(name)[1:-1] for name, _ in pairs]
    members = [f'"{name}"{colon}{json.dumps(value)}' for name, (_, value) in zip(names, pairs, strict=True)]
    found, _ = custom_problem("{" + comma.join(members) + "}")
    read = [json.loads(f'"{name}"') for name in names]
    assert (found is None) == (len(set(read)) < len(read))


@pytest.mark.parametrize("value", ['{"b":1}', "[1]", "[null]", '["a",1]', '[["a"]]', "[true]"])
def test_custom_takes_strings_numbers_booleans_and_lists_of_strings_only(value: str) -> None:
    found, problem = custom_problem(f'{{"fine":1,"nested":{value}}}')
    assert found is None
    assert problem is not None
    assert "'nested'" in problem


@given(custom=texts | st.text() | st.text(alphabet='{}[]":,\\ntrue0.-e\0'))
@example('{"a":"\\ud800"}')
@example('{"\\ud800":null}')
def test_no_custom_makes_an_event_that_is_not_strict_json(custom: str) -> None:
    event, _ = settle_row(row(custom=custom))
    assert event is not None
    assert strict_json(event.body)["user"]["userID"] == "ann"


@settings(max_examples=max(100, settings().max_examples))
@given(
    st.lists(
        st.none()
        | texts
        | st.text(alphabet='{}[]":,\\ntrue0.-e\0')
        | st.dictionaries(texts, custom_values | st.lists(texts, max_size=3), max_size=3).map(json.dumps)
        | st.sampled_from(
            [
                '{"a":1',
                '"b":2}',
                '{"a":1},{"b":2}',
                '{"a":"',
                '"}',
                '{"a":1,"a":2}',
                '{"at":"10:00"}',
                '{"n":null}',
                " ",
            ]
        ),
        max_size=12,
    )
)
@example(['{"a":1', '"b":2}', '{"a":1},{"b":2}'])
@example(['{"a":"', '"}'])
@example(['{"a":"}', '{"}', "{}"])
@example(['{"a":1}{', "}"])
@example(['{"a":1},{}', "{}"])
def test_many_customs_checked_at_once_come_to_what_each_comes_to_by_itself(customs: list[str | None]) -> None:
    found = {one.place: (one.custom, one.problem) for one in oddities(pl.Series("custom", customs, pl.String))}
    expected = {}
    for place, custom in enumerate(customs):
        if custom is not None:
            kept, problem = custom_problem(custom)
            if kept != custom.encode():
                expected[place] = (kept.decode() if kept is not None else None, problem)
    assert found == expected


def test_one_event_that_is_not_strict_json_takes_no_other_with_it() -> None:
    heads = [HEAD, '{"eventName":NaN,"user":{', HEAD, HEAD]
    found = settled_at_once([row(key=str(number), head=head) for number, head in enumerate(heads)])
    assert [event.key for event in events_of(found)] == ["0", "2", "3"]
    assert found.rejects.select("key", "reason").rows() == [("1", reasons.NOT_STRICT_JSON)]


def test_halves_of_an_event_do_not_pass_for_whole_ones() -> None:
    halves = ['{"eventName":"a","user":{"a":[{', "]}},{"]
    found = settled_at_once([row(key=str(number), head=head) for number, head in enumerate(halves)])
    assert found.rejects["reason"].to_list() == [reasons.NOT_STRICT_JSON] * 2


bodies = st.integers(2, 2000).map(lambda size: '"' + "x" * (size - 2) + '"')
sizes = st.one_of(bodies, st.sampled_from([MIB - ENVELOPE_BYTES, MIB // 2, MIB // 3]).map(lambda size: "1" * size))


def frames_of(bodies: list[str], cut: int) -> list[pl.DataFrame]:
    """Events with these bodies, in frames of so many."""
    rows = [(str(number), "h", "view", None, body, None, False) for number, body in enumerate(bodies)]
    events = pl.DataFrame(rows, schema=dict(EVENTS), orient="row")
    return [events.slice(start, cut) for start in range(0, len(bodies), cut)]


@settings(max_examples=max(30, settings().max_examples // 2))
@given(st.lists(sizes, max_size=30), st.integers(0, 1100), st.integers(2, 3000), st.sampled_from([7, 499, 5000]))
@example(["1" * (MIB - ENVELOPE_BYTES)] * 3, 0, 2, 1)
@example([], 500, 2, 500)
@example([], 501, 2, 500)
@example([], 1100, 3000, 200)
def test_batches_put_together_are_the_input_and_keep_statsigs_limits(
    mixed: list[str], more: int, size: int, cut: int
) -> None:
    bodies = [*mixed, *["2" * size] * more]
    packed = [one for several in pack(frames_of(bodies, cut), compress=lambda body: body) for one in several]
    assert [key for one in packed for key in one.lines["key"]] == [str(number) for number in range(len(bodies))]
    start = 0
    for number, one in enumerate(packed):
        count = one.lines.height
        inside = bodies[start : start + count]
        assert one.body == request_body(",".join(inside).encode())
        assert len(one.body) == one.body_bytes <= MIB
        assert 1 <= count <= 500
        start += count
        if number + 1 < len(packed):
            assert count == 500 or one.body_bytes + 1 + len(bodies[start]) > MIB


def test_events_that_are_only_counted_have_no_body() -> None:
    ((one,),) = pack(frames_of(["{}"], 1), compress=None)
    assert (one.body, one.body_bytes) == (None, len(request_body(b"{}")))


def test_a_request_holds_its_events_and_says_who_sends_them() -> None:
    found = strict_json(request_body(b'{"eventName":"a"},{"eventName":"b"}'))
    assert found["events"] == [{"eventName": "a"}, {"eventName": "b"}]
    assert found["statsigMetadata"]["sdkType"] == "statsig-sync"
    assert isinstance(found["statsigMetadata"]["sdkVersion"], str)


def test_a_compressed_body_is_the_body_and_always_the_same_bytes() -> None:
    body = b'{"events":[' + b'{"eventName":"view"},' * 1000 + b"{}]}"
    assert gzip.decompress(compressed(body)) == body
    assert compressed(body) == compressed(body)
    assert len(compressed(body)) < len(body) // 10


def config(backfill: Any) -> EventConfig:
    return EventConfig(object="events", unique_key="k", backfill=backfill)


def at(moment: str | None, key: str | None = "1", reason: str | None = None) -> Row:
    """A row of this moment (UTC)."""
    time = dt.datetime.fromisoformat(moment).replace(tzinfo=dt.timezone.utc).timestamp() if moment else None
    milliseconds = None if time is None else round(time * 1000)
    return row(key=key, event_time=milliseconds, reason=reason)


def is_left_out(one: Row, config: EventConfig) -> bool:
    return bool(frame_of([one]).select(left_out(config).alias("is_out"))["is_out"][0])


@pytest.mark.parametrize(
    ("backfill", "time", "is_out"),
    [
        ("all", "2026-01-31T00:00:00", False),
        ("none", "2026-01-31T00:00:00", True),
        ("2026-01-31", "2026-01-30T23:59:59.999", True),
        ("2026-01-31", "2026-01-31T00:00:00", False),
        (dt.date(2026, 1, 31), "2026-01-30T12:00:00", True),
    ],
)
def test_backfill_says_what_a_first_run_sends(backfill: Any, time: str, is_out: bool) -> None:
    assert is_left_out(at(time), config(backfill)) is is_out


@pytest.mark.parametrize(("backfill", "is_out"), [("all", False), ("none", True), ("2026-01-31", False)])
def test_an_event_without_a_time_is_as_new_as_now(backfill: str, is_out: bool) -> None:
    assert is_left_out(at(None), config(backfill)) is is_out


@pytest.mark.parametrize("backfill", ["none", "2026-01-31"])
def test_what_a_first_run_leaves_out_is_left_out_also_where_it_could_not_be_sent(backfill: str) -> None:
    assert is_left_out(at("2026-01-30T12:00:00", reason="missing_identifier"), config(backfill))
    assert not is_left_out(at("2026-01-30T12:00:00", key=None, reason="missing_unique_key"), config(backfill))
