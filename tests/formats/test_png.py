from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from daemon.formats.png import write_png


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_round_trip_and_same_bytes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    write_png(tmp_path / "a.png", picture)
    write_png(tmp_path / ".tmp-without-suffix", picture)
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
        assert not image.info
        np.testing.assert_array_equal(np.asarray(image), picture)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / ".tmp-without-suffix").read_bytes()


def test_views_are_written_as_they_look(tmp_path: Path) -> None:
    picture = np.arange(24, dtype=np.uint8).reshape(4, 6)[::-1, ::2]
    write_png(tmp_path / "a.png", picture)
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image), picture)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((0, 4), np.uint8),
    ],
)
def test_other_arrays_are_no_pictures(tmp_path: Path, picture: npt.NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="a picture is uint8"):
        write_png(tmp_path / "a.png", picture)
    assert not (tmp_path / "a.png").exists()
