"""Event syncs: which rows are sent, when, and in what requests; and what becomes of the others."""

from __future__ import annotations

import dataclasses
import datetime as dt
import threading
from typing import Any

import pytest

from sync import sandbox
from sync.sandbox import Settings
from tests.integration.harness import Project
from tests.integration.in_process import run_here
from tests.integration.scripted import Asked, Said, scripted
from tests.integration.stand_in import LOG_EVENT, StandIn

MEBIBYTE = 1024 * 1024
MANY_DUPLICATES = {"max_duplicates_percent": 100}
FORBIDDEN = "\\[]{}<>#=;&$%|\0\r\n"


def events_sync(project: Project, name: str, model: str, **more: Any) -> None:
    meta = {"object": "events", "unique_key": "id", "event_name": name, **more}
    project.sync(name, model, {key: value for key, value in meta.items() if value is not None})


def rejects(project: Project, sync_name: str) -> list[tuple[Any, ...]]:
    """What the reject ledger says: key, reason, effect, rows."""
    return project.rows(
        "select key, reason, effect, sum(row_count)::bigint from statsig_reject_log"
        f" where sync_name = '{sync_name}' group by all order by all"
    )


# Each row once.


def test_each_row_is_sent_once_by_its_unique_key(project: Project, arrived: StandIn) -> None:
    query = "select range as id, 'u' || range as user_id, 'first' as wording from range({})"
    project.table("visits", query.format(3))
    events_sync(project, "visits", "visits")
    project.run()
    assert arrived.users() == ["u0", "u1", "u2"]

    requests = arrived.sent_data()
    second = project.run()
    assert (second["results"][0]["state"], second["results"][0]["requests"]) == ("finished", 0)
    assert arrived.sent_data() == requests

    # Rows that were sent may change or go; only those with a new key are sent.
    project.table("visits", query.replace("first", "second").format(5) + " where range > 0")
    project.run()
    assert arrived.users() == ["u0", "u1", "u2", "u3", "u4"]
    assert [event["metadata"]["wording"] for event in arrived.events()] == ["first"] * 3 + ["second"] * 2


@pytest.mark.parametrize("concurrency", [1, 3])
def test_as_many_requests_are_in_flight_as_the_sync_says(project: Project, concurrency: int) -> None:
    project.table("visits", "select range as id, 'u' || range as user_id from range(6 * 500)")
    events_sync(project, "visits", "visits", concurrency=concurrency)
    all_there, lock, at_once = threading.Barrier(concurrency, timeout=60), threading.Lock(), [0]
    highest = 0

    def answer(asked: Asked) -> Said:
        nonlocal highest
        with lock:
            at_once[0] += 1
            highest = max(highest, at_once[0])
        all_there.wait()
        with lock:
            at_once[0] -= 1
        return 202, {"success": True}

    with scripted(answer) as server:
        project.environment["STATSIG_EVENTS_URL"] = server.url
        assert run_here(project)["results"][0]["accepted"] == 3_000
    assert highest == concurrency


def test_a_unique_key_of_any_kind_is_found_again(project: Project, arrived: StandIn) -> None:
    keys = {
        "big_integer": "range::hugeint + 170141183460469231731687303715884105720",
        "uuid": "md5(range::varchar)::uuid",
        "moment": "timestamp '2026-01-01' + to_minutes(range)",
        "moment_with_zone": "timestamptz '2026-01-01 00:00:00+00' + to_minutes(range)",
        "decimal": "(range / 4)::decimal(10, 2)",
        "text": """'quo''te" ' || range || ' é🎉' || chr(10)""",
    }
    columns = ", ".join(f"{expression} as {name}" for name, expression in keys.items())
    project.table("visits", f"select 'u' || range as user_id, {columns} from range(4)")
    for name in keys:
        events_sync(project, name, "visits", unique_key=name)
    assert [[one["accepted"] for one in project.run()["results"]] for _ in range(2)] == [[4] * 6, [0] * 6]
    assert len(arrived.events()) == 4 * 6


def test_of_rows_that_share_a_key_the_earliest_that_can_be_sent_is_sent_and_the_others_are_rejected(
    project: Project, arrived: StandIn
) -> None:
    rows = """
        (1, 'later', timestamp '2026-02-02'), (1, 'earlier', timestamp '2026-02-01'), (1, 'no time', null),
        (2, null, timestamp '2026-02-01'), (2, 'with a user', timestamp '2026-02-02'),
        (3, 'copy', null), (3, 'copy', null), (3, 'copy', null)"""
    project.execute("create table raw (id integer, user_id varchar, event_time timestamp)")
    project.execute(f"insert into raw values {rows}")
    project.table("visits", "select * from raw")
    events_sync(project, "visits", "visits", guard=MANY_DUPLICATES)
    first = project.run()
    assert arrived.users() == ["copy", "earlier", "with a user"]
    assert first["results"][0]["rows_rejected"] == 5
    found = [
        ("1", "duplicate_key", "not_sent", 2),
        ("2", "missing_identifier", "not_sent", 1),
        ("3", "duplicate_key", "not_sent", 2),
    ]
    assert rejects(project, "visits") == found

    # A row that comes later never takes the place of one that was sent, even where it would have gone first.
    project.execute("insert into raw values (1, 'earliest', timestamp '2026-01-01')")
    project.table("visits", "select * from raw")
    assert run_here(project)["results"][0]["rows_rejected"] == 1
    assert len(arrived.events()) == 3
    assert rejects(project, "visits")[0] == ("1", "duplicate_key", "not_sent", 3)
    assert run_here(project)["results"][0]["rows_rejected"] == 0


# Rows that are not sent.


def test_a_row_that_statsig_would_drop_is_rejected_with_its_reason_once_and_looked_at_again_when_it_changes(
    project: Project, arrived: StandIn
) -> None:
    project.execute("create table raw (id varchar, user_id varchar, event_name varchar, event_time varchar)")
    fine, long = "'ann', 'visit'", "x" * 127
    project.execute(
        f"""insert into raw values
        ('fine', {fine}, null), ('long', 'ann', '{long}', null), ('too long', 'ann', '{long}y', null),
        (null, {fine}, null), ('no name', 'ann', null, null), ('blank name', 'ann', '  ', null),
        ('no user', null, 'visit', null), ('blank user', '  ', 'visit', null), ('spaced user', ' ann', 'visit', null),
        ('odd time', {fine}, 'yesterday'), ('far time', {fine}, '2999-01-01')"""
    )
    for number, character in enumerate(FORBIDDEN):
        project.execute(f"insert into raw values ('bad {number:02}', 'ann', 'a' || chr({ord(character)}) || 'b', null)")
    project.table("visits", "select * from raw")
    events_sync(project, "visits", "visits", event_name=None)

    first = project.run()["results"][0]
    assert sorted(event["eventName"] for event in arrived.events()) == ["visit", long]
    expected = [(f"bad {number:02}", "invalid_event_name") for number in range(len(FORBIDDEN))] + [
        ("blank name", "missing_event_name"),
        ("blank user", "missing_identifier"),
        ("far time", "invalid_event_time"),
        ("no name", "missing_event_name"),
        ("no user", "missing_identifier"),
        ("odd time", "invalid_event_time"),
        ("spaced user", "outer_whitespace"),
        ("too long", "invalid_event_name"),
        (None, "missing_unique_key"),
    ]
    assert rejects(project, "visits") == [(*one, "not_sent", 1) for one in expected]
    assert (first["state"], first["rows_rejected"]) == ("finished", len(expected))

    assert run_here(project)["results"][0]["rows_rejected"] == 0
    assert rejects(project, "visits") == [(*one, "not_sent", 1) for one in expected]

    project.execute(
        "update raw set user_id = 'bob' where id = 'no user'", "update raw set event_name = 'a<' where id = 'bad 05'"
    )
    project.table("visits", "select * from raw")
    third = run_here(project)["results"][0]
    assert (third["accepted"], third["rows_rejected"]) == (1, 1)
    assert arrived.users() == ["ann", "ann", "bob"]
    assert ("bad 05", "invalid_event_name", "not_sent", 2) in rejects(project, "visits")


def test_many_rejected_rows_are_all_written_down(project: Project, arrived: StandIn) -> None:
    project.table("visits", "select range as id, if(range = 0, 'ann', null) as user_id from range(10_002)")
    events_sync(project, "visits", "visits", unique_key="id", event_name="visit")
    (result,) = run_here(project)["results"]
    assert (result["accepted"], result["rows_rejected"]) == (1, 10_001)
    found = "select count(*), count(distinct key), min(reason), max(reason) from statsig_reject_log"
    assert project.rows(found) == [(10_001, 10_001, "missing_identifier", "missing_identifier")]
    assert arrived.users() == ["ann"]


def test_an_event_goes_without_a_custom_that_is_no_json_object_and_the_ledger_says_so(
    project: Project, arrived: StandIn
) -> None:
    customs = ["{oops", "[1]", '"text"', "1", "NaN", '{"a": NaN}', '{"a": 1,}', '{"a": {"b": 1}}', '{"a": [1]}', ""]
    good = ['{"a": null, "b": "x"}', "{}", '{"a": 1.50}']
    values = ", ".join(f"({number}, 'u{number:02}', '{one}')" for number, one in enumerate(customs + good))
    project.table("visits", f"select * from (values {values}, (99, 'u99', null)) as t(id, user_id, custom)")
    events_sync(project, "visits", "visits")
    result = project.run()["results"][0]
    assert (result["accepted"], result["rows_rejected"]) == (len(customs) + len(good) + 1, len(customs))
    found = {event["user"]["userID"]: event["user"].get("custom") for event in arrived.events()}
    assert len(found) == result["accepted"]
    assert {user: custom for user, custom in found.items() if custom} == {"u10": {"b": "x"}, "u12": {"a": 1.5}}
    assert {row[1:] for row in rejects(project, "visits")} == {("invalid_custom", "sent_without", 1)}
    assert len(rejects(project, "visits")) == len(customs)
    assert run_here(project)["results"][0]["rows_rejected"] == 0


def test_an_event_goes_without_a_value_that_statsig_cannot_take_and_the_ledger_says_so(
    project: Project, arrived: StandIn
) -> None:
    project.table("visits", "select 1 as id, 'ann' as user_id, 'nan'::double as event_value, repeat('x', 128) as said")
    events_sync(project, "not_finite", "visits")
    events_sync(project, "too_long", "visits", columns={"event_value": "said"}, exclude=["event_value"])
    project.run()
    assert ["value" in event for event in arrived.events()] == [False, False]
    for name in ("not_finite", "too_long"):
        assert rejects(project, name) == [("1", "invalid_event_value", "sent_without", 1)]


# The first run.


def test_backfill_says_which_events_the_first_run_sends_and_nothing_about_later_runs(
    project: Project, arrived: StandIn
) -> None:
    project.execute("create table raw (id integer, user_id varchar, event_time timestamp)")
    project.table("visits", "select * from raw")
    project.table("late_start", "select * from raw where false")
    project.execute(
        """insert into raw values (1, 'old', '2026-01-30 23:59:59.999'), (2, 'that day', '2026-01-31'),
        (3, 'new', '2026-02-01'), (4, 'no time', null)"""
    )
    project.table("visits", "select * from raw")
    for name, backfill in (("everything", None), ("all", "all"), ("none", "none"), ("date", "2026-01-31")):
        events_sync(project, name, "visits", backfill=backfill)
    events_sync(project, "empty_first", "late_start", backfill="none")

    plan = {one["sync"]: one for one in project.plan()["syncs"]}
    assert (plan["none"]["skipped_by_backfill"], plan["date"]["skipped_by_backfill"]) == (4, 1)
    project.run()
    assert users_by_name(arrived) == {
        "everything": ["new", "no time", "old", "that day"],
        "all": ["new", "no time", "old", "that day"],
        "date": ["new", "no time", "that day"],
    }

    requests = arrived.sent_data()
    run_here(project)
    assert arrived.sent_data() == requests

    # What comes later is sent, even where its time is before the date; what was left out stays out.
    project.execute("insert into raw values (5, 'came late', '2020-01-01'), (6, 'newest', '2026-03-01')")
    project.table("visits", "select * from raw")
    project.table("late_start", "select * from raw where id = 6")
    run_here(project)
    assert users_by_name(arrived) == {
        "everything": ["came late", "new", "newest", "no time", "old", "that day"],
        "all": ["came late", "new", "newest", "no time", "old", "that day"],
        "none": ["came late", "newest"],
        "date": ["came late", "new", "newest", "no time", "that day"],
        "empty_first": ["newest"],
    }


def test_what_backfill_leaves_out_stays_out_when_it_is_mended_and_is_reported_once(
    project: Project, arrived: StandIn
) -> None:
    rows = "select * from (values (1, 'ann'), (1, 'ann'), (2, {0}), (3, 'cid'), (3, 'cat')) as rows (id, user_id)"
    project.table("visits", rows.format("null"))
    events_sync(project, "visits", "visits", backfill="none", guard=MANY_DUPLICATES)
    assert run_here(project)["results"][0]["rows_rejected"] == 3
    assert run_here(project, "--fail-on-rejects")["results"][0]["rows_rejected"] == 0
    project.table("visits", rows.format("'bob'"))
    run_here(project, "--fail-on-rejects")
    assert arrived.events() == []


def test_of_an_event_that_backfill_leaves_out_no_part_is_reported(project: Project, arrived: StandIn) -> None:
    project.table("visits", "select 1 as id, 'ann' as user_id, 'no object' as custom")
    events_sync(project, "visits", "visits", backfill="none", columns={"custom": "custom"})
    run_here(project, "--fail-on-rejects")
    assert project.rows("select * from statsig_reject_log") == []
    assert arrived.events() == []


def users_by_name(arrived: StandIn) -> dict[str, list[str]]:
    return {
        name: sorted(event["user"]["userID"] for event in events) for name, events in arrived.events_by_name().items()
    }


# Requests.


def test_requests_hold_at_most_500_events_and_1_mebibyte_of_json(project: Project) -> None:
    with sandbox.running(Settings(max_events_body=MEBIBYTE)) as server:
        strict = dataclasses.replace(project, statsig=server.url, environment={})
        arrived = StandIn(server.url)
        strict.table("many", "select range as id, 'u' || range as user_id from range(1201)")
        strict.table("large", "select range as id, 'u' as user_id, repeat('x', 5000) as body from range(500)")
        strict.table(
            "giant",
            f"select 1 as id, 'giant' as user_id, repeat('x', {MEBIBYTE}) as body"
            f" union all select 2, 'almost', repeat('\"', {MEBIBYTE // 2 - 200}) union all select 3, 'small', 'x'",
        )
        for name in ("many", "large", "giant"):
            events_sync(strict, name, name)
        results = {one["sync_name"]: one for one in strict.run()["results"]}
        batches = strict.rows("select sync_name, keys, body_bytes from statsig_batches where state = 'accepted'")
        assert all(0 < body_bytes <= MEBIBYTE for _, _, body_bytes in batches)
        assert sorted(keys for name, keys, _ in batches if name == "many") == [201, 500, 500]
        # 2.5 MB in as few requests as the limit allows.
        assert results["large"]["requests"] == 3
        assert {one["status"] for one in arrived.requests(LOG_EVENT)} == {202}
        assert len(arrived.events()) == 1201 + 500 + 2

        assert (results["giant"]["accepted"], results["giant"]["rows_rejected"]) == (2, 1)
        assert rejects(strict, "giant") == [("1", "event_too_large", "not_sent", 1)]
        assert run_here(strict)["plan"]["syncs"][0]["rejected"] == []


def test_a_request_is_compressed_json_with_the_headers_that_statsigs_sdks_send(
    project: Project, arrived: StandIn
) -> None:
    project.table("visits", "select range as id, 'u' || range as user_id from range(7)")
    events_sync(project, "visits", "visits")
    project.run()
    (request,) = arrived.requests(LOG_EVENT)
    headers = request["headers"]
    assert (headers["content-encoding"], headers["content-type"]) == ("gzip", "application/json")
    assert headers["statsig-event-count"] == "7"
    assert 1_700_000_000_000 < int(headers["statsig-client-time"]) < 4_000_000_000_000
    ((body_bytes,),) = project.rows("select body_bytes from statsig_batches")
    assert int(headers["content-length"]) < body_bytes


def test_the_ledgers_have_the_name_and_the_time_that_each_event_was_sent_with(
    project: Project, arrived: StandIn
) -> None:
    rows = """select * from (values (1, 'seen', timestamp '2026-02-01 10:00:00.123456'), (2, 'bought', null))
        as rows (id, event_name, event_time), (select 'ann' as user_id)"""
    project.table("visits", rows)
    events_sync(project, "visits", "visits", event_name=None)
    events_sync(project, "buys", "visits", exclude=["event_time", "event_name"])
    events_sync(project, "later", "visits", exclude=["event_name"], backfill="2026-03-01")
    project.run()
    query = "select sync_name, operation, key, event_name, event_time from statsig_deliveries order by all"
    moment = dt.datetime(2026, 2, 1, 10, 0, 0, 123_000)
    assert project.rows(query) == [
        ("buys", "log", "1", "buys", None),
        ("buys", "log", "2", "buys", None),
        ("later", "log", "2", "later", None),
        ("later", "skip", "1", None, None),
        ("visits", "log", "1", "seen", moment),
        ("visits", "log", "2", "bought", None),
    ]
    sent = {(event["eventName"], event["metadata"]["id"]): event.get("time") for event in arrived.events()}
    assert sent[("seen", "1")] == round(moment.replace(tzinfo=dt.timezone.utc).timestamp() * 1000)


# Configuration.


def test_events_have_no_mode_but_insert(project: Project, arrived: StandIn) -> None:
    project.table("visits", "select 1 as id, 'ann' as user_id")
    modes = ["add", "mirror", "remove", "update", "upsert"]
    for mode in modes:
        events_sync(project, mode, "visits", mode=mode)
    errors = project.run(expect=2)["errors"]
    assert len(errors) == len(modes)
    for mode, error in zip(modes, errors, strict=True):
        for part in ("models/marts/_exposures.yml", f"exposure {mode}", "config.meta.statsig.mode", "write insert"):
            assert part in error
        assert "append-only" in error
    assert arrived.requests() == []


def test_insert_may_be_written_out(project: Project, arrived: StandIn) -> None:
    project.table("visits", "select 1 as id, 'ann' as user_id")
    events_sync(project, "visits", "visits", mode="insert")
    project.run()
    assert arrived.users() == ["ann"]


def test_identifiers_of_columns_are_quoted_and_values_never_become_sql(project: Project, arrived: StandIn) -> None:
    odd = 'a "b"; drop table x; --'
    column = odd.replace('"', '""')
    project.table("visits", f"select 1 as id, 'ann' as \"{column}\", 'x''; drop table visits; --' as note")
    events_sync(project, "visits", "visits", columns={"user_id": odd})
    project.run()
    (event,) = arrived.events()
    assert (event["user"]["userID"], event["metadata"]) == ("ann", {"id": "1", "note": "x'; drop table visits; --"})
    assert project.rows("select count(*) from visits") == [(1,)]


# What may change about a key, and whether it then may mean other rows, or look different.
# The query, its key, and what has to be allowed before these keys are sent.
OTHER_KEYS = {
    "another column": ("select range as other, 'u' as user_id, range + 1 as id from range(3)", "other", ["new-keys"]),
    # Such keys are others altogether.
    "another scale": ("select range::decimal(10, 2) as id, 'u' as user_id from range(3)", "id", ["new-keys", "events"]),
    "text": ("select range::varchar as id, 'u' as user_id from range(3)", "id", ["new-keys"]),
    "wider": ("select range::hugeint as id, 'u' as user_id from range(3)", "id", []),
    "in capitals": ("select range as \"ID\", 'u' as user_id from range(3)", "ID", []),
    "decimal without a fraction": ("select range::decimal(20, 0) as id, 'u' as user_id from range(3)", "id", []),
}


@pytest.mark.parametrize("name", OTHER_KEYS)
def test_keys_that_come_from_elsewhere_refuse_the_sync_until_somebody_allows_them(
    project: Project, arrived: StandIn, name: str
) -> None:
    query, key, refused = OTHER_KEYS[name]
    project.table("visits", "select range as id, 'u' as user_id from range(3)")
    meta = {"object": "events", "unique_key": "id", "event_name": "visit"}
    project.sync("visits", "visits", meta)
    run_here(project)
    project.table("visits", query)
    project.sync("visits", "visits", {**meta, "unique_key": key})
    allowed: list[str] = []
    for one in refused:
        (error,) = run_here(project, *allowed, expect=3)["errors"]
        assert error.startswith("visits: its keys were id, whole number of model.") is (one == "new-keys")
        assert f"--allow-{one} visits" in error
        allowed += [f"--allow-{one}", "visits"]
    assert len(arrived.events()) == 3
    run_here(project, *allowed)
    (row,) = project.rows("select max(overrides) from statsig_sync_runs")
    assert row == (", ".join(f"--allow-{one} visits" for one in refused) or None,)
    run_here(project)


def test_keys_of_another_model_refuse_the_sync(project: Project, arrived: StandIn) -> None:
    for model in ("orders", "refunds"):
        project.table(model, "select range as id, 'u' as user_id from range(3)")
        project.sync("visits", model, {"object": "events", "unique_key": "id", "event_name": "visit"})
        run_here(project, expect=0 if model == "orders" else 3)
    assert len(arrived.events()) == 3


def test_keys_that_differ_in_case_only_are_different_whatever_the_collation(project: Project, arrived: StandIn) -> None:
    events = {"object": "events", "unique_key": "k", "event_name": "order", "columns": {"user_id": "u"}}
    project.sync("orders", "orders", events)
    project.table("orders", "select k collate nocase as k, u from (values ('A', 'ann')) as rows (k, u)")
    project.run()
    project.table("orders", "select k collate nocase as k, u from (values ('A', 'ann'), ('a', 'bob')) as rows (k, u)")
    project.run()
    assert arrived.users() == ["ann", "bob"]
    project.run()
    assert arrived.users() == ["ann", "bob"]


def test_a_large_view_that_gives_other_keys_at_each_reading_is_read_once(project: Project) -> None:
    rows = 600_000
    view = f"select uuid() as k, 'ann' as user_id from range({rows})"
    project.table("orders", view, materialized="view")
    project.sync("orders", "orders", {"object": "events", "unique_key": "k", "event_name": "order"})
    (plan,) = project.plan()["syncs"]
    assert (plan["events"], plan["rejected"]) == (rows, [])


def test_a_view_that_gives_other_rows_at_each_reading_sends_no_key_twice(project: Project, arrived: StandIn) -> None:
    project.execute("create table raw as select range % 200 as k, 'ann' as user_id from range(400)")
    sample = "select * from raw using sample 50 percent (bernoulli)"
    project.table("orders", sample, materialized="view")
    events_sync(project, "orders", "orders", unique_key="k", guard={**MANY_DUPLICATES, "allow_gone_keys": True})
    for _ in range(3):
        project.run()
    keys = [event["metadata"]["k"] for event in arrived.events()]
    assert len(keys) == len(set(keys))


def test_a_schema_may_have_the_name_of_the_catalog_of_temporary_tables(project: Project, arrived: StandIn) -> None:
    project.execute("create schema temp")
    project.table("orders", "select unnest([1, 1, 2]) as k, 'ann' as user_id")
    events_sync(project, "orders", "orders", unique_key="k", guard=MANY_DUPLICATES)
    project.run()
    assert len(arrived.events()) == 2
