"""Environments of a Statsig project's own: taken after Statsig was asked, or with a warning."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.harness import Project
from tests.integration.in_process import command_here, run_here
from tests.integration.scripted import Asked, Said, scripted
from tests.integration.stand_in import StandIn

READ_ENVIRONMENTS = "GET /console/v1/environments"


def visits(project: Project, name: str = "visits", **more: Any) -> None:
    """A sync with one event."""
    project.table(name, "select 1 as id, 'ann' as user_id")
    project.sync(name, name, {"object": "events", "unique_key": "id", "event_name": "visit", **more})


def test_an_environment_that_the_project_has_is_taken(project: Project, arrived: StandIn) -> None:
    arrived.environments("production", "qa", "Pre-Prod 2")
    visits(project, environment="qa")
    visits(project, "others", environment="Pre-Prod 2")
    assert command_here(project, "check").returncode == 0
    # Once for all syncs of a project.
    assert len(arrived.requests(READ_ENVIRONMENTS)) == 1
    ran = run_here(project)
    assert ran["plan"]["warnings"] == []
    assert sorted(event["user"]["statsigEnvironment"]["tier"] for event in arrived.events()) == ["Pre-Prod 2", "qa"]


def test_an_environment_on_a_later_page_is_taken_and_one_on_none_is_a_fault(project: Project) -> None:
    def answer(asked: Asked) -> Said:
        is_first = "page" not in asked.parameters
        names = ["production", "staging"] if is_first else ["qa"]
        following = "/console/v1/environments?page=2" if is_first else None
        data = {"environments": [{"name": name} for name in names]}
        return 200, {"message": "ok", "data": data, "pagination": {"nextPage": following}}

    visits(project, environment="qa")
    with scripted(answer) as server:
        project.environment["STATSIG_CONSOLE_URL"] = server.url
        assert command_here(project, "check").returncode == 0
        visits(project, environment="eu")
        refused = command_here(project, "check")
    assert refused.returncode == 2
    assert "They are: production, staging, qa." in refused.stderr


@pytest.mark.parametrize("command", ["check", "plan", "run"])
def test_an_environment_that_the_project_does_not_have_is_a_fault_before_anything_is_sent(
    project: Project, arrived: StandIn, command: str
) -> None:
    arrived.environments("production", "staging", "qa-1")
    visits(project, environment="qa1")
    visits(project, "others", environment="qa-1")
    refused = command_here(project, command)
    assert refused.returncode == 2
    assert "exposure visits: config.meta.statsig.environment: is 'qa1'" in refused.stderr
    assert "Did you mean 'qa-1'?" in refused.stderr
    assert "production, staging, qa-1" in refused.stderr
    assert "exposure others" not in refused.stderr
    assert arrived.events() == []


@pytest.mark.parametrize("environment", ["production", "staging", "development"])
def test_the_usual_environments_need_no_question(project: Project, arrived: StandIn, environment: str) -> None:
    visits(project, environment=environment)
    assert command_here(project, "check").returncode == 0
    run_here(project)
    assert arrived.requests(READ_ENVIRONMENTS) == []


def test_nothing_is_asked_where_nothing_is_sent(project: Project, arrived: StandIn) -> None:
    arrived.environments("production", "qa")
    visits(project, environment="qa")
    run_here(project)
    run_here(project)
    assert len(arrived.requests(READ_ENVIRONMENTS)) == 1


def test_without_a_console_key_a_warning_says_that_it_could_not_be_checked(project: Project, arrived: StandIn) -> None:
    arrived.environments("production", "prodution")
    visits(project, environment="prodution")
    checked = command_here(project, "check", STATSIG_CONSOLE_API_KEY=None)
    assert checked.returncode == 0
    assert "environment 'prodution' could not be checked" in checked.stdout
    (warning,) = run_here(project, STATSIG_CONSOLE_API_KEY=None)["plan"]["warnings"]
    assert warning.startswith("visits: environment 'prodution' could not be checked: there is no Console API Key")
    assert "Did you mean 'production'?" in warning
    assert len(arrived.events()) == 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"kind": "status", "status": 403}, "does not accept the key in STATSIG_CONSOLE_API_KEY"),
        ({"kind": "body", "body": '{"message": "ok", "data": {}}'}, "names no environments"),
    ],
    ids=["403", "another answer"],
)
def test_what_statsig_does_not_say_is_a_warning(
    project: Project, arrived: StandIn, fault: dict[str, Any], said: str
) -> None:
    arrived.environments("production", "qa")
    visits(project, environment="qa")
    arrived.fault(**fault, call=READ_ENVIRONMENTS, count=None)
    (warning,) = run_here(project)["plan"]["warnings"]
    assert said in warning
    assert len(arrived.events()) == 1


def test_the_console_key_is_that_of_the_segment_syncs_of_the_same_statsig_project(
    project: Project, arrived: StandIn
) -> None:
    arrived.environments("production", "qa")
    visits(project, environment="qa", statsig_project="shop")
    arrived.put_segment("people")
    project.table("people", "select 'ann' as user_id")
    meta = {"object": "segment", "segment_id": "people", "mode": "add", "statsig_project": "shop"}
    project.sync("people", "people", {**meta, "api_key_env": "SHOP_CONSOLE_KEY"})
    keys = {"SHOP_CONSOLE_KEY": "console-sandbox", "STATSIG_CONSOLE_API_KEY": None}
    assert run_here(project, **keys)["plan"]["warnings"] == []
    assert len(arrived.requests(READ_ENVIRONMENTS)) == 1
