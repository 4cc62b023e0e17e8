"""The project's configuration as server SDKs download it: one gate a segment.

Each segment is a gate twice: as `segment:<id>`, which is what Statsig calls it and what other gates point to, and as
`<id>`, so that an SDK can be asked with `check_gate`. The forms were read off the official Python SDKs: version 1 is a
list of specs with conditions inside (`statsig`), version 2 a map of specs whose conditions are in a map of their own
(`statsig-python-core`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sync.sandbox.segments import Segment


def config_specs_v1(segments: Iterable[Segment], changed_at: int) -> dict[str, Any]:
    """Answer of `download_config_specs`, version 1. `changed_at` is in milliseconds."""
    gates = [
        {"name": name, **_gate(segment, [_condition(segment)])} for segment in segments for name in _gate_names(segment)
    ]
    return {
        **_common(segments, changed_at),
        "feature_gates": gates,
        "dynamic_configs": [],
        "layer_configs": [],
        "layers": {},
    }


def config_specs_v2(segments: Iterable[Segment], changed_at: int) -> dict[str, Any]:
    """Answer of `download_config_specs`, version 2."""
    gates = {name: _gate(segment, [_condition_key(segment)]) for segment in segments for name in _gate_names(segment)}
    return {
        **_common(segments, changed_at),
        "response_format": "dcs-v2",
        "feature_gates": gates,
        "dynamic_configs": {},
        "layer_configs": {},
        "condition_map": {_condition_key(segment): _condition(segment) for segment in segments},
        "experiment_to_layer": {},
    }


def id_lists(segments: Iterable[Segment], base_url: str) -> dict[str, Any]:
    """Answer of `get_id_lists`: where the file of each list is and how many bytes it has.

    A file without a byte is left out: `statsig-python-core` gives up on all lists when one of them is empty.
    """
    return {
        segment.id: {
            "name": segment.id,
            "size": len(segment.file.content),
            "url": f"{base_url}/v1/download_id_list_file/{segment.file.file_id}",
            "creationTime": segment.file.creation_time,
            "fileID": segment.file.file_id,
        }
        for segment in segments
        if segment.file.content
    }


def _common(segments: Iterable[Segment], changed_at: int) -> dict[str, Any]:
    return {
        "has_updates": True,
        "time": changed_at,
        "company_id": "sandbox",
        "id_lists": {segment.id: True for segment in segments},
        # Diagnostics and SDK configuration that would reach for other servers stay off.
        "diagnostics": {},
        "sdk_configs": {},
        "sdk_flags": {},
    }


def _gate_names(segment: Segment) -> tuple[str, str]:
    return f"segment:{segment.id}", segment.id


def _gate(segment: Segment, conditions: list[Any]) -> dict[str, Any]:
    is_active = segment.is_enabled and not segment.is_archived
    rule = {
        "id": f"{segment.id}_members",
        "name": f"{segment.id}_members",
        "groupName": "Members",
        "salt": segment.id,
        "passPercentage": 100,
        "idType": segment.id_type,
        "returnValue": True,
        "conditions": conditions,
    }
    return {
        "type": "feature_gate",
        "entity": "segment",
        "salt": segment.id,
        "enabled": is_active,
        "defaultValue": False,
        "idType": segment.id_type,
        "version": 1,
        # SDKs on the shared core do not look at `enabled` of a segment.
        "rules": [rule] if is_active else [],
    }


def _condition_key(segment: Segment) -> str:
    return f"in:{segment.id}"


def _condition(segment: Segment) -> dict[str, Any]:
    return {
        "type": "unit_id",
        "operator": "in_segment_list",
        "targetValue": segment.id,
        "field": None,
        "additionalValues": {},
        "isDeviceBased": False,
        "idType": segment.id_type,
    }
