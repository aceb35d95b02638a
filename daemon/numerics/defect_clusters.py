"""Dead and hot clusters of a camera's pixels, too wide for a pixel's surroundings to tell, from a movie's own mean.

What a cluster has and no specimen is its edge: from one pixel to the next its whole contrast comes and goes, as
neither optics nor motion lie between. Clusters are looked for among coarse pixels, then pixel by pixel.
"""

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import binary_dilation, binary_erosion, binary_fill_holes, find_objects, label
from torch import Tensor
from torch.nn.functional import avg_pool2d

from daemon.numerics.surroundings import deviate_from_surroundings, for_each

_COARSE_PX = (3, 6)
"""Sides of coarse pixels. A cluster five pixels wide holds a whole one of the first; of the widest, 19 pixels, four
of the second are a side, which do not outvote those around them."""
_MOST_COARSE = 4
_STRIP_ROWS, _GPU_STRIP_ROWS = 96, 1536
_LARGEST_RATIO = 0.5
"""A dead cluster counts at most this much of its surroundings, a hot one at least its inverse."""
_SIGNIFICANCE_SIGMA = 6.0
_INNER_SHARE, _OUTER_SHARE = 0.85, 0.2
"""Contrast on the pixels inside the edge, at least, and outside of it, at most: a gold bead that nothing
blurs has 0.7 inside, the less the wider it is."""
_FEWEST_AROUND = 32

Flags = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]


def add_clusters(
    mean_yx: Float[Tensor, "y x"], frames: int, gain_yx: Float[Tensor, "y x"] | None, defects_yx: Bool[Tensor, "y x"]
) -> None:
    """Add clusters 5 to 19 pixels wide, and the pixels along their edges, to the defects; all else as `find_defects`.

    Those that count half as much as their surroundings or less, or twice as much or more, by six times the noise of
    a single pixel: a dead cluster from some 15 counts on.
    """
    total_yx, number_yx = _bin(mean_yx, gain_yx, defects_yx)
    for coarse_px in _COARSE_PX:
        if coarse_px > _COARSE_PX[0]:
            factor = coarse_px // _COARSE_PX[0]
            total_yx, number_yx = (_pool(each, factor) for each in (total_yx, number_yx))
        for suspects in _suspects(total_yx, number_yx, frames, coarse_px):
            _judge(suspects, coarse_px, mean_yx, frames, gain_yx, defects_yx)


def _bin(mean_yx: Tensor, gain_yx: Tensor | None, defects_yx: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the good pixels in each coarse one, by the gain, and how many they are."""
    side = _COARSE_PX[0]
    shape_yx = [-(-size // side) for size in mean_yx.shape]
    total_yx, number_yx = (torch.empty(shape_yx, device=mean_yx.device) for _ in range(2))

    def add_up(rows: slice) -> None:
        good_yx = ~defects_yx[rows]
        flat_yx = mean_yx[rows].float()
        if gain_yx is not None:
            flat_yx = flat_yx * gain_yx[rows]
        coarse = slice(rows.start // side, -(-rows.stop // side))
        total_yx[coarse] = _pool(flat_yx.where(good_yx, 0.0), side)
        number_yx[coarse] = _pool(good_yx.float(), side)

    height, rows = int(mean_yx.shape[0]), _STRIP_ROWS if mean_yx.device.type == "cpu" else _GPU_STRIP_ROWS
    for_each(add_up, (slice(top, min(top + rows, height)) for top in range(0, height, rows)), mean_yx.device)
    return total_yx, number_yx


def _pool(values_yx: Tensor, side: int) -> Tensor:
    """Sums over squares, cut at the far edges."""
    pooled: Tensor = avg_pool2d(values_yx[None], side, ceil_mode=True, divisor_override=1)[0]
    return pooled


def _suspects(
    total_yx: Tensor, number_yx: Tensor, frames: int, coarse_px: int
) -> list[tuple[tuple[slice, slice], Flags]]:
    """Groups of coarse pixels that differ enough from what surrounds them: where, and which within."""
    area = coarse_px**2
    mean_yx = total_yx / number_yx
    mean_yx[2 * number_yx < area] = torch.nan
    deviation_yx, unknown_yx = deviate_from_surroundings(mean_yx, frames * area, None, None)
    root_yx = 2 * (mean_yx.clamp_min(0) * (frames * area) + 0.375).sqrt()
    ratio_yx = (root_yx / (root_yx - deviation_yx)).square()
    odd_yx = (ratio_yx <= _LARGEST_RATIO) | (ratio_yx >= 1 / _LARGEST_RATIO)
    odd_yx &= (deviation_yx.abs() > _SIGNIFICANCE_SIGMA) & ~unknown_yx
    if not bool(odd_yx.any()):
        return []
    labels, _ = label(odd_yx.cpu().numpy(), structure=np.ones((3, 3)))
    places = enumerate(find_objects(labels), start=1)
    small = [(index, box) for index, box in places if max(side.stop - side.start for side in box) <= _MOST_COARSE]
    return [(box, labels[box] == index) for index, box in small]


def _judge(
    suspects: tuple[tuple[slice, slice], Flags],
    coarse_px: int,
    mean_yx: Tensor,
    frames: int,
    gain_yx: Tensor | None,
    defects_yx: Tensor,
) -> None:
    """Add a group's pixels to the defects if it is a cluster."""
    box, chosen = suspects
    # Three coarse pixels more on every side: one that the edge may lie in, two that are the surroundings.
    middle, around = np.pad(chosen, 3), np.pad(np.zeros(np.add(chosen.shape, 2), bool), 2, constant_values=True)
    middle, around = (np.kron(each, np.ones((coarse_px, coarse_px), bool)) for each in (middle, around))
    first_y, first_x = ((side.start - 3) * coarse_px for side in box)
    height, width = mean_yx.shape
    window = (
        slice(max(first_y, 0), min(first_y + len(middle), height)),
        slice(max(first_x, 0), min(first_x + middle.shape[1], width)),
    )
    seen = (
        slice(window[0].start - first_y, window[0].stop - first_y),
        slice(window[1].start - first_x, window[1].stop - first_x),
    )
    counts_yx = mean_yx[window].double() * frames
    if gain_yx is not None:
        counts_yx = counts_yx * gain_yx[window]
    defective = defects_yx[window].cpu().numpy()
    root = 2 * np.sqrt(np.maximum(np.where(defective, 0.0, counts_yx.cpu().numpy()), 0) + 0.375)
    cluster = _outline(root, ~defective, middle[seen], around[seen])
    if cluster is not None:
        defects_yx[window] |= torch.from_numpy(cluster).to(defects_yx.device)


def _outline(root: Values, good: Flags, middle: Flags, around: Flags) -> Flags | None:
    """Pixels of a cluster and along its edge, from roots of counts; None where it is none.

    middle: pixels that are in it as a rule, around: pixels that can't be.
    """
    if int((around & good).sum()) < _FEWEST_AROUND or not (middle & good).any():
        return None
    level, core = float(np.median(root[around & good])), float(np.median(root[middle & good]))
    spread = 1.4826 * float(np.median(np.abs(root[around & good] - level)))
    if abs(core - level) < _SIGNIFICANCE_SIGMA * spread or core == level:
        return None
    contrast = (root - level) / (core - level)
    odd = (contrast > 0.5) & good
    # What was found before, a corner as a rule, holds the pixels beside it together.
    labels, _ = label((odd | ~good) & ~around, structure=np.ones((3, 3)))
    cluster: Flags = binary_fill_holes(np.isin(labels, np.unique(labels[middle & odd])))
    widened: Flags = binary_dilation(cluster, np.ones((3, 3)))
    inner, outer = cluster & good & ~binary_erosion(cluster | ~good, border_value=1), widened & good & ~cluster
    if (widened & around & odd).any() or not (inner.any() and outer.any()):
        return None
    is_sharp = contrast[inner].mean() >= _INNER_SHARE and contrast[outer].mean() <= _OUTER_SHARE
    return widened if is_sharp else None
