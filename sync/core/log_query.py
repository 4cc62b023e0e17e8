"""The filter of Statsig's Logs Explorer: ``event_name:order_completed AND @order_id:"500001"``.

Source: Statsig's documentation of the Logs Explorer; ``@`` stands before a metadata key.
"""

from __future__ import annotations


def event_query(name: str, metadata: tuple[str, str]) -> str:
    """What finds the events of a name with this value under this metadata key."""
    key, value = metadata
    return f"event_name:{_quoted(name)} AND @{key}:{_quoted(value)}"


def is_askable(name: str) -> bool:
    """Whether Statsig's filter can name this metadata key: a second ``@`` in front of it is no name any more."""
    return bool(name) and not name.startswith("@") and not any(one.isspace() or one in ':"()*' for one in name)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
