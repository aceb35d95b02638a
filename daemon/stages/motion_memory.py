"""Memory that motion correction takes, from header and parameters: on the host by kernels, on a GPU by torch."""

import math

from daemon.domain.movie import MovieHeader
from daemon.numerics.kernels import raw_bytes_for_kernels
from daemon.numerics.motion_options import MotionOptions
from daemon.pipeline.stage import Resources

__all__ = ["RAW_FRAMES_AT_ONCE", "memory_of_program", "memory_of_run"]

_MOST_FRAMES = MotionOptions().most_frames
_ESTIMATE_PLANES = 6
"""Full-size float32 planes alive beside the stacks that motion is estimated from: the camera's, and frames in work."""
_SUM_PLANES = 16
"""Full-size float32 planes alive at the peak of the sum: gain, frames, transforms, sums and weights. Also where the
micrograph is binned: along a local field sums are cut only when all frames are in them."""
_HALVES_PLANES = 3
"""As many more for the sums of even and odd frames."""
RAW_FRAMES_AT_ONCE = 22
"""Raw frames alive where they come one by one: those that are summed at once, and those that threads have in hand,
of which no more than MOST_IMAGES_AT_ONCE work on images at once."""

_GPU_SUM_PLANES, _GPU_HALVES_PLANES = 10, 5
"""Full-size planes of the sum on a GPU: the camera's, two transforms, and combinations of frames."""
_GPU_BLOCK_ROWS, _GPU_BLOCK_PLANES, _GPU_HALVES_BLOCK_PLANES = 1024, 23, 5
"""Rows that are handled at once there, and what they take: all frames of a batch, warped and mixed."""
_MARGIN_PX = 16
_GPU_SPECTRA_BYTES = 64 << 20
"""Tiles and spectra, which have one size whatever the movie's."""
_GPU_STACK_SHARE = 0.375
"""Of two float32 stacks: there is one, half as precise, and that of the patches."""
_GPU_BLOCK_COEFFICIENTS, _GPU_COEFFICIENT_BYTES = 1 << 24, 20
"""Coefficients of the stack that are unpacked at once, and what each takes with its power."""


def memory_of_program(movie: MovieHeader, *, halves: bool) -> Resources:
    """Of a run of another program, which holds the movie once more, on its own."""
    planes_bytes = (_SUM_PLANES + (_HALVES_PLANES if halves else 0)) * _plane_bytes(movie)
    by_frame = Resources(movie.data_bytes + planes_bytes, planes_bytes)
    return Resources(2 * movie.data_bytes + planes_bytes, planes_bytes, by_frame)


def memory_of_run(movie: MovieHeader, resolution_limit_ang: float, *, halves: bool) -> Resources:
    """The decoded movie, and two stacks cut to the resolution limit, or after them planes of the sum's full size.

    Without the movie in memory, and where the sum's grid is finer than that of the movie there or its type is not
    one that kernels read, also the raw frames that are summed at once.
    """
    plane_bytes = _plane_bytes(movie)
    kept = min(1.0, 2 * (movie.pixel_size_ang or 1.0) / resolution_limit_ang) ** 2
    stacks_bytes = int(2 * plane_bytes * kept * min(movie.frame_count, _MOST_FRAMES))
    estimate_bytes = stacks_bytes + _ESTIMATE_PLANES * plane_bytes
    sum_bytes = (_SUM_PLANES + (_HALVES_PLANES if halves else 0)) * plane_bytes
    whole_bytes, by_frame_bytes = _beside_frames(movie, estimate_bytes, sum_bytes)
    gpu_bytes = _gpu_estimate_bytes(plane_bytes, stacks_bytes), _gpu_sum_bytes(movie, halves=halves)
    whole_gpu_bytes, by_frame_gpu_bytes = _beside_frames(movie, *gpu_bytes)
    return Resources(whole_bytes, whole_gpu_bytes, Resources(by_frame_bytes, by_frame_gpu_bytes))


def _beside_frames(movie: MovieHeader, estimate_bytes: int, sum_bytes: int) -> tuple[int, int]:
    """With the movie there whole, and with a few of its frames."""
    frame_bytes = movie.width_px * movie.height_px * raw_bytes_for_kernels(movie.dtype)
    raw_too_bytes = max(estimate_bytes, sum_bytes + min(RAW_FRAMES_AT_ONCE, movie.frame_count) * frame_bytes)
    is_finer = movie.data_bytes < movie.frame_count * frame_bytes
    return movie.data_bytes + (raw_too_bytes if is_finer else max(estimate_bytes, sum_bytes)), raw_too_bytes


def _gpu_estimate_bytes(plane_bytes: int, stacks_bytes: int) -> int:
    unpacked = min(stacks_bytes // 16, _GPU_BLOCK_COEFFICIENTS)
    return int(_GPU_STACK_SHARE * stacks_bytes) + _ESTIMATE_PLANES * plane_bytes + unpacked * _GPU_COEFFICIENT_BYTES


def _gpu_sum_bytes(movie: MovieHeader, *, halves: bool) -> int:
    planes = _GPU_SUM_PLANES + (_GPU_HALVES_PLANES if halves else 0)
    block_planes = _GPU_BLOCK_PLANES + (_GPU_HALVES_BLOCK_PLANES if halves else 0)
    height, width = (size + 2 * _MARGIN_PX for size in (movie.height_px, movie.width_px))
    rows = math.ceil(height / math.ceil(height / _GPU_BLOCK_ROWS))
    return planes * _plane_bytes(movie) + block_planes * 4 * rows * width + _GPU_SPECTRA_BYTES


def _plane_bytes(movie: MovieHeader) -> int:
    return 4 * movie.width_px * movie.height_px
