"""Nothing lost, nothing twice, nobody wrongly removed: whatever the network does and whenever a run dies.

Each seed plays one story of ``tests.chaos.scenario``; ``tests.chaos.evidence`` says what must hold after it.
"""

from __future__ import annotations

import pytest

from tests.chaos.experiment import Played
from tests.chaos.figures import Figures


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
