"""fft: the picture and its size."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from daemon.errors import AcquisitionUnknown
from daemon.formats.drawing import add_label
from daemon.pipeline.product import FFT_PICTURE, SPECTRUM
from daemon.stages.fft import Fft, FftMetrics, FftParams
from tests.stages.fakes import ACQUISITION, FakeContext, FakeInputs, make_item, read_picture

STAGE = Fft()


def spectrum() -> np.ndarray:
    return np.random.default_rng(1).gamma(30, 1, (512, 512)).astype(np.float32)


def test_the_picture_has_the_height_asked_for(tmp_path: Path) -> None:
    context = FakeContext(tmp_path, inputs=FakeInputs({SPECTRUM: spectrum()}))
    metrics = STAGE.run(make_item(), FftParams(), context).metrics
    assert isinstance(metrics, FftMetrics)
    assert metrics.edge_resolution_ang == pytest.approx(2.8, abs=0.1)
    picture = read_picture(context.written[FFT_PICTURE])
    assert picture.shape == (1024, 1024)
    assert picture.std() > 20
    STAGE.run(make_item(), FftParams(height_px=256), context)
    assert read_picture(context.written[FFT_PICTURE]).shape == (256, 256)


def test_the_picture_says_in_a_corner_how_far_it_reaches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def add(picture_yx: npt.NDArray[np.uint8], words: str) -> npt.NDArray[np.uint8]:
        said.append(words)
        return add_label(picture_yx, words)

    monkeypatch.setattr("daemon.stages.fft.add_label", add)
    context = FakeContext(tmp_path, inputs=FakeInputs({SPECTRUM: spectrum()}))
    metrics = STAGE.run(make_item(), FftParams(), context).metrics
    assert isinstance(metrics, FftMetrics)
    assert said == [f"edge {metrics.edge_resolution_ang:.3g} Å"]
    corner_yx = read_picture(context.written[FFT_PICTURE])[-28:, :40]
    assert (corner_yx > 240).mean() > 0.5, "words on white"
    assert corner_yx.min() < 40


def test_of_a_binned_micrograph_the_picture_ends_at_its_own_pixel(tmp_path: Path) -> None:
    context = FakeContext(tmp_path, inputs=FakeInputs({SPECTRUM: spectrum()}))
    item = make_item(acquisition=replace(ACQUISITION, motion_binning=2))
    metrics = STAGE.run(item, FftParams(), context).metrics
    assert isinstance(metrics, FftMetrics)
    assert metrics.edge_resolution_ang == pytest.approx(4.0, abs=0.1)


def test_same_spectrum_gives_the_same_bytes(tmp_path: Path) -> None:
    pictures = []
    for folder in ("one", "other"):
        context = FakeContext(tmp_path / folder, inputs=FakeInputs({SPECTRUM: spectrum()}))
        STAGE.run(make_item(), FftParams(), context)
        pictures.append(context.written[FFT_PICTURE].read_bytes())
    assert pictures[0] == pictures[1]


def test_the_spectra_of_a_movies_parts_are_not_drawn(tmp_path: Path) -> None:
    pictures = []
    for folder, spectra in (("alone", spectrum()), ("parts", np.stack([spectrum(), 9 * spectrum().T, spectrum().T]))):
        context = FakeContext(tmp_path / folder, inputs=FakeInputs({SPECTRUM: spectra}))
        STAGE.run(make_item(), FftParams(), context)
        pictures.append(context.written[FFT_PICTURE].read_bytes())
    assert pictures[0] == pictures[1]


def test_spectra_without_power_are_drawn_grey(tmp_path: Path) -> None:
    context = FakeContext(tmp_path, inputs=FakeInputs({SPECTRUM: np.zeros((512, 512), dtype=np.float32)}))
    STAGE.run(make_item(), FftParams(), context)
    assert set(read_picture(context.written[FFT_PICTURE])[:-40].ravel().tolist()) == {128}


def test_pixel_size_is_never_guessed(tmp_path: Path) -> None:
    context = FakeContext(tmp_path, inputs=FakeInputs({SPECTRUM: spectrum()}))
    with pytest.raises(AcquisitionUnknown, match="pixel_size_ang"):
        STAGE.run(make_item(acquisition=replace(ACQUISITION, pixel_size_ang=None)), FftParams(), context)


def test_needs_grow_with_the_picture() -> None:
    movie = make_item().movie
    small, large = (STAGE.needs(movie, FftParams(height_px=height)).host_bytes for height in (256, 4096))
    assert large == 256 * small
