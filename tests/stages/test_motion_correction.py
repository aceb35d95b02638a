"""The motion stage: its files, their meaning, and what it says when it cannot know."""

from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import numpy.typing as npt
import pytest

from daemon.domain.acquisition import Acquisition
from daemon.errors import AcquisitionUnknown, TaskCancelled
from daemon.exchange.relion.motion import read_motion
from daemon.formats.mrc import read_mrc
from daemon.formats.star import find_block, read_star
from daemon.numerics.simulation import SimulatedMovie, SimulatedOptics, simulate_movie
from daemon.numerics.simulation_detector import seed_generator
from daemon.pipeline.context import MovieItem
from daemon.pipeline.product import (
    ALIGNED,
    ALIGNED_EVEN,
    ALIGNED_ODD,
    ALIGNED_UNWEIGHTED,
    MOTION_PLOT,
    MOTION_STAR,
    SPECTRUM,
)
from daemon.stages.motion_correction import MotionCorrection, MotionMetrics, MotionParams
from tests.stages.fakes import ACQUISITION, FakeContext, FakeInputs, make_item, read_picture

SHAPE = (384, 512)
FRAMES = 10
DOSE = 4.0


@pytest.fixture(scope="module")
def movie() -> SimulatedMovie:
    optics = SimulatedOptics(1.0, 15_000.0, 14_500.0, 30.0, envelope_b_ang2=60.0)
    return simulate_movie(SHAPE, FRAMES, optics, DOSE, seed_generator(3), hot_pixels=4)


def item_of(acquisition: Acquisition = ACQUISITION) -> MovieItem:
    return make_item(acquisition=acquisition, shape_tyx=(FRAMES, *SHAPE))


def run(
    folder: Path, frames_tyx: npt.NDArray[np.uint8], acquisition: Acquisition, **params: object
) -> tuple[FakeContext, MotionMetrics]:
    context = FakeContext(folder, inputs=FakeInputs(movie=frames_tyx))
    result = MotionCorrection().run(item_of(acquisition), MotionParams.model_validate(params), context)
    assert isinstance(result.metrics, MotionMetrics)
    return context, result.metrics


def test_files_and_truth(movie: SimulatedMovie, tmp_path: Path) -> None:
    acquisition = replace(ACQUISITION, dose_per_frame_e_per_ang2=DOSE)
    context, metrics = run(tmp_path, movie.stack().numpy(), acquisition, write_even_odd=True)
    assert set(context.written) == set(MotionCorrection.produces)
    for product in (ALIGNED, ALIGNED_UNWEIGHTED, ALIGNED_EVEN, ALIGNED_ODD, SPECTRUM):
        assert mrcfile.validate(context.written[product])
        np.testing.assert_array_equal(read_mrc(context.written[product]), context.values[product])
    assert read_mrc(context.written[ALIGNED]).shape == SHAPE
    assert read_mrc(context.written[SPECTRUM]).shape == (512, 512)
    total = movie.stack().double().sum(dim=0).mean().item()
    assert context.values[ALIGNED_UNWEIGHTED].mean() == pytest.approx(total, rel=0.02)
    found = read_motion(read_star(context.written[MOTION_STAR]))
    true_t2 = movie.truth.motion.on_grid(7, 7).numpy().mean(axis=(1, 2))
    difference = found.global_t2 - true_t2
    difference -= difference.mean(axis=0)
    assert np.sqrt((difference**2).sum(axis=1).mean()) < 0.6
    assert metrics.total_motion_ang > 0
    assert metrics.is_dose_weighted
    assert context.steps[-1][0] == context.steps[-1][1]
    assert len(np.unique(read_picture(context.written[MOTION_PLOT]))) > 10


def test_the_star_tells_how_the_movie_was_taken(movie: SimulatedMovie, tmp_path: Path) -> None:
    context, _ = run(tmp_path, movie.stack().numpy(), ACQUISITION)
    general = find_block(read_star(context.written[MOTION_STAR]), "general")
    assert general is not None
    assert float(str(general.value("rlnMicrographOriginalPixelSize"))) == 1.0
    assert float(str(general.value("rlnMicrographDoseRate"))) == 1.5
    assert int(str(general.value("rlnImageSizeZ"))) == FRAMES


def test_without_a_dose_nothing_is_weighted_and_that_is_said(movie: SimulatedMovie, tmp_path: Path) -> None:
    unknown = replace(ACQUISITION, dose_per_frame_e_per_ang2=None)
    context, metrics = run(tmp_path, movie.stack().numpy(), unknown)
    assert not metrics.is_dose_weighted
    assert ALIGNED_UNWEIGHTED not in context.written
    assert any("dose is not known" in warning for warning in context.logged.warnings)


def test_without_a_voltage_nothing_is_weighted_and_that_is_said(movie: SimulatedMovie, tmp_path: Path) -> None:
    context, metrics = run(tmp_path, movie.stack().numpy(), replace(ACQUISITION, voltage_kv=None))
    assert not metrics.is_dose_weighted
    assert any("voltage is not known" in warning for warning in context.logged.warnings)


def test_without_a_pixel_size_it_says_where_to_set_it(movie: SimulatedMovie, tmp_path: Path) -> None:
    with pytest.raises(AcquisitionUnknown, match=r"acquisition\.pixel_size_ang"):
        run(tmp_path, movie.stack().numpy(), replace(ACQUISITION, pixel_size_ang=None))


def test_an_empty_movie_is_summed_and_called_hopeless(tmp_path: Path) -> None:
    _, metrics = run(tmp_path, np.zeros((4, *SHAPE), np.uint8), ACQUISITION)
    assert metrics.total_motion_ang == 0
    assert metrics.expected_error_px is None
    assert metrics.warning is not None


def test_it_stops_when_cancelled(movie: SimulatedMovie, tmp_path: Path) -> None:
    context = FakeContext(
        tmp_path, inputs=FakeInputs(movie=movie.stack().numpy()), is_cancelled=lambda: len(context.steps) > 3
    )
    with pytest.raises(TaskCancelled):
        MotionCorrection().run(item_of(), MotionParams(), context)
    assert not context.written


def test_memory_is_stated_from_header_and_parameters() -> None:
    small, large = make_item(shape_tyx=(10, 512, 512)).movie, make_item(shape_tyx=(40, 4092, 5760)).movie
    needs = MotionCorrection().needs
    assert needs(small, MotionParams()).host_bytes < needs(large, MotionParams()).host_bytes
    assert needs(replace(large, pixel_size_ang=0.83), MotionParams()).host_bytes <= large.data_bytes + 2.0e9
