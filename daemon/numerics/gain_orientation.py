"""Which way round a gain reference fits the raw counts of a camera, and whether it multiplies or divides them.

Raw counts are (specimen · beam) / gain where the gain multiplies, (specimen · beam) · gain where it divides. What a
specimen and a beam show is smooth from one pixel to the next; what a camera's pixels do is not. So both images are
taken relative to their surroundings, r = counts / local mean − 1 and p = ln(gain / local mean), and
r = −p + noise where the gain multiplies, r = +p + noise where it divides. In a wrong orientation p is unrelated to r.

Whether one hypothesis is better than another is told from the scatter of Σ r·p over many small tiles, without a model
of the noise: x = Σ over tiles / √(Σ of squares over tiles), which has variance one and lighter tails than a Gaussian
when the true mean is zero (self-normalised sum; de la Peña, Lai & Shao 2009, Self-Normalized Processes, theorem 2.14:
P(x ≥ z) ≤ exp(−z²/2) for symmetric terms).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Num
from numpy import ndarray
from scipy.ndimage import uniform_filter

K = TypeVar("K")

Doubt = Literal["flat", "thin", "alike", "faint", "foreign"]
"""Why no hypothesis is believed.

flat: the gain has no pattern from pixel to pixel. thin: too few counts to tell. alike: however many counts, two
hypotheses fit about equally well (a gain with a symmetry). faint: the pattern is there, but far weaker than in the
gain, as after a gain correction by the camera. foreign: there are counts enough, and the gain fits in no orientation.
"""

_LARGEST_PX = 2048
_SURROUNDINGS_PX = 9
_TILE_PX = 16
_OUTLIER_SIGMA = 6.0
_LARGEST_PATTERN = 0.5  # beyond a factor of e^±½ a pixel is broken, not a little more sensitive
_DARK_SHARE = 0.1  # pixels with less than this of the mean counts are behind a grid bar or dead
_ENOUGH_SIGMA = 7.0
_AMPLE = 3.0
_FLAT = 1e-5
_ALIKE = 0.05
_FAINTEST, _STRONGEST = 0.3, 2.0
_FEWEST_TILES = 50  # a self-normalised sum of n terms is never above √n


@dataclass(frozen=True)
class PatternEvidence(Generic[K]):
    """How well the best of all hypotheses fits; believe it only where `doubt` is None.

    fit_sigma: its Σ r·p in units of its own scatter. margin_sigma: the same of its difference to the hypothesis that
    comes nearest. strength: how much of the gain's pattern the counts show (1 = all of it). expected_sigma: the
    fit_sigma that counting noise would let a gain of strength 1 reach, were the tiles innumerable.
    """

    best: K
    divides: bool
    fit_sigma: float
    margin_sigma: float
    strength: float
    expected_sigma: float
    doubt: Doubt | None


def central_part(shape_yx: tuple[int, int]) -> tuple[slice, slice]:
    """Return the middle of an image, 2048 px at most each way: enough to tell, and a turn of it is part of the turn."""
    slices = []
    for side in shape_yx:
        margin = max(0, -(-(side - _LARGEST_PX) // 2))
        slices.append(slice(margin, side - margin))
    return slices[0], slices[1]


def gain_pattern(gain_yx: Num[ndarray, "y x"]) -> Float[ndarray, "y x"]:
    """Return ln(gain / mean of its surroundings), float32; 0 where the gain is not a positive number.

    Turning the gain turns its pattern alike, so it is made once for all orientations. Raises ValueError when no pixel
    is positive or the gain has not two axes.
    """
    if gain_yx.ndim != 2:
        raise ValueError(f"a gain has axes (y, x), got shape {gain_yx.shape}")
    usable_yx = np.isfinite(gain_yx) & (gain_yx > np.finfo(np.float32).tiny)
    if not usable_yx.any():
        raise ValueError("no pixel of the gain is positive")
    level = float(gain_yx[usable_yx].mean(dtype=np.float64))
    relative_yx = np.where(usable_yx, gain_yx / level, 1.0).astype(np.float32)
    np.log(relative_yx, out=relative_yx)
    np.clip(relative_yx, -_LARGEST_PATTERN, _LARGEST_PATTERN, out=relative_yx)
    return _above_surroundings(relative_yx, usable_yx)


def weigh_orientations(
    counts_yx: Num[ndarray, "y x"], patterns: Mapping[K, Float[ndarray, "_y _x"]]
) -> PatternEvidence[K]:
    """Return which of the patterns (of `gain_pattern`, turned) the raw counts show, and whether they were divided.

    counts_yx: sum of raw frames, not aligned (the camera's pixels stay where they are while the specimen moves), over
    as many frames and movies as there are. Patterns of another shape than the counts are left out: a sensor that is
    not square can't be turned by 90°. Hot and dead pixels, and what lies behind a grid bar, count nothing. Raises
    ValueError when no pattern fits the shape, or the counts have no positive mean.
    """
    fitting = {key: pattern_yx for key, pattern_yx in patterns.items() if pattern_yx.shape == counts_yx.shape}
    if not fitting:
        raise ValueError(f"no pattern has the shape {counts_yx.shape} of the counts")
    response_yx = _relative_response(counts_yx)
    variance = _tile_sums(response_yx * response_yx)
    seen = _tile_sums((response_yx != 0).astype(np.float32))
    weight = np.divide(seen, variance, out=np.zeros_like(seen), where=(variance > 0) & (seen > _TILE_PX))
    keys = list(fitting)
    sums = np.stack([_tile_sums(response_yx * fitting[key]) * weight for key in keys])
    best = int(np.argmax(np.abs(sums.sum(axis=1))))
    sign = 1.0 if sums[best].sum() > 0 else -1.0
    others = [(i, other) for i in range(len(keys)) for other in (1.0, -1.0) if (i, other) != (best, sign)]
    margins = [_self_normalised(sign * sums[best] - other * sums[i]) for i, other in others]
    nearest, nearest_sign = others[int(np.argmin(margins))]

    def energy(image_yx: npt.NDArray[Any]) -> float:
        return float((_tile_sums(image_yx * image_yx * (response_yx != 0)) * weight).sum())

    pattern_yx, other_yx = sign * fitting[keys[best]], nearest_sign * fitting[keys[nearest]]
    own, apart = energy(pattern_yx), energy(pattern_yx - other_yx)
    evidence = PatternEvidence(
        best=keys[best],
        divides=sign > 0,
        fit_sigma=_self_normalised(sign * sums[best]),
        margin_sigma=min(margins),
        strength=abs(float(sums[best].sum())) / own if own > 0 else 0.0,
        expected_sigma=math.sqrt(own),
        doubt=None,
    )
    if float(np.abs(pattern_yx).mean(dtype=np.float64)) < _FLAT:
        return replace(evidence, doubt="flat")
    if int((weight > 0).sum()) < _FEWEST_TILES:
        return replace(evidence, doubt="thin")
    # Where the pattern is there at strength 1, the margin comes to √apart / 2.
    is_alike = apart < _ALIKE * own or math.sqrt(apart) / 2 > _AMPLE * _ENOUGH_SIGMA
    return replace(evidence, doubt=_doubt(evidence, is_alike=is_alike))


def _doubt(evidence: PatternEvidence[K], *, is_alike: bool) -> Doubt | None:
    """Say why not to believe it; `is_alike` is whether more counts would not part it from the nearest other."""
    if evidence.fit_sigma < _ENOUGH_SIGMA:
        is_absent = evidence.strength < _FAINTEST and evidence.expected_sigma > _AMPLE * _ENOUGH_SIGMA
        return "foreign" if is_absent else "thin"
    if evidence.strength < _FAINTEST:
        return "faint"
    if evidence.strength > _STRONGEST:
        return "foreign"
    if evidence.margin_sigma < _ENOUGH_SIGMA:
        return "alike" if is_alike else "thin"
    return None


def _relative_response(counts_yx: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return counts / mean of their surroundings − 1; 0 where that says nothing of a pixel's sensitivity."""
    if counts_yx.ndim != 2:
        raise ValueError(f"summed counts have axes (y, x), got shape {counts_yx.shape}")
    level = float(counts_yx.mean(dtype=np.float64))
    if not math.isfinite(level) or level <= 0:
        raise ValueError(f"the mean of the counts is {level:g}, it must be positive")
    relative_yx = (counts_yx / level).astype(np.float32)
    typical = float(np.median(relative_yx[::7, ::5])) or 1.0
    # A hot pixel must not darken those around it: what is far from the surroundings is left out of their mean.
    usable_yx = np.ones(relative_yx.shape, dtype=bool)
    for _ in range(2):
        around_yx = _surroundings(relative_yx, usable_yx)
        deviation_yx = relative_yx - around_yx
        usable_yx = np.abs(deviation_yx) <= _OUTLIER_SIGMA * _spread_by_tile(deviation_yx, usable_yx)
        usable_yx &= around_yx > _DARK_SHARE * typical
    around_yx = _surroundings(relative_yx, usable_yx)
    usable_yx &= around_yx > _DARK_SHARE * typical
    response_yx = np.zeros_like(relative_yx)
    np.divide(relative_yx - around_yx, around_yx, out=response_yx, where=usable_yx)
    return response_yx


def _spread_by_tile(deviation_yx: npt.NDArray[np.float32], usable_yx: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Return for every pixel the root mean square in its tile, but where that is inflated, of all tiles."""
    squares = _tile_sums(np.where(usable_yx, deviation_yx * deviation_yx, 0))
    seen = _tile_sums(usable_yx.astype(np.float32))
    spread = np.sqrt(squares / np.maximum(seen, 1))
    usual = float(np.median(spread[seen > 0])) if (seen > 0).any() else 0.0
    rows, columns = (max(1, side // _TILE_PX) for side in deviation_yx.shape)
    tiles_yx = np.minimum(spread, 3 * usual).reshape(rows, columns)
    index_y = np.minimum(np.arange(deviation_yx.shape[0]) // _TILE_PX, rows - 1)
    index_x = np.minimum(np.arange(deviation_yx.shape[1]) // _TILE_PX, columns - 1)
    spread_yx: npt.NDArray[np.float32] = np.maximum(tiles_yx, usual)[np.ix_(index_y, index_x)].astype(np.float32)
    return spread_yx


def _surroundings(image_yx: npt.NDArray[np.float32], usable_yx: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Return the mean of the usable pixels in a square around each pixel; 0 where there are none."""
    share_yx = uniform_filter(usable_yx.astype(np.float32), _SURROUNDINGS_PX, mode="reflect")
    total_yx = uniform_filter(np.where(usable_yx, image_yx, np.float32(0)), _SURROUNDINGS_PX, mode="reflect")
    mean_yx: npt.NDArray[np.float32] = np.zeros_like(total_yx)
    np.divide(total_yx, share_yx, out=mean_yx, where=share_yx > 1e-3)  # running sums round
    return mean_yx


def _above_surroundings(image_yx: npt.NDArray[np.float32], usable_yx: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    pattern_yx: npt.NDArray[np.float32] = np.where(usable_yx, image_yx - _surroundings(image_yx, usable_yx), 0).astype(
        np.float32
    )
    return pattern_yx


def _tile_sums(image_yx: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the sum over each whole tile, or over the image where it is smaller than one."""
    height, width = image_yx.shape
    rows, columns = height // _TILE_PX, width // _TILE_PX
    if not rows or not columns:
        return np.array([image_yx.sum(dtype=np.float64)] * max(1, rows) * max(1, columns))
    whole_yx = image_yx[: rows * _TILE_PX, : columns * _TILE_PX]
    in_tiles = whole_yx.reshape(rows, _TILE_PX, columns, _TILE_PX)
    sums: npt.NDArray[np.float64] = in_tiles.sum(axis=3).sum(axis=1, dtype=np.float64).reshape(-1)
    return sums


def _self_normalised(terms: npt.NDArray[np.float64]) -> float:
    """Return Σ / √(Σ of squares), 0 where there is nothing but rounding."""
    scatter = math.sqrt(float(np.square(terms).sum()))
    return float(terms.sum()) / scatter if scatter > 0 else 0.0
