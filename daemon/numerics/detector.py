"""From raw counts to corrected frames: dark, gain and defective pixels.

The gain multiplies: corrected = (raw − dark) · gain, and 0 in it marks a pixel known to be defective.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from daemon.numerics.defect_clusters import add_clusters
from daemon.numerics.kernels import has_kernels, type_for_kernels
from daemon.numerics.surroundings import deviate_from_surroundings, for_each, strips

_SAMPLE_ROWS = 128
_TILE_PX = 256
_SPREAD_SAMPLES = 4096
_REPAIR_REACHES_PX = (1, 2, 3, 5, 8, 12, 16)
_REPAIR_CHUNK = 4096


def mean_frame(movie_tyx: Num[Tensor, "t y x"]) -> Float[Tensor, "y x"]:
    """Mean over the frames, exact for integers of up to 16 bits, float32; no full-size float stack is made."""
    if movie_tyx.ndim != 3 or movie_tyx.shape[0] < 1:
        raise ValueError(f"a movie has axes (frame, y, x), got shape {tuple(movie_tyx.shape)}")
    exact = torch.float64 if movie_tyx.is_floating_point() else torch.int32
    mean_yx = torch.empty(movie_tyx.shape[1:], dtype=torch.float32, device=movie_tyx.device)
    is_compiled = has_kernels(movie_tyx.device) and not movie_tyx.is_floating_point()

    def average(rows: slice) -> None:
        if is_compiled and type_for_kernels(movie_tyx.dtype) == movie_tyx.dtype:
            from daemon.numerics.kernels import frame_rows_cpu  # noqa: PLC0415 - needs numba

            total_yx = torch.zeros(len(range(*rows.indices(mean_yx.shape[0]))), mean_yx.shape[1], dtype=exact)
            frame_rows_cpu.sum_frames(movie_tyx[:, rows].numpy(), total_yx.numpy())
        else:
            total_yx = movie_tyx[0, rows].to(exact, copy=True)
            for frame_yx in movie_tyx[1:]:
                total_yx += frame_yx[rows].to(exact)
        mean_yx[rows] = total_yx.double() / movie_tyx.shape[0]

    for_each(average, strips(movie_tyx.shape[1], movie_tyx.device), movie_tyx.device)
    return mean_yx


def find_defects(
    mean_yx: Float[Tensor, "y x"],
    *,
    frames: int,
    gain_yx: Float[Tensor, "y x"] | None = None,
    known_yx: Bool[Tensor, "y x"] | None = None,
    significance_sigma: float = 7.0,
) -> Bool[Tensor, "y x"]:
    """Find hot, dead and stuck pixels from a movie's own mean raw frame, and the gain's zeros; add those known before.

    The mean is that of the frames less their dark, where there is one.

    A pixel is compared with the median of nine pixels around it, two apart, so that neither double
    columns nor pairs of hot pixels vote for themselves. The comparison is made on 2·√(counts + 3/8)
    (Anscombe 1948, Biometrika 35, 246), whose spread is that of Poisson counts at any dose; where the
    spread measured over a 256 px tile is wider (edges of holes, integrating detectors), that one counts.
    Of a cluster wider than that, which would outvote its surroundings, all pixels are found together, where it is
    dead or hot and has the edge of something in the camera (`defect_clusters`).
    The gain is only used to expect what an insensitive pixel counts, so that it is not called dead.
    Non-finite pixels are defects. At a total dose too low to tell a dead pixel from an unlucky one
    (about 15 counts), it is left alone. Raises ValueError for shapes that differ or frames < 1.
    """
    if mean_yx.ndim != 2 or frames < 1:
        raise ValueError(f"find_defects needs a 2-D mean of at least one frame, got {tuple(mean_yx.shape)}, {frames}")
    for name, other_yx in (("known defects have", known_yx), ("gain has", gain_yx)):
        if other_yx is not None and other_yx.shape != mean_yx.shape:
            raise ValueError(f"the {name} shape {tuple(other_yx.shape)}, the movie {tuple(mean_yx.shape)}")
    height, device = int(mean_yx.shape[0]), mean_yx.device
    deviation_yx, defects_yx = deviate_from_surroundings(mean_yx, frames, gain_yx, known_yx)
    overall = _clipped_deviation(deviation_yx, ~defects_yx)
    if _are_counts(mean_yx[:_SAMPLE_ROWS].to(torch.float32) * frames):
        overall = max(overall, 1.0)

    def judge(tile: tuple[slice, slice]) -> None:
        # Where nothing varies, no pixel may be called an outlier, unless it differs at all.
        spread = torch.finfo(torch.float32).eps
        if overall > 0:
            spread = max(_clipped_deviation(deviation_yx[tile], ~defects_yx[tile]), overall)
        defects_yx[tile] |= deviation_yx[tile].abs() > significance_sigma * spread

    tiles = ((rows, columns) for rows in _tiles(height) for columns in _tiles(int(mean_yx.shape[1])))
    for_each(judge, tiles, device)
    add_clusters(mean_yx, frames, gain_yx, defects_yx)
    return defects_yx


def _are_counts(counts_yx: Tensor) -> bool:
    """Whether the movie holds whole numbers: then its noise is at least that of counting them."""
    sample_yx = torch.nan_to_num(counts_yx, posinf=0.0, neginf=0.0)
    return bool(((sample_yx - sample_yx.round()).abs() <= 1e-3 * sample_yx.abs().clamp_min(1.0)).all())


def _tiles(size: int) -> Iterator[slice]:
    for start in range(0, size, _TILE_PX):
        yield slice(start, min(start + _TILE_PX, size))


def _clipped_deviation(values_yx: Tensor, good_yx: Tensor) -> float:
    """Root mean square about zero without values beyond five of it, from a start that outliers can't inflate."""
    # A hundredth of σ is known well enough from this many pixels, taken evenly from all over.
    step = max(1, math.isqrt(values_yx.numel() // _SPREAD_SAMPLES))
    magnitude = values_yx[::step, ::step].abs()
    good_yx = good_yx[::step, ::step]
    sample = magnitude[good_yx]
    if sample.numel() == 0:
        return 0.0
    # Half the pixels lie within 0.67 σ of zero.
    sigma = float(sample.kthvalue(max(1, math.ceil(0.8 * sample.numel()))).values) / 1.2816
    for _ in range(3):
        inside = sample <= 5 * sigma
        sigma = math.sqrt(float((sample.square() * inside).sum()) / max(1, int(inside.sum())))
    return sigma


class FrameCorrection:
    """Dark, gain and defects of one camera, prepared once and applied to frame after frame."""

    def __init__(
        self,
        shape_yx: tuple[int, int],
        gain_yx: Float[Tensor, "y x"] | None,
        defects_yx: Bool[Tensor, "y x"] | None,
        dark_yx: Float[Tensor, "y x"] | None = None,
    ) -> None:
        for name, reference_yx in (("gain", gain_yx), ("defect map", defects_yx), ("dark", dark_yx)):
            if reference_yx is not None and tuple(reference_yx.shape) != shape_yx:
                raise ValueError(f"the {name} has shape {tuple(reference_yx.shape)}, the movie's frames {shape_yx}")
        self._shape_yx = shape_yx
        self._gain_yx = None if gain_yx is None else gain_yx.to(torch.float32).contiguous()
        self._dark_yx = None if dark_yx is None else dark_yx.to(torch.float32).contiguous()
        self._repair = None if defects_yx is None else _plan_repair(defects_yx)

    def apply(self, raw_yx: Num[Tensor, "y x"]) -> Float[Tensor, "y x"]:
        """Corrected frame, float32: (raw − dark) · gain, defects replaced by the mean of the good pixels around."""
        height, width = self._shape_yx
        return self._corrected(raw_yx, slice(0, height), slice(0, width), self.repairs(raw_yx))

    def repairs(self, raw_yx: Num[Tensor, "y x"]) -> Float[Tensor, "d"]:
        """What stands in for each defect of a frame, for `window`, which sees part of the frame only."""
        if tuple(raw_yx.shape) != self._shape_yx:
            raise ValueError(f"the frame has shape {tuple(raw_yx.shape)}, the correction is for {self._shape_yx}")
        if self._repair is None:
            return torch.zeros(0, device=raw_yx.device)
        repair = self._repair
        # What no neighbour reaches has no weights; its own value, which need not be finite, must not get in.
        values = torch.nan_to_num(self._at(raw_yx, repair.sources)).mul_(repair.weights).sum(dim=1)
        if repair.unreached.numel():
            # A hole too wide for neighbours: its mean is set to that of the rest of the frame.
            height, width = self._shape_yx
            seen_yx = self._corrected(raw_yx, slice(0, height), slice(0, width), values)
            values[repair.unreached] = seen_yx.sum() / max(1, seen_yx.numel() - repair.unreached.numel())
        return values

    def window(
        self, raw_yx: Num[Tensor, "y x"], repairs: Float[Tensor, "d"], top: int, bottom: int, left: int, right: int
    ) -> Float[Tensor, "y x"]:
        """Corrected pixels from (top, left) up to (bottom, right), mirrored beyond the edges of the frame."""
        height, width = self._shape_yx
        if top >= 0 and bottom <= height and left >= 0 and right <= width:
            return self._corrected(raw_yx, slice(top, bottom), slice(left, right), repairs)
        rows, columns = mirrored(torch.arange(top, bottom), height), mirrored(torch.arange(left, right), width)
        (first_row, last_row), (first_column, last_column) = (
            (int(index.min()), int(index.max())) for index in (rows, columns)
        )
        seen_yx = self._corrected(raw_yx, slice(first_row, last_row + 1), slice(first_column, last_column + 1), repairs)
        rows, columns = (rows - first_row).to(raw_yx.device), (columns - first_column).to(raw_yx.device)
        return seen_yx.index_select(0, rows).index_select(1, columns)

    def references(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Dark and gain, each empty where there is none; and defects: where each row's begin in a list of columns.

        The list has one more beginning than there are rows. `repairs` come in the order of the columns.
        """
        none_yx = torch.zeros(0, 0)
        dark_yx, gain_yx = (none_yx if image is None else image for image in (self._dark_yx, self._gain_yx))
        height, width = self._shape_yx
        targets = torch.zeros(0, dtype=torch.int64) if self._repair is None else self._repair.targets
        begins = torch.searchsorted(targets, width * torch.arange(height + 1, device=targets.device))
        return dark_yx, gain_yx, begins, targets % width

    def _corrected(self, raw_yx: Tensor, rows: slice, columns: slice, repairs: Tensor) -> Tensor:
        frame_yx = raw_yx[rows, columns].to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        if self._dark_yx is not None:
            frame_yx -= self._dark_yx[rows, columns]
        if self._gain_yx is not None:
            frame_yx *= self._gain_yx[rows, columns]
        if self._repair is not None:
            width = self._shape_yx[1]
            limits = torch.tensor([rows.start * width, rows.stop * width], device=raw_yx.device)
            first, last = torch.searchsorted(self._repair.targets, limits).tolist()
            targets = self._repair.targets[first:last]
            y, x = targets // width - rows.start, targets % width - columns.start
            inside = (x >= 0) & (x < columns.stop - columns.start)
            frame_yx[y[inside], x[inside]] = repairs[first:last][inside]
        return frame_yx

    def _at(self, raw_yx: Tensor, index: Tensor) -> Tensor:
        """Values less dark times gain at flat indices."""
        values = raw_yx.reshape(-1)[index].to(torch.float32)
        if self._dark_yx is not None:
            values = values - self._dark_yx.reshape(-1)[index]
        return values if self._gain_yx is None else values * self._gain_yx.reshape(-1)[index]


def mirrored(position: Int[Tensor, "n"], size: int) -> Int[Tensor, "n"]:
    """Index within an axis that each position, mirrored at the centres of the outermost pixels, falls on."""
    if size == 1:
        return torch.zeros_like(position)
    position = position.remainder(2 * (size - 1))
    return torch.minimum(position, 2 * (size - 1) - position)


@dataclass(frozen=True)
class _Repair:
    """Flat indices of defects, of up to eight good pixels that stand in for each, and their weights.

    targets ascend; unreached: which of them have no good pixel near.
    """

    targets: Tensor
    sources: Tensor
    weights: Tensor
    unreached: Tensor


def _plan_repair(defects_yx: Tensor) -> _Repair:
    """Choose for each defect its nearest good pixels, from the smallest window that holds four of them."""
    height, width = defects_yx.shape
    targets = torch.nonzero(defects_yx.flatten())[:, 0]
    sources = targets[:, None].repeat(1, 8)
    weights = torch.zeros(sources.shape, dtype=torch.float32, device=targets.device)
    good = ~defects_yx.flatten()
    missing = torch.arange(targets.numel(), device=targets.device)
    for reach in _REPAIR_REACHES_PX:
        offset_y, offset_x = _window_offsets(reach, targets.device)
        left = []
        for chunk in torch.tensor_split(missing, max(1, math.ceil(missing.numel() / _REPAIR_CHUNK))):
            y = (targets[chunk] // width)[:, None] + offset_y
            x = (targets[chunk] % width)[:, None] + offset_x
            inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
            usable = inside & good[index]
            # Offsets come nearest first and the sort is stable: the nearest good ones, ties always broken alike.
            order = torch.argsort((~usable).to(torch.uint8), dim=1, stable=True)[:, :8]
            taken = usable.gather(1, order)
            enough = taken.sum(dim=1) >= 4
            sources[chunk[enough]] = index.gather(1, order)[enough]
            weights[chunk[enough]] = (taken / taken.sum(dim=1, keepdim=True).clamp_min(1))[enough]
            left.append(chunk[~enough])
        missing = torch.cat(left) if left else missing
    return _Repair(targets, sources, weights, missing)


def _window_offsets(reach: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Offsets of a window of 2·reach + 1 pixels without its centre, nearest first."""
    axis = torch.arange(-reach, reach + 1, device=device)
    y, x = (part.flatten() for part in torch.meshgrid(axis, axis, indexing="ij"))
    distance = y**2 + x**2
    order = torch.argsort(distance, stable=True)[1:]
    return y[order], x[order]
