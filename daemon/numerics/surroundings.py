"""Pixels of a movie's mean beside what the pixels around them predict."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from daemon.numerics.kernels import has_kernels
from daemon.numerics.parallel import map_in_order

T = TypeVar("T")

# Rows handled at once: a strip and its temporaries stay in the processor's cache; a GPU takes more.
_STRIP_ROWS, _GPU_STRIP_ROWS = 16, 512
# A compiled kernel keeps rows in the cache by itself.
_KERNEL_STRIP_ROWS = 128
# Sorting network that brings the median of nine values to index 4 (Smith 1996, XAPP953; checked by the 0-1 principle).
_MEDIAN_OF_9 = (
    ((1, 2), (4, 5), (7, 8)),
    ((0, 1), (3, 4), (6, 7)),
    ((1, 2), (4, 5), (7, 8)),
    ((0, 3), (5, 8), (4, 7)),
    ((3, 6), (1, 4), (2, 5)),
    ((4, 7), (4, 2)),
    ((6, 4),),
    ((4, 2),),
)


def deviate_from_surroundings(
    mean_yx: Tensor, frames: int, gain_yx: Tensor | None, known_yx: Tensor | None
) -> tuple[Float[Tensor, "y x"], Bool[Tensor, "y x"]]:
    """Deviation of 2·√(counts + 3/8) from what a pixel's surroundings predict, and what is defective in any case.

    Counts are those of all frames together; mean_yx is their mean over frames. The prediction is the median of nine
    pixels two apart, by the gain. Defective in any case: not finite, known, or without a gain above zero.
    """
    height, device = int(mean_yx.shape[0]), mean_yx.device
    defects_yx = torch.empty(mean_yx.shape, dtype=torch.bool, device=device)
    if has_kernels(device):
        from daemon.numerics.kernels import surroundings  # noqa: PLC0415 - needs numba

        deviation_yx = torch.empty(mean_yx.shape, dtype=torch.float32)
        write = surroundings.deviate(mean_yx, gain_yx, known_yx, frames, deviation_yx, defects_yx)
        for_each(write, strips(height, device, _KERNEL_STRIP_ROWS), device)
        return deviation_yx, defects_yx
    counts_yx = torch.empty(mean_yx.shape, dtype=torch.float32, device=device)
    relative_yx = None if gain_yx is None else torch.empty_like(counts_yx)

    def prepare(rows: slice) -> None:
        strip_yx = mean_yx[rows].to(torch.float32) * frames
        bad_yx = ~is_finite(strip_yx)
        if known_yx is not None:
            bad_yx |= known_yx[rows]
        if gain_yx is not None and relative_yx is not None:
            blind_yx = ~(is_finite(gain_yx[rows]) & (gain_yx[rows] > 0))
            bad_yx |= blind_yx
            relative_yx[rows] = gain_yx[rows].to(torch.float32).masked_fill(blind_yx, 1)
        defects_yx[rows] = bad_yx
        counts_yx[rows] = torch.nan_to_num_(strip_yx, posinf=0.0, neginf=0.0)

    for_each(prepare, strips(height, device), device)
    return _deviation_from_surroundings(counts_yx, relative_yx), defects_yx


def _deviation_from_surroundings(counts_yx: Tensor, gain_yx: Tensor | None) -> Tensor:
    """Difference of 2·√(counts + 3/8) to what the median of the surroundings predicts for this pixel."""
    height, width = counts_yx.shape
    deviation_yx = torch.empty_like(counts_yx)

    def compare(rows: slice) -> None:
        first, last = max(rows.start - 2, 0), min(rows.stop + 2, height)
        flat_yx = counts_yx[first:last]
        if gain_yx is not None:
            flat_yx = flat_yx * gain_yx[first:last]
        above, below = first - rows.start + 2, rows.stop + 2 - last
        padded_yx = pad(flat_yx[None, None], (2, 2, above, below), mode="replicate")[0, 0]
        strip = rows.stop - rows.start
        expected_yx = _median_of_nine(
            [padded_yx[dy : dy + strip, dx : dx + width] for dy in (0, 2, 4) for dx in (0, 2, 4)]
        )
        if gain_yx is not None:
            expected_yx = expected_yx / gain_yx[rows]
        root_yx = (counts_yx[rows].clamp_min(0) + 0.375).sqrt()
        deviation_yx[rows] = root_yx.sub_((expected_yx.clamp_min(0) + 0.375).sqrt()).mul_(2)

    for_each(compare, strips(height, counts_yx.device), counts_yx.device)
    return deviation_yx


def _median_of_nine(values: list[Tensor]) -> Tensor:
    for layer in _MEDIAN_OF_9:
        for low, high in layer:
            values[low], values[high] = (
                torch.minimum(values[low], values[high]),
                torch.maximum(values[low], values[high]),
            )
    return values[4]


def for_each(work: Callable[[T], None], items: Iterable[T], device: torch.device) -> None:
    """Do the work for all items, as `map_in_order` does."""
    for _ in map_in_order(work, items, device=device):
        pass


def strips(height: int, device: torch.device, rows: int = _STRIP_ROWS) -> Iterator[slice]:
    """Rows to be handled at once; `rows` of them on the CPU."""
    rows = rows if device.type == "cpu" else _GPU_STRIP_ROWS
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def is_finite(values: Tensor) -> Tensor:
    """torch.isfinite, at a tenth of its price."""
    return values.abs() < math.inf
