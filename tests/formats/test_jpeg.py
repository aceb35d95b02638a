from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from daemon.formats.jpeg import write_jpeg


@pytest.mark.parametrize("shape", [(40, 60), (40, 60, 3)])
def test_picture_comes_back_nearly_and_same_bytes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    y, x = np.indices(shape[:2])
    picture = (2 * x + 3 * y).astype(np.uint8)
    if len(shape) == 3:
        picture = np.stack([picture, picture // 2, 255 - picture], axis=-1)
    write_jpeg(tmp_path / "a.jpg", picture)
    write_jpeg(tmp_path / ".tmp-without-suffix", picture)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.format == "JPEG"
        difference = np.abs(np.asarray(image).astype(int) - picture)
    assert difference.mean() < 2
    assert (tmp_path / "a.jpg").read_bytes() == (tmp_path / ".tmp-without-suffix").read_bytes()


def test_quality_decides_the_size(tmp_path: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (64, 64), np.uint8)
    write_jpeg(tmp_path / "good.jpg", picture, quality=95)
    write_jpeg(tmp_path / "small.jpg", picture, quality=30)
    assert (tmp_path / "small.jpg").stat().st_size < (tmp_path / "good.jpg").stat().st_size / 2


@pytest.mark.parametrize("quality", [0, 96])
def test_unreasonable_quality_is_refused(tmp_path: Path, quality: int) -> None:
    with pytest.raises(ValueError, match="quality must lie in 1 to 95"):
        write_jpeg(tmp_path / "a.jpg", np.zeros((4, 4), np.uint8), quality=quality)


def test_other_arrays_are_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a picture is uint8"):
        write_jpeg(tmp_path / "a.jpg", np.zeros((4, 4), np.uint16))
