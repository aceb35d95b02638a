"""The GPU beside its compute stream: movies on their way up, results on their way down, and how much room there is."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import structlog
import torch
from torch import Tensor

from daemon.domain.acquisition import EerFractions
from daemon.domain.movie import MovieFormat, MovieHeader
from daemon.engine.cuda_calls import CudaCalls
from daemon.engine.event_landing import EventLanding, can_count_events
from daemon.engine.gpu_room import DeviceRoom, StageMemory
from daemon.engine.landing import DeviceMovie, Landing
from daemon.engine.movie_frames import FiledMovie, WholeMovie
from daemon.engine.pinned import PinnedPool
from daemon.engine.transfers import Arriving, Transfers
from daemon.formats.eer import EerFrames
from daemon.formats.movie import check_opened, movie_dtype, movie_shape
from daemon.numerics.movie_source import MovieSource
from daemon.pipeline.context import Array, Log, Movie
from daemon.pipeline.stage import Resources

log = structlog.get_logger(__name__)

_GIB = 2**30
_PLANS = 64
"""Plans of transforms kept: all that movies of two sizes or three ask for; by default there are thousands."""


class Gpu:
    """One device. Movies come up on reader threads, on a stream of their own; all else is the compute thread's."""

    def __init__(self, calls: CudaCalls) -> None:
        self._calls = calls
        self.device = calls.device
        self.pool = PinnedPool(calls, _tell_pageable)
        self.room = DeviceRoom(calls)
        self._transfers = Transfers(calls, self.pool)
        self._untold = True
        self.peaks: dict[str, StageMemory] = {}
        """The most that each stage has taken."""

    def land(self, header: MovieHeader, eer: EerFractions) -> Landing:
        """Return pinned memory to decode a movie into, from where it goes up as it is decoded."""
        shape_tyx, dtype = movie_shape(header, eer), movie_dtype(header, eer)
        return self.adopt(self.pool.array(shape_tyx, dtype))

    def adopt(self, movie_tyx: Array) -> Landing:
        """Take a movie in host memory, none of whose frames is announced yet."""
        return Landing(self._calls, self._transfers, self.room, movie_tyx)

    def settle_arithmetic(self) -> None:
        """Have the device compute in full float32, and keep plans of transforms."""
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
        torch.backends.cuda.cufft_plan_cache[self.device].max_size = _PLANS

    def source_of(self, movie: Movie) -> MovieSource | None:
        """Return a movie's frames on the device; None where they have to be brought one by one."""
        if not isinstance(movie, WholeMovie | FiledMovie):
            return None
        if isinstance(movie, WholeMovie) and movie.landing is None:  # decoded before there was a device
            movie.landing = landing = self.adopt(movie.movie_tyx)
            for frame_yx in movie.movie_tyx:
                landing.note_decoded(frame_yx)
        _, *shape_yx = movie.shape_tyx
        return None if movie.landing is None else movie.landing.source((shape_yx[0], shape_yx[1]))

    def count(self, header: MovieHeader, eer: EerFractions, *, finer: bool) -> EventLanding | None:
        """Bring an EER movie's events up and count them there; None where that cannot be, which is logged.

        Raises what opening and reading the file raises.
        """
        if header.format is not MovieFormat.EER:
            return None
        if not can_count_events(self._calls.device):
            if self._untold:
                log.warning("EER movies are decoded on the CPU", why="cupy is not installed")
            self._untold = False
            return None
        with closing(EerFrames(header.path, eer)) as frames:
            check_opened(header, frames.source)
            landing = EventLanding(self._calls, self._transfers, self.room, frames)
            reason = landing.load(frames, self.pool, finer=finer)
            try:
                frames.source.check_unchanged()
            except BaseException:
                landing.close()
                raise
        if reason is None:
            return landing
        log.warning("EER movie is decoded on the CPU", path=str(header.path), why=reason)
        return None

    def bring_down(self, tensor: Tensor) -> Arriving:
        """Begin to copy a result to the host."""
        return self._transfers.bring_down(tensor)

    def make_all_room(self, movie: DeviceMovie | None) -> None:
        """After the memory was full: nothing but the next stage may be there, and of its movie single frames."""
        if movie is not None:
            movie.stay_away()
        self.room.clear(but=None)

    @contextmanager
    def computing(self, stage: str, needs: Resources, movie: DeviceMovie | None, tell: Log) -> Iterator[None]:
        """Check, for the block, that the device has what a stage needs, and that it takes no more.

        `movie` is what it consumes, None where it consumes none: a movie that finds no room is brought frame by frame.
        Raises OutOfMemoryError where even that is too much.
        """
        stated_bytes = self._find_room(needs, movie, tell)
        movies_bytes = self.room.movies_bytes
        before_bytes = self.room.begin()
        yield
        taken = self.room.end(stage, stated_bytes, before_bytes, movies_bytes)
        if stage not in self.peaks or taken.peak_bytes > self.peaks[stage].peak_bytes:
            self.peaks[stage] = taken
            log.info(
                "most memory of the GPU that the stage has taken so far, beside movies",
                stage=stage,
                stated_mib=taken.stated_bytes >> 20,
                peak_mib=taken.peak_bytes >> 20,
            )
        if taken.is_exceeded:
            tell.warning(
                f"{stage} took {taken.peak_bytes / _GIB:.2f} GiB of the GPU's memory and had stated "
                f"{taken.stated_bytes / _GIB:.2f} GiB"
            )

    def _find_room(self, needs: Resources, movie: DeviceMovie | None, tell: Log) -> int:
        """Return what the stage may take beside its movie."""
        beside_bytes = needs.device_bytes
        # A stage that needs no less without the movie there, such as another program's, has not counted it in.
        if movie is not None and (needs.by_frame is None or needs.by_frame.device_bytes < needs.device_bytes):
            beside_bytes = max(0, needs.device_bytes - movie.data_bytes)
        wanted_bytes = beside_bytes if movie is None or movie.is_there else needs.device_bytes
        there_bytes = self.room.make_room(wanted_bytes, but=movie)
        if there_bytes >= wanted_bytes:
            return beside_bytes
        if movie is not None and needs.by_frame is not None:
            movie.stay_away()
            by_frame_bytes = needs.by_frame.device_bytes
            there_bytes = self.room.make_room(by_frame_bytes, but=movie)
            if there_bytes >= by_frame_bytes:
                tell.info(
                    f"the movie is brought to the GPU frame by frame: whole, {wanted_bytes / _GIB:.1f} GiB are needed "
                    "and others hold too much"
                )
                return by_frame_bytes
            wanted_bytes = by_frame_bytes
        raise torch.OutOfMemoryError(
            f"the GPU has {there_bytes / _GIB:.2f} GiB for this process and {wanted_bytes / _GIB:.2f} GiB are needed"
        )


def _tell_pageable(reason: str) -> None:
    log.warning("host memory is not pinned: copies to the GPU are slower and hold up their thread", why=reason)
