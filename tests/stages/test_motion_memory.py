"""What motion correction states to take, against what it takes: on a GPU, by a twin on the CPU."""

from collections.abc import Iterator

import pytest
import torch

from daemon.numerics import (
    canvas_filter,
    defect_clusters,
    detector,
    motion_halving,
    motion_score,
    motion_stack,
    motion_sum_batch,
    spectrum,
    surroundings,
)
from daemon.numerics.detector import find_defects, mean_frame
from daemon.numerics.motion import correct_motion, estimate_motion
from daemon.numerics.motion_field import LocalField, MotionEstimate, grid_axis
from daemon.numerics.motion_options import MotionOptions
from daemon.numerics.motion_sum_batch import MARGIN_PX
from daemon.numerics.motion_sum_local import FRAMES_AT_ONCE
from daemon.numerics.parallel import MOST_IMAGES_AT_ONCE
from daemon.stages import motion_memory
from daemon.stages.motion_memory import RAW_FRAMES_AT_ONCE
from tests.numerics.motion_cases import simulate_case
from tests.stages.fakes import make_item
from tests.storage_count import StorageCount

LIMIT_ANG = MotionOptions().resolution_limit_ang
LARGEST_EXCESS = 1.5
"""A GPU's libraries take something inside, transforms above all, which is not counted here."""


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Without kernels, in one thread, and in the pieces that a GPU is given."""

    def strips(height: int, device: torch.device, rows: int = 0) -> Iterator[slice]:
        del device, rows
        for top in range(0, height, surroundings._GPU_STRIP_ROWS):
            yield slice(top, min(top + surroundings._GPU_STRIP_ROWS, height))

    for module in (motion_sum_batch, surroundings, detector, motion_halving, motion_stack, motion_score):
        monkeypatch.setattr(module, "has_kernels", lambda device: False)
    for module in (surroundings, detector):
        monkeypatch.setattr(module, "strips", strips)
    for module in (canvas_filter, spectrum):
        monkeypatch.setattr(module, "_STRIP_ROWS", 1 << 30)
    monkeypatch.setattr(canvas_filter, "_STRIP_COLUMNS", 1 << 30)
    monkeypatch.setattr(defect_clusters, "_STRIP_ROWS", defect_clusters._GPU_STRIP_ROWS)
    monkeypatch.setattr(motion_sum_batch, "_BLOCK_ROWS", motion_sum_batch._GPU_BLOCK_ROWS)
    monkeypatch.setattr(motion_sum_batch, "_BLOCK_COLUMNS", 1 << 30)
    monkeypatch.setattr(motion_score, "_BLOCK_CPU", motion_score._BLOCK_ELSEWHERE)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def smooth_field(shape_yx: tuple[int, int], frames: int) -> LocalField:
    y, x = grid_axis(shape_yx[0], 9)[:, None], grid_axis(shape_yx[1], 9)[None, :]
    wave = torch.sin(x / 800 + y / 900)
    field = torch.stack([0.4 * wave, -0.3 * wave], dim=-1)
    return LocalField(torch.stack([field * frame / frames for frame in range(frames)]), shape_yx)


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize("halves", [False, True])
@pytest.mark.parametrize("is_local", [False, True])
@pytest.mark.parametrize(("shape_yx", "frames"), [((512, 640), 32), ((990, 1030), 32), ((2048, 1600), 32)])
def test_a_sum_takes_on_a_gpu_what_was_stated(
    shape_yx: tuple[int, int], frames: int, is_local: bool, halves: bool
) -> None:
    movie_tyx = torch.ones((frames, *shape_yx), dtype=torch.uint8)
    path_t2 = torch.linspace(0, 8, frames, dtype=torch.float64)[:, None] * torch.tensor([1.0, -0.5])
    field = smooth_field(shape_yx, frames) if is_local else None
    estimate = MotionEstimate(shape_yx, path_t2, field, None, 0.0, torch.zeros(frames), 99.0)
    with StorageCount(movie_tyx) as taken:
        gain_yx, dark_yx, defects_yx = torch.ones(shape_yx), torch.zeros(shape_yx), torch.zeros(shape_yx).bool()
        correct_motion(
            movie_tyx,
            estimate,
            pixel_size_ang=0.8,
            gain_yx=gain_yx,
            dark_yx=dark_yx,
            defects_yx=defects_yx,
            dose_per_frame_e_per_ang2=1.0,
            want_even_odd=halves,
        )
    stated = motion_memory._gpu_sum_bytes(make_item(shape_tyx=(frames, *shape_yx)).movie, halves=halves)
    assert taken.peak_bytes <= stated
    if is_local:
        # Small movies have fewer tiles and parts than their spectra are given room for.
        assert stated <= max(LARGEST_EXCESS * taken.peak_bytes, taken.peak_bytes + motion_memory._GPU_SPECTRA_BYTES)


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize(("size_px", "frames", "pixel_ang"), [(1024, 16, 1.2), (768, 12, 2.5), (1536, 24, 0.8)])
def test_an_estimate_takes_on_a_gpu_what_was_stated(size_px: int, frames: int, pixel_ang: float) -> None:
    case = simulate_case((size_px, size_px), frames, 1, counts_per_px=1.5, pixel_size_ang=pixel_ang, local_px=2.0)
    mean_yx = mean_frame(case.movie_tyx)
    with StorageCount(case.movie_tyx) as taken:
        gain_yx, dark_yx = case.gain_yx.clone(), torch.zeros(case.gain_yx.shape)
        defects_yx = find_defects(mean_yx - dark_yx, frames=frames, gain_yx=gain_yx)
        estimate_motion(
            case.movie_tyx,
            pixel_size_ang=pixel_ang,
            gain_yx=gain_yx,
            dark_yx=dark_yx,
            defects_yx=defects_yx,
            dose_per_frame_e_per_ang2=case.dose_per_frame_e_per_ang2,
        )
    stacks_bytes = int(8 * size_px**2 * min(1.0, 2 * pixel_ang / LIMIT_ANG) ** 2 * frames)
    stated = motion_memory._gpu_estimate_bytes(4 * size_px**2, stacks_bytes)
    assert taken.peak_bytes <= stated <= LARGEST_EXCESS * taken.peak_bytes


def test_numbers_that_numerics_decide_are_theirs() -> None:
    assert FRAMES_AT_ONCE + MOST_IMAGES_AT_ONCE <= RAW_FRAMES_AT_ONCE
    assert motion_memory._GPU_BLOCK_ROWS == motion_sum_batch._GPU_BLOCK_ROWS
    assert motion_memory._GPU_BLOCK_COEFFICIENTS == motion_score._BLOCK_ELSEWHERE
    assert motion_memory._MARGIN_PX == MARGIN_PX
