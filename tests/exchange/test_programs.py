"""Other people's programs: filled without a shell, heard, timed, ended with everything they started."""

import itertools
import os
import select
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.errors import ProgramFailed, TaskCancelled
from daemon.exchange.programs import find_program, run_program

Script = Callable[[str], str]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Writes a shell program and gives its path."""

    def write(body: str) -> str:
        path = tmp_path / "program.sh"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    return write


def run(
    arguments: list[str],
    folder: Path,
    *,
    answers: str = "",
    time_limit_s: float = 60.0,
    check_cancelled: Callable[[], None] = lambda: None,
    clock_s: Callable[[], float] = lambda: 0.0,
) -> tuple[list[str], list[str]]:
    heard: list[str] = []
    lines = run_program(
        arguments,
        folder=folder,
        answers=answers,
        time_limit_s=time_limit_s,
        on_line=heard.append,
        check_cancelled=check_cancelled,
        clock_s=clock_s,
    )
    return lines, heard


def test_lines_come_as_they_are_said_and_answers_are_typed(script: Script, tmp_path: Path) -> None:
    program = script('read name; echo "hello $name"; echo oops >&2')
    assert run([program], tmp_path, answers="world\n") == (["hello world", "oops"],) * 2


def test_it_runs_in_its_folder_without_the_daemons_secrets(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials")
    monkeypatch.setenv("ELCANO__BUS__URL", "nats://somewhere")
    folder = tmp_path / "scratch"
    folder.mkdir()
    lines, _ = run([script("pwd; env")], folder)
    assert lines[0] == str(folder)
    assert not [line for line in lines if "CREDENTIALS" in line or "ELCANO__" in line]


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProgramFailed, match="MotionCor9 is not there"):
        run([str(tmp_path / "MotionCor9")], tmp_path)
    with pytest.raises(ProgramFailed):
        find_program("no-such-program-anywhere")


@pytest.mark.parametrize(("body", "words"), [("echo bad gain; exit 3", "status 3"), ("kill -SEGV $$", "signal 11")])
def test_how_it_failed_is_told_with_its_last_words(script: Script, tmp_path: Path, body: str, words: str) -> None:
    with pytest.raises(ProgramFailed, match=words) as failure:
        run([script(body)], tmp_path)
    assert ("bad gain" in failure.value.message) == ("bad gain" in body)


def test_a_program_past_its_time_is_ended_with_what_it_started(script: Script, tmp_path: Path) -> None:
    program = script("sleep 1000 & echo $! > child; wait")
    child = tmp_path / "child"
    hours = itertools.count()

    def clock_s() -> float:
        """Stands still until the program has started another, and runs from then on."""
        return 3600.0 * next(hours) if child.exists() and child.read_text().strip() else 0.0

    with pytest.raises(ProgramFailed, match="did not end within 60 s"):
        run([program], tmp_path, clock_s=clock_s)
    assert_gone(int(child.read_text()))


def test_a_cancelled_task_ends_its_program(script: Script, tmp_path: Path) -> None:
    program = script("echo $$ > own; exec sleep 1000")
    own = tmp_path / "own"

    def check_cancelled() -> None:
        if own.exists() and own.read_text().strip():
            raise TaskCancelled("no longer wanted")

    with pytest.raises(TaskCancelled):
        run([program], tmp_path, check_cancelled=check_cancelled)
    assert_gone(int(own.read_text()))


def assert_gone(pid: int) -> None:
    """A child of an ended program belongs to init: the kernel says when it has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], 30)[0], f"process {pid} goes on"
    finally:
        os.close(descriptor)


def test_a_program_that_talks_without_end_fills_no_memory(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.exchange.programs._MOST_KEPT_BYTES", 3 * sys.getsizeof("abcd"))
    monkeypatch.setattr("daemon.exchange.programs._LONGEST_LINE", 4)
    lines, heard = run([script("for i in 1 2 3 4 5; do echo $i; done; echo abcdefg")], tmp_path)
    assert lines == ["5", "abcd", "efg"]
    assert heard == ["1", "2", "3", "4", "5", "abcd", "efg"]


def test_no_more_of_a_programs_words_is_kept_than_fits_however_long_its_lines(script: Script, tmp_path: Path) -> None:
    program = script("head -c 40000000 /dev/zero | tr '\\0' x")
    lines, heard = run([program], tmp_path)
    kept_bytes = sum(map(sys.getsizeof, lines))
    assert 2**24 - 2**17 < kept_bytes <= 2**24
    assert sum(map(len, heard)) < 2**17


def test_of_what_is_said_too_fast_for_a_log_the_count_is_logged(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.exchange.programs._MOST_PASSED_ON_PER_S", 6)
    program = script("for word in a b c d e f g; do echo $word; done")
    # Read once at each line; when a second is over, twice.
    times = iter([0.1, 0.2, 0.3, 0.4, 0.5, 1.0, 1.0, 1.5])

    def clock_s() -> float:
        return 0.0 if threading.current_thread() is threading.main_thread() else next(times)

    heard: list[str] = []
    lines = run_program(
        [program],
        folder=tmp_path,
        time_limit_s=60.0,
        on_line=heard.append,
        check_cancelled=lambda: None,
        clock_s=clock_s,
    )
    assert lines == ["a", "b", "c", "d", "e", "f", "g"]
    assert heard[:3] == ["a", "b", "c"]
    assert "2 line(s) left out here" in heard[3]
    assert heard[4:] == ["f", "g"]
