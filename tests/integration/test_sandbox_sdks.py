"""Statsig's official server SDKs, pointed at the sandbox, say who is in a segment."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import requests
import statsig
import statsig_python_core
from statsig.statsig_server import StatsigServer

from sync.sandbox import running
from sync.sandbox.server import RunningSandbox
from tests.integration.sdk import (
    SERVER_SECRET,
    core_options,
    members_according_to_core_sdk,
    members_according_to_legacy_sdk,
)

CONSOLE = {"STATSIG-API-KEY": "console-sandbox", "STATSIG-API-VERSION": "20240601"}
MembersAccordingTo = Callable[..., set[str]]


@pytest.fixture
def sandbox() -> Iterator[RunningSandbox]:
    with running() as sandbox:
        yield sandbox


@pytest.fixture(params=[members_according_to_legacy_sdk, members_according_to_core_sdk], ids=["statsig", "core"])
def members(request: pytest.FixtureRequest) -> MembersAccordingTo:
    function: MembersAccordingTo = request.param
    return function


def make_segment(sandbox: RunningSandbox, segment_id: str, id_type: str = "userID") -> str:
    url = f"{sandbox.url}/console/v1/segments"
    body = {"name": segment_id, "type": "id_list", "idType": id_type}
    assert requests.post(url, json=body, headers=CONSOLE, timeout=10).status_code == 201
    return f"{url}/{segment_id}/id_list"


def change(method: str, url: str, ids: list[str]) -> None:
    assert requests.request(method, url, json={"ids": ids}, headers=CONSOLE, timeout=10).status_code == 200


def test_sdk_finds_exactly_the_ids_that_were_added_and_not_removed(
    sandbox: RunningSandbox, members: MembersAccordingTo
) -> None:
    id_list = make_segment(sandbox, "buyers")
    change("PATCH", id_list, ["ann", "bob", "42", "zoë"])
    change("DELETE", id_list, ["bob"])
    asked = ["ann", "bob", "42", "zoë", "Ann", "42.0", "ann ", "eve"]
    assert members(sandbox.url, "buyers", asked) == {"ann", "42", "zoë"}


@pytest.mark.parametrize("id_type", ["stableID", "companyID"])
def test_sdk_finds_ids_of_other_id_types(sandbox: RunningSandbox, members: MembersAccordingTo, id_type: str) -> None:
    change("PATCH", make_segment(sandbox, "devices", id_type), ["one"])
    assert members(sandbox.url, "devices", ["one", "two"], id_type) == {"one"}
    assert members(sandbox.url, "devices", ["one"], "userID") == set()


def test_sdk_sees_a_segment_under_its_own_name_and_as_statsig_names_it(
    sandbox: RunningSandbox, members: MembersAccordingTo
) -> None:
    change("PATCH", make_segment(sandbox, "buyers"), ["ann"])
    assert members(sandbox.url, "segment:buyers", ["ann", "bob"]) == {"ann"}


def test_sdk_finds_only_the_new_ids_after_a_reset(sandbox: RunningSandbox, members: MembersAccordingTo) -> None:
    id_list = make_segment(sandbox, "buyers")
    change("PATCH", id_list, ["ann", "bob"])
    change("POST", f"{id_list}/reset", ["bob", "cy"])
    assert members(sandbox.url, "buyers", ["ann", "bob", "cy"]) == {"bob", "cy"}


def test_an_empty_list_does_not_keep_the_sdk_from_reading_others(
    sandbox: RunningSandbox, members: MembersAccordingTo
) -> None:
    make_segment(sandbox, "aaa_empty")
    change("PATCH", make_segment(sandbox, "buyers"), ["ann"])
    assert members(sandbox.url, "aaa_empty", ["ann"]) == set()
    assert members(sandbox.url, "buyers", ["ann"]) == {"ann"}


def test_sdk_with_another_key_finds_nobody(sandbox: RunningSandbox) -> None:
    # The core SDK would report its failure to Statsig's own address, which no option switches off.
    change("PATCH", make_segment(sandbox, "buyers"), ["ann"])
    other = "secret-of-another-project"
    assert members_according_to_legacy_sdk(sandbox.url, "buyers", ["ann"], server_secret=other) == set()


@pytest.mark.parametrize("key", ["console-sandbox", "client-sandbox", "secret-of-another-project"])
def test_what_sdks_download_needs_the_server_secret(sandbox: RunningSandbox, key: str) -> None:
    for path in (f"v1/download_config_specs/{key}.json", f"v2/download_config_specs/{key}.json"):
        assert requests.get(f"{sandbox.url}/{path}", timeout=10).status_code == 401
    response = requests.post(f"{sandbox.url}/v1/get_id_lists", headers={"STATSIG-API-KEY": key}, timeout=10)
    assert response.status_code == 401


def test_a_range_beyond_the_end_of_a_list_is_refused(sandbox: RunningSandbox) -> None:
    change("PATCH", make_segment(sandbox, "buyers"), ["ann"])
    key = {"STATSIG-API-KEY": SERVER_SECRET}
    lists = requests.post(f"{sandbox.url}/v1/get_id_lists", headers=key, timeout=10).json()
    assert lists["buyers"]["size"] == 10
    assert len(requests.get(lists["buyers"]["url"], timeout=10).content) == 10
    beyond = requests.get(lists["buyers"]["url"], headers={"Range": "bytes=10-"}, timeout=10)
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, "bytes */10")


def test_a_reset_gives_the_list_a_new_file_and_ends_the_old_one(sandbox: RunningSandbox) -> None:
    id_list = make_segment(sandbox, "buyers")
    change("PATCH", id_list, ["ann", "bob"])
    key = {"STATSIG-API-KEY": SERVER_SECRET}
    before = requests.post(f"{sandbox.url}/v1/get_id_lists", headers=key, timeout=10).json()["buyers"]
    change("POST", f"{id_list}/reset", ["bob"])
    after = requests.post(f"{sandbox.url}/v1/get_id_lists", headers=key, timeout=10).json()["buyers"]
    assert after["fileID"] != before["fileID"]
    assert after["creationTime"] > before["creationTime"]
    assert requests.get(before["url"], timeout=10).status_code == 404


def test_specs_that_have_not_changed_are_not_sent_again(sandbox: RunningSandbox) -> None:
    make_segment(sandbox, "buyers")
    for version in ("v1", "v2"):
        url = f"{sandbox.url}/{version}/download_config_specs/{SERVER_SECRET}.json"
        since = requests.get(url, timeout=10).json()["time"]
        assert requests.get(f"{url}?sinceTime={since}", timeout=10).json() == {"has_updates": False}
    make_segment(sandbox, "others")
    assert requests.get(f"{url}?sinceTime={since}", timeout=10).json()["has_updates"] is True


def test_a_running_sdk_reads_only_what_the_list_has_grown_by(sandbox: RunningSandbox) -> None:
    id_list = make_segment(sandbox, "buyers")
    change("PATCH", id_list, ["ann", "bob"])
    options = statsig.StatsigOptions(
        api=f"{sandbox.url}/v1/", proxy_configs={}, disable_all_logging=True, disable_diagnostics=True
    )
    server = StatsigServer()
    server.initialize(SERVER_SECRET, options)
    try:
        change("DELETE", id_list, ["ann"])
        change("PATCH", id_list, ["cy"])
        # What the SDK's own timer calls.
        server._spec_store.spec_updater.download_id_lists()
        passing = [name for name in ("ann", "bob", "cy") if server.check_gate(statsig.StatsigUser(name), "buyers")]
    finally:
        server.shutdown()
    assert passing == ["bob", "cy"]
    downloads = [entry for entry in sandbox.state.journal.entries if "download_id_list_file" in entry.path]
    assert [entry.headers["range"] for entry in downloads] == ["bytes=0-", "bytes=20-"]
    assert [entry.status for entry in downloads] == [206, 206]


def test_what_the_legacy_sdk_logs_by_itself_is_kept_apart_from_custom_events(sandbox: RunningSandbox) -> None:
    change("PATCH", make_segment(sandbox, "buyers"), ["ann"])
    options = statsig.StatsigOptions(api=f"{sandbox.url}/v1/", proxy_configs={})
    server = StatsigServer()
    server.initialize(SERVER_SECRET, options)
    server.check_gate(statsig.StatsigUser("ann"), "buyers")
    server.log_event(statsig.StatsigEvent(statsig.StatsigUser("ann"), "order_completed", 12.5, {"sku": "a"}))
    server.shutdown()
    assert_events_are_apart(sandbox)


def test_what_the_core_sdk_logs_by_itself_is_kept_apart_from_custom_events(sandbox: RunningSandbox) -> None:
    change("PATCH", make_segment(sandbox, "buyers"), ["ann"])
    server = statsig_python_core.Statsig(SERVER_SECRET, core_options(sandbox.url))
    server.initialize().wait()
    ann = statsig_python_core.StatsigUser("ann")
    server.check_gate(ann, "buyers")
    server.log_event(ann, "order_completed", 12.5, {"sku": "a"})
    server.flush_events().wait()
    server.shutdown().wait()
    assert_events_are_apart(sandbox)


def assert_events_are_apart(sandbox: RunningSandbox) -> None:
    custom = requests.get(f"{sandbox.url}/sandbox/events", timeout=10).json()["events"]
    assert [arrival["event"]["eventName"] for arrival in custom] == ["order_completed"]
    assert (custom[0]["event"]["value"], custom[0]["event"]["metadata"]) == (12.5, {"sku": "a"})
    own = requests.get(f"{sandbox.url}/sandbox/events?sdk=true", timeout=10)
    names = {arrival["event"]["eventName"] for arrival in own.json()["events"]}
    assert "statsig::gate_exposure" in names
    assert all(name.startswith("statsig::") for name in names)
    assert SERVER_SECRET not in own.text


@pytest.mark.parametrize("attributes", [{"isEnabled": False}, {"isArchived": True}])
def test_sdk_finds_nobody_in_a_segment_that_is_disabled_or_archived(
    sandbox: RunningSandbox, members: MembersAccordingTo, attributes: dict[str, bool]
) -> None:
    for segment in ("buyers", "others"):
        change("PATCH", make_segment(sandbox, segment), ["ann"])
    requests.patch(f"{sandbox.url}/sandbox/segments/buyers", json=attributes, timeout=10).raise_for_status()
    assert members(sandbox.url, "others", ["ann"]) == {"ann"}
    assert members(sandbox.url, "buyers", ["ann"]) == set()
