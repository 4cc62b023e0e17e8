"""Plans of an event sync, for tests that need one and not how it came about."""

from __future__ import annotations

from typing import Any

from sync.core.history import EventHistory, KeySource
from sync.core.lineage import Identity, Lineage
from sync.core.plan import EventBatch, EventPlan, EventTraits
from sync.spec.model import EventConfig, Sync

KEYS = KeySource("model.shop.orders", "id, whole number")
HISTORY = EventHistory(keys_were_from=KEYS)


def event_plan(events: int, history: EventHistory = HISTORY, has_time: bool = True, **more: Any) -> EventPlan:
    """The plan of a sync with so many events to send; what is not a key of the configuration is one of the plan."""
    named = {key: more.pop(key) for key in list(more) if key in EventConfig.model_fields}
    config = EventConfig.model_validate({"object": "events", "unique_key": "id", "backfill": "all", **named})
    return EventPlan(
        sync=Sync("orders", "models/_exposures.yml", "model.shop.orders", config),
        config=config,
        lineage=Lineage(Identity("statsig", "orders")),
        traits=EventTraits("order", ("id",), has_time, "id"),
        keys_from=KEYS,
        history=history,
        may_resend=True,
        rows_read=100,
        batches=(EventBatch(0, events, 1),) if events else (),
        skipped=0,
        skip_records=(),
        reject_records=(),
        rejected_rows={},
        samples=(),
        last_sequence=0,
        **more,
    )
