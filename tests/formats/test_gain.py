from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from daemon.domain.acquisition import EerFractions, GainReference
from daemon.domain.movie import MovieFormat, MovieHeader
from daemon.errors import FileUnreadable, FormatError, FormatUnsupported, GainUnsuitable
from daemon.formats.gain import read_gain
from daemon.formats.movie import read_movie, read_movie_header
from daemon.formats.mrc_writer import write_mrc
from tests.formats.dm_samples import write_dm
from tests.formats.samples import write_tiff_movie

GAIN = np.array([[1.0, 2.0, 4.0], [0.5, 0.0, 0.25]], np.float32)
"""Two rows, three columns, each value once; the 0 is a defect."""
INVERSE = np.array([[1.0, 0.5, 0.25], [2.0, 0.0, 4.0]], np.float32)


def movie(movie_format: MovieFormat = MovieFormat.TIFF, shape_yx: tuple[int, int] = (2, 3)) -> MovieHeader:
    return MovieHeader(
        path=Path("some/movie.x"),
        format=movie_format,
        width_px=shape_yx[1],
        height_px=shape_yx[0],
        frame_count=10,
        dtype="uint8",
        pixel_size_ang=None,
        data_bytes=60,
    )


def write_gain(folder: Path, suffix: str, stored_yx: npt.NDArray[Any] = GAIN) -> Path:
    path = folder / f"gain{suffix}"
    if suffix.startswith(".mrc"):
        write_mrc(path, stored_yx, pixel_size_ang=1)
    else:
        tifffile.imwrite(path, stored_yx, photometric="minisblack")
    return path


@pytest.mark.parametrize("movie_format", list(MovieFormat))
@pytest.mark.parametrize(
    ("suffix", "is_flipped"), [(".mrc", False), (".tif", True), (".tiff", True), (".gain", False), (".TIF", True)]
)
def test_rows_and_operation_by_format(tmp_path: Path, movie_format: MovieFormat, suffix: str, is_flipped: bool) -> None:
    gain = read_gain(GainReference(write_gain(tmp_path, suffix)), movie(movie_format))
    divides = movie_format is MovieFormat.EER and suffix == ".mrc"
    expected = INVERSE if divides else GAIN
    assert gain.dtype == np.float32
    np.testing.assert_array_equal(gain, expected[::-1] if is_flipped else expected)


@pytest.mark.parametrize("movie_format", list(MovieFormat))
@pytest.mark.parametrize("suffix", [".mrc", ".gain"])
def test_explicit_operation_wins(tmp_path: Path, movie_format: MovieFormat, suffix: str) -> None:
    path = write_gain(tmp_path, suffix)
    np.testing.assert_array_equal(read_gain(GainReference(path, operation="multiply"), movie(movie_format)), GAIN)
    np.testing.assert_array_equal(read_gain(GainReference(path, operation="divide"), movie(movie_format)), INVERSE)


@pytest.mark.parametrize(
    ("rotate_deg", "flip", "expected"),
    [
        (0, "x", [[4, 2, 1], [0.25, 0, 0.5]]),
        (0, "y", [[0.5, 0, 0.25], [1, 2, 4]]),
        (90, "none", [[0.5, 1], [0, 2], [0.25, 4]]),  # clockwise: the first row becomes the last column
        (180, "none", [[0.25, 0, 0.5], [4, 2, 1]]),
        (270, "none", [[4, 0.25], [2, 0], [1, 0.5]]),
        (90, "x", [[1, 0.5], [2, 0], [4, 0.25]]),  # rotated first, then mirrored
        (90, "y", [[0.25, 4], [0, 2], [0.5, 1]]),
    ],
)
def test_orientation(tmp_path: Path, rotate_deg: Any, flip: Any, expected: list[list[float]]) -> None:
    reference = GainReference(write_gain(tmp_path, ".mrc"), flip=flip, rotate_deg=rotate_deg)
    wanted = np.array(expected, np.float32)
    np.testing.assert_array_equal(read_gain(reference, movie(shape_yx=wanted.shape)), wanted)


def test_flip_of_the_format_comes_before_the_rotation(tmp_path: Path) -> None:
    reference = GainReference(write_gain(tmp_path, ".tif"), rotate_deg=90)
    np.testing.assert_array_equal(read_gain(reference, movie(shape_yx=(3, 2))), np.rot90(GAIN[::-1], -1))


def test_gain_and_movie_of_one_detector_fit_as_tiff(tmp_path: Path) -> None:
    sensitivity = np.linspace(0.5, 2, 15 * 20).reshape(15, 20)
    counts = np.round(100 * sensitivity).astype(np.uint16)
    path = write_tiff_movie(tmp_path / "a.tif", counts[np.newaxis])
    gain = tmp_path / "gain.tif"
    tifffile.imwrite(gain, (1 / sensitivity)[::-1].astype(np.float32), photometric="minisblack")
    header = read_movie_header(path)
    corrected = read_movie(header, eer=EerFractions())[0] * read_gain(GainReference(gain), header)
    np.testing.assert_allclose(corrected, 100, atol=1.1)


@pytest.mark.parametrize("upsampling", [2, 4])
def test_gain_is_repeated_for_up_sampled_eer(tmp_path: Path, upsampling: Any) -> None:
    path = write_gain(tmp_path, ".gain")
    gain = read_gain(GainReference(path), movie(MovieFormat.EER), eer=EerFractions(upsampling=upsampling))
    np.testing.assert_array_equal(gain, np.kron(GAIN, np.ones((upsampling, upsampling), np.float32)))
    plain = read_gain(GainReference(path), movie(MovieFormat.TIFF), eer=EerFractions(upsampling=upsampling))
    assert plain.shape == (2, 3)


def test_negative_pixels_are_defects(tmp_path: Path) -> None:
    stored = GAIN.copy()
    stored[0, 0] = -0.5
    for operation in ("multiply", "divide"):
        gain = read_gain(GainReference(write_gain(tmp_path, ".mrc", stored), operation=operation), movie())
        assert gain[0, 0] == gain[1, 1] == 0
        assert np.isfinite(gain).all()


@pytest.mark.parametrize("dtype", ["float64", "float32", "uint16"])
def test_sample_types(tmp_path: Path, dtype: str) -> None:
    stored = (GAIN * 100).astype(dtype)
    gain = read_gain(GainReference(write_gain(tmp_path, ".tif", stored)), movie())
    np.testing.assert_allclose(gain, GAIN[::-1] * 100)


def test_wrong_shape_names_both(tmp_path: Path) -> None:
    path = write_gain(tmp_path, ".mrc")
    with pytest.raises(GainUnsuitable, match=r"3 × 2 px .* movie\.x are 5 × 4 px\.") as caught:
        read_gain(GainReference(path), movie(shape_yx=(4, 5)))
    assert "rotate_deg" not in str(caught.value)
    with pytest.raises(GainUnsuitable, match=r"3 × 2 px .* 2 × 3 px; it would fit turned by 90°"):
        read_gain(GainReference(path), movie(shape_yx=(3, 2)))
    with pytest.raises(GainUnsuitable, match=r"2 × 3 px \(width × height\) after its rotation"):
        read_gain(GainReference(path, rotate_deg=90), movie())


@pytest.mark.parametrize(
    ("value", "what"), [(np.nan, "1 of its 6 pixels"), (np.inf, "1 of its 6 pixels"), (1e300, "1 of its")]
)
def test_values_that_are_not_finite(tmp_path: Path, value: float, what: str) -> None:
    stored = GAIN.astype(np.float64)
    stored[1, 2] = value
    with pytest.raises(GainUnsuitable, match=what):
        read_gain(GainReference(write_gain(tmp_path, ".tif", stored)), movie())


@pytest.mark.parametrize("stored", [np.zeros_like(GAIN), -GAIN])
def test_mean_that_is_not_positive(tmp_path: Path, stored: npt.NDArray[np.float32]) -> None:
    with pytest.raises(GainUnsuitable, match="its mean is"):
        read_gain(GainReference(write_gain(tmp_path, ".mrc", stored)), movie())


def test_stack_is_no_gain(tmp_path: Path) -> None:
    with pytest.raises(GainUnsuitable, match="holds 2 images"):
        read_gain(GainReference(write_gain(tmp_path, ".mrc", np.stack([GAIN, GAIN]))), movie())


def test_other_formats_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FormatUnsupported, match=r"'\.png' is no format of a camera's image"):
        read_gain(GainReference(tmp_path / "a.png"), movie())


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("movie_format", list(MovieFormat))
def test_digital_micrograph_gains_are_flipped_as_tiff_and_multiply(
    tmp_path: Path, version: int, movie_format: MovieFormat
) -> None:
    path = write_dm(tmp_path / f"gain.dm{version}", GAIN[::-1], version)
    np.testing.assert_array_equal(read_gain(GainReference(path), movie(movie_format)), GAIN)


@pytest.mark.parametrize("suffix", [".mrc", ".tif", ".gain"])
def test_absent_empty_and_foreign_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"gain{suffix}"
    with pytest.raises(FileUnreadable):
        read_gain(GainReference(path), movie())
    for content in (b"", b"text" * 500, b"\0" * 3000):
        path.write_bytes(content)
        with pytest.raises(FormatError):
            read_gain(GainReference(path), movie())
