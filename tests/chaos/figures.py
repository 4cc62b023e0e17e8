"""What the chaos test has seen, in figures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields


@dataclass
class Figures:
    """Counts over any number of seeds.

    ``ends`` counts runs by exit code, ``blows`` signals by their name and moment, ``faults`` those of the
    sandbox by kind, ``doubts`` batches that the ledgers are not sure of, by operation; ``repeated`` counts
    events that arrived more than once and ``repeated_in`` the batches in doubt that they belong to.
    """

    seeds: int = 0
    requests: int = 0
    events: int = 0
    batches: int = 0
    repeated: int = 0
    repeated_in: int = 0
    held: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    blows: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    doubts: Counter[str] = field(default_factory=Counter)

    def add(self, other: Figures) -> None:
        """Counts another's figures too."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    def lines(self) -> list[str]:
        """The figures, for people."""
        return [
            f"seeds     {self.seeds:,}",
            f"runs      {_listed(self.ends)}",
            f"signals   {_listed(self.blows)}",
            f"requests  {self.requests:,}; faults {_listed(self.faults)}",
            f"events    {self.events:,} arrived in {self.batches:,} batches; {self.repeated:,} of them more than once, "
            f"all in {self.repeated_in:,} batches in doubt; {self.held:,} held back",
            f"in doubt  {_listed(self.doubts)}",
        ]


def _listed(counts: Counter[str]) -> str:
    each = ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))
    return f"{counts.total():,}" + (f" ({each})" if each else "")
