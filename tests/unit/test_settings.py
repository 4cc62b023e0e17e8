"""What the environment says: keys and addresses."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.edges.settings import Endpoint, Secret, console_endpoint, console_key_faults, endpoint, key_faults
from sync.errors import ConfigError, Fault
from sync.spec.model import EventConfig, SegmentConfig, Sync

SERVER_SECRET, CONSOLE_KEY = "secret-s3rv3r", "console-c0ns0l3"
KEYS = {"STATSIG_SERVER_SECRET": SERVER_SECRET, "STATSIG_CONSOLE_API_KEY": CONSOLE_KEY}


def events(name: str = "orders", **settings: Any) -> Sync:
    config = EventConfig.model_validate({"object": "events", "unique_key": "id", **settings})
    return Sync(name, "e.yml", "model.shop.orders", config)


def segment(name: str = "buyers", **settings: Any) -> Sync:
    base = {"object": "segment", "segment_id": "buyers", "mode": "add"}
    return Sync(name, "e.yml", "model.shop.buyers", SegmentConfig.model_validate({**base, **settings}))


def the_fault(sync: Sync, environment: dict[str, str]) -> Fault:
    (fault,) = key_faults([sync], environment)
    return fault


def test_events_and_segments_have_each_their_key_and_statsigs_address() -> None:
    assert key_faults([events(), segment()], KEYS) == []
    for sync, url, key in (
        (events(), "https://events.statsigapi.net", SERVER_SECRET),
        (segment(), "https://statsigapi.net", CONSOLE_KEY),
    ):
        found = endpoint(sync, KEYS)
        assert (found.url, found.required_key.reveal(), found.project) == (url, key, "statsig")


WANTED = [
    (events(), "STATSIG_SERVER_SECRET", "Server Secret Key", "secret-"),
    (segment(), "STATSIG_CONSOLE_API_KEY", "Console API Key", "console-"),
]


@pytest.mark.parametrize(("sync", "variable", "kind", "prefix"), WANTED)
@pytest.mark.parametrize(
    "value", [None, "", "  ", "client-cl13nt", "s3cr3t-without-a-prefix", "SECRET-upper", "Bearer x", "\u00a7ecret-"]
)
def test_a_key_that_is_missing_or_odd_gets_a_message_that_says_which_is_wanted_and_where_it_is_found(
    sync: Sync, variable: str, kind: str, prefix: str, value: str | None
) -> None:
    fault = the_fault(sync, {} if value is None else {variable: value})
    assert (fault.subject, fault.key) == ("environment", variable)
    assert kind in fault.message
    assert f"'{prefix}'" in fault.message
    assert "Project Settings > Keys & Environments" in fault.message
    assert not value or not value.strip() or value not in fault.message


@pytest.mark.parametrize(
    ("sync", "variable", "value", "said"),
    [
        (events(), "STATSIG_SERVER_SECRET", CONSOLE_KEY, "a Console API Key"),
        (segment(), "STATSIG_CONSOLE_API_KEY", SERVER_SECRET, "a Server Secret Key"),
        (events(), "STATSIG_SERVER_SECRET", "client-cl13nt", "a Client SDK Key, which is never valid here"),
        (segment(), "STATSIG_CONSOLE_API_KEY", "client-cl13nt", "a Client SDK Key, which is never valid here"),
    ],
)
def test_a_swapped_key_or_a_clients_key_is_told_by_its_kind(sync: Sync, variable: str, value: str, said: str) -> None:
    fault = the_fault(sync, {variable: value})
    assert said in fault.message
    assert value not in fault.message


@pytest.mark.parametrize("rest", ["", "a b", "a\nHost: evil.example", "a\r\nx", "a\0b", "\u00fc"])
def test_a_key_that_no_header_can_carry_is_no_key(rest: str) -> None:
    fault = the_fault(events(), {"STATSIG_SERVER_SECRET": f"secret-{rest}"})
    assert "is not a key" in fault.message
    assert not rest or rest not in fault.message


def test_white_space_around_a_key_does_not_belong_to_it() -> None:
    assert endpoint(events(), {"STATSIG_SERVER_SECRET": f" {SERVER_SECRET}\n"}).required_key.reveal() == SERVER_SECRET


def test_another_variable_can_hold_the_key_of_a_second_project() -> None:
    sync = events(api_key_env="SHOP_SECRET")
    found = endpoint(sync, {**KEYS, "SHOP_SECRET": "secret-sh0p"})
    assert (found.key_variable, found.required_key.reveal()) == ("SHOP_SECRET", "secret-sh0p")
    assert found.project == "statsig:SHOP_SECRET"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "SHOP_SECRET: is not set"),
        ({"SHOP_SECRET": CONSOLE_KEY}, "SHOP_SECRET: holds a Console API Key"),
        ({"SHOP_SECRET_FILE": "nowhere"}, "SHOP_SECRET_FILE: does not name a file"),
    ],
)
def test_a_fault_of_a_key_whose_variable_an_exposure_names_says_which_exposure_does(
    environment: dict[str, str], said: str
) -> None:
    faults = key_faults([events(api_key_env="SHOP_SECRET"), events("visits", api_key_env="SHOP_SECRET")], environment)
    # What is to be mended is one variable.
    (fault,) = faults
    assert (fault.where, fault.subject, fault.key) == (
        "e.yml",
        "exposure orders",
        "config.meta.statsig.api_key_env",
    )
    assert fault.message.startswith(said)
    assert CONSOLE_KEY not in fault.message


def shared(syncs: list[Sync], environment: dict[str, str]) -> list[tuple[str, str]]:
    """Subject and message of each fault of one selected sync, when these are all of the project's."""
    faults = key_faults(syncs[:1], environment, syncs)
    keys = {f"config.meta.statsig.{key}" for key in ("api_key_env", "statsig_project")}
    assert {fault.key for fault in faults} <= keys
    assert not [key for key in environment.values() if key in "".join(map(str, faults))]
    return [(fault.subject, fault.message) for fault in faults]


@pytest.mark.parametrize("make", [events, segment])
def test_one_key_in_two_variables_is_a_fault_that_does_not_show_it(make: Callable[..., Sync]) -> None:
    (usual,) = {"STATSIG_SERVER_SECRET", "STATSIG_CONSOLE_API_KEY"} & {endpoint(make(), KEYS).key_variable}
    one, two, three = make("one"), make("two", api_key_env="TWO"), make("three", api_key_env="THREE")
    key = KEYS[usual]
    for syncs in ([one, two], [two, one]):
        ((subject, message),) = shared(syncs, {usual: key, "TWO": f"{key} "})
        assert subject == "exposure two"
        assert message.startswith(f"TWO: holds the same key as {usual}")
        assert f"api_key_env: {usual}" in message
    ((subject, message),) = shared([two, three], {usual: key, "TWO": key + "2", "THREE": key + "2"})
    assert (subject, message.split(",")[0]) == ("exposure three", "THREE: holds the same key as TWO")
    assert len(shared([one, two, three], {usual: key, "TWO": key, "THREE": key})) == 2


def test_keys_that_differ_are_not_set_or_are_of_two_kinds_are_no_keys_in_two_variables() -> None:
    other, another = segment("other", api_key_env="OTHER"), segment("another", api_key_env="ANOTHER")
    assert shared([segment(), other], {**KEYS, "OTHER": CONSOLE_KEY + "2"}) == []
    assert shared([segment(), other, another], KEYS) == []
    assert shared([segment(), other], {**KEYS, "OTHER_FILE": "nowhere"}) == []
    assert shared([segment(), segment("same", api_key_env="STATSIG_CONSOLE_API_KEY")], KEYS) == []
    assert shared([other, segment("same", api_key_env="OTHER")], {"OTHER": CONSOLE_KEY}) == []


@pytest.mark.parametrize("make", [events, segment])
def test_one_key_in_two_variables_is_no_fault_where_both_name_one_statsig_project(make: Callable[..., Sync]) -> None:
    one, two = make("one", api_key_env="ONE"), make("two", api_key_env="TWO")
    key = KEYS[endpoint(make(), KEYS).key_variable]
    named = [replace(sync, config=sync.config.model_copy(update={"statsig_project": "shop"})) for sync in (one, two)]
    environment = {"ONE": key, "TWO": key}
    assert shared(named, environment) == []
    assert {endpoint(sync, environment).project for sync in named} == {"statsig:shop"}
    # Where only one of them names it, the ledgers would know it by two names.
    ((subject, message),) = shared([named[0], two], environment)
    assert (subject, "Write statsig_project: shop" in message) == ("exposure two", True)


@pytest.mark.parametrize("make", [events, segment])
def test_one_variable_cannot_hold_the_key_of_two_statsig_projects(make: Callable[..., Sync]) -> None:
    shop, blog = make("shop", statsig_project="shop"), make("blog", statsig_project="blog")
    environment = {**KEYS, "SECOND": KEYS[endpoint(make(), KEYS).key_variable] + "2"}
    for syncs in ([make("plain"), shop], [shop, blog]):
        ((_, message),) = shared(syncs, environment)
        assert "the same statsig_project in both, or in neither" in message
    assert shared([shop, make("blog", statsig_project="blog", api_key_env="SECOND")], environment) == []


def test_a_projects_console_key_is_that_of_its_segment_syncs_else_the_usual_one() -> None:
    environment = {**KEYS, "SECOND": CONSOLE_KEY + "2"}

    def variable(sync: Sync, *segments: Sync) -> str | None:
        found = console_endpoint(sync, [sync, *segments], environment)
        return found.key_variable if found is not None else None

    usual, second = segment(), segment("second", api_key_env="SECOND", statsig_project="shop")
    assert variable(events()) == variable(events(), usual, second) == "STATSIG_CONSOLE_API_KEY"
    assert variable(events(statsig_project="shop"), second) == "SECOND"
    assert variable(events(statsig_project="shop", api_key_env="S2"), usual, second) == "SECOND"
    # Whose Console key that is cannot be told.
    assert variable(events(api_key_env="S2"), usual, second) is None
    assert variable(events(statsig_project="blog"), usual) is None
    assert variable(events(statsig_project="blog")) == "STATSIG_CONSOLE_API_KEY"
    no_key = {key: value for key, value in KEYS.items() if key != "STATSIG_CONSOLE_API_KEY"}
    assert console_endpoint(events(), [], no_key) is None
    assert console_endpoint(events(), [], {**no_key, "STATSIG_CONSOLE_API_KEY": " "}) is None
    found = console_endpoint(events(statsig_project="blog"), [], KEYS)
    assert found is not None
    assert (found.project, found.url) == ("statsig:blog", "https://statsigapi.net")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (f'"{CONSOLE_KEY}"', "in quotes"),
        (f"\ufeff{CONSOLE_KEY}", "byte order mark"),
        (SERVER_SECRET, "holds a Server Secret Key; segments and questions about events need a Console API Key"),
        ("client-cl13nt", "holds a Client SDK Key"),
        ("nonsense", "does not start with 'console-'"),
    ],
)
def test_a_console_key_that_is_set_and_is_none_is_a_fault_of_event_syncs_too(value: str, said: str) -> None:
    environment = {**KEYS, "STATSIG_CONSOLE_API_KEY": value}
    asking = [events(), events("visits"), events("orders", on_unknown="ask")]
    (fault,) = console_key_faults(asking, asking, environment, is_asking=True)
    assert (fault.subject, fault.key) == ("environment", "STATSIG_CONSOLE_API_KEY")
    assert said in fault.message
    assert value not in str(fault)
    with pytest.raises(ConfigError):
        console_endpoint(events(), [], environment)
    # With the segment syncs of the project, it is one fault.
    assert console_key_faults([events()], [segment()], environment, is_asking=True) == key_faults(
        [segment()], environment
    )


def test_a_console_key_that_is_not_set_is_missed_only_by_syncs_that_ask() -> None:
    environment = {"STATSIG_SERVER_SECRET": SERVER_SECRET}
    asking = events("asking", on_unknown="ask")
    assert console_key_faults([events(), segment()], [], environment, is_asking=True) == []
    assert console_key_faults([asking], [], environment, is_asking=False) == []
    (fault,) = console_key_faults([events(), asking], [], environment, is_asking=True)
    assert (fault.subject, fault.key) == ("exposure asking", "config.meta.statsig.on_unknown")


def test_a_fault_of_a_segments_console_key_names_its_variable_to_event_syncs(tmp_path: Path) -> None:
    shop = {"statsig_project": "shop"}
    own = segment("people", api_key_env="SHOP_KEY", **shop)
    (tmp_path / "key").write_text(" \n")
    for environment, said in (
        ({"SHOP_KEY": SERVER_SECRET}, "SHOP_KEY: holds a Server Secret Key"),
        ({"SHOP_KEY_FILE": str(tmp_path / "key")}, "SHOP_KEY_FILE: names a file that is empty"),
        ({"SHOP_KEY_FILE": str(tmp_path / "nowhere")}, "SHOP_KEY_FILE: does not name a file"),
    ):
        (fault,) = console_key_faults([events(**shop)], [own], environment, is_asking=False)
        assert fault.subject == "exposure people"
        assert fault.message.startswith(said)


def test_naming_the_usual_variable_does_not_make_another_project() -> None:
    assert endpoint(events(api_key_env="STATSIG_SERVER_SECRET"), KEYS).project == endpoint(events(), KEYS).project


def test_a_key_that_two_syncs_miss_is_asked_for_once() -> None:
    assert len(key_faults([events(), events(), segment(), segment()], {})) == 2


def test_a_key_can_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{SERVER_SECRET}\n")
    environment = {"STATSIG_SERVER_SECRET_FILE": str(tmp_path / "key")}
    assert key_faults([events()], environment) == []
    assert endpoint(events(), environment).required_key.reveal() == SERVER_SECRET


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_holds_no_key_is_a_fault(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    fault = the_fault(events(), {"STATSIG_SERVER_SECRET_FILE": str(tmp_path / "key")})
    assert fault.key == "STATSIG_SERVER_SECRET_FILE"


@pytest.mark.parametrize("content", ["", " \n"])
@pytest.mark.parametrize("sync", [events(), segment()])
def test_a_key_file_without_a_key_is_said_to_be_empty(tmp_path: Path, sync: Sync, content: str) -> None:
    (tmp_path / "key").write_text(content)
    variable = f"{endpoint(sync, KEYS).key_variable}_FILE"
    fault = the_fault(sync, {variable: str(tmp_path / "key")})
    assert (fault.key, fault.message) == (variable, "names a file that is empty. Write the key into it.")


# What programs put around a key, and what is said of it.
AROUND = [
    ("\ufeff{}", "byte order mark"),
    ("\ufeff{}\r\n", "byte order mark"),
    ('\ufeff"{}"', "byte order mark"),
    ('"{}"', "in quotes"),
    ("'{}'\n", "in quotes"),
    ('"{}', "in quotes"),
    ("{}'", "in quotes"),
    ("`{}`", "in quotes"),
    ("\u201c{}\u201d", "in quotes"),
]


@pytest.mark.parametrize(("form", "said"), AROUND)
@pytest.mark.parametrize("sync", [events(), segment(), events(api_key_env="SHOP_SECRET")])
def test_what_came_along_with_a_key_is_told_and_the_key_is_not(
    tmp_path: Path, sync: Sync, form: str, said: str
) -> None:
    config = sync.config
    usual = "STATSIG_SERVER_SECRET" if config.object == "events" else "STATSIG_CONSOLE_API_KEY"
    variable = config.api_key_env or usual
    key = SERVER_SECRET if config.object == "events" else CONSOLE_KEY
    (tmp_path / "key").write_text(form.format(key), encoding="utf-8", newline="")
    in_variable = the_fault(sync, {variable: form.format(key)})
    in_file = the_fault(sync, {f"{variable}_FILE": str(tmp_path / "key")})
    for fault, name in ((in_variable, variable), (in_file, f"{variable}_FILE")):
        assert name in (fault.key, fault.message.split(":")[0])
        assert said in fault.message
        assert key not in str(fault)
    assert "variable" in in_variable.message
    assert "names a file whose content" in in_file.message


def test_the_key_of_a_file_is_told_by_its_kind_under_the_files_variable(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(CONSOLE_KEY)
    fault = the_fault(events(), {"STATSIG_SERVER_SECRET_FILE": str(tmp_path / "key")})
    assert fault.key == "STATSIG_SERVER_SECRET_FILE"
    assert "holds a Console API Key" in fault.message


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_a_key_file_that_is_not_in_utf_8_is_said_to_be_so(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "key").write_text(SERVER_SECRET, encoding=encoding)
    fault = the_fault(events(), {"STATSIG_SERVER_SECRET_FILE": str(tmp_path / "key")})
    assert fault.key == "STATSIG_SERVER_SECRET_FILE"
    assert "not text in UTF-8" in fault.message


SOCKS = "socks5://proxy.shop:1080"


@pytest.mark.parametrize(
    ("proxies", "variable"),
    [
        ({"ALL_PROXY": SOCKS}, "ALL_PROXY"),
        ({"all_proxy": SOCKS, "ALL_PROXY": "http://proxy.shop"}, "all_proxy"),
        ({"HTTPS_PROXY": SOCKS}, "HTTPS_PROXY"),
        ({"https_proxy": "socks5h://ann:s3cr3t@proxy.shop"}, "https_proxy"),
        ({"HTTPS_PROXY": "SOCKS4://proxy.shop", "NO_PROXY": "shop.example"}, "HTTPS_PROXY"),
        ({"HTTPS_PROXY": "", "ALL_PROXY": SOCKS}, "ALL_PROXY"),
    ],
)
@pytest.mark.parametrize("sync", [events(), segment()])
def test_a_socks_proxy_without_its_package_is_a_fault(sync: Sync, proxies: dict[str, str], variable: str) -> None:
    fault = the_fault(sync, {**KEYS, **proxies})
    assert fault.key == variable
    assert "pip install 'requests[socks]'" in fault.message
    assert "s3cr3t" not in str(fault)


@pytest.mark.parametrize(
    "proxies",
    [
        {"HTTP_PROXY": SOCKS},
        {"HTTPS_PROXY": "http://proxy.shop", "ALL_PROXY": SOCKS},
        {"https_proxy": "http://proxy.shop", "HTTPS_PROXY": SOCKS},
        {"ALL_PROXY": SOCKS, "NO_PROXY": "statsigapi.net"},
        {"ALL_PROXY": SOCKS, "no_proxy": "events.statsigapi.net"},
        {"ALL_PROXY": SOCKS, "NO_PROXY": "*"},
        {"ALL_PROXY": SOCKS, "STATSIG_EVENTS_URL": "http://127.0.0.1:8191"},
        {"ALL_PROXY": SOCKS, "STATSIG_EVENTS_URL": "http://localhost:8191"},
        {"ALL_PROXY": ""},
    ],
)
def test_a_socks_proxy_that_the_way_does_not_lead_through_is_no_fault(proxies: dict[str, str]) -> None:
    assert key_faults([events()], {**KEYS, **proxies}) == []


def test_a_key_where_a_files_name_belongs_is_not_repeated() -> None:
    assert SERVER_SECRET not in str(the_fault(events(), {"STATSIG_SERVER_SECRET_FILE": SERVER_SECRET}))


def url_problem(url: str, **environment: str) -> str | None:
    try:
        endpoint(events(), {**KEYS, "STATSIG_EVENTS_URL": url, **environment})
    except ConfigError as error:
        (fault,) = error.faults
        assert fault.key == "STATSIG_EVENTS_URL"
        return fault.message
    return None


@pytest.mark.parametrize(
    "url",
    [
        "https://events.example",
        "https://events.example:8443/proxy/",
        "http://127.0.0.1:8080",
        "http://127.8.8.8",
        "http://localhost:8080",
        "http://LOCALHOST",
        "http://[::1]:8080",
        "HTTPS://events.example",
    ],
)
def test_https_and_plain_http_to_this_machine_are_allowed(url: str) -> None:
    assert url_problem(url) is None


PLAIN = [
    "http://events.example",
    "http://192.168.0.1",
    "http://localhost.evil.example",
    "http://127.0.0.1.evil.example",
]
PLAIN += ["http://0.0.0.0", "http://[::2]", "http://localhost\u3002evil.example", "http://2130706433"]


@pytest.mark.parametrize("url", PLAIN)
def test_plain_http_to_another_machine_is_refused_unless_it_is_allowed(url: str) -> None:
    problem = url_problem(url)
    assert problem is not None
    assert "STATSIG_ALLOW_HTTP=1" in problem
    assert url_problem(url, STATSIG_ALLOW_HTTP="1") is None


@pytest.mark.parametrize("value", ["", "0", "true", "yes", " 1"])
def test_only_1_allows_plain_http(value: str) -> None:
    assert url_problem("http://events.example", STATSIG_ALLOW_HTTP=value) is not None


@pytest.mark.parametrize(
    "url",
    [
        "https://ann:pa55@events.example",
        "https://secret-abc@events.example",
        "https://:pa55@events.example",
        "https://events.example?key=pa55",
        "https://events.example#pa55",
        "http://localhost@evil.example",
    ],
)
def test_credentials_in_an_address_are_refused_and_not_repeated(url: str) -> None:
    problem = url_problem(url, STATSIG_ALLOW_HTTP="1")
    assert problem is not None
    assert "pa55" not in problem
    assert "secret-abc" not in problem


@pytest.mark.parametrize(
    "url",
    [
        "events.example",
        "ftp://events.example",
        "file:///etc/passwd",
        "https://",
        "https://:443",
        "https://[::1",
        "https://a:99999",
        "https://a:b",
        "https://a b",
        "https://a\nb",
        "javascript:alert(1)",
        "secret-in-the-wrong-place",
    ],
)
def test_what_is_no_address_is_refused_and_not_repeated(url: str) -> None:
    problem = url_problem(url, STATSIG_ALLOW_HTTP="1")
    assert problem is not None
    assert len(url) < 10 or url not in problem


@given(url=st.text())
def test_no_address_is_an_error_of_another_kind(url: str) -> None:
    url_problem(url)


def test_all_wrong_addresses_and_keys_are_reported_at_once() -> None:
    faults = key_faults([events(), segment()], {"STATSIG_EVENTS_URL": "ftp://x"})
    assert [fault.key for fault in faults] == [
        "STATSIG_EVENTS_URL",
        "STATSIG_SERVER_SECRET",
        "STATSIG_CONSOLE_API_KEY",
    ]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080", "http://localhost", "https://localhost:8191", "http://statsig-sandbox:8191"]
)
def test_a_stand_in_is_never_taken_for_the_real_project(url: str) -> None:
    environment = {**KEYS, "STATSIG_EVENTS_URL": url, "STATSIG_ALLOW_HTTP": "1"}
    assert endpoint(events(), environment).project == "sandbox"


def texts_of(value: Any) -> list[str]:
    return [repr(value), str(value), f"{value}", f"{value!r:>80}", "%s" % value, "{0}".format(value)]  # noqa: UP030, UP031, UP032


def test_a_secret_has_no_text_form() -> None:
    secret = Secret(SERVER_SECRET)
    holders = [secret, [secret], {"key": secret}, Endpoint("https://a", "V", "statsig", secret)]
    assert all("s3rv3r" not in text for holder in holders for text in texts_of(holder))
    assert secret.reveal() == SERVER_SECRET


def test_a_secret_is_neither_pickled_nor_copied_into_data() -> None:
    secret = Secret(SERVER_SECRET)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="neither copied nor pickled"):
            pickle.dumps(secret, protocol)
    with pytest.raises(TypeError, match="neither copied nor pickled"):
        copy.deepcopy(secret)
    with pytest.raises(TypeError, match="neither copied nor pickled"):
        dataclasses.asdict(Endpoint("https://a", "V", "statsig", secret))
    assert not hasattr(secret, "__dict__")


def test_a_secret_is_not_in_an_exception_nor_in_its_trace() -> None:
    secret = Secret(SERVER_SECRET)
    try:
        raise ValueError(secret)
    except ValueError as error:
        told = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "s3rv3r" not in told
    assert "Secret(hidden)" in told


def test_an_endpoint_without_a_key_does_not_hand_one_out() -> None:
    with pytest.raises(LookupError, match="STATSIG_SERVER_SECRET"):
        _ = endpoint(events(), {}).required_key
