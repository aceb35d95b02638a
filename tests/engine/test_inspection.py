"""What a panel of jobs is drawn from: the matrix, whole and what has moved since, and single tasks."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from daemon.engine.answers import Handler
from daemon.engine.controls import Controls
from daemon.engine.inspection import Inspection
from daemon.errors import CommandRefused
from daemon.messages.panel import MatrixAnswer, TaskAnswer
from tests.engine.asking import ask_over_wire
from tests.engine.workshop import Workshop, identify

pytestmark = pytest.mark.anyio


@dataclass
class Panel:
    """A workshop with one movie done and one failed in its second stage, as a terminal sees it."""

    shop: Workshop
    handlers: dict[str, Handler]
    done: Path
    failed: Path

    async def ask(self, name: str, **arguments: Any) -> Any:
        """Ask, and bring the answer over the wire."""
        return await ask_over_wire(self.handlers, name, arguments)

    async def matrix(self, after: int | None = None) -> MatrixAnswer:
        """The matrix of the only job."""
        return msgspec.convert(await self.ask("matrix", job_id="session1", after=after), MatrixAnswer)

    async def task(self, path: Path, stage: str) -> TaskAnswer:
        """One task."""
        task_id = (await self.shop.tasks_of(path))[stage].task_id
        return msgspec.convert(await self.ask("task", task_id=task_id), TaskAnswer)


@pytest.fixture
async def panel(build: Callable[..., Workshop]) -> Panel:
    shop = build()
    await shop.open_session()
    done, failed = shop.write_movie("x"), shop.write_movie("y")
    shop.script.fail("divide", "y", ValueError("no rings"))
    await shop.prove(done, failed)
    await shop.process()
    handlers = {**Inspection(shop.engine).handlers(), **Controls(shop.engine).handlers()}
    return Panel(shop, handlers, done, failed)


def states(answer: MatrixAnswer) -> dict[str, list[int | None]]:
    return {name: [None if cell is None else cell[1] for cell in cells] for _, name, _, cells in answer.images}


async def test_the_matrix_is_every_task_by_image_and_stage(panel: Panel) -> None:
    answer = await panel.matrix()
    assert answer.session == "session1"
    assert answer.stages == ["add", "divide", "mark", "draw"]
    assert states(answer)["x"] == [2, 2, 2, 2]
    assert states(answer)["y"][:3] == [2, 3, 5]
    (cells,) = [cells for _, name, _, cells in answer.images if name == "y"]
    assert cells[1] is not None
    task_id, _, attempts, reason = cells[1]
    assert task_id == (await panel.shop.tasks_of(panel.failed))["divide"].task_id
    assert (attempts, reason) == (1, "divide: no rings.")
    assert {movie_state for _, _, movie_state, _ in answer.images} == {"done", "failed"}


async def test_afterwards_only_what_has_moved_is_told(panel: Panel) -> None:
    seq = (await panel.matrix()).seq
    assert (await panel.matrix(after=seq)).images == []
    await panel.ask("task.retry", session="session1")
    moved = await panel.matrix(after=seq)
    assert states(moved).keys() == {"y"}
    assert states(moved)["y"][1] == 0
    assert moved.seq > seq
    await panel.shop.process()
    again = await panel.matrix(after=moved.seq)
    assert states(again)["y"] == [2, 2, 2, 2]
    whole = await panel.matrix()
    assert states(whole)["y"] == [2, 2, 2, 2]


async def test_of_a_rewritten_file_the_newest_counts(panel: Panel) -> None:
    seq = (await panel.matrix()).seq
    before = identify(panel.failed)
    panel.shop.write_movie("y", seed=9, shape_tyx=(4, 8, 10))
    await panel.shop.intake.rewritten(before, identify(panel.failed))
    for answer in (await panel.matrix(after=seq), await panel.matrix()):
        (found,) = [image for image in answer.images if image[1] == "y"]
        assert found[2] != "superseded"
        assert [cell and cell[1] for cell in found[3]] == [0, 0, 0, 0]


async def test_why_a_movie_waits_to_be_whole_is_told_in_the_words_of_the_watcher(panel: Panel) -> None:
    shop = panel.shop
    late, unwatched = shop.write_movie("z"), shop.write_movie("zz")
    await shop.intake.seen([identify(late), identify(unwatched)])
    said = {"session1": {late: "0 bytes: the copy never began, or the disk was full", panel.done: "no longer true"}}
    why = Inspection(shop.engine, why_waiting=lambda session_id: said["session1" * (session_id == shop.session_id)])
    panel.handlers |= why.handlers()
    answer = await panel.matrix()
    assert {name: answer.not_whole.get(image_id) for image_id, name, *_ in answer.images} == {
        "x": None,
        "y": None,
        "z": "0 bytes: the copy never began, or the disk was full",
        "zz": "it has not been proven whole",
    }
    # It is told of all of them, whether or not something of theirs has moved.
    assert (await panel.matrix(after=answer.seq)).not_whole == answer.not_whole
    assert (await panel.task(late, "add")).not_whole == "0 bytes: the copy never began, or the disk was full"
    assert (await panel.task(panel.done, "add")).not_whole == ""
    await shop.intake.complete(identify(late), None, "whole")
    assert list((await panel.matrix()).not_whole.values()) == ["it has not been proven whole"]
    assert (await panel.task(late, "add")).not_whole == ""


async def test_a_task_to_its_bottom(panel: Panel) -> None:
    failed = await panel.task(panel.failed, "divide")
    assert (failed.image, failed.stage, failed.state, failed.attempts) == ("y", "divide", "failed", 1)
    assert failed.reason == "divide: no rings."
    assert failed.movie == str(panel.failed)
    assert [run.outcome for run in failed.runs] == ["failed"]
    assert [move.to_state for move in failed.history] == ["pending", "running", "failed"]
    assert failed.ran_with_these
    assert failed.files == []

    done = await panel.task(panel.done, "divide")
    assert done.metrics
    assert done.files
    assert all(file.path.startswith("/") and file.size_bytes > 0 for file in done.files)

    await panel.ask("task.retry", task_ids=[failed.task_id])
    asked = await panel.task(panel.failed, "divide")
    assert asked.history[-1].asked_by == "ada (operator)"


async def test_parameters_of_its_own_are_told_apart(panel: Panel) -> None:
    await panel.ask("stage.reprocess", stage="divide", images=["x"], values={"factor": 3.0})
    task = await panel.task(panel.done, "divide")
    assert task.parameters["factor"] == 3.0
    assert task.own_parameters == {"factor": 3.0}
    assert not task.ran_with_these
    await panel.shop.process()
    assert (await panel.task(panel.done, "divide")).ran_with_these


async def test_parameters_are_described(panel: Panel) -> None:
    (plain,) = await panel.ask("parameters", stage="divide")
    (told,) = await panel.ask("parameters", stage="divide", described=True)
    assert "schema" not in plain
    assert set(told["schema"]["properties"]) == set(told["parameters"])


async def test_refusals(panel: Panel) -> None:
    with pytest.raises(CommandRefused, match="There is no task 'x'"):
        await panel.ask("task", task_id="x")
    with pytest.raises(CommandRefused, match="There is no session 'nowhere'"):
        await panel.ask("matrix", job_id="nowhere")
