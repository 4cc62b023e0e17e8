"""What comes back over the wire: no answer is too odd, too slow or too clever for an outcome."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.core.compression import compressed
from sync.core.delivery import Patience, State
from sync.edges.statsig import EventsClient
from tests.integration.harness import SERVER_SECRET, Project
from tests.integration.in_process import StillClock
from tests.integration.scripted import Asked, Said, scripted
from tests.integration.stand_in import LOG_EVENT, StandIn


@dataclass
class WireServer:
    """Answers each request with these bytes and closes the connection, or keeps it open until the client goes."""

    listener: socket.socket
    answer: bytes = b""
    keeps_open: bool = False
    requests: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        try:
            self.requests.append(connection.recv(65536))
            connection.sendall(self.answer)
            while self.keeps_open and connection.recv(65536):
                pass
        except ConnectionError:
            pass


@pytest.fixture(scope="module")
def wire() -> Iterator[WireServer]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = WireServer(listener)
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        yield server
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def outcome_of(server: WireServer, answer: bytes, clock: StillClock | None = None) -> State:
    server.answer = answer
    patience = Patience(attempts=1, read_seconds=3600)
    with closing(EventsClient(server.url, SERVER_SECRET, clock or StillClock(), patience)) as client:
        return client.log_event(compressed(b'{"events":[]}'), 1).state


OK = b"HTTP/1.1 202 Accepted\r\n"
ODD_ANSWERS = {
    "nothing": b"",
    "no HTTP": b"220 smtp.example.com ESMTP\r\n",
    "half a status line": b"HTTP/1.1 2",
    "no such status": b"HTTP/1.1 99999 What\r\n\r\n",
    "endless header": OK + b"X: " + b"x" * 200_000,
    "many headers": OK + b"X: y\r\n" * 500 + b"\r\n",
    "negative chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nabc\r\n",
    "chunk that is no number": OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
    "chunk cut off": OK + b'Transfer-Encoding: chunked\r\n\r\nff\r\n{"success"',
    "length that is no number": OK + b"Content-Length: many\r\n\r\n{}",
    "two lengths": OK + b'Content-Length: 1\r\nContent-Length: 16\r\n\r\n{"success":true}',
    "broken gzip": OK + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
    "encoding that was not asked for": OK + b"Content-Encoding: br\r\nContent-Length: 4\r\n\r\nabcd",
    "location that is no text": b"HTTP/1.1 302 Found\r\nLocation: http://\xff\xfe/\r\nContent-Length: 0\r\n\r\n",
    "retry-after that is no text": b"HTTP/1.1 429 No\r\nRetry-After: \xff\xfe\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("name", ODD_ANSWERS)
def test_an_answer_that_is_no_answer_of_statsigs_is_never_taken_for_a_success(wire: WireServer, name: str) -> None:
    assert outcome_of(wire, ODD_ANSWERS[name]) in (State.UNKNOWN, State.UNSENT)


@given(head=st.sampled_from([b"", b"HTTP/1.1 ", OK, OK + b"Transfer-Encoding: chunked\r\n\r\n"]), rest=st.binary())
def test_whatever_comes_over_the_wire_has_an_outcome(wire: WireServer, head: bytes, rest: bytes) -> None:
    assert outcome_of(wire, head + rest) in State


class _QuickClock(StillClock):
    """More than an hour passes whenever someone looks."""

    def monotonic(self) -> float:
        self.elapsed += 3601
        return self.elapsed


def test_an_answer_that_comes_too_slowly_is_not_waited_for(wire: WireServer) -> None:
    wire.keeps_open = True
    try:
        assert outcome_of(wire, OK + b"Content-Length: 1000000\r\n\r\n{", _QuickClock()) is State.UNKNOWN
    finally:
        wire.keeps_open = False


@pytest.fixture
def visits(project: Project) -> Project:
    project.table("visits", "select range as id, 'u' || range as user_id from range(3)")
    project.sync("visits", "visits", {"object": "events", "unique_key": "id", "event_name": "visit"})
    return project


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_with_a_key(
    visits: Project, arrived: StandIn, wire: WireServer, status: int
) -> None:
    before = len(wire.requests)
    arrived.fault("status", call=LOG_EVENT, status=status, headers={"Location": wire.url}, count=None)
    assert visits.run("--max-attempts", "1", expect=1)["results"][0]["unsent"] == 3
    assert len(arrived.requests(LOG_EVENT)) == 1
    assert len(wire.requests) == before


def test_the_client_time_is_that_of_each_attempt() -> None:
    clock = StillClock()
    times: list[tuple[int, int]] = []

    def answer(asked: Asked) -> Said:
        times.append((int(asked.headers["statsig-client-time"]), round(clock.epoch() * 1000)))
        # A while passes before Statsig has read it.
        clock.elapsed += 2.5
        return (202, {"success": True}) if len(times) == 3 else (503, {"success": False}, {"Retry-After": "7"})

    with scripted(answer) as server, closing(EventsClient(server.url, SERVER_SECRET, clock, Patience())) as client:
        assert client.log_event(compressed(b'{"events":[]}'), 1).attempts == 3
    assert [sent for sent, _ in times] == [now for _, now in times]
    assert [later - earlier for (earlier, _), (later, _) in itertools.pairwise(times)] == [9_500, 9_500]


def test_what_is_meant_for_this_machine_does_not_go_by_a_proxy(
    visits: Project, arrived: StandIn, wire: WireServer
) -> None:
    before = len(wire.requests)
    proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"), wire.url)
    visits.run(**proxies, NO_PROXY=None, no_proxy=None)
    assert len(arrived.events()) == 3
    assert len(wire.requests) == before
