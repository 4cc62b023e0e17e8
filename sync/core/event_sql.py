"""From the mapping of an event sync to the SQL that reads its rows and encodes them.

Encoding events in the column engine is several times faster than in Python, so an event's JSON is an
expression: fragments joined by ``concat_ws``, where a null fragment drops out by itself. Only ``custom``
is left out of it: it is JSON already, and has to be checked strictly before it is put in
(``sync.core.events.assemble``).

Shape of an event: Statsig's HTTP API reference, ``log_event``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sync.core import reasons, sql
from sync.core.columns import Column, Kind, find
from sync.spec.model import MAPPABLE_FIELDS, USER_FIELDS, EventConfig
from sync.spec.statsig import FORBIDDEN_IN_EVENT_NAME, MAX_TEXT_LENGTH

_TIMES = frozenset({Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMP_TZ})
KEY_KINDS = _TIMES | {Kind.INTEGER, Kind.DECIMAL, Kind.TEXT, Kind.UUID}
# The kinds of value that a field takes; a field that is not here takes every kind as text, but for the ids, which
# have a rule of their own (``Column.can_be_id``).
FIELD_KINDS: Mapping[str, frozenset[Kind]] = {
    "event_time": _TIMES | {Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT, Kind.TEXT},
    "custom": frozenset({Kind.TEXT, Kind.JSON, Kind.NESTED}),
}

# Epoch milliseconds of 2100-01-01: a larger number is most often milliseconds read as seconds.
_LATEST_TIME = 4_102_444_800_000
_ISO_DATE = r"^\d{4}-\d{2}-\d{2}"


@dataclass(frozen=True)
class EventColumns:
    """Which column feeds which part of an event.

    ``fields`` maps Statsig's fields to columns, ``custom_ids`` the names of custom ids to columns;
    ``metadata`` holds the columns that become metadata, in the relation's order.
    """

    unique_key: Column
    fields: Mapping[str, Column] = field(default_factory=dict)
    custom_ids: Mapping[str, Column] = field(default_factory=dict)
    metadata: tuple[Column, ...] = ()

    @property
    def identifiers(self) -> tuple[Column, ...]:
        """The columns that say whose event it is."""
        user_id = (self.fields["user_id"],) if "user_id" in self.fields else ()
        return (*user_id, *self.custom_ids.values())


def resolve(config: EventConfig, columns: Sequence[Column]) -> EventColumns:
    """Who feeds what, given the relation's columns.

    A field that is not mapped takes the column with its own name, if the relation has it, its kind fits
    and ``exclude`` does not keep it out. A user id of any type is taken: it is to be mended, not to be lost among
    the metadata. Raises ``KeyError`` for a column that is not there (``sync.core.mapping`` reports those before).
    """
    chosen = {name: _required(columns, source) for name, source in config.columns.items()}
    custom_ids = {name: _required(columns, source) for name, source in config.custom_ids.items()}
    excluded = {_required(columns, name).name for name in config.exclude}
    taken = {column.name for column in (*chosen.values(), *custom_ids.values())}
    for name in MAPPABLE_FIELDS:
        own = find(columns, name)
        is_set = name in chosen or (name == "event_name" and config.event_name is not None)
        if own and not is_set and own.name not in excluded | taken and own.kind in FIELD_KINDS.get(name, Kind):
            chosen[name] = own
    used = {column.name for column in (*chosen.values(), *custom_ids.values())}
    metadata = tuple(column for column in columns if column.name not in used | excluded)
    return EventColumns(_required(columns, config.unique_key), chosen, custom_ids, metadata)


def _required(columns: Sequence[Column], name: str) -> Column:
    column = find(columns, name)
    if column is None:
        raise KeyError(name)
    return column


def source_query(config: EventConfig, columns: EventColumns, relation: str, also: str = "") -> str:
    """A select over the relation with one row per event, encoded; ``also`` is put behind its columns.

    Columns: ``key`` (text of the unique key), ``event_time`` (milliseconds UTC), ``reason`` and
    ``detail`` (why the row cannot be sent; null where it can), ``without`` (a reason for a part that was
    left out), ``head`` (the event's JSON, open at the end of ``user``), ``custom`` (text as it stands in
    the warehouse).
    """
    key = sql.text_form(columns.unique_key)
    time = _time(columns)
    reason, detail = _reason(config, columns, key, time)
    custom = columns.fields.get("custom")
    return (
        f"select {key} as key, {time} as event_time, {reason} as reason, {detail} as detail,"
        f" {_without(columns)} as without, {_head(config, columns, time)} as head,"
        f" {sql.text_form(custom) if custom else 'cast(null as varchar)'} as custom{also}\n"
        f"from {relation}"
    )


def _time(columns: EventColumns) -> str:
    column = columns.fields.get("event_time")
    if column is None:
        return "cast(null as bigint)"
    milliseconds = _milliseconds(column)
    return f"case when {milliseconds} >= 0 and {milliseconds} < {_LATEST_TIME} then {milliseconds} end"


def _milliseconds(column: Column) -> str:
    name = sql.identifier(column.name)
    match column.kind:
        # What is too far off for a timestamp, or too large for a number, is null: one odd row must not end the query.
        case Kind.DATE:
            return f"(case when isfinite({name}) then epoch_us(try_cast({name} as timestamp)) // 1000 end)"
        case Kind.TIMESTAMP | Kind.TIMESTAMP_TZ:
            return f"(case when isfinite({name}) then epoch_us({name}) // 1000 end)"
        case Kind.INTEGER | Kind.DECIMAL | Kind.FLOAT:
            return f"try_cast(round(try_cast({name} as double) * 1000) as bigint)"
        case _:
            text = sql.text_form(column)
            parsed = f"try_cast({text} as timestamptz)"
            return (
                f"(case when regexp_matches({text}, {sql.literal(_ISO_DATE)}) and isfinite({parsed})"
                f" then epoch_us({parsed}) // 1000 end)"
            )


def _name(config: EventConfig, columns: EventColumns) -> str:
    if config.event_name is not None:
        return sql.literal(config.event_name)
    return sql.text_form(columns.fields["event_name"])


def _reason(config: EventConfig, columns: EventColumns, key: str, time: str) -> tuple[str, str]:
    """The reason why a row cannot be sent, and a detail, as expressions; the first that holds counts."""
    whens = [(f"{key} is null", reasons.MISSING_UNIQUE_KEY, "null")]
    if config.event_name is None:
        name = _name(config, columns)
        too_long = f"length({name}) > {MAX_TEXT_LENGTH}"
        forbidden = " or ".join(f"contains({name}, {_character(one)})" for one in FORBIDDEN_IN_EVENT_NAME)
        whens.append((f"{name} is null or {sql.is_blank(name)}", reasons.MISSING_EVENT_NAME, "null"))
        whens.append((f"{too_long} or {forbidden}", reasons.INVALID_EVENT_NAME, f"left({name}, {MAX_TEXT_LENGTH})"))
    if "event_time" in columns.fields:
        raw = sql.text_form(columns.fields["event_time"])
        whens.append((f"{raw} is not null and {time} is null", reasons.INVALID_EVENT_TIME, f"left({raw}, 100)"))
    ids = [sql.text_form(column) for column in columns.identifiers]
    nobody = " and ".join(f"({one} is null or {sql.is_blank(one)})" for one in ids)
    whens.append((nobody, reasons.MISSING_IDENTIFIER, "null"))
    for column, one in zip(columns.identifiers, ids, strict=True):
        spaced = f"not {sql.is_blank(one)} and {sql.has_outer_space(one)}"
        whens.append((spaced, reasons.OUTER_WHITESPACE, sql.literal(f"column {column.name}")))
    reason = " ".join(f"when {condition} then {sql.literal(name)}" for condition, name, _ in whens)
    detail = " ".join(f"when {condition} then {text}" for condition, _, text in whens)
    return f"case {reason} end", f"cast(case {detail} end as varchar)"


def _character(character: str) -> str:
    return f"chr({ord(character)})"


def _without(columns: EventColumns) -> str:
    column = columns.fields.get("event_value")
    if column is None:
        return "cast(null as varchar)"
    return f"case when {_value_problem(column)} then {sql.literal(reasons.INVALID_EVENT_VALUE)} end"


def _value_problem(column: Column) -> str:
    if column.kind is Kind.FLOAT:
        return f"not isfinite({sql.identifier(column.name)})"
    if column.kind in (Kind.INTEGER, Kind.DECIMAL):
        return "false"
    return f"length({sql.text_form(column)}) > {MAX_TEXT_LENGTH}"


def _head(config: EventConfig, columns: EventColumns, time: str) -> str:
    parts = [
        _member("eventName", sql.json_string(_name(config, columns))),
        _member("time", f"cast({time} as varchar)"),
    ]
    if value := columns.fields.get("event_value"):
        number = value.kind in (Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT)
        form = sql.text_form(value)
        encoded = form if number else sql.json_string(form)
        parts.append(_member("value", f"case when not ({_value_problem(value)}) then {encoded} end"))
    metadata = [_member(column.name, sql.json_string(sql.text_form(column))) for column in columns.metadata]
    if metadata:
        parts.append(f"{sql.literal(chr(34) + 'metadata' + chr(34) + ':{')} || {_joined(metadata)} || '}}'")
    user = f"{sql.literal(chr(34) + 'user' + chr(34) + ':{')} || {_joined(_user(config, columns))}"
    return f"'{{' || {_joined([*parts, user])}"


def _user(config: EventConfig, columns: EventColumns) -> list[str]:
    members = []
    if user_id := columns.fields.get("user_id"):
        members.append(_member("userID", _usable_id(user_id)))
    for name, key in USER_FIELDS.items():
        if column := columns.fields.get(name):
            members.append(_member(key, sql.json_string(sql.text_form(column))))
    if columns.custom_ids:
        ids = _joined([_member(name, _usable_id(column)) for name, column in columns.custom_ids.items()])
        members.append(f"{sql.literal(json.dumps('customIDs') + ':{')} || nullif({ids}, '') || '}}'")
    members.append(sql.literal(json.dumps("statsigEnvironment") + ":" + json.dumps({"tier": config.environment})))
    return members


def _usable_id(column: Column) -> str:
    """A blank identifier is no identifier: it is left out."""
    text = sql.text_form(column)
    return f"case when not {sql.is_blank(text)} then {sql.json_string(text)} end"


def _member(key: str, value: str) -> str:
    """A member of a JSON object; null where the value is null, so that it drops out."""
    return f"{sql.literal(json.dumps(key, ensure_ascii=False) + ':')} || {value}"


def _joined(fragments: Sequence[str]) -> str:
    return "concat_ws(',', " + ", ".join(fragments) + ")"
