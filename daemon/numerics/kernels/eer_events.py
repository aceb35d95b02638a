"""Events of electron-counting cameras: from their bit streams to places on the sensor, and to counted frames.

On a GPU both steps are raw kernels (`eer_events_cuda`), here are their twins in torch. Counts are integers, which add
up the same in any order: both give the same frames to the last bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int32, Int64, UInt8
from torch import Tensor

GRID = 4
"""Cells per pixel and axis that an event's place is kept on."""
_PLACE_BITS = 4
_MOST_PIXELS = 1 << (31 - _PLACE_BITS)
FRAME_ALIGNMENT_BYTES = 4
"""Streams begin at multiples of this."""
TAIL_BYTES = 8
"""Zeros behind the last stream, so that no token is read beyond the end."""


@dataclass(frozen=True)
class EventLayout:
    """Bit widths of a token: run length, place in x, place in y; `skip_bits`: what a run length without event spends.

    Bits come least significant first. A run length of all ones stands for that many pixels and no event. Of each place
    the top bit is stored inverted. (Electron event representation of Falcon cameras; Guo et al. 2020, IUCrJ 7, 860.)
    """

    run_bits: int
    x_bits: int
    y_bits: int
    skip_bits: int

    @property
    def event_bits(self) -> int:
        """Bits that an event spends."""
        return self.run_bits + self.x_bits + self.y_bits

    @property
    def longest_run(self) -> int:
        """The run length that stands for no event."""
        return (1 << self.run_bits) - 1

    def most_events(self, size_bytes: int) -> int:
        """Return how many events a stream of so many bytes can hold at most."""
        return 8 * size_bytes // self.event_bits + 1


@dataclass(frozen=True)
class EventStreams:
    """Streams of hardware frames, one behind the other in `stream_b`: where each begins, and its size, in bytes."""

    stream_b: UInt8[Tensor, " b"]
    first_byte_f: tuple[int, ...]
    size_bytes_f: tuple[int, ...]

    def __post_init__(self) -> None:
        ends = [first + size for first, size in zip(self.first_byte_f, self.size_bytes_f, strict=True)]
        if any(first % FRAME_ALIGNMENT_BYTES for first in self.first_byte_f) or not ends:
            raise ValueError(f"streams begin at multiples of {FRAME_ALIGNMENT_BYTES} bytes, and there is at least one")
        if max(ends) + TAIL_BYTES > len(self.stream_b):
            raise ValueError(f"streams that end at byte {max(ends)} need {TAIL_BYTES} more, of {len(self.stream_b)}")

    @property
    def device(self) -> torch.device:
        """Where they lie."""
        return self.stream_b.device


@dataclass(frozen=True)
class EventList:
    """Events of hardware frames: codes (pixel × 16 + y × 4 + x, places on the grid of GRID cells a pixel).

    Those of frame f are code_e[first_f[f] : first_f[f] + count_f[f]].
    """

    code_e: Int32[Tensor, " e"]
    first_f: Int64[Tensor, " f"]
    count_f: Int64[Tensor, " f"]


def place_streams(size_bytes_f: Sequence[int]) -> tuple[tuple[int, ...], int]:
    """Return where streams of these sizes begin in one buffer, and the buffer's size in bytes."""
    first_byte_f, end = [], 0
    for size_bytes in size_bytes_f:
        first_byte_f.append(end)
        end += -(-size_bytes // FRAME_ALIGNMENT_BYTES) * FRAME_ALIGNMENT_BYTES
    return tuple(first_byte_f), end + TAIL_BYTES


def decode_events(streams: EventStreams, layout: EventLayout, pixels: int) -> EventList:
    """Return the events of frames of so many pixels.

    Raises ValueError naming the frame, counted from one, whose stream does not end exactly behind the last pixel.
    """
    if not 0 < pixels < _MOST_PIXELS:
        raise ValueError(f"frames have up to {_MOST_PIXELS} pixels, got {pixels}")
    device = streams.device
    most = torch.tensor([layout.most_events(size) for size in streams.size_bytes_f])
    first_f = torch.cumsum(most, 0) - most
    if device.type == "cuda":
        from daemon.numerics.kernels.eer_events_cuda import decode_on_device  # noqa: PLC0415 - loads cupy

        code_e = torch.empty(int(most.sum()), dtype=torch.int32, device=device)
        widths = (layout.run_bits, layout.x_bits, layout.y_bits, layout.skip_bits)
        placed_f = torch.tensor(streams.first_byte_f, device=device), torch.tensor(streams.size_bytes_f, device=device)
        count_f, end_f = decode_on_device(streams.stream_b, *placed_f, widths, pixels, code_e, first_f.to(device))
    else:
        code_e = torch.empty(int(most.sum()), dtype=torch.int32)
        counts, ends = [], []
        for first, first_byte, size_bytes in zip(
            first_f.tolist(), streams.first_byte_f, streams.size_bytes_f, strict=True
        ):
            code, end = _walk(streams.stream_b[first_byte:], size_bytes, layout, pixels)
            code_e[first : first + len(code)] = code
            counts.append(len(code))
            ends.append(end)
        count_f, end_f = torch.tensor(counts), torch.tensor(ends)
    wrong = torch.nonzero(end_f != pixels)[:, 0].tolist()
    if wrong:
        end = int(end_f[wrong[0]])
        raise ValueError(f"the events of hardware frame {wrong[0] + 1} lead to pixel {end} of {pixels}")
    return EventList(code_e, first_f.to(device), count_f)


def add_events(events: EventList, start: int, end: int, width_px: int, upsampling: int, out_yx: Tensor) -> None:
    """Count the events of hardware frames [start, end) into an image of uint8 or uint16, contiguous.

    Its grid is finer than the sensor's, which is width_px wide, by 1, 2 or 4. No pixel may be counted beyond its type.
    Raises ValueError for another grid or type.
    """
    if upsampling not in (1, 2, GRID) or out_yx.shape[1] != width_px * upsampling or not out_yx.is_contiguous():
        raise ValueError(f"no contiguous image {width_px} px × {upsampling} wide: {tuple(out_yx.shape)}")
    if out_yx.dtype not in (torch.uint8, torch.uint16):
        raise ValueError(f"events are counted in uint8 or uint16, not {out_yx.dtype}")
    if not 0 <= start < end <= len(events.count_f):
        raise ValueError(f"no hardware frames {start} to {end} of {len(events.count_f)}")
    if out_yx.device.type == "cuda":
        from daemon.numerics.kernels.eer_events_cuda import add_on_device  # noqa: PLC0415 - loads cupy

        lists = (events.code_e, events.first_f, events.count_f)
        add_on_device(*lists, start, end, width_px, upsampling, out_yx)
        return
    frames = zip(events.first_f[start:end].tolist(), events.count_f[start:end].tolist(), strict=True)
    code = torch.cat([events.code_e[first : first + count] for first, count in frames]).long()
    step = GRID // upsampling
    y, x = (code >> _PLACE_BITS) // width_px, (code >> _PLACE_BITS) % width_px
    y = y * upsampling + ((code >> 2) & 3) // step
    x = x * upsampling + (code & 3) // step
    counted = torch.bincount(y * out_yx.shape[1] + x, minlength=out_yx.numel()).view(out_yx.shape)
    out_yx.copy_((out_yx.to(torch.int64) + counted).to(out_yx.dtype))


def _walk(stream_b: Tensor, size_bytes: int, layout: EventLayout, pixels: int) -> tuple[Tensor, int]:
    """Return the codes of one stream, and the pixel that it leads to.

    Where tokens begin depends on those before them: from every bit it is known where the next would begin, and the
    tokens are found by following twice as many of these steps at once each time.
    """
    bits = 8 * size_bytes
    bytes_b = stream_b[: size_bytes + TAIL_BYTES].long()
    whole_b = sum(bytes_b[byte : size_bytes + byte] << (8 * byte) for byte in range(4))
    assert isinstance(whole_b, Tensor)
    bit = torch.arange(8)
    word_p = (whole_b[:, None] >> bit).reshape(-1)
    run_p = word_p & layout.longest_run
    is_event_p = run_p != layout.longest_run
    next_p = torch.arange(bits) + torch.where(is_event_p, layout.event_bits, layout.skip_bits)
    # A run length that is cut off by the end is none; from there every step leads to the end itself.
    last = bits - layout.run_bits
    step_p = torch.cat([next_p, torch.tensor([bits])]) if bits else torch.zeros(1, dtype=torch.int64)
    step_p = torch.where(step_p > last, bits, step_p)
    token = torch.zeros(1, dtype=torch.int64) if last >= 0 else torch.zeros(0, dtype=torch.int64)
    while len(token) and int(token[-1]) < bits:
        token = torch.cat([token, step_p[token]])
        step_p = step_p[step_p]
    token = token[token < bits]
    is_event, is_whole = is_event_p[token], token + layout.event_bits <= bits
    return _place(word_p[token], run_p[token], is_event, is_whole, layout, pixels)


def _place(
    word: Tensor, run: Tensor, is_event: Tensor, is_whole: Tensor, layout: EventLayout, pixels: int
) -> tuple[Tensor, int]:
    """Return the codes of tokens in order, and the pixel behind the last one that the frame takes.

    An event whose place is cut off by the end is none; the run length that closes a frame has no place.
    """
    behind = torch.cumsum(run + is_event, 0)
    target = behind - is_event.long()
    is_event = is_event & is_whole
    behind = target + is_event.long()
    closing = torch.nonzero(target >= pixels)
    if len(closing):
        end = int(target[closing[0, 0]])
        taken = slice(0, int(closing[0, 0]))
    else:
        end = int(behind[-1]) if len(behind) else 0
        taken = slice(0, len(target))
    target, word, is_event = target[taken], word[taken], is_event[taken]
    x = _on_grid(word >> layout.run_bits, layout.x_bits)
    y = _on_grid(word >> (layout.run_bits + layout.x_bits), layout.y_bits)
    code = (target << _PLACE_BITS) | (y << 2) | x
    return code[is_event].to(torch.int32), end


def _on_grid(stored: Tensor, bits: int) -> Tensor:
    """A place, of whose stored bits the top one is inverted, in cells of the grid."""
    place = (stored & ((1 << bits) - 1)) ^ (1 << (bits - 1))
    return place >> (bits - 2) if bits >= 2 else place << 1
