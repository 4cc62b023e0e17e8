"""Nothing lost, nothing twice, nobody wrongly removed: whatever the network does and whenever a run dies.

Each seed plays one story of ``tests.chaos.scenario``; ``tests.chaos.evidence`` says what must hold after it.
"""

from __future__ import annotations

from typing import get_args

import pytest

from sync.sandbox.faults import Fault
from tests.chaos.experiment import Played
from tests.chaos.figures import Figures
from tests.chaos.scenario import Moment


def test_faults_and_kills_lose_nothing_and_repeat_only_what_is_in_doubt(
    seed: int, played: Played, figures: Figures
) -> None:
    try:
        figures.add(played.seeds[seed].result())
    except AssertionError as failure:
        pytest.fail(
            f"{failure}\n\nThe project is in {played.folder / str(seed)}. To play this seed alone (what a run is doing "
            f"when it dies differs from time to time):\n  python -m pytest tests/chaos --seeds 1 --first-seed {seed}"
        )


# Fewer seeds may miss something by chance.
_SEEDS_THAT_MEET_ALL = 200


def test_the_seeds_have_met_every_fault_and_every_kind_of_death(figures: Figures) -> None:
    if figures.seeds < _SEEDS_THAT_MEET_ALL:
        pytest.skip(f"says something of {_SEEDS_THAT_MEET_ALL} seeds or more")
    # What Statsig takes and then drops without a word no run can notice: `verify` is for that.
    assert set(figures.faults) == {fault.__struct_config__.tag for fault in get_args(Fault)} - {"drop"}
    struck_at = {blow.rpartition(" ")[2] for blow in figures.blows}
    assert struck_at == set(get_args(Moment))
    assert {blow.partition(" ")[0] for blow in figures.blows} == {"SIGKILL", "SIGTERM"}
    assert {"exit 0", "exit 1", "killed"} <= set(figures.ends)
    assert set(figures.doubts) == {"log", "add", "remove"}
    assert figures.repeated > 0
    assert figures.held > 0
