"""What ``server.c`` does, for machines without a C compiler. It is slow enough to be what is measured."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_EVENT, _KEY = re.compile(rb'"eventName"[ :]*"order_completed"'), re.compile(rb'"order_id"[ :]*"order-(\d+)"')
_PROJECT: dict[str, Any] = {"has_updates": True, "time": 1, "id_lists": {}}
_V1 = {**_PROJECT, "feature_gates": [], "dynamic_configs": [], "layer_configs": [], "layers": {}}
_V2 = {
    **_PROJECT,
    **{"response_format": "dcs-v2", "feature_gates": {}, "dynamic_configs": {}, "layer_configs": {}},
    **{"condition_map": {}, "experiment_to_layer": {}},
}


class _Counts:
    """What was received; ``lock`` is held to change it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        names = ("requests", "bytes", "body_bytes", "events", "claimed", "unreadable")
        self.numbers, self.orders = dict.fromkeys(names, 0), set[int]()

    def take(self, body: bytes, encoding: str, claimed: int) -> None:
        plain = _plain(body, encoding)
        with self.lock:
            self.numbers["requests"] += 1
            self.numbers["bytes"] += len(body)
            self.numbers["claimed"] += claimed
            if plain is None:
                self.numbers["unreadable"] += 1
                return
            self.numbers["body_bytes"] += len(plain)
            self.numbers["events"] += len(_EVENT.findall(plain))
            self.orders.update(map(int, _KEY.findall(plain)))

    def as_json(self) -> dict[str, Any]:
        used = os.times()
        distinct = sum(order < _EXPECTED for order in self.orders)
        return {**self.numbers, "distinct": distinct, "cpu_seconds": used.user + used.system}


def _plain(body: bytes, encoding: str) -> bytes | None:
    if encoding in ("", "identity"):
        return body
    try:
        return zlib.decompress(body, 32 + 15) if encoding in ("gzip", "deflate") else None
    except zlib.error:
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answers with the counts, or with what an SDK downloads when it starts."""
        if self.path == "/counts":
            self._answer(200, _COUNTS.as_json())
        elif "download_config_specs" in self.path:
            self._answer(200, _V2 if self.path.startswith("/v2") else _V1)
        else:
            self._answer(200, {})

    def do_POST(self) -> None:
        """Takes events, or resets the counts."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/reset":
            _COUNTS.reset()
        if not self.path.startswith("/v1/log_event"):
            self.do_GET()
            return
        encoding, claimed = self.headers.get("Content-Encoding", ""), self.headers.get("STATSIG-EVENT-COUNT", "0")
        _COUNTS.take(body, encoding, int(claimed))
        time.sleep(_LATENCY_MS / 1000)
        self._answer(202, {"success": True})

    def _answer(self, status: int, content: Any) -> None:
        encoded = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


if __name__ == "__main__":
    _EXPECTED, _LATENCY_MS = (int(argument) for argument in sys.argv[1:])
    _COUNTS = _Counts()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    print(server.server_port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
