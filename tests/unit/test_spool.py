"""The file in which events wait."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sync.core.events import Event, RejectedRow
from sync.edges.spool import Spool
from tests.unit.values import texts

events = st.builds(Event, texts, texts, st.none() | st.integers(0, 2**62), st.binary(max_size=200))
rejected = st.builds(
    RejectedRow,
    st.none() | texts,
    texts,
    texts,
    st.none() | texts,
    st.sampled_from(["not_sent"]),
    st.integers(0, 2**62),
)
records = st.one_of(
    st.tuples(st.just(list[Event]), st.lists(events, max_size=4)),
    st.tuples(st.just(list[RejectedRow]), st.lists(rejected, max_size=4)),
    st.tuples(st.just(list[tuple[str, str]]), st.lists(st.tuples(texts, texts), max_size=4)),
)


@given(written=st.lists(records, max_size=8), data=st.data())
def test_every_record_is_read_back_as_it_was_written_in_any_order(
    written: list[tuple[Any, Any]], data: st.DataObject
) -> None:
    with contextlib.closing(Spool()) as spool:
        numbers = [spool.write(record) for _, record in written]
        for place in data.draw(st.permutations(range(len(written)))):
            shape, record = written[place]
            assert spool.read(numbers[place], shape) == record


def test_records_can_be_written_after_others_were_read() -> None:
    with contextlib.closing(Spool()) as spool:
        first = spool.write(["a" * 100_000])
        assert spool.read(first, list[str]) == ["a" * 100_000]
        second = spool.write(["b"])
        assert spool.read(second, list[str]) == ["b"]
        assert spool.read(first, list[str]) == ["a" * 100_000]


def test_what_was_forgotten_gives_its_room_back_and_its_numbers() -> None:
    with contextlib.closing(Spool()) as spool:
        spool.write(["kept"])
        start = spool.count
        spool.write(["a" * 1_000_000])
        spool.forget_from(start)
        assert spool.write(["b"]) == start
        assert [spool.read(number, list[str]) for number in range(spool.count)] == [["kept"], ["b"]]


@given(length=st.sampled_from([0, 1, 9_999, 10_000, 25_001]), seed=st.integers(0, 1000))
@settings(max_examples=8)
def test_what_goes_through_the_spool_in_order_is_what_sorting_gives(length: int, seed: int) -> None:
    chance = random.Random(seed)
    items = [Event(str(number), "h", chance.randrange(1000), b"") for number in range(length)]
    with contextlib.closing(Spool()) as spool:
        found = list(spool.in_order(items, lambda event: (event.event_time, event.key), Event))
    assert found == sorted(items, key=lambda event: (event.event_time or 0, event.key))


def test_nothing_of_the_spool_stays_when_the_process_dies(tmp_path: Path) -> None:
    dying = (
        "import os, sys; from sync.edges.spool import Spool\n"
        "spool = Spool(); spool.write(['ann@example.com'] * 100_000); print('written', flush=True); os._exit(9)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", dying],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (9, "written\n"), ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_folder_without_room_is_told_with_what_to_do(tmp_path: Path) -> None:
    filling = (
        "import resource; from sync.edges.spool import Spool; from sync.errors import WarehouseError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: Spool().write(['ann@example.com'] * 100_000)\n"
        "except WarehouseError as error: print(error)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", filling],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert str(tmp_path) in ended.stdout, ended.stderr
    assert "TMPDIR" in ended.stdout
