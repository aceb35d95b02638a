"""The GPU path on a real card: the same frames, counts and results as on the CPU. Skipped where there is none."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from daemon.domain.acquisition import EerFractions
from daemon.engine.device import FramesOnDemand, TorchDevice
from daemon.engine.inputs import CameraCache, VisitInputs
from daemon.formats.eer_scheme import EER_65000, EER_65001, EerScheme
from daemon.formats.eer_writer import encode_events
from daemon.formats.movie import read_movie, read_movie_header
from daemon.formats.mrc_writer import write_mrc
from daemon.numerics.kernels.eer_events import (
    EventLayout,
    EventStreams,
    add_events,
    decode_events,
    place_streams,
)
from daemon.numerics.motion import correct_motion, estimate_motion
from daemon.numerics.simulation import SimulatedOptics, simulate_movie
from daemon.pipeline.stage import Resources
from tests.formats.samples import write_eer_movie
from tests.stages.fakes import FakeLog, make_item

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

needs_cupy = pytest.mark.skipif(find_spec("cupy") is None, reason="cupy is not installed")

SHIFT_TOLERANCE_PX = 0.02
"""How far the paths that CPU and GPU find may lie apart."""
SUM_TOLERANCE = 1e-3
"""RMS difference of their sums, in units of the sum's own spread, along the same path."""


@pytest.fixture(scope="module")
def device() -> TorchDevice:
    device = TorchDevice(torch.device("cuda"), threads=2)
    device.settle_thread()
    return device


def inputs_of(path: Path, home: Path, device: TorchDevice, eer: EerFractions | None = None) -> VisitInputs:
    item = replace(make_item(), movie=read_movie_header(path))
    item = replace(item, acquisition=replace(item.acquisition, eer=eer or EerFractions()))
    return VisitInputs(item, home, CameraCache(), decode_threads=2, find_gpu=lambda: device.gpu)


def test_frames_come_up_as_they_are_and_buffers_serve_again(tmp_path: Path, device: TorchDevice) -> None:
    assert device.gpu is not None
    movies = [np.random.default_rng(seed).integers(0, 9, (40, 512, 640)).astype(np.uint8) for seed in range(4)]
    for number, movie_tyx in enumerate(movies):
        write_mrc(tmp_path / f"{number}.mrc", movie_tyx, pixel_size_ang=1.0)
    ahead = [inputs_of(tmp_path / f"{number}.mrc", tmp_path, device) for number in range(4)]
    for number, movie_tyx in enumerate(movies):
        ahead[number].read_ahead()
        source = device.put_movie(ahead[number].movie())
        assert not isinstance(source, FramesOnDemand)
        for frame in (0, 39, 17):
            np.testing.assert_array_equal(device.get(source[frame]), movie_tyx[frame])
        ahead[number].close()
        del source
    torch.cuda.synchronize()
    statistics = device.gpu.pool.statistics()
    assert statistics.pageable == {}
    assert statistics.reused >= 1
    assert device.gpu.room.movies_bytes == 0


def test_results_come_down_behind_what_is_computed(device: TorchDevice) -> None:
    images = [torch.full((1500, 1500), float(number), device="cuda") for number in range(5)]
    later = [device.get_behind(image.cumsum(0)) for image in images]
    for image in images:
        image.zero_()
    for number, result in enumerate(later):
        assert float(result.result()[-1, 0]) == 1500.0 * number


@needs_cupy
@pytest.mark.parametrize("scheme", [EER_65000, EER_65001])
def test_the_kernels_count_what_their_twins_count(scheme: EerScheme) -> None:
    shape_yx, rng = (256, 300), np.random.default_rng(3)
    frames = []
    for _ in range(9):
        pixel = np.flatnonzero(rng.random(256 * 300) < 0.03)
        x = (pixel % 300) * 4 + rng.integers(0, 4, pixel.size)
        y = (pixel // 300) * 4 + rng.integers(0, 4, pixel.size)
        frames.append(encode_events(x, y, shape_yx, scheme))
    first_byte_f, size = place_streams([len(frame) for frame in frames])
    joined = np.zeros(size, np.uint8)
    for first, frame in zip(first_byte_f, frames, strict=True):
        joined[first : first + len(frame)] = np.frombuffer(frame, np.uint8)
    layout = EventLayout(scheme.run_bits, scheme.x_bits, scheme.y_bits, scheme.skip_bits)
    sizes = tuple(map(len, frames))
    both = {
        name: decode_events(EventStreams(torch.from_numpy(joined).to(name), first_byte_f, sizes), layout, 256 * 300)
        for name in ("cpu", "cuda")
    }
    assert both["cpu"].count_f.tolist() == both["cuda"].count_f.tolist()
    for upsampling in (1, 2, 4):
        for dtype in (torch.uint8, torch.uint16):
            counted = []
            for name, events in both.items():
                out_yx = torch.zeros((256 * upsampling, 300 * upsampling), dtype=dtype, device=name)
                add_events(events, 2, 9, 300, upsampling, out_yx)
                counted.append(out_yx.cpu())
            assert torch.equal(*counted)
    with pytest.raises(ValueError, match="hardware frame 1 lead to pixel"):
        decode_events(EventStreams(torch.from_numpy(joined).cuda(), first_byte_f, sizes), layout, 256 * 301)


@needs_cupy
@pytest.mark.parametrize("upsampling", [1, 2, 4])
def test_an_eer_movie_is_the_same_whoever_counts_it(
    tmp_path: Path, device: TorchDevice, upsampling: Literal[1, 2, 4]
) -> None:
    events_tyx = (np.random.default_rng(2).random((25, 128, 160)) < 0.05).astype(np.uint8)
    path = write_eer_movie(tmp_path / "movie.eer", events_tyx)
    eer = EerFractions(fractions=6, upsampling=upsampling)
    inputs = inputs_of(path, tmp_path, device, eer)
    inputs.read_ahead()
    expected_tyx = read_movie(read_movie_header(path), eer=eer)
    source = device.put_movie(inputs.upsampled_movie())
    assert not isinstance(source, FramesOnDemand)
    for frame, expected_yx in enumerate(expected_tyx):
        np.testing.assert_array_equal(source[frame].cpu().numpy(), expected_yx)
    inputs.close()


def test_motion_is_the_same_within_tolerances(device: TorchDevice) -> None:
    optics = SimulatedOptics(1.0, 12_000.0, 11_500.0)
    movie = simulate_movie((768, 768), 16, optics, 1.0, torch.Generator().manual_seed(4))
    movie_tyx = torch.stack(list(movie.frames()))
    paths: list[torch.Tensor] = []
    sums: list[torch.Tensor] = []
    for name in ("cpu", "cuda"):
        there = movie_tyx.to(name)
        estimate = estimate_motion(there, pixel_size_ang=1.0, dose_per_frame_e_per_ang2=1.0)
        paths.append(estimate.global_t2.cpu())
        if not sums:
            shared = estimate
        summed = correct_motion(there, shared, pixel_size_ang=1.0, dose_per_frame_e_per_ang2=1.0)
        sums.append(summed.unweighted_yx.cpu().double())
    assert float((paths[0] - paths[1]).norm(dim=1).max()) < SHIFT_TOLERANCE_PX
    assert float((sums[0] - sums[1]).square().mean().sqrt() / sums[0].std()) < SUM_TOLERANCE


def test_memory_is_measured(device: TorchDevice) -> None:
    assert device.gpu is not None
    log = FakeLog()
    with device.gpu.computing("modest", Resources(0, 64 << 20), None, log):
        torch.ones(32 << 20, dtype=torch.uint8, device="cuda").sum().item()
    assert log.warnings == []
    with device.gpu.computing("greedy", Resources(0, 1 << 20), None, log):
        torch.ones(32 << 20, dtype=torch.uint8, device="cuda").sum().item()
    assert len(log.warnings) == 1
