"""A sync: an exposure, the model that it depends on, and what it becomes in Statsig."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from sync.spec.limits import MAX_CONCURRENCY, USUAL_CONCURRENCY, Limits
from sync.spec.numbers import NoTruth
from sync.spec.statsig import CONSOLE_KEY_VARIABLE, SERVER_SECRET_VARIABLE

# Fields of Statsig's event that a column can be mapped to, and the JSON key of each inside ``user``.
USER_FIELDS = {
    "email": "email",
    "ip": "ip",
    "user_agent": "userAgent",
    "country": "country",
    "locale": "locale",
    "app_version": "appVersion",
}
MAPPABLE_FIELDS = ("user_id", "event_name", "event_value", "event_time", "custom", *USER_FIELDS)

STATSIG_ID_TYPES = {"user_id": "userID", "stable_id": "stableID"}


class _Config(BaseModel):
    # A number, a boolean or a date is not taken for text: YAML has changed it before, such as 2026_01 to 202601.
    model_config = ConfigDict(frozen=True, extra="forbid")


def _text_of_date(value: Any) -> Any:
    if value is None:
        raise ValueError("is written, but empty")
    return value.isoformat() if isinstance(value, dt.date) else value


def _listed(value: Any) -> Any:
    """One former name, or several, as a list of mappings; what is neither is left to be found fault with."""
    several = list(value) if isinstance(value, list | tuple) else [value]
    # What YAML has not read as text is one name as well: a wrong one.
    return [{"exposure": one} if isinstance(one, str | int | float | dt.date) else one for one in several]


class Former(_Config):
    """What a sync was called before: its exposure, the variable (or ``statsig_project``) of its key, or both."""

    exposure: str | None = Field(default=None, min_length=1)
    api_key_env: str | None = Field(default=None, min_length=1)

    @property
    def project(self) -> str | None:
        """The Statsig project's name in the ledgers; None for the one whose keys are in the usual variables."""
        return None if self.api_key_env in (SERVER_SECRET_VARIABLE, CONSOLE_KEY_VARIABLE) else self.api_key_env


Formers = Annotated[tuple[Former, ...], BeforeValidator(_listed)]


# Infinity and NaN would be bounds that no number is beyond.
_Count = Annotated[int, NoTruth, Field(ge=0)]
_Times = Annotated[float, NoTruth, Field(ge=1, allow_inf_nan=False)]
_Percent = Annotated[float, NoTruth, Field(ge=0, le=100, allow_inf_nan=False)]


class EventGuard(_Config):
    """When events are refused: where there are more than this, more than is usual, or too many rows share keys.

    ``allow_gone_keys`` says that the model holds the newest rows only, so that keys go from run to run.
    """

    max_events: _Count = 1_000_000
    max_times_usual: _Times = 10
    max_duplicates_percent: _Percent = 5
    allow_gone_keys: bool = False


class Guard(_Config):
    """When a mirror is refused: where it would remove more than both of these, or empty the segment."""

    max_removals: _Count = 5
    max_removals_percent: _Percent = 20
    allow_empty: bool = False


class _ProjectConfig(_Config):
    """What every sync may say: which Statsig project it goes to, and how old its data may be."""

    api_key_env: str | None = None
    statsig_project: str | None = None
    limits: Limits | None = None
    max_age: str | None = None

    @property
    def project(self) -> str | None:
        """The Statsig project's name in the ledgers; None for the one that the usual variables hold the keys of."""
        is_usual = self.api_key_env in (SERVER_SECRET_VARIABLE, CONSOLE_KEY_VARIABLE)
        return self.statsig_project or (None if is_usual else self.api_key_env)


class SegmentConfig(_ProjectConfig):
    """``config.meta.statsig`` of a sync that keeps the members of an ID list segment."""

    object: Literal["segment"]
    segment_id: str = Field(min_length=1)
    mode: Literal["add", "remove", "mirror"]
    id_type: Literal["user_id", "stable_id", "custom_id"] = "user_id"
    custom_id: str | None = None
    create_if_missing: bool = False
    on_first_run: Literal["adopt", "refuse", "reset"] = "adopt"
    guard: Guard = Guard()
    diff: Literal["auto", "polars", "warehouse"] = "auto"
    renamed_from: Formers = ()
    columns: dict[str, str] = Field(default_factory=dict)
    custom_ids: dict[str, str] = Field(default_factory=dict)
    exclude: tuple[str, ...] = ()

    @property
    def statsig_id_type(self) -> str:
        """The id type as the Console API spells it: ``userID``, ``stableID`` or a custom id's name."""
        return self.custom_id or STATSIG_ID_TYPES[self.id_type]

    @property
    def id_column(self) -> str:
        """The column that holds the ids: as mapped, else the column with the id type's own name."""
        if self.id_type == "user_id":
            return self.columns.get("user_id", "user_id")
        own_name = "stable_id" if self.id_type == "stable_id" else self.statsig_id_type
        return self.custom_ids.get(self.statsig_id_type, own_name)


class EventConfig(_ProjectConfig):
    """``config.meta.statsig`` of a sync that sends events, each once, by ``unique_key``."""

    object: Literal["events"]
    unique_key: str = Field(min_length=1)
    mode: Literal["insert"] = "insert"
    event_name: str | None = None
    environment: str = Field(default="production", min_length=1, max_length=64)
    columns: dict[str, str] = Field(default_factory=dict)
    custom_ids: dict[str, str] = Field(default_factory=dict)
    exclude: tuple[str, ...] = ()
    # YAML reads a bare date as a date; dbt hands it on as text. Both are the same setting.
    backfill: Annotated[str | None, BeforeValidator(_text_of_date)] = None
    guard: EventGuard = EventGuard()
    renamed_from: Formers = ()
    on_unknown: Literal["resend", "hold", "ask"] = "resend"
    ask_then: Literal["resend", "hold"] = "resend"
    concurrency: Annotated[int, NoTruth, Field(ge=1, le=MAX_CONCURRENCY)] = USUAL_CONCURRENCY

    @property
    def unknown_then(self) -> Literal["resend", "hold"]:
        """What becomes of an event in doubt that Statsig is not asked about, or that it does not know."""
        return self.ask_then if self.on_unknown == "ask" else self.on_unknown

    @property
    def backfill_from(self) -> dt.date | None:
        """The first day (UTC) whose events the first run sends; None where ``backfill`` is no date."""
        if self.backfill is None or self.backfill in ("all", "none"):
            return None
        return dt.date.fromisoformat(self.backfill)


@dataclass(frozen=True)
class Labels:
    """What an exposure says of itself, and a new segment takes over."""

    description: str = ""
    tags: tuple[str, ...] = ()
    owner_email: str | None = None


def labels_of(description: Any, owner: Any, tags: Any) -> Labels:
    """The labels, from what dbt writes of an exposure: ``owner`` is a mapping with one email or several."""
    email = owner.get("email") if isinstance(owner, dict) else None
    emails = email if isinstance(email, list) else [email]
    listed = [tags] if isinstance(tags, str) else tags if isinstance(tags, list) else []
    return Labels(
        description if isinstance(description, str) else "",
        tuple(dict.fromkeys(tag for tag in listed if isinstance(tag, str))),
        next((one for one in emails if isinstance(one, str) and one.strip()), None),
    )


@dataclass(frozen=True)
class Exposure:
    """A dbt exposure as the manifest has it, as far as a sync needs it.

    ``file`` is its YAML file, ``depends_on`` the unique ids of the nodes that it depends on, and
    ``meta`` the raw value of ``config.meta.statsig``.
    """

    name: str
    file: str
    depends_on: tuple[str, ...]
    meta: Any
    labels: Labels = field(default_factory=Labels, compare=False)


@dataclass(frozen=True)
class Sync:
    """One sync: the exposure's name and file, its model's unique id, and its configuration."""

    name: str
    file: str
    model: str
    config: SegmentConfig | EventConfig
    labels: Labels = field(default_factory=Labels, compare=False)

    @property
    def destination(self) -> str:
        """What the ledgers call the other end: the segment's id, or ``log_event``."""
        return self.config.segment_id if isinstance(self.config, SegmentConfig) else "log_event"
