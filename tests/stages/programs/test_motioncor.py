"""motion_correction with another program at work: what it is told, what is taken over, how it may fail."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest
import tifffile
import torch

from daemon.domain.acquisition import EerFractions
from daemon.domain.movie import MovieFormat
from daemon.errors import MovieChanged, ProgramFailed, TaskCancelled
from daemon.exchange.motioncor.command import MOTIONCOR3_TEMPLATE
from daemon.exchange.relion.motion import evaluate_local, read_motion
from daemon.formats.movie import read_movie, read_movie_header
from daemon.formats.mrc import read_mrc
from daemon.formats.mrc_writer import write_mrc
from daemon.formats.star import find_block, read_star
from daemon.numerics.motion_canvas import bin_image
from daemon.numerics.spectrum import tile_power_spectrum
from daemon.pipeline.context import MovieItem
from daemon.pipeline.product import ALIGNED, ALIGNED_EVEN, ALIGNED_ODD, ALIGNED_UNWEIGHTED, MOTION_STAR, SPECTRUM
from daemon.stages.motion_correction import MotionCorrection, MotionMetrics, MotionParams
from tests.formats.samples import read_mrc_header
from tests.stages.fake_programs import fake_motioncor, write_program
from tests.stages.fakes import ACQUISITION, FakeContext, FakeInputs, make_item

SHAPE_TYX = (5, 40, 48)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def counts() -> Any:
    return np.random.default_rng(4).integers(0, 200, SHAPE_TYX).astype(np.uint8)


def make_movie(path: Path) -> MovieItem:
    if path.suffix == ".tif":
        tifffile.imwrite(path, counts(), photometric="minisblack")
    else:
        write_mrc(path, counts().astype(np.int16), pixel_size_ang=1.0)
    return replace(make_item(), movie=read_movie_header(path))


def choose(program: str, scratch: Path, **more: Any) -> MotionParams:
    chosen = {"backend": "program", "command": (program, *MOTIONCOR3_TEMPLATE[1:]), "scratch_folder": scratch}
    return MotionParams.model_validate({**chosen, **more})


def run(item: MovieItem, params: MotionParams, context: FakeContext) -> MotionMetrics:
    metrics = MotionCorrection().run(item, params, context).metrics
    assert isinstance(metrics, MotionMetrics)
    return metrics


@pytest.mark.parametrize("name", ["movie.mrc", "movie.tif", "a 'b' \"c\"; exit $1 & .tif"])
def test_sums_and_motion_are_taken_over_in_our_orientation(tmp_path: Path, scratch: Path, name: str) -> None:
    """Whatever the file's own order of rows: the sum is that of the movie as Elcano reads it."""
    item = make_movie(tmp_path / name)
    gain_yx = np.random.default_rng(5).uniform(0.9, 1.1, SHAPE_TYX[1:]).astype(np.float32)
    context = FakeContext(tmp_path / "home", inputs=FakeInputs(gain=gain_yx))
    metrics = run(item, choose(fake_motioncor(tmp_path), scratch, write_even_odd=True), context)
    assert set(context.written) == set(MotionCorrection.produces)
    frames_tyx = read_movie(item.movie, eer=EerFractions()).astype(np.float32) * gain_yx
    expected_yx = frames_tyx.sum(axis=0)
    np.testing.assert_allclose(read_mrc(context.written[ALIGNED_UNWEIGHTED]), expected_yx, rtol=1e-5)
    np.testing.assert_allclose(read_mrc(context.written[ALIGNED]), expected_yx / 2, rtol=1e-5)
    np.testing.assert_allclose(read_mrc(context.written[ALIGNED_EVEN]), frames_tyx[0::2].sum(axis=0), rtol=1e-5)
    np.testing.assert_allclose(read_mrc(context.written[ALIGNED_ODD]), frames_tyx[1::2].sum(axis=0), rtol=1e-5)
    for product, value in context.values.items():
        if value is not None:
            np.testing.assert_array_equal(read_mrc(context.written[product]), value)
    spectrum = tile_power_spectrum(context.device.put(context.values[ALIGNED_UNWEIGHTED].copy()), 1.0)
    np.testing.assert_array_equal(context.values[SPECTRUM], spectrum.spectrum_yx.numpy())
    field = read_motion(read_star(context.written[MOTION_STAR]))
    np.testing.assert_allclose(field.global_t2, np.arange(5)[:, None] * [1.5, -0.75])
    assert metrics.total_motion_ang == pytest.approx(4 * np.hypot(1.5, 0.75))
    assert metrics.is_dose_weighted
    assert not metrics.is_spectrum_of_partial_sums
    assert metrics.program == str(tmp_path / "MotionCor3.py")
    assert len(metrics.program_sha256 or "") == 64
    assert list(scratch.iterdir()) == []
    assert "Total time: 3.141 sec" in context.logged.infos
    assert context.logged.infos[0].startswith("runs ")
    assert context.steps[0] == (0, 900, "s of the time limit")


def test_a_program_may_have_read_another_movie_under_the_name(tmp_path: Path, scratch: Path) -> None:
    item = make_movie(tmp_path / "movie.mrc")
    assert item.movie.file is not None
    os.utime(item.movie.path, ns=(item.movie.file.mtime_ns + 1, item.movie.file.mtime_ns + 1))
    context = FakeContext(tmp_path / "home")
    with pytest.raises(MovieChanged, match="not the file any more"):
        run(item, choose(fake_motioncor(tmp_path), scratch), context)
    assert (dict(context.written), list(scratch.iterdir())) == ({}, [])


def test_sums_are_binned_as_elcanos_own_are(tmp_path: Path, scratch: Path) -> None:
    item = make_movie(tmp_path / "movie.mrc")
    item = replace(item, acquisition=replace(item.acquisition, motion_binning=2))
    context = FakeContext(tmp_path / "home")
    run(item, choose(fake_motioncor(tmp_path), scratch), context)
    expected_yx = read_movie(item.movie, eer=EerFractions()).sum(axis=0, dtype=np.float32)
    found_yx = read_mrc(context.written[ALIGNED_UNWEIGHTED])
    assert found_yx.shape == (SHAPE_TYX[1] // 2, SHAPE_TYX[2] // 2)
    np.testing.assert_array_equal(found_yx, bin_image(torch.from_numpy(expected_yx), 2).numpy())
    assert read_mrc_header(context.written[ALIGNED]).pixel_size_ang == 2.0
    general = find_block(read_star(context.written[MOTION_STAR]), "general")
    assert general is not None
    assert float(str(general.value("rlnMicrographBinning"))) == 2.0


def test_local_motion_becomes_that_of_a_motion_star(tmp_path: Path, scratch: Path) -> None:
    """What the patches tell beside the whole frame, as relion reads it: zero in the first frame, of the other sign."""
    item, context = make_movie(tmp_path / "movie.mrc"), FakeContext(tmp_path / "home")
    metrics = run(item, choose(fake_motioncor(tmp_path), scratch), context)
    blocks = read_star(context.written[MOTION_STAR])
    model = find_block(blocks, "local_motion_model")
    assert model is not None
    z, x = np.arange(5)[:, None, None], np.linspace(-0.5, 0.5, 7)
    expected_tyx = np.broadcast_to(-2 * z * x, (5, 7, 7)), np.broadcast_to(-0.1 * z**2, (5, 7, 7))
    field_tyx2 = evaluate_local(model.floats("rlnMotionModelCoeff"), 5, 7, 7)
    np.testing.assert_allclose(field_tyx2, np.stack(expected_tyx, axis=-1), atol=0.02)  # the log has two decimals
    field = read_motion(blocks)
    assert field.local_tyx2 is not None
    corner_px = field.local_tyx2[4, 0, 0]
    np.testing.assert_allclose(corner_px, [4, -1.6], atol=0.02)
    assert metrics.largest_local_motion_ang == pytest.approx(np.hypot(4, 1.6), abs=0.02)
    assert metrics.warning is None
    assert any(said.startswith("RELION's model of local motion follows") for said in context.logged.infos)


@pytest.mark.parametrize(
    ("found", "instead", "words"),
    [
        ("-Patch-Patch.log", "-Other.log", "left no movie-Patch-Patch.log"),
        ("# Number of patches: %d", "# Number of patches: 9%d", "925 patches are announced, 25 are told"),
        ("*shift, 0)", "*shift, 1)", "0 patch"),
        ("*shift, 0)", "*shift, f > 3)", "believes only 0 of its 5 shifts at the left edge in the last frame"),
    ],
)
def test_local_motion_that_is_not_told_is_said_and_the_sum_is_kept(
    tmp_path: Path, scratch: Path, found: str, instead: str, words: str
) -> None:
    program = Path(fake_motioncor(tmp_path))
    program.write_text(program.read_text().replace(found, instead))
    context = FakeContext(tmp_path / "home")
    metrics = run(make_movie(tmp_path / "movie.mrc"), choose(str(program), scratch), context)
    assert (metrics.warning or "").startswith("whole frame only: ")
    assert words in (metrics.warning or "")
    assert metrics.largest_local_motion_ang is None
    assert read_motion(read_star(context.written[MOTION_STAR])).local_tyx2 is None


def test_what_it_is_told(tmp_path: Path, scratch: Path) -> None:
    item = make_movie(tmp_path / "movie.mrc")
    dark_yx = np.full(SHAPE_TYX[1:], 2, np.float32)
    context = FakeContext(tmp_path, inputs=FakeInputs(dark=dark_yx, defects=dark_yx < 0))
    run(item, choose(fake_motioncor(tmp_path), scratch, local=False, dose_weighting=False), context)
    told = json.loads((tmp_path / "MotionCor3.heard").read_text())
    assert told[:2] == ["-InMrc", str(tmp_path / "movie.mrc")]
    assert told[told.index("-Patch") :][:3] == ["-Patch", "0", "0"]
    assert "-FmDose" not in told
    assert {"-Gain", "-Dark", "-DefectMap"} <= set(told), "a dark without a gain would be dropped"
    expected_yx = (counts().astype(np.float32) - 2).sum(axis=0)
    np.testing.assert_array_equal(read_mrc(context.written[ALIGNED]), expected_yx)
    assert ALIGNED_UNWEIGHTED not in context.written


def test_how_an_eer_movie_is_to_be_summed(tmp_path: Path, scratch: Path) -> None:
    """245 hardware frames in ten fractions of 24; the dose is told for a hardware frame."""
    body = "import sys\nword = sys.argv.index\nfor name in ('-InEer', '-FmIntFile', '-FmDose', '-EerSampling'):\n"
    body += (
        "    print(name, sys.argv[word(name) + 1])\nprint(open(sys.argv[word('-FmIntFile') + 1]).read())\nsys.exit(1)"
    )
    item = make_item(acquisition=replace(ACQUISITION, eer=EerFractions(fractions=10, upsampling=2)))
    eer = replace(item.movie, path=tmp_path / "image.eer", format=MovieFormat.EER, frame_count=245)
    inputs = FakeInputs(dark=np.ones((8, 8), np.float32))
    with pytest.raises(ProgramFailed) as failure:
        run(
            replace(item, movie=eer),
            choose(write_program(tmp_path / "program.py", body), scratch),
            FakeContext(tmp_path, inputs=inputs),
        )
    assert f"-InEer {tmp_path}/image.eer | -FmIntFile" in failure.value.message
    assert "-FmDose 0.0625 | -EerSampling 2 | 245 24 0.0625" in failure.value.message


def test_a_program_that_was_replaced_is_another_one(tmp_path: Path, scratch: Path) -> None:
    item, program = make_movie(tmp_path / "movie.mrc"), fake_motioncor(tmp_path)
    before = run(item, choose(program, scratch), FakeContext(tmp_path))
    Path(program).write_text(Path(program).read_text() + "# a later version\n")
    after = run(item, choose(program, scratch), FakeContext(tmp_path))
    assert before.program == after.program
    assert before.program_sha256 != after.program_sha256


_SUM = "open(sys.argv[sys.argv.index('-OutMrc') + 1], 'wb')"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import sys; print('bad gain'); sys.exit(3)", "ended with status 3. It last said: bad gain"),
        ("print('done')", "does not tell the motion in what it printed: no full-frame shifts"),
        ("print('Full-frame alignment shift'); print('1 0 0'); print('2 0 0')", "shifts of 2 frames are told"),
        ("print('globalShift')\nfor f in range(5): print(f, 0, 0)", "left no sum.mrc"),
        (
            f"import sys\nprint('globalShift')\nfor f in range(5): print(f, 0, 0)\n{_SUM}.write(b'nonsense')",
            "left a sum.mrc that is no whole MRC image",
        ),
    ],
)
def test_what_is_of_no_use_is_refused(tmp_path: Path, scratch: Path, body: str, words: str) -> None:
    item = make_movie(tmp_path / "movie.mrc")
    context = FakeContext(tmp_path / "home")
    with pytest.raises(ProgramFailed, match=words):
        run(item, choose(write_program(tmp_path / "program.py", body), scratch), context)
    assert context.written == {}
    assert list(scratch.iterdir()) == []


def test_a_sum_of_another_size_or_without_numbers_is_refused(tmp_path: Path, scratch: Path) -> None:
    program = fake_motioncor(tmp_path)
    source = Path(program).read_text()
    item = make_movie(tmp_path / "movie.mrc")
    Path(program).write_text(source.replace("write(out, frames.sum(0))", "write(out, frames.sum(0)[::2, ::2])"))
    with pytest.raises(ProgramFailed, match=r"sum.mrc of 24 × 20 px, the movie's frames have 48 × 40.*not bin"):
        run(item, choose(program, scratch), FakeContext(tmp_path))
    Path(program).write_text(source.replace("write(out, frames.sum(0))", "write(out, frames.sum(0) * np.nan)"))
    with pytest.raises(ProgramFailed, match="pixels that are no numbers"):
        run(item, choose(program, scratch), FakeContext(tmp_path))
    Path(program).write_text(source.replace('if "-FmDose" in option', "if False"))
    with pytest.raises(ProgramFailed, match=r"left no sum_DW\.mrc"):
        run(item, choose(program, scratch), FakeContext(tmp_path))


def test_past_its_time_it_is_ended(tmp_path: Path, scratch: Path) -> None:
    program = write_program(tmp_path / "program.py", "import time\ntime.sleep(1000)")
    with pytest.raises(ProgramFailed, match="did not end within 0 s"):
        run(
            make_movie(tmp_path / "movie.mrc"),
            choose(program, scratch, program_time_limit_s=0.1),
            FakeContext(tmp_path),
        )
    assert list(scratch.iterdir()) == []


def test_a_cancelled_task_ends_it(tmp_path: Path, scratch: Path) -> None:
    begun = tmp_path / "begun"
    program = write_program(tmp_path / "program.py", f"import time\nopen({str(begun)!r}, 'w')\ntime.sleep(1000)")
    context = FakeContext(tmp_path, is_cancelled=begun.exists)
    with pytest.raises(TaskCancelled):
        run(make_movie(tmp_path / "movie.mrc"), choose(program, scratch), context)
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ((), "the first item"),
        (("{movie}",), "the first item"),
        (("MotionCor3", "-In", "{film}"), "{film} is no value"),
        (("MotionCor3", "{movie!r}"), "plain name"),
    ],
)
def test_a_wrong_command_is_refused_when_it_is_read(command: tuple[str, ...], words: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=words):
        MotionParams(command=command)


def test_scratch_and_time_limit_are_checked_when_they_are_read() -> None:
    with pytest.raises(pydantic.ValidationError, match="absolute"):
        MotionParams(scratch_folder=Path("scratch"))
    with pytest.raises(pydantic.ValidationError, match="program_time_limit_s"):
        MotionParams(program_time_limit_s=MotionCorrection.time_limit_s)


def test_only_a_program_that_is_used_is_looked_for() -> None:
    assert MotionParams().programs == ()
    assert MotionParams(backend="program").programs == ("MotionCor3",)
    assert {"backend", "command", "scratch_folder"} <= MotionParams.file_only()


def test_acquisition_without_a_dose_is_summed_unweighted(tmp_path: Path, scratch: Path) -> None:
    item = replace(make_movie(tmp_path / "movie.mrc"), acquisition=replace(ACQUISITION, dose_per_frame_e_per_ang2=None))
    metrics = run(item, choose(fake_motioncor(tmp_path), scratch), FakeContext(tmp_path))
    assert not metrics.is_dose_weighted
    assert "dose is not known" in (metrics.warning or "")
