"""Looks the segments of a plan up in Statsig, also those that do not change: what someone did to them is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sync.core.plan import SegmentFacts, plan_segment
from sync.edges.settings import key_faults
from sync.errors import ConfigError, DeliveryError, Fault
from sync.run.adopt import GatherAgain, adopt
from sync.run.consoles import Consoles, look_up_segment
from sync.run.decide import Gathered
from sync.run.gather_segments import Start
from sync.run.world import World


def look_up_segments(world: World, gathered: Gathered, consoles: Consoles, gather_again: GatherAgain) -> Gathered:
    """With what Statsig says of each segment: that it is to be made, or who is in it where the ledgers do not know.

    What Statsig says may be another start than what the ledgers say: then the segment is gathered once more.

    Raises ``ConfigError`` with the faults of all of these segments, ``DeliveryError`` where one that changes, or that
    the ledgers do not know, cannot be looked up or read.
    """
    found = _LookUps(world, consoles, gather_again)
    segments = tuple(found.of(facts) for facts in gathered.segments)
    if found.faults:
        raise ConfigError(list(found.faults))
    return replace(gathered, segments=segments, warnings=(*gathered.warnings, *found.warnings))


@dataclass
class _LookUps:
    """Look-ups one after the other.

    ``silent`` holds, by key, why Statsig did not answer for a segment that does not change.
    """

    world: World
    consoles: Consoles
    gather_again: GatherAgain
    warnings: list[str] = field(default_factory=list)
    faults: dict[Fault, None] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)

    def of(self, facts: SegmentFacts) -> SegmentFacts:
        """The facts with what Statsig says; the same where it cannot be asked, which is a warning."""
        endpoint = self.consoles.endpoint(facts.sync)
        if endpoint.key is None:
            self.warnings.append(_without_key(facts, endpoint.key_variable))
            return facts
        if key_problems := key_faults([facts.sync], self.world.environment):
            self.faults.update(dict.fromkeys(key_problems))
            return facts
        try:
            self.consoles.heartbeat()
            return self._where_it_matters(facts, endpoint.key_variable, lambda: self._looked_up(facts))
        except ConfigError as error:
            self.faults.update(dict.fromkeys(error.faults))
            return facts

    def _where_it_matters(
        self, facts: SegmentFacts, key_variable: str, look_up: Callable[[], SegmentFacts]
    ) -> SegmentFacts:
        """What ``look_up`` gives. Where nothing is to be sent, a Statsig that does not answer keeps nothing back.

        It is not asked again then: each answer that does not come takes its time.
        """
        if key_variable not in self.silent or not _is_idle(facts):
            try:
                return look_up()
            except DeliveryError as error:
                if not _is_idle(facts):
                    raise
                self.silent[key_variable] = str(error).removeprefix(f"{facts.sync.name}: ")
        segment_id = facts.config.segment_id
        self.warnings.append(
            f"{facts.sync.name}: nothing changes, and whether segment '{segment_id}' is still there is not known: "
            f"{self.silent[key_variable]}"
        )
        return facts

    def _looked_up(self, facts: SegmentFacts) -> SegmentFacts:
        looked_up = look_up_segment(facts.sync, facts.config, self.consoles)
        if fault := looked_up.fault_of(facts.sync, facts.config, facts.known_members):
            raise ConfigError([fault])
        self.warnings += looked_up.warnings(facts.sync, facts.config, facts.known_members)
        self.warnings += looked_up.emptied_warnings(facts.sync, facts.config, facts.known_members)
        if not facts.is_known:
            return adopt(facts, looked_up, self.consoles, self.world.clock, self.gather_again)
        if looked_up.is_missing:
            return replace(self.gather_again(facts, Start(is_gone=True)), is_missing=True)
        return facts


def _is_idle(facts: SegmentFacts) -> bool:
    """Whether nothing is to be sent for a segment that is there. To find that out is dear where the list is long."""
    return facts.is_known and not plan_segment(facts).keys


def _without_key(facts: SegmentFacts, key_variable: str) -> str:
    segment_id = facts.config.segment_id
    if facts.is_known:
        return f"{facts.sync.name}: segment '{segment_id}' was not looked at in Statsig: {key_variable} is not set."
    return (
        f"{facts.sync.name}: the ledgers know nothing of segment '{segment_id}', and without {key_variable} it was not "
        "looked at in Statsig and its members cannot be read; this plan takes it for empty."
    )
