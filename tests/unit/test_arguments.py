"""What the command line's arguments come to."""

from __future__ import annotations

import pytest

from sync.cli.arguments import parser


@pytest.mark.parametrize(
    ("command", "flag", "name"),
    [
        (("check",), "--select", "select"),
        (("plan",), "--select", "select"),
        (("run",), "--select", "select"),
        (("verify",), "--select", "select"),
        (("plan",), "--allow-removals", "allow_removals"),
        (("run",), "--allow-removals", "allow_removals"),
        (("verify",), "--allow-removals", "allow_removals"),
        (("resolve", "orders", "--as", "sent"), "--batch", "batch"),
    ],
)
def test_a_flag_that_takes_several_names_may_be_given_several_times(
    command: tuple[str, ...], flag: str, name: str
) -> None:
    assert getattr(parser().parse_args([*command, flag, "a", flag, "b", "c"]), name) == ["a", "b", "c"]
    # What one command line says is not left over for the next.
    assert getattr(parser().parse_args(command), name) == []
