"""What Statsig may trim or strip: it takes such a row, and may keep less of it than was sent.

Sources: Statsig's pages on custom events and on its HTTP API. One gives 64 characters for names and values, and
4,096 characters of JSON for an object, beyond which they "may be trimmed or stripped" in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from sync.spec.statsig import KEPT_JSON_LENGTH, KEPT_TEXT_LENGTH

EVENT_NAME, EVENT_VALUE, METADATA_VALUE, ID = "event_name", "event_value", "metadata_value", "id"
METADATA, USER, CUSTOM = "metadata", "user", "custom"
# A user that is too long only together with its custom properties.
USER_WITH_CUSTOM = "user_with_custom"

# Objects that are made of several columns, so that no test of a column finds them.
_WHOLE = frozenset({METADATA, USER})

_MEANING = {
    EVENT_NAME: f"event name above {KEPT_TEXT_LENGTH} characters",
    EVENT_VALUE: f"event value above {KEPT_TEXT_LENGTH} characters",
    METADATA_VALUE: f"metadata value above {KEPT_TEXT_LENGTH} characters",
    ID: f"id above {KEPT_TEXT_LENGTH} characters",
    METADATA: f"metadata above {KEPT_JSON_LENGTH:,} characters of JSON",
    USER: f"user above {KEPT_JSON_LENGTH:,} characters of JSON",
    CUSTOM: f"custom above {KEPT_JSON_LENGTH:,} characters of JSON",
}


def kinds(trimmed: str, has_custom: bool) -> Iterable[str]:
    """The kinds of an event's parts that are too long, of the words that ``sync.core.event_sql`` gives its row.

    ``has_custom`` says whether the event is sent with its custom properties.
    """
    found = trimmed.split(",")
    if not has_custom:
        return [kind for kind in found if kind not in (CUSTOM, USER_WITH_CUSTOM)]
    return [USER if kind == USER_WITH_CUSTOM else kind for kind in found]


def counted(*ids: pl.Series) -> Mapping[str, int]:
    """How many of the ids are too long, as a count by kind."""
    count = sum(int((one.str.len_chars() > KEPT_TEXT_LENGTH).sum()) for one in ids if len(one))
    return {ID: count} if count else {}


def warning(sync_name: str, trimmed: Mapping[str, int], unit: str) -> str | None:
    """What to say of a sync with these counts by kind; None where there are none. ``unit`` is what is counted."""
    if not trimmed:
        return None
    told = ", ".join(f"{meaning} ({trimmed[kind]:,} {unit})" for kind, meaning in _MEANING.items() if kind in trimmed)
    found = [kind for kind in _MEANING if kind in trimmed and kind not in _WHOLE]
    by_test = "; the dbt test within_statsig_limits finds the rows" if found else ""
    if found and len(found) < len(trimmed):
        by_test += " where one column is too long"
    return f"{sync_name}: Statsig may trim or strip what is this long: {told}. Shorten it in the model{by_test}."
