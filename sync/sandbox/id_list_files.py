"""The file of an id list that server SDKs download: only appended to, one line a change.

`+XXXXXXXX` adds an id and `-XXXXXXXX` removes one, where `XXXXXXXX` is the first 8 characters of the base64 of the
SHA-256 of the id. SDKs remember how far they have read and ask for the rest with a Range header, so a file is never
rewritten: a list that starts over gets a new file with a new id.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

_BYTES_FROM = re.compile(r"bytes=(\d+)-(\d*)")


def id_hash(unit_id: str) -> str:
    """The 8 characters by which SDKs know an id."""
    return b64encode(hashlib.sha256(unit_id.encode()).digest()[:6]).decode()


@dataclass
class IdListFile:
    """An append-only file; `creation_time` is in milliseconds since the epoch."""

    creation_time: int
    file_id: str = field(default_factory=lambda: secrets.token_hex(12))
    content: bytearray = field(default_factory=bytearray, repr=False)

    def append(self, operation: Literal["+", "-"], ids: Iterable[str]) -> None:
        """Write one line for each id."""
        self.content += "".join(f"{operation}{id_hash(unit_id)}\n" for unit_id in ids).encode()


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Read a Range header over `size` bytes into (start, end), end exclusive.

    No header, or one of another form, means everything (RFC 9110 lets a server ignore it). None where the range starts
    beyond the end, which is answered 416.
    """
    found = _BYTES_FROM.fullmatch(header or "")
    if found is None:
        return 0, size
    start = int(found[1])
    end = min(int(found[2]) + 1, size) if found[2] else size
    return (start, end) if start < end else None
