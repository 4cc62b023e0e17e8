"""Renders the Jinja in ``dbt_project.yml`` and ``profiles.yml`` to the values that dbt renders it to.

Source: dbt-core 1.11, ``dbt/config/renderer.py`` and ``dbt_common/clients/jinja.py``. What only dbt itself
can know (``--vars``, its modules, its flags) is not there, and neither is a name that nothing defines, which dbt
would take for empty text: a warehouse is not found by a misspelt word.
"""

from __future__ import annotations

import ast
import datetime as dt
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from sync.edges.dbt_variables import as_templates_see


class TemplateError(Exception):
    """A template cannot be rendered. The message says why, and does not repeat it: there may be a password in it."""


def render(value: Any, environment: Mapping[str, str], target: Mapping[str, Any] | None = None) -> Any:
    """The value with its Jinja rendered. Raises ``TemplateError``, and ``RecursionError`` for what holds itself.

    ``target`` is what templates of ``dbt_project.yml`` may ask for; in ``profiles.yml`` there is none.
    """
    seen = as_templates_see(environment)

    def env_var(name: str, default: Any = None) -> Any:
        found = seen.get(name, default)
        if found is None:
            raise TemplateError(f"needs the environment variable '{name}', which is not set.")
        return found

    names: dict[str, Any] = {"env_var": env_var, "var": _var}
    return _render(value, names if target is None else {**names, "target": target})


def _var(name: str, *default: Any) -> Any:
    """The default, for what ``--vars`` said to dbt is not known here."""
    if not default:
        raise TemplateError(f"needs the variable '{name}' of dbt's --vars. Write var() with a default, or env_var().")
    return default[0]


def _render(value: Any, names: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _render_item(key, item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_render(item, names) for item in value]
    if isinstance(value, dt.date):
        return value.isoformat()
    return _render_text(value, names) if isinstance(value, str) else value


def _render_item(key: Any, item: Any, names: Mapping[str, Any]) -> Any:
    try:
        return _render(item, names)
    except TemplateError:
        # As in dbt: a password may look like a template.
        if key == "password":
            return item
        raise


_MARKUP = re.compile(r"{[{%#]|[#}%]}")
_LINE_END = re.compile(r"\r\n|\r|\n")


def _render_text(text: str, names: Mapping[str, Any]) -> Any:
    if not _MARKUP.search(text):
        # Jinja is slow to import, and many profiles do without it. It would take away the last line's end.
        lines = _LINE_END.split(text)
        return "\n".join(lines if lines[-1] else lines[:-1])
    # Not before it is needed: see above.
    from jinja2 import TemplateError as JinjaError  # noqa: PLC0415

    try:
        template = _jinja().from_string(text)
        return _checked(_joined(template.root_render_func(template.new_context(dict(names)))))
    except (TemplateError, RecursionError):
        raise
    except Exception as error:
        reason = error.message if isinstance(error, JinjaError) else type(error).__name__
        raise TemplateError(f"holds a template that cannot be rendered here: {reason}.") from error


@cache
def _jinja() -> Any:
    from jinja2 import StrictUndefined  # noqa: PLC0415
    from jinja2.nativetypes import NativeCodeGenerator  # noqa: PLC0415
    from jinja2.sandbox import SandboxedEnvironment  # noqa: PLC0415

    class _NativeSandbox(SandboxedEnvironment):
        code_generator_class = NativeCodeGenerator

    jinja = _NativeSandbox(undefined=StrictUndefined, extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"])
    jinja.filters.update(as_text=_AsText, as_native=_AsNative, as_bool=_AsBool, as_number=_AsNumber)
    return jinja


class _AsText(str):
    """Text that stays text."""

    __slots__ = ()


class _AsNative(str):
    """Text that stands for a literal of Python's, if it is one."""

    __slots__ = ()


class _AsBool(_AsNative):
    """Text that stands for a boolean."""

    __slots__ = ()


class _AsNumber(_AsNative):
    """Text that stands for a number."""

    __slots__ = ()


def _joined(parts: Iterator[Any]) -> Any:
    """What a template comes to: the value itself where it is one expression, text where it is more."""
    found = list(parts)
    if len(found) != 1:
        return "".join(str(part) for part in found)
    (only,) = found
    return _literal(only) if isinstance(only, _AsNative) else only


def _literal(text: _AsNative) -> Any:
    value = _evaluated(text)
    is_bool = isinstance(value, bool)
    is_number = isinstance(value, int | float) and not is_bool
    if (isinstance(text, _AsBool) and not is_bool) or (isinstance(text, _AsNumber) and not is_number):
        raise TemplateError(f"holds a template whose value is not what its filter {_FILTERS[type(text)]} asks for.")
    return value


_FILTERS: dict[type[str], str] = {_AsBool: "as_bool", _AsNumber: "as_number"}


def _evaluated(text: _AsNative) -> Any:
    # Beyond dbt, which knows True and False only.
    if isinstance(text, _AsBool) and text in ("true", "false"):
        return text == "true"
    try:
        return ast.literal_eval(str(text))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return str(text)


def _checked(value: Any) -> Any:
    """The value, where it is one that YAML could hold."""
    from jinja2 import Undefined  # noqa: PLC0415

    if isinstance(value, Undefined):
        # Any use of it says what is not defined.
        str(value)
    if isinstance(value, str):
        return str(value)
    if value is None or isinstance(value, bool | int | float | list | dict | tuple):
        return value
    raise TemplateError("holds a template that is no value.")
