"""Raw CUDA kernels for electron events, the twins of `eer_events`. Importing this module loads cupy.

One thread walks the stream of one hardware frame, as its tokens can be found in no other order: a movie has hundreds,
and that many walk at once. Counting takes one thread an event. Counts of one or two bytes are added to the word that
they lie in: none overflows into its neighbour, as no pixel is counted beyond its type, so the sums are those of bytes.
"""

from functools import cache
from typing import Any

import cupy
import numpy as np
import torch
from torch import Tensor

_WALKERS = 32
"""Threads of a block of which one walks: blocks, not threads, are spread over the device."""
_ADDERS, _ADDING_BLOCKS = 256, 64

_SOURCE = r"""
typedef unsigned int u32;
typedef unsigned long long u64;

extern "C" __global__ void walk_events(
    const u32* words, const long long* first_byte, const long long* size_bytes, const long long* first_code,
    int run_bits, int x_bits, int y_bits, int skip_bits, long long pixels,
    int* code, long long* count, long long* end)
{
    if (threadIdx.x != 0) return;
    const int frame = blockIdx.x;
    const u32* word = words + first_byte[frame] / 4;
    int* out = code + first_code[frame];
    const long long bits = 8 * size_bytes[frame];
    const u32 longest = (1u << run_bits) - 1u;
    const int event_bits = run_bits + x_bits + y_bits;
    u64 window = 0;
    int filled = 0;
    long long at = 0, pixel = 0, found = 0;
    while (at + run_bits <= bits) {
        if (filled < 32) {
            window |= (u64)(*word++) << filled;
            filled += 32;
        }
        const u32 token = (u32)window;
        const u32 run = token & longest;
        pixel += run;
        if (pixel >= pixels) break;
        int spent = skip_bits;
        if (run != longest) {
            if (at + event_bits > bits) break;  // cut off by the end: no event
            u32 x = ((token >> run_bits) & ((1u << x_bits) - 1u)) ^ (1u << (x_bits - 1));
            u32 y = ((token >> (run_bits + x_bits)) & ((1u << y_bits) - 1u)) ^ (1u << (y_bits - 1));
            x = x_bits >= 2 ? x >> (x_bits - 2) : x << 1;
            y = y_bits >= 2 ? y >> (y_bits - 2) : y << 1;
            out[found++] = (int)((pixel << 4) | (y << 2) | x);
            pixel += 1;
            spent = event_bits;
        }
        window >>= spent;
        filled -= spent;
        at += spent;
    }
    count[frame] = found;
    end[frame] = pixel;
}

extern "C" __global__ void count_events(
    const int* code, const long long* first_code, const long long* count, int first_frame,
    int width, int upsampling, int bytes_each, unsigned char* image)
{
    const int frame = first_frame + blockIdx.y;
    const int* codes = code + first_code[frame];
    const long long events = count[frame];
    const int step = 4 / upsampling;
    const long long stride = (long long)gridDim.x * blockDim.x;
    for (long long event = (long long)blockIdx.x * blockDim.x + threadIdx.x; event < events; event += stride) {
        const u32 place = (u32)codes[event];
        const long long pixel = place >> 4;
        const long long y = (pixel / width) * upsampling + ((place >> 2) & 3u) / step;
        const long long x = (pixel % width) * upsampling + (place & 3u) / step;
        const u64 address = (u64)image + (u64)((y * width * upsampling + x) * bytes_each);
        atomicAdd((u32*)(address & ~(u64)3), 1u << (8 * (u32)(address & 3)));
    }
}
"""


@cache
def _module() -> Any:
    return cupy.RawModule(code=_SOURCE)


def decode_on_device(
    stream_b: Tensor,
    first_byte_f: Tensor,
    size_bytes_f: Tensor,
    widths: tuple[int, int, int, int],
    pixels: int,
    code_e: Tensor,
    first_f: Tensor,
) -> tuple[Tensor, Tensor]:
    """Write the codes of each frame from first_f on; return how many they are, and the pixel each stream leads to.

    `widths` are the bits of run length, x, y and a skip.
    """
    count_f, end_f = torch.empty_like(first_f), torch.empty_like(first_f)
    arguments = (
        *(tensor.data_ptr() for tensor in (stream_b, first_byte_f, size_bytes_f, first_f)),
        *(np.int32(width) for width in widths),
        np.int64(pixels),
        *(tensor.data_ptr() for tensor in (code_e, count_f, end_f)),
    )
    _launch("walk_events", (len(first_f),), (_WALKERS,), arguments, stream_b.device)
    return count_f, end_f


def add_on_device(
    code_e: Tensor,
    first_f: Tensor,
    count_f: Tensor,
    start: int,
    end: int,
    width_px: int,
    upsampling: int,
    out_yx: Tensor,
) -> None:
    """Count the events of hardware frames [start, end) into an image."""
    arguments = (
        *(tensor.data_ptr() for tensor in (code_e, first_f, count_f)),
        *(np.int32(value) for value in (start, width_px, upsampling, out_yx.element_size())),
        out_yx.data_ptr(),
    )
    _launch("count_events", (_ADDING_BLOCKS, end - start), (_ADDERS,), arguments, out_yx.device)


class _Borrowed:
    """A stream of torch in the protocol that cupy takes streams in."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def __cuda_stream__(self) -> tuple[int, int]:
        """Version of the protocol, and the stream."""
        return 0, self._handle


def _launch(name: str, grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...], device: Any) -> None:
    """Launch on the stream that torch computes on, so that torch's allocator knows who uses what."""
    handle = torch.cuda.current_stream(device).cuda_stream
    with cupy.cuda.Device(device.index):
        if hasattr(cupy.cuda.Stream, "from_external"):
            stream = cupy.cuda.Stream.from_external(_Borrowed(handle))
        else:  # before cupy 14
            stream = cupy.cuda.ExternalStream(handle, device.index)
        with stream:
            _module().get_function(name)(grid, block, arguments)
