"""When and how files arrive, without a second of real waiting."""

from pathlib import Path

import pytest

from daemon.errors import FileNotWritten, SimulationInvalid
from daemon.simulator.arrival import COPY_CHUNKS, Arrival, Pace, SystemClock, copy_in_pieces, deliver, wait_until
from tests.simulator.clocks import FakeClock


def test_intervals_and_writing_times() -> None:
    assert Arrival().interval_s == 0
    assert Arrival(movies_per_hour=120).interval_s == 30
    assert Arrival(120, "fast").write_seconds == 0
    assert Arrival(120, "slow").write_seconds == pytest.approx(18)
    assert Arrival(0, "slow").write_seconds == 10
    assert Arrival(120, "slow", write_s=4).write_seconds == 4


@pytest.mark.parametrize("arrival", [Arrival(-1), Arrival(float("nan")), Arrival(write_s=-1), Arrival(float("inf"))])
def test_impossible_figures_are_refused(arrival: Arrival) -> None:
    with pytest.raises(SimulationInvalid):
        arrival.check()


def test_a_pace_spreads_its_steps_and_catches_up() -> None:
    clock = FakeClock()
    pace = Pace(clock, 10.0)
    pace.after_step(1, 5)
    clock.moment_s += 3.0  # a step that took long
    pace.after_step(2, 5)
    pace.after_step(3, 5)
    assert clock.slept_s == pytest.approx([2.0, 1.0])
    pace.after_step(5, 5)
    assert clock.moment_s == pytest.approx(1010.0)


def test_waiting_tells_how_late_it_is() -> None:
    clock = FakeClock()
    assert wait_until(clock, 1005.0) == 0
    assert clock.slept_s == [5.0]
    assert wait_until(clock, 1001.0) == 4.0


def test_the_system_clock_moves_on() -> None:
    clock = SystemClock()
    before = clock.now_s()
    clock.sleep(0.0)
    assert clock.now_s() >= before


def test_renaming_shows_the_movie_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "m.tif"
    seen: list[list[str]] = []

    def write(path: Path) -> None:
        path.write_bytes(b"half")
        seen.append([entry.name for entry in tmp_path.iterdir()])
        path.write_bytes(b"whole")

    deliver(target, Arrival(), write)
    assert seen == [["m.tif.part"]]
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.tif"]
    assert target.read_bytes() == b"whole"


def test_a_failed_write_leaves_no_temporary_name_but_keeps_a_file_in_place(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        path.write_bytes(b"half")
        raise FileNotWritten(path, OSError(28, "No space left on device"))

    for in_place in (False, True):
        with pytest.raises(FileNotWritten, match="No space left"):
            deliver(tmp_path / f"{in_place}.mrc", Arrival(in_place=in_place), write)
    assert [entry.name for entry in tmp_path.iterdir()] == ["True.mrc"]


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 100_003])
def test_copies_grow_piece_by_piece_into_the_same_bytes(tmp_path: Path, size: int) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(bytes(index % 251 for index in range(size)))
    sizes: list[int] = []
    steps: list[tuple[int, int]] = []

    def after_piece(done: int, total: int) -> None:
        sizes.append(target.stat().st_size)
        steps.append((done, total))

    copy_in_pieces(source, target, after_piece)
    assert target.read_bytes() == source.read_bytes()
    assert sizes == sorted(sizes)
    assert steps[-1][0] == steps[-1][1] == len(steps) <= COPY_CHUNKS
    if size:
        assert len(set(sizes)) == len(sizes)


def test_a_copy_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(FileNotWritten, match="cannot be written"):
        copy_in_pieces(tmp_path / "a", tmp_path / "no" / "b", lambda *_: None)
