"""The first run of a segment sync: what the list holds already becomes the baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import polars as pl

from sync.core.clock import Clock
from sync.core.plan import SegmentFacts
from sync.run.consoles import Consoles, LookedUp
from sync.run.gather_segments import Start
from sync.run.members import read_members

# Gathers a segment once more, from another start; ``sync.run.gather_segments.Again`` is one.
GatherAgain = Callable[[SegmentFacts, Start], SegmentFacts]


def adopt(
    facts: SegmentFacts, looked_up: LookedUp, consoles: Consoles, clock: Clock, gather_again: GatherAgain
) -> SegmentFacts:
    """The facts of a segment that the ledgers do not know, with the members that Statsig has as members.

    A mirror is exact from its first run on only when it knows who is in the list. Raises ``DeliveryError`` where the
    list cannot be read whole.
    """
    if looked_up.is_missing:
        return replace(facts, adopted=pl.Series("id", [], pl.String), is_missing=True)
    listed = read_members(facts.sync, consoles, clock)
    # Where nobody is in the list, the ledgers know as much of it.
    found = gather_again(facts, Start(listed=listed)) if len(listed) else facts
    return replace(found, adopted=listed)
