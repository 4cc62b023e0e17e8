"""The file in which events wait."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from sync.edges.spool import Spool
from tests.unit.values import texts

frames = st.lists(st.tuples(texts, st.none() | st.integers(-(2**62), 2**62)), max_size=4).map(
    lambda rows: pl.DataFrame(rows, schema={"key": pl.String, "event_time": pl.Int64}, orient="row")
)


@given(written=st.lists(st.binary(max_size=200) | frames, max_size=8), data=st.data())
def test_every_record_is_read_back_as_it_was_written_in_any_order(
    written: list[bytes | pl.DataFrame], data: st.DataObject
) -> None:
    with contextlib.closing(Spool()) as spool:
        numbers = [spool.write(one) if isinstance(one, bytes) else spool.write_frame(one) for one in written]
        for place in data.draw(st.permutations(range(len(written)))):
            record = written[place]
            if isinstance(record, bytes):
                assert spool.read(numbers[place]) == record
            else:
                assert spool.read_frame(numbers[place]).equals(record)


def test_records_can_be_written_after_others_were_read() -> None:
    with contextlib.closing(Spool()) as spool:
        first = spool.write(b"a" * 100_000)
        assert spool.read(first) == b"a" * 100_000
        second = spool.write(b"b")
        assert spool.read(second) == b"b"
        assert spool.read(first) == b"a" * 100_000


def test_nothing_of_the_spool_stays_when_the_process_dies(tmp_path: Path) -> None:
    dying = (
        "import os, sys; from sync.edges.spool import Spool\n"
        "spool = Spool(); spool.write(b'ann@example.com' * 100_000); print('written', flush=True); os._exit(9)"
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
        "try: Spool().write(b'ann@example.com' * 100_000)\n"
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
