"""What is told of an error of DuckDB's: its own words, without what may be secret in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from urllib.parse import unquote

import duckdb

_MORE_MEMORY = " Set a larger memory_limit under settings in the profile, and fewer threads."
_MOST = 500
# Who holds a file, in DuckDB's words on POSIX and on Windows.
_HOLDER = re.compile(r"(?:held|open) in\s+(?P<program>.+?)\s+\(PID (?P<pid>\d+)\)", re.DOTALL)
# Passwords as they stand in the address of another database.
_PASSWORDS = (
    (re.compile(r"\b((?:password|passwd|pwd|token|secret)\s*=\s*)('[^']*'|[^\s\"']+)", re.IGNORECASE), r"\1(hidden)"),
    (re.compile(r"(://[^:@/\s\"']*:)[^@/\s\"']+@"), r"\1(hidden)@"),
)


def shown(path: str) -> str:
    """The path without its query: MotherDuck takes a token there."""
    return path.partition("?")[0]


def is_locked(error: BaseException) -> bool:
    """Whether another process holds the file, in DuckDB's words on POSIX and on Windows."""
    return "Could not set lock" in str(error) or "used by another process" in str(error)


def _holder(error: BaseException) -> str:
    """Who holds a file: the program and the process, where DuckDB says it."""
    found = _HOLDER.search(str(error))
    if found is None:
        return "another process"
    program = re.split(r"[/\\]", found["program"].strip().strip('"'))[-1]
    return f"another process, {program} (PID {found['pid']}),"


def told(error: BaseException, path: str, hidden: Iterable[str] = ()) -> str:
    """The first of DuckDB's own words, without the path's query and the values in it, nor what is to be hidden."""
    text = str(error).strip().split("\n\n")[0]
    parts = path.partition("?")[2].split("&")
    values = [*parts, *(part.partition("=")[2] for part in parts), *hidden]
    for value in sorted({*values, *map(unquote, values)} - {""}, key=len, reverse=True):
        text = text.replace(value, "(hidden)")
    for pattern, replacement in _PASSWORDS:
        text = pattern.sub(replacement, text)
    return text[:_MOST]


def streaming_error(error: Exception) -> duckdb.Error:
    """An error in the middle of an Arrow stream, which has only DuckDB's words left, as DuckDB's own."""
    words = str(error).removeprefix("C Data interface error: ")
    is_memory = words.startswith("Out of Memory")
    return duckdb.OutOfMemoryException(words) if is_memory else duckdb.InvalidInputException(words)


def memory_advice(error: BaseException) -> str:
    """What to do where memory was too little; empty for another error."""
    return _MORE_MEMORY if isinstance(error, duckdb.OutOfMemoryException) else ""


def waiting(place: str, error: BaseException, seconds: float) -> str:
    """What is told when the wait for a file begins."""
    return f"{place} is held by {_holder(error).rstrip(',')}; waiting for up to {seconds:.0f} seconds."


def still_locked(place: str, error: BaseException, seconds: float, words: str) -> str:
    """What is told when a file was waited for in vain."""
    return (
        f"{place} is held by {_holder(error)} and was not free within {seconds:.0f} seconds. "
        f"Wait until it ends, or close the program that has the file open. ({words})"
    )


def unreadable(relation: str, words: str, lacking: Sequence[str], is_view: bool) -> str:
    """What is told of a relation that cannot be read, with what of dbt's session was not to be had."""
    kind = ", a view" if is_view else ""
    also = "".join(f" ({one})" for one in lacking) if is_view else ""
    return f"{relation}{kind}, which cannot be read: {_sentence(words)}{also}"


def _sentence(words: str) -> str:
    text = " ".join(words.split())
    return text if text.endswith((".", "!", "?")) else f"{text}."
