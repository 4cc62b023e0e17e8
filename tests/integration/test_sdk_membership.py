"""After a sync, Statsig's official server SDKs say who is in the segment."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.integration.harness import Project
from tests.integration.sdk import members_according_to_core_sdk, members_according_to_legacy_sdk
from tests.integration.stand_in import StandIn

SDKS = [members_according_to_legacy_sdk, members_according_to_core_sdk]
EVERYBODY = ["ann", "bob", "cid", "dan", "eve", "42", "42.0", "Ann", "zoë 🎉"]

# Who is in the list before, and after the first and the second run, per mode.
BEFORE = ["ann", "eve"]
FIRST_AUDIENCE = ["ann", "bob", "42", "zoë 🎉"]
SECOND_AUDIENCE = ["bob", "cid", "zoë 🎉"]
EXPECTED = {
    "add": ({"ann", "eve", "bob", "42", "zoë 🎉"}, {"ann", "eve", "bob", "42", "zoë 🎉", "cid"}),
    "remove": ({"eve"}, {"eve"}),
    "mirror": ({"ann", "bob", "42", "zoë 🎉"}, {"bob", "cid", "zoë 🎉"}),
}


@pytest.mark.parametrize("mode", EXPECTED)
def test_both_sdks_find_exactly_who_a_sync_has_left_in_the_segment(
    project: Project, arrived: StandIn, mode: str
) -> None:
    arrived.put_segment("buyers", *BEFORE)
    project.sync("buyers", "buyers", {"object": "segment", "segment_id": "buyers", "mode": mode})
    for audience, expected in zip((FIRST_AUDIENCE, SECOND_AUDIENCE), EXPECTED[mode], strict=True):
        project.table("buyers", f"select unnest({audience}::varchar[]) as user_id")
        project.run()
        for members in SDKS:
            assert members(arrived.url, "buyers", EVERYBODY) == expected


@pytest.mark.parametrize("members", SDKS, ids=["statsig", "core"])
def test_sdks_find_members_of_other_id_types(
    project: Project, arrived: StandIn, members: Callable[..., set[str]]
) -> None:
    project.table("units", "select 'd1' as device, 7 as company")
    ids = {"stableID": "device", "companyID": "company"}
    for name, id_type in (("devices", {"id_type": "stable_id"}), ("firms", {"id_type": "custom_id"})):
        custom = {"custom_id": "companyID"} if name == "firms" else {}
        meta = {"object": "segment", "segment_id": name, "mode": "mirror", "create_if_missing": True}
        project.sync(name, "units", {**meta, **id_type, **custom, "custom_ids": ids})
    project.run()
    assert members(arrived.url, "devices", ["d1", "7"], "stableID") == {"d1"}
    assert members(arrived.url, "firms", ["d1", "7"], "companyID") == {"7"}
