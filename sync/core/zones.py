"""Times with a zone inside lists, structs and maps: their text must not depend on the session's time zone."""

from __future__ import annotations

from collections.abc import Iterator

from sync.core.quoting import identifier, literal

_ZONED = "TIMESTAMP WITH TIME ZONE"


def in_utc(expression: str, type_name: str, depth: int = 0) -> str:
    """An expression for the same value with its times as text in UTC, as DuckDB writes them where UTC is its zone.

    ``type_name`` is the type as DuckDB describes it. What is inside a UNION or a VARIANT stays as it is.
    """
    name = type_name.strip()
    if _ZONED not in name.upper():
        return expression
    if name.upper() == _ZONED:
        utc = f"cast({expression} at time zone 'UTC' as varchar) || '+00'"
        return f"case when isfinite({expression}) then {utc} else cast({expression} as varchar) end"
    if name.endswith("]"):
        one = f"one_{depth}"
        return f"list_transform({expression}, lambda {one}: {in_utc(one, name[: name.rindex('[')], depth + 1)})"
    kind, _, rest = name.partition("(")
    match kind.strip().upper():
        case "STRUCT":
            return _struct(expression, rest[:-1], depth)
        case "MAP":
            return _map(expression, rest[:-1], depth)
        case _:
            return expression


def _struct(expression: str, inside: str, depth: int) -> str:
    fields = []
    for part in _parts(inside):
        field, type_name = _field(part)
        value = in_utc(f"struct_extract({expression}, {literal(field)})", type_name, depth + 1)
        fields.append(f"{identifier(field)} := {value}")
    return f"case when {expression} is not null then struct_pack({', '.join(fields)}) end"


def _map(expression: str, inside: str, depth: int) -> str:
    key, value = (
        in_utc(f"one_{depth}.{name}", type_name, depth + 1)
        for name, type_name in zip(("key", "value"), _parts(inside), strict=True)
    )
    entry = f"struct_pack(key := {key}, value := {value})"
    entries = f"list_transform(map_entries({expression}), lambda one_{depth}: {entry})"
    return f"case when {expression} is not null then map_from_entries({entries}) end"


def _parts(inside: str) -> Iterator[str]:
    """What stands between the commas that are neither in brackets nor in quotes."""
    start, open_brackets, is_quoted = 0, 0, False
    for place, character in enumerate(inside):
        if character == '"':
            is_quoted = not is_quoted
        elif not is_quoted:
            open_brackets += {"(": 1, ")": -1}.get(character, 0)
            if character == "," and not open_brackets:
                yield inside[start:place].strip()
                start = place + 1
    yield inside[start:].strip()


def _field(part: str) -> tuple[str, str]:
    """The name and the type of a struct's field, such as ``"sent at" TIMESTAMP``."""
    if not part.startswith('"'):
        name, _, type_name = part.partition(" ")
        return name, type_name
    end = 1
    while part[end : end + 1] != '"' or part[end : end + 2] == '""':
        end += 2 if part[end : end + 2] == '""' else 1
    return part[1:end].replace('""', '"'), part[end + 1 :]
