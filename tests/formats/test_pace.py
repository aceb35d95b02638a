"""Reading at a pace: on simulated time, exactly."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from daemon.formats.byte_source import ByteSource
from daemon.formats.pace import ReadPace

MIB = 1 << 20


class SimulatedTime:
    """Moves on when someone sleeps."""

    def __init__(self) -> None:
        self.now_s = 50.0

    def clock(self) -> float:
        return self.now_s

    def sleep(self, duration_s: float) -> None:
        self.now_s += duration_s


@pytest.fixture
def time() -> SimulatedTime:
    return SimulatedTime()


@pytest.fixture
def pace(time: SimulatedTime) -> ReadPace:
    return ReadPace(clock=time.clock, sleep=time.sleep)


def test_without_a_limit_nobody_waits(time: SimulatedTime, pace: ReadPace) -> None:
    pace.take(10**15)
    assert time.now_s == 50.0
    assert pace.part_bytes(10**12) == 10**12


def test_a_file_takes_as_long_as_the_limit_says(tmp_path: Path, time: SimulatedTime, pace: ReadPace) -> None:
    content = bytes(range(256)) * (4 * MIB // 256)
    path = tmp_path / "movie.mrc"
    path.write_bytes(content)
    pace.limit(2 * MIB)
    with ByteSource(path, pace=pace) as source:
        assert source.read_at(0, 4 * MIB) == content
        whole_s = time.now_s - 50.0
        assert source.read_up_to(3 * MIB, 9 * MIB) == content[3 * MIB :]
    # The first quarter second was saved up; what lies beyond the end of the file is not paid for.
    assert whole_s == pytest.approx(1.75)
    assert time.now_s - 50.0 - whole_s == pytest.approx(0.5)


def test_a_long_pause_earns_no_more_than_a_short_one(time: SimulatedTime, pace: ReadPace) -> None:
    pace.limit(MIB)
    pace.take(MIB)
    time.now_s += 3600.0
    before_s = time.now_s
    pace.take(MIB)
    assert time.now_s - before_s == pytest.approx(0.75)


def test_readers_share_one_limit() -> None:
    waits: list[float] = []
    lock = threading.Lock()

    def note(duration_s: float) -> None:
        with lock:
            waits.append(duration_s)

    pace = ReadPace(clock=lambda: 50.0, sleep=note)
    pace.limit(1000.0)
    threads = [threading.Thread(target=pace.take, args=(500,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waits) == pytest.approx([0.25 + 0.5 * index for index in range(8)])


def test_a_small_look_waits_for_one_part_of_a_long_read_only(pace: ReadPace) -> None:
    pace.limit(100 * MIB)
    assert pace.part_bytes(10**9) == 10 * MIB
    assert pace.part_bytes(17) == 17
    pace.limit(1000)
    assert pace.part_bytes(10**9) == 64 * 1024, "slower than this, small parts only cost calls"


def test_another_limit_holds_at_once_and_forgives_debts(time: SimulatedTime, pace: ReadPace) -> None:
    waits: list[float] = []
    pace = ReadPace(clock=time.clock, sleep=waits.append)
    pace.limit(1.0)
    pace.take(1000)
    pace.limit(1000.0)
    pace.take(250)
    assert waits == pytest.approx([999.75, 0.25])
    pace.limit(0)
    pace.take(10**9)
    assert len(waits) == 2
    with pytest.raises(ValueError, match="negative"):
        pace.limit(-1)


TAKES = """
import sys
from daemon.formats.pace import ReadPace

pace = ReadPace(clock=lambda: 50.0, sleep=lambda wait_s: print(wait_s, flush=True))
pace.join(int(sys.argv[1]))
for _ in sys.stdin:
    pace.take(500)
"""


def test_processes_share_one_limit_and_what_was_taken() -> None:
    waits: list[float] = []
    pace = ReadPace(clock=lambda: 50.0, sleep=waits.append)
    pace.limit(1000.0)
    with subprocess.Popen(
        [sys.executable, "-c", TAKES, str(pace.descriptor)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=[pace.descriptor],
    ) as other:
        ask, answer = other.stdin, other.stdout
        assert ask is not None
        assert answer is not None
        pace.take(500)
        print("take", file=ask, flush=True)
        others = [float(answer.readline())]
        pace.take(500)
        pace.limit(2000.0)  # which holds for both at once
        print("take", file=ask, flush=True)
        others.append(float(answer.readline()))
        ask.close()
    assert waits == pytest.approx([0.25, 1.25])
    assert others == pytest.approx([0.75, 0.25])
