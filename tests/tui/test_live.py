"""Live and nodes: latency, rates, bottleneck and disks; who is silent, and pausing the node."""

from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from daemon.errors import BusUnavailable
from daemon.messages.live import DiskLoad
from tests.tui.fake_link import FakeLink
from tests.tui.figures_scene import behind, full_beat, live, outlook, pause, proof, queues, stage_beats
from tests.tui.scenes import matrix, sessions
from tests.tui.screen_text import settle, shown
from tui.app import ElcanoTerminal
from tui.core.live_lines import Section, lay_out
from tui.core.load import banner_words, disk_words, forecast_words, verdict_words
from tui.core.model import Queues

pytestmark = pytest.mark.anyio
Make = Callable[[FakeLink], ElcanoTerminal]
NOW_S = 1_790_000_000.0


@pytest.fixture
def link() -> FakeLink:
    """A daemon that keeps up, and another node that has been silent for five minutes."""
    answers = {"matrix": matrix(), "live": live(), "mount.proof": proof()}
    beats = (full_beat(), full_beat("gpu02", age_s=300), *stage_beats())
    return FakeLink(*sessions(), *beats, Queues(queues()), answers=answers)


async def open_tab(pilot: Pilot[Any], key: str) -> str:
    await settle(pilot)
    await pilot.press(key)
    await settle(pilot)
    return shown(pilot.app)


def words(pieces: Any) -> str:
    return "".join(text for text, _ in pieces)


async def test_latency_rates_steps_and_lag_are_shown(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 60)) as pilot:
        text = await open_tab(pilot, "3")
        assert "✓ keeping up" in text
        assert "it can do 423 movies/h, 280/h arrive" in text
        assert "last 15 min    14 s   31 s   44 s       60" in text
        assert "last 24 h         –      –      –     none" in text
        assert "4.0× as long" in text
        assert "228/h" in text
        assert "until proven whole   3.4 s   6.8 s" in text
        assert "3 waiting, 3 in work, 1 to be retried" in text
        assert "9.0 GiB of 32.0 GiB for movies in work, 1 movie waits for memory" in text
        assert "3.0 TiB free of 20.0 TiB (15 %)  full in 2 d 2 h" in text


async def test_what_failed_has_a_line_of_its_own(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 30)) as pilot:
        assert "✗ failed" not in await open_tab(pilot, "3")
    link.answers["live"] = live(failed=[0] * 59 + [3])
    async with terminal(link).run_test(size=(100, 30)) as pilot:
        line = next(line for line in (await open_tab(pilot, "3")).splitlines() if "✗ failed" in line)
        assert line.endswith("3/h  3 in all")


async def test_other_windows_are_asked_for(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 30)) as pilot:
        await open_tab(pilot, "3")
        await pilot.press("w")
        await settle(pilot)
        assert ("live", {"window_s": 21_600.0}) in link.asked


@pytest.mark.parametrize("size", [(60, 20), (100, 30)])
async def test_what_has_no_room_is_counted_and_reached(link: FakeLink, terminal: Make, size: tuple[int, int]) -> None:
    app = terminal(link)
    async with app.run_test(size=size) as pilot:
        text = await open_tab(pilot, "3")
        assert "more lines: ↓ and PgDn show them" in text
        for _ in range(8):
            await pilot.press("pagedown")
            await settle(pilot)
        app.screen.draw_time()  # type: ignore[attr-defined]
        await settle(pilot)
        assert "node gpu02" in shown(app)
        assert "more lines" not in shown(app)


async def test_falling_behind_is_told_on_every_screen(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(160, 30)) as pilot:
        await settle(pilot)
        link.push(full_beat(told=behind(), disks=[]))
        await settle(pilot)
        text = shown(pilot.app)
        assert "gpu01 falls behind: ctf_estimation is the bottleneck at 8.1 s a movie, 4.1× as long as before" in text
        link.push(full_beat(disks=[]))
        await settle(pilot)
        assert "falls behind" not in shown(pilot.app)


def test_the_banner_names_disks_that_are_full_soon_and_leaves_out_silent_nodes() -> None:
    soon = DiskLoad(what="home", path="/r", free_bytes=10, total_bytes=100, full_in_s=3600.0)
    same = DiskLoad(what="raw", path="/gpfs", free_bytes=11, total_bytes=100, full_in_s=3601.0)
    lines = banner_words([full_beat(disks=[soon, same]), full_beat("old", age_s=500, told=behind())], NOW_S)
    assert [words(line) for line in lines] == [" ⚠ gpu01: /r is full in 1 h 00, 10 B free"]
    paused = outlook(is_behind=True, kind="pause", bottleneck="the node is paused by ada")
    assert banner_words([full_beat(disks=[], told=paused)], NOW_S) == []


def test_what_is_said_of_an_outlook() -> None:
    assert words(verdict_words(outlook())) == "✓ keeping up"
    assert "212 movies wait" in words(verdict_words(behind()))
    assert forecast_words(behind()) == "it can do 210 movies/h, 400/h arrive; in 1 h 402 wait, 1 h 54 each"
    full = outlook(
        is_behind=True, kind="disk", bottleneck="No new movie is started: 1 GiB is free", caught_up_in_s=None
    )
    assert "1 GiB is free" in words(verdict_words(full))
    fresh = outlook(backlog=0, capacity_per_hour=None, caught_up_in_s=None, backlog_in_1h=None)
    assert verdict_words(fresh) == []
    assert forecast_words(fresh) == ""


def test_a_disk_at_its_reserve_says_so() -> None:
    full = DiskLoad(what="home", path="/r", free_bytes=1, total_bytes=100, reserve_bytes=5, full_in_s=0.0)
    assert "at its reserve: no movie is begun" in words(disk_words(full))


def test_sections_stand_side_by_side_where_there_is_room() -> None:
    sections = [Section(f"s{number}", [[("x" * 70, "plain")]] * 4) for number in range(4)]
    narrow, wide = lay_out(sections, 100), lay_out(sections, 160)
    assert len(narrow) == 24
    assert len(wide) == 12
    assert "s0" in words(wide[0])
    assert "s2" in words(wide[0])


async def test_a_silent_node_is_marked_with_its_age(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 40)) as pilot:
        text = await open_tab(pilot, "9")
        assert "✓ alive  4 s ago" in text
        assert "⚠ silent for 5 min" in text
        assert "NVIDIA H200 computes 81 % of the time, 30.0 GiB of 139.0 GiB" in text
        assert "✗ does not answer, was waited for 5 s" in text
        assert "✓ /gpfs/results on gpu01" in text
        assert "motioncor         3         1    240        2" in text
        await pilot.press("down")
        await settle(pilot)
        assert "last heartbeat 14:08:20, 5 min ago" in shown(pilot.app)


async def test_the_node_is_paused_with_a_reason_and_goes_on(link: FakeLink, terminal: Make) -> None:
    link.answers["node.pause"] = link.answers["node.resume"] = {"paused": []}
    async with terminal(link).run_test(size=(100, 40), notifications=True) as pilot:
        await open_tab(pilot, "9")
        await pilot.press("p")
        await settle(pilot)
        assert "Pause the node?" in shown(pilot.app)
        await pilot.press("escape")
        await settle(pilot)
        assert link.commands() == []
        await pilot.press("p")
        await settle(pilot)
        await pilot.press(*"disk", "enter")
        await settle(pilot)
        assert link.commands() == [("node.pause", {"why": "disk"})]
        assert "The node is paused." in shown(pilot.app)
        link.push(Queues({**queues(), "paused": [pause()]}))
        await settle(pilot)
        assert "‖ paused" in shown(pilot.app)
        assert "the node since 14:08:20 by ada (operator): new disk" in shown(pilot.app)
        await pilot.press("p")
        await settle(pilot)
        assert "Go on with everything?" in shown(pilot.app)
        await pilot.press("enter")
        await settle(pilot)
        assert link.commands()[-1] == ("node.resume", {"why": ""})


async def test_a_viewer_sees_and_may_not_pause(link: FakeLink, terminal: Make) -> None:
    link = FakeLink(*sessions(), full_beat(), role="viewer", answers=link.answers)
    async with terminal(link).run_test(size=(100, 40), notifications=True) as pilot:
        await open_tab(pilot, "9")
        await pilot.press("p")
        await settle(pilot)
        assert "You are a viewer" in shown(pilot.app)
        assert link.commands() == []


async def test_what_is_not_answered_is_said(terminal: Make) -> None:
    trouble = BusUnavailable("The daemon does not answer.")
    link = FakeLink(answers={"live": trouble, "mount.proof": trouble})
    async with terminal(link).run_test(size=(100, 30)) as pilot:
        text = await open_tab(pilot, "3")
        assert "⚠ The daemon does not answer." in text
        assert "no heartbeat yet" in text
        await pilot.press("9")
        await settle(pilot)
        assert "No heartbeat yet" in shown(pilot.app)


async def test_a_home_that_cannot_be_proven_says_why(link: FakeLink, terminal: Make) -> None:
    link.answers["mount.proof"] = proof(proof=None, trouble="/gpfs/results is read-only.")
    async with terminal(link).run_test(size=(100, 40)) as pilot:
        text = await open_tab(pilot, "9")
        assert "✗ /gpfs/results on gpu01: /gpfs/results is read-only." in text
