"""Whether a relation has the columns that a sync names, and of types that can be sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sync.core.columns import Column, Kind, find
from sync.core.event_sql import FIELD_KINDS, KEY_KINDS, EventColumns, key_metadata, resolve
from sync.core.graph import Graph
from sync.errors import Fault
from sync.spec.model import EventConfig, SegmentConfig, Sync
from sync.spec.parse import META_PATH, nearest


def mapping_faults(sync: Sync, columns: Sequence[Column]) -> tuple[Fault, ...]:
    """What is wrong between the sync's configuration and its relation's columns."""
    if marked := [column for column in columns if column.name.startswith(_BYTE_ORDER_MARK)]:
        return tuple(_marked_fault(sync, column) for column in marked)
    missing = [(key, name) for key, name in _named_columns(sync) if find(columns, name) is None]
    faults = [_missing_fault(sync, key, name, columns) for key, name in missing]
    if isinstance(sync.config, SegmentConfig):
        said = {fault.key for fault in faults}
        return (*faults, *(one for one in _segment_faults(sync, sync.config, columns) if one.key not in said))
    # While the others are checked, text stands in for what is missing: it fits everywhere.
    stand_ins = [Column(name, "VARCHAR") for name in dict.fromkeys(name for _, name in missing)]
    found = resolve(sync.config, [*columns, *stand_ins])
    return (*faults, *_event_faults(sync, sync.config, found), *_dot_faults(sync, found.metadata, columns))


# What some programs write before the text of a file, so that it gets into the name of its first column.
_BYTE_ORDER_MARK = "\ufeff"


def _marked_fault(sync: Sync, column: Column) -> Fault:
    name = column.name.lstrip(_BYTE_ORDER_MARK)
    message = (
        f"is a model whose column '{name}' has a byte order mark (U+FEFF) before its name, so that nothing finds it as "
        f"'{name}'. It comes from a file that was saved with one: save the file as UTF-8 without it, or rename the "
        "column in the model."
    )
    return Fault(sync.file, f"exposure {sync.name}", "depends_on", message)


def ignored_columns_note(sync: Sync) -> str | None:
    """What to say of a segment sync that maps more than its id; None where it does not."""
    if not isinstance(sync.config, SegmentConfig):
        return None
    mapped = {**sync.config.columns, **sync.config.custom_ids}
    ignored = sorted(field for field, column in mapped.items() if column != sync.config.id_column)
    if not ignored:
        return None
    return f"{sync.name}: only the id counts in a segment; ignored: {', '.join(ignored)}."


def key_test_warning(sync: Sync, graph: Graph) -> str | None:
    """What to say of an event sync whose unique key dbt does not test; None where it does."""
    if not isinstance(sync.config, EventConfig):
        return None
    key = sync.config.unique_key
    tested = {
        node.test_name
        for node in graph.nodes.values()
        if node.attached_to == sync.model and (node.test_column or "").strip('"`').lower() == key.lower()
    }
    missing = [name for name in ("unique", "not_null") if name not in tested]
    if not missing:
        return None
    return (
        f"{sync.name}: dbt does not test that {key} is {' and '.join(missing)}. Of rows that share a key one is sent, "
        f"and a row without a key is not. Write data_tests: [{', '.join(missing)}] at the column, so that the build "
        "fails first."
    )


def _fault(sync: Sync, key: str, message: str) -> Fault:
    return Fault(sync.file, f"exposure {sync.name}", f"{META_PATH}.{key}", message)


def _named_columns(sync: Sync) -> Iterator[tuple[str, str]]:
    """Each column that the configuration names, with the key that names it."""
    config = sync.config
    for field, column in config.columns.items():
        yield f"columns.{field}", column
    for name, column in config.custom_ids.items():
        yield f"custom_ids.{name}", column
    for column in config.exclude:
        yield "exclude", column
    if isinstance(config, EventConfig):
        yield "unique_key", config.unique_key


def _missing_fault(sync: Sync, key: str, name: str, columns: Sequence[Column]) -> Fault:
    names = [column.name for column in columns]
    suggestion = nearest(name, names)
    return _fault(
        sync, key, f"names column '{name}', which the model does not have.{suggestion} It has: {_list(names)}."
    )


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)


def _segment_faults(sync: Sync, config: SegmentConfig, columns: Sequence[Column]) -> Iterator[Fault]:
    key = "columns.user_id" if config.id_type == "user_id" else f"custom_ids.{config.statsig_id_type}"
    column = find(columns, config.id_column)
    if column is None:
        names = _list([column.name for column in columns])
        yield _fault(sync, key, f"is not set, and the model has no column '{config.id_column}'. It has: {names}.")
    else:
        yield from _id_faults(sync, key, column)


def _id_faults(sync: Sync, key: str, column: Column) -> Iterator[Fault]:
    if not column.can_be_id:
        yield _fault(
            sync,
            key,
            f"is column '{column.name}' of type {column.type}, which has no one text form as an id "
            "(42.0 is not 42). Cast it to bigint, varchar or uuid in the model.",
        )


def _event_faults(sync: Sync, config: EventConfig, found: EventColumns) -> Iterator[Fault]:
    yield from _unmapped_faults(sync, config, found)
    yield from _kind_fault(sync, "unique_key", found.unique_key, KEY_KINDS)
    for field, kinds in FIELD_KINDS.items():
        if column := found.fields.get(field):
            yield from _kind_fault(sync, f"columns.{field}", column, kinds)
    if column := found.fields.get("user_id"):
        yield from _id_faults(sync, "columns.user_id", column)
    for name, column in found.custom_ids.items():
        yield from _id_faults(sync, f"custom_ids.{name}", column)
    if config.on_unknown == "ask":
        yield from _ask_faults(sync, found)


def _ask_faults(sync: Sync, found: EventColumns) -> Iterator[Fault]:
    """Why Statsig's logs cannot be asked for the events of a sync."""
    if key_metadata(found) is None:
        yield _fault(
            sync,
            "on_unknown",
            f"is ask, but Statsig's logs cannot be asked for column '{found.unique_key.name}': they know the "
            "unique_key only where it is in the events' metadata, under a name without spaces and without "
            ': " ( ) and *. Let its column be neither mapped nor excluded, or write on_unknown: resend or hold.',
        )


def _dot_faults(sync: Sync, metadata: Sequence[Column], columns: Sequence[Column]) -> Iterator[Fault]:
    for column in metadata:
        if "." in column.name and column in columns:
            yield _fault(
                sync,
                "exclude",
                f"does not name column '{column.name}': Statsig reads a dot in a metadata key as a nested path and "
                "loses the value. Rename the column in the model, or exclude it.",
            )


def _unmapped_faults(sync: Sync, config: EventConfig, found: EventColumns) -> Iterator[Fault]:
    if config.event_name is None and "event_name" not in found.fields:
        yield _fault(
            sync,
            "event_name",
            "is not set, and the model has no column 'event_name'. Write event_name: <a name>, or map a column with "
            "columns: {event_name: <column>}.",
        )
    if not found.identifiers:
        yield _fault(
            sync,
            "columns.user_id",
            "is not set, and no custom id either, so that the events would belong to nobody. Write "
            "columns: {user_id: <column>} or custom_ids: {stableID: <column>}.",
        )
    if config.backfill_from and "event_time" not in found.fields:
        yield _fault(sync, "backfill", "is a date, but no event_time is mapped. Write columns: {event_time: <column>}.")


def _kind_fault(sync: Sync, key: str, column: Column, kinds: frozenset[Kind]) -> Iterator[Fault]:
    if column.kind not in kinds:
        fitting = ", ".join(sorted(kind.value for kind in kinds))
        yield _fault(sync, key, f"is column '{column.name}' of type {column.type}; what fits is: {fitting}.")
