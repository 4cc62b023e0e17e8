"""What Statsig may trim or strip: counted and told of before it is sent, and sent all the same."""

from __future__ import annotations

import json

from tests.integration.harness import Project
from tests.integration.in_process import command_here, run_here
from tests.integration.stand_in import StandIn

LONG = "x" * 65
VISITS = f"""
    select 1 as id, 'ann' as user_id, 'short' as note, 'visit' as event_name, '{{}}' as custom
    union all select 2, 'ann', '{LONG}', 'visit', '{{}}'
    union all select 3, '{LONG}', '{LONG}', '{LONG}', '{{"a":"{"x" * 4100}"}}'
    union all select 4, null, '{LONG}', '{LONG}', '{{}}'"""
COUNTS = {"metadata_value": 2, "id": 1, "event_name": 1, "custom": 1, "user": 1}


def visits(project: Project, **more: str) -> None:
    project.table("visits", VISITS)
    project.sync("visits", "visits", {"object": "events", "unique_key": "id", **more})


def planned(project: Project) -> dict[str, object]:
    (sync,) = json.loads(command_here(project, "plan", "--json").stdout)["syncs"]
    return dict(sync)


def test_events_with_long_parts_are_counted_by_kind_and_sent(project: Project, arrived: StandIn) -> None:
    visits(project, backfill="all")
    assert planned(project)["trimmed"] == COUNTS
    (warning,) = [one for one in command_here(project, "plan").stdout.splitlines() if one.startswith("warning")]
    assert warning.startswith("warning: visits: Statsig may trim or strip what is this long: ")
    for said in (
        "event name above 64 characters (1 events)",
        "metadata value above 64 characters (2 events)",
        "id above 64 characters (1 events)",
        "custom above 4,096 characters of JSON (1 events)",
        "Shorten it in the model; the dbt test within_statsig_limits finds the rows where one column is too long.",
    ):
        assert said in warning
    report = run_here(project)
    assert report["plan"]["warnings"] == [warning.removeprefix("warning: ")]
    assert report["results"][0]["accepted"] == 3
    # What was sent is not told of again.
    assert planned(project)["trimmed"] == {}


def test_a_test_of_a_column_is_named_only_where_it_finds_the_rows(project: Project, arrived: StandIn) -> None:
    parts = ", ".join(f"'{'x' * 60}' as part_{number}" for number in range(70))
    project.table("visits", f"select 1 as id, 'ann' as user_id, {parts}")
    project.sync("visits", "visits", {"object": "events", "unique_key": "id", "event_name": "v", "backfill": "all"})
    assert planned(project)["trimmed"] == {"metadata": 1}
    (warning,) = [one for one in command_here(project, "plan").stdout.splitlines() if one.startswith("warning")]
    assert warning.endswith("metadata above 4,096 characters of JSON (1 events). Shorten it in the model.")


def test_events_that_are_not_sent_are_not_counted(project: Project, arrived: StandIn) -> None:
    visits(project, backfill="none")
    assert planned(project)["trimmed"] == {}


def test_a_custom_that_is_left_out_is_not_too_long(project: Project, arrived: StandIn) -> None:
    project.table("visits", f"""select 1 as id, 'ann' as user_id, '{{"a":1,"a":"{"x" * 4100}"}}' as custom""")
    project.sync("visits", "visits", {"object": "events", "unique_key": "id", "event_name": "v", "backfill": "all"})
    assert planned(project)["trimmed"] == {}


def test_long_ids_of_an_audience_are_counted(project: Project, arrived: StandIn) -> None:
    arrived.put_segment("people")
    project.table("people", f"select unnest(['ann', '{LONG}', '{'x' * 64}']) as user_id")
    project.sync("people", "people", {"object": "segment", "segment_id": "people", "mode": "mirror"})
    assert planned(project)["trimmed"] == {"id": 1}
    finished = command_here(project, "run")
    assert (
        "warning: people: Statsig may trim or strip what is this long: id above 64 characters (1 ids)"
        in finished.stderr
    )
    assert planned(project)["trimmed"] == {}
