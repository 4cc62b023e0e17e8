"""The lease: whose claim on a sync counts."""

from __future__ import annotations

import datetime as dt

from sync.core.lease import Claim, held_message, others

NOW = dt.datetime(2026, 11, 1, 3, 0)


def claim(run_id: str, minutes_left: float) -> Claim:
    return Claim(run_id, "orders", "host, process 1", NOW, NOW + dt.timedelta(minutes=minutes_left))


def test_another_runs_claim_holds_until_it_expires() -> None:
    assert others([claim("a", 1), claim("b", 0), claim("c", -1)], "own", NOW) == (claim("a", 1),)


def test_a_runs_own_claim_is_never_in_its_way() -> None:
    assert others([claim("own", 1)], "own", NOW) == ()


def test_the_message_says_who_holds_the_sync_since_when_and_until_when() -> None:
    message = held_message(claim("a", 30))
    assert "run a of host, process 1" in message
    assert "since 2026-11-01 03:00:00 UTC" in message
    assert "2026-11-01 03:30:00 UTC" in message
