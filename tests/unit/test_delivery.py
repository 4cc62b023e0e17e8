"""What an answer means."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sync.core.delivery import (
    Answer,
    FollowUp,
    Outcome,
    Patience,
    State,
    Trail,
    follow_up,
    judge,
    overall,
    retry_after_seconds,
    statsig_message,
)

NOW = dt.datetime(2026, 1, 31, 10, 0, 0, tzinfo=dt.timezone.utc)
HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"


@pytest.mark.parametrize("body", [b'{"success":true}', b'{"message":"ok"}', b'{"message":"ok","data":{}}'])
@pytest.mark.parametrize("status", [200, 201, 202])
def test_a_2xx_with_statsigs_json_is_accepted(status: int, body: bytes) -> None:
    verdict = judge(Answer(status, body), NOW)
    assert (verdict.outcome.state, verdict.may_retry, verdict.in_doubt) == (State.ACCEPTED, False, False)
    assert verdict.outcome.http_status == status
    assert verdict.outcome.data == json.loads(body)


def test_a_2xx_that_says_no_success_is_not_taken_and_repeated() -> None:
    verdict = judge(Answer(202, b'{"success":false}'), NOW)
    assert (verdict.outcome.state, verdict.may_retry, verdict.in_doubt) == (State.UNSENT, True, False)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        HTML,
        b"OK",
        b"null",
        b"true",
        b"[]",
        b"{}",
        b'{"succ',
        b'{"success":true',
        b'{"status":"ok"}',
        b"\xff\xfe",
        b'{"success":null}',
        b'{"success":0}',
        b'{"success":"no"}',
        b'{"success":NaN}',
    ],
)
def test_a_2xx_whose_body_is_not_statsigs_json_proves_nothing(body: bytes) -> None:
    verdict = judge(Answer(200, body), NOW)
    assert (verdict.outcome.state, verdict.may_retry, verdict.in_doubt) == (State.UNKNOWN, True, True)


def test_statsigs_documented_overload_is_not_taken_and_repeated() -> None:
    verdict = judge(Answer(503, b'{"success":false}'), NOW)
    assert (verdict.outcome.state, verdict.may_retry, verdict.in_doubt) == (State.UNSENT, True, False)


@pytest.mark.parametrize(
    ("status", "body"), [(500, b""), (502, HTML), (503, HTML), (503, b"{}"), (504, b""), (599, b'{"success":false}')]
)
def test_every_other_5xx_is_in_doubt_and_repeated(status: int, body: bytes) -> None:
    verdict = judge(Answer(status, body), NOW)
    assert (verdict.outcome.state, verdict.may_retry, verdict.in_doubt) == (State.UNKNOWN, True, True)


@pytest.mark.parametrize("status", [409, 429])
def test_a_rate_limit_and_a_busy_list_are_refused_before_anything_is_applied_and_repeated(status: int) -> None:
    verdict = judge(Answer(status, b'{"status":429,"message":"slow down"}'), NOW)
    assert (verdict.outcome.state, verdict.may_retry, verdict.in_doubt) == (State.UNSENT, True, False)
    assert verdict.outcome.message == "slow down"


@pytest.mark.parametrize("status", [400, 413])
def test_a_refused_content_is_not_repeated_as_it_is_but_split(status: int) -> None:
    verdict = judge(Answer(status, b'{"message":"Invalid request"}'), NOW)
    assert (verdict.outcome.state, verdict.may_retry, verdict.in_doubt) == (State.REJECTED, False, False)
    assert verdict.outcome.should_split


@pytest.mark.parametrize("status", [301, 302, 307, 401, 403, 404, 405, 407, 410, 451])
def test_a_wrong_key_or_address_is_not_repeated_and_no_row_is_to_blame(status: int) -> None:
    verdict = judge(Answer(status, HTML), NOW)
    assert (verdict.outcome.state, verdict.may_retry, verdict.in_doubt) == (State.UNSENT, False, False)
    assert not verdict.outcome.should_split


def test_a_connection_that_fails_before_the_request_is_written_is_not_in_doubt() -> None:
    verdict = judge(Answer(None, failure="no route", was_written=False), NOW)
    assert (verdict.outcome.state, verdict.may_retry, verdict.in_doubt) == (State.UNSENT, True, False)
    assert verdict.outcome.message == "no route"


def test_a_connection_that_is_lost_after_the_request_was_written_is_in_doubt() -> None:
    verdict = judge(Answer(None, failure="timed out", was_written=True), NOW)
    assert (verdict.outcome.state, verdict.may_retry, verdict.in_doubt) == (State.UNKNOWN, True, True)


@given(
    status=st.none() | st.integers(100, 599),
    body=st.binary() | st.text().map(str.encode) | st.sampled_from([b"[" * 200_000, b'{"message":' * 50_000]),
    retry_after=st.none() | st.text() | st.text(st.characters(max_codepoint=255)),
)
@example(500, b'{"message":"\xff"}', None)
@example(200, b'{"message":"\\ud800"}', None)
@example(429, b'{"message":5}', "9" * 5000)
def test_whatever_is_answered_has_a_verdict(status: int | None, body: bytes, retry_after: str | None) -> None:
    verdict = judge(Answer(status, body, retry_after), NOW)
    assert verdict.in_doubt is (verdict.outcome.state is State.UNKNOWN)
    assert not (verdict.may_retry and verdict.outcome.state in (State.ACCEPTED, State.REJECTED))
    assert verdict.pause_seconds is None or verdict.pause_seconds >= 0
    assert verdict.outcome.message is None or len(verdict.outcome.message) <= 500


@given(status=st.integers(200, 299), body=st.binary())
def test_only_statsigs_own_words_are_a_success(status: int, body: bytes) -> None:
    if judge(Answer(status, body), NOW).outcome.state is State.ACCEPTED:
        assert isinstance(json.loads(body), dict)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("Sat, 31 Jan 2026 10:00:30 GMT", 30.0),
        ("Saturday, 31-Jan-26 10:00:30 GMT", 30.0),
        ("Sat Jan 31 10:00:30 2026", 30.0),
        ("Sat, 31 Jan 2026 12:00:30 +0200", 30.0),
        ("Sat, 31 Jan 2026 09:00:00 GMT", 0.0),
    ],
)
def test_retry_after_is_read_in_seconds_and_as_a_date(header: str, seconds: float) -> None:
    assert retry_after_seconds(header, NOW) == seconds
    assert judge(Answer(429, b"", header), NOW).pause_seconds == seconds


@pytest.mark.parametrize(
    "header",
    [
        "",
        " ",
        "soon",
        "-5",
        "1.5",
        "1e3",
        "\u0663",
        "\u00b2",
        "NaN",
        "inf",
        "2026-01-31T10:00:30Z",
        "Sat, 99 Foo 2026",
        "\0",
        "Sat, 31 Jan 99999 10:00:30 GMT",
        "Sat, 31 Jan 2026 99:99:99 GMT",
        "Sat, 31 Jan 2026 10:00:30 +9999999",
    ],
)
def test_rubbish_in_retry_after_is_no_pause(header: str) -> None:
    assert retry_after_seconds(header, NOW) is None


@given(header=st.text() | st.text(st.characters(max_codepoint=255)) | st.from_regex(r"\w{3}, \d+ \w{3} \d+ [\d:]+ .*"))
def test_no_retry_after_is_an_error_or_lies_in_the_past(header: str) -> None:
    seconds = retry_after_seconds(header, NOW)
    assert seconds is None or seconds >= 0


def test_an_error_without_a_message_is_told_by_its_status() -> None:
    assert judge(Answer(404, HTML), NOW).outcome.message == "HTTP 404"


def test_a_long_message_is_cut() -> None:
    message = statsig_message(json.dumps({"message": "x" * 10_000}).encode())
    assert message == "x" * 500


def outcome(state: State, should_split: bool = False) -> Outcome:
    return Outcome(state, None, None, attempts=1, should_split=should_split)


@pytest.mark.parametrize("state", [State.REJECTED, State.UNKNOWN])
def test_a_batch_with_refused_content_is_split_until_one_key_stands_alone(state: State) -> None:
    refused = outcome(state, should_split=True)
    assert follow_up(refused, 2, Trail(), None) is FollowUp.SPLIT
    alone = FollowUp.REFUSE if state is State.REJECTED else FollowUp.NONE
    assert follow_up(refused, 1, Trail(), None) is alone


def trail_of(outcomes: list[Outcome]) -> Trail:
    trail = Trail()
    for one in outcomes:
        trail = trail.after(one)
    return trail


def test_a_batch_in_doubt_is_sent_again_a_few_times_where_it_may_be() -> None:
    doubt, patience = outcome(State.UNKNOWN), Patience()
    assert follow_up(doubt, 5, Trail(), patience) is FollowUp.RESEND
    assert follow_up(doubt, 5, trail_of([doubt] * 2), patience) is FollowUp.RESEND
    assert follow_up(doubt, 5, trail_of([doubt] * 3), patience) is FollowUp.NONE
    assert follow_up(doubt, 5, Trail(), None) is FollowUp.NONE


@pytest.mark.parametrize("patience", [Patience(attempts=1), Patience(total_seconds=0.5)])
def test_a_batch_in_doubt_is_not_sent_again_beyond_the_ceilings_on_attempts_and_time(patience: Patience) -> None:
    assert follow_up(outcome(State.UNKNOWN), 5, Trail(), patience) is FollowUp.NONE


def test_the_pauses_between_batches_in_doubt_grow_and_are_never_shorter_than_the_server_asks() -> None:
    doubt = outcome(State.UNKNOWN)
    pauses = [trail_of([doubt] * count).pause_seconds for count in (1, 2, 3)]
    assert pauses == sorted(set(pauses))
    asked = Outcome(State.UNKNOWN, 502, None, pause_seconds=9)
    assert trail_of([asked]).pause_seconds == 9
    assert follow_up(asked, 5, Trail(), Patience(total_seconds=8)) is FollowUp.NONE


@pytest.mark.parametrize("last", [State.UNSENT, State.REJECTED, State.UNKNOWN])
def test_a_doubt_stays_whatever_a_later_attempt_is_answered_unless_it_is_accepted(last: State) -> None:
    doubts = [outcome(State.UNKNOWN)]
    assert overall(outcome(last), doubts).state is State.UNKNOWN
    assert overall(outcome(State.ACCEPTED), doubts).state is State.ACCEPTED
    assert overall(outcome(last), []).state is last


@pytest.mark.parametrize("state", [State.ACCEPTED, State.UNSENT])
def test_nothing_follows_an_outcome_that_is_certain(state: State) -> None:
    assert follow_up(outcome(state), 5, Trail(), Patience()) is FollowUp.NONE


@pytest.mark.parametrize("status", [400, 422])
def test_a_proxys_page_with_a_status_of_content_blames_no_row(status: int) -> None:
    verdict = judge(Answer(status, b"<html>Bad Request</html>"), NOW)
    assert verdict.outcome.state is State.UNSENT
    assert not verdict.may_retry
