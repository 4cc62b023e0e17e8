"""What can be changed of a running sandbox."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from sync.sandbox import Settings
from sync.sandbox.admin_api import Adjust
from sync.sandbox.limits import LimitOptions
from sync.sandbox.settings import environments_of
from sync.sandbox.state import SandboxState

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [*Adjust.__struct_fields__, *LimitOptions.__struct_fields__])
def test_every_setting_and_every_option_of_the_limits_is_in_the_readme(name: str) -> None:
    assert f"`{name}`" in README


def test_every_setting_that_can_be_changed_is_one_to_start_with() -> None:
    assert set(Adjust.__struct_fields__) <= {field.name for field in fields(Settings)}


def test_a_reset_brings_back_the_settings_that_a_sandbox_was_started_with() -> None:
    state = SandboxState(Settings(max_page=7, processing_seconds=1))
    state.adjust(max_page=5, keep="counts", processing_seconds=0, environments=("qa",))
    assert (state.settings.max_page, state.events.keep, state.processing.seconds) == (5, "counts", 0)
    state.reset()
    assert state.settings == Settings(max_page=7, processing_seconds=1)
    assert (state.events.keep, state.processing.seconds) == ("events", 1)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("qa",), ("qa", "production")),
        (("PRODUCTION", "qa"), ("PRODUCTION", "qa")),
        ((), ("production",)),
    ],
)
def test_production_is_always_an_environment(given: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert environments_of(Settings(environments=given)) == expected
