"""How much memory a visit takes, and whether the movie may lie in it whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from daemon.domain.movie import MovieHeader
from daemon.errors import OutOfMemory
from daemon.formats.movie import decoded_header
from daemon.pipeline.context import MovieItem
from daemon.pipeline.graph import AnyStage
from daemon.pipeline.product import MOVIE
from daemon.pipeline.stage import Resources, StageParams

_FRAMES_PER_THREAD = 2
"""A decoding thread holds one frame decoded and one compressed, which is hardly larger."""
_SUM_BYTES_PER_PX = 4
"""The sum of all frames, which is taken while they are read and kept for their mean."""
_GIB = 2**30


@dataclass(frozen=True)
class Memory:
    """What there is for one movie at most; device_bytes is None where the device's memory is the host's own."""

    host_bytes: int
    device_bytes: int | None
    decode_threads: int


@dataclass(frozen=True)
class Size:
    """What a visit needs; by_frame: in one sentence, why no more than a few frames of the movie may be in memory."""

    movie: MovieHeader
    """As it is summed."""
    micrograph: MovieHeader
    """The same in the pixels of the sums that are written."""
    host_bytes: int
    by_frame: str | None
    needs: Mapping[str, Resources]
    """What each stage stated."""


def size_up(stages: Sequence[AnyStage], parameters: Mapping[str, StageParams], item: MovieItem, memory: Memory) -> Size:
    """Decide how the movie is read, by what there can ever be. Raises OutOfMemory where the device has too little.

    More than the host's share is refused by whoever gives it out.
    """
    movie = decoded_header(item.movie, item.acquisition.eer)
    movie = replace(movie, pixel_size_ang=item.acquisition.pixel_size_ang)
    decoding_bytes = sum_bytes = 0
    if any(MOVIE in stage.consumes for stage in stages):
        frame_px = item.movie.width_px * item.movie.height_px
        is_float = np.issubdtype(np.dtype(movie.dtype), np.floating)
        sum_bytes = (2 if is_float else 1) * _SUM_BYTES_PER_PX * frame_px
        frame_bytes = frame_px * np.dtype(movie.dtype).itemsize
        decoding_bytes = sum_bytes + _FRAMES_PER_THREAD * memory.decode_threads * frame_bytes
    micrograph = _micrograph_of(movie, item.acquisition.motion_binning)
    needs = [stage.needs(movie if MOVIE in stage.consumes else micrograph, parameters[stage.name]) for stage in stages]
    whole = _peak(needs, movie.data_bytes + decoding_bytes if decoding_bytes else 0, sum_bytes)
    by_frame = _peak([need.by_frame or need for need in needs], decoding_bytes, sum_bytes)
    chosen, why = whole, None
    if any(need.by_frame for need in needs) and not _fits(whole, memory):
        chosen, why = by_frame, _explain(whole, memory)
    if memory.device_bytes is not None and chosen.device_bytes > memory.device_bytes:
        what, hint = (
            f"Processing {item.image_name} on the GPU",
            "Use a GPU with more memory, or [compute] device = cpu.",
        )
        raise OutOfMemory(what, chosen.device_bytes, memory.device_bytes, hint=hint)
    stated = {stage.name: need for stage, need in zip(stages, needs, strict=True)}
    return Size(movie, micrograph, chosen.host_bytes, why, stated)


def _micrograph_of(movie: MovieHeader, binning: int) -> MovieHeader:
    """Return the header with the pixels of what is summed of the movie: all that stages behind the sum ever see."""
    if binning == 1:
        return movie
    pixel_ang = movie.pixel_size_ang
    return replace(
        movie,
        width_px=movie.width_px // binning,
        height_px=movie.height_px // binning,
        pixel_size_ang=None if pixel_ang is None else pixel_ang * binning,
    )


def _peak(needs: Sequence[Resources], reading_bytes: int, kept_bytes: int) -> Resources:
    """Reading and the stages follow one another: the largest counts; what is kept of reading lies beside the stages."""
    host_bytes = max(reading_bytes, max(need.host_bytes for need in needs) + kept_bytes)
    return Resources(host_bytes, max(need.device_bytes for need in needs))


def _fits(need: Resources, memory: Memory) -> bool:
    return need.host_bytes <= memory.host_bytes and (
        memory.device_bytes is None or need.device_bytes <= memory.device_bytes
    )


def _explain(whole: Resources, memory: Memory) -> str:
    if whole.host_bytes > memory.host_bytes:
        needed, given, where = whole.host_bytes, memory.host_bytes, "[compute] byte_budget_gib allows"
    else:
        needed, given, where = whole.device_bytes, memory.device_bytes or 0, "the GPU has"
    return (
        f"the movie is read from its file frame by frame, several times over: whole, it needs {needed / _GIB:.1f} GiB, "
        f"{where} {given / _GIB:.1f} GiB"
    )
