"""Where the data of a full-size MRC end: the question that its header and its size cannot answer."""

from dataclasses import dataclass
from pathlib import Path

from daemon.formats.byte_source import ByteSource
from daemon.formats.structure import MovieStructure

_PARTS_PER_FRAME = 64
_PROBES_PER_FRAME = 8
_PROBE_BYTES = 4096
_HEADER_BYTES = 1024
_SAMPLE_BYTES = (16, 8, 4, 2, 1)


@dataclass(frozen=True)
class ZeroTail:
    """How much of a movie holds anything but zeros.

    `filled_frames` counts the frames up to the last with any data; `last_filled` is the part (0–1) of that frame
    after which only zeros follow, in steps of 1/64.
    """

    frames: int
    filled_frames: int
    last_filled: float

    @property
    def blank_frames(self) -> int:
        """Frames at the end that hold only zeros."""
        return self.frames - self.filled_frames


def measure_zero_tail(path: Path, structure: MovieStructure) -> ZeroTail | None:
    """Find the end of the data of an uncompressed movie whose last block is zero; None if its size makes no sense.

    Samples 4 KiB blocks, bisecting over frames on the assumption that data come before the zeros: about fifty small
    reads whatever the size. 4 KiB of even a very sparse counted frame (0.01 e⁻/px) are not all zero.
    Raises FileUnreadable.
    """
    frames, width_px, height_px = structure.frame_count, structure.width_px, structure.height_px
    if not frames or not width_px or not height_px:
        return None
    with ByteSource(path) as source:
        frame_bytes = _frame_bytes(source.size_bytes, frames, width_px * height_px)
        if frame_bytes is None:
            return None
        return _measure(_Zeros(source, source.size_bytes - frames * frame_bytes, frame_bytes), frames)


@dataclass(frozen=True)
class _Zeros:
    """Asks an open file whether parts of its frames are zero."""

    source: ByteSource
    data_start_bytes: int
    frame_bytes: int

    def in_frame(self, frame: int) -> bool:
        step = max(self.frame_bytes // _PROBES_PER_FRAME, 1)
        return all(self._at(frame, offset) for offset in range(0, self.frame_bytes, step))

    def in_part(self, frame: int, part: int) -> bool:
        return self._at(frame, part * self.frame_bytes // _PARTS_PER_FRAME)

    def _at(self, frame: int, offset_bytes: int) -> bool:
        length = min(_PROBE_BYTES, self.frame_bytes - offset_bytes)
        block = self.source.read_up_to(self.data_start_bytes + frame * self.frame_bytes + offset_bytes, length)
        return not any(block)


def _measure(zeros: _Zeros, frames: int) -> ZeroTail:
    # The last frame first: in the common case (a masked edge) nothing more has to be read.
    low, high = (frames, frames) if not zeros.in_frame(frames - 1) else (0, frames - 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (low, middle - 1) if zeros.in_frame(middle - 1) else (middle, high)
    if low == 0:
        return ZeroTail(frames, 0, 0.0)
    filled_parts = _PARTS_PER_FRAME
    while filled_parts and zeros.in_part(low - 1, filled_parts - 1):
        filled_parts -= 1
    return ZeroTail(frames, low, filled_parts / _PARTS_PER_FRAME)


def _frame_bytes(size_bytes: int, frames: int, frame_px: int) -> int | None:
    """Size of one frame: the widest sample that fits, since the structure does not name the pixel type."""
    for sample_bytes in _SAMPLE_BYTES:
        if frames * frame_px * sample_bytes <= size_bytes - _HEADER_BYTES:
            return frame_px * sample_bytes
    return None
