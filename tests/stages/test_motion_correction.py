"""The motion stage: its files, their meaning, and what it says when it cannot know."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import numpy.typing as npt
import pytest
import torch

from daemon.domain.acquisition import Acquisition, CameraReference, EerFractions
from daemon.domain.movie import MovieFormat
from daemon.errors import AcquisitionUnknown, FormatError, TaskCancelled
from daemon.exchange.relion.motion import read_motion
from daemon.formats.mrc import read_mrc
from daemon.formats.star import find_block, read_star
from daemon.numerics.motion import MotionEstimate, MotionOptions
from daemon.numerics.simulation import SimulatedMovie, SimulatedOptics, simulate_movie
from daemon.numerics.simulation_detector import seed_generator
from daemon.numerics.spectrum import spectrum_pixel_ang
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
from daemon.stages.motion_correction import (
    MotionCorrection,
    MotionMetrics,
    MotionParams,
    _doubts,
)
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


def _noise(shape_tyx: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(2).poisson(3.0, shape_tyx).astype(np.uint8)


def run(
    folder: Path, frames_tyx: npt.NDArray[np.generic], acquisition: Acquisition, **params: object
) -> tuple[FakeContext, MotionMetrics]:
    context = FakeContext(folder, inputs=FakeInputs(frames_tyx=frames_tyx))
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
    # 40 e⁻/Å² make five parts of 8: the spectrum, and theirs.
    assert read_mrc(context.written[SPECTRUM]).shape == (6, 512, 512)
    total = movie.stack().double().sum(dim=0).mean().item()
    assert context.values[ALIGNED_UNWEIGHTED].mean() == pytest.approx(total, rel=0.02)
    found = read_motion(read_star(context.written[MOTION_STAR]))
    true_t2 = movie.truth.motion.on_grid(7, 7).numpy().mean(axis=(1, 2))
    difference = found.global_t2 - true_t2
    difference -= difference.mean(axis=0)
    assert np.sqrt((difference**2).sum(axis=1).mean()) < 0.6
    assert metrics.total_motion_ang is not None
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


def _eer_frames(frames: int, size_px: int, upsampling: int) -> tuple[dict[Any, Any], Any, Any]:
    """No products, and frames of noise on the grid of the sensor and on a finer one."""
    fine_px = size_px * upsampling
    frames_tyx = _noise((frames, size_px, size_px))
    return {}, frames_tyx, frames_tyx.repeat(fine_px // size_px, axis=1).repeat(fine_px // size_px, axis=2)


def test_the_star_of_an_eer_movie_tells_how_it_was_rendered(tmp_path: Path) -> None:
    """240 hardware frames in tens, four times finer: RELION writes that upsampling as 3."""
    acquisition = replace(ACQUISITION, eer=EerFractions(fractions=24, upsampling=4))
    item = item_of(acquisition)
    eer = replace(item.movie, path=Path("image.eer"), format=MovieFormat.EER, frame_count=240)
    context = FakeContext(tmp_path, inputs=FakeInputs(*_eer_frames(24, 64, 4)))
    MotionCorrection().run(replace(item, movie=eer), MotionParams(), context)
    general = find_block(read_star(context.written[MOTION_STAR]), "general")
    assert general is not None
    assert int(str(general.value("rlnEERGrouping"))) == 10
    assert int(str(general.value("rlnEERUpsampling"))) == 3
    assert int(str(general.value("rlnImageSizeZ"))) == 24


@pytest.mark.parametrize("unweighted", [{"dose_weighting": False}, {"voltage_kv": None}])
def test_without_weighting_the_spectrum_still_comes_of_dose_limited_sums(
    movie: SimulatedMovie, tmp_path: Path, unweighted: dict[str, Any]
) -> None:
    # 15 e⁻/Å² make three partial sums; without a dose there are nine.
    frames_tyx = movie.stack().numpy()
    expected, _ = run(tmp_path / "weighted", frames_tyx, ACQUISITION)
    if "voltage_kv" in unweighted:
        context, metrics = run(tmp_path / "plain", frames_tyx, replace(ACQUISITION, **unweighted))
    else:
        context, metrics = run(tmp_path / "plain", frames_tyx, ACQUISITION, **unweighted)
    assert not metrics.is_dose_weighted
    assert metrics.dose_per_frame_e_per_ang2 == 1.5
    np.testing.assert_array_equal(context.values[ALIGNED], expected.values[ALIGNED_UNWEIGHTED])
    np.testing.assert_array_equal(context.values[SPECTRUM], expected.values[SPECTRUM])


def test_the_stage_seeks_motion_as_the_numerics_do_by_default() -> None:
    chosen, default = MotionParams(), MotionOptions()
    for name in ("patch_ang", "resolution_limit_ang", "largest_shift_ang", "local"):
        assert getattr(chosen, name) == getattr(default, name), name


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


def test_that_only_the_whole_frame_of_a_small_image_can_be_aligned_is_no_warning(
    movie: SimulatedMovie, tmp_path: Path
) -> None:
    acquisition = replace(ACQUISITION, dose_per_frame_e_per_ang2=DOSE)
    context, metrics = run(tmp_path, movie.stack().numpy(), acquisition, patch_ang=1000.0)
    assert metrics.largest_local_motion_ang is None
    assert (metrics.warning, context.logged.warnings) == (None, [])
    assert context.logged.infos == ["whole frame only: the image is too small for local motion (512 × 384 px)"]


@pytest.mark.parametrize("value", [0, 7])
def test_a_movie_of_one_value_is_refused(tmp_path: Path, value: int) -> None:
    with pytest.raises(FormatError, match=rf"every pixel of its 4 frame\(s\) holds the same value \({value}\)") as told:
        run(tmp_path, np.full((4, *SHAPE), value, np.uint8), ACQUISITION)
    assert "camera" in told.value.hint


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_a_camera_that_repeats_its_frame_is_told(tmp_path: Path, kind: type[np.generic]) -> None:
    frame_yx = np.random.default_rng(1).poisson(3.0, SHAPE).astype(kind)
    with pytest.raises(FormatError, match="its 5 frames are the same, pixel by pixel"):
        run(tmp_path, np.repeat(frame_yx[None], 5, axis=0), ACQUISITION)


def test_frames_that_differ_in_few_pixels_are_no_repetition(tmp_path: Path) -> None:
    frames_tyx = np.repeat(np.random.default_rng(1).poisson(3.0, SHAPE).astype(np.uint8)[None], 5, axis=0)
    frames_tyx[2, 5, 7] += 1
    _, metrics = run(tmp_path, frames_tyx, ACQUISITION)
    assert metrics.frame_count == 5


def test_it_stops_when_cancelled(movie: SimulatedMovie, tmp_path: Path) -> None:
    context = FakeContext(
        tmp_path, inputs=FakeInputs(frames_tyx=movie.stack().numpy()), is_cancelled=lambda: len(context.steps) > 3
    )
    with pytest.raises(TaskCancelled):
        MotionCorrection().run(item_of(), MotionParams(), context)
    assert not context.written


def test_memory_is_stated_from_header_and_parameters() -> None:
    small, large = make_item(shape_tyx=(10, 512, 512)).movie, make_item(shape_tyx=(40, 4092, 5760)).movie
    needs = MotionCorrection().needs
    assert needs(small, MotionParams()).host_bytes < needs(large, MotionParams()).host_bytes
    assert needs(replace(large, pixel_size_ang=0.83), MotionParams()).host_bytes <= large.data_bytes + 2.0e9


def test_dark_and_known_defects_are_taken_out(movie: SimulatedMovie, tmp_path: Path) -> None:
    clean = movie.stack().numpy()
    dark = np.random.default_rng(4).integers(0, 5, SHAPE).astype(np.float32)
    defects = np.zeros(SHAPE, bool)
    defects[:, 40:42] = True
    spoilt = clean + dark.astype(np.uint8)
    spoilt[:, defects] = 3  # a value that does not stand out
    expected, _ = run(tmp_path / "clean", clean, ACQUISITION)
    inputs = FakeInputs(frames_tyx=spoilt, dark=dark, defects=defects)
    context = FakeContext(tmp_path / "spoilt", inputs=inputs)
    metrics = MotionCorrection().run(item_of(ACQUISITION), MotionParams(), context).metrics
    assert isinstance(metrics, MotionMetrics)
    assert metrics.defects >= defects.sum()
    good, found = expected.values[ALIGNED_UNWEIGHTED], context.values[ALIGNED_UNWEIGHTED]
    assert np.corrcoef(good.ravel(), found.ravel())[0, 1] > 0.97
    assert found.mean() == pytest.approx(good.mean(), rel=0.01)


def test_an_eer_movie_goes_without_a_dark_and_says_so(tmp_path: Path) -> None:
    acquisition = replace(ACQUISITION, dark=CameraReference(Path("dark.mrc")), eer=EerFractions(fractions=4))
    item = item_of(acquisition)
    eer = replace(item.movie, path=Path("image.eer"), format=MovieFormat.EER, frame_count=40)
    inputs = FakeInputs(frames_tyx=_noise((4, 128, 128)), dark=np.ones((128, 128), np.float32))
    result = MotionCorrection().run(replace(item, movie=eer), MotionParams(), FakeContext(tmp_path, inputs=inputs))
    assert any("the dark is not subtracted" in warning for warning in result.warnings)


def test_a_binned_micrograph_says_its_pixel_and_its_star_the_factor(movie: SimulatedMovie, tmp_path: Path) -> None:
    acquisition = replace(ACQUISITION, motion_binning=2)
    context, metrics = run(tmp_path, movie.stack().numpy(), acquisition, write_even_odd=True)
    whole, _ = run(tmp_path / "whole", movie.stack().numpy(), ACQUISITION)
    for product in (ALIGNED, ALIGNED_UNWEIGHTED, ALIGNED_EVEN, ALIGNED_ODD):
        assert context.values[product].shape == (SHAPE[0] // 2, SHAPE[1] // 2)
        with mrcfile.open(context.written[product], header_only=True) as mrc:
            assert float(mrc.voxel_size.x) == pytest.approx(2.0)
    assert context.values[ALIGNED].mean() == pytest.approx(whole.values[ALIGNED].mean(), rel=1e-3)
    general, shifts = (
        find_block(read_star(context.written[MOTION_STAR]), name) for name in ("general", "global_shift")
    )
    assert general is not None
    assert shifts is not None
    assert float(str(general.value("rlnMicrographBinning"))) == 2.0
    assert float(str(general.value("rlnMicrographOriginalPixelSize"))) == 1.0
    # Motion is told in the movie's pixels, binned or not.
    unbinned = find_block(read_star(whole.written[MOTION_STAR]), "global_shift")
    assert unbinned is not None
    np.testing.assert_array_equal(shifts.floats("rlnMicrographShiftX"), unbinned.floats("rlnMicrographShiftX"))
    assert metrics.pixel_size_ang == 1.0
    assert context.values[SPECTRUM].shape[-2:] == (512, 512)
    with mrcfile.open(context.written[SPECTRUM], header_only=True) as mrc:
        assert float(mrc.voxel_size.x) == pytest.approx(spectrum_pixel_ang(2.0), rel=1e-5)


def test_an_up_sampled_movie_is_aligned_on_the_sensors_grid_and_summed_on_the_finer_one(
    movie: SimulatedMovie, tmp_path: Path
) -> None:
    """Frames whose every pixel is repeated: what they become, averaged back, is the sum on the sensor's own grid."""
    frames_tyx = movie.stack().numpy()
    finer_tyx = frames_tyx.repeat(2, axis=1).repeat(2, axis=2)
    acquisition = replace(ACQUISITION, eer=EerFractions(fractions=FRAMES, upsampling=2), pixel_size_ang=0.5)
    item = item_of(acquisition)
    eer = replace(item.movie, path=Path("image.eer"), format=MovieFormat.EER, frame_count=FRAMES)
    gain = np.random.default_rng(1).uniform(0.9, 1.1, SHAPE).astype(np.float32)
    context = FakeContext(
        tmp_path, inputs=FakeInputs({}, frames_tyx, finer_tyx, gain.repeat(2, axis=0).repeat(2, axis=1))
    )
    MotionCorrection().run(replace(item, movie=eer), MotionParams(), context)
    plain = FakeContext(tmp_path / "plain", inputs=FakeInputs({}, frames_tyx, gain=gain))
    MotionCorrection().run(item_of(), MotionParams(), plain)
    ours, theirs = (read_motion(read_star(made.written[MOTION_STAR])).global_t2 for made in (context, plain))
    np.testing.assert_allclose(ours, 2 * theirs, atol=1e-5)
    fine_yx, coarse_yx = context.values[ALIGNED_UNWEIGHTED], plain.values[ALIGNED_UNWEIGHTED]
    assert fine_yx.shape == (2 * SHAPE[0], 2 * SHAPE[1])
    averaged_yx = fine_yx.reshape(SHAPE[0], 2, SHAPE[1], 2).mean(axis=(1, 3))
    inner = (slice(16, -16), slice(16, -16))
    agreement = [
        np.corrcoef(np.roll(averaged_yx, moved, axis)[inner].ravel(), coarse_yx[inner].ravel())[0, 1]
        for moved, axis in ((0, 0), (1, 0), (-1, 0), (1, 1), (-1, 1))
    ]
    # Repeated pixels, moved by fractions of a pixel and averaged, are a little less sharp.
    assert agreement[0] > 0.85
    assert agreement[0] > 1.3 * max(agreement[1:])


def test_one_frame_is_a_micrograph_without_motion(tmp_path: Path) -> None:
    frames_tyx = np.random.default_rng(0).poisson(3.0, (1, *SHAPE)).astype(np.uint8)
    context, metrics = run(tmp_path, frames_tyx, ACQUISITION)
    assert (metrics.total_motion_ang, metrics.early_motion_ang) == (None, None)
    assert (metrics.expected_error_px, metrics.signal_sigma) == (None, None)
    assert metrics.warning == "whole frame only: a movie of one frame shows no motion"
    np.testing.assert_allclose(context.values[ALIGNED_UNWEIGHTED][50:-50, 50:-50].mean(), 3.0, rtol=0.05)


def test_the_motion_of_frames_that_have_nothing_in_common_is_not_known(tmp_path: Path) -> None:
    frames_tyx = np.random.default_rng(5).poisson(3.0, (FRAMES, *SHAPE)).astype(np.uint8)
    context, metrics = run(tmp_path, frames_tyx, ACQUISITION)
    assert (metrics.total_motion_ang, metrics.early_motion_ang, metrics.expected_error_px) == (None, None, None)
    assert metrics.signal_sigma is not None
    assert metrics.signal_sigma < 5
    # The shifts are those that the sum was made with.
    assert not read_motion(read_star(context.written[MOTION_STAR])).global_t2.any()


def test_a_saturated_frame_is_left_out_and_named(movie: SimulatedMovie, tmp_path: Path) -> None:
    frames_tyx = movie.stack().numpy().copy()
    frames_tyx[4] = 255
    context, metrics = run(tmp_path, frames_tyx, replace(ACQUISITION, dose_per_frame_e_per_ang2=DOSE))
    assert metrics.unusable_frames == 1
    assert "1 frame(s) could not be used for alignment: 5" in (metrics.warning or "")
    expected = np.delete(movie.stack().numpy(), 4, axis=0).sum(axis=0, dtype=np.float64).mean()
    assert context.values[ALIGNED_UNWEIGHTED].mean() == pytest.approx(expected, rel=0.02)


def test_a_gain_of_nothing_finite_or_of_zeros_repairs_those_pixels(movie: SimulatedMovie, tmp_path: Path) -> None:
    """What a gain cannot correct is filled from around: no NaN and no hole gets into the sum."""
    clean, _ = run(tmp_path / "clean", movie.stack().numpy(), ACQUISITION)
    gain = np.ones(SHAPE, np.float32)
    gain[40:44, 60:64], gain[200:203, 300:303], gain[10, 10] = np.nan, 0.0, np.inf
    context = FakeContext(tmp_path / "gain", inputs=FakeInputs(frames_tyx=movie.stack().numpy(), gain=gain))
    metrics = MotionCorrection().run(item_of(), MotionParams(), context).metrics
    assert isinstance(metrics, MotionMetrics)
    assert metrics.defects is not None
    assert metrics.defects >= 26
    found, good = context.values[ALIGNED_UNWEIGHTED], clean.values[ALIGNED_UNWEIGHTED]
    assert np.isfinite(found).all()
    assert found.mean() == pytest.approx(good.mean(), rel=0.01)


@pytest.mark.parametrize("shape", [(251, 257), (65, 509)])
def test_prime_and_odd_sizes_and_few_frames(tmp_path: Path, shape: tuple[int, int]) -> None:
    frames_tyx = np.random.default_rng(0).poisson(3.0, (6, *shape)).astype(np.uint8)
    for acquisition in (ACQUISITION, replace(ACQUISITION, motion_binning=2)):
        binning = acquisition.motion_binning
        folder = tmp_path / str(binning)
        item = make_item(acquisition=acquisition, shape_tyx=(6, *shape))
        context = FakeContext(folder, inputs=FakeInputs(frames_tyx=frames_tyx))
        MotionCorrection().run(item, MotionParams(), context)
        aligned_yx = context.values[ALIGNED]
        assert aligned_yx.shape == (shape[0] // binning, shape[1] // binning)
        assert np.isfinite(aligned_yx).all()
        assert aligned_yx.mean() == pytest.approx(18.0, rel=0.02)


def test_a_frame_too_small_to_align_is_refused_in_one_sentence(tmp_path: Path) -> None:
    item = make_item(shape_tyx=(4, 32, 40))
    context = FakeContext(tmp_path, inputs=FakeInputs(frames_tyx=_noise((4, 32, 40))))
    with pytest.raises(ValueError, match="at least 64×64 px"):
        MotionCorrection().run(item, MotionParams(), context)


@pytest.mark.parametrize(("value", "said"), [(1e30, r"about \de\+30"), (np.inf, "about inf"), (np.nan, "no number")])
def test_values_that_no_camera_gives_are_refused_in_one_sentence(
    movie: SimulatedMovie, tmp_path: Path, value: float, said: str
) -> None:
    frames_tyx = (movie.stack().numpy() + 1).astype(np.float32) * np.float32(value)
    with pytest.raises(FormatError, match=said):
        run(tmp_path, frames_tyx, ACQUISITION)


def test_a_single_pixel_that_no_camera_gives_is_a_defect(movie: SimulatedMovie, tmp_path: Path) -> None:
    frames_tyx = movie.stack().numpy().astype(np.float32)
    frames_tyx[:, 50, 60] = 1e30
    context, metrics = run(tmp_path, frames_tyx, ACQUISITION)
    assert metrics.defects is not None
    assert metrics.defects >= 1
    assert context.values[ALIGNED_UNWEIGHTED].max() < 1e6


def test_a_pixel_without_a_number_in_one_frame_is_repaired(movie: SimulatedMovie, tmp_path: Path) -> None:
    frames_tyx = movie.stack().numpy().astype(np.float32)
    frames_tyx[3, 50, 60], frames_tyx[1, 70, 80] = np.nan, np.inf
    context, metrics = run(tmp_path, frames_tyx, ACQUISITION)
    assert np.isfinite(context.values[ALIGNED_UNWEIGHTED]).all()
    assert metrics.defects is not None
    assert metrics.defects >= 2


def test_a_gain_that_is_blind_for_much_of_the_camera_is_a_warning(movie: SimulatedMovie, tmp_path: Path) -> None:
    gain = np.ones(SHAPE, np.float32)
    gain[:, : SHAPE[1] // 4] = 0
    context = FakeContext(tmp_path, inputs=FakeInputs(frames_tyx=movie.stack().numpy(), gain=gain))
    metrics = MotionCorrection().run(item_of(), MotionParams(), context).metrics
    assert isinstance(metrics, MotionMetrics)
    assert "25% of the pixels are defective or blind in the gain" in (metrics.warning or "")


def test_voltages_beyond_the_exposure_filter_are_summed_without_weights(movie: SimulatedMovie, tmp_path: Path) -> None:
    acquisition = replace(ACQUISITION, dose_per_frame_e_per_ang2=DOSE, voltage_kv=60.0)
    _, metrics = run(tmp_path, movie.stack().numpy(), acquisition)
    assert not metrics.is_dose_weighted
    assert "at 60 kV the sum is not dose-weighted" in (metrics.warning or "")


def test_a_motion_in_doubt_is_a_warning() -> None:
    still_t2 = torch.zeros(3, 2, dtype=torch.float64)
    sure = MotionEstimate((64, 64), still_t2, None, None, 0.1, still_t2[:, 0], 50.0)
    assert _doubts(sure) == []
    assert _doubts(replace(sure, doubt="an error of 1.4 px is to be expected")) == [
        "the motion found is not to be relied on: an error of 1.4 px is to be expected"
    ]


def test_a_frame_that_lost_rows_on_its_way_is_told(movie: SimulatedMovie, tmp_path: Path) -> None:
    spoilt_tyx = movie.stack().numpy().copy()
    whole, metrics = run(tmp_path / "whole", spoilt_tyx, ACQUISITION)
    assert "lack rows" not in (metrics.warning or "")
    spoilt_tyx[6, 96:160] = 0
    spoilt, metrics = run(tmp_path / "spoilt", spoilt_tyx, ACQUISITION)
    assert "1 frame(s) lack rows that other frames have, which hold zeros there: 7 (17%)" in (metrics.warning or "")
    assert whole.written.keys() == spoilt.written.keys()


def test_frames_that_a_camera_gave_again_are_left_out_and_told(movie: SimulatedMovie, tmp_path: Path) -> None:
    stuck_tyx = movie.stack().numpy().copy()
    stuck_tyx[5] = stuck_tyx[4]
    _, metrics = run(tmp_path, stuck_tyx, ACQUISITION)
    assert "1 frame(s) hold the frame before them once more, and are left out: 6;" in (metrics.warning or "")
    assert "could not be used" not in (metrics.warning or "")
    assert metrics.unusable_frames == 1
