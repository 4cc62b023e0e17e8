"""The filter of Statsig's Logs Explorer: ``event_name:order_completed AND @order_id:"500001"``.

Source: Statsig's documentation of the Logs Explorer; ``@`` stands before a metadata key.
"""

from __future__ import annotations

# The metadata that says which sync has sent an event, and in which environment: others may send the same name and key.
MARK = "statsig_sync"


def mark_of(sync_name: str, environment: str) -> str:
    """What the events of a sync carry as ``MARK``."""
    return f"{sync_name}/{environment}"


def event_query(name: str, *metadata: tuple[str, str]) -> str:
    """What finds the events of a name with these values under these metadata keys."""
    return " AND ".join([f"event_name:{_quoted(name)}", *(f"@{key}:{_quoted(value)}" for key, value in metadata)])


def is_askable(name: str) -> bool:
    """Whether Statsig's filter can name this metadata key: a second ``@`` in front of it is no name any more."""
    return bool(name) and not name.startswith("@") and not any(one.isspace() or one in ':"()*' for one in name)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
