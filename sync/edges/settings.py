"""What the environment says: keys and addresses. Keys are read here and nowhere else."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from sync.core.addresses import is_loopback
from sync.core.lineage import Identity
from sync.errors import ConfigError, Fault
from sync.spec.model import EventConfig, SegmentConfig, Sync
from sync.spec.parse import META_PATH
from sync.spec.statsig import (
    CLIENT_KEY_PREFIX,
    CONSOLE_KEY_PREFIX,
    CONSOLE_KEY_VARIABLE,
    SERVER_SECRET_PREFIX,
    SERVER_SECRET_VARIABLE,
)

EVENTS_URL_VARIABLE, EVENTS_URL = "STATSIG_EVENTS_URL", "https://events.statsigapi.net"
CONSOLE_URL_VARIABLE, CONSOLE_URL = "STATSIG_CONSOLE_URL", "https://statsigapi.net"
ALLOW_HTTP_VARIABLE = "STATSIG_ALLOW_HTTP"

_WHERE = "In the Statsig console: Project Settings > Keys & Environments"


class Secret:
    """A key. It has no text form, so that it cannot be printed, logged or raised by accident."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The key itself, for a request's header."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(hidden)"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a key is neither copied nor pickled")


@dataclass(frozen=True)
class Endpoint:
    """Where a sync's requests go, and with which key.

    ``project`` is what the ledgers call the Statsig project, ``project_name`` what the configuration does; None
    stands for the usual one.
    """

    url: str
    key_variable: str
    project: str
    key: Secret | None
    project_name: str | None = None

    @property
    def required_key(self) -> Secret:
        """The key; only for endpoints that came from ``require_keys``."""
        if self.key is None:
            raise LookupError(f"{self.key_variable} was not checked")
        return self.key


def endpoint(sync: Sync, environment: Mapping[str, str]) -> Endpoint:
    """The endpoint of a sync, from the environment; the key is None where its variable is not set.

    Raises ``ConfigError`` for an address that a key must not be sent to.
    """
    url = _url(sync, environment)
    variable = _key_variable(sync)
    value = _key_value(sync, environment)
    project = project_name(url, sync.config.project)
    return Endpoint(url, variable, project, Secret(value) if value else None, sync.config.project)


def console_endpoint(sync: Sync, syncs: Iterable[Sync], environment: Mapping[str, str]) -> Endpoint | None:
    """Where the Console API is asked about the Statsig project of an event sync; None where no such key is set.

    The key is that of the project's segment syncs. Without one, the usual Console key belongs to the usual Server
    Secret Key, unless segment syncs of another project use it. Raises ``ConfigError`` for a key that is set, and is
    none: who has set one wants Statsig to be asked.
    """
    segments = [other for other in syncs if isinstance(other.config, SegmentConfig)]
    own = [other for other in segments if other.config.project == sync.config.project]
    if own:
        return _set_endpoint(own[0], environment)
    if _key_variable(sync) != SERVER_SECRET_VARIABLE or any(
        _key_variable(other) == CONSOLE_KEY_VARIABLE for other in segments
    ):
        return None
    config = SegmentConfig(object="segment", segment_id="any", mode="add", statsig_project=sync.config.statsig_project)
    return _set_endpoint(replace(sync, config=config), environment)


def console_key_faults(
    syncs: Iterable[Sync], all_syncs: Sequence[Sync], environment: Mapping[str, str], is_asking: bool
) -> list[Fault]:
    """What is wrong with the Console keys that Statsig is asked with about the events of these syncs.

    None has to be set, but for syncs with ``on_unknown: ask`` where ``is_asking``. ``all_syncs`` are those of the
    project, one of which may name the key.
    """
    faults: list[Fault] = []
    for sync in syncs:
        if not isinstance(sync.config, EventConfig):
            continue
        try:
            is_set = console_endpoint(sync, all_syncs, environment) is not None
        except ConfigError as error:
            faults.extend(error.faults)
            continue
        if is_asking and not is_set and sync.config.on_unknown == "ask":
            faults.append(Fault(sync.file, f"exposure {sync.name}", f"{META_PATH}.on_unknown", _ask_problem(sync)))
    return distinct(faults)


def distinct(faults: Iterable[Fault]) -> list[Fault]:
    """The faults without those that say the same: a variable that several exposures name is one thing to mend."""
    found: dict[tuple[str, str], Fault] = {}
    for fault in faults:
        found.setdefault((fault.key, fault.message), fault)
    return list(found.values())


def _ask_problem(sync: Sync) -> str:
    return f"is ask, and to ask Statsig needs {missing_console_key(sync)}. Set it, or write resend or hold."


def missing_console_key(sync: Sync) -> str:
    """The Console key that an event sync has none of, as part of a sentence."""
    if sync.config.project is None or sync.config.api_key_env is None:
        return CONSOLE_KEY_VARIABLE
    return "a Console API Key of its Statsig project: that of a segment sync with the same statsig_project"


def _set_endpoint(sync: Sync, environment: Mapping[str, str]) -> Endpoint | None:
    """The endpoint of a sync; None where its key is not set. Raises ``ConfigError`` for a key that is none."""
    variable, value = _found_key(sync, environment)
    if not value and variable == _key_variable(sync):
        return None
    _check_key(sync, environment)
    return endpoint(sync, environment)


def without_keys(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of the environment that says where requests go, and not with which key."""
    addresses = (EVENTS_URL_VARIABLE, CONSOLE_URL_VARIABLE, ALLOW_HTTP_VARIABLE)
    return {name: environment[name] for name in addresses if name in environment}


def identity(sync: Sync, environment: Mapping[str, str]) -> Identity:
    """What the ledgers know a sync by. Raises ``ConfigError`` as ``endpoint``."""
    return Identity(endpoint(sync, environment).project, sync.name)


def former_identities(sync: Sync, environment: Mapping[str, str]) -> tuple[Identity, ...]:
    """What the ledgers knew the sync by before, as ``renamed_from`` says."""
    found = endpoint(sync, environment)
    return tuple(
        Identity(
            found.project if former.api_key_env is None else project_name(found.url, former.project),
            former.exposure or sync.name,
        )
        for former in sync.config.renamed_from
    )


def _url(sync: Sync, environment: Mapping[str, str]) -> str:
    is_events = isinstance(sync.config, EventConfig)
    variable, default = (EVENTS_URL_VARIABLE, EVENTS_URL) if is_events else (CONSOLE_URL_VARIABLE, CONSOLE_URL)
    url = (environment.get(variable) or default).strip().rstrip("/")
    if problem := _url_problem(url, default, environment):
        raise ConfigError([Fault("", "environment", variable, problem)])
    return url


def _key_variable(sync: Sync) -> str:
    is_events = isinstance(sync.config, EventConfig)
    return sync.config.api_key_env or (SERVER_SECRET_VARIABLE if is_events else CONSOLE_KEY_VARIABLE)


def key_fault(sync: Sync, problem: str) -> Fault:
    """A fault of the key that a sync needs. It names the variable, and what in the YAML names the variable."""
    return _variable_fault(sync, _key_variable(sync), problem)


def _variable_fault(sync: Sync, variable: str, problem: str) -> Fault:
    if sync.config.api_key_env:
        return Fault(sync.file, f"exposure {sync.name}", f"{META_PATH}.api_key_env", f"{variable}: {problem}")
    return Fault("", "environment", variable, problem)


def _check_key(sync: Sync, environment: Mapping[str, str]) -> None:
    variable, value = _found_key(sync, environment)
    problem = _form_problem(value, is_file=variable != _key_variable(sync)) or _key_problem(
        Secret(value) if value else None, isinstance(sync.config, EventConfig)
    )
    if problem:
        raise ConfigError([_variable_fault(sync, variable, problem)])


def _key_value(sync: Sync, environment: Mapping[str, str]) -> str:
    """The key of a sync; empty where none is set."""
    return _found_key(sync, environment)[1]


def _found_key(sync: Sync, environment: Mapping[str, str]) -> tuple[str, str]:
    """The variable that was read, and the key in it, or in the file that the one with ``_FILE`` names."""
    variable = _key_variable(sync)
    value = environment.get(variable, "").strip()
    file = environment.get(f"{variable}_FILE", "").strip()
    if value or not file:
        return variable, value
    try:
        return f"{variable}_FILE", Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        # What it names may be the key itself, set in the wrong variable.
        message = f"does not name a file that can be read: {reason}."
        raise ConfigError([_variable_fault(sync, f"{variable}_FILE", message)]) from error


_BYTE_ORDER_MARK = "\ufeff"
_QUOTES = frozenset("\"'`\u2018\u2019\u201c\u201d")


def _form_problem(value: str, is_file: bool) -> str | None:
    """What came along with a key that is no part of it. The value is not repeated."""
    if is_file and not value:
        return "names a file that is empty. Write the key into it."
    where = "names a file whose content" if is_file else "holds a value that"
    if value.startswith(_BYTE_ORDER_MARK):
        mend = "Save the file as UTF-8 without one." if is_file else "Set the variable without it."
        return f"{where} starts with a byte order mark (U+FEFF), which is no part of the key. {mend}"
    if value and not _QUOTES.isdisjoint((value[0], value[-1])):
        mend = "the file" if is_file else "the variable"
        return f"{where} is in quotes, which are no part of the key. Take them out of {mend}."
    if is_file and "\0" in value:
        return f"{where} is not text in UTF-8. Save the file as UTF-8."
    return None


def _check_proxy(sync: Sync, environment: Mapping[str, str]) -> None:
    """Raises ``ConfigError`` where the way to Statsig is a SOCKS proxy and the package that it needs is not there."""
    variable = _socks_variable(_url(sync, environment), environment)
    if variable is not None and importlib.util.find_spec("socks") is None:
        message = (
            "names a SOCKS proxy, which needs one more package: pip install 'requests[socks]'. Install it where "
            "statsig-sync is, or name Statsig's host in NO_PROXY."
        )
        raise ConfigError([Fault("", "environment", variable, message)])


def _socks_variable(url: str, environment: Mapping[str, str]) -> str | None:
    """The variable that sends a request to this address through a SOCKS proxy, as ``requests`` reads them."""
    names = [_set_variable(f"{kind}_proxy", environment) for kind in (urlsplit(url).scheme, "all")]
    variable = next((name for name in names if name is not None), None)
    if is_loopback(url) or variable is None or not environment[variable].strip().lower().startswith("socks"):
        return None
    from requests.utils import should_bypass_proxies  # noqa: PLC0415 - slow to import, and seldom needed

    exceptions = _set_variable("no_proxy", environment)
    return None if should_bypass_proxies(url, environment[exceptions] if exceptions else "") else variable


def _set_variable(name: str, environment: Mapping[str, str]) -> str | None:
    """A variable's name in lower case, or else in upper case, as it is set; None where it is not, or is empty."""
    found = name if name in environment else name.upper()
    return found if environment.get(found) else None


def project_name(url: str, name: str | None) -> str:
    """What the ledgers call the Statsig project of this name behind an address; None stands for the usual one.

    A stand-in is never taken for the real service: what was sent to one was not sent to the other. Statsig
    itself is reached over https only, so plain http stands for a stand-in on whatever host.
    """
    base = "sandbox" if is_loopback(url) or urlsplit(url).scheme == "http" else "statsig"
    return f"{base}:{name}" if name else base


def key_faults(syncs: Iterable[Sync], environment: Mapping[str, str], all_syncs: Iterable[Sync] = ()) -> list[Fault]:
    """What is wrong with the addresses and the keys that these syncs need; each fault once.

    ``all_syncs`` are those of the project, whose keys must differ where their variables do.
    """
    faults: list[Fault] = []
    for sync in syncs:
        for check in (_url, _check_key, _check_proxy):
            try:
                check(sync, environment)
            except ConfigError as error:
                faults.extend(error.faults)
    return [*distinct(faults), *_shared_keys(all_syncs, environment)]


def _shared_keys(syncs: Iterable[Sync], environment: Mapping[str, str]) -> Iterator[Fault]:
    """A key of two projects makes one Statsig project look like two, to the ledgers and to the rate limits."""
    users: dict[tuple[str, str, str | None], Sync] = {}
    for sync in sorted(syncs, key=lambda one: one.config.project is not None):
        users.setdefault((sync.config.object, _key_variable(sync), sync.config.project), sync)
    owners: dict[tuple[str, str], Sync] = {}
    for (kind, variable, project), sync in users.items():
        with contextlib.suppress(ConfigError):
            value = _key_value(sync, environment)
            owner = owners.setdefault((kind, value), sync)
            if value and owner.config.project != project:
                yield _shared_key_fault(sync, _shared_key(owner, variable))


def _shared_key_fault(sync: Sync, problem: str) -> Fault:
    if sync.config.api_key_env:
        return key_fault(sync, problem)
    return Fault(sync.file, f"exposure {sync.name}", f"{META_PATH}.statsig_project", problem)


def _shared_key(owner: Sync, variable: str) -> str:
    """What to do about a key that the syncs of one project share with this one's, although they name another."""
    other, name = _key_variable(owner), owner.config.statsig_project
    same = f"goes with the key of {owner.name}" if variable == other else f"holds the same key as {other}"
    if variable == other:
        advice = "Write the same statsig_project in both, or in neither"
    else:
        advice = f"Write statsig_project: {name}" if name else f"Write api_key_env: {other}"
    return (
        f"{same}, so one Statsig project would be taken for two, and sent things twice. {advice}, or put the key of "
        f"another project into {variable}."
    )


def _key_problem(key: Secret | None, is_events: bool) -> str | None:
    kind = "Server Secret Key" if is_events else "Console API Key"
    prefix = SERVER_SECRET_PREFIX if is_events else CONSOLE_KEY_PREFIX
    purpose = "events" if is_events else "segments and questions about events"
    wanted = f"{purpose} need a {kind}, which starts with '{prefix}'. {_WHERE}."
    if key is None:
        return f"is not set, nor is the variable with _FILE behind it; {wanted}"
    value = key.reveal()
    if value.startswith(prefix):
        is_whole = len(value) > len(prefix) and value.isascii() and value.isprintable() and " " not in value
        return None if is_whole else f"is not a key; {wanted}"
    for other_prefix, other in (
        (CLIENT_KEY_PREFIX, "a Client SDK Key, which is never valid here"),
        (CONSOLE_KEY_PREFIX, "a Console API Key"),
        (SERVER_SECRET_PREFIX, "a Server Secret Key"),
    ):
        if value.startswith(other_prefix):
            return f"holds {other}; {wanted}"
    return f"does not start with '{prefix}'; {wanted}"


def _url_problem(url: str, default: str, environment: Mapping[str, str]) -> str | None:
    """Why a key must not be sent there. The value is not repeated: it may be a key in the wrong variable."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or not url.isprintable() or " " in url:
        return f"is not an address; write one such as {default}."
    if parts.username or parts.password or parts.query or parts.fragment:
        return "holds more than a scheme, a host, a port and a path; keys have variables of their own."
    if parts.scheme == "http" and not is_loopback(url) and environment.get(ALLOW_HTTP_VARIABLE) != "1":
        return f"is plain http, which would show the key to the network. Use https, or set {ALLOW_HTTP_VARIABLE}=1."
    return None
