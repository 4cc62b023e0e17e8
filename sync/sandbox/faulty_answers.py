"""How each fault looks on the wire: ASGI in place of the application, or around it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sync.sandbox.contract import LIST_IS_BUSY
from sync.sandbox.faults import (
    BodyFault,
    BusyFault,
    DelayFault,
    DropFault,
    Fault,
    ResetFault,
    SlowBodyFault,
    StatusFault,
    TruncateFault,
    When,
)
from sync.sandbox.http import DROPPED
from sync.sandbox.transport import end_connection, reset_connection


@dataclass
class _Answer:
    status: int = 500
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    async def take(self, message: Message) -> None:
        """Take the place of `send`, keeping what the application says."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = list(message.get("headers", []))
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")

    def start(self) -> Message:
        """The message that opens this answer; its Content-Length is that of the whole body."""
        headers = [header for header in self.headers if header[0].lower() != b"content-length"]
        headers.append((b"content-length", str(len(self.body)).encode()))
        return {"type": "http.response.start", "status": self.status, "headers": headers}


@dataclass(frozen=True)
class Exchange:
    """A request and the means to answer it. `clock` gives seconds since the epoch."""

    app: ASGIApp
    scope: Scope
    receive: Receive
    send: Send
    clock: Callable[[], float]

    async def apply(self) -> _Answer:
        """Let the application handle the request, and keep its answer back."""
        answer = _Answer()
        await self.app(self.scope, self.receive, answer.take)
        return answer

    async def drain(self) -> None:
        """Read the request to its end, so that the client is not stopped while it is still sending."""
        message = await self.receive()
        while message["type"] == "http.request" and message.get("more_body", False):
            message = await self.receive()

    async def deliver(self, answer: _Answer) -> None:
        """Send a whole answer."""
        await self.send(answer.start())
        await self.send({"type": "http.response.body", "body": answer.body})


async def answer_with(fault: Fault, exchange: Exchange) -> None:
    """Answer a request with a fault."""
    await _ANSWERS[type(fault)](fault, exchange)


async def _delayed(fault: DelayFault, exchange: Exchange) -> None:
    if fault.when == "before":
        await asyncio.sleep(fault.seconds)
    answer = await exchange.apply()
    if fault.when == "after":
        await asyncio.sleep(fault.seconds)
    await exchange.deliver(answer)


async def _reset(fault: ResetFault, exchange: Exchange) -> None:
    await _apply_or_drain(fault.when, exchange)
    await reset_connection(exchange.scope, exchange.receive)


async def _dropped(_fault: DropFault, exchange: Exchange) -> None:
    exchange.scope[DROPPED] = True
    await exchange.app(exchange.scope, exchange.receive, exchange.send)


async def _error_status(fault: StatusFault, exchange: Exchange) -> None:
    await _apply_or_drain(fault.when, exchange)
    headers = dict(fault.headers)
    if fault.retry_after is not None:
        headers["Retry-After"] = _retry_after(fault, fault.retry_after, exchange.clock())
    body = fault.body.encode() if fault.body is not None else _error_body(fault.status, "A fault of the sandbox.")
    await exchange.deliver(_Answer(fault.status, _encoded(headers), body))


async def _false_success(fault: BodyFault, exchange: Exchange) -> None:
    await _apply_or_drain(fault.when, exchange)
    await exchange.deliver(_Answer(fault.status, _encoded(fault.headers), fault.body.encode()))


async def _busy(_fault: BusyFault, exchange: Exchange) -> None:
    await exchange.drain()
    await exchange.deliver(_Answer(409, _encoded({}), _error_body(409, LIST_IS_BUSY)))


async def _truncated(_fault: TruncateFault, exchange: Exchange) -> None:
    answer = await exchange.apply()
    await exchange.send(answer.start())
    half = answer.body[: len(answer.body) // 2]
    await exchange.send({"type": "http.response.body", "body": half, "more_body": True})
    await end_connection(exchange.scope, exchange.receive)


async def _dribbled(fault: SlowBodyFault, exchange: Exchange) -> None:
    answer = await exchange.apply()
    await exchange.send(answer.start())
    for place in range(len(answer.body)):
        await asyncio.sleep(fault.seconds / len(answer.body))
        byte = answer.body[place : place + 1]
        await exchange.send({"type": "http.response.body", "body": byte, "more_body": True})
    await exchange.send({"type": "http.response.body", "body": b""})


async def _apply_or_drain(when: When, exchange: Exchange) -> None:
    if when == "after":
        await exchange.apply()
    else:
        await exchange.drain()


def _error_body(status: int, message: str) -> bytes:
    return msgspec.json.encode({"status": status, "message": message})


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    lower = {"content-type": "application/json", **{name.lower(): text for name, text in headers.items()}}
    return [(name.encode("latin-1"), text.encode("latin-1")) for name, text in lower.items()]


def _retry_after(fault: StatusFault, seconds: int, now: float) -> str:
    return formatdate(math.ceil(now + seconds), usegmt=True) if fault.retry_after_form == "http_date" else str(seconds)


_ANSWERS: dict[type[Fault], Callable[[Any, Exchange], Awaitable[None]]] = {
    StatusFault: _error_status,
    BodyFault: _false_success,
    BusyFault: _busy,
    DropFault: _dropped,
    DelayFault: _delayed,
    ResetFault: _reset,
    TruncateFault: _truncated,
    SlowBodyFault: _dribbled,
}
