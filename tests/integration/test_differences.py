"""Wherever an audience is compared with its segment, here or in the warehouse, a sync sends and says the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.harness import CONSOLE_KEY, Project
from tests.integration.in_process import command_here, run_here, run_still
from tests.integration.stand_in import CHANGE_IDS, StandIn

PLACES = ("auto", "polars", "warehouse")
# Nobody waits for Statsig's limits, which are not what is tested.
LIMITS = {
    f"{what}_per_{time}": 10_000
    for what in ("changes", "id_list_changes", "id_list_reads")
    for time in ("10_seconds", "15_minutes")
}
# Twice, nobody, blank, with outer white space, and alike to people only.
AUDIENCE = [
    "ann",
    "ann",
    "Ann",
    None,
    None,
    "",
    " ",
    " padded",
    "bob",
    "\u00e9",
    "e\u0301",
    "it's",
    "long " * 20 + "end",
]


def syncs(project: Project, mode: str, **more: Any) -> None:
    """A sync for each place, alike in all else, each with a segment of its own."""
    for place in PLACES:
        meta = {
            "object": "segment",
            "segment_id": f"by_{place}",
            "mode": mode,
            "create_if_missing": True,
            "diff": place,
        }
        project.sync(f"by_{place}", "people", {**meta, "diff": place, "limits": LIMITS, **more})


def people(project: Project, ids: list[str | None], materialized: str = "table") -> None:
    listed = ", ".join("null" if one is None else "'" + one.replace("'", "''") + "'" for one in ids)
    query = f"select unnest([{listed}]::varchar[]) as user_id"
    project.table("people", query, materialized)


def flags(mode: str) -> list[str]:
    """The guard of a mirror is not what is tested."""
    return ["--allow-removals", "*"] if mode == "mirror" else []


def planned(project: Project, mode: str) -> dict[str, Any]:
    """What the plan says of the syncs; fails where it is not the same of all."""
    finished = command_here(project, "plan", *flags(mode), "--json")
    assert finished.returncode == 0, finished.stderr
    plans = [
        {key: value for key, value in one.items() if key not in ("sync", "destination", "renamed_from")}
        for one in json.loads(finished.stdout)["syncs"]
    ]
    assert plans == [plans[0]] * len(PLACES)
    return dict(plans[0])


def sent(project: Project, arrived: StandIn, mode: str) -> set[str]:
    """The members of the lists after a run; fails where they or the ledgers are not the same for all."""
    run_here(project, *flags(mode))
    lists = [arrived.ids(f"by_{place}") for place in PLACES]
    assert lists == [lists[0]] * len(PLACES)
    known = [
        project.rows(f"select id, status from statsig_membership where segment_id = 'by_{place}' order by all")
        for place in PLACES
    ]
    assert known == [known[0]] * len(PLACES)
    return lists[0]


@pytest.mark.parametrize(
    ("mode", "materialized"), [("mirror", "table"), ("mirror", "view"), ("add", "table"), ("remove", "table")]
)
def test_wherever_ids_are_compared_the_same_is_planned_and_sent(
    project: Project, arrived: StandIn, mode: str, materialized: str
) -> None:
    arrived.no_limits()
    for place in PLACES:
        arrived.put_segment(f"by_{place}", "ann", "by hand", " padded")
    syncs(project, mode)
    people(project, AUDIENCE, materialized)
    first = planned(project, mode)
    assert (first["rows_read"], first["audience"], first["adopted"]) == (13, 7, 3)
    assert first["rejected"] == [
        {"reason": "blank_id", "effect": "not_sent", "rows": 2},
        {"reason": "null_id", "effect": "not_sent", "rows": 2},
        {"reason": "outer_whitespace", "effect": "not_sent", "rows": 1},
    ]
    sent(project, arrived, mode)

    people(project, [*AUDIENCE[2:], "cid"], materialized)
    # Whether the ids of this request arrived is not known, of any of the syncs.
    arrived.fault("status", call=CHANGE_IDS, status=502, when="after", count=None)
    run_still(project, allow_removals=["*"] if mode == "mirror" else [])
    assert project.rows("select count(*) from statsig_membership where status = 'uncertain'") != [(0,)]
    arrived.no_faults()
    planned(project, mode)
    people(project, [*AUDIENCE[4:], "dan"], materialized)
    planned(project, mode)
    sent(project, arrived, mode)

    # Another name for the project's key: what is known is carried on.
    project.environment["OTHER_KEY"] = CONSOLE_KEY
    syncs(project, mode, api_key_env="OTHER_KEY", renamed_from={"api_key_env": "STATSIG_CONSOLE_API_KEY"})
    people(project, ["dan", "eve", "bob"], materialized)
    planned(project, mode)
    sent(project, arrived, mode)

    for place in PLACES:
        arrived.delete_segment(f"by_{place}")
    assert planned(project, mode)["is_gone"]
    sent(project, arrived, mode)
    planned(project, mode)
