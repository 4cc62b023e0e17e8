"""The first run of a segment sync: what the list holds already becomes the baseline."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from sync.core.clock import Clock
from sync.core.plan import SegmentFacts
from sync.core.segments import members
from sync.run.consoles import Consoles, LookedUp
from sync.run.members import read_members


def adopt(facts: SegmentFacts, looked_up: LookedUp, consoles: Consoles, clock: Clock) -> SegmentFacts:
    """The facts of a segment that the ledgers do not know, with the members that Statsig has as members.

    A mirror is exact from its first run on only when it knows who is in the list. Raises ``DeliveryError`` where the
    list cannot be read whole.
    """
    if looked_up.is_missing:
        return replace(facts, adopted=pl.Series("id", [], pl.String), is_missing=True)
    found = read_members(facts.sync, consoles, clock)
    baseline = members(found)
    others = facts.membership.join(baseline, on="id", how="anti")
    return replace(facts, adopted=found, membership=pl.concat([baseline, others.select(baseline.columns)]))
