"""What a run has sent and been answered, noted on this machine before the next write to the ledgers.

The ledgers have a claim before its request begins, and its outcome up to a second or so later. A process that dies in
between leaves the claim in doubt, unless this journal knows more. It is a file in the run's folder beside dbt's target
folder, one line an event, in the hands of the operating system at once: it outlives the process, and not a power loss.
While the run lives it holds a lock on the file, so that another run on this machine sees whether it has died.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from sync.core.delivery import Outcome, State
from sync.errors import WarehouseError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows: the ledgers alone have to do.
    fcntl = None  # type: ignore[assignment]

FOLDER = ".statsig-sync"
_SUFFIX = ".journal"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class _Header(msgspec.Struct, frozen=True):
    """The first line: whose journal it is, and on which machine and since which start of it."""

    run_id: str
    host: str
    boot_id: str | None


class _Answer(msgspec.Struct, frozen=True):
    """What is kept of an outcome."""

    state: State
    http_status: int | None
    message: str | None
    attempts: int
    elapsed_ms: int


def boot_id() -> str | None:
    """What tells this start of this machine from any other; None where the system does not say."""
    try:
        return _BOOT_ID.read_text().strip() or None
    except OSError:
        return None


class LocalJournal:
    """The journal of a run under way. Used from several threads at once.

    Where there is none, because there is no folder or it cannot be written, nothing is noted.
    """

    def __init__(self, file: Path | None = None, descriptor: int | None = None) -> None:
        self._file, self._descriptor = file, descriptor
        self._lock = threading.Lock()
        self._is_empty = True

    def begun(self, batch_id: str) -> None:
        """Notes that the first byte of a request is about to leave.

        Raises ``WarehouseError`` where the journal can neither be written nor removed: what is missing in it would be
        taken for unsent.
        """
        self._note(f"begun {batch_id}")

    def answered(self, batch_id: str, outcome: Outcome) -> None:
        """Notes how a request ended. Raises as ``begun``."""
        kept = _Answer(outcome.state, outcome.http_status, outcome.message, outcome.attempts, outcome.elapsed_ms)
        self._note(f"answered {batch_id} {msgspec.json.encode(kept).decode()}")

    def _note(self, line: str) -> None:
        with self._lock:
            if self._descriptor is None:
                return
            self._is_empty = False
            try:
                _write(self._descriptor, line)
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Goes on without a journal; its file stays open, so that the lock is held while the run lives."""
        assert self._file is not None  # noqa: S101 - narrows the type
        self._descriptor = None
        try:
            self._file.unlink(missing_ok=True)
        except OSError:
            raise WarehouseError(
                f"{self._file} can neither be written nor removed: {error.strerror}. It tells the next run what has "
                "been sent, so nothing more is sent now. Make the folder writable, or delete it, and run again."
            ) from error

    def close(self, is_settled: bool) -> None:
        """Lets go of the journal, when no request is under way any more.

        It is removed where ``is_settled`` says that the ledgers have all that it knows, or where it knows nothing.
        """
        with self._lock:
            if self._descriptor is None or self._file is None:
                return
            descriptor, self._descriptor = self._descriptor, None
            if is_settled or self._is_empty:
                with contextlib.suppress(OSError):
                    self._file.unlink()
            os.close(descriptor)


@contextlib.contextmanager
def opened(folder: Path | None, run_id: str) -> Iterator[LocalJournal]:
    """The journal of a run, for as long as the block runs; afterwards it stays only where something went wrong.

    Where somebody stops the process at once, requests may still be under way: it stays open until the process ends.
    """
    journal = _open(folder, run_id)
    try:
        yield journal
    except Exception:
        journal.close(is_settled=False)
        raise
    journal.close(is_settled=True)


def _open(folder: Path | None, run_id: str) -> LocalJournal:
    if folder is None or fcntl is None:
        return LocalJournal()
    file, unfinished = folder / f"{run_id}{_SUFFIX}", folder / f"{run_id}.new"
    try:
        _make(folder)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError:
        return LocalJournal()
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _write(descriptor, msgspec.json.encode(_Header(run_id, socket.gethostname(), boot_id())).decode())
        # Under its name it is there only when it is locked and has its header.
        unfinished.rename(file)
    except OSError:
        os.close(descriptor)
        with contextlib.suppress(OSError):
            unfinished.unlink()
        return LocalJournal()
    return LocalJournal(file, descriptor)


def _make(folder: Path) -> None:
    """Makes the folder, with what keeps it out of version control."""
    folder.mkdir(exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")


def _write(descriptor: int, line: str) -> None:
    """Hands a line to the operating system, as a whole."""
    content = line.encode() + b"\n"
    if os.write(descriptor, content) != len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@dataclass(frozen=True)
class Remains:
    """What the journal of a run that has died says; its lock is held until ``close``.

    ``answered`` has the outcomes by batch. ``is_complete`` says whether a batch that is not in ``begun`` surely was
    not begun: not after a power loss, nor where the journal is of another machine or cannot be read as a whole.
    ``is_of_this_boot`` says whether its process has surely died.
    """

    run_id: str
    is_of_this_boot: bool
    is_complete: bool
    begun: frozenset[str]
    answered: Mapping[str, Outcome]
    _file: Path = field(repr=False)
    _descriptor: int = field(repr=False)

    def remove(self) -> None:
        """Removes the journal: the ledgers have what it knows."""
        with contextlib.suppress(OSError):
            self._file.unlink()

    def close(self) -> None:
        """Gives the lock back."""
        os.close(self._descriptor)


@contextlib.contextmanager
def left_behind(folder: Path | None) -> Iterator[tuple[Remains, ...]]:
    """The journals in the folder whose runs have died, for as long as the block runs; nobody else has them then."""
    with contextlib.ExitStack() as stack:
        found = []
        for file in _journals(folder):
            if remains := _remains(file):
                stack.callback(remains.close)
                found.append(remains)
        yield tuple(found)


def _journals(folder: Path | None) -> list[Path]:
    if folder is None or fcntl is None:
        return []
    try:
        return sorted(one for one in folder.iterdir() if one.suffix == _SUFFIX)
    except OSError:
        return []


def _remains(file: Path) -> Remains | None:
    """What a journal says, with its lock; None where its run lives, or where it is no journal."""
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        content = file.read_bytes()
        found = _parsed(file, descriptor, content) if os.fstat(descriptor).st_nlink else None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        found = None
    if found is None:
        os.close(descriptor)
    return found


def _parsed(file: Path, descriptor: int, content: bytes) -> Remains:
    # What comes after the last line's end is the torn beginning of a line: what it was to say has not begun.
    first, *lines = content.split(b"\n")[:-1] or [content]
    header = msgspec.json.decode(first, type=_Header)
    begun: set[str] = set()
    answered: dict[str, Outcome] = {}
    is_readable = True
    for line in lines:
        what, _, rest = line.decode(errors="replace").partition(" ")
        batch_id, _, outcome = rest.partition(" ")
        if what == "begun":
            begun.add(batch_id)
        elif what == "answered" and (known := _outcome(outcome)):
            answered[batch_id] = known
        else:
            is_readable = False
    is_of_this_boot = header.boot_id is not None and header.boot_id == boot_id()
    is_complete = is_of_this_boot and is_readable
    return Remains(header.run_id, is_of_this_boot, is_complete, frozenset(begun), answered, file, descriptor)


def _outcome(text: str) -> Outcome | None:
    try:
        kept = msgspec.json.decode(text, type=_Answer)
    except msgspec.MsgspecError:
        return None
    return Outcome(kept.state, kept.http_status, kept.message, kept.attempts, kept.elapsed_ms)
