"""What a GPU can do at best: its memory's bandwidth, the bus's, and the bytes that each step cannot do without."""

import time
from collections.abc import Callable

import torch

_PROBE_BYTES = 1 << 30
_ROUNDS = 10

EXPAND_BYTES, TRANSFORM_BYTES, WARP_BYTES, ADD_BYTES = 5, 16, 8, 20
"""For each pixel of a frame, float32: reading a count and writing a value; a real transform, two passes that read and
write; reading and writing a warped frame; reading its transform and adding it to two sums, which are read and written.
"""


def measure_bandwidths(device: torch.device) -> dict[str, float]:
    """Measure bytes per second read and written on the device, and copied up from pinned memory."""
    there, target = (torch.zeros(_PROBE_BYTES, dtype=torch.uint8, device=device) for _ in range(2))
    pinned = torch.zeros(_PROBE_BYTES // 4, dtype=torch.uint8, pin_memory=True)
    inside_s = _seconds_each(lambda: target.copy_(there), device)
    upward_s = _seconds_each(lambda: target[: len(pinned)].copy_(pinned, non_blocking=True), device)
    return {"memory_bytes_per_s": 2 * _PROBE_BYTES / inside_s, "upload_bytes_per_s": len(pinned) / upward_s}


def least_seconds(decoded_bytes: int, memory_bytes_per_s: float, upload_bytes_per_s: float) -> dict[str, float]:
    """Return the least time of each step: its bytes ÷ bandwidth, each frame touched as seldom as can be.

    `decoded_bytes` is the size of the movie in memory, one byte a pixel.
    """
    pixels = decoded_bytes
    return {
        "copy up": decoded_bytes / upload_bytes_per_s,
        "estimate": pixels * (EXPAND_BYTES + TRANSFORM_BYTES) / memory_bytes_per_s,
        "sum": pixels * (EXPAND_BYTES + WARP_BYTES + TRANSFORM_BYTES + ADD_BYTES) / memory_bytes_per_s,
    }


def _seconds_each(work: Callable[[], object], device: torch.device) -> float:
    work()
    torch.cuda.synchronize(device)
    begun = time.perf_counter()
    for _ in range(_ROUNDS):
        work()
    torch.cuda.synchronize(device)
    return (time.perf_counter() - begun) / _ROUNDS
