"""What a profile's output says of the database, as the statements that dbt-duckdb makes of it.

Source: dbt-duckdb, ``DuckDBCredentials``, ``Attachment``, ``Secret`` and ``Environment.initialize_db``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sync.core import sql
from sync.errors import ConfigError, Fault

MEMORY = ":memory:"
MOTHERDUCK = re.compile(r"(?:md|motherduck):", re.IGNORECASE)
# As DuckDB tells a kind of database, or an address, from a path; one letter alone is a drive of Windows.
_SCHEME = re.compile(r"([A-Za-z0-9_]{2,}):(?!//)|([A-Za-z][A-Za-z0-9+.-]+)://")
# What stands before a path that is one all the same.
_PLAIN = re.compile(r"(?:duckdb:)?(?:file:(?://)?)?")
_NAME = re.compile(r'[A-Za-z_][A-Za-z0-9_$]*|"(?:[^"]|"")+"')
_SECRET_PREFIX = "_dbt_secret_"  # noqa: S105 - dbt-duckdb's own name for a secret without one
_PUBLIC_PARTS = {"type", "name", "provider", "scope", "region", "persistent", "chain", "url_style", "use_ssl"}
# A shorter text hides more of a message than it keeps secret.
_LEAST_SECRET = 4
_SECRET_NAME = re.compile(r"token|password|secret|key", re.IGNORECASE)


@dataclass(frozen=True)
class Extension:
    """An extension of DuckDB's that dbt installs and loads; ``repository`` is as it stands behind ``from``."""

    name: str
    repository: str | None = None

    @property
    def install(self) -> str:
        """The statement that installs it."""
        return f"install {self.name}" + (f" from {self.repository}" if self.repository else "")


@dataclass(frozen=True)
class Attachment:
    """Another database that dbt attaches: its name in SQL, its path, and the options behind ``attach``."""

    name: str
    path: str
    alias: str | None
    options: tuple[str, ...]

    @property
    def file(self) -> Path | None:
        """The DuckDB file that it is; None where it is something else."""
        is_other = any(option.upper().startswith("TYPE ") and "duckdb" not in option.lower() for option in self.options)
        return None if is_other else local_file(self.path)

    def statement(self, read_only: bool) -> str:
        """The statement that attaches it; a file is only read where no more is asked for."""
        options = list(self.options)
        if read_only and self.file is not None and "READ_ONLY" not in options:
            options.append("READ_ONLY")
        name = f" as {self.alias}" if self.alias else ""
        path = self.path.partition("?")[0] if MOTHERDUCK.match(self.path) else self.path
        return f"attach if not exists {sql.literal(path)}{name}" + (f" ({', '.join(options)})" if options else "")

    def is_named_in(self, query: str) -> bool:
        """Whether a query may name a relation in it."""
        name = re.escape(self.name)
        return re.search(rf'(?<![\w"]){name}\.|"{name}"\.', query, re.IGNORECASE) is not None


@dataclass(frozen=True)
class Output:
    """An output of type duckdb. ``home`` is the attachment that ``database`` names, if it names one.

    ``not_had`` lists what of dbt's session cannot be had here; ``hidden`` holds texts that must not be told.
    """

    path: str
    config_options: Mapping[str, Any]
    settings: Mapping[str, Any]
    extensions: tuple[Extension, ...] = ()
    secrets: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    home: Attachment | None = None
    not_had: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()

    @property
    def is_motherduck(self) -> bool:
        """Whether the database is at MotherDuck."""
        return MOTHERDUCK.match(self.path) is not None

    @property
    def is_in_memory(self) -> bool:
        """Whether the database that dbt connects to ends with dbt; what lasts is in what it attaches."""
        return self.path.startswith(MEMORY)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files without which there is nothing to read."""
        own = local_file(self.path)
        home = self.home.file if self.home else None
        return tuple(file for file in (own, home) if file is not None)

    @property
    def shown(self) -> str:
        """The database's place, as messages call it: without a query, for MotherDuck takes a token there."""
        place = str(self.home.file or self.home.name) if self.home and self.is_in_memory else self.path
        return place.partition("?")[0]


def local_file(path: str) -> Path | None:
    """The file that a path names; None where it names no file on this machine."""
    plain = _PLAIN.match(path)
    rest = path[plain.end() :] if plain else path
    return None if rest.startswith(MEMORY) or _SCHEME.match(rest) else Path(rest).expanduser()


def target_place(output: Mapping[str, Any]) -> tuple[str | None, str]:
    """The database and the schema of dbt's target; None for a database whose name dbt takes from an unusual path.

    Source: dbt-duckdb, ``DuckDBCredentials.path_derived_database_name``.
    """
    schema = str(output.get("schema") or "main")
    if output.get("database"):
        return str(output["database"]), schema
    file = local_file(str(output.get("path") or MEMORY))
    return (file.stem if file is not None and file.name.strip(".").count(".") <= 1 else None), schema


def read_output(file: str, output: Mapping[str, Any]) -> Output:
    """What an output says. A relative path counts from the current folder, as in dbt.

    Raises ``ConfigError`` for a warehouse that is not DuckDB, or one that cannot keep the ledgers.
    """
    kind = output.get("type")
    if kind != "duckdb":
        raise _fault(file, "type", f"is {kind!r}; this version of statsig-sync reads DuckDB (type: duckdb).")
    path = str(output.get("path") or MEMORY)
    attachments = tuple(_attachments(file, output))
    database = str(output.get("database") or "")
    home = next((one for one in attachments if one.alias and one.name.lower() == database.lower()), None)
    _check_place(file, "path", path, has_home=home is not None)
    if home is not None:
        _check_home(file, home)
    own = local_file(path)
    return Output(
        path if own is None else str(own.absolute()),
        _mapping(output.get("config_options")),
        _settings(output),
        tuple(_extensions(file, output)),
        tuple(_secrets(output)),
        attachments,
        home,
        tuple(_not_had(output)),
        tuple(text for text in _hidden(output) if len(text) >= _LEAST_SECRET),
    )


def _fault(file: str, key: str, message: str) -> ConfigError:
    return ConfigError([Fault(file, "", key, message)])


def _check_place(file: str, key: str, path: str, has_home: bool) -> None:
    if path.startswith(MEMORY):
        if not has_home:
            message = (
                "is in memory, which ends with dbt; write the path of a file, or attach a file (attach:) and name its "
                "alias as database:."
            )
            raise _fault(file, key, message)
        return
    if MOTHERDUCK.match(path) or local_file(path) is not None:
        return
    found = _SCHEME.match(path)
    scheme = (found[1] or found[2]) if found else ""
    raise _fault(file, key, f"is {_kind(scheme)}, so the ledgers cannot be kept there. {_FILE_ADVICE}")


def _check_home(file: str, home: Attachment) -> None:
    kind = next((option[5:] for option in home.options if option.startswith("TYPE ")), "duckdb")
    if kind.lower() != "duckdb":
        message = f"'{home.name}', which database: names, is {_kind(kind)}, so the ledgers cannot be kept there."
        raise _fault(file, "attach", f"{message} {_FILE_ADVICE}")
    if "READ_ONLY" in home.options:
        raise _fault(file, "attach", f"'{home.name}', which database: names, is read_only, but the ledgers are there.")
    _check_place(file, "attach", home.path, has_home=False)


_FILE_ADVICE = "Write the path of a DuckDB file."


def _kind(scheme: str) -> str:
    name = scheme.lower()
    if name == "ducklake":
        return "a DuckLake (ducklake:), which this version of statsig-sync does not write"
    if name in ("http", "https"):
        return f"an address ({name}:), from which DuckDB only reads"
    if name in ("s3", "s3a", "s3n", "gcs", "gs", "r2", "az", "azure", "abfs", "abfss", "hf"):
        return f"in object storage ({name}:), from which DuckDB only reads"
    return f"a database of the kind {name} ({name}:), which this version of statsig-sync does not write"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _settings(output: Mapping[str, Any]) -> Mapping[str, Any]:
    token = output.get("motherduck_token")
    return {**_mapping(output.get("settings")), **({"motherduck_token": token} if token else {})}


def _items(output: Mapping[str, Any], key: str) -> Sequence[Any]:
    found = output.get(key)
    return found if isinstance(found, list | tuple) else ()


def _extensions(file: str, output: Mapping[str, Any]) -> Iterator[Extension]:
    for one in _items(output, "extensions"):
        name = str(one.get("name") if isinstance(one, Mapping) else one)
        repository = str(one.get("repo") or "") if isinstance(one, Mapping) else ""
        if not _NAME.fullmatch(name):
            raise _fault(file, "extensions", f"hold {name[:100]!r}, which is not the name of an extension.")
        if repository and not _NAME.fullmatch(repository):
            repository = sql.literal(repository.strip("'"))
        yield Extension(name, repository or None)


def _attachments(file: str, output: Mapping[str, Any]) -> Iterator[Attachment]:
    for one in _items(output, "attach"):
        found = one if isinstance(one, Mapping) else {"path": one}
        path, alias = str(found.get("path") or ""), None
        if found.get("alias"):
            alias = _checked_name(file, "alias", found["alias"])
        name = sql.parts(alias)[0] if alias else _derived_name(path)
        yield Attachment(name, path, alias, tuple(_options(file, found)))


def _derived_name(path: str) -> str:
    """The name that DuckDB gives to a database without one: the first part of the file's name."""
    return Path(path.partition("?")[0]).name.lstrip(".").partition(".")[0].rpartition(":")[2]


def _options(file: str, found: Mapping[str, Any]) -> Iterator[str]:
    """The options as dbt-duckdb writes them: those with a field of their own, then the others under ``options``."""
    more = {str(name).lower(): value for name, value in _mapping(found.get("options")).items()}
    own = {key: found.get(key) or more.pop(key, None) for key in ("type", "secret", "read_only")}
    for key in ("type", "secret"):
        if own[key]:
            yield f"{key.upper()} {_checked_name(file, key, own[key])}"
    if own["read_only"]:
        yield "READ_ONLY"
    for name, value in more.items():
        if name not in own and value is not None and value is not False:
            option = _checked_name(file, "option", name).upper()
            yield option if value is True else f"{option} {_option_value(value)}"


def _checked_name(file: str, what: str, value: Any) -> str:
    """The name, which stands in SQL as it is."""
    if not _NAME.fullmatch(str(value)):
        raise _fault(file, "attach", f"has the {what} {str(value)[:100]!r}, which is not a name.")
    return str(value)


def _option_value(value: Any) -> str:
    if not isinstance(value, str):
        return str(value)
    text = value.strip()
    is_quoted = len(text) >= 2 and text[0] == text[-1] and text[0] in "'\""
    return sql.literal(text[1:-1]) if is_quoted else sql.literal(value)


def _secret_items(output: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = [dict(one) for one in _items(output, "secrets") if isinstance(one, Mapping)]
    if output.get("use_credential_provider") == "aws":
        found.append({"type": "s3", "provider": "credential_chain"})
    return found


def _secrets(output: Mapping[str, Any]) -> Iterator[str]:
    for number, one in enumerate(_secret_items(output)):
        name = str(one.pop("name", f"{_SECRET_PREFIX}{number + 1}"))
        persistent = " persistent" if one.pop("persistent", None) is True else ""
        scope = one.pop("scope", None)
        parts = [_secret_part(str(key), value) for key, value in one.items() if value is not None]
        scopes = scope if isinstance(scope, list) else [scope] if scope is not None else []
        parts += [f"scope {sql.literal(str(item))}" for item in scopes]
        yield f"create or replace{persistent} secret {name} ({', '.join(parts)})"


def _secret_part(key: str, value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{sql.literal(str(name))}: {sql.literal(str(item))}" for name, item in value.items())
        return f"{key} map {{{pairs}}}"
    if isinstance(value, list):
        return f"{key} array [{', '.join(sql.literal(str(item)) for item in value)}]"
    is_bare = key in ("type", "provider", "extra_http_headers")
    return f"{key} {value}" if is_bare else f"{key} {sql.literal(str(value))}"


def _not_had(output: Mapping[str, Any]) -> Iterator[str]:
    for one in _items(output, "plugins"):
        name = one.get("module") if isinstance(one, Mapping) else one
        yield f"the plugin {name} of the profile runs in dbt only"
    if _items(output, "filesystems"):
        yield "the filesystems of the profile are mounted in dbt only"


def _hidden(output: Mapping[str, Any]) -> Iterator[str]:
    """Texts of the profile that may be secret."""
    for one in _secret_items(output):
        yield from (text for key, value in one.items() if key not in _PUBLIC_PARTS for text in _texts(value))
    for key in ("settings", "config_options"):
        named = _mapping(output.get(key))
        yield from (text for name, value in named.items() if _SECRET_NAME.search(str(name)) for text in _texts(value))
    yield from _texts(output.get("motherduck_token"))
    for one in _items(output, "attach"):
        options = _mapping(one.get("options")) if isinstance(one, Mapping) else {}
        yield from (text for name, value in options.items() if _SECRET_NAME.search(str(name)) for text in _texts(value))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif value is not None and not isinstance(value, bool):
        yield str(value)
