"""The types that a column can have, with values of each and what they become.

For each type: how to make values of it, its one text form, its number and its time. All of it is written
down here a second time, slowly, from the documented rules, so that the SQL can be checked against it.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from hypothesis import strategies as st

EPOCH = dt.datetime(1970, 1, 1)
LATEST = dt.datetime(2100, 1, 1)
UTC = dt.timezone.utc
_EXACT = Context(prec=400)

# What makes trouble in SQL, in JSON, in a terminal or in a template.
NASTY = (
    "",
    " ",
    "\t",
    "\u00a0",
    "'",
    '"',
    "\\",
    "'; drop table source; --",
    '"}],"events":[{',
    "{{ env_var('STATSIG_CONSOLE_API_KEY') }}",
    "{% raw %}",
    "$project",
    "?",
    "a\nb",
    "a\r\nb",
    "a\0b",
    "\u202e\u200fevil",
    "\u2028\u2029",
    "\ufeff",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467",
    "\x7f\x1b[31m",
    "Ann",
    "ann",
    "x ",
    " x",
    "42",
    "42.0",
    "null",
    "NaN",
    "x" * 127,
    "x" * 128,
    "\U0001f600" * 127,
    "long " * 3000 + "end",
)

texts = st.one_of(st.sampled_from(NASTY), st.text(st.characters(codec="utf-8"), max_size=40))


@dataclass(frozen=True)
class ValueType:
    """A type of the warehouse.

    ``parameter`` is what is bound for a value; ``number`` is None where the value is no finite number;
    ``time`` gives milliseconds, or None where the value is no usable time.
    """

    name: str
    sql: str
    values: st.SearchStrategy[Any]
    text: Callable[[Any], str]
    parameter: Callable[[Any], Any] = lambda value: value
    number: Callable[[Any], Decimal | None] | None = None
    time: Callable[[Any], int | None] = lambda value: None
    is_nested: bool = False


def _in_range(milliseconds: int) -> int | None:
    return milliseconds if 0 <= milliseconds < 4_102_444_800_000 else None


def _rounded(number: Decimal) -> int:
    return int(number.quantize(Decimal(1), ROUND_HALF_UP, _EXACT))


def _seconds(value: Any) -> int | None:
    """Epoch seconds, whole or not, as milliseconds; halves are rounded up."""
    return _in_range(_rounded(_EXACT.multiply(Decimal(value), Decimal(1000))))


def _float_seconds(value: float) -> int | None:
    if not abs(value) < 1e15:
        return None
    return _in_range(_rounded(Decimal(value * 1000)))


def _moment(value: Any) -> int | None:
    """A date or a date and time, without a zone meaning UTC, as milliseconds."""
    if isinstance(value, str):
        return None
    if not isinstance(value, dt.datetime):
        value = dt.datetime.combine(value, dt.time())
    if value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    return _in_range((value - EPOCH) // dt.timedelta(milliseconds=1))


_OFFSET = r"[+-](?:(?:0\d|1[0-3])(?::?[0-5]\d)?|14(?::?00)?)"
_ISO = re.compile(rf"(\d{{4}}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d)(?:\.(\d{{1,9}}))?)?(Z|{_OFFSET})?)?", re.ASCII)


def iso_text(value: str) -> int | None:
    """ISO 8601 text, without a zone meaning UTC, as milliseconds."""
    found = _ISO.fullmatch(value)
    if found is None:
        return None
    day, minutes, seconds, fraction, zone = found.groups()
    try:
        moment = dt.datetime.fromisoformat(f"{day} {minutes or '00:00'}:{seconds or '00'}")
    except ValueError:
        return None
    moment += dt.timedelta(microseconds=int((fraction or "0").ljust(9, "0")) // 1000)
    if zone and zone != "Z":
        hours, rest = int(zone[1:3]), int(zone[-2:] if len(zone) > 3 else 0)
        offset = dt.timedelta(hours=hours, minutes=rest)
        moment += offset if zone[0] == "-" else -offset
    return _moment(moment)


def _clock(value: dt.datetime | dt.time) -> str:
    """Hours, minutes, seconds, and as much of the fraction as there is."""
    fraction = f".{value.microsecond:06d}".rstrip("0").rstrip(".")
    return f"{value.hour:02d}:{value.minute:02d}:{value.second:02d}{fraction}"


def _timestamp(value: Any) -> str:
    return value if isinstance(value, str) else f"{value.date().isoformat()}T{_clock(value)}"


def _timestamp_tz(value: Any) -> str:
    return value if isinstance(value, str) else _timestamp(value.astimezone(UTC)) + "Z"


def _nanoseconds(value: tuple[dt.datetime, int]) -> str:
    moment, nanoseconds = value
    fraction = f".{moment.microsecond:06d}{nanoseconds:03d}".rstrip("0")
    return f"{moment.replace(microsecond=0).isoformat()}{fraction}"


def _decimal(value: Decimal) -> str:
    return f"{value:f}"


def _float(value: float) -> str:
    if value != value:  # noqa: PLR0124 - only NaN is not itself
        return "nan"
    return repr(value)


def _finite(value: Any) -> Decimal | None:
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    return number if number.is_finite() else None


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _integers(name: str, bits: int, signed: bool = True) -> ValueType:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    # Half of them are times, where the type can hold one.
    values = st.integers(low, high) | st.integers(max(low, -10), min(high, 4_102_444_801))
    return ValueType(name, name, values, str, str, Decimal, _seconds)


def _decimals(digits: int, scale: int) -> ValueType:
    highest = 10**digits - 1
    unscaled = st.integers(-highest, highest) | st.integers(
        max(-highest, -100), min(highest, 4_102_444_801 * 10**scale)
    )
    values = unscaled.map(lambda number: Decimal((int(number < 0), tuple(map(int, str(abs(number)))), -scale)))
    name = f"DECIMAL({digits},{scale})"
    return ValueType(name, name, values, _decimal, _decimal, Decimal, _seconds)


_INFINITE = st.sampled_from(["infinity", "-infinity"])
_datetimes = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30)) | st.datetimes(EPOCH, LATEST)
_seconds_only = _datetimes.map(lambda value: value.replace(microsecond=0))
_milliseconds_only = _datetimes.map(lambda value: value.replace(microsecond=value.microsecond // 1000 * 1000))
_nanosecond_values = st.tuples(
    st.datetimes(dt.datetime(1680, 1, 1), dt.datetime(2260, 1, 1)) | st.datetimes(EPOCH, LATEST), st.integers(1, 999)
)
# Numbers that have the same shortest text in 32 and in 64 bits.
_short_floats = st.integers(-(2**20), 2**20).map(lambda number: number / 8)
_doubles = (
    st.floats(allow_nan=False)
    | st.just(float("nan"))
    | st.floats(-1, 4_102_444_801)
    | st.integers(0, 4_102_444_801_000).map(lambda ms: ms / 1000)
)
_zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))


def _iso_form(parts: tuple[dt.datetime, str, str, str]) -> str:
    moment, separator, seconds, zone = parts
    return moment.strftime(f"%Y-%m-%d{separator}%H:%M{seconds}") + zone


_iso_texts = st.one_of(
    st.dates(dt.date(1000, 1, 1)).map(dt.date.isoformat),
    st.tuples(
        st.datetimes(dt.datetime(1000, 1, 2), dt.datetime(9999, 12, 30)) | st.datetimes(EPOCH, LATEST),
        st.sampled_from(["T", " "]),
        st.sampled_from(["", ":%S", ":%S.%f", ":%S.5", ":%S.123456789"]),
        st.sampled_from(
            [
                "",
                "Z",
                "+02:00",
                "-0330",
                "+05",
                "+14",
                "-14:00",
                "+1400",
                "+14:59",
                "-14:01",
                "+13:45",
                "+15",
                "+05:60",
                " BST",
                " UTC",
                "z",
            ]
        ),
    ).map(_iso_form),
    st.sampled_from(["2026-02-30", "2026-01-31T25:00:00", "2026-01-31 10:00 o'clock", "20260131", "31.01.2026", "now"]),
)

_scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts
custom_values = st.one_of(
    texts, st.booleans(), st.none(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False, allow_infinity=False)
)
_custom_objects = st.dictionaries(texts, custom_values | st.lists(texts, max_size=3), max_size=4).map(_json)
_odd_customs = st.one_of(
    _scalars.map(_json),
    st.dictionaries(texts, st.lists(_scalars, max_size=2) | st.dictionaries(texts, _scalars, max_size=2)).map(_json),
    st.sampled_from(['{"a": NaN}', '{"a": 1,}', "{'a': 1}", '{"a": Infinity}', "{", "[]", "[" * 3000, '{"a": 01}']),
)


def _struct(number: int, text: str | None, flags: list[bool]) -> dict[str, Any]:
    return {"it's": number, "b": text, "c": flags}


_plain_values = (
    ValueType("BOOLEAN", "BOOLEAN", st.booleans(), lambda value: str(value).lower()),
    ValueType("VARCHAR", "VARCHAR", texts, str),
    ValueType("UUID", "UUID", st.uuids(), str, lambda value: str(value).upper()),
    ValueType("ENUM", "ENUM('it''s', 'ok', 'x ', '')", st.sampled_from(["it's", "ok", "x ", ""]), str),
    ValueType("BLOB", "BLOB", st.binary(max_size=20), bytes.hex),
    ValueType("TIME", "TIME", st.times(), _clock, lambda value: value.isoformat()),
    ValueType(
        "INTERVAL",
        "INTERVAL",
        st.sampled_from([("1 day", "1 day"), ("90 minutes", "01:30:00"), ("14 months", "1 year 2 months")]),
        lambda value: value[1],
        lambda value: value[0],
    ),
)

_times = (
    ValueType("DATE", "DATE", st.dates() | st.dates(EPOCH.date(), LATEST.date()) | _INFINITE, str, time=_moment),
    ValueType("TIMESTAMP", "TIMESTAMP", _datetimes | _INFINITE, _timestamp, time=_moment),
    ValueType("TIMESTAMP_S", "TIMESTAMP_S", _seconds_only, _timestamp, time=_moment),
    ValueType("TIMESTAMP_MS", "TIMESTAMP_MS", _milliseconds_only, _timestamp, time=_moment),
    ValueType(
        "TIMESTAMP_NS",
        "TIMESTAMP_NS",
        _nanosecond_values,
        _nanoseconds,
        _nanoseconds,
        time=lambda value: _moment(value[0]),
    ),
    ValueType(
        "TIMESTAMPTZ",
        "TIMESTAMPTZ",
        st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 1, 1), timezones=_zones) | _INFINITE,
        _timestamp_tz,
        lambda value: value if isinstance(value, str) else value.isoformat(),
        time=_moment,
    ),
    ValueType("ISO text", "VARCHAR", _iso_texts, str, time=iso_text),
)

_numbers = (
    *(
        _integers(f"{sign}{name}", bits, not sign)
        for sign in ("", "U")
        for name, bits in (("TINYINT", 8), ("SMALLINT", 16), ("INTEGER", 32), ("BIGINT", 64), ("HUGEINT", 128))
    ),
    _integers("BIGNUM", 300),
    *(_decimals(digits, scale) for digits, scale in ((4, 0), (38, 0), (18, 3), (10, 2), (2, 2), (38, 3), (38, 38))),
    ValueType("DOUBLE", "DOUBLE", _doubles, _float, number=_finite, time=_float_seconds),
    ValueType(
        "FLOAT",
        "FLOAT",
        _short_floats | st.sampled_from([float("nan"), float("inf"), float("-inf")]),
        _float,
        number=_finite,
        time=_float_seconds,
    ),
)

_nested = (
    ValueType("LIST", "VARCHAR[]", st.lists(st.none() | texts, max_size=4), _json, is_nested=True),
    ValueType("ARRAY", "INTEGER[2]", st.lists(st.integers(-9, 9), min_size=2, max_size=2), _json, is_nested=True),
    ValueType(
        "STRUCT",
        'STRUCT("it\'s" BIGINT, "b" VARCHAR, "c" BOOLEAN[])',
        st.builds(_struct, st.integers(0, 9), st.none() | texts, st.lists(st.booleans())),
        _json,
        is_nested=True,
    ),
    ValueType(
        "MAP",
        "MAP(VARCHAR, BIGINT)",
        st.dictionaries(texts, st.none() | st.integers(0, 9), max_size=3),
        _json,
        # Two lists are how a map is bound; a plain dictionary can be taken for a struct.
        lambda value: {"key": list(value), "value": list(value.values())},
        is_nested=True,
    ),
    ValueType("JSON", "JSON", st.recursive(_scalars, lambda inner: st.lists(inner, max_size=3)).map(_json), str),
    ValueType("custom as JSON", "JSON", _custom_objects, str),
    ValueType("custom as text", "VARCHAR", _custom_objects | _odd_customs | texts, str),
)

TYPES = {one.name: one for one in (*_plain_values, *_times, *_numbers, *_nested)}
