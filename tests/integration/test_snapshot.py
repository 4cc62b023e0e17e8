"""The snapshot of the members: whatever happens between two builds, it and the lines since are the ledgers."""

from __future__ import annotations

import datetime as dt
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync.core import ledger
from sync.run import prune
from tests.integration.harness import Project, dbt, write_profiles
from tests.integration.harness import compiled as compiled_by_dbt

MEMBERSHIP = f"select * from {ledger.MEMBERSHIP} order by all"
PLACES = (("statsig", "buyers"), ("statsig", "guests"), ("statsig:OTHER_KEY", "buyers"))
IDS = tuple("abcde")
START = dt.datetime(2026, 1, 1)
BATCH_STATES = ("accepted", "accepted", "accepted", "claimed", "unknown", "unsent", "rejected")


@dataclass
class Batch:
    """A batch of a random history, and what has become of it by now."""

    number: int
    place: tuple[str, str]
    operation: str
    sequence: int
    ids: tuple[str, ...]
    state: str

    @property
    def folded_state(self) -> str:
        return "unknown" if self.state == "claimed" else self.state


@dataclass
class History:
    """Ledgers in memory, with the views that dbt has compiled, and what has really happened."""

    connection: duckdb.DuckDBPyConnection
    folds: Mapping[str, str]
    batches: list[Batch] = field(default_factory=list)
    seconds: int = 0

    def now(self) -> dt.datetime:
        self.seconds += 1
        return START + dt.timedelta(seconds=self.seconds)

    def last_sequence(self, place: tuple[str, str]) -> int:
        return max((batch.sequence for batch in self.batches if batch.place == place), default=0)

    def add(self, place: tuple[str, str], operation: str, ids: tuple[str, ...], state: str, back: int = 0) -> None:
        """A batch is claimed and may be settled; ``back`` is how far its number lies behind the one that is due."""
        sequence = max(1, self.last_sequence(place) + 1 - back)
        batch = Batch(len(self.batches), place, operation, sequence, ids, "claimed")
        self.batches.append(batch)
        now = self.now()
        self._line(batch, "claimed", now)
        for key in ids:
            self.connection.execute(
                "insert into statsig_changelog (batch_id, sync_name, operation, key, logged_at)"
                " values (?, 's', ?, ?, ?)",
                [f"b{batch.number}", operation, key, now],
            )
        if state != "claimed":
            self.settle(batch, state)

    def settle(self, batch: Batch, state: str) -> None:
        batch.state = state
        self._line(batch, state, self.now())

    def _line(self, batch: Batch, state: str, now: dt.datetime) -> None:
        self.connection.execute(
            "insert into statsig_batch_log (batch_id, run_id, sync_name, project, destination, operation, state,"
            " logged_at, sequence, keys) values (?, 'r', 's', ?, ?, ?, ?, ?, ?, ?)",
            [f"b{batch.number}", *batch.place, batch.operation, state, now, batch.sequence, len(batch.ids)],
        )

    def fold(self, kind: str) -> None:
        """What ``dbt build`` does with the snapshot: ``since`` goes on from the one before, ``anew`` does not."""
        self.connection.execute(f"create or replace table folded as {self.folds[kind]}")
        self.connection.execute("create or replace table statsig_snapshot as select * from folded")

    def prune(self) -> None:
        """What ``statsig-sync prune`` deletes of lists, as old as can be."""
        world: Any = SimpleNamespace(ledgers={name: name for name in ledger.RELATIONS})
        before = {"before": START + dt.timedelta(days=1)}
        for condition in (prune._superseded(world), prune._forgotten(world), prune._without_batch(world)):
            self.connection.execute(f"delete from statsig_changelog where {condition}", before)
        self.connection.execute(f"delete from statsig_batch_log where {prune._old_batches(world)}", before)

    def members(self) -> list[tuple[Any, ...]]:
        return self.connection.execute(MEMBERSHIP).fetchall()

    def expected(self) -> list[tuple[Any, ...]]:
        """Who is where, said as plainly as can be."""
        found = []
        for place in PLACES:
            own = [batch for batch in self.batches if batch.place == place]
            forgets = [one.sequence for one in own if one.operation == "forget" and one.state == "accepted"]
            kept = [one for one in own if one.operation != "forget" and one.sequence > max(forgets, default=-1)]
            found += [(*place, key, *status) for key in IDS if (status := _status(key, kept)) is not None]
        return sorted(found, key=str)


def _status(key: str, batches: list[Batch]) -> tuple[str, str | None] | None:
    """Whether an id is in, out or uncertain, and the operation in doubt; None where nothing is known of it."""

    def last(state: str, *operations: str) -> int:
        fitting = (
            one for one in batches if key in one.ids and one.folded_state == state and one.operation in operations
        )
        return max((one.sequence for one in fitting), default=-1)

    added, removed = last("accepted", "add", "adopt"), last("accepted", "remove")
    adding, removing = last("unknown", "add"), last("unknown", "remove")
    doubt = "add" if adding > removing else "remove"
    if max(added, removed, adding, removing) == -1:
        return None
    if added > removed:
        return ("uncertain", doubt) if removing > added else ("in", None)
    is_uncertain = adding > removed or (removed == -1 and removing > -1)
    return ("uncertain", doubt) if is_uncertain else ("out", None)


@pytest.fixture(scope="module")
def compiled(built_ledgers: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The SQL of the views, and of the snapshot with and without one before, over plain names."""
    folder = tmp_path_factory.mktemp("compiled") / "project"
    shutil.copytree(built_ledgers, folder)
    write_profiles(folder)
    names = (ledger.SNAPSHOT, ledger.MEMBERSHIP, ledger.BATCHES)
    found = _over_plain_names(compiled_by_dbt(folder, "--select", *names))
    anew = _over_plain_names(compiled_by_dbt(folder, "--select", ledger.SNAPSHOT, "--full-refresh"))
    return {**found, "since": found[ledger.SNAPSHOT], "anew": anew[ledger.SNAPSHOT]}


def _over_plain_names(queries: Mapping[str, str]) -> dict[str, str]:
    return {name: re.sub(r'"warehouse"\."main"\."(\w+)"', r"\1", query) for name, query in queries.items()}


@pytest.fixture(scope="module")
def ledgers(built_ledgers: Path, compiled: Mapping[str, str]) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute(f"attach '{built_ledgers / 'warehouse.duckdb'}' as built (read_only)")
        for name in (ledger.BATCH_LOG, ledger.CHANGELOG, ledger.RUN_LOG, ledger.SNAPSHOT):
            connection.execute(f"create table {name} as from built.main.{name} limit 0")
        connection.execute(f"create view {ledger.BATCHES} as {compiled[ledger.BATCHES]}")
        connection.execute(f"create view {ledger.MEMBERSHIP} as {compiled[ledger.MEMBERSHIP]}")
        connection.execute(
            f"create view {ledger.DELIVERIES} as select b.project, b.destination, b.operation, c.key, b.state,"
            f" b.batch_id, b.sequence from {ledger.CHANGELOG} c join {ledger.BATCHES} b using (batch_id)"
        )
        yield connection


PLACE = st.sampled_from(PLACES)
SOME_IDS = st.lists(st.sampled_from(IDS), min_size=1, max_size=4, unique=True).map(tuple)
STEPS = st.one_of(
    st.tuples(
        st.just("batch"), PLACE, st.sampled_from(("add", "remove", "adopt")), SOME_IDS, st.sampled_from(BATCH_STATES)
    ),
    st.tuples(st.just("late"), PLACE, st.sampled_from(("add", "remove")), SOME_IDS, st.integers(1, 3)),
    st.tuples(st.just("settle"), st.integers(0, 20), st.sampled_from(("accepted", "unsent", "unknown"))),
    st.tuples(st.just("forget"), PLACE),
    st.tuples(st.just("fold"), st.sampled_from(("since", "since", "anew"))),
    st.tuples(st.just("prune")),
)


def _do(history: History, step: tuple[Any, ...]) -> None:
    match step:
        case ("batch", place, operation, ids, state):
            # A baseline is written whole or not at all.
            history.add(place, operation, ids, "accepted" if operation == "adopt" else state)
        case ("late", place, operation, ids, back):
            history.add(place, operation, ids, "accepted", back)
        case ("settle", number, state):
            open_batches = [batch for batch in history.batches if batch.state in ("claimed", "unknown")]
            if open_batches:
                history.settle(open_batches[number % len(open_batches)], state)
        case ("forget", place):
            history.add(place, "forget", (), "accepted")
        case ("fold", kind):
            history.fold(kind)
        case ("prune",):
            history.prune()


@settings(max_examples=100, deadline=None)
@given(steps=st.lists(STEPS, max_size=14))
def test_the_snapshot_and_the_lines_since_are_the_ledgers_whatever_happens_between(
    ledgers: duckdb.DuckDBPyConnection, compiled: Mapping[str, str], steps: list[tuple[Any, ...]]
) -> None:
    for name in (ledger.BATCH_LOG, ledger.CHANGELOG, ledger.SNAPSHOT):
        ledgers.execute(f"truncate {name}")
    history = History(ledgers, compiled)
    for step in steps:
        _do(history, step)
        assert sorted(history.members(), key=str) == history.expected(), step
    # Thrown away and folded anew, it comes out the same.
    for kind in ("since", "anew"):
        history.fold(kind)
        assert sorted(history.members(), key=str) == history.expected(), kind


SNAPSHOT = f"select segment_id, id, added, removed from {ledger.SNAPSHOT} order by all"


def _build(project: Project, *arguments: str, succeeds: bool = True) -> str:
    finished = dbt(project.folder, "run", "--select", ledger.SNAPSHOT, *arguments)
    assert (finished.returncode == 0) is succeeds, finished.stdout
    return finished.stdout


def _sync(project: Project, *people: str) -> None:
    """The list becomes these people, by a run after a build of the audience."""
    values = ", ".join(f"('{person}')" for person in people)
    project.table("people", f"select * from (values {values}) as people (user_id)")
    project.run("--allow-removals", "people")


@pytest.fixture
def people(project: Project) -> Project:
    project.table("people", "select 'ann' as user_id")
    project.sync(
        "people", "people", {"object": "segment", "segment_id": "people", "mode": "mirror", "create_if_missing": True}
    )
    return project


def test_each_build_goes_on_from_the_snapshot_before_and_a_full_refresh_folds_the_ledgers(people: Project) -> None:
    _sync(people, "ann", "bob")
    members = people.rows(MEMBERSHIP)
    _build(people)
    assert people.rows(SNAPSHOT) == [("people", "ann", 1, None), ("people", "bob", 1, None)]
    assert people.rows(MEMBERSHIP) == members
    _sync(people, "bob", "cid")
    members = people.rows(MEMBERSHIP)
    assert [(row[2], row[3]) for row in members] == [("ann", "out"), ("bob", "in"), ("cid", "in")]
    # What the first build has folded comes from the snapshot alone.
    people.execute("delete from statsig_changelog where key = 'bob'")
    _build(people)
    assert people.rows(SNAPSHOT) == [("people", "ann", 1, 2), ("people", "bob", 1, None), ("people", "cid", 3, None)]
    assert people.rows(MEMBERSHIP) == members
    _build(people, "--full-refresh")
    assert people.rows(SNAPSHOT) == [("people", "ann", 1, 2), ("people", "cid", 3, None)]


def test_a_build_that_dies_half_way_leaves_the_snapshot_before(people: Project) -> None:
    _sync(people, "ann", "bob")
    _build(people)
    _sync(people, "bob")
    before = people.rows(SNAPSHOT)
    file = people.folder / "dbt_project.yml"
    broken = "      statsig_snapshot:\n        +post-hook: select error('the disk is full')\n"
    file.write_text(file.read_text().replace("    statsig:\n", f"    statsig:\n{broken}"))
    assert "the disk is full" in _build(people, succeeds=False)
    assert people.rows(SNAPSHOT) == before
    assert people.rows("select id from statsig_members") == [("bob",)]


def test_a_snapshot_that_is_missing_is_made_by_the_next_build(people: Project) -> None:
    people.execute(f"drop table {ledger.SNAPSHOT}")
    finished = people.command("run")
    assert finished.returncode == 2
    assert ledger.SNAPSHOT in finished.stderr
    assert "dbt build" in finished.stderr
    _build(people)
    _sync(people, "ann")
