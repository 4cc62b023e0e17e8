"""What YAML and dbt's templates make of a value before the sync sees it: through the real dbt."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from tests.integration.built_shop import PROPERTIES, SELECT, Shop, build_shop
from tests.integration.harness import Project
from tests.integration.in_process import command_here
from tests.integration.stand_in import StandIn

EVENTS = {"object": "events", "unique_key": "user_id", "backfill": "all"}
# What stands behind a key once YAML or a template is through with it, and what is said of it.
SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "endless": (
        {"event_name": "v", "guard": {"max_times_usual": float("inf")}},
        "config.meta.statsig.guard.max_times_usual: is 'inf'; write a number, 1 or more.",
    ),
    "number": ({"event_name": "{{ var('name', 404) }}"}, "config.meta.statsig.event_name: is 404, a number;"),
    "text": ({"event_name": "{{ var('name', 404) | as_text }}"}, ""),
    "time": ({"event_name": "2026-1-1 1:00:00"}, "event_name: is 2026-01-01T01:00:00, which YAML may have made"),
    "quoted_time": ({"event_name": "2026-01-01 01:00:00"}, ""),
    "date": ({"event_name": "2026-01-01"}, ""),
}


def properties() -> dict[str, Any]:
    found = copy.deepcopy(PROPERTIES)
    (people,) = found["exposures"]
    for name, (settings, _) in SETTINGS.items():
        statsig = {**EVENTS, **settings}
        found["exposures"].append({**copy.deepcopy(people), "name": name, "config": {"meta": {"statsig": statsig}}})
    return found


@pytest.fixture
def shop(tmp_path: Path, arrived: StandIn) -> Shop:
    build_shop(tmp_path / "shop")
    return Shop(Project(tmp_path / "shop", arrived.url))


def test_a_value_that_is_another_by_the_time_the_sync_sees_it_is_named(shop: Shop, arrived: StandIn) -> None:
    shop.write_properties(properties())
    file = shop.folder / "models" / "models.yml"
    text = file.read_text()
    for quoted in ("'2026-1-1 1:00:00'", "'2026-01-01'"):
        assert quoted in text
        text = text.replace(quoted, quoted.strip("'"))
    file.write_text(text)
    shop.dbt("build", *SELECT)
    target = shop.folder / "target"
    artifacts = ("--manifest", str(target / "manifest.json"), "--run-results", str(target / "run_results.json"))
    for arguments in ((), artifacts):
        finished = command_here(shop.project, "plan", *arguments)
        assert finished.returncode == 2, finished.stdout
        lines = finished.stderr.splitlines()
        for name, (_, said) in SETTINGS.items():
            own = [line for line in lines if f"exposure {name}: " in line]
            assert len(own) == bool(said), own
            assert not said or f"models.yml: exposure {name}: " in own[0]
            assert not said or said in own[0]
    assert arrived.requests() == []
