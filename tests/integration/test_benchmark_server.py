"""The benchmark's server counts what it gets: the one in C where it can be compiled, and the one in Python."""

from __future__ import annotations

import gzip
import json
import socket
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from benchmarks.receiver import Received, Receiver, compiled, receiving

NOTHING = Received(requests=0, bytes=0, body_bytes=0, events=0, distinct=0, claimed=0, unreadable=0, cpu_seconds=0)


@pytest.fixture(params=["C", "Python"])
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Receiver]:
    program = compiled(tmp_path) if request.param == "C" else None
    if request.param == "C" and program is None:
        pytest.skip("no C compiler, or no zlib to compile with")
    with receiving(program, events=1000) as running:
        yield running


def _body(*orders: int, name: str = "order_completed") -> bytes:
    events = [{"eventName": name, "metadata": {"order_id": f"order-{order}"}} for order in orders]
    return json.dumps({"events": events}).encode()


def _received(receiver: Receiver) -> Received:
    return replace(receiver.received(), cpu_seconds=0)


def _send(receiver: Receiver, body: bytes, **headers: str) -> requests.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.post(f"{receiver.url}/v1/log_event", body, headers=named, timeout=60)


def test_events_are_counted_plain_and_compressed_and_answered_as_statsig_does(receiver: Receiver) -> None:
    plain, spaceless = _body(1, 2), _body(3).replace(b": ", b":")
    zipped, deflated = gzip.compress(spaceless), zlib.compress(_body(4, 5, 6))
    answers = [
        _send(receiver, plain, statsig_event_count="2"),
        _send(receiver, zipped, content_encoding="gzip", statsig_event_count="1"),
        _send(receiver, deflated, content_encoding="deflate"),
    ]
    assert [(one.status_code, one.json()) for one in answers] == [(202, {"success": True})] * 3
    assert _received(receiver) == Received(
        requests=3,
        bytes=len(plain) + len(zipped) + len(deflated),
        body_bytes=len(plain) + len(spaceless) + len(_body(4, 5, 6)),
        events=6,
        distinct=6,
        claimed=3,
        unreadable=0,
        cpu_seconds=0,
    )


def test_an_event_that_comes_twice_is_one_and_others_are_none(receiver: Receiver) -> None:
    _send(receiver, _body(7, 7, 8))
    _send(receiver, _body(7, 999))
    _send(receiver, _body(name="statsig::diagnostics"))
    received = _received(receiver)
    assert (received.events, received.distinct, received.requests) == (5, 3, 3)


def test_an_order_that_is_none_of_those_to_send_is_not_ticked_off(receiver: Receiver) -> None:
    _send(receiver, _body(1000))
    assert (_received(receiver).events, _received(receiver).distinct) == (1, 0)


def test_a_body_that_cannot_be_read_counts_as_such(receiver: Receiver) -> None:
    _send(receiver, gzip.compress(_body(1, 2))[:-12], content_encoding="gzip")
    _send(receiver, _body(1), content_encoding="br")
    received = _received(receiver)
    assert (received.unreadable, received.events, received.distinct) == (2, 0, 0)


def test_a_reset_lets_it_count_from_nothing(receiver: Receiver) -> None:
    _send(receiver, _body(1))
    receiver.reset()
    assert _received(receiver) == NOTHING
    _send(receiver, _body(1))
    assert _received(receiver).distinct == 1


def test_a_request_that_comes_in_pieces_and_two_in_one_piece_are_read_to_their_ends(receiver: Receiver) -> None:
    body = _body(*range(500))
    head = f"POST /v1/log_event HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    stream = (head + body) * 2
    address = urlsplit(receiver.url)
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        for start in range(0, len(stream), 7919):
            connection.sendall(stream[start : start + 7919])
        answers = b""
        while answers.count(b'"success"') < 2:
            answers += connection.recv(65536)
    assert (_received(receiver).events, _received(receiver).distinct) == (1000, 500)
