"""What a run notes on this machine, and what is made of it once it has died."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.core.delivery import Outcome, State
from sync.edges.local_journal import FOLDER, LocalJournal, Remains, left_behind, opened
from sync.errors import WarehouseError

ACCEPTED = Outcome(State.ACCEPTED, 202, None, attempts=2, elapsed_ms=17)
LOST = Outcome(State.UNKNOWN, None, "the connection was lost; naïve \u2028 words", attempts=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / FOLDER


class _DiedError(Exception):
    """What ends a run here."""


def died(folder: Path, run_id: str = "run") -> Path:
    """The journal of a run that began three requests, and was answered two of them; returns its file."""
    with suppress(_DiedError), opened(folder, run_id) as journal:
        journal.begun("a")
        journal.begun("b")
        journal.answered("a", ACCEPTED)
        journal.begun("c")
        journal.answered("b", LOST)
        raise _DiedError
    return folder / f"{run_id}.journal"


def only(folder: Path) -> Remains:
    """The one journal that was left behind."""
    with left_behind(folder) as found:
        (remains,) = found
        return remains


def change_header(file: Path, **more: object) -> None:
    header, rest = file.read_text().split("\n", 1)
    file.write_text(json.dumps({**json.loads(header), **more}) + "\n" + rest)


def test_what_was_begun_and_answered_is_read_back(folder: Path) -> None:
    died(folder)
    found = only(folder)
    assert (found.run_id, found.begun, dict(found.answered)) == ("run", {"a", "b", "c"}, {"a": ACCEPTED, "b": LOST})
    assert found.is_of_this_boot
    assert found.is_complete


def test_a_run_that_ends_well_leaves_no_journal_and_one_that_sent_nothing_neither(folder: Path) -> None:
    with opened(folder, "well") as journal:
        journal.begun("a")
    with pytest.raises(_DiedError), opened(folder, "nothing"):
        raise _DiedError
    assert [one.name for one in folder.iterdir()] == [".gitignore"]
    assert (folder / ".gitignore").read_text() == "*\n"


def test_the_journal_of_a_run_that_lives_is_nobody_elses(folder: Path) -> None:
    with opened(folder, "run") as journal:
        journal.begun("a")
        with left_behind(folder) as found:
            assert found == ()


def test_of_two_that_find_a_journal_one_has_it(folder: Path) -> None:
    died(folder)
    with left_behind(folder) as first, left_behind(folder) as second:
        assert ([one.run_id for one in first], second) == (["run"], ())
    assert only(folder).run_id == "run"


def test_a_journal_that_was_removed_is_gone_and_one_that_was_not_is_found_again(folder: Path) -> None:
    died(folder, "first")
    died(folder, "second")
    with left_behind(folder) as found:
        assert [one.run_id for one in found] == ["first", "second"]
        found[0].remove()
    assert only(folder).run_id == "second"


@given(cut=st.integers(1, 10_000))
def test_a_torn_end_costs_no_line_before_it(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("journal") / FOLDER
    file = died(folder)
    content = file.read_bytes()
    header = content.index(b"\n") + 1
    left = content[: max(header, len(content) - cut)]
    file.write_bytes(left)
    whole = left[header : left.rindex(b"\n") + 1].decode().splitlines() if left[header:] else []
    found = only(folder)
    assert found.begun == {line.split()[1] for line in whole if line.startswith("begun")}
    assert set(found.answered) == {line.split()[1] for line in whole if line.startswith("answered")}
    assert found.is_complete


@pytest.mark.parametrize("line", ["rubbish", "answered b {}", 'answered b {"state": "odd"}', "\x00\x00", ""])
def test_a_line_that_cannot_be_read_proves_no_absence(folder: Path, line: str) -> None:
    file = died(folder)
    file.write_text(file.read_text() + line + "\nbegun d\n")
    found = only(folder)
    assert not found.is_complete
    assert "d" in found.begun
    assert found.answered["a"] == ACCEPTED


@pytest.mark.parametrize("boot", ["another", None])
def test_a_journal_of_another_start_or_another_machine_proves_no_absence(folder: Path, boot: str | None) -> None:
    change_header(died(folder), boot_id=boot, host="elsewhere")
    found = only(folder)
    assert (found.is_of_this_boot, found.is_complete) == (False, False)
    assert found.answered["a"] == ACCEPTED


@pytest.mark.parametrize("content", [b"", b"rubbish\n", b"{}\n", b'{"run_id": "a"', b"\xff\xfe\n"])
def test_a_file_that_is_no_journal_is_left_alone(folder: Path, content: bytes) -> None:
    file = died(folder)
    file.write_bytes(content)
    with left_behind(folder) as found:
        assert found == ()
    assert file.read_bytes() == content


@pytest.mark.parametrize("where", [None, "missing/further"])
def test_without_a_folder_nothing_is_noted_and_nothing_fails(tmp_path: Path, where: str | None) -> None:
    folder = tmp_path / where if where else None
    with opened(folder, "run") as journal:
        journal.begun("a")
        journal.answered("a", ACCEPTED)
    with left_behind(folder) as found:
        assert found == ()
    assert list(tmp_path.iterdir()) == []


def test_lines_of_many_threads_are_whole(folder: Path) -> None:
    def note(number: int) -> None:
        journal.begun(str(number))
        journal.answered(str(number), ACCEPTED)

    with suppress(_DiedError), opened(folder, "run") as journal:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(note, range(2_000)))
        raise _DiedError
    found = only(folder)
    assert found.is_complete
    assert found.begun == set(found.answered) == {str(number) for number in range(2_000)}


@pytest.fixture
def full(folder: Path) -> Iterator[LocalJournal]:
    """A journal on a disk that is full."""
    folder.mkdir()
    file = folder / "run.journal"
    file.write_text("{}\n")
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield LocalJournal(file, descriptor)
    os.close(descriptor)


def test_a_journal_that_cannot_be_written_is_removed_and_the_run_goes_on(folder: Path, full: LocalJournal) -> None:
    full.begun("a")
    full.answered("a", ACCEPTED)
    assert list(folder.iterdir()) == []


def test_a_journal_that_can_neither_be_written_nor_removed_stops_the_run(folder: Path, full: LocalJournal) -> None:
    file = folder / "run.journal"
    file.unlink()
    file.mkdir()
    with pytest.raises(WarehouseError, match="can neither be written nor removed"):
        full.begun("a")


_CHILD = """
import sys
from pathlib import Path
from sync.edges.local_journal import opened
with opened(Path(sys.argv[1]), "run") as journal:
    journal.begun("a")
    print("begun", flush=True)
    sys.stdin.read()
"""


def test_what_a_process_has_noted_outlives_kill_9_and_its_lock_does_not(folder: Path) -> None:
    command = [sys.executable, "-c", _CHILD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        with left_behind(folder) as found:
            assert found == ()
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    assert only(folder).begun == {"a"}
