"""The sandbox over HTTP keeps Statsig's contract, and breaks it when asked to."""

from __future__ import annotations

import gzip
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests

from sync.sandbox import Keys, Settings, running
from sync.sandbox.command import _parser, _settings
from sync.sandbox.server import RunningSandbox

SECRET, CONSOLE_KEY, CLIENT_KEY = "secret-sandbox", "console-sandbox", "client-sandbox"
CONSOLE = {"STATSIG-API-KEY": CONSOLE_KEY, "STATSIG-API-VERSION": "20240601"}
EVENT = {"eventName": "order_completed", "value": 1, "user": {"userID": "ann"}, "metadata": {"sku": "a"}}
METADATA = {"sdkType": "test", "sdkVersion": "1"}


class Client:
    """Calls to one sandbox."""

    def __init__(self, url: str):
        self.url = url

    def log(self, *events: dict[str, Any], key: str = SECRET, **more: Any) -> requests.Response:
        body = json.dumps({"events": events, "statsigMetadata": METADATA}).encode()
        return self.log_bytes(gzip.compress(body), {"statsig-api-key": key, "Content-Encoding": "gzip"}, **more)

    def log_bytes(self, body: bytes, headers: dict[str, str], **more: Any) -> requests.Response:
        return requests.post(f"{self.url}/v1/log_event", data=body, headers=headers, timeout=30, **more)

    def console(self, method: str, path: str, body: Any = None, headers: dict[str, str] = CONSOLE) -> requests.Response:
        url = f"{self.url}/console/v1/segments{path}"
        return requests.request(method, url, json=body, headers=headers, timeout=30)

    def ask(self, path: str, headers: dict[str, str] = CONSOLE, **params: Any) -> requests.Response:
        return requests.get(f"{self.url}/console/v1/{path}", params=params, headers=headers, timeout=30)

    def logs(self, **params: Any) -> Any:
        response = self.ask("logs", source="events", **params)
        assert response.ok, response.text
        return response.json()

    def create(self, segment_id: str, **more: Any) -> None:
        body = {"name": segment_id, "type": "id_list", **more}
        assert self.console("POST", "", body).status_code == 201

    def put(self, segment_id: str, **more: Any) -> None:
        assert self.admin("POST", "/segments", {"id": segment_id, **more})["id"] == segment_id

    def change(self, method: str, segment_id: str, ids: list[str]) -> requests.Response:
        return self.console(method, f"/{segment_id}/id_list", {"ids": ids})

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        response = requests.request(method, f"{self.url}/sandbox{path}", json=body, timeout=30)
        assert response.ok, response.text
        return response.json()

    def ids(self, segment_id: str) -> list[str]:
        ids: list[str] = self.admin("GET", f"/segments/{segment_id}")["ids"]
        return ids

    def events(self) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = self.admin("GET", "/events")["events"]
        return events

    def fault(self, **fault: Any) -> None:
        self.faults({"fault": fault})

    def faults(self, *rules: dict[str, Any]) -> None:
        self.admin("POST", "/faults", {"rules": rules})


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with running() as sandbox:
        yield sandbox


@pytest.fixture
def client(sandbox: RunningSandbox) -> Client:
    client = Client(sandbox.url)
    client.admin("POST", "/reset")
    client.admin("POST", "/limits", {})
    client.admin("POST", "/settings", {"keep": "events"})
    return client


# Events.


def test_events_are_accepted_with_202(client: Client) -> None:
    response = client.log(EVENT, EVENT)
    assert (response.status_code, response.json()) == (202, {"success": True})
    assert response.headers["Content-Type"] == "application/json"


def test_events_that_are_sent_twice_count_twice(client: Client) -> None:
    client.log(EVENT)
    client.log(EVENT)
    assert [(event["number"], event["request"], event["event"]) for event in client.events()] == [
        (1, 1, EVENT),
        (2, 2, EVENT),
    ]


def test_a_body_may_come_without_compression(client: Client) -> None:
    body = json.dumps({"events": [EVENT], "statsigMetadata": METADATA}).encode()
    assert client.log_bytes(body, {"statsig-api-key": SECRET}).status_code == 202


@pytest.mark.parametrize("key", [CONSOLE_KEY, CLIENT_KEY, "secret-other", ""])
def test_events_need_the_server_secret(client: Client, key: str) -> None:
    response = client.log(EVENT, key=key)
    assert response.status_code == 401
    assert response.json()["status"] == 401
    assert client.events() == []


def test_one_bad_event_refuses_the_whole_request_naming_it(client: Client) -> None:
    response = client.log(EVENT, {**EVENT, "value": True})
    assert response.status_code == 400
    assert "`events[1].value`" in response.json()["message"]
    assert client.events() == []


def test_broken_gzip_is_refused(client: Client) -> None:
    headers = {"statsig-api-key": SECRET, "Content-Encoding": "gzip"}
    assert client.log_bytes(b"nope", headers).status_code == 400


def test_a_body_of_more_than_one_mebibyte_of_events_is_too_large(client: Client) -> None:
    # 1,024 of these are 1 MiB, which the envelope must not push over the limit.
    event = {**EVENT, "metadata": {"text": ""}}
    event["metadata"] = {"text": "x" * (1023 - len(json.dumps(event, separators=(",", ":"))))}

    def body(count: int) -> bytes:
        text = json.dumps({"events": [event] * count, "statsigMetadata": METADATA}, separators=(",", ":"))
        return gzip.compress(text.encode())

    headers = {"statsig-api-key": SECRET, "Content-Encoding": "gzip"}
    assert client.log_bytes(body(1024), headers).status_code == 202
    response = client.log_bytes(body(1032), headers)
    assert (response.status_code, response.json()["status"]) == (413, 413)


def test_events_that_statsig_would_drop_are_accepted_and_marked(client: Client) -> None:
    assert client.log({**EVENT, "eventName": "a;b"}, {**EVENT, "user": {"email": "a@b"}}, EVENT).status_code == 202
    assert [event["dropped"] for event in client.events()] == [
        "event name holds the forbidden character ';'",
        "user has no identifier",
        None,
    ]
    summary = client.admin("GET", "/summary")["events"]
    assert (summary["arrived"], summary["kept"], summary["by_name"]) == (3, 1, {"order_completed": 1})


def test_of_more_than_a_thousand_events_the_first_thousand_are_kept(client: Client) -> None:
    assert client.log(*[EVENT] * 1001).status_code == 202
    dropped = [event["number"] for event in client.events() if event["dropped"]]
    assert dropped == [1001]


def test_metadata_under_a_key_with_a_dot_is_lost_and_private_attributes_are_not_stored(client: Client) -> None:
    user = {"userID": "ann", "privateAttributes": {"income": 1}}
    client.log({**EVENT, "user": user, "metadata": {"a.b": "1", "c": "2"}})
    (arrival,) = client.events()
    assert arrival["lost_metadata_keys"] == ["a.b"]
    assert arrival["event"]["metadata"] == {"c": "2"}
    assert arrival["event"]["user"] == {"userID": "ann"}


def test_events_can_be_read_in_parts(client: Client) -> None:
    client.log(*[{**EVENT, "value": value} for value in range(10)])
    part = client.admin("GET", "/events?offset=3&limit=2")
    assert (part["total"], [arrival["event"]["value"] for arrival in part["events"]]) == (10, [3, 4])


def test_with_keep_counts_only_counts_are_kept(client: Client) -> None:
    client.admin("POST", "/settings", {"keep": "counts"})
    client.log(EVENT, EVENT)
    assert client.events() == []
    assert client.admin("GET", "/summary")["events"]["by_name"] == {"order_completed": 2}


# Segments.


def test_a_segment_is_created_described_and_filled(client: Client) -> None:
    body = {"name": "Repeat buyers", "type": "id_list", "idType": "companyID", "description": "d", "tags": ["t"]}
    created = client.console("POST", "", body)
    assert (created.status_code, created.json()["data"]["id"]) == (201, "repeat_buyers")
    assert client.change("PATCH", "repeat_buyers", ["a", "b"]).status_code == 200
    assert client.console("GET", "/repeat_buyers").json()["data"] == {
        "id": "repeat_buyers",
        "name": "Repeat buyers",
        "description": "d",
        "type": "id_list",
        "idType": "companyID",
        "count": 2,
        "isEnabled": True,
        "tags": ["t"],
    }


def test_adding_what_is_there_and_removing_what_is_not_succeed(client: Client) -> None:
    client.create("buyers")
    assert client.change("PATCH", "buyers", ["a", "b", "a"]).status_code == 200
    assert client.change("PATCH", "buyers", ["b", "c"]).status_code == 200
    assert client.change("DELETE", "buyers", ["a", "z"]).status_code == 200
    assert client.ids("buyers") == ["b", "c"]


def test_ids_are_compared_byte_for_byte(client: Client) -> None:
    client.create("buyers")
    client.change("PATCH", "buyers", ["42", "42.0", "Ann", "ann", "x", "x "])
    client.change("DELETE", "buyers", ["42.0", "ANN", "x "])
    assert client.ids("buyers") == ["42", "Ann", "ann", "x"]


def test_a_reset_replaces_all_ids(client: Client) -> None:
    client.create("buyers")
    client.change("PATCH", "buyers", ["a", "b"])
    ids = [f"n{number}" for number in range(2500)]
    assert client.console("POST", "/buyers/id_list/reset", {"ids": ids}).status_code == 200
    assert client.ids("buyers") == ids


def test_an_id_list_is_read_page_by_page(client: Client) -> None:
    client.put("buyers", ids=["a", "b", "c", "d", "e"])
    read: list[str] = []
    page: int | None = 1
    while page is not None:
        answer = client.console("GET", f"/buyers/id_list?limit=2&page={page}").json()
        read += answer["data"]["ids"]
        pagination = answer["pagination"]
        assert (pagination["totalItems"], pagination["pageNumber"], pagination["itemsPerPage"]) == (5, page, 2)
        page = page + 1 if pagination["nextPage"] else None
    assert read == ["a", "b", "c", "d", "e"]


def test_pages_end_exactly_where_the_list_does(client: Client) -> None:
    client.put("buyers", ids=["a", "b"])
    assert client.console("GET", "/buyers/id_list?limit=2&page=1").json()["pagination"]["nextPage"] is None
    assert client.console("GET", "/buyers/id_list?limit=2&page=2").json()["data"]["ids"] == []
    assert client.console("GET", "/buyers/id_list?limit=0").status_code == 400
    assert client.console("GET", "/buyers/id_list?page=x").status_code == 400


def test_a_page_holds_ten_ids_where_nothing_else_is_asked_for(client: Client) -> None:
    client.put("buyers", ids=[str(number) for number in range(25)])
    answer = client.console("GET", "/buyers/id_list").json()
    assert answer["data"]["ids"] == [str(number) for number in range(10)]
    assert (answer["data"]["count"], answer["pagination"]["itemsPerPage"]) == (25, 10)


def test_a_page_that_is_too_large_is_answered_with_fewer_ids_or_refused(client: Client) -> None:
    client.put("buyers", ids=["a", "b", "c"])
    client.admin("POST", "/settings", {"max_page": 2})
    answer = client.console("GET", "/buyers/id_list?limit=1000").json()
    assert (answer["data"]["ids"], answer["pagination"]["itemsPerPage"]) == (["a", "b"], 2)
    link = answer["pagination"]["nextPage"]
    last = requests.get(client.url + link, headers=CONSOLE, timeout=30).json()
    assert (last["data"]["ids"], last["pagination"]["nextPage"]) == (["c"], None)
    client.admin("POST", "/settings", {"large_pages": "refuse"})
    assert client.console("GET", "/buyers/id_list?limit=3").status_code == 400
    assert client.console("GET", "/buyers/id_list?limit=2").status_code == 200


def test_the_number_of_all_items_can_be_left_out_and_the_count_is_there_all_the_same(client: Client) -> None:
    client.put("buyers", ids=["a", "b", "c"])
    client.admin("POST", "/settings", {"total_items": False})
    answer = client.console("GET", "/buyers/id_list?limit=2").json()
    assert "totalItems" not in answer["pagination"]
    assert (answer["data"]["count"], answer["pagination"]["nextPage"] is None) == (3, False)


def test_the_thirteenth_page_of_ids_in_ten_seconds_is_refused() -> None:
    with running(Settings(clock=lambda: 1_700_000_000.0)) as still:
        client = Client(still.url)
        client.put("buyers", ids=["a"])
        statuses = [client.console("GET", "/buyers/id_list").status_code for _ in range(13)]
        assert statuses == [200] * 12 + [429]
        assert client.console("GET", "/buyers").status_code == 200
        assert client.change("PATCH", "buyers", ["b"]).status_code == 200


def test_only_an_id_list_has_pages_of_ids(client: Client) -> None:
    client.put("ruled", type="rule_based")
    assert client.console("GET", "/ruled/id_list").status_code == 400


def test_each_change_makes_a_new_version(client: Client) -> None:
    client.create("buyers")
    before = client.console("GET", "/buyers/idlist_metadata").json()["data"]
    client.change("PATCH", "buyers", ["a"])
    after = client.console("GET", "/buyers/idlist_metadata").json()["data"]
    assert after["currentVersion"] > before["currentVersion"]
    assert after["isUpdating"] is False


def test_a_segment_of_another_type_cannot_be_changed(client: Client) -> None:
    client.put("ruled", type="rule_based")
    expected = {"status": 400, "message": "Segment must be of type 'id_list' to be modified on this endpoint"}
    for response in (
        client.change("PATCH", "ruled", ["a"]),
        client.change("DELETE", "ruled", ["a"]),
        client.console("POST", "/ruled/id_list/reset", {"ids": []}),
    ):
        assert (response.status_code, response.json()) == (400, expected)


def test_an_unknown_segment_path_or_method_gets_a_json_error(client: Client) -> None:
    assert client.console("GET", "/nobody").json() == {"status": 404, "message": "Segment not found."}
    assert client.change("PATCH", "nobody", ["a"]).status_code == 404
    assert requests.get(f"{client.url}/v1/nothing", timeout=30).json()["status"] == 404
    assert client.console("PUT", "/x").json()["status"] == 405


@pytest.mark.parametrize("body", [None, {}, {"ids": []}, {"ids": [""]}, {"ids": [1]}, {"ids": "a"}, []])
def test_a_change_without_proper_ids_is_refused(client: Client, body: Any) -> None:
    client.create("buyers")
    response = client.console("PATCH", "/buyers/id_list", body)
    assert (response.status_code, response.json()["status"]) == (400, 400)


def test_a_change_takes_ten_thousand_ids_and_not_one_more(client: Client) -> None:
    client.create("buyers")
    ids = [str(number) for number in range(10_001)]
    assert client.change("PATCH", "buyers", ids).status_code == 400
    assert client.ids("buyers") == []
    assert client.change("PATCH", "buyers", ids[:-1]).status_code == 200
    assert len(client.ids("buyers")) == 10_000


def test_a_name_or_id_can_be_used_once(client: Client) -> None:
    client.create("buyers")
    assert client.console("POST", "", {"name": "buyers", "type": "id_list"}).status_code == 400
    assert client.console("POST", "", {"name": "other", "id": "buyers", "type": "id_list"}).status_code == 400


@pytest.mark.parametrize("key", [SECRET, CLIENT_KEY, "console-other", ""])
def test_segments_need_the_console_key_and_the_refusal_repeats_what_was_sent(client: Client, key: str) -> None:
    response = client.console("GET", "/x", headers={**CONSOLE, "STATSIG-API-KEY": key})
    assert response.status_code == 401
    assert key in response.json()["message"]


@pytest.mark.parametrize("version", [None, "20230101"])
def test_segments_need_the_api_version(client: Client, version: str | None) -> None:
    headers = {"STATSIG-API-KEY": CONSOLE_KEY, **({"STATSIG-API-VERSION": version} if version else {})}
    response = client.console("GET", "/x", headers=headers)
    assert response.status_code == 400
    assert "STATSIG-API-VERSION" in response.json()["message"]


def test_a_second_update_of_a_list_is_refused_while_one_is_in_progress(client: Client) -> None:
    client.create("buyers")
    client.create("others")
    client.admin("POST", "/settings", {"processing_seconds": 3600})
    with ThreadPoolExecutor() as pool:
        first = pool.submit(client.change, "PATCH", "buyers", ["a"])
        while not client.console("GET", "/buyers/idlist_metadata").json()["data"]["isUpdating"]:
            pass
        second = client.change("DELETE", "buyers", ["a"])
        assert (second.status_code, second.json()["status"]) == (409, 409)
        assert client.ids("buyers") == []
        client.admin("POST", "/settings", {"processing_seconds": 0})
        assert first.result().status_code == 200
    assert client.change("DELETE", "buyers", ["z"]).status_code == 200
    assert client.ids("buyers") == ["a"]


def test_an_update_that_takes_its_time_is_applied_in_the_end(client: Client) -> None:
    client.create("buyers")
    client.admin("POST", "/settings", {"processing_seconds": 0.01})
    assert client.change("PATCH", "buyers", ["a"]).status_code == 200
    assert client.ids("buyers") == ["a"]


def test_the_thirteenth_change_of_ids_in_ten_seconds_is_refused_with_retry_after(sandbox: RunningSandbox) -> None:
    # A clock that stands still: all calls fall into one window, however slow the machine is.
    with running(Settings(clock=lambda: 1_700_000_000.0)) as still:
        client = Client(still.url)
        client.create("buyers")
        statuses = [client.change("PATCH", "buyers", [str(number)]).status_code for number in range(13)]
        refused = client.change("DELETE", "buyers", ["1"])
    assert statuses == [200] * 12 + [429]
    assert (refused.status_code, refused.json()["status"]) == (429, 429)
    assert 10 <= int(refused.headers["Retry-After"]) <= 11


def test_limits_can_be_switched_off(client: Client) -> None:
    client.admin("POST", "/limits", {"enabled": False})
    client.create("buyers")
    assert {client.change("PATCH", "buyers", ["a"]).status_code for _ in range(30)} == {200}


def test_all_id_lists_together_hold_no_more_than_the_projects_limit() -> None:
    with running(Settings(max_project_ids=5)) as sandbox:
        client = Client(sandbox.url)
        client.create("one")
        client.create("two")
        assert client.change("PATCH", "one", ["a", "b", "c"]).status_code == 200
        assert client.change("PATCH", "two", ["a", "b", "c"]).status_code == 400
        assert client.change("PATCH", "one", ["a", "b", "c", "d", "e"]).status_code == 200
        assert client.console("POST", "/one/id_list/reset", {"ids": ["v", "w", "x", "y", "z"]}).status_code == 200
        assert client.change("PATCH", "two", ["a"]).status_code == 400
        assert client.ids("two") == []


def test_a_segment_keeps_who_it_belongs_to(client: Client) -> None:
    body = {"name": "buyers", "type": "id_list", "description": "d" * 1000, "team": "growth", "creatorEmail": "a@b.c"}
    created = client.console("POST", "", body).json()["data"]
    assert client.console("GET", "/buyers").json()["data"] == created
    assert (created["description"], created["team"], created["creatorEmail"]) == ("d" * 1000, "growth", "a@b.c")
    assert client.console("POST", "", {**body, "name": "others", "description": "d" * 1001}).status_code == 400


def test_a_segment_can_be_disabled_and_get_another_type(client: Client) -> None:
    client.put("buyers", ids=["a"], isEnabled=False)
    assert client.console("GET", "/buyers").json()["data"]["isEnabled"] is False
    assert client.change("PATCH", "buyers", ["b"]).status_code == 200
    client.admin("PATCH", "/segments/buyers", {"isEnabled": True, "type": "analysis_list"})
    shown = client.console("GET", "/buyers").json()["data"]
    assert (shown["isEnabled"], shown["type"]) == (True, "analysis_list")
    assert client.change("PATCH", "buyers", ["c"]).status_code == 400


def test_a_segment_that_was_deleted_is_gone_and_its_id_is_free(client: Client) -> None:
    client.put("buyers", ids=["a"])
    client.admin("DELETE", "/segments/buyers")
    for response in (
        client.console("GET", "/buyers"),
        client.console("GET", "/buyers/id_list"),
        client.change("PATCH", "buyers", ["a"]),
    ):
        assert (response.status_code, response.json()["message"]) == (404, "Segment not found.")
    assert requests.delete(f"{client.url}/sandbox/segments/buyers", timeout=30).status_code == 404
    client.create("buyers")
    assert client.ids("buyers") == []


@pytest.mark.parametrize("by", ["console api", "sandbox"])
def test_an_archived_segment_is_shown_as_such_and_its_list_cannot_be_changed(client: Client, by: str) -> None:
    client.put("buyers", ids=["a"])
    if by == "console api":
        archived = client.console("PUT", "/buyers/archive")
        assert (archived.status_code, archived.json()["message"]) == (200, "Segment archived successfully.")
    else:
        client.admin("PATCH", "/segments/buyers", {"isArchived": True})
    assert client.console("GET", "/buyers").json()["data"]["isArchived"] is True
    assert client.console("GET", "/buyers/id_list").json()["data"]["ids"] == ["a"]
    for response in (
        client.change("PATCH", "buyers", ["b"]),
        client.change("DELETE", "buyers", ["a"]),
        client.console("POST", "/buyers/id_list/reset", {"ids": []}),
    ):
        assert response.status_code == 400
        assert "archived" in response.json()["message"]
    assert client.ids("buyers") == ["a"]
    assert client.console("POST", "", {"name": "buyers", "type": "id_list"}).status_code == 400
    assert client.console("PUT", "/nobody/archive").status_code == 404


def test_limits_count_for_each_project_over_all_of_its_keys() -> None:
    def statuses(*keys: str) -> list[int]:
        return [
            client.console(
                "PATCH", "/buyers/id_list", {"ids": ["a"]}, {**CONSOLE, "STATSIG-API-KEY": keys[number % len(keys)]}
            ).status_code
            for number in range(13)
        ]

    keys = Keys(more=("console-2@sandbox", "console-3@shop", "console-4@shop", "console-5"))
    with running(Settings(clock=lambda: 1_700_000_000.0, keys=keys)) as still:
        client = Client(still.url)
        client.put("buyers")
        for of_one_project in ((CONSOLE_KEY, "console-2"), ("console-3", "console-4"), ("console-5",)):
            assert statuses(*of_one_project) == [200] * 12 + [429]


def test_statsigs_words_are_its_own(client: Client) -> None:
    client.create("buyers")
    assert [
        client.change("PATCH", "buyers", ["a"]).json()["message"],
        client.change("DELETE", "buyers", ["a"]).json()["message"],
        client.console("POST", "/buyers/id_list/reset", {"ids": []}).json()["message"],
        client.console("GET", "/buyers/idlist_metadata").json()["message"],
    ] == [
        "IDs successfully added to Segment ID List",
        "IDs successfully removed from Segment ID List",
        "Segment Reset reset successfully.",
        "ID List metadata read successfully",
    ]
    client.fault(kind="busy")
    assert client.change("PATCH", "buyers", ["a"]).json()["message"] == (
        "Another update is already in progress for this ID list"
    )


# The project.


def test_a_project_has_environments_and_production_is_always_one(client: Client) -> None:
    def names() -> list[tuple[str, bool]]:
        found = client.ask("environments").json()["data"]["environments"]
        return [(one["name"], one["isProduction"]) for one in found]

    assert names() == [("development", False), ("staging", False), ("production", True)]
    client.admin("POST", "/settings", {"environments": ["QA", "load test"]})
    assert names() == [("QA", False), ("load test", False), ("production", True)]
    client.admin("POST", "/settings", {"environments": ["Production"]})
    assert names() == [("Production", True)]


def test_events_are_taken_for_the_projects_environments_only(client: Client) -> None:
    def status(tier: str) -> int:
        return client.log({**EVENT, "user": {"userID": "ann", "statsigEnvironment": {"tier": tier}}}).status_code

    assert [status(tier) for tier in ("production", "staging", "Development", "qa")] == [202, 202, 202, 400]
    client.admin("POST", "/settings", {"environments": ["QA"]})
    assert [status(tier) for tier in ("production", "staging", "qa", "QA")] == [202, 400, 202, 202]


def test_a_project_has_the_id_types_it_was_given_and_those_of_its_segments(client: Client) -> None:
    client.put("buyers", idType="companyID")
    client.admin("POST", "/settings", {"unit_id_types": ["userID", "accountID"]})
    answer = client.ask("unit_id_types").json()
    assert [one["name"] for one in answer["data"]] == ["userID", "accountID", "companyID"]
    assert (answer["pagination"]["itemsPerPage"], answer["pagination"]["totalItems"]) == (100, 3)


def test_a_project_says_whether_changes_need_a_review(client: Client) -> None:
    assert client.ask("settings/reviews").json()["data"]["is_config_review_required"] is False
    client.admin("POST", "/settings", {"reviews_required": True})
    assert client.ask("settings/reviews").json()["data"]["is_config_review_required"] is True


def test_audit_logs_say_who_has_changed_a_list_newest_first() -> None:
    moments = iter([1_700_000_000.0 + 86_400 * number for number in range(1000)])
    day = next(moments)

    def clock() -> float:
        return day

    with running(Settings(clock=clock, keys=Keys(more=("console-2@sandbox",)))) as still:
        client = Client(still.url)
        client.put("buyers", ids=["a", "b"])
        client.change("PATCH", "buyers", ["b", "c"])
        day = next(moments)
        headers = {**CONSOLE, "STATSIG-API-KEY": "console-2"}
        client.console("DELETE", "/buyers/id_list", {"ids": ["a"]}, headers)
        client.put("buyers", ids=["z"], updatedBy="Ann")
        found = client.ask("audit_logs", actionType="ID_list_update").json()["data"]
        assert [(one["name"], one["updatedBy"], one["changes"]["count"]) for one in found] == [
            ("buyers", "Ann", {"old": 2, "new": 1}),
            ("buyers", "Console API key 2", {"old": 3, "new": 2}),
            ("buyers", "Console API key 1", {"old": 2, "new": 3}),
            ("buyers", "Console user", {"old": 0, "new": 2}),
        ]
        assert (found[1]["date"], found[1]["time"]) == (
            "Wed Nov 15 2023",
            "22:13:20 GMT+0000 (Coordinated Universal Time)",
        )
        later = client.ask("audit_logs", actionType="ID_list_update", startDate="2023-11-15").json()
        assert [one["updatedBy"] for one in later["data"]] == ["Ann", "Console API key 2"]
        earlier = client.ask("audit_logs", actionType="ID_list_update", endDate="2023-11-14").json()
        assert len(earlier["data"]) == 2
        assert client.ask("audit_logs", actionType="gate_create").json()["data"] == []
        assert client.ask("audit_logs", startDate="yesterday").status_code == 400


def test_a_change_that_was_refused_is_in_no_audit_log(client: Client) -> None:
    client.create("buyers")
    client.change("PATCH", "buyers", [""])
    client.faults({"fault": {"kind": "busy"}, "match": {"path": "*/id_list"}})
    client.change("PATCH", "buyers", ["a"])
    assert client.ask("audit_logs").json()["data"] == []


# What has arrived.


def test_logs_find_an_event_by_its_name_and_its_metadata(client: Client) -> None:
    client.log({**EVENT, "metadata": {"order_id": "1"}}, {**EVENT, "metadata": {"order_id": "2"}})
    query = 'event_name:order_completed AND @order_id:"2"'
    answer = client.logs(query=query, columns="timestamp,metadata.order_id,metadata.nothing")
    (row,) = answer["data"]
    assert answer["columns"] == ["timestamp", "metadata.order_id", "metadata.nothing"]
    assert row["fields"] == {"timestamp": row["timestamp"], "metadata.order_id": "2", "metadata.nothing": None}
    assert {name: row[name] for name in ("event_name", "user_id", "value", "sdk_type", "sdk_version")} == {
        "event_name": "order_completed",
        "user_id": "ann",
        "value": "1",
        "sdk_type": "test",
        "sdk_version": "1",
    }
    assert answer["pagination"] == {"next_cursor": None, "has_more": False}
    assert answer["message"] == "Logs listed successfully."


def test_logs_look_at_the_last_hour_where_nothing_else_is_asked_for() -> None:
    with running(Settings(clock=lambda: 1_700_000_000.0)) as still:
        client = Client(still.url)
        now = 1_700_000_000_000
        client.log(*[{**EVENT, "value": age, "time": now - age * 60_000} for age in (0, 59, 60, 61, 120)])
        assert [row["value"] for row in client.logs()["data"]] == ["0", "59", "60"]
        assert [row["value"] for row in client.logs(end_ts=now - 3_660_000)["data"]] == ["61", "120"]
        assert len(client.logs(start_ts=0)["data"]) == 5
        assert client.logs(start_ts=0, end_ts=0)["data"] == []


def test_logs_are_read_page_by_page_with_a_cursor(client: Client) -> None:
    client.log(*[{**EVENT, "value": value} for value in range(7)])
    read: list[str] = []
    more: dict[str, str] = {}
    while True:
        answer = client.logs(limit=3, **more)
        read += [row["value"] for row in answer["data"]]
        if not answer["pagination"]["has_more"]:
            break
        more = {"after": answer["pagination"]["next_cursor"]}
    assert answer["pagination"]["next_cursor"] is None
    assert read == ["6", "5", "4", "3", "2", "1", "0"]


@pytest.mark.parametrize(
    "params",
    [
        {"limit": 0},
        {"limit": 1001},
        {"limit": "many"},
        {"start_ts": "2026-01-01"},
        {"start_ts": 2, "end_ts": 1},
        {"after": "nonsense!"},
        # Rows 100,001 and -1.
        {"after": "eyJpbmRleCI6MTAwMDAxfQ"},
        {"after": "eyJpbmRleCI6LTF9"},
        {"query": "#event_name:a"},
        {"query": ""},
        {"source": "people"},
    ],
)
def test_logs_refuse_what_is_not_allowed(client: Client, params: dict[str, Any]) -> None:
    response = client.ask("logs", **{"source": "events", **params})
    assert (response.status_code, response.json()["status"]) == (400, 400)


def test_a_cursor_may_be_a_hundred_thousand_rows_deep(client: Client) -> None:
    assert client.logs(after="eyJpbmRleCI6MTAwMDAwfQ")["data"] == []


def test_there_are_events_and_neither_logs_nor_spans(client: Client) -> None:
    client.log(EVENT)
    assert client.ask("logs").json()["data"] == []
    assert client.ask("logs", source="spans").json()["data"] == []


def test_metrics_count_the_events_of_a_pacific_day(client: Client) -> None:
    client.log({**EVENT, "time": "2026-07-15T06:59:00Z"}, {**EVENT, "time": "2026-07-15T07:00:00Z"})
    client.log({**EVENT, "time": "2026-07-15T12:00:00Z"}, {**EVENT, "eventName": "a;b"})

    def count(day: str, **more: str) -> list[tuple[str, int]]:
        asked = {"metricName": "order_completed", "metricType": "event_count", **more}
        answer = client.ask("metrics/values", date=day, **asked).json()
        return [(row["unitType"], row["value"]) for row in answer]

    assert count("2026-07-14") == [("overall", 1), ("userID", 1)]
    assert count("2026-07-15") == [("overall", 2), ("userID", 2)]
    assert count("2026-07-16") == []
    assert count("2026-07-15", metricName="view") == []
    assert count("2026-07-15", metricType="sum") == []
    for day in ("", "15.07.2026", "2026-13-01"):
        assert client.ask("metrics/values", date=day).status_code == 400
    assert client.ask("metrics/values").status_code == 400


def test_metrics_of_many_events_come_in_pages(client: Client) -> None:
    client.log(*[{**EVENT, "eventName": f"event_{number}", "time": "2026-07-15T12:00:00Z"} for number in range(12)])
    pages = [client.ask("metrics/values", date="2026-07-15", page=page).json() for page in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [10, 10, 4, 0]
    assert [row["metricName"] for row in pages[2]] == ["event_8", "event_8", "event_9", "event_9"]


def test_logs_and_metrics_can_be_late_and_logs_sampled_and_forgetful() -> None:
    now = 1_700_000_000.0

    def clock() -> float:
        return now

    def seen() -> tuple[int, list[int]]:
        values = client.ask("metrics/values", date="2023-11-14", metricName="order_completed").json()
        return len(client.logs(start_ts=0)["data"]), [row["value"] for row in values if row["unitType"] == "overall"]

    with running(Settings(clock=clock, logs_lag_seconds=60, metrics_lag_seconds=3600)) as moving:
        client = Client(moving.url)
        client.log(EVENT, EVENT)
        assert seen() == (0, [])
        now += 60
        assert seen() == (2, [])
        now += 3540
        assert seen() == (2, [2])
        client.admin("POST", "/settings", {"logs_retention_seconds": 3600})
        assert seen() == (0, [2])
        client.admin("POST", "/settings", {"logs_retention_seconds": None, "logs_sample_percent": 0})
        assert seen() == (0, [2])
        client.admin("POST", "/settings", {"logs_sample_percent": 100})
        assert seen() == (2, [2])


def test_metrics_are_there_where_only_counts_are_kept(client: Client) -> None:
    client.admin("POST", "/settings", {"keep": "counts"})
    client.log({**EVENT, "time": "2026-07-15T12:00:00Z"})
    assert client.ask("metrics/values", date="2026-07-15").json()[0]["value"] == 1
    assert client.logs(start_ts=0)["data"] == []


def test_events_can_be_taken_and_dropped_without_a_word(client: Client) -> None:
    client.admin("POST", "/settings", {"drop_events_named": "order_*"})
    assert client.log(EVENT, {**EVENT, "eventName": "view"}).json() == {"success": True}
    assert [row["event_name"] for row in client.logs()["data"]] == ["view"]
    client.admin("POST", "/settings", {"drop_events_named": None})
    client.log(EVENT)
    assert client.admin("GET", "/summary")["events"]["by_name"] == {"view": 1, "order_completed": 1}


def test_a_drop_fault_takes_a_whole_request_and_keeps_none_of_it(client: Client) -> None:
    client.create("buyers")
    client.faults({"fault": {"kind": "drop"}, "match": {"nth": [1, 3]}})
    assert [client.log(EVENT).status_code for _ in range(2)] == [202, 202]
    assert client.change("PATCH", "buyers", ["a"]).status_code == 200
    assert client.ids("buyers") == ["a"]
    assert [arrival["dropped"] is None for arrival in client.events()] == [False, True]
    assert client.log({**EVENT, "value": True}).status_code == 400


@pytest.mark.parametrize(
    "path", ["environments", "unit_id_types", "settings/reviews", "audit_logs", "logs", "metrics/values"]
)
def test_every_console_call_needs_the_key_and_the_version_and_only_some_are_limited(client: Client, path: str) -> None:
    assert client.ask(path, {**CONSOLE, "STATSIG-API-KEY": SECRET}, date="2026-01-01").status_code == 401
    assert client.ask(path, {"STATSIG-API-KEY": CONSOLE_KEY}, date="2026-01-01").status_code == 400
    assert {client.ask(path, date="2026-01-01").status_code for _ in range(20)} == {200}


# What was asked.


def test_requests_are_listed_without_any_key(client: Client) -> None:
    client.create("buyers")
    client.change("PATCH", "buyers", ["a", "b"])
    client.log(EVENT, EVENT, EVENT, key=CLIENT_KEY)
    client.log(EVENT, EVENT)
    requests.get(f"{client.url}/v1/download_config_specs/{SECRET}.json", timeout=30)
    listed = requests.get(f"{client.url}/sandbox/requests", timeout=30)
    rows = [(row["method"], row["path"], row["status"], row["events"], row["ids"]) for row in listed.json()["requests"]]
    assert rows == [
        ("POST", "/console/v1/segments", 201, None, None),
        ("PATCH", "/console/v1/segments/buyers/id_list", 200, None, 2),
        ("POST", "/v1/log_event", 401, None, None),
        ("POST", "/v1/log_event", 202, 2, None),
        ("GET", "/v1/download_config_specs/secret-***.json", 200, None, None),
    ]
    assert not any(key in listed.text for key in (SECRET, CONSOLE_KEY, CLIENT_KEY))


def test_a_reset_of_the_sandbox_forgets_everything(client: Client) -> None:
    client.create("buyers")
    client.log(EVENT)
    client.fault(kind="reset")
    client.admin("POST", "/reset")
    summary = client.admin("GET", "/summary")
    assert (summary["events"]["arrived"], summary["segments"], summary["requests"]["count"]) == (0, {}, 0)
    assert client.log(EVENT).status_code == 202


def test_segments_can_be_prepared_and_read_with_their_members(client: Client) -> None:
    client.put("buyers", ids=["a", "b"], idType="stableID", name="Buyers")
    client.put("ruled", type="rule_based")
    client.put("buyers", ids=["c"])
    listed = client.admin("GET", "/segments")["segments"]
    rows = [(segment["id"], segment["type"], segment["idType"], segment["ids"]) for segment in listed]
    assert sorted(rows) == [("buyers", "id_list", "userID", ["c"]), ("ruled", "rule_based", "userID", [])]


def test_an_offset_that_is_not_a_number_is_refused(client: Client) -> None:
    assert requests.get(f"{client.url}/sandbox/events?offset=x", timeout=30).status_code == 400


def test_an_admin_call_with_an_unknown_option_is_refused(client: Client) -> None:
    for path in ("segments", "faults", "limits", "settings"):
        response = requests.post(f"{client.url}/sandbox/{path}", json={"id": "x", "nonsense": 1}, timeout=30)
        assert (response.status_code, response.json()["status"]) == (400, 400)


# Faults.


def test_a_status_can_come_instead_of_the_request_being_applied(client: Client) -> None:
    client.fault(kind="status", status=503, body='{"success": false}')
    response = client.log(EVENT)
    assert (response.status_code, response.json()) == (503, {"success": False})
    assert client.events() == []


def test_a_status_can_come_after_the_request_was_applied(client: Client) -> None:
    client.fault(kind="status", status=500, when="after")
    assert client.log(EVENT).status_code == 500
    assert len(client.events()) == 1


def test_retry_after_comes_as_seconds_or_as_an_http_date(client: Client) -> None:
    client.fault(kind="status", status=429, retry_after=7)
    assert client.log(EVENT).headers["Retry-After"] == "7"
    client.fault(kind="status", status=429, retry_after=7, retry_after_form="http_date")
    headers = client.log(EVENT).headers
    wait = parsedate_to_datetime(headers["Retry-After"]) - parsedate_to_datetime(headers["Date"])
    assert 6 <= wait.total_seconds() <= 9


@pytest.mark.parametrize(("when", "arrived"), [("before", 0), ("after", 1)])
def test_a_connection_can_be_reset_before_or_after_the_request_was_applied(
    client: Client, when: str, arrived: int
) -> None:
    client.fault(kind="reset", when=when)
    with pytest.raises(requests.ConnectionError) as caught:
        client.log(EVENT)
    assert "reset by peer" in str(caught.value)
    assert len(client.events()) == arrived
    (row,) = client.admin("GET", "/requests")["requests"]
    assert (row["status"], row["applied"], row["fault"]) == (None, when == "after", "reset")


def test_a_large_request_is_read_to_its_end_before_its_connection_is_reset(client: Client) -> None:
    client.fault(kind="reset")
    with pytest.raises(requests.ConnectionError) as caught:
        client.log_bytes(b"x" * 5_000_000, {"statsig-api-key": SECRET})
    assert "reset by peer" in str(caught.value)


def test_a_reset_closes_one_connection_and_no_other(client: Client) -> None:
    client.faults({"fault": {"kind": "reset"}, "match": {"path": "/v1/log_event"}})
    with requests.Session() as session:
        assert session.get(f"{client.url}/v1/nothing", timeout=30).status_code == 404
        with pytest.raises(requests.ConnectionError):
            client.log(EVENT)
        assert session.get(f"{client.url}/v1/nothing", timeout=30).status_code == 404


def test_an_answer_can_be_cut_short(client: Client) -> None:
    client.fault(kind="truncate")
    response = client.log(EVENT, stream=True)
    assert response.status_code == 202
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        _ = response.content
    assert len(client.events()) == 1


@pytest.mark.parametrize("body", ["<html>Sign in</html>", '{"success": false}', '{"success": tr'])
def test_a_success_can_have_a_wrong_body(client: Client, body: str) -> None:
    client.fault(kind="body", body=body, headers={"Content-Type": "text/html"})
    response = client.log(EVENT)
    assert (response.status_code, response.text, response.headers["Content-Type"]) == (200, body, "text/html")
    assert client.events() == []


def test_a_slow_answer_is_whole_in_the_end(client: Client) -> None:
    client.fault(kind="slow_body", seconds=0.01)
    assert client.log(EVENT).json() == {"success": True}


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_delay_outlasts_a_client_that_does_not_wait(client: Client, when: str) -> None:
    client.fault(kind="delay", seconds=3600, when=when)
    body = json.dumps({"events": [EVENT], "statsigMetadata": METADATA})
    with pytest.raises(requests.ReadTimeout):
        requests.post(f"{client.url}/v1/log_event", data=body, headers={"statsig-api-key": SECRET}, timeout=(30, 0.5))
    while when == "after" and not client.events():
        pass
    assert len(client.events()) == (1 if when == "after" else 0)


def test_a_short_delay_changes_nothing_else(client: Client) -> None:
    client.fault(kind="delay", seconds=0.01)
    assert client.log(EVENT).status_code == 202
    assert len(client.events()) == 1


def test_a_list_can_be_called_busy(client: Client) -> None:
    client.create("buyers")
    client.fault(kind="busy")
    assert client.change("PATCH", "buyers", ["a"]).status_code == 409
    assert client.ids("buyers") == []


def test_faults_hit_what_their_rule_matches_and_are_listed(client: Client) -> None:
    rule = {"fault": {"kind": "status", "status": 502}, "match": {"method": "POST", "path": "/v1/*", "nth": [2]}}
    client.faults(rule)
    assert [client.log(EVENT).status_code for _ in range(3)] == [202, 502, 202]
    (fired,) = client.admin("GET", "/faults")["fired"]
    assert (fired["request"], fired["path"], fired["rule"], fired["fault"]["status"]) == (2, "/v1/log_event", 0, 502)


def test_faults_never_touch_the_sandboxs_own_calls(client: Client) -> None:
    client.fault(kind="reset")
    assert client.admin("GET", "/summary")["requests"]["count"] == 0


def test_a_random_profile_repeats_itself_for_the_same_seed(client: Client) -> None:
    def outcomes() -> list[str]:
        client.admin("POST", "/reset")
        client.admin("POST", "/faults", {"random": {"seed": 11, "probability": 0.5, "max_seconds": 0.001}})
        return [outcome() for _ in range(40)]

    def outcome() -> str:
        try:
            response = client.log(EVENT)
            return f"{response.status_code} {response.text}"
        except requests.RequestException as error:
            return type(error).__name__

    first = outcomes()
    fired = [(row["request"], row["fault"]) for row in client.admin("GET", "/faults")["fired"]]
    assert outcomes() == first
    assert [(row["request"], row["fault"]) for row in client.admin("GET", "/faults")["fired"]] == fired
    assert len(set(first)) > 4


# The command.


def start(*arguments: str) -> subprocess.Popen[str]:
    code = "import sys; from sync.sandbox import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def url_from(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("statsig-sandbox listening on http://127.0.0.1:"), line
    return line.split()[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_says_where_it_listens_and_stops_on_a_signal(number: signal.Signals) -> None:
    process = start("--port", "0", "--server-secret", "secret-mine", "--console-key", "console-mine")
    client = Client(url_from(process))
    assert client.log(EVENT).status_code == 401
    assert client.log(EVENT, key="secret-mine").status_code == 202
    assert client.console("GET", "/x", headers={**CONSOLE, "STATSIG-API-KEY": "console-mine"}).status_code == 404
    process.send_signal(number)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (0, "")
    assert errors.splitlines() == [
        "POST /v1/log_event 401",
        "POST /v1/log_event 202",
        "GET /console/v1/segments/x 404",
    ]


def test_the_command_stops_while_a_request_is_under_way() -> None:
    process = start("--port", "0", "--quiet", "--no-limits", "--keep", "counts", "--max-ids", "2")
    client = Client(url_from(process))
    client.create("buyers")
    assert client.change("PATCH", "buyers", ["a", "b", "c"]).status_code == 400
    client.admin("POST", "/settings", {"processing_seconds": 3600})
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(client.change, "PATCH", "buyers", ["a"])
        while not client.console("GET", "/buyers/idlist_metadata").json()["data"]["isUpdating"]:
            pass
        process.terminate()
        output, _ = process.communicate(timeout=30)
        assert (process.returncode, output) == (0, "")
        assert (
            isinstance(waiting.exception(timeout=30), requests.RequestException) or waiting.result().status_code >= 500
        )


def test_the_command_says_when_its_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start("--port", str(port))
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (1, "")
    assert f"127.0.0.1:{port}" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("arguments", [("--port", "70000"), ("--port", "x"), ("--max-ids", "100001"), ("--nonsense",)])
def test_the_command_refuses_wrong_arguments(arguments: tuple[str, ...]) -> None:
    process = start(*arguments)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (2, "")
    assert arguments[0] in errors
    assert "Traceback" not in errors


def test_the_command_says_what_to_install_when_its_packages_are_missing() -> None:
    code = "import sys; sys.modules['uvicorn'] = None; from sync.sandbox import main; sys.exit(main([]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "pip install 'statsig-sync[sandbox]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_importing_the_sandbox_loads_neither_a_server_nor_the_rest_of_the_project() -> None:
    code = "import sys, sync.sandbox; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded = [name for name in done.stdout.split() if name.split(".")[0] in ("sync", "uvicorn", "starlette")]
    assert sorted(loaded) == ["sync", "sync.sandbox", "sync.sandbox.settings"]


def test_keys_of_further_projects_are_right_each_for_what_it_starts_with() -> None:
    settings = _settings(_parser().parse_args(["--more-keys", "secret-2", "console-2", "--more-keys", "other-2"]))
    assert SECRET not in repr(settings)
    with running(settings) as sandbox:
        client = Client(sandbox.url)
        for keys in ((SECRET, CONSOLE_KEY), ("secret-2", "console-2")):
            assert client.log(EVENT, key=keys[0]).status_code == 202
            headers = {**CONSOLE, "STATSIG-API-KEY": keys[1]}
            assert client.console("GET", "/nobody", headers=headers).status_code == 404
        for keys in (("console-2", "secret-2"), ("other-2", "other-2")):
            assert client.log(EVENT, key=keys[0]).status_code == 401
            headers = {**CONSOLE, "STATSIG-API-KEY": keys[1]}
            assert client.console("GET", "/nobody", headers=headers).status_code == 401


def test_keys_are_not_in_the_settings_text() -> None:
    assert "secret" not in repr(Settings(keys=Keys("secret-a", "console-b", "client-c"))).replace("server_secret", "")
