"""Events in doubt that Statsig is asked about: which of them to look for, when, and what it proves that one was found.

Statsig takes a request whole. So one event that is found proves that a request which carried it arrived, and with it
all that it carried. Where several requests in doubt have carried the event, it is not known which of them did: what is
proved then is what they all have carried.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

# How long after a request in doubt its events are looked for, in seconds. Statsig documents no time after which an
# event is in its logs: after the last look, one that was not found may still come, and is taken for not there.
LOOKS_AFTER = (30.0, 60.0, 120.0)
# Events that are looked for of those that were carried by the same requests: the logs may be sampled.
KEYS = 3
# The most groups of such events that one run looks for: a sync with more doubts has been without answers for days.
MOST_CELLS = 100

FOUND = "found in Statsig's logs"

Cell = frozenset[str]


def cells(carried: Mapping[str, Collection[str]]) -> dict[Cell, list[str]]:
    """The keys in doubt by the batches that have carried them; ``carried`` holds each batch's keys."""
    carriers: dict[str, set[str]] = defaultdict(set)
    for batch, keys in carried.items():
        for key in keys:
            carriers[key].add(batch)
    found: dict[Cell, list[str]] = defaultdict(list)
    for key in sorted(carriers):
        found[frozenset(carriers[key])].append(key)
    return dict(found)


def some(keys: list[str]) -> list[str]:
    """A few of the keys, from the first to the last."""
    count = min(KEYS, len(keys))
    return [keys[number * (len(keys) - 1) // max(count - 1, 1)] for number in range(count)]


def arrived(carried: Mapping[str, Collection[str]], found: Iterable[Cell]) -> frozenset[str]:
    """The batches all of whose keys have arrived, given the groups of which a key was found."""
    proved: set[str] = set()
    for cell in found:
        proved |= frozenset.intersection(*(frozenset(carried[batch]) for batch in cell))
    return frozenset(batch for batch, keys in carried.items() if keys and proved.issuperset(keys))
