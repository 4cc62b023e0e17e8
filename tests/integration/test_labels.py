"""A new segment says what its exposure says."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.harness import Project
from tests.integration.in_process import command_here, run_here
from tests.integration.scripted import Asked, Said, scripted

MADE = {"name": "people", "id": "people", "type": "id_list", "idType": "userID"}


def people(project: Project, **exposure: Any) -> None:
    """A sync that makes its segment, whose exposure says this of itself."""
    project.table("people", "select 'ann' as user_id")
    meta = {"object": "segment", "segment_id": "people", "mode": "add", "create_if_missing": True}
    project.sync("people", "people", meta, **exposure)


@pytest.fixture
def labelled(project: Project) -> Project:
    people(project, description="Who buys often. " * 100, owner_email="growth@example.com", tags=["growth", "pii"])
    return project


class Statsig:
    """The Console API for one new list; ``refused`` are parts of a new segment that it answers with 400.

    ``made`` are the segments that it was asked to make.
    """

    def __init__(self, *refused: str, message: str = "creatorEmail is no member") -> None:
        self.refused, self.message = refused, message
        self.made: list[Any] = []
        self.is_there = False

    def __call__(self, asked: Asked) -> Said:
        if asked.method == "GET" and self.is_there:
            return 200, {"message": "ok", "data": {**MADE}}
        if asked.method == "GET":
            return 404, {"status": 404, "message": "Segment not found"}
        if asked.method != "POST":
            return 200, {"message": "ok"}
        self.made.append(asked.body)
        if set(self.refused) & set(asked.body):
            return 400, {"status": 400, "message": self.message}
        self.is_there = True
        return 201, {"message": "made", "data": {**MADE}}


def test_a_new_segment_has_its_exposures_description_tags_and_owner(labelled: Project) -> None:
    with scripted(Statsig()) as server:
        ran = run_here(labelled, STATSIG_CONSOLE_URL=server.url)
        (made,) = server.answer.made
    assert made == {
        **MADE,
        "description": ("Who buys often. " * 100)[:1000],
        "tags": ["growth", "pii"],
        "creatorEmail": "growth@example.com",
    }
    assert ran["results"][0]["message"] is None


@pytest.mark.parametrize("refused", ["creatorEmail", "tags", "description"])
def test_where_statsig_refuses_them_the_segment_is_made_without_and_a_warning_says_so(
    labelled: Project, refused: str
) -> None:
    with scripted(Statsig(refused)) as server:
        finished = command_here(labelled, "run", STATSIG_CONSOLE_URL=server.url)
        assert [set(made) == set(MADE) for made in server.answer.made] == [False, True]
    assert finished.returncode == 0
    assert "1 of 1 delivered" in finished.stdout
    assert "arning: segment 'people' was made without the exposure's description, tags and owner" in finished.stdout
    assert "creatorEmail is no member" in finished.stdout
    ((state, message),) = labelled.rows("select state, message from statsig_run_log where message is not null")
    assert (state, message.startswith("warning: segment 'people'")) == ("finished", True)


def test_an_exposure_that_says_nothing_makes_a_plain_segment_and_a_refusal_of_that_is_final(project: Project) -> None:
    people(project)
    with scripted(Statsig("name", message="name is taken")) as server:
        (result,) = run_here(project, expect=1, STATSIG_CONSOLE_URL=server.url)["results"]
        assert server.answer.made == [MADE]
    assert (result["state"], "name is taken" in result["message"]) == ("failed", True)


def test_a_description_that_changes_is_no_other_sync(labelled: Project) -> None:
    with scripted(Statsig()) as server:
        run_here(labelled, STATSIG_CONSOLE_URL=server.url)
        people(labelled, description="Another one.")
        assert run_here(labelled, STATSIG_CONSOLE_URL=server.url)["plan"]["syncs"][0]["adds"] == 0
