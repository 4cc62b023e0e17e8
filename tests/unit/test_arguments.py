"""What the command line's arguments come to."""

from __future__ import annotations

import pytest

from sync.cli.arguments import parse, parser


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


@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [
        (["run"], 2400),
        (["run", "--max-seconds", "3600"], 7380),
        (["run", "--max-seconds", "40", "--lease", "2040"], 2040),
        (["prune", "--older-than", "180d", "--lease", "960"], 960),
    ],
)
def test_a_lease_outlasts_what_a_request_can_take(arguments: list[str], seconds: float) -> None:
    assert parse(arguments).lease == seconds


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--lease", "0"],
        ["run", "--lease", "1800"],
        ["verify", "--max-seconds", "1000", "--lease", "1800"],
        ["resolve", "x", "--lease", "60"],
    ],
)
def test_a_lease_that_ends_while_requests_are_in_flight_is_wrong_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    if arguments[0] == "resolve":
        arguments = [*arguments, "--as", "sent"]
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 2
    assert "--lease" in capsys.readouterr().err
