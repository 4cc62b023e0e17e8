"""A first run of events is told, asked about, and refused where it is not the first: no bulk goes twice unseen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.integration.harness import Project, dbt
from tests.integration.in_process import command_here, run_here
from tests.integration.stand_in import LOG_EVENT, StandIn

ROWS = 99
EVENTS = {"object": "events", "unique_key": "id", "event_name": "visit"}


def visits(project: Project, name: str = "visits", rows: int = ROWS, **more: Any) -> None:
    """A sync of one event every two hours from 2026-07-01 on."""
    time = "timestamp '2026-07-01' + to_hours(2 * range) as event_time"
    project.table("visits", f"select range as id, 'ann' as user_id, {time} from range({rows})")
    project.sync(name, "visits", {**EVENTS, **more})


def renamed(project: Project, new: str, old: str, **more: Any) -> None:
    """The project after the exposure of a sync of visits got another name."""
    project.no_sync(old)
    project.sync(new, "visits", {**EVENTS, **more})


def refused(project: Project, *arguments: str, **environment: str | None) -> str:
    """The one thing that a run is refused for."""
    errors = run_here(project, *arguments, expect=3, **environment)["errors"]
    (error,) = (error for error in errors if not error.startswith("Nothing was sent"))
    return str(error)


def said(project: Project, *arguments: str, expect: int = 0, **environment: str | None) -> str:
    """All that a command prints."""
    finished = command_here(project, *arguments, **environment)
    assert finished.returncode == expect, finished.stdout + finished.stderr
    return finished.stdout + finished.stderr


# What a first run asks for, and says.


def test_a_first_run_asks_for_backfill_with_what_all_would_send_and_a_later_run_does_not(
    project: Project, arrived: StandIn
) -> None:
    visits(project, backfill=None)
    error = refused(project)
    assert "this is the first run; it would send 99 event(s) from 2026-07-01 to 2026-07-09." in error
    assert "Write backfill: all, none, or a date" in error
    assert "config.meta.statsig" in error
    assert refused(project, "--allow-events", "visits") == error
    assert arrived.events() == []

    (planned,) = json.loads(said(project, "plan", "--json", expect=3))["syncs"]
    assert (planned["first_run"], planned["events"]) == (True, ROWS)
    assert (planned["events_from"], planned["events_until"]) == ("2026-07-01T00:00:00Z", "2026-07-09T04:00:00Z")

    visits(project)
    run_here(project)
    visits(project, rows=ROWS + 1, backfill=None)
    run_here(project)
    assert len(arrived.events()) == ROWS + 1


def test_a_model_without_rows_does_not_pass_for_a_first_run(project: Project, arrived: StandIn) -> None:
    visits(project, rows=0, backfill=None)
    assert "the model has no event yet. Write backfill" in refused(project)
    visits(project, backfill=None)
    assert "99 event(s)" in refused(project)


def test_plan_and_run_say_that_a_run_is_the_first_of_events_and_of_segments(project: Project, arrived: StandIn) -> None:
    visits(project)
    project.table("people", "select 'ann' as user_id")
    meta = {"object": "segment", "segment_id": "people", "mode": "mirror", "create_if_missing": True}
    project.sync("people", "people", meta)
    planned = said(project, "plan")
    assert "visits: events, FIRST RUN" in planned
    assert "people: mirror segment people, FIRST RUN" in planned
    finished = command_here(project, "run")
    assert "visits: sending 99 keys, FIRST RUN from 2026-07-01 to 2026-07-09" in finished.stderr
    assert "people: sending 1 keys, FIRST RUN" in finished.stderr
    assert "visits: finished, 99 of 99 delivered\n  FIRST RUN" in finished.stdout
    assert "people: finished, 1 of 1 delivered\n  FIRST RUN" in finished.stdout
    assert "FIRST RUN" not in said(project, "plan") + said(project, "run")
    assert [one["first_run"] for one in project.plan()["syncs"]] == [False, False]


# A sync that got another name.


def test_a_renamed_exposure_is_refused_until_renamed_from_carries_its_history_on(
    project: Project, arrived: StandIn
) -> None:
    visits(project)
    run_here(project)
    renamed(project, "page_visits", "visits")
    error = refused(project)
    assert "sandbox/visits has sent 99 of the event(s) that it would send" in error
    assert "write renamed_from: visits under config.meta.statsig" in error
    assert len(arrived.events()) == ROWS

    renamed(project, "page_visits", "visits", renamed_from="visits", backfill=None)
    (result,) = run_here(project)["results"]
    assert (result["state"], result["planned"]) == ("finished", 0)
    assert project.rows(
        "select distinct renamed_from from statsig_run_log where sync_name = 'page_visits' and rows_read is not null"
    ) == [("sandbox/visits",)]

    # The line may go after that, and the name may change again, or back.
    for new, old, more in (
        ("page_visits", "page_visits", {}),
        ("views", "page_visits", {"renamed_from": ["page_visits"]}),
        ("views", "views", {}),
        ("visits", "views", {}),
    ):
        renamed(project, new, old, backfill=None, **more)
        assert run_here(project)["results"][0]["planned"] == 0
    assert len(arrived.events()) == ROWS


def test_a_first_run_that_sends_what_a_sync_that_is_gone_has_sent_may_be_allowed_once(
    project: Project, arrived: StandIn
) -> None:
    visits(project)
    run_here(project)
    renamed(project, "page_visits", "visits")
    run_here(project, "--allow-events", "page_visits")
    assert len(arrived.events()) == 2 * ROWS
    assert project.rows("select sync_name, overrides from statsig_sync_runs where overrides is not null") == [
        ("page_visits", "--allow-events page_visits")
    ]
    assert run_here(project)["results"][0]["planned"] == 0


@pytest.mark.parametrize(
    "more",
    [{"event_name": "another"}, {"backfill": "none"}, {"backfill": "2026-08-01"}],
    ids=["another event", "nothing is sent", "nothing of that is sent"],
)
def test_a_first_run_that_repeats_nothing_is_not_refused(
    project: Project, arrived: StandIn, more: dict[str, str]
) -> None:
    visits(project)
    run_here(project)
    renamed(project, "page_visits", "visits", **more)
    run_here(project)


def test_another_key_variable_is_refused_until_renamed_from_names_the_old_one(
    project: Project, arrived: StandIn
) -> None:
    visits(project)
    project.sync("gone", "visits", {**EVENTS, "event_name": "other"})
    run_here(project)
    project.environment["OTHER_KEY"] = project.environment.pop("STATSIG_SERVER_SECRET")
    renamed(project, "visits", "gone", api_key_env="OTHER_KEY")
    assert "write renamed_from: {api_key_env: STATSIG_SERVER_SECRET} under" in refused(project)
    old = {"api_key_env": "STATSIG_SERVER_SECRET"}
    project.sync("visits", "visits", {**EVENTS, "api_key_env": "OTHER_KEY", "renamed_from": old})
    assert run_here(project)["results"][0]["planned"] == 0
    project.sync("goes_on", "visits", {**EVENTS, "event_name": "other", "api_key_env": "OTHER_KEY"})
    error = refused(project)
    assert "write renamed_from: {exposure: gone, api_key_env: STATSIG_SERVER_SECRET} under" in error


def test_a_second_sync_of_the_same_events_is_refused_but_not_one_to_another_project(
    project: Project, arrived: StandIn
) -> None:
    visits(project)
    run_here(project)
    project.sync("again", "visits", EVENTS)
    assert "from the same model, so each would count twice in Statsig. Take one of the two out." in refused(project)
    project.sync("again", "visits", {**EVENTS, "api_key_env": "SECOND_KEY"})
    assert project.plan(SECOND_KEY="secret-second")["refusals"] == []


def test_a_name_whose_history_another_sync_carries_on_is_refused(project: Project, arrived: StandIn) -> None:
    visits(project)
    run_here(project)
    renamed(project, "page_visits", "visits", renamed_from="visits")
    run_here(project)
    visits(project, rows=ROWS + 1)
    renamed(project, "page_visits", "page_visits")
    error = refused(project)
    assert error.startswith("visits: page_visits was called visits before")
    assert len(arrived.events()) == ROWS


def test_doubts_and_refused_rows_are_carried_on_and_resolve_settles_them(project: Project, arrived: StandIn) -> None:
    visits(project, rows=3, on_unknown="hold")
    arrived.fault("reset", when="after")
    run_here(project, expect=1)
    renamed(project, "page_visits", "visits", on_unknown="hold", renamed_from="visits")
    (planned,) = project.plan()["syncs"]
    assert (planned["first_run"], planned["events"], planned["in_doubt"]) == (False, 0, 3)
    said(project, "resolve", "page_visits", "--as", "sent")
    (planned,) = project.plan()["syncs"]
    assert (planned["events"], planned["in_doubt"]) == (0, 0)
    assert project.rows("select distinct sync_name, state from statsig_deliveries") == [("visits", "accepted")]


def test_events_that_went_again_under_the_new_name_are_in_doubt_no_longer(project: Project, arrived: StandIn) -> None:
    visits(project, rows=3)
    arrived.fault("reset", when="after", count=None)
    run_here(project, "--max-attempts", "1", expect=1)
    arrived.no_faults()
    renamed(project, "page_visits", "visits", renamed_from="visits")
    run_here(project)
    renamed(project, "page_visits", "visits", on_unknown="hold")
    (planned,) = project.plan()["syncs"]
    assert (planned["events"], planned["in_doubt"]) == (0, 0)


def test_prune_keeps_what_a_renamed_sync_carries_on(project: Project, arrived: StandIn) -> None:
    visits(project)
    run_here(project)
    renamed(project, "page_visits", "visits", renamed_from="visits")
    run_here(project)
    aged = ("statsig_run_log", "statsig_batch_log", "statsig_changelog")
    project.execute(*(f"update {name} set logged_at = logged_at - interval 400 day" for name in aged))
    visits(project, "page_visits", rows=ROWS - 9)
    renamed(project, "page_visits", "visits")
    said(project, "prune", "--older-than", "180d")
    assert project.rows("select count(*) from statsig_changelog") == [(ROWS - 9,)]
    assert run_here(project)["results"][0]["planned"] == 0


def test_a_renamed_segment_sync_knows_its_members_also_where_the_project_got_another_key_variable(
    project: Project, arrived: StandIn
) -> None:
    project.table("people", "select 'u' || range as user_id from range(5)")
    meta = {"object": "segment", "segment_id": "people", "mode": "mirror", "create_if_missing": True}
    project.sync("people", "people", meta)
    run_here(project)
    project.environment["OTHER_KEY"] = project.environment.pop("STATSIG_CONSOLE_API_KEY")
    project.no_sync("people")
    before = {"exposure": "people", "api_key_env": "STATSIG_CONSOLE_API_KEY"}
    project.sync("all_people", "people", {**meta, "api_key_env": "OTHER_KEY", "renamed_from": before})
    (planned,) = project.plan()["syncs"]
    assert (planned["first_run"], planned["adopted"], planned["members_before"], planned["adds"]) == (False, 0, 5, 0)
    project.table("people", "select 'u' || range as user_id from range(1, 6)")
    run_here(project)
    project.sync("all_people", "people", {**meta, "api_key_env": "OTHER_KEY"})
    assert arrived.ids("people") == {f"u{number}" for number in range(1, 6)}
    (planned,) = project.plan()["syncs"]
    assert (planned["members_before"], planned["adds"], planned["removes"]) == (5, 0, 0)
    finished = json.loads(said(project, "verify", "--json"))
    assert [one["has_drift"] for one in finished["segments"]] == [False]


# Ledgers that are not where they were.


@pytest.mark.parametrize("way", ["+schema", "target"])
def test_ledgers_in_another_schema_are_found_before_a_first_run(project: Project, arrived: StandIn, way: str) -> None:
    models = project.folder / "models"
    (models / "visits.sql").write_text("select range as id, 'ann' as user_id from range(99)")
    meta = {"statsig": {**EVENTS, "backfill": "all"}}
    exposure = {"name": "visits", "type": "application", "owner": {"name": "A"}, "depends_on": ["ref('visits')"]}
    (models / "visits.yml").write_text(json.dumps({"exposures": [{**exposure, "config": {"meta": meta}}]}))
    build(project)
    run_here(project)
    if way == "target":
        file = project.folder / "profiles.yml"
        profile = json.loads(file.read_text())["statsig_sync"]
        other = {**profile["outputs"]["dev"], "schema": "other"}
        file.write_text(json.dumps({"statsig_sync": {"target": "other", "outputs": {"other": other}}}))
    else:
        file = project.folder / "dbt_project.yml"
        folder = "    statsig:\n"
        file.write_text(file.read_text().replace(folder, f"{folder}      +schema: ledgers\n", 1))
    build(project)
    error = refused(project)
    assert "ledgers in the schema warehouse.main say that visits has sent 99 event(s)" in error
    assert "Set it back, or move the old ledgers here" in error
    assert len(arrived.events()) == ROWS


def build(project: Project) -> None:
    """Runs the real dbt build, without the tests of the ledgers."""
    built = dbt(project.folder, "build", "--exclude-resource-type", "unit_test", "test")
    assert built.returncode == 0, built.stdout + built.stderr


def test_a_sync_that_dbt_has_seen_before_is_not_new_where_the_ledgers_were_emptied(
    project: Project, arrived: StandIn
) -> None:
    visits(project)
    run_here(project)
    ledgers = ("statsig_run_log", "statsig_batch_log", "statsig_changelog")
    project.execute(*(f"delete from {name}" for name in ledgers))
    project.log_invocation(known_syncs='["others", "visits"]')
    assert "statsig_build_log knows of earlier runs" in refused(project, STATSIG_CONSOLE_API_KEY=None)
    assert len(arrived.events()) == ROWS


def test_a_deleted_database_is_told_by_statsig_where_a_console_key_is_there(
    project: Project, arrived: StandIn, built_ledgers: Path
) -> None:
    visits(project)
    run_here(project)
    shutil.copy(built_ledgers / "warehouse.duckdb", project.folder)
    project.logged.clear()
    visits(project)
    error = refused(project)
    assert "Statsig has 10 of 10 of its events that were looked up" in error
    assert "backfill: none, or a date" in error
    assert len(arrived.events()) == ROWS

    # Without the key the first run is asked about, and told.
    visits(project, backfill=None)
    assert "this is the first run" in refused(project, STATSIG_CONSOLE_API_KEY=None)
    visits(project)
    assert "visits: sending 99 keys, FIRST RUN" in said(project, "run", STATSIG_CONSOLE_API_KEY=None)


def test_events_of_the_same_name_that_others_sent_are_told_also_where_a_guard_refuses(
    project: Project, arrived: StandIn
) -> None:
    project.table("other", "select 'x' || range as id, 'bob' as user_id from range(7)")
    project.sync("other", "other", EVENTS)
    run_here(project)
    visits(project, guard={"max_events": 5})
    finished = command_here(project, "plan")
    assert finished.returncode == 3
    assert "Statsig has events named visit already: 7 on 20" in finished.stdout
    assert "refused: visits: it would send 99 event(s)" in finished.stdout
    visits(project)
    run_here(project)
    ((notes,),) = project.rows(
        "select distinct notes from statsig_run_log where sync_name = 'visits' and notes is not null"
    )
    assert notes.startswith("Statsig has events named visit already")


def test_statsig_that_cannot_be_asked_is_a_note_and_refuses_nothing(project: Project, arrived: StandIn) -> None:
    visits(project)
    arrived.fault("status", call="GET /console/v1/logs", count=None, status=403)
    found = project.run()["plan"]
    assert [note for note in found["notes"] if "could not be asked whether these events are there already" in note]
    assert len(arrived.events()) == ROWS


# What does not use a first run up, and what is lost.

SENDING_LEDGERS = ("statsig_run_log", "statsig_batch_log", "statsig_changelog")


def test_a_run_that_found_no_rows_leaves_the_first_run_to_the_next(project: Project, arrived: StandIn) -> None:
    visits(project)
    run_here(project)
    renamed(project, "page_visits", "visits")
    visits(project, "page_visits", rows=0)
    run_here(project)
    visits(project, "page_visits")
    assert "write renamed_from: visits" in refused(project)
    assert len(arrived.events()) == ROWS


def test_ledgers_that_were_lost_are_noticed_after_a_run_that_found_no_rows(project: Project, arrived: StandIn) -> None:
    visits(project)
    run_here(project)
    project.execute(*(f"delete from {ledger}" for ledger in SENDING_LEDGERS))
    visits(project, rows=0)
    project.log_invocation(known_syncs='["visits"]')
    run_here(project)
    visits(project)
    assert "statsig_build_log knows of earlier runs" in refused(project)
    assert len(arrived.events()) == ROWS


def test_backfill_counts_until_something_may_have_reached_statsig(project: Project, arrived: StandIn) -> None:
    visits(project)
    arrived.fault("status", call=LOG_EVENT, status=401, count=None)
    run_here(project, expect=1)
    arrived.no_faults()
    visits(project, backfill="none")
    assert "FIRST RUN" in said(project, "run")
    assert "FIRST RUN" not in said(project, "run")
    assert arrived.events() == []


@pytest.mark.parametrize("lost", SENDING_LEDGERS[1:])
def test_a_ledger_that_was_lost_alone_is_noticed(project: Project, arrived: StandIn, lost: str) -> None:
    visits(project)
    run_here(project)
    project.execute(f"delete from {lost}")
    assert "statsig_run_log says that 99 event(s) of its last runs were accepted" in refused(project)
    assert len(arrived.events()) == ROWS
    run_here(project, "--allow-events", "visits")


def test_events_under_the_name_of_a_former_segment_sync_run_for_the_first_time(project: Project) -> None:
    project.table("people", "select 'ann' as user_id")
    meta = {"object": "segment", "segment_id": "people", "mode": "mirror", "create_if_missing": True}
    project.sync("visits", "people", meta)
    run_here(project)
    visits(project, backfill=None)
    assert "this is the first run" in refused(project)


def test_another_sync_that_has_sent_the_same_keys_under_the_same_name_is_named(
    project: Project, arrived: StandIn
) -> None:
    visits(project)
    run_here(project)
    project.table("app", "select id, 'bob' as user_id, event_time from visits where id < 60")
    project.sync("app_visits", "app", EVENTS)
    message = refused(project, "--select", "app_visits")
    assert "visits has sent 60 of the same keys under the same event name" in message
    assert "not here" not in message
    (note,) = json.loads(said(project, "plan", "--json", STATSIG_CONSOLE_API_KEY=None))["notes"]
    assert "they count twice in Statsig" in note
