"""Free space, how long it lasts, and mounts that do not answer."""

import threading
from pathlib import Path

import pytest

from daemon.engine.disks import DiskPlace, Disks, full_in_s

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def test_a_disk_that_fills_tells_when_the_reserve_is_reached(tmp_path: Path) -> None:
    clock, free = Clock(), [1000]
    disks = Disks([DiskPlace("home", tmp_path, 100)], measure=lambda _: (free[0], 2000), clock_s=clock)
    (first,) = await disks.look()
    assert (first.free_bytes, first.total_bytes, first.full_in_s) == (1000, 2000, None)
    clock.now_s, free[0] = 120.0, 300
    assert (await disks.look())[0].full_in_s is None, "two minutes are too short to tell"
    clock.now_s, free[0] = 600.0, 700
    (later,) = await disks.look()
    assert later.full_in_s == pytest.approx((700 - 100) * 600 / 300)
    clock.now_s, free[0] = 30_000.0, 650
    (much_later,) = await disks.look()
    assert much_later.full_in_s is None, "what was seen before this night is forgotten"


async def test_disks_that_are_full_within_a_day_are_told_each_once(tmp_path: Path) -> None:
    clock, gib = Clock(), 2**30
    free = {"home": 130 * gib, "state": 130 * gib, "raw": 9}
    total = {"home": 2000 * gib, "state": 2000 * gib, "raw": 10}
    places = [DiskPlace(what, tmp_path / what, 30 * gib if what == "home" else 0) for what in ("home", "state", "raw")]
    disks = Disks(places, measure=lambda path: (free[path.name], total[path.name]), clock_s=clock)
    assert disks.foreseen() == []
    await disks.look()
    clock.now_s = 3600.0
    free |= {"home": 100 * gib, "state": 100 * gib}
    await disks.look()
    (told,) = disks.foreseen()
    assert (told.kind, told.path, told.since_s) == ("disk_filling", str(tmp_path / "home"), 3600.0)
    assert told.message == f"{tmp_path}/home is full in 2 h 20, filling as it does lately: 100.0 GiB free."
    clock.now_s, free["home"], free["state"], free["raw"] = 7200.0, 20 * gib, 300 * gib, 0
    await disks.look()
    (told,) = disks.foreseen()
    assert told.message == f"{tmp_path}/raw is full: 0.0 GiB free.", "home at its reserve holds work up, and is told so"


def test_a_burst_of_writing_is_no_forecast_of_a_day() -> None:
    """Of 136 GB, somebody else wrote 1.5 at the start: told as full in three hours, it would alarm for nothing."""
    seen = [(0.0, 137_500_000_000), *((60.0 * minute, 136_000_000_000) for minute in range(2, 61))]
    for minutes in range(1, len(seen)):
        assert full_in_s(seen[:minutes], 0) is None


def test_what_began_this_hour_is_not_lost_in_a_quiet_night() -> None:
    quiet = [(60.0 * minute, 100_000) for minute in range(300)]
    filling = [*quiet, *((60.0 * (300 + minute), 100_000 - 500 * minute) for minute in range(61))]
    assert full_in_s(filling, 0) == pytest.approx(70_000 / 500 * 60, rel=0.05)
    slowly = [(60.0 * minute, 100_000 - 100 * minute / 6) for minute in range(361)]
    assert full_in_s([(at_s, int(free)) for at_s, free in slowly], 0) == pytest.approx(94_000 * 6 / 100 * 60, rel=0.01)


def test_a_disk_below_its_reserve_is_full_now_and_one_that_empties_never() -> None:
    assert full_in_s([(0.0, 50)], 100) == 0.0
    assert full_in_s([(0.0, 500), (600.0, 900)], 100) is None
    assert full_in_s([], 100) is None


async def test_a_mount_that_hangs_is_asked_once_and_holds_nobody_up(tmp_path: Path) -> None:
    asked, answer = [], threading.Event()

    def measure(path: Path) -> tuple[int, int]:
        if path == tmp_path:
            asked.append(path)
            answer.wait(30)
        return 10, 20

    disks = Disks([DiskPlace("raw", tmp_path), DiskPlace("state", Path("/"))], measure=measure, patience_s=0.05)
    hung, state = await disks.look()
    assert hung.free_bytes is None
    assert "does not answer" in hung.trouble
    assert (state.free_bytes, state.trouble) == (10, "")
    await disks.look()
    assert len(asked) == 1
    answer.set()


async def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    (gone,) = await Disks([DiskPlace("raw", tmp_path / "gone")]).look()
    assert gone.free_bytes is None
    assert gone.trouble == "No such file or directory"
