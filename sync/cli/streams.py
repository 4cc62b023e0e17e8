"""Standard output and standard error whose end may be closed or full: no report is worth a run."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO, cast


class _AsFarAsPossible:
    """A text stream that drops what can no longer be written; ``on_loss`` is told why, once."""

    def __init__(self, stream: TextIO, on_loss: Callable[[str], None]) -> None:
        self._stream, self._on_loss = stream, on_loss
        self._is_lost = False

    def write(self, text: str) -> int:
        """Writes a text, or drops it."""
        self._attempt(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Writes what waits, or drops it."""
        if not self._stream.closed:
            self._attempt(self._stream.flush)

    def isatty(self) -> bool:
        """Whether it is a terminal that is there."""
        return not self._stream.closed and self._stream.isatty()

    def _attempt(self, write: Callable[[], object]) -> None:
        try:
            write()
        except UnicodeError:
            raise
        except (OSError, ValueError) as error:
            # A stream that was closed in this process raises a ValueError.
            self._lose((error.strerror if isinstance(error, OSError) else None) or "it is closed")

    def _lose(self, reason: str) -> None:
        if self._is_lost:
            return
        self._is_lost = True
        # What waits in the buffer would be tried again when the process ends, where nobody catches it.
        with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), self._stream.fileno())
        self._on_loss(reason)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def as_far_as_possible(stream: TextIO, on_loss: Callable[[str], None] = lambda reason: None) -> TextIO:
    """The stream, but that writing to it never fails because of what is at its other end."""
    return stream if isinstance(stream, _AsFarAsPossible) else cast(TextIO, _AsFarAsPossible(stream, on_loss))


@contextlib.contextmanager
def kept_standard_streams() -> Iterator[None]:
    """Within it, what goes to standard output and standard error is written as far as that is possible.

    Where standard output is lost, a line on standard error says so.
    """
    _open_missing_descriptors()
    output, errors = sys.stdout, sys.stderr
    sys.stderr = as_far_as_possible(errors if errors is not None else _closed())
    sys.stdout = as_far_as_possible(output if output is not None else _closed(), _tell_loss)
    try:
        yield
    finally:
        # Here, because when the process ends nobody catches that it fails.
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = output, errors


def _tell_loss(reason: str) -> None:
    message = f"standard output could not be written: {reason}. The exit code says what became of the command."
    print(f"statsig-sync: {message}", file=sys.stderr, flush=True)


def _open_missing_descriptors() -> None:
    """Fills the places of standard streams that are closed, so that no file is opened there and written into."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _closed() -> TextIO:
    """What stands for a stream that was closed before the process began."""
    stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - closed at once
    stream.close()
    return stream
