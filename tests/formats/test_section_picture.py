"""Sections of MRC files as small pictures."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from daemon.errors import CommandRefused, FileUnreadable, MovieIncomplete
from daemon.formats import section_picture
from daemon.formats.mrc_writer import write_mrc
from daemon.formats.section_picture import draw_section


def pixels_of(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(png)))


@pytest.mark.parametrize("band_bytes", [1, 1000, 10**9])
def test_bands_give_the_same_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, band_bytes: int) -> None:
    path = tmp_path / "ramp.mrc"
    ramp_yx = np.add.outer(np.arange(100, dtype=np.float32), np.arange(70, dtype=np.float32))
    write_mrc(path, ramp_yx, pixel_size_ang=1.0)
    monkeypatch.setattr(section_picture, "_BAND_BYTES", band_bytes)
    picture = draw_section(path, None, 25)
    shown = pixels_of(picture.png).astype(float)
    assert shown.shape == (25, 17)
    blocks = ramp_yx[:100, :68].reshape(25, 4, 17, 4).mean(axis=(1, 3))
    expected = (blocks - blocks.min()) / np.ptp(blocks) * 255
    assert np.abs(shown - expected).max() <= 1


def test_hot_pixels_and_what_is_no_number_leave_contrast(tmp_path: Path) -> None:
    path = tmp_path / "x.mrc"
    noise_yx = np.random.default_rng(1).normal(10, 1, (64, 64)).astype(np.float32)
    noise_yx[3, 3], noise_yx[5, 5] = 1e9, np.nan
    write_mrc(path, noise_yx, pixel_size_ang=1.0)
    shown = pixels_of(draw_section(path, 0, 64).png)
    assert shown.std() > 20
    assert (shown[3, 3], shown[5, 5]) == (255, 0)


def test_a_flat_section_is_grey_and_other_types_are_read(tmp_path: Path) -> None:
    write_mrc(tmp_path / "flat.mrc", np.full((8, 8), 3, dtype=np.int16), pixel_size_ang=1.0)
    assert set(pixels_of(draw_section(tmp_path / "flat.mrc", None, 64).png).ravel()) == {128}


def test_what_cannot_be_drawn_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileUnreadable):
        draw_section(tmp_path / "absent.mrc", None, 64)
    path = tmp_path / "x.mrc"
    write_mrc(path, np.ones((8, 8), dtype=np.float32), pixel_size_ang=1.0)
    monkeypatch.setattr(section_picture, "_LARGEST_SECTION_BYTES", 100)
    with pytest.raises(CommandRefused, match="too large"):
        draw_section(path, None, 64)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(MovieIncomplete):
        draw_section(path, None, 64)
