"""Our sums against RELION's of the same movie along RELION's own shifts: pixel for pixel, in every format."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch

from daemon.domain.acquisition import EerFractions, GainReference
from daemon.domain.motion import MotionField
from daemon.exchange.relion.motion import EerRendering, MotionStarHeader, motion_blocks
from daemon.formats.gain import read_gain
from daemon.formats.movie import read_movie, read_movie_header
from daemon.formats.star import find_block, read_star
from daemon.numerics.motion import LocalField, MotionEstimate, correct_motion
from tests.exchange.relion_movies import (
    RelionResult,
    correct_with_relion,
    draw_counts,
    draw_gain,
    draw_rates,
    drift_t2,
    write_eer,
    write_mrc_with_mrcfile,
    write_tiff_with_tifffile,
)
from tests.oracles import find_program

pytestmark = pytest.mark.oracle

SIZE_PX, FRAMES = 1024, 6
EER_SIZE_PX, EER_GROUPING, EER = 4096, 2, EerFractions(fractions=3, upsampling=1)
NO_FRACTIONS = EerFractions()
FLIPS: tuple[Literal["none", "x", "y"], ...] = ("none", "y", "x")
TURNS_DEG: tuple[Literal[0, 90, 180, 270], ...] = (0, 90, 180, 270)


def correct_with_elcano(
    path: Path,
    motion: MotionField,
    gain: GainReference | None = None,
    eer: EerFractions = NO_FRACTIONS,
    *,
    binning: int = 1,
) -> npt.NDArray[np.float32]:
    """Read the movie and its gain as the daemon does, and sum along a given motion."""
    header = read_movie_header(path)
    movie_tyx = read_movie(header, eer=eer)
    gain_yx = None if gain is None else torch.from_numpy(read_gain(gain, header, eer=eer))
    frames, *shape = movie_tyx.shape
    shape_yx = (shape[0], shape[1])
    assert (motion.height_px, motion.width_px) == shape_yx
    local = None if motion.local_tyx2 is None else LocalField(torch.from_numpy(motion.local_tyx2), shape_yx)
    estimate = MotionEstimate(
        shape_yx, torch.from_numpy(motion.global_t2), local, None, 0.0, torch.zeros(frames), signal_sigma=99.0
    )
    return correct_motion(
        torch.from_numpy(movie_tyx), estimate, pixel_size_ang=1.0, gain_yx=gain_yx, binning=binning
    ).unweighted_yx.numpy()


def correlate(ours_yx: npt.NDArray[np.float32], theirs_yx: npt.NDArray[np.float32]) -> float:
    """Correlation of two images less their edges, which RELION wraps around and we mirror."""
    assert ours_yx.shape == theirs_yx.shape
    one, other = (image_yx[16:-16, 16:-16] for image_yx in (ours_yx, theirs_yx))
    one, other = one - one.mean(dtype=np.float64), other - other.mean(dtype=np.float64)
    return float((one * other).mean() / np.sqrt((one**2).mean() * (other**2).mean()))


def find_offset(ours_yx: npt.NDArray[np.float32], theirs_yx: npt.NDArray[np.float32]) -> tuple[int, int]:
    """Offset (y, x) px at which two images correlate best."""
    one, other = (torch.from_numpy(image_yx[16:-16, 16:-16] - image_yx.mean()) for image_yx in (ours_yx, theirs_yx))
    height, width = one.shape
    correlation_yx = torch.fft.irfft2(torch.fft.rfft2(one).conj() * torch.fft.rfft2(other), s=(height, width))
    y, x = divmod(int(correlation_yx.argmax()), width)
    return (y + height // 2) % height - height // 2, (x + width // 2) % width - width // 2


def assert_same(ours_yx: npt.NDArray[np.float32], theirs: RelionResult) -> None:
    assert find_offset(ours_yx, theirs.sum_yx) == (0, 0)
    assert correlate(ours_yx, theirs.sum_yx) > 0.99
    # The picture has no symmetry that could hide a flip, a turn or a transposition.
    for other_yx in (ours_yx[::-1], ours_yx[:, ::-1], ours_yx[::-1, ::-1], ours_yx.T, np.rot90(ours_yx)):
        assert correlate(other_yx, theirs.sum_yx) < 0.6


def assert_moved(theirs: RelionResult, sign_y: int = 1) -> None:
    """RELION found the drift that was drawn, so that signs and axes of shifts matter to the sum."""
    np.testing.assert_allclose(theirs.motion.global_t2, drift_t2(FRAMES) * np.array([1, sign_y]), atol=0.5)


@pytest.fixture(autouse=True)
def _relion() -> None:
    find_program("relion_run_motioncorr", "relion")


@pytest.fixture(scope="module")
def gain_yx() -> npt.NDArray[np.float32]:
    return draw_gain(SIZE_PX)


@pytest.fixture(scope="module")
def counts_tyx(gain_yx: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """What a camera of that gain counts of a drifting picture."""
    return draw_counts(draw_rates(SIZE_PX, FRAMES), gain_yx)


def test_mrc_movie_with_mrc_gain(
    tmp_path: Path, counts_tyx: npt.NDArray[np.uint16], gain_yx: npt.NDArray[np.float32]
) -> None:
    write_mrc_with_mrcfile(tmp_path / "movie.mrc", counts_tyx)
    write_mrc_with_mrcfile(tmp_path / "gain.mrc", gain_yx)
    theirs = correct_with_relion(tmp_path, "movie.mrc", "--gainref", "gain.mrc")
    assert_moved(theirs)
    gain = GainReference(tmp_path / "gain.mrc")
    assert_same(correct_with_elcano(tmp_path / "movie.mrc", theirs.motion, gain), theirs)
    ungained_yx = correct_with_elcano(tmp_path / "movie.mrc", theirs.motion)
    assert correlate(ungained_yx, theirs.sum_yx) < 0.9


def test_tiff_movie_with_tiff_gain(
    tmp_path: Path, counts_tyx: npt.NDArray[np.uint16], gain_yx: npt.NDArray[np.float32]
) -> None:
    write_tiff_with_tifffile(tmp_path / "movie.tif", counts_tyx)
    write_tiff_with_tifffile(tmp_path / "gain.tif", gain_yx)
    theirs = correct_with_relion(tmp_path, "movie.tif", "--gainref", "gain.tif")
    # The file's rows are turned over on reading, and with them the drift along y.
    assert_moved(theirs, sign_y=-1)
    assert_same(
        correct_with_elcano(tmp_path / "movie.tif", theirs.motion, GainReference(tmp_path / "gain.tif")), theirs
    )


def test_tiff_movie_with_mrc_gain_needs_the_gain_flipped(
    tmp_path: Path, counts_tyx: npt.NDArray[np.uint16], gain_yx: npt.NDArray[np.float32]
) -> None:
    write_tiff_with_tifffile(tmp_path / "movie.tif", counts_tyx)
    write_mrc_with_mrcfile(tmp_path / "gain.mrc", gain_yx)
    theirs = correct_with_relion(tmp_path, "movie.tif", "--gainref", "gain.mrc", "--gain_flip", "1")
    assert_moved(theirs, sign_y=-1)
    flipped, as_is = GainReference(tmp_path / "gain.mrc", flip="y"), GainReference(tmp_path / "gain.mrc")
    assert_same(correct_with_elcano(tmp_path / "movie.tif", theirs.motion, flipped), theirs)
    assert correlate(correct_with_elcano(tmp_path / "movie.tif", theirs.motion, as_is), theirs.sum_yx) < 0.9


@pytest.mark.parametrize(("quarters", "flip"), [(1, 0), (1, 1), (3, 2), (2, 1)])
def test_turned_and_flipped_gain(tmp_path: Path, quarters: int, flip: int) -> None:
    """Rotation first, then the flip: RELION counts quarter turns clockwise, flip 1 is upside down, 2 left to right."""
    gain_yx = draw_gain(SIZE_PX)
    fitting_yx = np.rot90(gain_yx, -quarters)
    fitting_yx = (fitting_yx, fitting_yx[::-1], fitting_yx[:, ::-1])[flip]
    write_mrc_with_mrcfile(tmp_path / "movie.mrc", draw_counts(draw_rates(SIZE_PX, 3), fitting_yx))
    write_mrc_with_mrcfile(tmp_path / "gain.mrc", gain_yx)
    turn = ("--gain_rot", str(quarters), "--gain_flip", str(flip))
    theirs = correct_with_relion(tmp_path, "movie.mrc", "--gainref", "gain.mrc", *turn)
    gain = GainReference(tmp_path / "gain.mrc", flip=FLIPS[flip], rotate_deg=TURNS_DEG[quarters])
    assert_same(correct_with_elcano(tmp_path / "movie.mrc", theirs.motion, gain), theirs)
    np.testing.assert_allclose(read_gain(gain, read_movie_header(tmp_path / "movie.mrc")), fitting_yx, rtol=1e-6)


@pytest.fixture(scope="module")
def eer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An EER movie of three frames of two hardware frames each, and its gain the two ways it comes."""
    folder = tmp_path_factory.mktemp("eer")
    gain_yx = draw_gain(EER_SIZE_PX)
    sensitivity_yx = np.reciprocal(gain_yx)
    write_eer(folder / "movie.eer", draw_rates(EER_SIZE_PX, EER.fractions), sensitivity_yx, EER_GROUPING, 0.04)
    write_mrc_with_mrcfile(folder / "gain.mrc", sensitivity_yx)
    write_tiff_with_tifffile(folder / "gain.gain", gain_yx)
    return folder


@pytest.mark.parametrize("suffix", ["mrc", "gain"])
def test_eer_movie_with_gain(eer_folder: Path, suffix: str) -> None:
    """RELION 3.1 reads sensors of 4096² px only. An MRC gain divides; a `.gain`, a TIFF by nature, multiplies."""
    options = ("--gainref", f"gain.{suffix}", "--eer_grouping", str(EER_GROUPING), "--eer_upsampling", "1")
    theirs = correct_with_relion(eer_folder, "movie.eer", *options, into=suffix)
    np.testing.assert_allclose(theirs.motion.global_t2, drift_t2(EER.fractions), atol=0.5)
    ours_yx = correct_with_elcano(
        eer_folder / "movie.eer", theirs.motion, GainReference(eer_folder / f"gain.{suffix}"), EER
    )
    assert_same(ours_yx, theirs)
    header = MotionStarHeader(
        "movie.eer", EER.fractions, 1.0, 300.0, 1.0, "gain.mrc", 0.0, EerRendering(EER_GROUPING, 1)
    )
    our_general, general = (
        find_block(blocks, "general") for blocks in (motion_blocks(theirs.motion, header), read_star(theirs.star))
    )
    assert our_general is not None
    assert general is not None
    assert list(our_general.columns) == list(general.columns)
    for label in ("rlnImageSizeX", "rlnImageSizeY", "rlnImageSizeZ", "rlnEERUpsampling", "rlnEERGrouping"):
        assert int(str(our_general.value(label))) == int(str(general.value(label))), label


def test_local_motion_means_the_same(tmp_path: Path) -> None:
    """RELION's 36 coefficients, read by us: our sum along them is RELION's own, and we write the same coefficients."""
    write_mrc_with_mrcfile(tmp_path / "movie.mrc", draw_counts(draw_rates(SIZE_PX, FRAMES, bend_px=5.0)))
    theirs = correct_with_relion(tmp_path, "movie.mrc", "--patch_x", "3", "--patch_y", "3")
    field = theirs.motion
    assert field.local_tyx2 is not None
    assert float(np.abs(field.local_tyx2).max()) > 1.5
    ours_yx = correct_with_elcano(tmp_path / "movie.mrc", field)
    assert_same(ours_yx, theirs)
    turned = field.local_tyx2[:, ::-1, ::-1, ::-1].copy()
    for wrong in (None, -field.local_tyx2, field.local_tyx2.transpose(0, 2, 1, 3).copy(), turned):
        other_yx = correct_with_elcano(tmp_path / "movie.mrc", replace(field, local_tyx2=wrong))
        assert correlate(other_yx, theirs.sum_yx) < correlate(ours_yx, theirs.sum_yx) - 0.003
    header = MotionStarHeader("movie.mrc", FRAMES, 1.0, 300.0, 1.0, None)
    ours, relions = motion_blocks(field, header), read_star(theirs.star)
    for name, columns in (
        ("global_shift", ("rlnMicrographFrameNumber", "rlnMicrographShiftX", "rlnMicrographShiftY")),
        ("local_motion_model", ("rlnMotionModelCoeffsIdx", "rlnMotionModelCoeff")),
    ):
        our_block, block = find_block(ours, name), find_block(relions, name)
        assert our_block is not None
        assert block is not None
        assert tuple(our_block.columns) == tuple(block.columns) == columns
        for column in columns:
            np.testing.assert_allclose(our_block.floats(column), block.floats(column), atol=1e-5, err_msg=column)


@pytest.mark.parametrize("local", [False, True])
def test_binning_means_the_same(tmp_path: Path, local: bool) -> None:
    """RELION's sum with --bin_factor 2 is ours: grid, level and what the STAR file says of it."""
    write_mrc_with_mrcfile(tmp_path / "movie.mrc", draw_counts(draw_rates(SIZE_PX, FRAMES, bend_px=5.0)))
    patches = ("--patch_x", "3", "--patch_y", "3") if local else ()
    theirs = correct_with_relion(tmp_path, "movie.mrc", "--bin_factor", "2", *patches)
    assert (theirs.motion.local_tyx2 is not None) == local
    assert theirs.sum_yx.shape == (SIZE_PX // 2, SIZE_PX // 2)
    ours_yx = correct_with_elcano(tmp_path / "movie.mrc", theirs.motion, binning=2)
    assert_same(ours_yx, theirs)
    assert ours_yx.mean() == pytest.approx(theirs.sum_yx.mean(), rel=1e-3)
    header = MotionStarHeader("movie.mrc", FRAMES, 1.0, 300.0, 1.0, None, binning=2)
    ours, relions = (
        find_block(blocks, "general") for blocks in (motion_blocks(theirs.motion, header), read_star(theirs.star))
    )
    assert ours is not None
    assert relions is not None
    for label in ("rlnMicrographBinning", "rlnMicrographOriginalPixelSize", "rlnImageSizeX", "rlnImageSizeY"):
        assert float(str(ours.value(label))) == float(str(relions.value(label))), label
