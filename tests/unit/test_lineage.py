"""Whose history a sync carries on."""

from __future__ import annotations

import duckdb

from sync.core.lineage import Identity, Lineage, identities, trace

NOW, OLD, OLDER = (Identity("statsig", name) for name in ("now", "old", "older"))
ELSEWHERE = Identity("statsig:OTHER_KEY", "now")


def test_a_sync_that_was_never_renamed_has_its_own_history_only() -> None:
    lineage = trace(NOW, (), {})
    assert (lineage.identities, lineage.text) == ((NOW,), None)


def test_a_name_is_carried_on_with_the_names_that_it_carried_on_itself() -> None:
    assert trace(NOW, [OLD], {OLD: [OLDER]}).earlier == (OLD, OLDER)


def test_what_earlier_runs_carried_on_counts_without_being_written_again() -> None:
    assert trace(NOW, (), {NOW: [ELSEWHERE], ELSEWHERE: [OLD]}).earlier == (ELSEWHERE, OLD)


def test_names_that_lead_back_to_each_other_come_to_an_end() -> None:
    assert trace(NOW, [OLD], {OLD: [NOW, OLDER], OLDER: [OLD]}).earlier == (OLD, OLDER)


def test_the_text_in_the_run_ledger_is_read_back() -> None:
    lineage = Lineage(NOW, (OLD, ELSEWHERE))
    assert lineage.text == "statsig/old, statsig:OTHER_KEY/now"
    assert identities(lineage.text) == (OLD, ELSEWHERE)
    assert identities("nothing of the kind") == ()


def test_the_condition_holds_for_lines_of_these_identities_and_no_others() -> None:
    odd = Identity("statsig", "o'brien")
    connection = duckdb.connect()
    connection.execute("create table lines (project varchar, sync_name varchar)")
    for one in (NOW, OLD, OLDER, ELSEWHERE, odd):
        connection.execute("insert into lines values (?, ?)", [one.project, one.sync_name])
    query = f"select project, sync_name from lines where not {Lineage(NOW, (odd, ELSEWHERE)).condition} order by all"
    assert connection.execute(query).fetchall() == [("statsig", "old"), ("statsig", "older")]
