"""A movie that never fits in memory is read from its file frame by frame: the same bytes, told in one sentence."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from daemon.domain.acquisition import EerFractions
from daemon.domain.movie import MovieFormat, MovieHeader
from daemon.domain.states import MovieState
from daemon.engine.device import TorchDevice
from daemon.engine.inputs import CameraCache, VisitInputs
from daemon.engine.movie_frames import FiledMovie, FrameMean
from daemon.engine.sizing import Memory, size_up
from daemon.errors import FormatError, MovieUnreadable, OutOfMemory, ReadStuck
from daemon.formats import movie as movies
from daemon.formats.movie import read_movie, read_movie_header
from daemon.formats.mrc import read_mrc
from daemon.formats.mrc_writer import write_mrc
from daemon.numerics.motion_canvas import binned_shape
from daemon.pipeline.context import Array
from daemon.pipeline.graph import AnyStage
from daemon.pipeline.product import MOVIE
from daemon.pipeline.stage import Resources, StageParams
from daemon.stages.ctf_estimation import CtfEstimation, CtfParams
from daemon.stages.motion_correction import MotionCorrection, MotionParams
from daemon.stages.thumbnail import Thumbnail, ThumbnailParams
from tests.engine.fakes import FAKES, Add, FakeParams
from tests.engine.workshop import MovieMeter, Workshop, movie_pixels
from tests.formats.samples import write_eer_movie
from tests.stages.fakes import make_item

Build = Callable[..., Workshop]
GIB = 2**30


class AddByFrame(Add):
    """Takes the movie frame by frame where it must."""

    def needs(self, movie: MovieHeader, params: FakeParams) -> Resources:
        return replace(super().needs(movie, params), by_frame=Resources(1000))


@pytest.mark.anyio
async def test_a_movie_beyond_the_budget_is_read_by_frame_and_gives_the_same(build: Build, meter: MovieMeter) -> None:
    shop = build(stages=(AddByFrame, *FAKES[1:]), byte_budget_bytes=20_000)
    await shop.open_session()
    large, small = shop.write_movie("large", 3, (50, 20, 20)), shop.write_movie("small", 3, (5, 20, 20))
    await shop.prove(large, small)
    await shop.process()
    for path in (large, small):
        assert (await shop.movie(path)).state is MovieState.DONE
    said = [line for line in shop.witness.lines if "frame by frame" in line]
    assert len(said) == 1
    assert said[0].startswith("info: the movie is read from its file frame by frame")
    assert meter.reads == {"small.mrc": 1}, "only the one that fits is read whole"
    written_yx = read_mrc(shop.session_home / "sums" / "large_sum.mrc")
    np.testing.assert_array_equal(written_yx, movie_pixels(3, (50, 20, 20)).sum(axis=0, dtype=np.float32))


def test_super_resolution_fits_a_small_budget_and_any_number_of_frames_costs_the_same() -> None:
    """11520 × 8184 px, 40 frames: 3.5 GiB as they are."""
    stages, parameters = [MotionCorrection()], {"motion_correction": MotionParams()}
    sizes = {}
    for frames in (80, 400):
        item = make_item(shape_tyx=(frames, 8184, 11520))
        item = replace(item, acquisition=replace(item.acquisition, pixel_size_ang=0.42))
        whole = size_up(stages, parameters, item, Memory(64 * GIB, None, 2))
        assert whole.by_frame is None
        assert whole.host_bytes > item.movie.data_bytes
        by_frame = size_up(stages, parameters, item, Memory(8 * GIB, None, 2))
        assert by_frame.by_frame is not None
        assert "frame by frame" in by_frame.by_frame
        assert "8.0 GiB" in by_frame.by_frame
        sizes[frames] = by_frame.host_bytes
        on_gpu = size_up(stages, parameters, item, Memory(64 * GIB, 11 * GIB, 2))
        assert on_gpu.by_frame is not None
        assert "the GPU has 11.0 GiB" in on_gpu.by_frame
    assert sizes[80] == sizes[400] <= 8 * GIB
    with pytest.raises(OutOfMemory, match=r"on the GPU .*device = cpu"):
        size_up(stages, parameters, make_item(shape_tyx=(40, 8184, 11520)), Memory(64 * GIB, GIB, 2))


def test_the_finer_rendering_of_an_eer_movie_is_never_counted_whole() -> None:
    item = make_item(shape_tyx=(240, 4096, 4096))
    eer = replace(item.movie, path=Path("x.eer"), format=MovieFormat.EER)
    stages, parameters = [MotionCorrection()], {"motion_correction": MotionParams()}
    acquisition = replace(item.acquisition, pixel_size_ang=0.25, eer=EerFractions(fractions=40, upsampling=4))
    item = replace(item, movie=eer, acquisition=acquisition)
    size = size_up(stages, parameters, item, Memory(64 * GIB, None, 1))
    planes_bytes = 4 * 16384**2 * 16
    assert size.host_bytes < 40 * 4096**2 + planes_bytes + 20 * 16384**2 + 2 * GIB
    assert size.host_bytes < 40 * 16384**2 + planes_bytes, "nor with all its frames"


@pytest.mark.parametrize("binning", [1, 2, 4])
def test_stages_behind_the_sum_need_what_micrographs_of_larger_pixels_take(binning: Literal[1, 2, 4]) -> None:
    """8183 × 11519 px: what is left of a last pixel is not written, and not counted."""
    stages: list[AnyStage] = [CtfEstimation(), Thumbnail()]
    parameters: dict[str, StageParams] = {"ctf_estimation": CtfParams(), "thumbnail": ThumbnailParams()}
    item = make_item(shape_tyx=(80, 8183, 11519))
    item = replace(item, acquisition=replace(item.acquisition, pixel_size_ang=0.42, motion_binning=binning))
    written_yx = binned_shape(item.movie.shape_yx, binning)
    assert size_up(stages, parameters, item, Memory(64 * GIB, None, 2)).micrograph.shape_yx == written_yx
    written = replace(item.movie, height_px=written_yx[0], width_px=written_yx[1])
    needed = [stage.needs(written, parameters[stage.name]) for stage in stages]
    assert size_up(stages, parameters, item, Memory(64 * GIB, None, 2)).host_bytes == max(n.host_bytes for n in needed)
    size_up(stages, parameters, item, Memory(64 * GIB, max(n.device_bytes for n in needed), 2))
    with pytest.raises(OutOfMemory):
        size_up(stages, parameters, item, Memory(64 * GIB, max(n.device_bytes for n in needed) - 1, 2))


@pytest.fixture
def movie_path(tmp_path: Path) -> Path:
    path = tmp_path / "movie.mrc"
    write_mrc(path, movie_pixels(1, (7, 20, 24)), pixel_size_ang=1.0)
    return path


def inputs_of(path: Path, eer: EerFractions, home: Path, *, by_frame: bool) -> VisitInputs:
    item = replace(make_item(), movie=read_movie_header(path))
    item = replace(item, acquisition=replace(item.acquisition, eer=eer))
    return VisitInputs(item, home, CameraCache(), decode_threads=2, by_frame=by_frame)


def test_both_ways_give_the_same_frames_and_the_same_mean(movie_path: Path, tmp_path: Path) -> None:
    expected_tyx = movie_pixels(1, (7, 20, 24))
    for by_frame in (False, True):
        inputs = inputs_of(movie_path, EerFractions(), tmp_path, by_frame=by_frame)
        inputs.read_ahead()
        movie = inputs.movie()
        assert (movie.whole_tyx is None) == by_frame
        assert movie.shape_tyx == expected_tyx.shape
        assert movie.dtype == expected_tyx.dtype
        source = TorchDevice(torch.device("cpu")).put_movie(movie)
        assert tuple(source.shape) == expected_tyx.shape
        assert source.dtype == torch.int16
        for frame in range(7):
            np.testing.assert_array_equal(source[frame].numpy(), expected_tyx[frame])
        np.testing.assert_array_equal(inputs.mean_yx(), expected_tyx.mean(axis=0).astype(np.float32))
        assert inputs.upsampled_movie() is movie
        inputs.release_all_but((MOVIE,))
        assert inputs.movie() is movie
        inputs.release_all_but(())
        with pytest.raises(RuntimeError, match="released"):
            inputs.movie()


def test_an_eer_movie_is_kept_at_the_sensors_grid_and_rendered_finer_frame_by_frame(tmp_path: Path) -> None:
    events_tyx = (np.random.default_rng(2).random((12, 32, 32)) < 0.05).astype(np.uint8)
    path = write_eer_movie(tmp_path / "movie.eer", events_tyx)
    eer = EerFractions(fractions=4, upsampling=2)
    inputs = inputs_of(path, eer, tmp_path, by_frame=False)
    inputs.read_ahead()
    header = read_movie_header(path)
    kept, finer = inputs.movie(), inputs.upsampled_movie()
    np.testing.assert_array_equal(kept.whole_tyx, read_movie(header, eer=replace(eer, upsampling=1)))
    assert finer.whole_tyx is None
    expected_tyx = read_movie(header, eer=eer)
    assert finer.shape_tyx == expected_tyx.shape
    for frame in range(4):
        np.testing.assert_array_equal(finer.frame_yx(frame), expected_tyx[frame])
    inputs.release_all_but(())


def test_a_frame_that_does_not_come_is_told_by_the_path(movie_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = read_movie_header(movie_path)
    answered = threading.Event()

    class Hanging:
        shape_yx, dtype = header.shape_yx, header.dtype

        def read_frame(self, index: int, out_yx: object) -> None:
            answered.wait(60)

        def close(self) -> None:
            raise AssertionError("a file with a read in it is left alone")

    monkeypatch.setattr("daemon.engine.movie_frames.open_frames", lambda header, eer: Hanging())
    movie = FiledMovie(header, EerFractions(), limit_s=0.01)
    with pytest.raises(ReadStuck, match=r"movie\.mrc"):
        movie.frame_yx(0)
    movie.close()
    answered.set()


def test_what_is_wrong_with_the_file_is_said_as_ever(movie_path: Path) -> None:
    header = read_movie_header(movie_path)
    movie_path.write_bytes(movie_path.read_bytes()[:-100])
    with pytest.raises(FormatError):
        FiledMovie(header, EerFractions()).frame_yx(6)
    movie_path.unlink()
    with pytest.raises(MovieUnreadable, match=r"movie\.mrc"):
        FiledMovie(header, EerFractions()).frame_yx(0)


def test_there_is_no_mean_of_no_frames() -> None:
    with pytest.raises(RuntimeError, match="no frames"):
        FrameMean().mean_yx()


def test_the_frames_are_told_in_order(movie_path: Path) -> None:
    header = read_movie_header(movie_path)
    told: list[Array] = []
    for threads in (1, 3):
        movies.read_movie(header, eer=EerFractions(), threads=threads, on_frame=told.append)
    expected_tyx = movie_pixels(1, (7, 20, 24))
    np.testing.assert_array_equal(np.stack(told), np.concatenate([expected_tyx, expected_tyx]))
