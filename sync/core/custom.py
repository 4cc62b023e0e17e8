"""Checks ``custom``, which is JSON already and has to be what Statsig takes before it is put into an event."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import polars as pl

_Value = str | int | float | bool | list[str]
_MANY = msgspec.json.Decoder(list[dict[str, _Value]])
# Texts that are decoded at once. It is small enough that one odd text costs little.
_AT_ONCE = 500
# What stands between them: a text in JSON cannot go on over the end of a line, so no two of them can become one.
_BETWEEN = ",\n"
# What ends a property's name, and what looks like it in a text.
_NAME_END = re.compile(rb'"\s*:')
_NAME_END_IN_TEXT = re.compile(_NAME_END.pattern.decode(), re.ASCII)
_OBJECT = r"^[ \t\r\n]*\{[\s\S]*\}[ \t\r\n]*$"


@dataclass(frozen=True)
class Oddity:
    """A ``custom`` that is not sent as it is: its place, what is sent in its stead, and what is wrong with it."""

    place: int
    custom: str | None
    problem: str | None


def oddities(customs: pl.Series) -> Iterator[Oddity]:
    """Those of the texts that are not sent as they are; nulls are left out.

    Texts are decoded many at once; where that finds anything, each by itself (``custom_problem``).
    """
    numbered = pl.DataFrame({"place": pl.int_range(len(customs), eager=True), "custom": customs}).drop_nulls("custom")
    # A null has to be taken out, and what does not look like an object could be the other half of its neighbour.
    is_plain = pl.col("custom").str.contains(_OBJECT) & ~pl.col("custom").str.contains("null", literal=True)
    plain, suspect = (numbered.filter(one) for one in (is_plain, ~is_plain))
    yield from _one_by_one(suspect)
    for start in range(0, plain.height, _AT_ONCE):
        part = plain.slice(start, _AT_ONCE)
        if not _are_fine(part["custom"].to_list()):
            yield from _one_by_one(part)


def _one_by_one(numbered: pl.DataFrame) -> Iterator[Oddity]:
    for place, custom in numbered.iter_rows():
        found, problem = custom_problem(custom)
        if found is None:
            yield Oddity(place, None, problem)
        elif (text := found.decode()) != custom:
            yield Oddity(place, text, None)


def _are_fine(customs: Sequence[str]) -> bool:
    """Whether all of these, each of which starts and ends as an object does, are sent as they are."""
    joined = _BETWEEN.join(customs)
    try:
        found = _MANY.decode(f"[{joined}]")
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    keys = sum(map(len, found))
    # An object has a colon for each of its names, and one more for each name that is there twice.
    return len(found) == len(customs) and (joined.count(":") == keys or len(_NAME_END_IN_TEXT.findall(joined)) == keys)


def custom_problem(custom: str) -> tuple[bytes | None, str | None]:
    """``custom`` as a JSON object without nulls and with each key once, or why it cannot be one.

    The decoder is strict: NaN, Infinity and trailing commas, which a warehouse may let pass, are not JSON.
    Values are what Statsig's HTTP API reference allows: strings, numbers, booleans, lists of strings.
    """
    raw = custom.encode()
    try:
        found = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return None, "it is not a JSON object"
    odd = sorted(name for name, value in found.items() if not _value_fits(value))
    if odd:
        return None, f"property {odd[0][:100]!r} is neither a string, a number, a boolean nor a list of strings"
    if (twice := _key_that_is_there_twice(raw, found)) is not None:
        return None, f"property {twice[:100]!r} is there twice"
    if None in found.values():
        # Only objects with a null are written anew, so that numbers otherwise keep their digits.
        kept = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        return msgspec.json.encode({name: value for name, value in kept.items() if found[name] is not None}), None
    return raw, None


def _key_that_is_there_twice(raw: bytes, found: Mapping[str, Any]) -> str | None:
    """The first key that an object of plain values has more than once; None where there is none.

    Each key has its colon, so that an object with as many colons as keys has none twice; what is left over are texts
    with colons in them.
    """
    if raw.count(b":") == len(found) or len(_NAME_END.findall(raw)) == len(found):
        return None
    # Numbers stay text: they do not matter, and Python refuses to read very long ones.
    pairs = json.loads(raw, object_pairs_hook=list, parse_int=str, parse_float=str)
    counts = Counter(name for name, _ in pairs)
    return next((name for name, count in counts.items() if count > 1), None)


def _value_fits(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    return value is None or isinstance(value, str | int | float | bool)
