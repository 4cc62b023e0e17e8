"""What can go wrong, and the exit code that each kind of wrong ends with.

::

    StatsigSyncError                 what a user can act on; printed as one message, without a stack trace
    ├── ConfigError          exit 2  the configuration, the keys, the artifacts or the command line; nothing was sent
    ├── RefusedError         exit 3  a gate or a guard said no; nothing was sent
    ├── DeliveryError        exit 1  something could not be delivered
    │   └── OvertakenError   exit 1  another run has gone on, so what this one has read is old
    ├── StoppedError         exit 1  a signal asked to stop before anything was sent
    └── WarehouseError       exit 1  the warehouse, or a temporary file, could not be opened, read or written
        ├── LockedError      exit 1  another process holds the warehouse
        └── UnreadableError  exit 1  the warehouse can be read, but not the models of some syncs

Expected failures of a request are values (``sync.core.delivery.Outcome``), not exceptions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in what the user wrote.

    ``where`` names the file, ``subject`` the exposure (or the variable, or the model), ``key`` the
    setting, and ``message`` says what is wrong and what to write instead.
    """

    where: str
    subject: str
    key: str
    message: str

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.where, self.subject, self.key) if part)
        return f"{place}: {self.message}" if place else self.message


class StatsigSyncError(Exception):
    """The root of every error that has a message for the user."""

    exit_code = 1

    def __init__(self, *messages: str) -> None:
        """``messages``: one for each thing that is wrong."""
        self.messages = messages
        super().__init__("\n".join(messages))


class ConfigError(StatsigSyncError):
    """One or more faults found before anything was sent."""

    exit_code = 2

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__(*map(str, self.faults))


class RefusedError(StatsigSyncError):
    """A gate or a guard refused; nothing was sent."""

    exit_code = 3


class DeliveryError(StatsigSyncError):
    """Statsig could not be reached, or would not take what was sent."""

    exit_code = 1


class OvertakenError(DeliveryError):
    """Another run has gone on with a sync of this one, or with its segment: what this one has read is old."""


class StoppedError(StatsigSyncError):
    """A signal asked to stop before anything was sent."""

    exit_code = 1


class WarehouseError(StatsigSyncError):
    """The warehouse, or a temporary file, could not be opened, read or written."""

    exit_code = 1


class LockedError(WarehouseError):
    """Another process holds the warehouse, and did not let it go in time."""


class UnreadableError(WarehouseError):
    """The warehouse can be read, but not a relation in it: a view that fails, or needs what cannot be had.

    ``is_view`` says whether it is one; ``sync_names`` are the syncs whose models they are, where that is known.
    """

    def __init__(self, *messages: str, is_view: bool = False, sync_names: Sequence[str] = ()) -> None:
        self.is_view, self.sync_names = is_view, tuple(sync_names)
        super().__init__(*messages)
