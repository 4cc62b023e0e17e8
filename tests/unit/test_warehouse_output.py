"""What a profile says of DuckDB becomes the statements that dbt-duckdb makes of it, or a fault that says what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dbt.adapters.duckdb.credentials import DuckDBCredentials

from sync.edges.warehouse.output import read_output
from sync.edges.warehouse.wording import told
from sync.errors import ConfigError


def folded(statement: str) -> str:
    """A statement without the case and the white space that mean nothing."""
    return " ".join(statement.lower().split()).replace("( ", "(").replace(" )", ")")


@pytest.mark.parametrize(
    "attachment",
    [
        {"path": "crm.duckdb"},
        {"path": "it's.duckdb", "alias": "crm", "read_only": True},
        {"path": "crm.db", "alias": "crm", "type": "sqlite"},
        {"path": "crm.db", "options": {"type": "sqlite", "read_only": True}},
        {"path": "dbname=crm", "alias": "pg", "type": "postgres", "secret": "pg_secret"},
        {"path": "s3://lake/x", "options": {"secret": "s", "block_size": 16384, "encryption_key": "a'b"}},
        {"path": "x.duckdb", "options": {"override_data_path": True, "other": False, "none": None, "quoted": "'q'"}},
        {"path": "md:crm?motherduck_token=abc", "alias": "crm"},
    ],
    ids=str,
)
def test_attachments_are_those_of_dbt_duckdb(attachment: dict[str, Any]) -> None:
    output = {"path": "shop.duckdb", "attach": [attachment]}
    (expected,) = DuckDBCredentials.from_dict({"schema": "main", **output}).attach or []
    (found,) = read_output("profiles.yml", {"type": "duckdb", **output}).attachments
    assert folded(found.statement(read_only=False)) == folded(expected.to_sql())


@pytest.mark.parametrize(
    "secrets",
    [
        [
            {"type": "s3", "key_id": "a", "secret": "b'c"},
            {"type": "gcs", "name": "own", "provider": "credential_chain"},
        ],
        [{"type": "s3", "scope": "s3://one", "persistent": True}],
        [{"type": "s3", "scope": ["s3://one", "s3://two"], "region": "eu"}],
        [{"type": "http", "extra_http_headers": {"Authorization": "Bearer x"}}, {"type": "x", "some": ["a", "b"]}],
    ],
    ids=str,
)
def test_secrets_are_those_of_dbt_duckdb(secrets: list[dict[str, Any]]) -> None:
    found = read_output("profiles.yml", {"type": "duckdb", "path": "shop.duckdb", "secrets": secrets}).secrets
    # dbt-duckdb takes its own copies apart.
    credentials = DuckDBCredentials(path="shop.duckdb", secrets=[dict(one) for one in secrets])
    assert list(map(folded, found)) == list(map(folded, credentials.secrets_sql()))


def test_the_credential_provider_is_the_secret_that_dbt_duckdb_makes_of_it() -> None:
    found = read_output(
        "profiles.yml", {"type": "duckdb", "path": "x.duckdb", "use_credential_provider": "aws"}
    ).secrets
    expected = DuckDBCredentials(path="x.duckdb", use_credential_provider="aws").secrets_sql()
    assert list(map(folded, found)) == list(map(folded, expected))


def test_extensions_may_come_from_a_repository() -> None:
    extensions = [
        "spatial",
        {"name": "h3", "repo": "community"},
        {"name": "own", "repo": "https://example.com/it's"},
    ]
    found = read_output("profiles.yml", {"type": "duckdb", "path": "x.duckdb", "extensions": extensions}).extensions
    assert [one.install for one in found] == [
        "install spatial",
        "install h3 from community",
        "install own from 'https://example.com/it''s'",
    ]


@pytest.mark.parametrize(
    ("output", "parts"),
    [
        ({"path": "ducklake:shop.ducklake"}, ("path", "DuckLake")),
        ({"path": "ducklake:postgres:dbname=x password=hunter2"}, ("path", "DuckLake")),
        ({"path": "s3://lake/shop.duckdb"}, ("path", "object storage (s3:)")),
        ({"path": "https://example.com/shop.duckdb"}, ("path", "an address (https:)")),
        ({"path": "postgres:dbname=shop"}, ("path", "of the kind postgres")),
        ({"path": ":memory:"}, ("path", "in memory")),
        ({}, ("path", "in memory")),
        ({"path": ":memory:", "attach": [{"path": "a.duckdb", "alias": "a"}]}, ("path", "name its alias as database")),
        (
            {"path": ":memory:", "database": "a", "attach": [{"path": "ducklake:a", "alias": "a"}]},
            ("attach", "DuckLake"),
        ),
        (
            {"path": ":memory:", "database": "a", "attach": [{"path": "a.db", "alias": "a", "type": "sqlite"}]},
            ("attach", "of the kind sqlite"),
        ),
        (
            {"path": ":memory:", "database": "a", "attach": [{"path": "a.duckdb", "alias": "a", "read_only": True}]},
            ("attach", "read_only"),
        ),
        ({"path": "a.duckdb", "attach": [{"path": "b.duckdb", "alias": "b; drop"}]}, ("attach", "not a name")),
        ({"path": "a.duckdb", "extensions": ["x; drop"]}, ("extensions", "not the name of an extension")),
    ],
    ids=str,
)
def test_what_cannot_be_the_warehouse_says_what_it_is(output: dict[str, Any], parts: tuple[str, str]) -> None:
    with pytest.raises(ConfigError) as found:
        read_output("profiles.yml", {"type": "duckdb", **output})
    (fault,) = found.value.faults
    assert fault.key == parts[0]
    assert parts[1] in fault.message
    assert "hunter2" not in fault.message


@pytest.mark.parametrize("path", ["md:shop", "motherduck:shop", "MD:shop?motherduck_token=x"])
def test_a_motherduck_database_is_no_file(path: str) -> None:
    found = read_output("profiles.yml", {"type": "duckdb", "path": path})
    assert found.is_motherduck
    assert found.files == ()
    assert found.path == path


@pytest.mark.parametrize("path", ["shop.duckdb", "duckdb:shop.duckdb", "file:shop.duckdb"])
def test_a_path_may_say_that_it_is_one(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_output("profiles.yml", {"type": "duckdb", "path": path}).path == str(tmp_path / "shop.duckdb")


def test_the_files_that_must_be_there_are_the_path_and_the_attachment_that_database_names() -> None:
    attach = [{"path": "/a.duckdb", "alias": "a"}, {"path": "/b.duckdb", "alias": "b"}]
    found = read_output("profiles.yml", {"type": "duckdb", "path": "/shop.duckdb", "database": "b", "attach": attach})
    assert [str(file) for file in found.files] == ["/shop.duckdb", "/b.duckdb"]


def test_what_is_secret_in_a_profile_is_not_told() -> None:
    output = read_output(
        "profiles.yml",
        {
            "type": "duckdb",
            "path": "x.duckdb",
            "secrets": [{"type": "s3", "key_id": "AKIA1", "secret": "s3cr3t"}],
            "settings": {"motherduck_token": "t0ken", "threads": 4},
            "attach": [{"path": "y", "options": {"encryption_key": "key77"}}],
        },
    )
    words = "near AKIA1 s3cr3t t0ken key77 password=abc, postgres://ann:pass1@host"
    said = told(ValueError(words), output.path, output.hidden)
    for text in ("AKIA1", "s3cr3t", "t0ken", "key77", "abc", "pass1"):
        assert text not in said
    assert "ann" in said


@pytest.mark.parametrize(
    ("query", "is_named"),
    [
        ('select * from "crm"."main"."t"', True),
        ("select * from CRM.main.t", True),
        ('select * from "shop"."main"."crm"', False),
        ("select * from my_crm.main.t", False),
        ('select * from "x crm"."main".t', False),
    ],
)
def test_a_database_is_attached_when_a_statement_names_it(query: str, is_named: bool) -> None:
    output = {"type": "duckdb", "path": "x.duckdb", "attach": [{"path": "crm.duckdb"}]}
    (crm,) = read_output("profiles.yml", output).attachments
    assert crm.is_named_in(query) is is_named
