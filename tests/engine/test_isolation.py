"""Movies that kill or hang what computes them: found out in a process of their own, and set aside after three."""

import os
import signal
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing import Pipe
from pathlib import Path

import anyio
import pytest

from daemon.domain.states import MovieState, TaskState
from daemon.engine.attempts import count_ends
from daemon.engine.cell import Ready
from daemon.engine.isolation import CellBench, _Line
from daemon.engine.recovery import recover
from daemon.engine.workplace import Place
from daemon.errors import StageHung
from daemon.formats.pace import READ_PACE
from daemon.pipeline.context import MovieItem, StageContext
from daemon.pipeline.product import Product
from daemon.pipeline.result import StageResult
from daemon.store import tasks
from daemon.store.changes import PutBackTask, StartAttempt
from tests.engine.fakes import ALL_DONE, FAKES, Add, Divide, FakeParams, FakeStage, Script
from tests.engine.workshop import LIMIT_S, Workshop

pytestmark = pytest.mark.anyio

Build = Callable[..., Workshop]

PACE_BYTES_PER_S = 5e8


class Poison(Divide):
    """Does its worst to one movie, but never in the tests' own process."""

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        self.spared_pid = os.getpid()

    def do_harm(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def run(self, item: MovieItem, params: FakeParams, context: StageContext) -> StageResult:
        result = super().run(item, params, context)
        if item.image_name == "bad":
            assert os.getpid() != self.spared_pid, "computed in the daemon's own process"
            self.do_harm()
        return result


class Leaver(Poison):
    def do_harm(self) -> None:
        os._exit(3)


class Sleeper(Poison):
    time_limit_s = 0.1

    def do_harm(self) -> None:
        threading.Event().wait()


class Mumbler(Poison):
    """Begins a message to the daemon and never ends it."""

    time_limit_s = 0.1

    def do_harm(self) -> None:
        os.write(int(sys.argv[1]), struct.pack("!i", 1000) + b"half")
        threading.Event().wait()


class LastWord(Poison):
    """Dies in the middle of a message."""

    def do_harm(self) -> None:
        os.write(int(sys.argv[1]), struct.pack("!i", 1000) + b"half")
        os._exit(4)


class Paced(Add):
    """Reads at the pace of the daemon, and from the same allowance."""

    def run(self, item: MovieItem, params: FakeParams, context: StageContext) -> StageResult:
        assert READ_PACE.bytes_per_s == PACE_BYTES_PER_S
        READ_PACE.limit(2 * PACE_BYTES_PER_S)
        return super().run(item, params, context)


class AlsoReads(FakeStage):
    """Reads the movie as well, whatever became of the stages before."""

    produces = (Product("again", "sums", "_again.mrc"),)


async def end_attempts(shop: Workshop, path: Path, stage: str, ends: Sequence[str]) -> None:
    """Let attempts end so: a kind of failure, or "" for a death of the daemon."""
    for kind in ends:
        task = (await shop.tasks_of(path))[stage]
        await shop.store.commit(StartAttempt(task.task_id, task.attempts + 1, "hash"))
        cause = "retryable failure" if kind else "recovery"
        await shop.store.commit(PutBackTask(task.task_id, "as it went", kind=kind, cause=cause))


async def test_a_movie_that_kills_is_quarantined_after_three_and_the_others_go_on(build: Build) -> None:
    shop = build(stages=(FAKES[0], Poison, *FAKES[2:], AlsoReads))
    await shop.open_session()
    bad, *good = [shop.write_movie(name) for name in ("bad", "b", "c")]
    await shop.prove(bad, *good)
    await end_attempts(shop, bad, "divide", ["", "", "crashed", "crashed"])
    await recover(shop.store, shop.scheduler.offer)
    await shop.process()

    for path in good:
        assert await shop.states_of(path) == (MovieState.DONE, {**ALL_DONE, "fake": TaskState.COMPLETED})
    movie, owed = await shop.movie(bad), await shop.tasks_of(bad)
    assert movie.state is MovieState.QUARANTINED
    assert owed["divide"].error_kind == "crashed"
    assert "brought its process down (killed by SIGKILL" in owed["divide"].reason
    assert owed["divide"].reason.endswith("So it went 3 times.")
    assert owed["mark"].state is TaskState.SKIPPED
    # The process that died had all that came before: those after it get a new one, with the movie in it.
    assert {owed[stage].state for stage in ("add", "draw", "fake")} == {TaskState.COMPLETED}
    outcomes = [(a.outcome, a.error_kind) for a in await tasks.attempts(shop.store, owed["divide"].task_id)]
    assert outcomes == [("interrupted", "")] * 2 + [("failed", "crashed")] * 3
    assert not [name for name in shop.outputs() if "tmp" in name or "bad_share" in name]
    assert "session.movie.quarantined" in await shop.event_kinds()


@pytest.mark.parametrize(
    ("stage", "kind", "words"),
    [
        (Leaver, "crashed", "exit code 3"),
        (LastWord, "crashed", "exit code 4"),
        (Sleeper, "hung", "no sign of life"),
        (Mumbler, "hung", "no sign of life"),
    ],
)
async def test_so_is_one_that_ends_its_process_or_hangs(
    build: Build, stage: type[Poison], kind: str, words: str
) -> None:
    shop = build(stages=(FAKES[0], stage))
    await shop.open_session()
    bad = shop.write_movie("bad")
    await shop.prove(bad)
    await end_attempts(shop, bad, "divide", ["crashed", "hung"])
    await shop.process()
    assert (await shop.movie(bad)).state is MovieState.QUARANTINED
    owed = await shop.tasks_of(bad)
    assert owed["divide"].error_kind == kind
    assert words in owed["divide"].reason


async def test_a_cell_that_dies_after_its_answer_is_told_to_whoever_asks_next(build: Build) -> None:
    shop = build()
    ours, theirs = Pipe()
    place = Place(None, 0, 0, None, shop.home, {}, {})  # type: ignore[arg-type]
    bench = CellBench(shop.scheduler._machinery, place, cancelled=threading.Event())
    bench._line = line = _Line(ours)
    theirs.close()
    with pytest.raises(ConnectionError):
        line.send(Ready())
    bench.release_all_but(())
    with pytest.raises(EOFError):
        await line.receive(LIMIT_S)
    await bench.close()
    assert ours.closed


async def test_in_its_own_process_a_movie_gets_the_same_bytes(build: Build, tmp_path: Path) -> None:
    outputs = []
    for ends in ([], ["", ""]):
        shop = build()
        await shop.open_session()
        path = shop.write_movie("a" if not ends else "b", seed=5)
        await shop.prove(path)
        await end_attempts(shop, path, "add", ends)
        await shop.process()
        assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)
        assert shop.script.count("add", path.stem) == (0 if ends else 1)
        outputs.append({name: data for name, data in shop.outputs().items() if name.endswith(".mrc")})
    assert len(outputs[1]) == 10
    for name, data in outputs[0].items():
        assert outputs[1][name] == data == outputs[1][name.replace("a_", "b_")]
    assert ("divide", "divide") not in shop.script.runs
    assert any(unit == "halves" for *_, unit in shop.witness.heard), "its progress is passed on"


async def test_its_own_process_reads_at_the_pace_of_the_daemon(build: Build) -> None:
    shop = build(stages=(Paced,))
    await shop.open_session()
    path = shop.write_movie("a")
    await shop.prove(path)
    await end_attempts(shop, path, "add", ["", ""])
    READ_PACE.limit(PACE_BYTES_PER_S)
    try:
        await shop.process()
        assert READ_PACE.bytes_per_s == 2 * PACE_BYTES_PER_S, "the account is one"
    finally:
        READ_PACE.limit(0)
    assert shop.script.runs == [], "it ran in its own process"
    assert (await shop.tasks_of(path))["add"].state is TaskState.COMPLETED


class HangsHere(Divide):
    """Hangs in the daemon's own process."""

    time_limit_s = 0.1


async def test_a_stage_that_hangs_is_recorded_before_the_daemon_ends_for_it(build: Build) -> None:
    hung: list[str] = []
    shop = build(stages=(FAKES[0], HangsHere, *FAKES[2:]), on_hung=lambda: hung.append("told"))
    await shop.open_session()
    path = shop.write_movie("a")
    await shop.prove(path)
    release = threading.Event()

    def hang(_: StageContext) -> None:
        release.wait()

    shop.script.acts["divide", "a"] = hang
    try:
        with pytest.raises(ExceptionGroup) as caught, anyio.fail_after(60):
            await shop.scheduler.run()
    finally:
        release.set()
    assert caught.group_contains(StageHung, match="no sign of life")
    assert hung == ["told"]
    task = (await shop.tasks_of(path))["divide"]
    assert (task.state, task.error_kind) == (TaskState.PENDING, "hung")
    ends = await count_ends(shop.store, task)
    assert (ends.crashes, ends.is_suspect) == (1, True)
    assert task.next_attempt_at_s is not None
    assert task.next_attempt_at_s > shop.clock.now_s, "others go first"
