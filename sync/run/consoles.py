"""The Console API for a run: one client per key, and what Statsig says of a sync's segment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from sync.core import preflight
from sync.core.delivery import Patience
from sync.edges.settings import Endpoint, console_endpoint, endpoint, key_fault
from sync.errors import DeliveryError, Fault
from sync.run.world import World
from sync.spec.model import SegmentConfig, Sync
from sync.spec.parse import META_PATH, limits_of, parse_syncs

if TYPE_CHECKING:
    from sync.edges.statsig import ConsoleClient, RateLimits


class Consoles:
    """One Console API client per address and key, and the rate limits of each Statsig project, which its keys share.

    ``earlier_requests`` gives, for a project, how many seconds ago earlier runs sent requests that still
    count against the limits. ``heartbeat`` is called between the requests of what takes many of them.
    """

    def __init__(
        self, world: World, patience: Patience, stack: ExitStack, heartbeat: Callable[[], None] = lambda: None
    ) -> None:
        self._world, self._patience, self._stack = world, patience, stack
        self.heartbeat = heartbeat
        self.earlier_requests: Mapping[str, Sequence[float]] = {}
        self._clients: dict[tuple[str, str], ConsoleClient] = {}
        self._limits: dict[str, RateLimits] = {}

    def endpoint(self, sync: Sync) -> Endpoint:
        """Where the sync's requests go."""
        return endpoint(sync, self._world.environment)

    def of(self, sync: Sync) -> ConsoleClient:
        """The client for a segment sync."""
        return self._client(self.endpoint(sync))

    def beside(self, sync: Sync) -> tuple[ConsoleClient, Endpoint] | None:
        """The client for the Statsig project of an event sync; None where no Console key is known for it."""
        found = console_endpoint(sync, self._syncs, self._world.environment)
        return (self._client(found), found) if found is not None else None

    def _client(self, found: Endpoint) -> ConsoleClient:
        identity = (found.url, found.key_variable)
        if identity not in self._clients:
            # Slow to import, and most runs have nothing to send.
            from sync.edges.statsig import ConsoleClient  # noqa: PLC0415

            client = ConsoleClient(
                found.url, found.required_key.reveal(), self._world.clock, self._patience, self._limits_of(found)
            )
            self._clients[identity] = self._stack.enter_context(closing(client))
        return self._clients[identity]

    def _limits_of(self, found: Endpoint) -> RateLimits:
        if found.project not in self._limits:
            from sync.edges.statsig import RateLimits  # noqa: PLC0415

            project_limits = limits_of(found.project_name, self._syncs)
            limits = RateLimits(project_limits, self._world.clock, self._patience.should_stop)
            limits.count_earlier(self.earlier_requests.get(found.project, ()))
            self._limits[found.project] = limits
        return self._limits[found.project]

    @cached_property
    def _syncs(self) -> tuple[Sync, ...]:
        """All syncs of the dbt project: what one of them says of a Statsig project counts for all."""
        return parse_syncs(self._world.graph.exposures)[0]


@dataclass(frozen=True)
class LookedUp:
    """A sync's segment in Statsig: what is wrong with it (None where nothing is), whether it has to be made.

    ``is_key_fault`` says that the fault is one of the key, so of every segment that is read with it; ``warning`` is
    what is worth knowing of a segment that can be written all the same. ``is_empty`` says that Statsig counts no id.
    """

    fault: Fault | None
    is_missing: bool
    description: str
    count: int = 0
    is_key_fault: bool = False
    warning: str | None = None
    is_empty: bool = False

    def fault_of(self, sync: Sync, config: SegmentConfig, known_members: int | None) -> Fault | None:
        """The fault, given how many members the ledgers know; None where they know nothing of the segment."""
        if self.is_missing and known_members is not None and not config.create_if_missing:
            return segment_fault(sync, preflight.vanished(config, known_members))
        return self.fault

    def warnings(self, sync: Sync, config: SegmentConfig, known_members: int | None) -> tuple[str, ...]:
        """What is worth knowing of it, given the same."""
        is_gone = self.is_missing and known_members is not None
        found = [preflight.vanished(config, known_members or 0)] if is_gone else []
        return tuple(f"{sync.name}: {one}" for one in (*found, self.warning) if one)

    def emptied_warnings(self, sync: Sync, config: SegmentConfig, known_members: int | None) -> tuple[str, ...]:
        """What to say of a list without ids whose members the ledgers know, given the same.

        What is still to be sent is not among these, so no run explains it. Whom others leave in a list, ``remove`` does
        not answer for.
        """
        if not self.is_empty or not known_members or config.mode == "remove":
            return ()
        return (f"{sync.name}: {preflight.emptied(config, sync.name, known_members)}",)


def segment_fault(sync: Sync, problem: str) -> Fault:
    """A fault of the segment that a sync names."""
    return Fault(sync.file, f"exposure {sync.name}", f"{META_PATH}.segment_id", problem)


def look_up_segment(sync: Sync, config: SegmentConfig, consoles: Consoles) -> LookedUp:
    """Asks Statsig for the sync's segment. Raises ``DeliveryError`` where there is no answer to go by."""
    segment, outcome = consoles.of(sync).segment(config.segment_id)
    if segment is not None:
        problem = preflight.segment_problem(config, segment.type, segment.id_type)
        if segment.is_archived:
            problem = preflight.archived(config)
        description = f"segment {config.segment_id}, ID list of {segment.id_type}, {segment.count:,} ids"
        warning = None if segment.is_enabled else preflight.disabled(config)
        fault = segment_fault(sync, problem) if problem else None
        return LookedUp(
            fault, False, description, segment.count, warning=warning, is_empty=segment.is_counted and not segment.count
        )
    if outcome.http_status in (401, 403):
        return LookedUp(key_fault(sync, preflight.key_refused(outcome.http_status)), False, "", is_key_fault=True)
    if outcome.http_status == 404:
        fault = None if config.create_if_missing else segment_fault(sync, preflight.missing_problem(config))
        return LookedUp(fault, True, f"segment {config.segment_id} is not there; run creates it")
    endpoint = consoles.endpoint(sync)
    reason = preflight.explain(outcome, endpoint.key_variable, endpoint.url)
    raise DeliveryError(
        f"{sync.name}: segment '{config.segment_id}' could not be looked up: {reason} Nothing was sent."
    )
