"""Movies whose steps other programs do, through the whole engine: the same kinds of files, states and rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

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
from tests.engine.workshop import Workshop
from tests.stages.fake_programs import fake_ctffind, fake_motioncor

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


def test_no_command_over_the_bus_may_say_what_runs(tmp_path: Path) -> None:
    book = ParameterBook(programs(tmp_path), ())
    for key, value in (("backend", "program"), ("command", ["sh", "-c", "id"]), ("scratch_folder", "/etc")):
        with pytest.raises(CommandRefused, match=f"{key} of motion_correction names what runs .* no command"):
            book.check("motion_correction", {key: value})
    changed = book.check("motion_correction", {"program_time_limit_s": 60})
    assert isinstance(changed, MotionParams)
    assert changed.program_time_limit_s == 60
