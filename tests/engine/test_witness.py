"""What running tasks say, on its way to the bus and to status pages; and the heartbeat."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import structlog
from structlog.contextvars import bound_contextvars

from daemon.engine.beat import NodeBeat
from daemon.engine.witness import Progress, TaskWitness
from daemon.messages.envelope import Event
from daemon.messages.events import TaskRef
from tests.engine.workshop import SUBJECTS, Workshop, identify

REF = TaskRef("job", "task", "image", "x", "ctf", 1)


@dataclass
class Channel:
    """Keeps what is offered."""

    offered: list[tuple[Event, str | None]] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)

    def offer(self, event: Event, *, key: str | None = None) -> None:
        self.offered.append((event, key))

    def forget(self, key: str) -> None:
        self.forgotten.append(key)


def test_progress_is_kept_while_the_task_runs() -> None:
    channel = Channel()
    witness = TaskWitness(SUBJECTS, channel)  # type: ignore[arg-type]
    witness.progress("task", 1, 4, "patches")  # not begun
    assert channel.offered == []
    witness.begin(REF)
    witness.progress("task", 1, 4, "patches")
    witness.progress("task", 2, 4, "patches")
    assert witness.running() == [Progress("x", "ctf", 2, 4, "patches")]
    assert [key for _, key in channel.offered] == ["task", "task"]
    event = channel.offered[-1][0]
    assert event.subject == "magellon.job.job.step.ctf"
    assert event.envelope.data["percent"] == 50.0
    witness.end("task")
    assert witness.running() == []
    assert channel.forgotten == ["task"]
    witness.progress("task", 3, 4, "patches")
    witness.log_line("task", "info", "late")
    assert len(channel.offered) == 2


def test_log_lines_reach_bus_and_log() -> None:
    channel = Channel()
    witness = TaskWitness(SUBJECTS, channel)  # type: ignore[arg-type]
    witness.begin(REF)
    with structlog.testing.capture_logs() as lines:
        witness.log_line("task", "info", "fitted")
        witness.log_line("task", "warning", "few rings")
    assert [(line["log_level"], line["event"], line["image"]) for line in lines] == [
        ("info", "fitted", "x"),
        ("warning", "few rings", "x"),
    ]
    assert [event.subject for event, _ in channel.offered] == ["magellon.log.job.task"] * 2
    assert [event.envelope.data["level"] for event, _ in channel.offered] == ["info", "warning"]
    assert {key for _, key in channel.offered} == {None}


def test_a_line_says_whose_it_is_on_whatever_thread_it_is_written_and_by_the_name_of_its_step() -> None:
    channel = Channel()
    witness = TaskWitness(SUBJECTS, channel, {"ctf": "ctf_estimation"})  # type: ignore[arg-type]
    with bound_contextvars(session="24dec03a", path="/gpfs/24dec03a/x.tif"):
        witness.begin(REF)
    with structlog.testing.capture_logs() as lines:
        thread = threading.Thread(target=witness.log_line, args=("task", "warning", "few rings"))
        thread.start()
        thread.join()
    assert lines == [
        {
            "event": "few rings",
            "log_level": "warning",
            "session": "24dec03a",
            "path": "/gpfs/24dec03a/x.tif",
            "image": "x",
            "stage": "ctf_estimation",
            "task": "task",
        }
    ]
    witness.progress("task", 1, 4, "patches")
    assert witness.running() == [Progress("x", "ctf_estimation", 1, 4, "patches")]
    assert channel.offered[-1][0].subject == "magellon.job.job.step.ctf", "on the bus it has Magellon's name"


@pytest.mark.anyio
async def test_every_line_of_a_visit_names_session_path_step_and_task(build: Callable[..., Workshop]) -> None:
    shop = build()
    await shop.open_session()
    path = shop.write_movie("x")
    shop.script.fail("divide", "x", ValueError("no"))
    await shop.prove(path)
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        await shop.process()
    (failed,) = [line for line in lines if line["event"] == "task failed"]
    task = (await shop.tasks_of(path))["divide"]
    assert (failed["session"], failed["path"], failed["image"]) == ("session1", str(path), "x")
    assert (failed["stage"], failed["task"]) == ("divide", task.task_id)
    of_movies = [line for line in lines if "image" in line]
    assert all({"session", "path"} <= line.keys() for line in of_movies), of_movies


@pytest.mark.anyio
async def test_the_heart_tells_queues_and_stages(build: Callable[..., Workshop]) -> None:
    shop = build()
    await shop.open_session()
    done, failed = shop.write_movie("x"), shop.write_movie("y")
    shop.script.fail("divide", "y", ValueError("no"))
    await shop.prove(done, failed)
    await shop.process()
    await shop.prove(shop.write_movie("z"))
    beats = NodeBeat(shop.store, shop.engine.graph, shop.scheduler, "main", shop.engine.compute)
    beat = await beats.look()
    assert beat.node.queues == {"waiting": 1, "delayed": 0, "in_flight": 0}
    assert beat.node.memory_used_bytes is not None
    assert beat.node.memory_used_bytes > 2**20
    assert beat.node.uptime_s < time.time()
    by_stage = {stage.stage: (stage.waiting, stage.completed, stage.failed) for stage in beat.stages}
    assert by_stage == {"adding": (1, 2, 0), "dividing": (1, 1, 1), "marking": (1, 1, 0), "drawing": (1, 2, 0)}
    before = identify(done)
    shop.write_movie("x", seed=5)
    await shop.intake.rewritten(before, identify(done))
    by_stage = {stage.stage: (stage.waiting, stage.completed, stage.failed) for stage in (await beats.look()).stages}
    # Of the file that was written again, what was made before counts no more.
    assert by_stage == {"adding": (2, 1, 0), "dividing": (2, 0, 1), "marking": (2, 0, 0), "drawing": (2, 1, 0)}
