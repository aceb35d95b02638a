"""Frames thinned out to every other pixel before they are transformed, where what motion is read from allows it.

A half-band filter (Bellanger et al. 1974, IEEE Trans. ASSP 22, 109) keeps frequencies up to `edge` (cycles per px), and
what would fold back onto them is damped; that it does not keep all of them alike is known exactly and divided out
after the transform. All but one of its taps at even distances are zero.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Num
from torch import Tensor

from daemon.numerics.detector import FrameCorrection, mirrored
from daemon.numerics.kernels import has_kernels, type_for_kernels

_WIDEST_EDGE_PER_PX = 0.23
_MOST_PAIRS = 12
# Amplitude of what folds back, relative to what it falls on: noise of a 40,000th of the power.
_FOLDED = 5e-3


@dataclass(frozen=True)
class HalfBand:
    """A filter's tap at the centre and those of the odd distances 1, 3, 5, … px on either side."""

    taps_k: Float[Tensor, "k"]

    def response(self, frequency_per_px: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        """What it leaves of each frequency, float64."""
        distance_k = 2 * torch.arange(1, len(self.taps_k), dtype=torch.float64) - 1
        waves_nk = torch.cos(2 * torch.pi * frequency_per_px.double()[:, None] * distance_k)
        taps_k = self.taps_k.double()
        return taps_k[0] + 2 * waves_nk @ taps_k[1:]


@lru_cache(maxsize=16)
def design_half_bands(highest_per_px: float) -> tuple[HalfBand, ...]:
    """One filter for each time that frames can be halved when frequencies up to `highest_per_px` are wanted."""
    filters = []
    while highest_per_px <= _WIDEST_EDGE_PER_PX:
        filters.append(_design(highest_per_px))
        highest_per_px *= 2
    return tuple(filters)


def _design(edge_per_px: float) -> HalfBand:
    """Least squares over what folds back, with as few taps as keep it small."""
    folded_per_px = np.linspace(0.5 - edge_per_px, 0.5, 256)
    for pairs in range(2, _MOST_PAIRS + 1):
        waves = 2 * np.cos(2 * np.pi * np.outer(folded_per_px, 2 * np.arange(1, pairs + 1) - 1))
        taps = np.linalg.lstsq(waves, np.full(len(waves), -0.5), rcond=None)[0]
        if np.abs(waves @ taps + 0.5).max() < _FOLDED:
            break
    return HalfBand(torch.from_numpy(np.concatenate([[0.5], taps])).float())


def halved_shape(shape_yx: tuple[int, int], times: int) -> tuple[int, int]:
    """Shape of what is left of an image."""
    step = 2**times
    return -(-shape_yx[0] // step), -(-shape_yx[1] // step)


def halve_frame(
    raw_yx: Num[Tensor, "y x"], correction: FrameCorrection, filters: tuple[HalfBand, ...], *, half_yx: Tensor
) -> None:
    """Write a corrected frame, filtered and thinned out along both axes once for each filter, into half_yx.

    Pixel (0, 0) stays where it is; edges are mirrored.
    """
    if not has_kernels(raw_yx.device):
        image_yx = correction.apply(raw_yx)
        for each in filters:
            image_yx = _halve(_halve(image_yx, each).T, each).T
        half_yx.copy_(image_yx)
        return
    from daemon.numerics.kernels import reduction  # noqa: PLC0415 - needs numba

    references, repairs = correction.references(), correction.repairs(raw_yx)
    image_yx = raw_yx.to(type_for_kernels(raw_yx.dtype))
    for index, each in enumerate(filters):
        is_last = index == len(filters) - 1
        shape_yx = halved_shape((image_yx.shape[0], image_yx.shape[1]), 1)
        target_yx = half_yx if is_last else torch.empty(shape_yx)
        reduction.halve(image_yx, references, repairs, each.taps_k, target_yx)
        image_yx, references = target_yx, _nothing_to_correct(shape_yx[0])


def _nothing_to_correct(height: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    none_yx, none = torch.zeros(0, 0), torch.zeros(0, dtype=torch.int64)
    return none_yx, none_yx, torch.zeros(height + 1, dtype=torch.int64), none


def _halve(image_yx: Tensor, filter_: HalfBand) -> Tensor:
    """Every other row of an image filtered along y."""
    height, count = image_yx.shape[0], (image_yx.shape[0] + 1) // 2
    taps_k = filter_.taps_k.tolist()
    half_yx: Tensor = taps_k[0] * image_yx[::2]
    position = 2 * torch.arange(count)
    for pair, tap in enumerate(taps_k[1:]):
        above, below = (mirrored(position + way * (2 * pair + 1), height).to(image_yx.device) for way in (-1, 1))
        half_yx += tap * (image_yx[above] + image_yx[below])
    return half_yx
