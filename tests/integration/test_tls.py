"""TLS between the sync and Statsig: a server that cannot prove who it is gets nothing, and one that breaks off leaves
doubt behind.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from tests.integration.harness import Project


@dataclass
class BreakingServer:
    """Reads one request per connection over TLS, and answers with what is no TLS any more."""

    url: str
    authority: Path
    requests: list[bytes] = field(default_factory=list)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[BreakingServer]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = BreakingServer(f"https://127.0.0.1:{listener.getsockname()[1]}", file)
        thread = threading.Thread(target=_serve, args=(listener, context, found.requests), daemon=True)
        thread.start()
        yield found
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _serve(listener: socket.socket, context: ssl.SSLContext, requests: list[bytes]) -> None:
    while True:
        try:
            raw, _ = listener.accept()
        except OSError:
            return
        try:
            connection = context.wrap_socket(raw, server_side=True)
        except OSError:
            raw.close()
            continue
        requests.append(_request(connection))
        plain = connection.detach()
        os.write(plain, b"HTTP/1.1 400 Bad Request\r\n\r\n")
        os.close(plain)


def _request(connection: ssl.SSLSocket) -> bytes:
    """A whole request: the headers, and as many bytes as they say."""
    read = b""
    while b"\r\n\r\n" not in read:
        read += connection.recv(65536)
    headers, body = read.split(b"\r\n\r\n", 1)
    length = next(int(line.split(b":")[1]) for line in headers.lower().split(b"\r\n") if b"content-length" in line)
    while len(body) < length:
        body += connection.recv(65536)
    return headers + body


@pytest.fixture
def visits(project: Project, server: BreakingServer) -> Project:
    """Three events for a server whose certificate nobody vouches for."""
    project.table("visits", "select range as id, 'u' || range as user_id from range(3)")
    meta = {"object": "events", "unique_key": "id", "event_name": "visit", "on_unknown": "hold"}
    project.sync("visits", "visits", meta)
    project.environment["STATSIG_EVENTS_URL"] = server.url
    return project


def test_a_server_whose_certificate_cannot_be_verified_gets_neither_key_nor_events(
    visits: Project, server: BreakingServer
) -> None:
    report = visits.run("--max-attempts", "1", expect=1)
    assert "certificate" in report["results"][0]["message"]
    assert server.requests == []
    assert visits.rows("select state from statsig_batches") == [("unsent",)]


def test_tls_that_breaks_after_the_request_was_written_leaves_the_events_in_doubt(
    visits: Project, server: BreakingServer
) -> None:
    report = visits.run(expect=1, REQUESTS_CA_BUNDLE=str(server.authority))
    assert report["results"][0]["unknown"] == 3
    assert len(server.requests) == 1
    assert visits.rows("select state, attempts from statsig_batches") == [("unknown", 1)]
