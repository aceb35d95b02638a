"""Movies whose steps other programs do, through the whole engine: the same kinds of files, states and rows."""

import os
import select
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from daemon.config.acquisition import AcquisitionSettings
from daemon.domain.states import MovieState, TaskState
from daemon.engine.parameters import ParameterBook
from daemon.errors import CommandRefused
from daemon.exchange.motioncor.command import MOTIONCOR3_TEMPLATE
from daemon.pipeline.graph import AnyStage
from daemon.pipeline.stage import StageParams
from daemon.stages.ctf_estimation import CtfEstimation, CtfParams
from daemon.stages.motion_correction import MotionCorrection, MotionParams
from daemon.store.changes import PutBackTask, StartAttempt
from tests.engine.workshop import LIMIT_S, Workshop
from tests.stages.fake_programs import fake_ctffind, fake_motioncor, write_program

pytestmark = pytest.mark.anyio

TAKEN = AcquisitionSettings(
    voltage_kv=300,
    spherical_aberration_mm=2.7,
    amplitude_contrast=0.1,
    pixel_size_ang=1.4,
    dose_per_frame_e_per_ang2=1.5,
)
Steps = list[tuple[AnyStage, StageParams]]


def elcanos(folder: Path) -> Steps:
    del folder
    return [(MotionCorrection(), MotionParams()), (CtfEstimation(), CtfParams())]


def programs(folder: Path) -> Steps:
    folder.mkdir(exist_ok=True)
    command = (fake_motioncor(folder), *MOTIONCOR3_TEMPLATE[1:])
    motion = MotionParams(backend="program", command=command, scratch_folder=folder)
    ctf = CtfParams(backend="program", command=(fake_ctffind(folder),), scratch_folder=folder)
    return [(MotionCorrection(), motion), (CtfEstimation(), ctf)]


def add_line(program: Path, line: str) -> None:
    program.write_text(f"{program.read_text()}\n{line}\n")


async def process(folder: Path, choose: Callable[[Path], Steps]) -> tuple[set[str], dict[str, Any]]:
    """Names of the files that one movie leaves, and where its tasks stand."""
    shop = Workshop(folder, declared=choose(folder))
    try:
        await shop.open_session(TAKEN)
        movie = shop.write_movie("m1", shape_tyx=(4, 64, 64))
        await shop.prove(movie)
        await shop.process()
        state, tasks = await shop.states_of(movie)
        assert (state, set(tasks.values())) == (MovieState.DONE, {TaskState.COMPLETED}), await shop.tasks_of(movie)
        return set(shop.outputs()), tasks
    finally:
        shop.close()


async def test_a_program_leaves_what_elcano_leaves(tmp_path: Path) -> None:
    by_elcano, tasks = await process(tmp_path / "elcano", elcanos)
    by_program, same_tasks = await process(tmp_path / "program", programs)
    assert by_program == by_elcano
    assert tasks == same_tasks
    assert {"motioncor/m1_aligned.mrc", "ctf/m1.star"} <= by_program
    assert not list((tmp_path / "program").glob("elcano-program-*"))


async def test_a_program_that_fails_fails_its_task_and_not_the_movie_beside_it(tmp_path: Path) -> None:
    shop = Workshop(tmp_path / "shop", declared=programs(tmp_path))
    add_line(tmp_path / "MotionCor3.py", "if 'bad' in movie: sys.exit('no such gain')")
    try:
        await shop.open_session(TAKEN)
        good, bad = (shop.write_movie(name, shape_tyx=(4, 64, 64)) for name in ("good", "bad"))
        await shop.prove(good, bad)
        await shop.process()
        assert (await shop.states_of(good))[0] is MovieState.DONE
        state, tasks = await shop.states_of(bad)
        assert state is MovieState.FAILED
        assert tasks == {"motion_correction": TaskState.FAILED, "ctf_estimation": TaskState.SKIPPED}
        task = (await shop.tasks_of(bad))["motion_correction"]
        assert "no such gain" in str(task)
    finally:
        shop.close()


async def open_suspect(folder: Path, *, time_limit_s: float = 900.0) -> tuple[Workshop, Path]:
    """A movie whose motion a program corrects, and in which the daemon has died twice: it has a process of its own."""
    stage, params = programs(folder)[0]
    declared = [(stage, params.model_copy(update={"program_time_limit_s": time_limit_s}))]
    shop = Workshop(folder / "shop", declared=declared)
    await shop.open_session(TAKEN)
    movie = shop.write_movie("m1", shape_tyx=(4, 64, 64))
    await shop.prove(movie)
    task = (await shop.tasks_of(movie))["motion_correction"]
    for attempt in (1, 2):
        await shop.store.commit(StartAttempt(task.task_id, attempt, "hash"))
        await shop.store.commit(PutBackTask(task.task_id, "as it went", kind="", cause="recovery"))
    return shop, movie


WAITS_FOR_EVER = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open(os.path.join(os.path.dirname(sys.argv[0]), "told"), "w") as told:
    told.write(f"{os.getpid()} {os.getppid()}")
time.sleep(1000)
"""


async def test_in_a_movies_own_process_a_program_leaves_the_same(tmp_path: Path) -> None:
    shop, movie = await open_suspect(tmp_path)
    add_line(tmp_path / "MotionCor3.py", f"import os; open({str(tmp_path / 'told')!r}, 'w').write(str(os.getppid()))")
    try:
        await shop.process()
        state, tasks = await shop.states_of(movie)
        assert (state, set(tasks.values())) == (MovieState.DONE, {TaskState.COMPLETED}), await shop.tasks_of(movie)
        assert int((tmp_path / "told").read_text()) != os.getpid()
        assert {"motioncor/m1_aligned.mrc", "motioncor/m1_motion.star"} <= set(shop.outputs())
        assert "s of the time limit" in {unit for *_, unit in shop.witness.heard}, "its signs of life are passed on"
        assert "info: Total time: 3.141 sec" in shop.witness.lines
    finally:
        shop.close()


async def test_in_a_movies_own_process_a_program_has_its_time_limit(tmp_path: Path) -> None:
    shop, movie = await open_suspect(tmp_path, time_limit_s=0.1)
    write_program(tmp_path / "MotionCor3.py", "import time\ntime.sleep(1000)")
    try:
        await shop.process()
        task = (await shop.tasks_of(movie))["motion_correction"]
        assert (task.state, task.error_kind) == (TaskState.FAILED, "program")
        assert "did not end within 0 s" in task.reason
        assert not [name async for name in anyio.Path(tmp_path).glob("elcano-program-*")]
    finally:
        shop.close()


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "stopped"])
async def test_a_program_ends_with_the_movies_own_process(tmp_path: Path, is_killed: bool) -> None:
    """Whether that process is killed or the daemon stops in the middle, and whatever the program makes of signals."""
    shop, _ = await open_suspect(tmp_path)
    write_program(tmp_path / "MotionCor3.py", WAITS_FOR_EVER)
    told = tmp_path / "told"
    os.mkfifo(told)
    try:
        with anyio.fail_after(LIMIT_S):
            async with shop.running():
                program, cell = (int(word) for word in (await anyio.to_thread.run_sync(told.read_text)).split())
                watched = os.pidfd_open(program)
                assert cell != os.getpid()
                if is_killed:
                    os.kill(cell, signal.SIGKILL)
                    await anyio.to_thread.run_sync(wait_for_end, watched)
            await anyio.to_thread.run_sync(wait_for_end, watched)
        os.close(watched)
    finally:
        shop.close()


def wait_for_end(watched: int) -> None:
    """The kernel says when a process has ended."""
    assert select.select([watched], [], [], LIMIT_S)[0], "the program goes on"


def test_no_command_over_the_bus_may_say_what_runs(tmp_path: Path) -> None:
    book = ParameterBook(programs(tmp_path), ())
    for key, value in (("backend", "program"), ("command", ["sh", "-c", "id"]), ("scratch_folder", "/etc")):
        with pytest.raises(CommandRefused, match=f"{key} of motion_correction names what runs .* no command"):
            book.check("motion_correction", {key: value})
    changed = book.check("motion_correction", {"program_time_limit_s": 60})
    assert isinstance(changed, MotionParams)
    assert changed.program_time_limit_s == 60
