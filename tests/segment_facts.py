"""Facts of segment syncs as if they had been read, for tests of what is decided of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from sync.core import comparison
from sync.core.plan import SegmentFacts
from sync.core.segments import IN, MEMBERSHIP, UNCERTAIN, Change, Counts
from sync.spec.model import SegmentConfig, Sync


def series(ids: Iterable[str]) -> pl.Series:
    return pl.Series("id", list(ids), pl.String)


def change_of(mode: str, audience: pl.Series, membership: pl.DataFrame, is_gone: bool = False) -> Change:
    return comparison.change(comparison.compared(comparison.rule(mode, is_gone), audience, membership))


def by_status(membership: pl.DataFrame) -> Mapping[str, int]:
    return dict(membership.group_by("status").len().iter_rows())


def segment_facts(
    config: SegmentConfig, audience: Iterable[str], membership: pl.DataFrame | None = None, **more: Any
) -> SegmentFacts:
    """The facts of the sync ``people`` with this configuration; ``more`` are fields of the facts."""
    rows = series(audience)
    known = pl.DataFrame(schema=MEMBERSHIP) if membership is None else membership
    is_gone = more.get("is_missing", False) and more.get("is_known", True)
    found = comparison.compared(comparison.rule(config.mode, is_gone), rows, known)
    ids = by_status(known)
    size = comparison.audience_size(found, ids)
    counts = Counts(len(rows), size, ids.get(IN, 0), ids.get(UNCERTAIN, 0))
    sync = more.pop("sync", Sync("people", "models/_exposures.yml", "model.shop.people", config))
    project = more.pop("project", "statsig")
    return SegmentFacts(sync, config, project, counts, comparison.change(found), 0, **more)
