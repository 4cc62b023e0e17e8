"""What the benchmark makes of its figures."""

from __future__ import annotations

from benchmarks.contest import OURS, Sent
from benchmarks.measure import Measured
from benchmarks.page import contest_section
from benchmarks.receiver import Received
from benchmarks.report import Contest, Work, contest_table, growth_table, ratios, table, work_table


def _sent(seconds: float, distinct: int, events: int | None = None) -> Sent:
    received = Received(
        requests=2,
        bytes=3_000_000,
        body_bytes=9_000_000,
        events=distinct if events is None else events,
        distinct=distinct,
        claimed=distinct,
        unreadable=0,
        cpu_seconds=0.1,
    )
    return Sent(_cost(seconds), received)


def _cost(seconds: float) -> Measured:
    return Measured(seconds, seconds / 2, 50_000_000)


def _rows(text: str) -> dict[str, list[str]]:
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]
    return {cells[0].strip("*"): cells for cells in lines}


def test_a_ratio_is_the_median_of_the_ratios_of_each_round() -> None:
    # The medians of the seconds, 2 and 9, would make it 4.5.
    assert ratios([1, 2, 10], [2, 9, 10]) == 2


def test_who_loses_events_in_any_round_has_no_speed_and_stands_last() -> None:
    rounds = {"loser": [_sent(1, 900), _sent(1, 1000)], OURS: [_sent(2, 1000)] * 2, "slow": [_sent(8, 1000)] * 2}
    rows = _rows(contest_table(Contest(1000, rounds)))
    assert list(rows) == [OURS, "slow", "loser"]
    assert rows["loser"][1] == "900 of 1,000"
    assert rows["loser"][-2:] == ["loses 100", ""]
    assert rows[OURS][-2:] == ["500", "1.00"]
    assert rows["slow"][-2:] == ["125", "4.00"]


def test_an_event_that_comes_twice_makes_up_for_none_that_is_lost() -> None:
    rows = _rows(contest_table(Contest(1000, {"repeats": [_sent(1, 990, events=1000)]})))
    assert rows["repeats"][1] == "990 of 1,000, 10 twice"
    assert rows["repeats"][-2] == "loses 10"


def test_a_peer_that_is_left_out_is_named_with_the_last_line_that_it_printed() -> None:
    contest = Contest(1000, {OURS: [_sent(2, 1000)]})
    section = contest_section(contest, 0.5, {"dlt": "dlt ended with 1\nTraceback\nImportError: no module\n"})
    assert section.splitlines()[-1] == "- `dlt` is left out: ImportError: no module"
    assert "left out" not in contest_section(contest, 0.5, {})


def test_a_work_is_held_against_the_yardstick_of_the_same_round() -> None:
    works = [
        Work("plan", 1000, [_cost(2), _cost(9)], "0 events", yardstick="a scan", yardstick_seconds=[1, 3]),
        Work("run", 1000, [_cost(4)]),
    ]
    rows = _rows(work_table(works))
    # By 2 and by 3: the median of the ratios of the yardstick to the work, turned round.
    assert rows["plan"][-3:] == ["a scan", "2.00", "2.4"]
    assert rows["run"][-3:] == ["", "", ""]


def test_growth_is_the_time_of_a_row_against_that_at_the_smallest_size() -> None:
    works = [Work("plan", 2000, [_cost(6)]), Work("plan", 1000, [_cost(2)]), Work("run", 1000, [_cost(5)])]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in growth_table(works).splitlines()[2:]]
    assert [line[:4] for line in lines] == [
        ["plan", "1,000", "2000.00", "1.00"],
        ["plan", "2,000", "3000.00", "1.50"],
        ["run", "1,000", "5000.00", "1.00"],
    ]


def test_the_columns_of_a_table_line_up_and_figures_are_to_the_right() -> None:
    assert table(("who", "seconds"), [("a", "1.25"), ("somebody", "12.50")]).splitlines() == [
        "| who      | seconds |",
        "| -------- | ------: |",
        "| a        |    1.25 |",
        "| somebody |   12.50 |",
    ]
