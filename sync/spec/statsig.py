"""Statsig's own limits and rules, in one place.

Sources: Statsig's HTTP API reference (``log_event``), its Console API reference (version 20240601,
segments), and its page on custom events. Where two pages disagree, the stricter figure stands here.
"""

from __future__ import annotations

import re

MAX_EVENTS_PER_REQUEST = 500
MAX_EVENT_BODY_BYTES = 1024 * 1024
MAX_IDS_PER_REQUEST = 10_000
MAX_IDS_PER_PROJECT = 10_000_000

# A list of up to 1,000 ids travels with the configuration; a longer one has a slower way of its own,
# and above 10,000 it is slower still.
ID_LIST_INLINE_LIMIT = 1_000
ID_LIST_FAST_LIMIT = 10_000

# Names and values are documented as shorter than 128 characters.
MAX_TEXT_LENGTH = 127
# Another page says 64 for both; and objects are documented as at most so many characters of JSON. What is longer "may
# be trimmed or stripped" in silence.
KEPT_TEXT_LENGTH = 64
KEPT_JSON_LENGTH = 4096

# Statsig silently drops an event whose name holds one of these.
FORBIDDEN_IN_EVENT_NAME = "\\[]{}<>#=;&$%|\0\r\n"

SEGMENT_ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{3,100}")

# The windows of the Console API's rate limits, in seconds.
LIMIT_WINDOWS = (10, 900)
# Seconds after which a 429 that does not say how long it lasts is tried again: the short window, then the long one.
LIMIT_PAUSES = (10.0, 900.0)

MAX_DESCRIPTION_LENGTH = 1_000
MAX_LOG_ROWS = 1_000
# How many ids of a list to ask for at once: what is the most that Statsig gives is not documented.
ID_PAGE_SIZES = (10_000, 1_000, 100, 10)

# An event goes by one of these unless the project has environments of its own.
USUAL_ENVIRONMENTS = ("production", "staging", "development")

SERVER_SECRET_VARIABLE = "STATSIG_SERVER_SECRET"  # noqa: S105 - a variable's name
CONSOLE_KEY_VARIABLE = "STATSIG_CONSOLE_API_KEY"
SERVER_SECRET_PREFIX = "secret-"  # noqa: S105 - how such a key starts
CONSOLE_KEY_PREFIX = "console-"
CLIENT_KEY_PREFIX = "client-"


def event_name_problem(name: str) -> str | None:
    """Why Statsig would drop or misread an event of this name; None when it would take it."""
    if not name.strip():
        return "is blank"
    if forbidden := sorted(set(name) & set(FORBIDDEN_IN_EVENT_NAME)):
        listed = " ".join(repr(character) for character in forbidden)
        return f"holds {listed}, and Statsig silently drops an event with such a name"
    if len(name) > MAX_TEXT_LENGTH:
        return f"is {len(name)} characters long; Statsig takes up to {MAX_TEXT_LENGTH}"
    return None
