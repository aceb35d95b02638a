"""One job's images by stages, and one task, as a person uses them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from textual.pilot import Pilot

from daemon.messages.envelope import utc
from daemon.messages.event_data import LogLine, StepCompleted, StepProgress
from tests.tui.fake_link import FakeLink, connected
from tests.tui.scenes import NOW_S, matrix, summary, task
from tests.tui.screen_text import settle, shown
from tui.app import ElcanoTerminal
from tui.screens.job import JobScreen
from tui.screens.task import TaskScreen

pytestmark = pytest.mark.anyio
Make = Callable[[FakeLink], ElcanoTerminal]
STEP: dict[str, Any] = {"ts": utc(NOW_S), "job_id": "job-4", "image_name": "x", "attempt": 1}


@pytest.fixture
def link(link: FakeLink) -> FakeLink:
    link.answers |= {"task": lambda asked: task(task_id=asked["task_id"]), "task.retry": {"tasks": 2, "movies": 2}}
    link.answers |= {"task.cancel": {"tasks": 3, "movies": 2}}
    return link


@asynccontextmanager
async def opened(app: ElcanoTerminal) -> AsyncIterator[tuple[ElcanoTerminal, Pilot[Any]]]:
    """Have the images of the newest job before one."""
    async with app.run_test(size=(120, 30), notifications=True) as pilot:
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)
        yield app, pilot


def job_screen(app: ElcanoTerminal) -> JobScreen:
    screen = app.screen
    assert isinstance(screen, JobScreen)
    return screen


def names_shown(app: ElcanoTerminal) -> list[str]:
    screen = job_screen(app)
    return [screen.matrix.names[row] for row in screen.table.rows.order]


async def test_the_matrix_shows_every_state_in_sign_and_word(link: FakeLink, terminal: Make) -> None:
    async with opened(terminal(link)) as (app, _):
        text = shown(app)
        for words in ("✓ done", "▸ running", "· waiting", "✗ failed", "» skipped", "⊘ cancelled", "12 images"):
            assert words in text
        assert "gain.mrc has another shape" in text
        assert link.asked[-1] == ("matrix", {"job_id": "job-4", "after": None})


async def test_what_moves_is_asked_for_and_laid_over(link: FakeLink, terminal: Make) -> None:
    async with opened(terminal(link)) as (app, pilot):
        screen = job_screen(app)
        told = matrix(14, seq=11)
        told["images"] = told["images"][12:]
        link.answers["matrix"] = told
        screen._is_asking = False  # half a second has gone by
        link.push(summary("job-4"))
        await settle(pilot)
        assert link.asked[-1] == ("matrix", {"job_id": "job-4", "after": 10})
        assert len(names_shown(app)) == 14


async def test_a_new_connection_asks_for_all_again_and_doubles_nothing(link: FakeLink, terminal: Make) -> None:
    async with opened(terminal(link)) as (app, pilot):
        screen = job_screen(app)
        link.answers["matrix"] = matrix(15, seq=40)
        screen._is_asking = False
        link.push(connected(connections=2))
        await settle(pilot)
        assert link.asked[-1] == ("matrix", {"job_id": "job-4", "after": None})
        assert sorted(names_shown(app)) == [f"24dec03a_{number:05d}ex" for number in range(15)]


async def test_progress_of_a_running_task(link: FakeLink, terminal: Make) -> None:
    async with opened(terminal(link)) as (app, pilot):
        told = {**STEP, "task_id": "task-0-1", "image_id": "image-0", "step": "ctf"}
        link.push(StepProgress(**told, percent=43.0, current=43, total=100, unit="tiles"))
        await settle(pilot)
        assert "▸ 43 %" in shown(app)


async def test_filter_sort_and_search(link: FakeLink, terminal: Make) -> None:
    async with opened(terminal(link)) as (app, pilot):
        await pilot.press("slash", *"motion:failed", "enter")
        await settle(pilot)
        assert names_shown(app) == ["24dec03a_00003ex", "24dec03a_00009ex"]
        assert "2 of 12 images" in shown(app)
        await pilot.press("escape", "n")
        await settle(pilot)
        screen = job_screen(app)
        assert screen.table.cursor_row == 9, "the cursor stayed on the row that the filter showed first"
        await pilot.press("n", "n", "N")
        assert screen.table.cursor_row == 3
        await pilot.press("s", "s")
        await settle(pilot)
        assert names_shown(app)[:2] == ["24dec03a_00003ex", "24dec03a_00009ex"]


async def test_the_filtered_set_is_retried(link: FakeLink, terminal: Make) -> None:
    async with opened(terminal(link)) as (app, pilot):
        await pilot.press("slash", *":failed", "enter", "asterisk", "r")
        await settle(pilot)
        assert "Run 2 tasks of 2 images again?" in shown(app)
        assert "24dec03a_00009ex" in shown(app)
        await pilot.press("y")
        await settle(pilot)
        assert link.commands() == [("task.retry", {"task_ids": ["task-3-0", "task-9-0"]})]


async def test_the_task_under_the_cursor_is_cancelled(link: FakeLink, terminal: Make) -> None:
    async with opened(terminal(link)) as (_, pilot):
        await pilot.press("right", "c", "y")
        await settle(pilot)
        assert link.commands() == [("task.cancel", {"task_ids": ["task-0-1"]})]


async def test_a_stage_is_paused_for_the_session(link: FakeLink, terminal: Make) -> None:
    link.answers["stage.pause"] = {"paused": []}
    async with opened(terminal(link)) as (_, pilot):
        await pilot.press("right", "p", "y")
        await settle(pilot)
        assert link.commands() == [("stage.pause", {"stage": "ctf_estimation", "session": "id of 24dec03a"})]


async def test_a_stage_runs_again_with_other_parameters(link: FakeLink, terminal: Make) -> None:
    link.answers["parameters"] = [
        {
            "stage": "motion_correction",
            "parameters": {"patch_ang": 300.0},
            "schema": {"properties": {"patch_ang": {"type": "number", "minimum": 50, "description": "Patches."}}},
        }
    ]
    link.answers["stage.reprocess"] = {
        "movies": 2,
        "tasks": 8,
        "stages": {"motion_correction": 2, "fft": 6},
        "left_out": {"motion_correction was cancelled": 1},
        "token": "2-abc",
    }
    async with opened(terminal(link)) as (app, pilot):
        await pilot.press("space", "space", "e")
        await settle(pilot)
        assert "motion_correction again, for 2 images of 24dec03a" in shown(app)
        await pilot.press("end", *["backspace"] * 5, *"wide", "f2")
        await settle(pilot)
        assert "patch_ang must be a number." in shown(app)
        await pilot.press("end", *["backspace"] * 4, *"250", "f2")
        await settle(pilot)
        assert "and what depends on it, again for 2 images?" in shown(app)
        assert "patch_ang = 250" in shown(app)
        await pilot.press("y")
        await settle(pilot)
        asked = {
            "stage": "motion_correction",
            "session": "24dec03a",
            "images": ["24dec03a_00000ex", "24dec03a_00001ex"],
            "values": {"patch_ang": 250},
        }
        assert link.commands() == [
            ("stage.reprocess", {**asked, "preview": True}),
            ("stage.reprocess", {**asked, "token": "2-abc"}),
        ]
        assert "8 tasks will run again." in shown(app)


async def test_movies_that_wait_to_be_whole_say_why(link: FakeLink, terminal: Make) -> None:
    why = "0 bytes: the copy never began, or the disk was full"
    told = matrix(2)
    for _, _, _, cells in told["images"]:
        for cell in cells:
            cell[1:] = [0, 0, ""]
    link.answers["matrix"] = told | {"not_whole": {"image-1": why}}
    link.answers["task"] = lambda asked: task(
        task_id=asked["task_id"], state="pending", reason="", hint="", error_kind="", not_whole=why, metrics={}, runs=[]
    )
    app = terminal(link)
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)
        assert "· not whole" in shown(app)
        assert why not in shown(app), "the column of reasons lies beyond the edge, and the cursor on another row"
        await pilot.press("down")
        await settle(pilot)
        assert f"not whole yet: {why}" in shown(app)
        # No event tells that the watcher says something else now.
        link.answers["matrix"] = told | {"not_whole": {"image-1": "not a TIFF file"}}
        screen = job_screen(app)
        screen._is_asking = False  # half a second has gone by
        screen._poll()
        await settle(pilot)
        assert "not whole yet: not a TIFF file" in shown(app)
        await pilot.press("enter")
        await settle(pilot)
        assert "· not whole yet" in shown(app).splitlines()[1]
        assert why in shown(app)
        link.answers["task"] = task(state="completed", reason="")
        assert isinstance(app.screen, TaskScreen)
        app.screen._poll()
        await settle(pilot)
        assert "not whole" not in shown(app)


async def open_task(pilot: Any) -> TaskScreen:
    await settle(pilot)
    await pilot.press("enter")
    await settle(pilot)
    await pilot.press("down", "down", "down", "enter")
    await settle(pilot)
    screen = pilot.app.screen
    assert isinstance(screen, TaskScreen)
    return screen


async def test_a_task_says_what_is_wrong_and_what_to_do(link: FakeLink, terminal: Make) -> None:
    app = terminal(link)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        screen = await open_task(pilot)
        assert screen.task_id == "task-3-0"
        text = shown(app)
        for words in (
            "✗ gain_unsuitable",
            "gain.mrc is 64 × 64 pixels, the movie 128 × 128.",
            "Put the camera's gain reference into gains/, then retry.",
            "the dose is not known",
            "total_motion_ang  12.34",
            "/home/24dec03a/motioncor",
            "24dec03a_00003ex_motion.png",
            "300 (its own)",
            "by anna@scope1 (operator)",
            "/gpfs/24dec03a/frames/24dec03a_00003ex.tif",
        ):
            assert words in text
        assert screen.query_one("#pictures").is_attached


async def test_the_log_of_a_task_runs_along(link: FakeLink, terminal: Make) -> None:
    app = terminal(link)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await open_task(pilot)
        evil = "\x1b]0;title\x07[b]" + "x" * 10_000
        link.push(
            LogLine(ts=utc(NOW_S), job_id="job-4", task_id="task-3-0", level="info", message="frames are aligned"),
            LogLine(ts=utc(NOW_S), job_id="job-4", task_id="task-3-0", level="warning", message=evil),
            LogLine(ts=utc(NOW_S), job_id="job-4", task_id="another", level="info", message="not of this task"),
        )
        await settle(pilot)
        text = shown(app)
        assert "frames are aligned" in text
        assert "␛]0;title␇[b]xxx" in text
        assert "not of this task" not in text


async def test_a_task_that_ends_is_asked_for_again(link: FakeLink, terminal: Make) -> None:
    app = terminal(link)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await open_task(pilot)
        link.answers["task"] = task(state="completed", reason="", hint="", error_kind="")
        ended = {**STEP, "task_id": "task-3-0", "image_id": "image-3", "step": "motioncor"}
        link.push(StepCompleted(**ended, output_files=[], metrics={}))
        await settle(pilot)
        assert "✓ done" in shown(app)
        assert "gain_unsuitable" not in shown(app).splitlines()[2]


async def test_a_task_is_retried_and_its_paths_are_copied(link: FakeLink, terminal: Make) -> None:
    app = terminal(link)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await open_task(pilot)
        await pilot.press("y")
        assert app.clipboard == "/home/24dec03a/motioncor/24dec03a_00003ex_motion.png"
        await pilot.press("r")
        await settle(pilot)
        assert "Run 1 task of 1 image again?" in shown(app)
        await pilot.press("enter")
        await settle(pilot)
        assert link.commands() == [("task.retry", {"task_ids": ["task-3-0"]})]
        await pilot.press("escape", "escape")
        await settle(pilot)
        assert "○ open, idle" in shown(app), "back at the jobs"
