"""Where the data of a full-size MRC end."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from daemon.errors import FileUnreadable
from daemon.formats.mrc_writer import write_mrc
from daemon.formats.structure import MovieStructure, inspect_structure
from daemon.watchers.tail import ZeroTail, measure_zero_tail

FRAMES, EDGE_PX = 8, 256


def counts(dtype: str = "int8", *, dose_e_per_px: float = 1.0) -> npt.NDArray[np.generic]:
    generator = np.random.default_rng(5)
    return generator.poisson(dose_e_per_px, (FRAMES, EDGE_PX, EDGE_PX)).astype(dtype)


def measure(path: Path, movie_tyx: npt.NDArray[np.generic]) -> ZeroTail | None:
    write_mrc(path, movie_tyx, pixel_size_ang=1.0)
    return measure_zero_tail(path, inspect_structure(path))


@pytest.mark.parametrize("dtype", ["int8", "int16", "float32"])
@pytest.mark.parametrize("filled", [0, 1, 3, 7, 8])
def test_blank_frames_are_counted(tmp_path: Path, dtype: str, filled: int) -> None:
    movie_tyx = counts(dtype)
    movie_tyx[filled:] = 0
    tail = measure(tmp_path / "a.mrc", movie_tyx)
    assert tail is not None
    assert tail.filled_frames == filled
    assert tail.blank_frames == FRAMES - filled
    assert tail.last_filled == (1.0 if filled else 0.0)


@pytest.mark.parametrize("rows", [0, 64, 128, 250])
def test_the_place_where_the_data_stop_is_found(tmp_path: Path, rows: int) -> None:
    movie_tyx = counts()
    movie_tyx[5, rows:] = 0
    movie_tyx[6:] = 0
    tail = measure(tmp_path / "a.mrc", movie_tyx)
    assert tail is not None
    filled_frames = 6 if rows else 5
    assert tail.filled_frames == filled_frames
    if rows:
        assert tail.last_filled == pytest.approx(rows / EDGE_PX, abs=1 / 32)


def test_very_sparse_counting_is_not_taken_for_blank(tmp_path: Path) -> None:
    tail = measure(tmp_path / "a.mrc", counts(dose_e_per_px=0.01))
    assert tail == ZeroTail(FRAMES, FRAMES, 1.0)


def test_only_a_few_blocks_of_a_huge_movie_are_read(tmp_path: Path) -> None:
    """64 GiB of reserved space: reading it would take minutes."""
    path = tmp_path / "a.mrc"
    write_mrc(path, np.ones((1, 4, 4), np.float32), pixel_size_ang=1.0)
    with path.open("r+b") as file:
        file.truncate(1024 + 1024 * 4096 * 4096 * 4)
    structure = MovieStructure(True, 1024, 4096, 4096, "", tail_is_zero=True)
    tail = measure_zero_tail(path, structure)
    assert tail == ZeroTail(1024, 1, 1 / 64)


def test_a_size_that_makes_no_sense_gives_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    path.write_bytes(bytes(2000))
    assert measure_zero_tail(path, MovieStructure(True, 40, 4096, 4096, "", tail_is_zero=True)) is None
    assert measure_zero_tail(path, MovieStructure(True, None, None, None, "", tail_is_zero=True)) is None


def test_a_file_that_is_gone_is_said_to_be_unreadable(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadable):
        measure_zero_tail(tmp_path / "a.mrc", MovieStructure(True, 2, 8, 8, "", tail_is_zero=True))
