"""Asks the real dbt what it finds: ``python -m tests.integration.dbt_places`` reads arrangements, writes answers.

dbt takes seconds to start, so one process answers for all of them: for each, ``dbt debug``, whose output names the
files, and ``dbt run-operation``, which opens the warehouse and writes into the target path. Both go the way of
``dbt build``, but for the parsing of the project: the macro comes from a manifest that was parsed once.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_MACRO = """
{% macro where() %}
  {% set opened = run_query("select path from duckdb_databases() where database_name = current_database()") %}
  {% set found = {"profile": target.profile_name, "target": target.name, "database": opened.columns[0][0]} %}
  {% do log("FOUND " ~ tojson(found), info=true) %}
{% endmacro %}
"""


def main() -> None:
    """Answers each arrangement of standard input, in a folder of dbt's own."""
    asked = json.load(sys.stdin)
    manifest = _manifest(Path(asked["scratch"]))
    answers = {
        "places": [_answer(manifest, Path(asked["root"]), one) for one in asked["arrangements"]],
        "values": [_rendered(text, asked["variables"]) for text in asked["templates"]],
        "variables": _variables(),
    }
    Path(asked["answers"]).write_text(json.dumps(answers))


def _manifest(folder: Path) -> Any:
    (folder / "macros").mkdir(parents=True)
    (folder / "macros" / "where.sql").write_text(_MACRO)
    (folder / "dbt_project.yml").write_text("{name: shop, version: '1.0', profile: shop}")
    outputs = {"dev": {"type": "duckdb", "path": str(folder / "scratch.duckdb")}}
    (folder / "profiles.yml").write_text(json.dumps({"shop": {"target": "dev", "outputs": outputs}}))
    os.chdir(folder)
    return _invoke(["parse"], None).result


def _invoke(arguments: Sequence[str], manifest: Any, messages: list[str] | None = None) -> Any:
    from dbt.cli.main import dbtRunner

    def keep(event: Any) -> None:
        if messages is not None:
            messages.append(event.info.msg)

    return dbtRunner(manifest=manifest, callbacks=[keep]).invoke(list(arguments))


def _answer(manifest: Any, root: Path, arrangement: dict[str, Any]) -> dict[str, Any]:
    _forget_connections()
    os.chdir(arrangement["cwd"])
    os.environ.clear()
    os.environ.update(arrangement["environment"])
    said: list[str] = []
    _invoke(["debug", *arrangement["flags"]], None, said)
    _forget_connections()
    ran: list[str] = []
    has_run = _invoke(["run-operation", "where", *arrangement["flags"]], manifest, ran).success
    return {**_said(said), **_ran(ran), "has_run": has_run, "artifacts": _artifacts(root)}


def _rendered(text: str, variables: dict[str, str]) -> list[Any]:
    """What a template of profiles.yml comes to, in a list; an empty one where it fails."""
    from dbt.config.renderer import ProfileRenderer
    from dbt_common.context import get_invocation_context, set_invocation_context

    set_invocation_context(variables)
    assert dict(get_invocation_context().env) == variables
    try:
        return [ProfileRenderer({}).render_value(text)]
    except Exception:
        return []


def _variables() -> list[str]:
    """The variables of dbt's that have two names: the older ones."""
    from dbt.env_vars import KNOWN_ENGINE_ENV_VARS

    return sorted(one.old_name for one in KNOWN_ENGINE_ENV_VARS if one.old_name)


def _forget_connections() -> None:
    """A process of dbt's works on one warehouse; this one works on many."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    DuckDBConnectionManager.close_all_connections()


_SAYS = {
    "Using profiles.yml file at ": "profiles_file",
    "Using dbt_project.yml file at ": "project_file",
    "  path: ": "path",
}


def _said(messages: Sequence[str]) -> dict[str, str]:
    """What ``dbt debug`` says, with paths made absolute."""
    return {
        key: os.path.normpath(os.path.abspath(message.removeprefix(start)))
        for message in messages
        for start, key in _SAYS.items()
        if message.startswith(start)
    }


def _ran(messages: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for message in messages:
        if message.startswith("FOUND "):
            found = json.loads(message.removeprefix("FOUND "))
    return found


def _artifacts(root: Path) -> str | None:
    """The folder into which dbt has written its results."""
    written = list(root.rglob("run_results.json"))
    for file in written:
        file.unlink()
    return str(written[0].parent) if written else None


if __name__ == "__main__":
    main()
