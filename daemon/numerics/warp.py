"""Resampling an image along a smooth displacement field, with B-splines of the seventh degree.

Unser 1999, IEEE Signal Process. Mag. 16(6), 22. Pixels are weighted with the spline as they are, block by block, in two
passes: along x, then along y, each a handful of shifted, weighted copies of a block of pixels. No gathers, no scatters:
fast on every device, and always the same bytes.
What the spline takes from a wave is given back afterwards, to the sum of all frames at once, by `whitening`: where
displacements change by thousandths of a pixel per pixel, the two steps may be exchanged.

White noise stays white. The amplitude that a wave of k cycles per px keeps in a sum over all sub-pixel positions is
sinc⁸(k) / √(Σ_n sinc¹⁶(k + n)) per axis: 1.0000 at k = 0.3, 0.9992 at 0.4, 0.98 at 0.45, 0.71 at Nyquist.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

_DEGREE = 7
_REACH = (_DEGREE + 1) // 2
# Weights are read from a table at this many steps a pixel, which places samples to 1/2048 px.
_STEPS_PER_PX = 1024
# Displacements are taken as constant over squares of pixels within this error, in px.
_GROUP_ERROR_PX = 0.02
LARGEST_GROUP_PX = 16
_NODE_SPACING_PX = 16
_FRACTION_BINS = 64

Window = Callable[[int, int, int, int], Float[Tensor, "y x"]]
"""Pixels of an image, float32, from (top, left) up to but not including (bottom, right): beyond its edges as well."""


@dataclass(frozen=True)
class DisplacementNodes:
    """Displacements (x, y) px on a rectilinear grid that covers the image, linear between nodes.

    y_px and x_px ascend evenly; displacement_yx2: (rows, columns, 2) px, float32.
    """

    y_px: Float[Tensor, "rows"]
    x_px: Float[Tensor, "columns"]
    displacement_yx2: Float[Tensor, "rows columns 2"]


def node_axis(size_px: int, reach_px: float = 0.0) -> Float[Tensor, "nodes"]:
    """Node positions every 16 px, from at least reach_px before the first pixel to as far beyond the last; float64."""
    first = -_NODE_SPACING_PX * math.ceil(reach_px / _NODE_SPACING_PX)
    count = math.ceil((size_px - 1 + reach_px - first) / _NODE_SPACING_PX) + 2
    return first + _NODE_SPACING_PX * torch.arange(count, dtype=torch.float64)


def pixels_per_group(displacement_yx2: Float[Tensor, "rows columns 2"]) -> int:
    """Side of the squares, a power of two up to 16, over which displacements at nodes may be taken as constant."""
    slope = sum(float(displacement_yx2.diff(dim=axis).abs().max()) for axis in (0, 1)) / _NODE_SPACING_PX
    side = LARGEST_GROUP_PX
    while side > 1 and slope * (side - 1) / 2 > _GROUP_ERROR_PX:
        side //= 2
    return side


class BandWarp:
    """Displacements of a band of rows, read once per group_px² pixels, and the blocks of it that are resampled.

    origin_yx and shape_yx, in px, are multiples of group_px. The nodes must cover the columns, and reach as far beyond
    the band as the largest displacement along y. Raises ValueError otherwise.
    """

    def __init__(
        self, nodes: DisplacementNodes, origin_yx: tuple[int, int], shape_yx: tuple[int, int], *, group_px: int
    ) -> None:
        if any(value % group_px for value in (*origin_yx, *shape_yx)):
            raise ValueError(f"a band of {shape_yx} from {origin_yx} is not made of squares of {group_px} px")
        (top, self._left), (height, width) = origin_yx, shape_yx
        if not (float(nodes.x_px[0]) <= self._left and self._left + width - 1 <= float(nodes.x_px[-1])):
            raise ValueError(f"the displacement nodes do not cover {width} columns from {self._left}")
        self._top, self._height, self._group_px = top, height, group_px
        columns_px = _centres(self._left, width, group_px)
        shift_y = _rows_between(nodes, _centres(top, height, group_px))[..., 1]
        self._shift_y = _columns_between(nodes, shift_y, columns_px)
        lowest, highest = _whole_range(self._shift_y)
        self._first = group_px * ((top + lowest - _REACH + 1) // group_px)
        rows = group_px * math.ceil((top + height + highest + _REACH - self._first) / group_px)
        centres_px = _centres(self._first, rows, group_px)
        # An output row y asks for image row y + δy: look δx up where that row came from.
        asked_px = centres_px[:, None] - _rows_between(nodes, centres_px)[..., 1].cpu()
        self._shift_x = _columns_between(nodes, _rows_at(nodes, asked_px, axis=0), columns_px)

    def block(self, window: Window, left: int, width: int) -> Float[Tensor, "y x"]:
        """Resample: output(p) = Σ_j spline(p + δ(p) − j) image(j) for columns from left; both multiples of group_px."""
        group_px, height = self._group_px, self._height
        columns = slice((left - self._left) // group_px, (left - self._left + width) // group_px)
        shift_y = self._shift_y[:, columns]
        lowest, highest = _whole_range(shift_y)
        above = (self._top + lowest - _REACH + 1 - self._first) // group_px
        first = self._first + above * group_px
        groups = math.ceil((self._top + height + highest + _REACH - first) / group_px)
        shift_x = self._shift_x[above : above + groups, columns]
        leftmost, rightmost = _whole_range(shift_x)
        start = left + leftmost - _REACH + 1
        source_yx = window(first, first + groups * group_px, start, left + width + rightmost + _REACH)
        taps = rightmost - leftmost + 2 * _REACH
        across_yx = source_yx.new_zeros((groups * group_px, width))
        grouped = across_yx.view(groups, group_px, width)
        for tap, weight in enumerate(_weights(shift_x - (leftmost - _REACH + 1), taps, group_px)):
            grouped.addcmul_(source_yx[:, tap : tap + width].view(groups, group_px, width), weight)
        output_yx = source_yx.new_zeros((height, width))
        grouped = output_yx.view(-1, group_px, width)
        skipped = self._top + lowest - _REACH + 1 - first
        taps = highest - lowest + 2 * _REACH
        for tap, weight in enumerate(_weights(shift_y - (lowest - _REACH + 1), taps, group_px), skipped):
            grouped.addcmul_(across_yx[tap : tap + height].view(-1, group_px, width), weight)
        return output_yx


def weight_rows() -> Float[Tensor, "steps 8"]:
    """Weights of the eight pixels from three before to four after, at 0, 1/1024, 2/1024, … px; float32, on the CPU."""
    step = torch.arange(_STEPS_PER_PX)[:, None]
    return _CPU_TABLE[step + _STEPS_PER_PX * (2 * _REACH - 1 - torch.arange(2 * _REACH))]


def whitening(fraction_px: Float[Tensor, "n"], frequency_per_px: Float[Tensor, "k"]) -> Float[Tensor, "k"]:
    """What a sum of images that were warped by these displacements must be multiplied with along one axis, float64.

    1/√⟨|H|²⟩, H the spline's transfer at one displacement, its mean over all of them: noise that was white is white
    again. Only the fractional parts of the displacements matter. frequency_per_px is in cycles per pixel.
    """
    bins = (fraction_px.double().cpu().remainder(1.0) * _FRACTION_BINS).long().clamp(max=_FRACTION_BINS - 1)
    share_f = torch.bincount(bins, minlength=_FRACTION_BINS).double() / max(1, bins.numel())
    fraction_f = (torch.arange(_FRACTION_BINS, dtype=torch.float64) + 0.5) / _FRACTION_BINS
    tap_j = torch.arange(-_REACH + 1, _REACH + 1, dtype=torch.float64)
    weight_fj = _spline(fraction_f[:, None] - tap_j)
    phase_jk = torch.exp(-2j * math.pi * tap_j[:, None] * frequency_per_px.double().cpu())
    power_k = share_f @ (weight_fj.to(phase_jk.dtype) @ phase_jk).abs().square()
    return power_k.rsqrt().to(frequency_per_px.device)


def _centres(first: int, size: int, group_px: int) -> Tensor:
    return first + (group_px - 1) / 2 + group_px * torch.arange(size // group_px, dtype=torch.float64)


def _whole_range(shift: Tensor) -> tuple[int, int]:
    """Whole pixels that displacements lie between, the upper one included."""
    least, most = shift.aminmax()
    return math.floor(float(least)), math.floor(float(most))


def _rows_between(nodes: DisplacementNodes, y_px: Tensor) -> Tensor:
    """Displacements at the node columns of these rows: (rows, columns, 2), float64."""
    below, share = _cell(nodes.y_px, y_px)
    share, below = (part.to(nodes.displacement_yx2.device) for part in (share, below))
    low, high = (nodes.displacement_yx2[index].double() for index in (below, below + 1))
    return torch.lerp(low, high, share[:, None, None])


def _rows_at(nodes: DisplacementNodes, y_gx: Tensor, *, axis: int) -> Tensor:
    """One component of the displacement at rows that differ from column to column: (rows, columns)."""
    values_yx = nodes.displacement_yx2[..., axis]
    below, share = _cell(nodes.y_px, y_gx)
    below, share = below.to(values_yx.device), share.to(values_yx.device)
    return torch.lerp(values_yx.gather(0, below).double(), values_yx.gather(0, below + 1).double(), share)


def _columns_between(nodes: DisplacementNodes, values_gx: Tensor, x_px: Tensor) -> Tensor:
    """Values at node columns brought to these columns."""
    below, share = _cell(nodes.x_px, x_px)
    below, share = below.to(values_gx.device), share.to(values_gx.device)
    return torch.lerp(values_gx[:, below], values_gx[:, below + 1], share)


def _cell(axis_px: Tensor, position_px: Tensor) -> tuple[Tensor, Tensor]:
    """Index of the node before each position and the share of the way to the next; outermost cells go on beyond."""
    steps = (position_px - float(axis_px[0])) / float(axis_px[1] - axis_px[0])
    below = steps.floor().clamp(0, axis_px.numel() - 2)
    return below.long(), (steps - below).clamp(-1, 2)


def _spline(position: Tensor) -> Tensor:
    """Centred B-spline."""
    total = torch.zeros_like(position)
    for knot in range(_DEGREE + 2):
        sign = (-1) ** knot * math.comb(_DEGREE + 1, knot) / math.factorial(_DEGREE)
        total += sign * (position + _REACH - knot).clamp_min(0) ** _DEGREE
    # The polynomials cancel beyond its end only to rounding.
    return torch.where(position.abs() < _REACH, total, torch.zeros_like(total))


def _weight_table(device: torch.device) -> Tensor:
    """The spline from one end to the other, zero at both."""
    position = torch.arange(-_REACH * _STEPS_PER_PX, _REACH * _STEPS_PER_PX + 1, dtype=torch.float64) / _STEPS_PER_PX
    return _spline(position).float().to(device)


_CPU_TABLE = _weight_table(torch.device("cpu"))


def _weights(shift_gx: Tensor, taps: int, group_px: int) -> Float[Tensor, "taps rows 1 width"]:
    """Weights of the pixels 0, 1, … px away for these displacements, for every pixel column; 0 beyond the spline."""
    table = _CPU_TABLE if shift_gx.device.type == "cpu" else _weight_table(shift_gx.device)
    tap = torch.arange(taps, device=shift_gx.device, dtype=torch.float64)[:, None, None]
    index = ((shift_gx - tap + _REACH) * _STEPS_PER_PX).round_().clamp_(0, table.numel() - 1).int()
    weight_tgx = table.index_select(0, index.flatten()).view(*index.shape, 1)
    return weight_tgx.expand(*index.shape, group_px).flatten(-2).unsqueeze(2)
