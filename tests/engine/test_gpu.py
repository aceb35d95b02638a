"""The GPU path on a fake card: what goes up and down when, what waits for what, and who gives way to whom."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from daemon.domain.acquisition import EerFractions
from daemon.engine.device import FramesOnDemand, TorchDevice
from daemon.engine.gpu import Gpu
from daemon.engine.inputs import CameraCache, VisitInputs
from daemon.engine.landing import Landing, UploadedMovie
from daemon.engine.movie_frames import FiledMovie, WholeMovie
from daemon.formats.movie import read_movie, read_movie_header
from daemon.formats.mrc_writer import write_mrc
from daemon.pipeline.product import ALIGNED
from daemon.pipeline.stage import Resources
from tests.engine.fake_cuda import UNSET, FakeCuda
from tests.engine.workshop import movie_pixels
from tests.formats.samples import write_eer_movie
from tests.stages.fakes import FakeLog, make_item

SHAPE_TYX = (7, 20, 24)
MIB = 1 << 20


def make_device(cuda: FakeCuda) -> tuple[TorchDevice, Gpu]:
    device = TorchDevice(torch.device("cpu"))
    device.gpu = Gpu(cuda)
    return device, device.gpu


def inputs_of(path: Path, home: Path, gpu: Gpu | None, eer: EerFractions | None = None) -> VisitInputs:
    item = replace(make_item(), movie=read_movie_header(path))
    item = replace(item, acquisition=replace(item.acquisition, eer=eer or EerFractions()))
    return VisitInputs(item, home, CameraCache(), decode_threads=2, find_gpu=lambda: gpu)


@pytest.fixture
def movie_path(tmp_path: Path) -> Path:
    path = tmp_path / "movie.mrc"
    write_mrc(path, movie_pixels(1, SHAPE_TYX), pixel_size_ang=1.0)
    return path


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two frames a chunk."""
    monkeypatch.setattr("daemon.engine.landing.CHUNK_BYTES", 2 * 2 * 20 * 24)


@pytest.mark.usefixtures("small_chunks")
def test_a_movie_goes_up_in_chunks_while_it_is_decoded_and_each_frame_is_waited_for(
    movie_path: Path, tmp_path: Path
) -> None:
    cuda = FakeCuda()
    device, gpu = make_device(cuda)
    inputs = inputs_of(movie_path, tmp_path, gpu)
    inputs.read_ahead()
    upward = cuda.streams[0]
    assert cuda.copies == [(upward.name, 2 * 960)] * 3 + [(upward.name, 960)]
    assert len(upward.waiting) == 8, "no thread of the host has waited for any of it"
    movie = inputs.movie()
    assert isinstance(movie, WholeMovie)
    assert movie.movie_tyx.ctypes.data in cuda.pinned
    source = device.put_movie(movie)
    assert tuple(source.shape) == SHAPE_TYX
    expected_tyx = movie_pixels(1, SHAPE_TYX)
    np.testing.assert_array_equal(source[1].numpy(), expected_tyx[1])
    assert len(upward.waiting) == 6, "the rest is still on its way"
    np.testing.assert_array_equal(source[6].numpy(), expected_tyx[6])
    np.testing.assert_array_equal(source[2].numpy(), expected_tyx[2])
    assert device.put_movie(inputs.upsampled_movie()) is source, "it is brought up once"
    assert len(cuda.copies) == 4
    assert (source[0].data_ptr(), cuda.compute) in cuda.kept, "its memory is not used again before that is computed"
    np.testing.assert_array_equal(inputs.mean_yx(), expected_tyx.mean(axis=0).astype(np.float32))
    assert gpu.room.movies_bytes == expected_tyx.nbytes
    inputs.release_all_but(())
    assert gpu.room.movies_bytes == 0


def test_what_is_not_waited_for_would_be_seen(movie_path: Path, tmp_path: Path) -> None:
    """The fake card is lazy indeed: or the test above would prove nothing."""
    cuda = FakeCuda()
    _, gpu = make_device(cuda)
    inputs = inputs_of(movie_path, tmp_path, gpu)
    inputs.read_ahead()
    landing = inputs.landing
    assert isinstance(landing, Landing)
    source = landing.source(SHAPE_TYX[1:])
    assert source is not None
    assert (source.movie_tyx.view(torch.uint8) == UNSET).all()  # type: ignore[attr-defined]


def test_a_frame_that_nobody_announced_is_an_error() -> None:
    movie = UploadedMovie(torch.zeros(3, 4, 4), FakeCuda())
    with pytest.raises(IndexError, match=r"frame 2 .* before its way"):
        movie[2]


def test_host_memory_is_not_used_again_while_the_card_reads_it(movie_path: Path, tmp_path: Path) -> None:
    cuda = FakeCuda()
    _, gpu = make_device(cuda)
    inputs = inputs_of(movie_path, tmp_path, gpu)
    inputs.read_ahead()
    inputs.close()
    assert gpu.pool.statistics().kept_bytes == 0
    cuda.streams[0].run_all()
    assert gpu._transfers.under_way == 0
    assert gpu.pool.statistics().kept_bytes == 2 * MIB
    second = inputs_of(movie_path, tmp_path, gpu)
    second.read_ahead()
    assert gpu.pool.statistics().reused == 1
    second.close()


def test_a_movie_read_before_there_was_a_device_goes_up_when_it_is_wanted(movie_path: Path, tmp_path: Path) -> None:
    cuda = FakeCuda()
    inputs = inputs_of(movie_path, tmp_path, None)
    inputs.read_ahead()
    device, _ = make_device(cuda)
    source = device.put_movie(inputs.movie())
    np.testing.assert_array_equal(source[3].numpy(), movie_pixels(1, SHAPE_TYX)[3])
    assert device.put_movie(inputs.movie()) is source


def test_a_movie_that_finds_no_room_waits_on_the_host_and_goes_up_in_its_turn(movie_path: Path, tmp_path: Path) -> None:
    cuda = FakeCuda(total_bytes=10_000)
    device, gpu = make_device(cuda)
    first, second = (inputs_of(movie_path, tmp_path, gpu) for _ in range(2))
    first.read_ahead()
    second.read_ahead()
    assert second.landing is not None
    assert not second.landing.is_there
    first.close()
    source = device.put_movie(second.movie())
    np.testing.assert_array_equal(source[5].numpy(), movie_pixels(1, SHAPE_TYX)[5])
    second.close()


def test_one_that_came_up_too_early_gives_way_to_the_stage_that_runs(movie_path: Path, tmp_path: Path) -> None:
    cuda = FakeCuda(total_bytes=30_000)
    device, gpu = make_device(cuda)
    first, second = (inputs_of(movie_path, tmp_path, gpu) for _ in range(2))
    first.read_ahead()
    second.read_ahead()
    log = FakeLog()
    needs = Resources(0, 6720 + 20_000, Resources(0, 9000))
    with gpu.computing("motion_correction", needs, first.landing, log):
        assert first.landing is not None
        assert first.landing.is_there
        assert second.landing is not None
        assert not second.landing.is_there
        assert isinstance(device.put_movie(first.movie()).dtype, torch.dtype)
    assert cuda.released == 1
    third = inputs_of(movie_path, tmp_path, gpu)
    third.read_ahead()
    assert third.landing is not None
    assert not third.landing.is_there, "room for the largest stage is kept free from now on"
    assert log.warnings == []


def test_one_that_is_asked_to_give_way_while_it_comes_up_does(
    movie_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = FakeCuda()
    device, gpu = make_device(cuda)
    allocate = cuda.empty

    def interrupted(*args: Any) -> torch.Tensor:
        gpu.room.clear(but=None)
        return allocate(*args)

    monkeypatch.setattr(cuda, "empty", interrupted)
    inputs = inputs_of(movie_path, tmp_path, gpu)
    inputs.read_ahead()
    assert inputs.landing is not None
    assert not inputs.landing.is_there, "what is there without being counted fills the card unseen"
    monkeypatch.setattr(cuda, "empty", allocate)
    np.testing.assert_array_equal(device.put_movie(inputs.movie())[5].numpy(), movie_pixels(1, SHAPE_TYX)[5])


def test_a_movie_too_large_beside_others_is_brought_frame_by_frame_or_refused(movie_path: Path, tmp_path: Path) -> None:
    cuda = FakeCuda(total_bytes=30_000)
    device, gpu = make_device(cuda)
    inputs = inputs_of(movie_path, tmp_path, gpu)
    inputs.read_ahead()
    cuda.others_bytes = 12_000
    log = FakeLog()
    with gpu.computing("motion_correction", Resources(0, 26_720, Resources(0, 15_000)), inputs.landing, log):
        source = device.put_movie(inputs.movie())
        assert isinstance(source, FramesOnDemand)
        np.testing.assert_array_equal(source[4].numpy(), movie_pixels(1, SHAPE_TYX)[4])
    assert "frame by frame" in log.infos[0]
    with (
        pytest.raises(torch.OutOfMemoryError, match="are needed"),
        gpu.computing("motion_correction", Resources(0, 26_720, Resources(0, 19_000)), inputs.landing, log),
    ):
        raise AssertionError("it must not begin")


def test_the_reader_frees_what_the_budget_wants_back(movie_path: Path, tmp_path: Path) -> None:
    cuda = FakeCuda()
    _, gpu = make_device(cuda)
    movie_tyx = gpu.pool.array((40, MIB), np.uint8)
    del movie_tyx
    gpu.pool.shrink(0)
    inputs = inputs_of(movie_path, tmp_path, gpu)
    inputs.read_ahead()
    assert sorted(cuda.pinned.values()) == [2 * MIB]
    assert gpu.pool.statistics().kept_bytes == 0


def test_a_stage_that_does_not_count_the_movie_in_is_taken_at_its_word(movie_path: Path, tmp_path: Path) -> None:
    cuda = FakeCuda()
    _, gpu = make_device(cuda)
    inputs = inputs_of(movie_path, tmp_path, gpu)
    inputs.read_ahead()
    log = FakeLog()
    with gpu.computing("of a program", Resources(0, 8000, Resources(0, 8000)), inputs.landing, log):
        cuda.peak = 8000
    with gpu.computing("of ours", Resources(0, 8000, Resources(0, 4000)), inputs.landing, log):
        cuda.peak = 1200
    assert log.warnings == []


def test_an_estimate_that_was_exceeded_is_told_and_movies_that_came_meanwhile_are_not_in_it(
    movie_path: Path, tmp_path: Path
) -> None:
    cuda = FakeCuda(total_bytes=1 << 20)
    _, gpu = make_device(cuda)
    log = FakeLog()
    ahead = inputs_of(movie_path, tmp_path, gpu)
    with gpu.computing("fft", Resources(0, 1000), None, log):
        ahead.read_ahead()
        cuda.peak = cuda.used_bytes + 1000 + 6720
    assert log.warnings == []
    with gpu.computing("fft", Resources(0, 1000), None, log):
        cuda.peak = cuda.used_bytes + 2000
    assert len(log.warnings) == 1
    assert log.warnings[0].startswith("fft took")
    assert gpu.peaks["fft"].peak_bytes == 2000


def test_a_full_card_costs_time_and_not_the_movie(movie_path: Path, tmp_path: Path) -> None:
    cuda = FakeCuda()
    device, gpu = make_device(cuda)
    cuda.refuses = True
    inputs = inputs_of(movie_path, tmp_path, gpu)
    inputs.read_ahead()
    assert gpu.room.movies_bytes == 0
    source = device.put_movie(inputs.movie())
    np.testing.assert_array_equal(source[2].numpy(), movie_pixels(1, SHAPE_TYX)[2])
    cuda.refuses = False
    gpu.make_all_room(inputs.landing)
    assert isinstance(device.put_movie(inputs.movie()), FramesOnDemand)


def test_a_result_comes_down_behind_the_stage_and_whoever_wants_it_waits(tmp_path: Path, movie_path: Path) -> None:
    cuda = FakeCuda()
    device, gpu = make_device(cuda)
    image_yx = torch.arange(600 * 500, dtype=torch.float32).view(600, 500)
    later = device.get_behind(image_yx)
    downward = cuda.streams[1]
    assert len(downward.waiting) == 3, "it waits for what is computed, is copied, and is marked"
    assert (image_yx.data_ptr(), downward) in cuda.kept
    inputs = inputs_of(movie_path, tmp_path, gpu)
    inputs.keep(ALIGNED, later)
    product_yx = inputs.product(ALIGNED)
    np.testing.assert_array_equal(product_yx, image_yx.numpy())
    assert not product_yx.flags.writeable
    assert inputs.product(ALIGNED) is product_yx
    assert product_yx.ctypes.data in cuda.pinned
    np.testing.assert_array_equal(device.get(image_yx.T), image_yx.numpy().T)
    small = device.get_behind(torch.arange(3))
    assert small.result().tolist() == [0, 1, 2]


def test_a_result_nobody_wants_holds_its_buffer_until_it_is_there() -> None:
    cuda = FakeCuda()
    device, gpu = make_device(cuda)
    later = device.get_behind(torch.ones(600, 500))
    del later
    assert gpu.pool.statistics().kept_bytes == 0
    cuda.streams[1].run_all()
    assert gpu._transfers.under_way == 0
    assert gpu.pool.statistics().kept_bytes == 2 * MIB


def test_a_visit_that_has_left_a_reader_behind_keeps_nothing(
    movie_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = FakeCuda()
    _, gpu = make_device(cuda)
    inputs = inputs_of(movie_path, tmp_path, gpu)
    reading, answered = threading.Event(), threading.Event()

    def hang(*args: object, **more: object) -> object:
        reading.set()
        answered.wait(60)
        return read_movie(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("daemon.engine.inputs.read_movie", hang)
    reader = threading.Thread(target=inputs.read_ahead)
    reader.start()
    assert reading.wait(60)
    inputs.close()
    answered.set()
    reader.join(60)
    assert gpu.room.movies_bytes == 0
    assert inputs.landing is None


@pytest.mark.parametrize("upsampling", [1, 2, 4])
def test_events_are_counted_on_the_card_as_the_reader_counts_them(tmp_path: Path, upsampling: Literal[1, 2, 4]) -> None:
    events_tyx = (np.random.default_rng(2).random((13, 32, 32)) < 0.05).astype(np.uint8)
    path = write_eer_movie(tmp_path / "movie.eer", events_tyx)
    header, eer = read_movie_header(path), EerFractions(fractions=4, upsampling=upsampling)
    cuda = FakeCuda()
    device, gpu = make_device(cuda)
    inputs, plain = (inputs_of(path, tmp_path, each, eer) for each in (gpu, None))
    inputs.read_ahead()
    plain.read_ahead()
    assert isinstance(inputs.movie(), FiledMovie), "no frame of it is on the host"
    np.testing.assert_array_equal(inputs.mean_yx(), plain.mean_yx())
    coarse, finer = device.put_movie(inputs.movie()), device.put_movie(inputs.upsampled_movie())
    assert not isinstance(coarse, FramesOnDemand)
    assert not isinstance(finer, FramesOnDemand)
    for source, grid in ((coarse, replace(eer, upsampling=1)), (finer, eer)):
        expected_tyx = read_movie(header, eer=grid)
        assert tuple(source.shape) == expected_tyx.shape
        assert source.dtype == torch.from_numpy(expected_tyx[:0]).dtype
        for frame in range(len(expected_tyx)):
            np.testing.assert_array_equal(source[frame].numpy(), expected_tyx[frame])
    assert gpu.room.movies_bytes > 0
    gpu.make_all_room(inputs.landing)
    assert gpu.room.movies_bytes == 0
    again = device.put_movie(inputs.upsampled_movie())
    np.testing.assert_array_equal(again[2].numpy(), read_movie(header, eer=eer)[2])
    inputs.close()


def test_events_that_are_damaged_are_judged_by_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_eer_movie(tmp_path / "movie.eer", np.zeros((6, 32, 32), np.uint8))
    cuda = FakeCuda()
    device, gpu = make_device(cuda)

    def refuse(*args: object) -> object:
        raise ValueError("the events of hardware frame 1 lead to pixel 3 of 1024")

    monkeypatch.setattr("daemon.engine.event_landing.decode_events", refuse)
    inputs = inputs_of(path, tmp_path, gpu, EerFractions(fractions=2))
    inputs.read_ahead()
    assert isinstance(inputs.movie(), WholeMovie)
    assert device.put_movie(inputs.movie())[1].sum() == 0
    assert gpu.room.movies_bytes == 2 * 32 * 32
