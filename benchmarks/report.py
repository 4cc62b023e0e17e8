"""From what was measured to the tables that people read. Nothing here measures, and nothing is read or written."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.contest import OURS, Sent
from benchmarks.measure import Measured

Cells = Sequence[str]


@dataclass(frozen=True)
class Contest:
    """Who sent ``events`` events, round by round: ``rounds`` maps each contender to what every round came to."""

    events: int
    rounds: Mapping[str, Sequence[Sent]]


@dataclass(frozen=True)
class Work:
    """Something that this tool alone does, and what it is held against.

    ``yardstick`` says what that is, and ``yardstick_seconds`` how long it took in the same rounds; both are empty where
    there is nothing to hold it against. ``rows`` is how many rows the work is about, and ``found`` what it came to.
    """

    what: str
    rows: int
    rounds: Sequence[Measured]
    found: str = ""
    yardstick: str = ""
    yardstick_seconds: Sequence[float] = ()


def contest_table(contest: Contest) -> str:
    """The contenders, the quickest first, those that lose events last and without a speed."""
    header = (
        *("contender", "events received", "seconds", "CPU seconds", "peak MB", "requests", "MB sent", "events/s"),
        "times as long as this tool",
    )
    whole = [name for name, rounds in contest.rounds.items() if not lost(contest.events, rounds)]
    order = sorted(contest.rounds, key=lambda name: (name not in whole, median_seconds(contest.rounds[name])))
    return table(header, [_contender(contest, name) for name in order])


def lost(events: int, rounds: Sequence[Sent]) -> int:
    """How many events were not received in the worst round."""
    return max(events - one.received.distinct for one in rounds)


def median_seconds(rounds: Sequence[Sent]) -> float:
    """The median of the seconds."""
    return statistics.median(one.measured.seconds for one in rounds)


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """How many times as long theirs took as ours: the median of the rounds, each for itself."""
    return statistics.median(other / own for own, other in zip(ours, theirs, strict=True))


def _contender(contest: Contest, name: str) -> Cells:
    rounds = contest.rounds[name]
    missing, seconds = lost(contest.events, rounds), median_seconds(rounds)
    speed = f"loses {missing:,}" if missing else f"{contest.events / seconds:,.0f}"
    ratio = "" if missing or OURS not in contest.rounds else f"{_ratio(contest, name):.2f}"
    return (
        f"**{name}**" if name == OURS else name,
        _received(contest.events, rounds),
        *_costs([one.measured for one in rounds]),
        f"{statistics.median(one.received.requests for one in rounds):,.0f}",
        f"{statistics.median(one.received.bytes for one in rounds) / 1e6:,.1f}",
        speed,
        ratio,
    )


def _ratio(contest: Contest, name: str) -> float:
    ours, theirs = ([one.measured.seconds for one in contest.rounds[who]] for who in (OURS, name))
    return ratios(ours, theirs)


def _received(events: int, rounds: Sequence[Sent]) -> str:
    """The fewest different events that came, and how many came again."""
    fewest = min(one.received.distinct for one in rounds)
    again = max(one.received.events - one.received.distinct for one in rounds)
    return f"{fewest:,} of {events:,}" + (f", {again:,} twice" if again else "")


def work_table(works: Sequence[Work]) -> str:
    """What this tool does, beside its yardsticks."""
    header = ("work", "rows", "found", "seconds", "CPU seconds", "peak MB", "yardstick", "its seconds", "ratio")
    return table(header, [_work(one) for one in works])


def _work(one: Work) -> Cells:
    against: Cells = ("", "", "")
    if one.yardstick_seconds:
        ratio = 1 / ratios([each.seconds for each in one.rounds], one.yardstick_seconds)
        against = (one.yardstick, f"{statistics.median(one.yardstick_seconds):.2f}", f"{ratio:.1f}")
    return (one.what, f"{one.rows:,}", one.found, *_costs(one.rounds), *against)


def growth_table(works: Sequence[Work]) -> str:
    """What each work costs a row at each size, and how that compares with the smallest size."""
    smallest: dict[str, float] = {}
    rows = []
    for one in sorted(works, key=lambda work: (work.what, work.rows)):
        each = statistics.median(measured.seconds for measured in one.rounds) / one.rows * 1e6
        first = smallest.setdefault(one.what, each)
        rows.append((one.what, f"{one.rows:,}", f"{each:.2f}", f"{each / first:.2f}", *_costs(one.rounds)[2:]))
    return table(("work", "rows", "microseconds a row", "times the smallest", "peak MB"), rows)


def start_table(starts: Mapping[str, Sequence[Measured]]) -> str:
    """What each command costs where there is nothing to do."""
    return table(("command", "seconds", "CPU seconds", "peak MB"), [(name, *_costs(starts[name])) for name in starts])


def _costs(rounds: Sequence[Measured]) -> Cells:
    return (
        f"{statistics.median(one.seconds for one in rounds):.2f}",
        f"{statistics.median(one.cpu_seconds for one in rounds):.2f}",
        f"{max(one.peak_bytes for one in rounds) / 1e6:,.0f}",
    )


def table(header: Cells, rows: Sequence[Cells]) -> str:
    """A Markdown table whose columns line up, so that it can be read as it stands; figures are to the right."""
    columns = list(zip(header, *rows, strict=True))
    right = [all(_is_figure(cell) for cell in column[1:]) for column in columns]
    widths = [max(3, *map(len, column)) for column in columns]
    rule = ["-" * (width - 1) + ":" if is_right else "-" * width for width, is_right in zip(widths, right, strict=True)]
    lines = [_line(header, widths, right), _line(rule, widths, right)]
    return "\n".join([*lines, *(_line(row, widths, right) for row in rows)])


def _line(cells: Cells, widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = [
        cell.rjust(width) if is_right else cell.ljust(width)
        for cell, width, is_right in zip(cells, widths, right, strict=True)
    ]
    return f"| {' | '.join(padded)} |"


def _is_figure(cell: str) -> bool:
    return not cell.strip(".,0123456789") or cell.startswith("loses ")
