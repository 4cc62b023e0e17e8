"""Opens files that other processes may hold, and says what was wrong where one cannot be opened or read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import duckdb

from sync.core.clock import Clock
from sync.edges.warehouse import wording
from sync.edges.warehouse.output import Output
from sync.errors import LockedError, WarehouseError

_LOCK_WAIT_SECONDS = 60.0
_LOCK_POLL_SECONDS = 0.25


def silent(_line: str) -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class Opener:
    """Carries out what opens a file. ``tell`` is told what is waited for."""

    output: Output
    clock: Clock
    tell: Callable[[str], None]

    def __call__(self, execute: Callable[[], object], shown: str, is_awaited: bool = True) -> None:
        """Opens, and waits for the file where another process holds it. Raises as ``fail``."""
        deadline = self.clock.monotonic() + (_LOCK_WAIT_SECONDS if is_awaited else 0.0)
        is_told = not is_awaited
        while True:
            try:
                execute()
                return
            except duckdb.Error as error:
                if not wording.is_locked(error) or self.clock.monotonic() >= deadline:
                    self.fail(error, shown)
                if not is_told:
                    self.tell(wording.waiting(shown, error, _LOCK_WAIT_SECONDS))
                    is_told = True
                self.clock.sleep(_LOCK_POLL_SECONDS)

    def told(self, error: BaseException) -> str:
        """An error in DuckDB's own words, without what may be secret in them."""
        return wording.told(error, self.output.path, self.output.hidden)

    def fail(self, error: duckdb.Error, shown: str) -> NoReturn:
        """Raises ``LockedError`` or ``WarehouseError``; without DuckDB's own error where there is something to hide."""
        words = self.told(error)
        if wording.is_locked(error):
            found: WarehouseError = LockedError(wording.still_locked(shown, error, _LOCK_WAIT_SECONDS, words))
        else:
            kind = ", a MotherDuck database" if self.output.is_motherduck and shown == self.output.shown else ""
            found = WarehouseError(f"{shown}{kind}: {words}{wording.memory_advice(error)}")
        # The address of another database may hold a password.
        has_address = any(one.file is None for one in self.output.attachments)
        is_secret = "?" in self.output.path or bool(self.output.hidden) or has_address
        raise found from (None if is_secret else error)
