"""From exposures to syncs, with every fault found and none guessed away."""

from __future__ import annotations

import datetime as dt
import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from sync.errors import Fault
from sync.spec.durations import EXAMPLES, duration
from sync.spec.limits import MAX_CONCURRENCY, Limits
from sync.spec.model import (
    MAPPABLE_FIELDS,
    STATSIG_ID_TYPES,
    EventConfig,
    EventGuard,
    Exposure,
    Former,
    Guard,
    SegmentConfig,
    Sync,
)
from sync.spec.statsig import (
    CLIENT_KEY_PREFIX,
    CONSOLE_KEY_PREFIX,
    SEGMENT_ID_PATTERN,
    SERVER_SECRET_PREFIX,
    event_name_problem,
)

META_PATH = "config.meta.statsig"
_KEY_PREFIXES = (SERVER_SECRET_PREFIX, CONSOLE_KEY_PREFIX, CLIENT_KEY_PREFIX)
_CONFIGS: dict[str, type[SegmentConfig] | type[EventConfig]] = {"segment": SegmentConfig, "events": EventConfig}


def nearest(word: str, known: Iterable[str]) -> str:
    """A suggestion for a misspelled word, ready to append to a message; empty when nothing is near."""
    by_lower = {name.lower(): name for name in known}
    started = [name for name in by_lower if len(word) > 2 and name.startswith(word.lower())]
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6) or started
    return f" Did you mean '{by_lower[found[0]]}'?" if found else ""


def parse_syncs(exposures: Sequence[Exposure]) -> tuple[tuple[Sync, ...], tuple[Fault, ...]]:
    """The syncs that the exposures describe, and everything that is wrong with them."""
    syncs: list[Sync] = []
    faults: list[Fault] = []
    for exposure in exposures:
        sync, found = parse_sync(exposure)
        faults.extend(found)
        if sync is not None:
            syncs.append(sync)
    faults.extend(_shared_names(exposures))
    faults.extend(_shared_segments(syncs))
    faults.extend(_limit_faults(syncs))
    faults.extend(_live_former_names(syncs, exposures))
    return tuple(syncs), tuple(faults)


def parse_sync(exposure: Exposure) -> tuple[Sync | None, tuple[Fault, ...]]:
    """One exposure's sync, or None with its faults."""
    at = _Place(exposure)
    faults = list(_dependency_faults(exposure, at))
    config = _config(exposure.meta, at, faults)
    if config is None or faults:
        return None, tuple(faults)
    return Sync(exposure.name, exposure.file, exposure.depends_on[0], config, exposure.labels), ()


class _Place:
    """Makes faults that all name one exposure."""

    def __init__(self, exposure: Exposure) -> None:
        self.name = exposure.name
        self._file, self._subject = exposure.file, f"exposure {exposure.name}"

    def fault(self, key: str, message: str) -> Fault:
        path = f"{META_PATH}.{key}" if key else META_PATH
        return Fault(self._file, self._subject, path, message)

    def depends_on_fault(self, message: str) -> Fault:
        return Fault(self._file, self._subject, "depends_on", message)


def _config(meta: Any, at: _Place, faults: list[Fault]) -> SegmentConfig | EventConfig | None:
    """The configuration, or None; adds to ``faults`` what is wrong with it."""
    if not isinstance(meta, dict):
        faults.append(at.fault("", f"is {_kind(meta)}; write a mapping that starts with object: segment or events."))
        return None
    found = meta.get("object")
    model = _CONFIGS.get(found) if isinstance(found, str) else None
    if model is None:
        suggestion = nearest(str(found), _CONFIGS) if found is not None else ""
        faults.append(at.fault("object", f"is {_kind(found)}; write 'segment' or 'events'.{suggestion}"))
        return None
    meta = _with_text_keys(meta, sorted(model.model_fields), at, faults)
    try:
        config = model.model_validate(meta)
    except ValidationError as error:
        details = error.errors(include_url=False)
        for detail in details:
            own = {**detail, "loc": _as_written(detail["loc"], meta)}
            faults.append(_shape_fault(own, sorted(model.model_fields), at))
        places = [detail["loc"] for detail in details]
        unclear = {str(place[0]) for place in places}
        config = model.model_validate({**_STAND_INS[str(found)], **_without(meta, places)})
        faults.extend(fault for fault in _rule_faults(config, at) if not _reads(fault) & unclear)
        return None
    faults.extend(_rule_faults(config, at))
    return config


def _with_text_keys(meta: dict[Any, Any], known: Sequence[str], at: _Place, faults: list[Fault]) -> dict[str, Any]:
    """A copy without the keys that YAML has not read as text; adds to ``faults`` what to write instead of them."""
    kept: dict[str, Any] = {}
    for key, value in meta.items():
        if isinstance(key, str):
            kept[key] = _with_text_names(key, value, at, faults) if isinstance(value, dict) else value
        else:
            faults.append(_key_fault((key,), known, at))
    return kept


def _with_text_names(key: str, mapping: dict[Any, Any], at: _Place, faults: list[Fault]) -> dict[str, Any]:
    faults.extend(_key_fault((key, name), (), at) for name in mapping if not isinstance(name, str))
    return {name: value for name, value in mapping.items() if isinstance(name, str)}


def _key_fault(place: tuple[Any, ...], known: Sequence[str], at: _Place) -> Fault:
    """A key that is no text, in a mapping that is named by the other parts of its place."""
    own = place[-1]
    path = ".".join(str(part) for part in place[:-1])
    if own is None:
        return at.fault(path, _NAMELESS)
    shown = _written(own)
    key = f"{path}.{shown}" if path else shown
    if path in _TEXT_NAMES:
        return at.fault(key, not_text(own, f'"{shown}": {_TEXT_NAMES[path]}'))
    keys = sorted(_INSIDE[path].model_fields) if path in _INSIDE else known
    return at.fault(key, f"is not a key of statsig-sync.{f' The keys are: {_listed(keys)}.' if keys else ''}")


# Mappings whose keys the user chooses, with what stands behind a key.
_TEXT_NAMES = dict.fromkeys(("columns", "custom_ids"), "<column>")


def _listed(keys: Sequence[str]) -> str:
    return ", ".join(keys)


def is_not_text(value: Any) -> bool:
    """Whether YAML has read something as a number, a boolean, a date or a time."""
    return isinstance(value, bool | int | float | dt.date | dt.time)


def not_text(value: Any, example: str) -> str:
    """What to say of a value that has to be text and that YAML has read as something else.

    YAML 1.1, which dbt reads, takes ``2026_01`` for 202601, ``0404`` for 260, ``12:30`` for 750, and ``yes`` for true:
    what was written cannot be told from what was read.
    """
    kind, others = _KINDS_OF_YAML.get(type(value), ("a date", _DATES))
    return f"is {_written(value)}, {kind}; write it in quotes, as in {example}. {others}"


_NUMBERS = "YAML reads 2026_01, 0404, 1.10 and 12:30 as numbers too, so write in the quotes what you mean."
_DATES = "YAML may have read it from another spelling, so write in the quotes what you mean."
_KINDS_OF_YAML = {
    bool: ("a boolean", "YAML reads yes, no, on and off as booleans too, so write in the quotes what you mean."),
    int: ("a number", _NUMBERS),
    float: ("a number", _NUMBERS),
    dt.datetime: ("a time", _DATES),
    dt.time: ("a time", _DATES),
}


def _written(value: Any) -> str:
    """A value as YAML writes it, where that is not its Python form."""
    match value:
        case bool():
            return str(value).lower()
        case dt.date() | dt.time():
            return value.isoformat()
        case _:
            return repr(value)[:100]


# What stands in for a required key that is missing or wrong while the others are checked.
_STAND_INS = {"segment": {"segment_id": "segment", "mode": "mirror"}, "events": {"unique_key": "key"}}
# Rules that read another key than the one that they find fault with.
_ALSO_READ = {"custom_id": {"id_type"}, "on_first_run": {"mode"}, "guard": {"mode"}, "ask_then": {"on_unknown"}}


def _without(meta: dict[Any, Any], places: Iterable[tuple[int | str, ...]]) -> dict[Any, Any]:
    """The mapping without what stands in these places, two keys deep."""
    kept = {key: dict(value) if isinstance(value, dict) else value for key, value in meta.items()}
    for place in places:
        inner = kept.get(place[0])
        if len(place) > 1 and isinstance(inner, dict) and place[1] in inner:
            inner.pop(place[1])
        else:
            kept.pop(place[0], None)
    return kept


def _reads(fault: Fault) -> set[str]:
    """The keys that the rule behind a fault has read, as far as they can be unclear."""
    key = fault.key.removeprefix(f"{META_PATH}.").split(".")[0]
    return _ALSO_READ.get(key, set()) | ({key} if key not in _MAPPINGS else set())


_MAPPINGS = {"columns", "custom_ids", "guard", "limits"}


def _rule_faults(config: SegmentConfig | EventConfig, at: _Place) -> Iterator[Fault]:
    """What is wrong although each key by itself has a value of the right kind."""
    yield from _mapping_faults(config, at)
    if config.api_key_env and not _VARIABLE.fullmatch(config.api_key_env):
        # Not repeated in the message: it may be the key itself.
        yield at.fault("api_key_env", "is not the name of an environment variable; write its name, never the key.")
    if config.max_age is not None and duration(config.max_age) is None:
        yield at.fault("max_age", f"is {config.max_age!r}; write a time, {EXAMPLES}.")
    if config.statsig_project is not None:
        yield from _project_faults(config.statsig_project, at)
    yield from _changed_time_faults(config, at)
    yield from _former_faults(config, at)
    if isinstance(config, SegmentConfig):
        yield from _segment_faults(config, at)
    else:
        yield from _event_faults(config, at)


def _project_faults(name: str, at: _Place) -> Iterator[Fault]:
    if name.strip(" \t\r\n'\"\ufeff").startswith(_KEY_PREFIXES):
        # Not repeated in the message: it may be the key itself.
        yield at.fault(
            "statsig_project",
            f"starts as a key of Statsig's does ({_listed(_KEY_PREFIXES)}); write a name of your own for the project, "
            "never the key.",
        )
    elif not _PROJECT.fullmatch(name):
        yield at.fault("statsig_project", f"is {name!r}; write a name of 1 to 64 letters, digits, '_' and '-'.")


# How dbt hands on what YAML has read as a time. It hands on a date as it was written, so a date is as good as its text.
_CHANGED_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d([.]\d{6})?([+-]\d\d:\d\d)?", re.ASCII)


def _changed_time_faults(config: SegmentConfig | EventConfig, at: _Place) -> Iterator[Fault]:
    """Texts that may have been times in another form: quotes leave no trace in what dbt hands on."""
    for key, text in _free_texts(config):
        if _CHANGED_TIME.fullmatch(text):
            more = " To name events just so, take the name from a column." if key == "event_name" else ""
            yield at.fault(
                key,
                f"is {text}, which YAML may have made of a time in another form. Write it in quotes, and in another "
                f'form than this one, such as "{text[:10]} {text[11:16]}".{more}',
            )


def _free_texts(config: SegmentConfig | EventConfig) -> Iterator[tuple[str, str]]:
    """Names that the user chooses, with their keys, as far as no form is asked of them."""
    if isinstance(config, SegmentConfig):
        named = {"custom_id": config.custom_id}
    else:
        names = ("unique_key", "event_name", "environment")
        named = {key: getattr(config, key) for key in names}
    yield from ((key, text) for key, text in named.items() if text is not None)
    for key, mapping in (("columns", config.columns), ("custom_ids", config.custom_ids)):
        for name, column in mapping.items():
            yield from ((f"{key}.{name}", text) for text in (name, column))
    yield from ((f"exclude.{number}", column) for number, column in enumerate(config.exclude))


_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PROJECT = re.compile(r"[A-Za-z0-9_-]{1,64}")


def _shape_fault(detail: Any, known: Sequence[str], at: _Place) -> Fault:
    """A value that is not of its key's kind, in words of our own: pydantic's speak of Python's types."""
    place = [str(part) for part in detail["loc"]]
    key, own = ".".join(place), place[-1]
    is_listed = isinstance(detail["loc"][-1], int)
    if not own.strip():
        return at.fault(".".join(place[:-1]), _NAMELESS)
    match detail["type"]:
        case "extra_forbidden":
            keys = _keys_inside(place[0], known) if len(place) > 1 else known
            return at.fault(key, f"is not a key of statsig-sync.{nearest(own, keys)} The keys are: {', '.join(keys)}.")
        case "missing":
            return at.fault(key, _MISSING.get(key, "is missing; add it."))
        case "string_type" if is_not_text(detail["input"]) and place[0] not in _NO_FREE_TEXT:
            found = detail["input"]
            template = _TEMPLATES if isinstance(found, int | float) else ""
            return at.fault(key, not_text(found, _example(place, _written(found), is_listed)) + template)
        case "literal_error":
            expected = detail["ctx"]["expected"].replace("'", "")
            suggestion = nearest(str(detail["input"]), expected.replace(" or ", ", ").split(", "))
            note = _REFUSED_MODES if key == "mode" and known == sorted(EventConfig.model_fields) else ""
            return at.fault(key, f"is {_kind(detail['input'])}; write {expected}.{suggestion}{note}")
        case _:
            own_wanted = _WANTED_OF_EVENTS.get(key) if "unique_key" in known else None
            wanted = own_wanted or _WANTED.get(key) or _WANTED_INSIDE.get(place[0], "another value")
            return at.fault(key, f"is {_kind(detail['input'])}; write {wanted}.")


def _as_written(place: tuple[int | str, ...], meta: Any) -> tuple[int | str, ...]:
    """A place without the parts that are not written there: what may be a list may also be one entry, or its name."""
    inside, kept = meta, []
    for part in place:
        if isinstance(inside, list | tuple) if isinstance(part, int) else isinstance(inside, dict):
            kept.append(part)
            inside = inside.get(part) if isinstance(inside, dict) else inside[part]
    return tuple(kept)


# Keys whose value is a mapping with keys of its own.
_INSIDE: dict[str, type[BaseModel]] = {"guard": Guard, "limits": Limits, "renamed_from": Former}


def _keys_inside(key: str, known: Sequence[str]) -> Sequence[str]:
    """The keys of the mapping that a key takes, where they are fixed; ``known`` are those that stand beside it."""
    if key == "guard":
        return sorted((EventGuard if "unique_key" in known else Guard).model_fields)
    return sorted(_INSIDE[key].model_fields) if key in _INSIDE else known


# Texts that have to be of a form, which quotes alone do not give a number.
_NO_FREE_TEXT = {"backfill", "max_age"}


def _example(place: Sequence[str], written: str, is_listed: bool) -> str:
    """How a text that stands in this place, which may be in a list, is written in YAML."""
    if is_listed:
        return f'{place[-2]}: ["{written}"]'
    name = f'"{place[-1]}"' if place[-1].isdigit() else place[-1]
    return f'{name}: "{written}"'


# In dbt's templates, quotes do not keep a number from being one.
_TEMPLATES = (
    " Where a template gives it, quotes are not enough: write | as_text in it, as in \"{{ var('name') | as_text }}\"."
)


_NAMELESS = "holds a key without a name; give it one, or take it out."
# What each key takes that has no fixed choices.
_WANTED = {
    "segment_id": "the id of the segment, as in its address in the Statsig console",
    "custom_id": "the custom id's name, such as companyID",
    "create_if_missing": "true or false",
    "guard": "a mapping, such as {max_removals: 100}",
    "guard.max_removals": "a whole number, 0 or more",
    "guard.max_removals_percent": "a number from 0 to 100",
    "guard.allow_empty": "true or false",
    "guard.max_events": "a whole number, 0 or more",
    "guard.max_times_usual": "a number, 1 or more",
    "guard.max_duplicates_percent": "a number from 0 to 100",
    "guard.allow_gone_keys": "true or false",
    "columns": "a mapping, such as {user_id: customer_id}",
    "custom_ids": "a mapping, such as {stableID: device_id}",
    "exclude": "a list of columns, such as [email]",
    "api_key_env": "the name of an environment variable",
    "statsig_project": "a name for the Statsig project, such as shop",
    "limits": "a mapping, such as {id_list_changes_per_10_seconds: 24}",
    "environment": "the name of an environment, with 1 to 64 characters",
    "unique_key": "the name of the column that is different in every event",
    "event_name": "the name of the events, as text",
    "max_age": f"a time, {EXAMPLES}",
    "concurrency": f"a whole number of requests, 1 to {MAX_CONCURRENCY}",
    "backfill": "all, none, or a date such as 2026-01-31",
}
_WANTED_OF_EVENTS = {"guard": "a mapping, such as {max_events: 1000000}"}
_WANTED_INSIDE = {
    **dict.fromkeys(("columns", "custom_ids", "exclude"), "the name of a column"),
    "limits": "a whole number of requests, 1 or more",
    "renamed_from": "the former name of the exposure, or a mapping such as {exposure: old_name, api_key_env: OLD_KEY}",
}
_MISSING = {
    "unique_key": (
        "is missing; name the column that is different in every event. Statsig has no deduplication, "
        "so this is what keeps an event from being sent twice."
    ),
    "segment_id": "is missing; write the id of the segment, as in its address in the Statsig console.",
    "mode": "is missing; write add, remove or mirror.",
}
_REFUSED_MODES = " Events are append-only: Statsig can neither change nor delete an event that it has."


def _kind(value: Any) -> str:
    match value:
        case None | "":
            return "empty"
        case bool() | dt.date() | dt.time():
            return _written(value)
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case _:
            return repr(value)


def _dependency_faults(exposure: Exposure, at: _Place) -> Iterator[Fault]:
    if len(exposure.depends_on) != 1:
        yield at.depends_on_fault(
            f"names {len(exposure.depends_on)} nodes; a sync has exactly one model. Write depends_on: [ref('...')]."
        )
    elif not exposure.depends_on[0].startswith(("model.", "snapshot.", "seed.")):
        yield at.depends_on_fault(f"is {exposure.depends_on[0]}; write the model to sync: [ref('...')].")


def _mapping_faults(config: SegmentConfig | EventConfig, at: _Place) -> Iterator[Fault]:
    for key, mapping in (("columns", config.columns), ("custom_ids", config.custom_ids)):
        if not all(name.strip() for name in mapping):
            yield at.fault(key, _NAMELESS)
    yield from _field_faults(filter(str.strip, config.columns), at)
    yield from _id_name_faults(config.custom_ids, at)
    mapped = {column.lower() for column in (*config.columns.values(), *config.custom_ids.values())}
    for column in config.exclude:
        if column.lower() in mapped:
            yield at.fault("exclude", f"keeps out '{column}', which is mapped as well; take it out of one of the two.")


def _field_faults(fields: Iterable[str], at: _Place) -> Iterator[Fault]:
    for field in fields:
        if field not in MAPPABLE_FIELDS:
            hint = " Custom ids go under custom_ids." if field not in STATSIG_ID_TYPES else ""
            if field == "stable_id":
                hint = " The stable id goes under custom_ids: {stableID: <column>}."
            yield at.fault(
                f"columns.{field}",
                f"is not a field of Statsig's.{nearest(field, MAPPABLE_FIELDS)}{hint} "
                f"The fields are: {', '.join(MAPPABLE_FIELDS)}.",
            )


def _id_name_faults(names: Iterable[str], at: _Place) -> Iterator[Fault]:
    for name in names:
        match _folded(name):
            case "userid":
                yield at.fault(f"custom_ids.{name}", "is the user's id; write it as columns: {user_id: <column>}.")
            case "stableid" if name != "stableID":
                message = "is the stable id, which Statsig knows as stableID; write custom_ids: {stableID: <column>}."
                yield at.fault(f"custom_ids.{name}", message)


def _folded(name: str) -> str:
    """An id type without what is easily mistaken in it: case and underscores."""
    return name.replace("_", "").lower()


def _segment_faults(config: SegmentConfig, at: _Place) -> Iterator[Fault]:
    yield from _custom_id_faults(config, at)
    if config.on_first_run == "reset" and config.mode != "mirror":
        yield at.fault("on_first_run", f"is reset, which goes with mode: mirror only, but mode is {config.mode}.")
    if "guard" in config.model_fields_set and config.mode != "mirror":
        yield at.fault("guard", f"counts for mode: mirror only, but mode is {config.mode}; take it out.")
    if not SEGMENT_ID_PATTERN.fullmatch(config.segment_id):
        yield at.fault(
            "segment_id", f"is {config.segment_id!r}; a segment's id has 3 to 100 letters, digits, '_' and '-'."
        )


def _custom_id_faults(config: SegmentConfig, at: _Place) -> Iterator[Fault]:
    if config.id_type != "custom_id":
        if config.custom_id:
            yield at.fault("custom_id", f"goes with id_type: custom_id, but id_type is {config.id_type}.")
        return
    if not config.custom_id:
        yield at.fault("custom_id", "is missing; write the custom id's name, such as companyID.")
        return
    for id_type, name in STATSIG_ID_TYPES.items():
        if _folded(config.custom_id) == _folded(name):
            yield at.fault("custom_id", f"is Statsig's own {name}; write id_type: {id_type}, and no custom_id.")
            return
    for name in config.custom_ids:
        if name != config.custom_id and _folded(name) == _folded(config.custom_id):
            message = f"is not the custom_id, which is {config.custom_id}; write the two alike."
            yield at.fault(f"custom_ids.{name}", message)


def _event_faults(config: EventConfig, at: _Place) -> Iterator[Fault]:
    if not config.environment.strip():
        yield at.fault("environment", "is blank; write the name of an environment, such as production.")
    if config.event_name is not None:
        if problem := event_name_problem(config.event_name):
            yield at.fault("event_name", f"{problem}. Write another name.")
        if "event_name" in config.columns:
            yield at.fault("columns.event_name", "is set, and so is event_name; keep the one that names the events.")
    if "ask_then" in config.model_fields_set and config.on_unknown != "ask":
        yield at.fault("ask_then", f"goes with on_unknown: ask, and that is {config.on_unknown}; take one of them out.")
    yield from _backfill_faults(config, at)


def _former_faults(config: SegmentConfig | EventConfig, at: _Place) -> Iterator[Fault]:
    for former in config.renamed_from:
        if former.api_key_env and former.api_key_env.startswith(_KEY_PREFIXES):
            # Not repeated in the message: it may be the key itself.
            yield at.fault("renamed_from", "holds a key as api_key_env; write the name of the variable, never the key.")
        elif former.api_key_env is None and former.exposure in (None, at.name):
            yield at.fault("renamed_from", "names the sync itself; write what it was called before, or take it out.")


def _live_former_names(syncs: Sequence[Sync], exposures: Sequence[Exposure]) -> Iterator[Fault]:
    """A history has one sync that goes on with it."""
    files = {exposure.name: exposure.file for exposure in exposures}
    for sync in syncs:
        for name in dict.fromkeys(former.exposure for former in sync.config.renamed_from):
            if name in files and name != sync.name:
                yield Fault(
                    sync.file,
                    f"exposure {sync.name}",
                    f"{META_PATH}.renamed_from",
                    f"names {name}, which is still a sync of this project, in {files[name]}. A history belongs to one "
                    "sync: take out the old exposure, or renamed_from.",
                )


def _backfill_faults(config: EventConfig, at: _Place) -> Iterator[Fault]:
    if config.backfill in (None, "all", "none"):
        return
    try:
        is_plain = dt.date.fromisoformat(str(config.backfill)).isoformat() == config.backfill
    except ValueError:
        is_plain = False
    if not is_plain:
        yield at.fault("backfill", f"is {config.backfill!r}; write all, none, or a date such as 2026-01-31.")


def partners(sync: Sync, syncs: Sequence[Sync]) -> tuple[Sync, ...]:
    """The other syncs that write the same segment of the same Statsig project."""
    if not isinstance(sync.config, SegmentConfig):
        return ()
    own = _written_by(sync.config)
    return tuple(
        other
        for other in syncs
        if isinstance(other.config, SegmentConfig) and other.name != sync.name and _written_by(other.config) == own
    )


def _written_by(config: SegmentConfig) -> tuple[str | None, str]:
    return config.project, config.segment_id


def limits_of(project: str | None, syncs: Iterable[Sync]) -> Limits:
    """The rate limits of a Statsig project: what one of its syncs writes, else Statsig's own."""
    written = (sync.config.limits for sync in syncs if sync.config.project == project)
    return next((limits for limits in written if limits is not None), Limits())


def _limit_faults(syncs: Sequence[Sync]) -> Iterator[Fault]:
    """A Statsig project has one set of limits; the syncs that write none go by it."""
    first: dict[str | None, Sync] = {}
    for sync in syncs:
        if sync.config.limits is None:
            continue
        other = first.setdefault(sync.config.project, sync)
        if other.config.limits != sync.config.limits:
            yield Fault(
                sync.file,
                f"exposure {sync.name}",
                f"{META_PATH}.limits",
                f"differs from the limits of {other.name}, and both go to the same Statsig project. Write the same in "
                "both, or in one of them only: it counts for all syncs of the project.",
            )


def _shared_names(exposures: Sequence[Exposure]) -> Iterator[Fault]:
    """The ledgers know a sync by its exposure's name, which dbt keeps apart only within a package."""
    first: dict[str, Exposure] = {}
    for exposure in exposures:
        if first.setdefault(exposure.name, exposure) is not exposure:
            yield Fault(
                exposure.file,
                f"exposure {exposure.name}",
                "name",
                f"is also the name of an exposure of another dbt package, in {first[exposure.name].file}, and the "
                "ledgers would take the two for one sync. Rename one of them.",
            )


def _shared_segments(syncs: Sequence[Sync]) -> Iterator[Fault]:
    """A segment has one sync, or one that adds and one that removes."""
    seen: set[str] = set()
    for sync in syncs:
        sharing = sorted((sync, *partners(sync, syncs)), key=lambda one: one.name)
        if sync.name in seen or len(sharing) == 1:
            continue
        seen.update(one.name for one in sharing)
        if sorted(one.config.mode for one in sharing) == ["add", "remove"]:
            continue
        names = ", ".join(one.name for one in sharing)
        yield Fault(
            sharing[-1].file,
            f"exposure {sharing[-1].name}",
            f"{META_PATH}.segment_id",
            f"'{sharing[-1].destination}' is written by {len(sharing)} syncs ({names}), and they would undo each "
            "other. Give each a segment of its own, or make one model of them. (One sync that adds and one that "
            "removes may share a segment.)",
        )
