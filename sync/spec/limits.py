"""Statsig's rate limits on the Console API, which count per Statsig project, over all of its keys.

Source: Statsig's Console API reference and the pages of its id_list calls. Where two pages disagree, the stricter
figure stands here. A project may have more.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sync.spec.numbers import NoTruth
from sync.spec.statsig import LIMIT_WINDOWS

_SHORT, _LONG = LIMIT_WINDOWS


# How many requests an event sync may have in flight, and how many it has where it does not say.
MAX_CONCURRENCY, USUAL_CONCURRENCY = 64, 8

_Requests = Annotated[int, NoTruth, Field(ge=1, le=1_000_000)]
# Requests, and the seconds in which there may be so many.
Rates = tuple[tuple[int, int], ...]


class Limits(BaseModel):
    """How many requests a project takes: ``limits`` of a sync.

    All calls that change something count as changes. Adding to an ID list and removing from one count as changes
    of ID lists, too. Reads of ID lists have windows of their own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    changes_per_10_seconds: _Requests = 100
    changes_per_15_minutes: _Requests = 900
    id_list_changes_per_10_seconds: _Requests = 12
    id_list_changes_per_15_minutes: _Requests = 900
    id_list_reads_per_10_seconds: _Requests = 12
    id_list_reads_per_15_minutes: _Requests = 900

    @property
    def changes(self) -> Rates:
        """The limits on all changes."""
        return (self.changes_per_10_seconds, _SHORT), (self.changes_per_15_minutes, _LONG)

    @property
    def id_list_changes(self) -> Rates:
        """The limits on changes of ID lists by themselves."""
        return (self.id_list_changes_per_10_seconds, _SHORT), (self.id_list_changes_per_15_minutes, _LONG)

    @property
    def id_list_reads(self) -> Rates:
        """The limits on reads of ID lists."""
        return (self.id_list_reads_per_10_seconds, _SHORT), (self.id_list_reads_per_15_minutes, _LONG)
