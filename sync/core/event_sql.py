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

from sync.core import reasons, sql, trims
from sync.core.columns import Column, Kind, find
from sync.core.log_query import MARK, is_askable
from sync.spec.model import MAPPABLE_FIELDS, USER_FIELDS, EventConfig
from sync.spec.statsig import FORBIDDEN_IN_EVENT_NAME, KEPT_JSON_LENGTH, KEPT_TEXT_LENGTH, MAX_TEXT_LENGTH

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
# ISO 8601 in its extended form: a date, that with a time, and both with Z or an offset of up to 14 hours.
_DATE = r"^\d{4}-\d{2}-\d{2}"
_TIME = _DATE + r"[T ]\d{2}:\d{2}(:\d{2}([.]\d+)?)?"
_ZONE = r"(Z|[+-]((0\d|1[0-3])(:?[0-5]\d)?|14(:?00)?))"
# A column that stands beside the model's own, so with a name that no model has.
_MILLISECONDS = "statsig_sync_milliseconds"
# Kinds of value whose text is never longer than Statsig keeps.
_SHORT_KINDS = _TIMES | {Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT, Kind.BOOLEAN, Kind.UUID}


@dataclass(frozen=True)
class EventColumns:
    """Which column feeds which part of an event.

    ``fields`` maps Statsig's fields to columns, ``custom_ids`` the names of custom ids to columns;
    ``metadata`` holds the columns that become metadata, in the relation's order; ``mark`` is the text that says whose
    the events are, for those that Statsig is asked about.
    """

    unique_key: Column
    fields: Mapping[str, Column] = field(default_factory=dict)
    custom_ids: Mapping[str, Column] = field(default_factory=dict)
    metadata: tuple[Column, ...] = ()
    mark: str | None = None

    @property
    def identifiers(self) -> tuple[Column, ...]:
        """The columns that say whose event it is."""
        user_id = (self.fields["user_id"],) if "user_id" in self.fields else ()
        return (*user_id, *self.custom_ids.values())

    @property
    def read(self) -> tuple[Column, ...]:
        """All columns that an event is made of, each once."""
        every = (self.unique_key, *self.fields.values(), *self.custom_ids.values(), *self.metadata)
        return tuple({column.name: column for column in every}.values())


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


def key_metadata(columns: EventColumns) -> str | None:
    """The metadata key under which events carry their unique key.

    None where they do not, because its column is mapped to another field or excluded, or where Statsig's logs cannot be
    asked for it.
    """
    name = columns.unique_key.name
    return name if is_askable(name) and name in {column.name for column in columns.metadata} else None


def _required(columns: Sequence[Column], name: str) -> Column:
    column = find(columns, name)
    if column is None:
        raise KeyError(name)
    return column


def source_query(config: EventConfig, columns: EventColumns, relation: str, also: str = "") -> str:
    """A select over the relation with one row per event, encoded; ``also`` is more columns, behind a comma.

    Columns: ``key`` (text of the unique key), ``event_time`` (milliseconds UTC), ``reason`` and
    ``detail`` (why the row cannot be sent; null where it can), ``without`` (a reason for a part that was
    left out), ``head`` (the event's JSON, open at the end of ``user``), ``custom`` (text as it stands in
    the warehouse), ``event_name`` (the event's name as text), ``trimmed`` (kinds of parts that Statsig may trim, joined
    by commas; null where there are none).

    What is needed more than once is a column of an inner select.
    """
    key = sql.text_form(columns.unique_key)
    reason, detail = _reason(config, columns, key)
    custom = columns.fields.get("custom")
    lengths = {f"{kind}_length": length for kind, length in _lengths(config, columns).items()}
    inner = ["opening", "metadata", "person", *lengths]
    return f"""select * exclude ({", ".join(inner)}), {_head()} as head, {_trimmed()} as trimmed
from (
    select {key} as key, {_event_time(columns)} as event_time, {reason} as reason, {detail} as detail,
        {_without(columns)} as without, {sql.text_form(custom) if custom else "cast(null as varchar)"} as custom,
        {_name(config, columns)} as event_name,
        {_opening(config, columns)} as opening, {_metadata(columns)} as metadata,
        {_joined(_user(config, columns))} as person,
        {", ".join(f"{length} as {name}" for name, length in lengths.items())}{also}
    from (select *, {_time(columns)} as {_MILLISECONDS} from {relation})
)"""


def _time(columns: EventColumns) -> str:
    column = columns.fields.get("event_time")
    return "cast(null as bigint)" if column is None else _milliseconds(column)


def _event_time(columns: EventColumns) -> str:
    """The milliseconds, where they are a time that can be sent."""
    if "event_time" not in columns.fields:
        return "cast(null as bigint)"
    return f"case when {_MILLISECONDS} >= 0 and {_MILLISECONDS} < {_LATEST_TIME} then {_MILLISECONDS} end"


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
            return f"(epoch_us(try_cast({_zoned(sql.text_form(column))} as timestamptz)) // 1000)"


def _zoned(text: str) -> str:
    """A time in text with its zone, UTC where it names none; null where it is not ISO 8601 in its extended form.

    DuckDB reads more: names of zones such as BST, which stands for Dhaka there, and text without a zone in that of the
    session.
    """
    return (
        f"case when regexp_matches({text}, {sql.literal(_TIME + _ZONE + '$')}) then {text}"
        f" when regexp_matches({text}, {sql.literal(_TIME + '$')}) then {text} || 'Z'"
        f" when regexp_matches({text}, {sql.literal(_DATE + '$')}) then {text} || 'T00:00Z' end"
    )


def _name(config: EventConfig, columns: EventColumns) -> str:
    if config.event_name is not None:
        return sql.literal(config.event_name)
    return sql.text_form(columns.fields["event_name"])


def _reason(config: EventConfig, columns: EventColumns, key: str) -> tuple[str, str]:
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
        is_wrong = f"{raw} is not null and ({_event_time(columns)}) is null"
        whens.append((is_wrong, reasons.INVALID_EVENT_TIME, f"left({raw}, 100)"))
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


def _opening(config: EventConfig, columns: EventColumns) -> str:
    """The members of an event that stand before its metadata."""
    parts = [
        _member("eventName", sql.json_string(_name(config, columns))),
        _member("time", f"cast({_event_time(columns)} as varchar)"),
    ]
    if value := columns.fields.get("event_value"):
        number = value.kind in (Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT)
        form = sql.text_form(value)
        encoded = form if number else sql.json_string(form)
        parts.append(_member("value", f"case when not ({_value_problem(value)}) then {encoded} end"))
    return _joined(parts)


def _metadata(columns: EventColumns) -> str:
    """The object of the metadata; null where there is none."""
    members = [_member(column.name, sql.json_string(sql.text_form(column))) for column in columns.metadata]
    if columns.mark is not None:
        members.append(sql.literal(f"{json.dumps(MARK)}:{json.dumps(columns.mark)}"))
    return f"'{{' || {_joined(members)} || '}}'" if members else "cast(null as varchar)"


def _head() -> str:
    metadata, user = (sql.literal(json.dumps(name) + ":") for name in ("metadata", "user"))
    return f"'{{' || concat_ws(',', nullif(opening, ''), {metadata} || metadata, {user} || '{{' || person)"


def _lengths(config: EventConfig, columns: EventColumns) -> Mapping[str, str]:
    """How long the longest text of each kind is, as an expression, null where there is none."""
    value = columns.fields.get("event_value")
    return {
        trims.EVENT_NAME: f"length({_name(config, columns)})",
        trims.EVENT_VALUE: _longest([value] if value else []),
        trims.METADATA_VALUE: _longest(columns.metadata),
        trims.ID: _longest(columns.identifiers),
    }


def _longest(columns: Sequence[Column]) -> str:
    lengths = [f"length({sql.text_form(column)})" for column in columns if column.kind not in _SHORT_KINDS]
    return f"greatest({', '.join(lengths)})" if lengths else "cast(null as bigint)"


def _trimmed() -> str:
    """The kinds of parts that Statsig may trim, from their lengths."""
    texts = (trims.EVENT_NAME, trims.EVENT_VALUE, trims.METADATA_VALUE, trims.ID)
    person, custom = "length(person) + 2", f"length(custom) + {len(',custom:' + chr(34) * 2)}"
    conditions = {
        **{kind: f"{kind}_length > {KEPT_TEXT_LENGTH}" for kind in texts},
        trims.METADATA: f"length(metadata) > {KEPT_JSON_LENGTH}",
        trims.CUSTOM: f"length(custom) > {KEPT_JSON_LENGTH}",
        trims.USER: f"{person} > {KEPT_JSON_LENGTH}",
        trims.USER_WITH_CUSTOM: f"{person} <= {KEPT_JSON_LENGTH} and {person} + {custom} > {KEPT_JSON_LENGTH}",
    }
    # An event value that is too long to be sent at all is no trimmed one.
    conditions[trims.EVENT_VALUE] += f" and event_value_length <= {MAX_TEXT_LENGTH}"
    found = [f"case when {condition} then {sql.literal(kind)} end" for kind, condition in conditions.items()]
    return f"nullif({_joined(found)}, '')"


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
