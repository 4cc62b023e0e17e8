"""README.md and docs/ say all that there is, and nothing that there is not."""

from __future__ import annotations

import argparse
import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sync import errors
from sync.cli.arguments import parser
from sync.core.reasons import MEANING, NOT_SENT, SENT_WITHOUT
from sync.sandbox.admin_api import routes
from sync.sandbox.command import _parser as sandbox_parser
from sync.spec.limits import Limits
from sync.spec.model import MAPPABLE_FIELDS, EventConfig, EventGuard, Guard, SegmentConfig

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DELIVERY = (ROOT / "docs" / "delivery.md").read_text(encoding="utf-8")
COVERAGE = (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8")
PAGES = {
    "README.md": README,
    "docs/delivery.md": DELIVERY,
    "docs/coverage.md": COVERAGE,
    "CHANGELOG.md": (ROOT / "CHANGELOG.md").read_text(),
}

# Flags of other commands that the pages mention: dbt's, pip's, git's, ruff's, mypy's and pytest's.
FOREIGN_FLAGS = {
    "--defer",
    "--editable",
    "--empty",
    "--full-refresh",
    "--no-use-colors",
    "--quiet",
    "--sample",
    "--check",
    "--strict",
    "--vars",
    "--seeds",
}

RELATIONS = {
    model["name"]: model
    for file in sorted((ROOT / "models" / "statsig").glob("*.yml"))
    for model in yaml.safe_load(file.read_text(encoding="utf-8")).get("models", [])
}


def headings(text: str) -> Iterator[tuple[int, int, str]]:
    """Line number, level and title of each heading outside of code blocks."""
    in_code = False
    for number, line in enumerate(text.splitlines()):
        in_code ^= line.startswith("```")
        found = re.match(r"(#+) (.+)", line)
        if found and not in_code:
            yield number, len(found[1]), found[2]


def section(text: str, title: str) -> str:
    """A heading's text, down to the next heading of its level or above; fails where there is no such heading."""
    marks = list(headings(text))
    for place, (start, level, found) in enumerate(marks):
        if found == title:
            end = next((number for number, other, _ in marks[place + 1 :] if other <= level), None)
            return "\n".join(text.splitlines()[start + 1 : end])
    pytest.fail(f"there is no heading {title!r}")


def rows(text: str) -> dict[str, list[str]]:
    """The rows of all tables in a text, by their first cell without its code marks."""
    found = {}
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith("| ---"):
            cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip("|"))]
            found[cells[0].replace("`", "")] = cells[1:]
    return found


def code(text: str) -> str:
    """What stands in code blocks and between code marks."""
    blocks = re.findall(r"^```.*?\n(.*?)^```", text, re.M | re.S)
    return "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))])


def test_the_reader_of_sections_and_tables_sees_what_is_not_there() -> None:
    text = "# A\n## B\n| `x` | 1 |\n```shell\n# B\n```\n## C\n| `y\\|z` | 2 |\n"
    assert rows(section(text, "B")) == {"x": ["1"]}
    assert rows(section(text, "A")) == {"x": ["1"], "y|z": ["2"]}
    with pytest.raises(pytest.fail.Exception):
        section(text, "D")


# Configuration


def default_of(field: FieldInfo) -> str:
    """A key's default, as the tables of the README spell it."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "see below"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return "none" if value in (None, {}, ()) else f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def choices_of(annotation: Any) -> Iterator[str]:
    for argument in get_args(annotation):
        if isinstance(argument, str):
            yield argument
        else:
            yield from choices_of(argument)


def keys_table(title: str) -> dict[str, list[str]]:
    """The rows of a section of the configuration, without those of ``guard``."""
    text = section(README, title)
    return rows(text.split("Keys of `guard`")[0])


@pytest.mark.parametrize(("model", "title"), [(SegmentConfig, "Segments"), (EventConfig, "Events")])
def test_every_key_of_a_sync_is_in_its_table_with_its_default_and_choices_and_no_other(
    model: type[BaseModel], title: str
) -> None:
    table = keys_table(title)
    assert set(table) - {"key"} == set(model.model_fields)
    for name, field in model.model_fields.items():
        default, meaning = table[name]
        assert default == default_of(field), name
        for choice in choices_of(field.annotation):
            assert f"`{choice}`" in f"{default} {meaning}", (name, choice)


@pytest.mark.parametrize(("model", "title"), [(Guard, "Segments"), (EventGuard, "Events")])
def test_every_key_of_a_guard_is_in_its_table_with_its_default_and_no_other(model: type[BaseModel], title: str) -> None:
    table = rows(section(README, title).split("Keys of `guard`")[1])
    assert set(table) - {"key"} == set(model.model_fields)
    for name, field in model.model_fields.items():
        assert table[name][0] == default_of(field), name


def test_every_limit_is_in_its_table_with_its_default_and_no_other() -> None:
    table = rows(section(README, "Statsig projects and their limits"))
    assert set(table) - {"key of limits"} == set(Limits.model_fields)
    for name, field in Limits.model_fields.items():
        assert table[name][0] == default_of(field), name


def test_every_value_of_on_first_run_is_explained() -> None:
    explained = rows(section(README, "Guards and the first run"))
    assert set(explained) - {"value"} == set(choices_of(SegmentConfig.model_fields["on_first_run"].annotation))


def test_every_field_that_can_be_mapped_is_in_its_table_and_no_other() -> None:
    assert set(rows(section(README, "Mapping"))) - {"field"} == set(MAPPABLE_FIELDS)


# Rows that are not sent


def test_every_reason_is_in_its_table_with_what_happens_and_no_other() -> None:
    table = rows(section(README, "Rows that are not sent"))
    assert set(table) - {"reason"} == set(MEANING)
    effects = {cells[-1] for name, cells in table.items() if name != "reason"}
    assert {effect.split(" `")[0].split(" a ")[0] for effect in effects} == {
        NOT_SENT.replace("_", " "),
        SENT_WITHOUT.replace("_", " "),
    }


# Environment


def variables_of_the_code() -> set[str]:
    """Names of environment variables that stand in the code of the sync, which is all but the sandbox."""
    names = {
        node.value
        for file in (ROOT / "sync").rglob("*.py")
        if "sandbox" not in file.parts
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if re.fullmatch(r"(STATSIG|DBT)_[A-Z_]+", node.value)
    }
    keys = {name for name in names if name.endswith(("_SECRET", "_API_KEY"))}
    return names | {f"{name}_FILE" for name in keys}


def test_every_environment_variable_is_in_its_table_and_no_other() -> None:
    found = variables_of_the_code()
    assert {"STATSIG_SERVER_SECRET", "STATSIG_CONSOLE_API_KEY_FILE", "DBT_TARGET_PATH"} <= found
    assert set(rows(section(README, "Environment variables"))) - {"variable"} == found


# Commands


def subparsers(root: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (commands,) = (action for action in root._actions if isinstance(action, argparse._SubParsersAction))
    return dict(commands.choices)


def flags(command: argparse.ArgumentParser) -> set[str]:
    """Flags in their long form, and the names of what stands without a flag."""
    return {
        next((flag for flag in action.option_strings if flag.startswith("--")), str(action.metavar))
        for action in command._actions
    }


COMMANDS = {name: flags(command) for name, command in subparsers(parser()).items()}
COMMON = set.intersection(*COMMANDS.values())


def documented_flags(text: str) -> set[str]:
    return {cell.split()[0] for cell in rows(text)} - {"flag", "call"}


def test_every_flag_of_every_command_is_in_the_table_of_all_commands() -> None:
    assert documented_flags(section(README, "Flags of every command")) == COMMON


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_flag_of_a_command_is_in_its_own_table_and_no_other(command: str) -> None:
    assert documented_flags(section(README, f"`{command}`")) == COMMANDS[command] - COMMON


def test_every_choice_of_a_flag_is_in_its_row() -> None:
    for name, command in subparsers(parser()).items():
        cells = list(rows(section(README, f"`{name}`")))
        for action in command._actions:
            if action.choices:
                (row,) = (cell for cell in cells if cell.split()[0] == action.option_strings[0])
                assert row.split()[1].split("|") == list(action.choices)


def test_the_pages_name_no_flag_that_there_is_not() -> None:
    known = set.union(*COMMANDS.values()) | flags(parser()) | flags(sandbox_parser()) | FOREIGN_FLAGS
    named = {flag for text in PAGES.values() for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*", code(text))}
    assert named <= known
    assert named >= FOREIGN_FLAGS


def test_every_flag_and_call_of_the_sandbox_is_in_its_tables_and_no_other() -> None:
    cells = set(rows(section(README, "The sandbox"))) - {"flag", "call"}
    table = {cell.split()[0] if cell.startswith("--") else cell for cell in cells}
    calls = {f"{method} {route.path}" for route in routes for method in (route.methods or ()) if method != "HEAD"}
    assert table == (flags(sandbox_parser()) - {"--help"}) | calls


# Exit codes


def test_every_exit_code_is_in_its_table_and_no_other() -> None:
    raised = {kind.exit_code for kind in (errors.StatsigSyncError, *errors.StatsigSyncError.__subclasses__())}
    told = {int(code) for code in re.findall(r"^  (\d)  ", parser().epilog or "", re.M)}
    assert raised <= told
    assert set(rows(section(README, "Exit codes"))) - {"code"} == {str(code) for code in told}


# Ledgers and views


@pytest.mark.parametrize("relation", sorted(RELATIONS))
def test_every_column_of_a_ledger_or_view_is_in_its_table_with_its_type_and_no_other(relation: str) -> None:
    table = rows(section(section(README, "Ledgers and views"), f"`{relation}`"))
    columns = {column["name"]: column for column in RELATIONS[relation]["columns"]}
    assert set(table) - {"column"} == set(columns)
    for name, column in columns.items():
        required = any(constraint["type"] == "not_null" for constraint in column.get("constraints", []))
        assert table[name][0] == column["data_type"] + (" not null" if required else ""), name


def test_every_ledger_and_view_is_there_and_no_other() -> None:
    found = {title.strip("`") for _, level, title in headings(section(README, "Ledgers and views")) if level == 3}
    assert found == set(RELATIONS)


def test_queries_name_ledgers_and_views_that_there_are() -> None:
    queries = [query for text in PAGES.values() for query in re.findall(r"^```sql\n(.*?)^```", text, re.M | re.S)]
    named = {name for query in queries for name in re.findall(r"\bfrom (statsig_\w+)", query)}
    assert named
    assert named <= set(RELATIONS)


# Make


def test_every_make_target_is_in_its_table_and_no_other() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.+)$", makefile, re.M)
    table = rows(section(README, "How the project is laid out"))
    assert set(table) - {"target"} == {f"make {target}" for target in phony.split()}


# Coverage


def test_the_page_on_coverage_names_modules_that_there_are_and_the_share_that_is_asked_for() -> None:
    modules = [name for name in rows(COVERAGE) if name != "module"]
    assert modules
    assert [name for name in modules if not (ROOT / name).is_file()] == []
    (share,) = re.findall(r"^fail_under = (\d+)$", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert f"{share} %" in COVERAGE
    assert f"{share} %" in rows(section(README, "How the project is laid out"))["make coverage"][0]


# What the tool says


@functools.cache
def messages_of_the_code() -> tuple[re.Pattern[str], ...]:
    """Patterns of what the code can say, those with the most words of their own first.

    A value within a message, and one at its start, is as short as can be; one at its end takes the rest.
    """
    found: dict[str, int] = {}
    for file in (ROOT / "sync").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                texts = [part.value if isinstance(part, ast.Constant) else None for part in node.values]
            else:
                texts = [node.value if isinstance(node, ast.Constant) else None]
            own = [text for text in texts if isinstance(text, str)]
            pattern = "".join(re.escape(text) if isinstance(text, str) else ".+?" for text in texts)
            if sum(len(text) for text in own) >= 10:
                found[re.sub(r"\.\+\?$", ".*", pattern)] = sum(len(text) for text in own)
    return tuple(re.compile(pattern, re.I) for pattern in sorted(found, key=lambda one: -found[one]))


def words_that_the_code_does_not_say(line: str) -> list[str]:
    """Plain words of a line that are in no message of the code's."""
    for pattern in messages_of_the_code():
        line = pattern.sub(" ", line)
    return re.findall(r"(?<![\w./-])[a-z]{4,}(?![\w./-])", line)


def quoted_messages() -> list[str]:
    blocks = re.findall(r"^```text\n(.*?)^```", section(README, "Troubleshooting"), re.M | re.S)
    return [line for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("line", quoted_messages())
def test_a_message_in_troubleshooting_is_one_that_the_code_can_say(line: str) -> None:
    # Short words around messages and values in them: too short to be looked for in the code.
    around = {"build", "error", "environment", "ledgers", "failed", "sent", "model", "test"}
    assert set(words_that_the_code_does_not_say(line)) <= around


def test_a_message_that_the_code_does_not_say_is_noticed() -> None:
    (said,) = (line for line in quoted_messages() if "would remove" in line)
    assert "remove" in words_that_the_code_does_not_say(said.replace("would remove", "could remove"))


# Links, and the tests that prove the promises


def anchor(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", sorted(PAGES))
def test_links_lead_to_files_and_headings_that_there_are(page: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", PAGES[page]):
        if not target.startswith("https://"):
            path, _, name = target.partition("#")
            linked = (ROOT / page).parent / path if path else ROOT / page
            assert linked.exists(), target
            titles = {anchor(title) for _, _, title in headings(linked.read_text(encoding="utf-8"))}
            assert not name or name in titles, target


@functools.cache
def functions_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def test_every_test_that_the_pages_name_exists() -> None:
    named = {name for text in PAGES.values() for name in re.findall(r"`(tests/[\w/]+\.py::\w+)`", text)}
    assert len(named) > 50
    for name in sorted(named):
        file, _, function = name.partition("::")
        assert (ROOT / file).is_file(), name
        assert function in functions_in(file), name
