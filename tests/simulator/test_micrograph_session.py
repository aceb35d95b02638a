"""Movies made from real micrographs, checked by finding the drift again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from daemon.domain.acquisition import EerFractions, GainReference
from daemon.errors import SimulationInvalid
from daemon.formats.gain import read_gain
from daemon.formats.movie import read_movie, read_movie_header
from daemon.formats.mrc import read_mrc
from daemon.simulator.session import SimulatedSession
from daemon.simulator.truth import read_truth
from tests.simulator.micrograph_session import session_from_micrograph

REAL_MICROGRAPH = Path(__file__).parents[2] / ".." / "shared" / "data" / "micrographs" / "fei-extended.mrc"


def _grainy_micrograph(shape: tuple[int, int], seed: int) -> npt.NDArray[Any]:
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft2(rng.normal(size=shape))
    fy, fx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]
    grain = np.fft.irfft2(spectrum * np.exp(-((np.hypot(fy, fx) / 0.15) ** 2)), s=shape)
    counts: npt.NDArray[Any] = rng.poisson(np.clip(40 * (1 + 0.3 * grain / grain.std()), 0, None))
    return counts


def _find_shift(reference_yx: npt.NDArray[Any], moved_yx: npt.NDArray[Any]) -> tuple[float, float]:
    """Displacement (x, y) px of `moved` by cross-correlation with a parabolic peak."""
    height, width = reference_yx.shape
    window = np.hanning(height)[:, None] * np.hanning(width)[None, :]
    one, two = (np.fft.rfft2((image - image.mean()) * window) for image in (reference_yx, moved_yx))
    map_yx = np.fft.irfft2(two * one.conj(), s=reference_yx.shape)
    y, x = np.unravel_index(int(map_yx.argmax()), map_yx.shape)

    def refine(before: float, at: float, after: float) -> float:
        return 0.5 * (before - after) / (before - 2 * at + after)

    dy = refine(map_yx[y - 1, x], map_yx[y, x], map_yx[(y + 1) % height, x])
    dx = refine(map_yx[y, x - 1], map_yx[y, x], map_yx[y, (x + 1) % width])
    return (
        (int(x) + dx + width / 2) % width - width / 2,
        (int(y) + dy + height / 2) % height - height / 2,
    )


def _check_drift(written: SimulatedSession, frames: int, tolerance_px: float) -> None:
    _session, movies = read_truth(written.directory / "truth.json")
    for path in written.movies:
        header = read_movie_header(path)
        gain_yx = read_gain(GainReference(written.directory / "gains" / "gain.mrc", operation="multiply"), header)
        movie_tyx = read_movie(header, eer=EerFractions(frames, 1)) * gain_yx
        # Hot pixels would pin the correlation to zero.
        movie_tyx = np.minimum(movie_tyx, np.percentile(movie_tyx, 99.9))
        true = movies[path.stem]
        assert true.defocus_u_ang is None
        expected_x, expected_y = true.motion_tyx2[-1].mean(axis=(0, 1))
        dx, dy = _find_shift(movie_tyx[0], movie_tyx[-1])
        assert np.hypot(dx - expected_x, dy - expected_y) < tolerance_px


@pytest.mark.parametrize("movie_format", ["mrc", "tiff", "eer"])
def test_the_known_drift_is_in_the_movies(tmp_path: Path, movie_format: Any) -> None:
    micrographs = [_grainy_micrograph((340, 380), seed) for seed in (1, 2)]
    written = session_from_micrograph(
        tmp_path,
        "real",
        micrographs,
        pixel_size_ang=1.5,
        frames=4,
        electrons_per_px=4.0,
        drift_px=7.0,
        movie_format=movie_format,
    )
    assert len(written.movies) == 2
    _check_drift(written, 4, tolerance_px=0.35)
    acquisition = json.loads((written.directory / "session.json").read_text())["acquisition"]
    assert acquisition["dose_per_frame_e_per_ang2"] == pytest.approx(4.0 / 1.5**2)
    assert "defocus_range_um" not in acquisition


def test_a_real_micrograph_becomes_a_movie(tmp_path: Path) -> None:
    if not REAL_MICROGRAPH.exists():
        pytest.skip(f"the real micrograph {REAL_MICROGRAPH} is not on this machine")
    image_yx = read_mrc(REAL_MICROGRAPH)
    image_yx = image_yx.reshape(image_yx.shape[-2:])[1000:1700, 1000:1800]
    written = session_from_micrograph(
        tmp_path, "real", [image_yx], pixel_size_ang=0.85378, frames=3, electrons_per_px=5.0, drift_px=9.0
    )
    _check_drift(written, 3, tolerance_px=0.5)


def test_unusable_micrographs_are_refused(tmp_path: Path) -> None:
    good = _grainy_micrograph((200, 200), 1)
    with pytest.raises(SimulationInvalid, match="2 different shapes"):
        session_from_micrograph(tmp_path, "a", [good, good[:-2]], pixel_size_ang=1.0)
    with pytest.raises(SimulationInvalid, match="0 different shapes"):
        session_from_micrograph(tmp_path, "a", [], pixel_size_ang=1.0)
    with pytest.raises(SimulationInvalid, match="too small"):
        session_from_micrograph(tmp_path, "a", [good[:100]], pixel_size_ang=1.0)
    with pytest.raises(SimulationInvalid, match="positive mean"):
        session_from_micrograph(tmp_path, "b", [good - good.max()], pixel_size_ang=1.0, frames=2)
