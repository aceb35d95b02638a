"""How a session's gain lies: found from its first movies, used from the first movie on, or told when it is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from daemon.config.acquisition import AcquisitionSettings
from daemon.domain.acquisition import GainReference
from daemon.domain.states import MovieState, TaskState
from daemon.formats.eer_writer import EerWriter
from daemon.formats.mrc_writer import write_mrc
from daemon.formats.tiff_writer import TiffMovieWriter
from daemon.pipeline.graph import StageGraph
from daemon.sessions.gain_evidence import MOST_MOVIES
from daemon.stages import MOVIE_STAGES
from daemon.store.changes import EndTask, MoveMovie, StartAttempt
from tests.numerics.gain_cases import draw_camera, turn
from tests.sessions.desk import STAGES, Desk, identify
from tests.sessions.gain_desk import (
    CAMERA,
    ENOUGH,
    TOO_FEW,
    asking,
    gain_of,
    notes,
    take,
    told,
    write_gain,
    write_movie,
)

pytestmark = pytest.mark.anyio
Build = Callable[..., Desk]

GRAPH = StageGraph.of(stage for stage in MOVIE_STAGES if stage.name in STAGES)
EER = {"dose_per_fraction_e_per_ang2": 1.0, "upsampling": 2}


async def test_the_first_movie_waits_for_what_it_shows_and_the_next_ones_are_not_read(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = build()
    path = write_gain(desk, turn(CAMERA.gain_yx, "turned 270"))
    await desk.open_session(acquisition=asking(orientation="auto"))
    found = GainReference(path, "none", 90, "multiply", "auto")
    assert await notes(desk) == ["how the gain reference lies is not found yet: it is used as it is configured"]
    assert await take(desk, write_movie(desk, "a.mrc", ENOUGH)) == found
    assert await notes(desk) == [
        "the gain reference was found to lie so: turned by 90° clockwise, multiplying the frames (15 σ)"
    ]
    (note,) = await told(desk)
    assert note.severity == "info"
    assert "fits the movies of 24dec03a turned by 90° clockwise, multiplying the frames (evidence" in note.message
    assert 'rotate_deg = 90, flip = "none", operation = "multiply"' in note.hint

    monkeypatch.setattr("daemon.sessions.gain_evidence.iterate_frames", None)
    assert await take(desk, write_movie(desk, "b.mrc", ENOUGH)) == found
    desk.close()
    desk = Desk(tmp_path)
    try:
        await desk.open_session(acquisition=asking(orientation="auto"))
        assert await gain_of(desk, identify(desk.frames / "a.mrc")) == found, "importing again keeps what was found"
        assert await take(desk, write_movie(desk, "c.mrc", ENOUGH)) == found
        assert len(await told(desk)) == 1
    finally:
        desk.close()


async def test_a_gain_that_divides_is_told_from_one_that_multiplies(build: Build) -> None:
    desk = build()
    path = write_gain(desk, turn(1 / np.where(CAMERA.gain_yx > 0, CAMERA.gain_yx, 1e6), "mirrored"))
    await desk.open_session(acquisition=asking(orientation="auto"))
    found = GainReference(path, "x", 0, "divide", "auto")
    assert await take(desk, write_movie(desk, "a.mrc", ENOUGH)) == found


async def test_an_mrc_gain_of_tiff_movies_is_found_upside_down(build: Build) -> None:
    desk = build()
    path = write_gain(desk, CAMERA.gain_yx)
    await desk.open_session(acquisition=asking(orientation="auto"))
    movie = desk.frames / "a.tif"
    writer = TiffMovieWriter(movie, (256, 256), "uint8")
    writer.append(CAMERA.expose(ENOUGH, 0)[::-1].clip(0, 255).astype(np.uint8))
    writer.close()
    assert await take(desk, identify(movie)) == GainReference(path, "y", 0, "multiply", "auto")


async def test_what_is_found_as_it_is_configured_changes_no_result(build: Build) -> None:
    desk = build()
    path = write_gain(desk, turn(CAMERA.gain_yx, "turned 180"))
    await desk.open_session(acquisition=asking(orientation="auto", rotate_deg=180))
    assert await take(desk, write_movie(desk, "a.mrc", ENOUGH)) == GainReference(path, "none", 180, "auto", "auto")
    assert desk.gains_found == 0
    assert "turned by 180° clockwise, multiplying" in (await told(desk))[0].message


async def test_movies_that_went_on_undecided_are_made_again_once_it_is_found(build: Build) -> None:
    desk = build()
    path = write_gain(desk, turn(CAMERA.gain_yx, "mirrored"))
    await desk.open_session(acquisition=asking(orientation="auto"), graph=GRAPH)
    first = write_movie(desk, "a.mrc", TOO_FEW)
    as_configured = GainReference(path, orientation="auto")
    assert await take(desk, first) == as_configured
    assert (await told(desk), desk.gains_found, len(desk.offered)) == ([], 0, 1)
    movie = await desk.newest("frames/a.mrc")
    for task in await desk.tasks_of(movie):
        await desk.store.commit(StartAttempt(task.task_id, 1, "hash"))
        await desk.store.commit(EndTask(task.task_id, TaskState.COMPLETED, attempt=1))
    await desk.store.commit(MoveMovie(movie.movie_id, MovieState.DONE, "by the engine"))

    found = GainReference(path, "x", 0, "multiply", "auto")
    assert await take(desk, write_movie(desk, "b.mrc", ENOUGH, 1)) == found
    assert desk.gains_found == 1
    assert "from 2 movies" in (await told(desk))[0].message
    await desk.open_session(acquisition=asking(orientation="auto"), book=desk.imported.book, graph=GRAPH)
    assert await gain_of(desk, first) == found
    assert await desk.states_of(movie) == [TaskState.PENDING] * 2
    assert [entry.movie_id for entry in desk.imported.reopened.movies] == [movie.movie_id]


async def test_the_counts_of_several_movies_are_added_up(build: Build) -> None:
    desk = build()
    path = write_gain(desk, turn(CAMERA.gain_yx, "turned 180"))
    await desk.open_session(acquisition=asking(orientation="auto"))
    used = [await take(desk, write_movie(desk, f"{name}.mrc", 2.0, name)) for name in range(3)]
    assert [gain.rotate_deg for gain in used] == [0, 180, 180]
    assert used[-1] == GainReference(path, "none", 180, "multiply", "auto")


async def test_who_cannot_tell_says_so_once_and_keeps_to_the_configuration(build: Build) -> None:
    desk = build()
    path = write_gain(desk, turn(CAMERA.gain_yx, "mirrored"))
    await desk.open_session(acquisition=asking(orientation="auto", rotate_deg=90))
    for number in range(MOST_MOVIES + 1):
        gain = await take(desk, write_movie(desk, f"{number}.mrc", 0.05, number))
        assert gain == GainReference(path, "none", 90, "auto", "auto")
        assert len(await told(desk)) == (1 if number + 1 >= MOST_MOVIES else 0)
    (note,) = await told(desk)
    assert note.severity == "warning"
    assert "was not found: its first movies hold too few counts." in note.message
    assert "as it is configured: turned by 90° clockwise, multiplying the frames." in note.message
    assert desk.gains_found == 0
    assert "too few counts; it is used as it is configured" in (await notes(desk))[0]


@pytest.mark.parametrize(
    ("stored_yx", "why"),
    [
        (np.ones((256, 256)), "it is the same for all pixels"),
        (draw_camera((256, 256), 99).gain_yx, "do not show its pattern in any orientation"),
    ],
)
async def test_a_gain_that_tells_nothing_is_not_turned(build: Build, stored_yx: npt.NDArray[Any], why: str) -> None:
    desk = build()
    path = write_gain(desk, stored_yx)
    await desk.open_session(acquisition=asking(orientation="auto"))
    for number in range(MOST_MOVIES):
        gain = await take(desk, write_movie(desk, f"{number}.mrc", ENOUGH, number))
        assert gain == GainReference(path, orientation="auto")
    (note,) = await told(desk)
    assert why in note.message


async def test_an_operation_that_was_given_is_never_overruled(build: Build) -> None:
    desk = build()
    path = write_gain(desk, turn(CAMERA.gain_yx, "mirrored"))
    await desk.open_session(acquisition=asking(orientation="auto", operation="divide"))
    gain = await take(desk, write_movie(desk, "a.mrc", ENOUGH))
    assert gain == GainReference(path, operation="divide", orientation="auto")
    (note,) = await told(desk)
    assert "only with the other operation" in note.message
    assert "as it is configured: as the file has it, dividing the frames." in note.message


async def test_a_configured_orientation_that_movies_contradict_is_told_once_and_kept(
    build: Build, tmp_path: Path
) -> None:
    desk = build()
    path = write_gain(desk, turn(CAMERA.gain_yx, "upside down"))
    await desk.open_session(acquisition=asking())
    for name in ("a.mrc", "b.mrc"):
        assert await take(desk, write_movie(desk, name, ENOUGH)) == GainReference(path)
    (note,) = await told(desk)
    assert note.severity == "warning"
    assert "is used as the file has it, multiplying the frames, but its movies" in note.message
    assert "fits turned upside down, multiplying the frames" in note.message
    assert 'rotate_deg = 0, flip = "y", operation = "multiply", or orientation = "auto"' in note.hint
    assert "are made again" in note.hint
    desk.close()
    desk = Desk(tmp_path)
    try:
        await desk.open_session(acquisition=asking())
        await take(desk, write_movie(desk, "c.mrc", ENOUGH))
        assert len(await told(desk)) == 1
        (said,) = await notes(desk)
        assert (
            "otherwise than is configured: the movies fit it turned upside down, multiplying the frames. "
            'Set rotate_deg = 0, flip = "y", operation = "multiply"'
        ) in said
        assert "under acquisition.gain in the [[session]] entry of config.toml or in session.json" in said
        assert said.endswith("the movies that were corrected with the gain as it was are made again.")
        await desk.open_session(acquisition=asking(rotate_deg=90))
        await take(desk, write_movie(desk, "d.mrc", ENOUGH))
        assert len(await told(desk)) == 2, "another wrong one is another fact"
        await desk.open_session(acquisition=asking(flip="y"))
        await take(desk, write_movie(desk, "e.mrc", ENOUGH))
        assert len(await told(desk)) == 2
        assert await notes(desk) == []
    finally:
        desk.close()


@pytest.mark.parametrize("multiplies", [False, True])
async def test_an_mrc_gain_of_eer_movies_that_multiplies_after_all_is_told(build: Build, *, multiplies: bool) -> None:
    desk = build()
    gain_yx = np.where(CAMERA.gain_yx > 0, CAMERA.gain_yx, 1.0)
    write_gain(desk, gain_yx if multiplies else 1 / gain_yx)
    movie, rng = desk.frames / "a.eer", np.random.default_rng(3)
    writer = EerWriter(movie, (256, 256), metadata={})
    for _ in range(150):
        writer.append((rng.random((256, 256)) < 0.15 * CAMERA.response_yx).astype(np.uint8))
    writer.close()
    await desk.open_session(acquisition=AcquisitionSettings.model_validate({"gain": "gains/gain.mrc", "eer": EER}))
    await take(desk, identify(movie))
    messages = [note.message for note in await told(desk)]
    assert len(messages) == (1 if multiplies else 0)
    if multiplies:
        assert "is used as the file has it, dividing the frames, but" in messages[0]
        assert "fits as the file has it, multiplying the frames (" in messages[0]


@pytest.mark.parametrize("gain", [{"rotate_deg": 180, "flip": "x"}, {"flip": "y"}])
async def test_two_ways_to_say_the_same_are_no_contradiction(build: Build, gain: dict[str, Any]) -> None:
    desk = build()
    write_gain(desk, turn(CAMERA.gain_yx, "upside down"))
    await desk.open_session(acquisition=asking(**gain))
    await take(desk, write_movie(desk, "a.mrc", ENOUGH))
    assert await told(desk) == []


async def test_asking_later_looks_at_the_movies_that_are_there(build: Build) -> None:
    desk = build()
    path = write_gain(desk, turn(CAMERA.gain_yx, "mirrored"))
    await desk.open_session(acquisition=asking())
    first = write_movie(desk, "a.mrc", ENOUGH)
    await take(desk, first)
    await desk.open_session(acquisition=asking(orientation="auto"), book=desk.imported.book)
    assert await gain_of(desk, first) == GainReference(path, orientation="auto")
    await desk.intake.look_back(desk.raw)
    assert desk.gains_found == 1
    await desk.open_session(acquisition=asking(orientation="auto"), book=desk.imported.book)
    assert await gain_of(desk, first) == GainReference(path, "x", 0, "multiply", "auto")
    await desk.open_session(acquisition=asking(), book=desk.imported.book)
    assert await gain_of(desk, first) == GainReference(path), "who does not ask any more has it as configured"


async def test_another_gain_is_looked_at_anew(build: Build) -> None:
    desk = build()
    write_gain(desk, turn(CAMERA.gain_yx, "mirrored"))
    other = desk.raw / "better.mrc"
    write_mrc(other, turn(CAMERA.gain_yx, "upside down").astype(np.float32), pixel_size_ang=1.0)
    await desk.open_session(acquisition=asking(orientation="auto"))
    assert (await take(desk, write_movie(desk, "a.mrc", ENOUGH))).flip == "x"
    await desk.open_session(acquisition=asking(path="better.mrc", orientation="auto"))
    assert (await take(desk, write_movie(desk, "b.mrc", ENOUGH))).flip == "y"


async def test_files_that_cannot_be_read_hold_up_no_movie(build: Build) -> None:
    desk = build()
    await desk.open_session(acquisition=asking(orientation="auto"))
    assert (await take(desk, write_movie(desk, "a.mrc", ENOUGH))).flip == "none"  # there is no gain yet
    write_gain(desk, turn(CAMERA.gain_yx, "mirrored"))
    (desk.frames / "b.mrc").write_bytes(b"no movie")
    assert (await take(desk, identify(desk.frames / "b.mrc"))).flip == "none"
    assert (await take(desk, write_movie(desk, "c.mrc", ENOUGH))).flip == "x"
    assert len(desk.offered) == 3


async def test_the_dark_is_taken_off_before_counts_are_compared(build: Build) -> None:
    desk = build()
    write_gain(desk, turn(CAMERA.gain_yx, "mirrored"))
    dark_yx = np.random.default_rng(5).integers(0, 40, (256, 256)).astype(np.float32)
    write_mrc(desk.raw / "dark.mrc", dark_yx, pixel_size_ang=1.0)
    lit = np.stack([CAMERA.expose(2.0, part) + dark_yx for part in range(4)]).astype(np.int16)
    write_mrc(desk.frames / "a.mrc", lit, pixel_size_ang=0.83)
    acquisition = AcquisitionSettings.model_validate(
        {"gain": {"path": "gains/gain.mrc", "orientation": "auto"}, "dark": "dark.mrc"}
    )
    await desk.open_session(acquisition=acquisition)
    assert (await take(desk, identify(desk.frames / "a.mrc"))).flip == "x"
