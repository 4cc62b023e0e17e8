"""dbt's own environment variables, each of which has two names: ``DBT_ENGINE_TARGET`` and ``DBT_TARGET``.

Source: dbt-core 1.11, ``dbt/cli/params.py`` and ``dbt/cli/requires.py``.
"""

from __future__ import annotations

from collections.abc import Mapping

_PREFIX, _ENGINE = "DBT_", "ENGINE_"

# The options and switches of dbt that have both names; a test compares them with dbt's own list.
_NAMES = """
ARTIFACT_STATE_PATH CACHE_SELECTED_ONLY CLEAN_PROJECT_FILES_ONLY DEBUG DEFER DEFER_STATE DEFER_TO_STATE
DOWNLOAD_DIR EMPTY EVENT_TIME_END EVENT_TIME_START EXCLUDE_RESOURCE_TYPES EXPORT_SAVED_QUERIES FAIL_FAST
FAVOR_STATE FAVOR_STATE_MODE FULL_REFRESH HOST INCLUDE_SAVED_QUERY INDIRECT_SELECTION INTROSPECT INVOCATION_ENV
LOG_CACHE_EVENTS LOG_FILE_MAX_BYTES LOG_FORMAT LOG_FORMAT_FILE LOG_LEVEL LOG_LEVEL_FILE LOG_PATH MACRO_DEBUGGING
NO_PRINT PACKAGE_HUB_URL PARTIAL_PARSE PARTIAL_PARSE_FILE_DIFF PARTIAL_PARSE_FILE_PATH POPULATE_CACHE
PP_FILE_DIFF_TEST PP_TEST PRINT PRINTER_WIDTH PROFILE PROFILES_DIR PROJECT_DIR QUIET RECORDED_FILE_PATH
RESOURCE_TYPES SAMPLE SEND_ANONYMOUS_USAGE_STATS SHOW_RESOURCE_REPORT SINGLE_THREADED STATE STATIC_PARSER
STORE_FAILURES TARGET TARGET_PATH TEST_STATE_MODIFIED UPLOAD_TO_ARTIFACTS_INGEST_API USE_COLORS USE_COLORS_FILE
USE_EXPERIMENTAL_PARSER USE_FAST_TEST_EDGES VERSION_CHECK WARN_ERROR WARN_ERROR_OPTIONS WRITE_JSON
"""
KNOWN = frozenset(_NAMES.split())


def option(environment: Mapping[str, str], name: str) -> str | None:
    """What dbt takes for the option behind ``name``, such as ``DBT_TARGET``. A variable that is empty is not set."""
    return environment.get(_engine_name(name.removeprefix(_PREFIX))) or environment.get(name) or None


def as_templates_see(environment: Mapping[str, str]) -> dict[str, str]:
    """What ``env_var`` finds in dbt's files: each of dbt's variables under both names; the newer name wins."""
    seen = dict(environment)
    for name in KNOWN:
        old, new = f"{_PREFIX}{name}", _engine_name(name)
        if new in environment:
            seen[old] = environment[new]
        elif old in environment:
            seen[new] = environment[old]
    return seen


def _engine_name(name: str) -> str:
    return f"{_PREFIX}{_ENGINE}{name}"
