"""Requests under way, side by side."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from sync.core.delivery import Outcome, State
from sync.core.requests import Request
from sync.edges.local_journal import LocalJournal

Send = Callable[[Request], Outcome]
Answered = tuple[str, Outcome]


class Pool(Protocol):
    """Sends requests, some of them side by side, each under the id of its batch.

    After an answer that is not an acceptance it begins no other request until ``withdraw``, so that a fault reaches no
    more requests than are in flight. The same where the lease has ended.
    """

    def submit(self, batch_id: str, request: Request) -> None:
        """Takes a request, to be sent after those that were submitted before."""

    def take(self, seconds: float) -> Sequence[Answered]:
        """What has been answered; waits at most so long for the first."""

    def withdraw(self) -> Sequence[str]:
        """Takes back the requests that have not begun, in their order."""

    def close(self) -> None:
        """Begins nothing more, and waits for nothing."""


# ``OpenPool(send, concurrency, notes, may_begin)``: ``notes`` is told of each request before it begins and once it is
# answered; ``may_begin`` says whether the lease is held.
OpenPool = Callable[[Send, int, LocalJournal, Callable[[], bool]], Pool]


class Senders:
    """``Pool`` for real: a thread for each request that is under way."""

    def __init__(self, send: Send, concurrency: int, notes: LocalJournal, may_begin: Callable[[], bool]) -> None:
        self._send, self._notes, self._may_begin = send, notes, may_begin
        self._executor = ThreadPoolExecutor(concurrency)
        self._lock = threading.Lock()
        self._waiting: deque[tuple[str, Request]] = deque()
        self._is_halted = False
        self._answers: queue.SimpleQueue[Answered | BaseException] = queue.SimpleQueue()

    def submit(self, batch_id: str, request: Request) -> None:
        """Takes a request, to be sent after those that were submitted before."""
        with self._lock:
            self._waiting.append((batch_id, request))
        self._executor.submit(self._work)

    def _work(self) -> None:
        """Sends the next request, if there is one."""
        with self._lock:
            self._is_halted = self._is_halted or not self._may_begin()
            if self._is_halted or not self._waiting:
                return
            batch_id, request = self._waiting.popleft()
            try:
                # Not later: who withdraws what has not begun must find the rest noted.
                self._notes.begun(batch_id)
            except BaseException as error:
                self._answers.put(error)
                return
        try:
            outcome = self._send(request)
            with self._lock:
                self._is_halted = self._is_halted or outcome.state is not State.ACCEPTED
            self._notes.answered(batch_id, outcome)
            self._answers.put((batch_id, outcome))
        except BaseException as error:
            # Whoever takes the answers raises it.
            self._answers.put(error)

    def take(self, seconds: float) -> Sequence[Answered]:
        """What has been answered; waits at most so long for the first. Raises what went wrong while sending."""
        found: list[Answered] = []
        with contextlib.suppress(queue.Empty):
            one = self._answers.get(timeout=seconds)
            while not isinstance(one, BaseException):
                found.append(one)
                one = self._answers.get_nowait()
            if not found:
                raise one
            # What was answered before it comes first.
            self._answers.put(one)
        return found

    def withdraw(self) -> Sequence[str]:
        """Takes back the requests that have not begun, in their order."""
        with self._lock:
            self._is_halted = False
            withdrawn = [batch_id for batch_id, _ in self._waiting]
            self._waiting.clear()
        return withdrawn

    def close(self) -> None:
        """Begins nothing more, and waits for nothing."""
        self.withdraw()
        self._executor.shutdown(wait=False, cancel_futures=True)
