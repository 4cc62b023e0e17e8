"""Events over HTTP. Source: Statsig's HTTP API reference, ``log_event``."""

from __future__ import annotations

from sync.core.clock import Clock
from sync.core.delivery import Outcome, Patience
from sync.edges.statsig.transport import Call, Connection

_CLIENT_TIME = "STATSIG-CLIENT-TIME"


class EventsClient:
    """Sends events: ``POST /v1/log_event``."""

    def __init__(self, url: str, key: str, clock: Clock, patience: Patience) -> None:
        self._connection = Connection(url, ("statsig-api-key", key), clock, patience)

    def log_event(self, compressed: bytes, count: int) -> Outcome:
        """Sends a body of ``count`` events, compressed with gzip. An outcome in doubt is not repeated here.

        Statsig reads event times against the clock of the request, so each attempt carries its own.
        """
        headers = {
            "Content-Type": "application/json",
            "Content-Encoding": "gzip",
            "STATSIG-EVENT-COUNT": str(count),
        }
        call = Call("POST", "/v1/log_event", compressed, headers, is_idempotent=False, time_header=_CLIENT_TIME)
        return self._connection.request(call)

    def close(self) -> None:
        """Closes the connections."""
        self._connection.close()
