"""Why a row was not sent, or was sent without a part: the reasons as the reject ledger spells them."""

from __future__ import annotations

NULL_ID = "null_id"
BLANK_ID = "blank_id"
OUTER_WHITESPACE = "outer_whitespace"

MISSING_UNIQUE_KEY = "missing_unique_key"
DUPLICATE_KEY = "duplicate_key"
MISSING_EVENT_NAME = "missing_event_name"
INVALID_EVENT_NAME = "invalid_event_name"
INVALID_EVENT_TIME = "invalid_event_time"
MISSING_IDENTIFIER = "missing_identifier"
EVENT_TOO_LARGE = "event_too_large"
NOT_STRICT_JSON = "not_strict_json"
REFUSED_BY_STATSIG = "refused_by_statsig"

# Parts that an event can go without.
INVALID_CUSTOM = "invalid_custom"
INVALID_EVENT_VALUE = "invalid_event_value"

NOT_SENT = "not_sent"
SENT_WITHOUT = "sent_without"

MEANING = {
    NULL_ID: "the id is null",
    BLANK_ID: "the id is empty or only white space",
    OUTER_WHITESPACE: "the id starts or ends with white space, so it would never match a user",
    MISSING_UNIQUE_KEY: "the unique_key column is null, so the event could be sent twice",
    DUPLICATE_KEY: "another row with the same unique_key is the one that is sent",
    MISSING_EVENT_NAME: "the event has no name",
    INVALID_EVENT_NAME: "Statsig drops an event of this name",
    INVALID_EVENT_TIME: "the time is no date, timestamp, epoch seconds or ISO 8601 text between 1970 and 2100",
    MISSING_IDENTIFIER: "the row has neither a user id nor a custom id",
    EVENT_TOO_LARGE: "the event alone is larger than one request may be",
    NOT_STRICT_JSON: "the event cannot be written as JSON",
    REFUSED_BY_STATSIG: "Statsig refused this row; detail has its message",
    INVALID_CUSTOM: "custom is not a JSON object of strings, numbers, booleans and lists of strings, each key once",
    INVALID_EVENT_VALUE: "the value is not a finite number, or is text of 128 characters or more",
}
