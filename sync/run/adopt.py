"""The first run of a segment sync: what the list holds already becomes the baseline."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from sync.core import preflight
from sync.core.delivery import State
from sync.core.plan import SegmentFacts
from sync.core.segments import members
from sync.errors import ConfigError, DeliveryError
from sync.run.consoles import Consoles, look_up_segment
from sync.spec.model import Sync


def adopt(facts: SegmentFacts, consoles: Consoles) -> SegmentFacts:
    """The facts of a segment that the ledgers do not know, with the members that Statsig has as members.

    A mirror is exact from its first run on only when it knows who is in the list. Raises ``ConfigError``
    where the segment is not what the sync says, ``DeliveryError`` where the list cannot be read whole.
    """
    looked_up = look_up_segment(facts.sync, facts.config, consoles)
    if looked_up.fault:
        raise ConfigError([looked_up.fault])
    if looked_up.is_missing:
        return replace(facts, adopted=pl.Series("id", [], pl.String))
    found = read_members(facts.sync, consoles)
    baseline = members(found)
    others = facts.membership.join(baseline, on="id", how="anti")
    return replace(facts, adopted=found, membership=pl.concat([baseline, others.select(baseline.columns)]))


def read_members(sync: Sync, consoles: Consoles) -> pl.Series:
    """All ids of a sync's list in Statsig, each once. Raises ``DeliveryError`` where a page cannot be read."""
    pages: list[pl.Series] = []
    for ids, outcome in consoles.of(sync).id_pages(sync.destination):
        if ids is None:
            variable = consoles.endpoint(sync).key_variable
            reason = (
                "Statsig's answer is not a page of ids."
                if outcome.state is State.ACCEPTED
                else preflight.explain(outcome, variable)
            )
            raise DeliveryError(
                f"{sync.name}: the members of segment '{sync.destination}' could not be read: {reason} "
                "Nothing was sent."
            )
        pages.append(pl.Series("id", ids, pl.String))
        consoles.heartbeat()
    return pl.concat(pages).unique(maintain_order=True)
