"""Electron events counted by the GPU's kernel and by its twin: the same integers, and how fast."""

import time
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import torch

from daemon.formats.eer_scheme import EER_65001
from daemon.formats.eer_writer import encode_events
from daemon.numerics.kernels.eer_events import (
    EventLayout,
    EventStreams,
    add_events,
    decode_events,
    place_streams,
)

_LAYOUT = EventLayout(EER_65001.run_bits, EER_65001.x_bits, EER_65001.y_bits, EER_65001.skip_bits)
_RATE = 0.06
"""Events a pixel and hardware frame, about what a Falcon sees."""
_ROUNDS = 5


def _write_streams(side_px: int, different: int, frames: int) -> EventStreams:
    """Streams of so many frames, of which some are the same: writing them takes longer than counting."""
    rng = np.random.default_rng(1)
    written = []
    for _ in range(different):
        pixel = np.flatnonzero(rng.random(side_px * side_px, dtype=np.float32) < _RATE)
        x = (pixel % side_px) * 4 + rng.integers(0, 4, pixel.size)
        y = (pixel // side_px) * 4 + rng.integers(0, 4, pixel.size)
        written.append(np.frombuffer(encode_events(x, y, (side_px, side_px), EER_65001), np.uint8))
    chosen = [written[frame % different] for frame in range(frames)]
    sizes = tuple(len(stream) for stream in chosen)
    first_byte_f, size = place_streams(sizes)
    joined = np.zeros(size, np.uint8)
    for first, stream in zip(first_byte_f, chosen, strict=True):
        joined[first : first + len(stream)] = stream
    return EventStreams(torch.from_numpy(joined), first_byte_f, sizes)


def measure_events(device: torch.device, tell: Callable[[str], None], *, small: bool) -> bool:
    """Count a small movie on both and a large one on the GPU; whether both counted the same."""
    if device.type == "cuda" and find_spec("cupy") is None:
        tell("events: unproven, cupy is not installed")
        return True
    side_px, pixels = 256, 256 * 256
    streams = _write_streams(side_px, 8, 8)
    counted = []
    for where in (torch.device("cpu"), device):
        there = EventStreams(streams.stream_b.to(where), streams.first_byte_f, streams.size_bytes_f)
        events = decode_events(there, _LAYOUT, pixels)
        images = [torch.zeros((side_px * finer,) * 2, dtype=torch.uint8, device=where) for finer in (1, 2, 4)]
        for finer, image_yx in zip((1, 2, 4), images, strict=True):
            add_events(events, 0, 8, side_px, finer, image_yx)
        counted.append([image_yx.cpu() for image_yx in images])
    agrees = all(torch.equal(*both) for both in zip(*counted, strict=True))
    tell(f"events: kernel and twin count {'the same' if agrees else 'DIFFERENTLY'} on grids 1, 2 and 4 times finer")
    if not small:
        _measure_speed(device, tell)
    return agrees


def _measure_speed(device: torch.device, tell: Callable[[str], None]) -> None:
    side_px, frames, fractions = 4096, 320, 40
    streams = _write_streams(side_px, 4, frames)
    there = EventStreams(streams.stream_b.to(device), streams.first_byte_f, streams.size_bytes_f)
    stack_tyx = torch.zeros((fractions, side_px, side_px), dtype=torch.uint8, device=device)
    finer_yx = torch.zeros((2 * side_px, 2 * side_px), dtype=torch.uint8, device=device)
    each = frames // fractions
    events = decode_events(there, _LAYOUT, side_px * side_px)

    def decode() -> None:
        decode_events(there, _LAYOUT, side_px * side_px)

    def count() -> None:
        for fraction in range(fractions):
            add_events(events, fraction * each, (fraction + 1) * each, side_px, 1, stack_tyx[fraction])

    def count_finer() -> None:
        for fraction in range(fractions):
            add_events(events, fraction * each, (fraction + 1) * each, side_px, 2, finer_yx)

    steps: dict[str, Callable[[], None]] = {"decode": decode, "count": count, "count on 8k": count_finer}
    seconds = {}
    for name, work in steps.items():
        work()
        torch.cuda.synchronize(device)
        begun = time.perf_counter()
        for _ in range(_ROUNDS):
            work()
        torch.cuda.synchronize(device)
        seconds[name] = (time.perf_counter() - begun) / _ROUNDS
    compressed_bytes = sum(streams.size_bytes_f)
    speed = compressed_bytes / (seconds["decode"] + seconds["count"]) / 1e9
    told = ", ".join(f"{name} {value * 1e3:.1f} ms" for name, value in seconds.items())
    tell(f"events of {frames} frames of {side_px}², {compressed_bytes / 1e6:.0f} MB: {told}; {speed:.1f} GB/s (goal 5)")
