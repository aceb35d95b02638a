"""Sums of frames that moved along a local field: every block of pixels through all frames before the next block.

Frames are taken a batch at a time, and only its raw frames are held. A block is corrected, warped and mixed into all
sums while it is in the processor's cache. The exposure filter, which differs from frame to frame, is made of a few
combinations of frames that are the same at every frequency: so many sums are transformed, instead of every frame.

What the splines took is given back by its average over all frames. The exposure filter prefers early ones near Nyquist:
beyond 0.42 cycles per pixel the noise of weighted sums is white only within some tens of percent.
"""

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from daemon.numerics.canvas_filter import Filter, filter_on_canvas
from daemon.numerics.dose import weight_rings
from daemon.numerics.motion_canvas import Canvas, binned_shape
from daemon.numerics.motion_field import LocalField
from daemon.numerics.motion_plan import CorrectedMovie, SumPlan
from daemon.numerics.parallel import map_in_order
from daemon.numerics.spectrum import PowerSpectrum, SpectrumSum, tile_power_spectrum
from daemon.numerics.warp import BandWarp, DisplacementNodes, Window, node_axis, pixels_per_group, whitening

_BLOCK_ROWS, _BLOCK_COLUMNS = 256, 1024
_PARTS_AT_ONCE = 2
FRAMES_AT_ONCE = 16
"""Raw frames that are held while their batch is summed."""
_MARGIN_PX = 16
"""Sums reach this far beyond the image, all frames mirrored as they are: `whitening` sees no edge there."""


def sum_along_field(
    plan: SumPlan, global_t2: Float[Tensor, "t 2"], local: LocalField, tell: Callable[[float], None]
) -> CorrectedMovie:
    """Sum frames after undoing motion, whole-frame (x, y) px and local; tell hears which share of the work is done."""
    fields = {frame: _displacement(local, global_t2[frame], frame) for frame in plan.frames}
    group_px = min(pixels_per_group(nodes.displacement_yx2) for nodes in fields.values())
    whitening_of = _Whitening.of(list(fields.values()))
    mixing = _Mixing.of(plan)
    device = plan.movie_tyx.device
    wide_yx = (plan.shape_yx[0] + 2 * _MARGIN_PX, plan.shape_yx[1] + 2 * _MARGIN_PX)
    plain_yx = torch.zeros(wide_yx, device=device)
    combined_yx = [torch.zeros(wide_yx, device=device) for _ in range(mixing.weights_bt.shape[0])]
    spectra = SpectrumSum()
    blocks = _Blocks.of(wide_yx, group_px, device)
    done = 0
    for first in range(0, len(plan.parts), _PARTS_AT_ONCE):
        parts = plan.parts[first : first + _PARTS_AT_ONCE]
        parts_yx = [torch.zeros(wide_yx, device=device) for _ in parts]
        for frames in _batches(parts):
            batch = _Batch.of(plan, fields, parts, frames, group_px, mixing.weights_bt)
            add_band = functools.partial(batch.add, blocks=blocks, parts_yx=parts_yx, combined_yx=combined_yx)
            for _ in map_in_order(add_band, blocks.tops, device=device):
                done += len(frames)
                tell(0.95 * done / (len(blocks.tops) * len(plan.frames)))
            del batch, add_band
        for spectrum in map_in_order(
            lambda part_yx: tile_power_spectrum(_inner(part_yx), plan.pixel_size_ang, binning=plan.binning),
            parts_yx,
            device=device,
        ):
            spectra.add(spectrum)
        for part_yx in parts_yx:
            plain_yx += part_yx
        del parts_yx, part_yx
    result = _finish(plan, whitening_of, mixing, plain_yx, combined_yx, spectra.mean())
    tell(1.0)
    return result


def _batches(parts: tuple[tuple[int, ...], ...]) -> Iterator[tuple[int, ...]]:
    """Frames of some parts, in order, as evenly split as can be: no more at once than are to be held."""
    frames = tuple(frame for part in parts for frame in part)
    count = math.ceil(len(frames) / FRAMES_AT_ONCE)
    edges = [round(index * len(frames) / count) for index in range(count + 1)]
    for first, last in pairwise(edges):
        yield frames[first:last]


def _displacement(local: LocalField, global_2: Tensor, frame: int) -> DisplacementNodes:
    """Displacement of one frame, whole-frame motion included, as far beyond the image as it reaches."""
    reach_px = 2 * _MARGIN_PX + 2 * float(global_2.abs().max()) + 2 * float(local.grid_tyx2.abs().max())
    y_px, x_px = (node_axis(size, reach) for size, reach in zip(local.shape_yx, (reach_px, _MARGIN_PX), strict=True))
    return DisplacementNodes(y_px, x_px, (local.on_axes(frame, y_px, x_px) + global_2).float())


def _inner(wide_yx: Tensor) -> Tensor:
    """The image itself, without what sums reach beyond it."""
    return wide_yx[_MARGIN_PX:-_MARGIN_PX, _MARGIN_PX:-_MARGIN_PX]


@dataclass(frozen=True)
class _Mixing:
    """How frames, in order, are combined: for the exposure filter, and once more for even frames alone.

    filter_br: what each combination of all frames is multiplied with, by ring; None where nothing is filtered, and
    the only combination there may be is the sum of even frames.
    """

    weights_bt: Float[Tensor, "b t"]
    filter_br: Float[Tensor, "c r"] | None

    @staticmethod
    def of(plan: SumPlan) -> "_Mixing":
        is_even_t = torch.tensor([frame % 2 == 0 for frame in plan.frames]).float()
        rows = []
        filter_br = None
        if plan.weights is not None:
            basis_tb, filter_br = plan.weights.basis()
            rows.append(basis_tb.T)
            if plan.want_even_odd:
                rows.append(basis_tb.T * is_even_t)
        elif plan.want_even_odd:
            rows.append(is_even_t[None])
        return _Mixing(torch.cat(rows) if rows else torch.zeros(0, len(plan.frames)), filter_br)


@dataclass(frozen=True)
class _Blocks:
    """Bands of rows, and the columns that each is cut at, of a wide image: what the cache holds; a GPU takes all."""

    tops: range
    rows: int
    lefts: range
    columns: int

    @staticmethod
    def of(shape_yx: tuple[int, int], group_px: int, device: torch.device) -> "_Blocks":
        most = (_BLOCK_ROWS, _BLOCK_COLUMNS) if device.type == "cpu" else shape_yx
        sides = []
        for size, limit in zip(shape_yx, most, strict=True):
            groups = math.ceil(size / group_px)
            sides.append(group_px * math.ceil(groups / math.ceil(size / limit)))
        height, width = shape_yx
        return _Blocks(range(0, height, sides[0]), sides[0], range(0, width, sides[1]), sides[1])


@dataclass(frozen=True)
class _Batch:
    """Some frames of a few parts, and how they are mixed: parts first."""

    plan: SumPlan
    frames: tuple[int, ...]
    windows: list[Window]
    fields: dict[int, DisplacementNodes]
    group_px: int
    weights_bt: Float[Tensor, "b t"]

    @staticmethod
    def of(
        plan: SumPlan,
        fields: dict[int, DisplacementNodes],
        parts: tuple[tuple[int, ...], ...],
        frames: tuple[int, ...],
        group_px: int,
        weights_bt: Tensor,
    ) -> "_Batch":
        device = plan.movie_tyx.device
        part_pt = torch.tensor([[float(frame in part) for frame in frames] for part in parts])
        first = plan.frames.index(frames[0])
        weights_bt = torch.cat([part_pt, weights_bt[:, first : first + len(frames)]]).to(device)
        windows = list(map_in_order(functools.partial(_window_of, plan), frames, device=device))
        own = {
            frame: DisplacementNodes(fields[frame].y_px, fields[frame].x_px, fields[frame].displacement_yx2.to(device))
            for frame in frames
        }
        return _Batch(plan, frames, windows, own, group_px, weights_bt)

    def add(self, top: int, blocks: _Blocks, parts_yx: list[Tensor], combined_yx: list[Tensor]) -> None:
        """Warp one band of all frames and mix it into the sums, block by block; bands do not touch one another."""
        height, width = parts_yx[0].shape
        # Whole groups, but no whole block more than the image needs: the displacements are not known so far beyond.
        covered = self.group_px * math.ceil(width / self.group_px)
        origin_yx, shape_yx = (top - _MARGIN_PX, -_MARGIN_PX), (blocks.rows, covered)
        bands = [BandWarp(self.fields[frame], origin_yx, shape_yx, group_px=self.group_px) for frame in self.frames]
        for left in blocks.lefts:
            size = min(blocks.columns, covered - left)
            warped_tyx = torch.empty(len(bands), blocks.rows, size, device=self.plan.movie_tyx.device)
            for index, band in enumerate(bands):
                warped_tyx[index] = band.block(self.windows[index], left - _MARGIN_PX, size)
            mixed_byx = (self.weights_bt @ warped_tyx.flatten(1)).view(-1, blocks.rows, size)
            rows, columns = min(blocks.rows, height - top), min(size, width - left)
            here = (slice(top, top + rows), slice(left, left + columns))
            for total_yx, mixed_yx in zip([*parts_yx, *combined_yx], mixed_byx, strict=True):
                total_yx[here] += mixed_yx[:rows, :columns]


def _window_of(plan: SumPlan, frame: int) -> Window:
    """Reader of corrected pixels of one frame."""
    raw_yx = plan.movie_tyx[frame]
    return functools.partial(plan.correction.window, raw_yx, plan.correction.repairs(raw_yx))


@dataclass(frozen=True)
class _Whitening:
    """Fractions of pixels, along y and x, by which the frames were displaced all over the field."""

    fraction_y: Tensor
    fraction_x: Tensor

    @staticmethod
    def of(fields: list[DisplacementNodes]) -> "_Whitening":
        moved_n2 = torch.cat([nodes.displacement_yx2.flatten(0, 1) for nodes in fields])
        return _Whitening(moved_n2[:, 1], moved_n2[:, 0])

    def on_axes(self, frequency_y: Tensor, frequency_x: Tensor) -> tuple[Tensor, Tensor]:
        """Factors along y, as a column, and along x; frequencies in cycles per pixel."""
        along_y, along_x = whitening(self.fraction_y, frequency_y), whitening(self.fraction_x, frequency_x)
        return along_y.float()[:, None], along_x.float()[None, :]


def _finish(
    plan: SumPlan,
    whitening_of: _Whitening,
    mixing: _Mixing,
    plain_yx: Tensor,
    combined_yx: list[Tensor],
    spectrum: PowerSpectrum,
) -> CorrectedMovie:
    """Undo what the splines took, filter by exposure, come back from Fourier space; combined_yx is used up."""
    canvas = Canvas.around((int(plain_yx.shape[0]), int(plain_yx.shape[1])), (0, 0), binning=plan.binning)
    margin_px = _MARGIN_PX // plan.binning
    height, width = binned_shape(plan.shape_yx, plan.binning)
    filters = _CanvasFilters(canvas, whitening_of, plain_yx.device)

    def image(images: Iterable[tuple[Tensor, Filter]]) -> Tensor:
        wide_yx = filter_on_canvas(images, canvas)
        return wide_yx[margin_px : margin_px + height, margin_px : margin_px + width].contiguous()

    def filtered() -> Tensor:
        if mixing.filter_br is None:
            return image([(combined_yx.pop(0), filters.plain)])
        return image(filters.paired(combined_yx, mixing.filter_br))

    weighted_yx = None if mixing.filter_br is None else filtered()
    unweighted_yx = image([(plain_yx, filters.plain)])
    even_yx = odd_yx = None
    if plan.want_even_odd:
        even_yx = filtered()
        odd_yx = (unweighted_yx if weighted_yx is None else weighted_yx) - even_yx
    return CorrectedMovie(
        unweighted_yx, weighted_yx, even_yx, odd_yx, _whitened(spectrum, whitening_of, plan), len(plan.frames)
    )


class _CanvasFilters:
    """Factors of a canvas's half-plane transform: what the splines took, and weights by ring."""

    def __init__(self, canvas: Canvas, whitening_of: _Whitening, device: torch.device) -> None:
        height, width = canvas.binned_yx
        larger = float(canvas.binning)
        along_y, along_x = whitening_of.on_axes(
            torch.fft.fftfreq(height, d=larger, dtype=torch.float64),
            torch.fft.rfftfreq(width, d=larger, dtype=torch.float64),
        )
        self._along_y, self._along_x = along_y.to(device), along_x.to(device)
        self._rings_yx = weight_rings(canvas.binned_yx, device)

    def plain(self, columns: slice) -> Tensor:
        """Give back what the splines took."""
        return self._along_y * self._along_x[:, columns]

    def paired(self, images: list[Tensor], filter_br: Tensor) -> Iterator[tuple[Tensor, Filter]]:
        """As many images as there are filters, taken off the list one by one, each with its factors."""
        for filter_r in filter_br.to(self._rings_yx.device):
            yield images.pop(0), functools.partial(self._by_ring, filter_r)

    def _by_ring(self, filter_r: Tensor, columns: slice) -> Tensor:
        rings_yx = self._rings_yx[:, columns]
        weights_yx = filter_r.index_select(0, rings_yx.flatten().int()).view(rings_yx.shape)
        return weights_yx.mul_(self._along_y).mul_(self._along_x[:, columns])


def _whitened(spectrum: PowerSpectrum, whitening_of: _Whitening, plan: SumPlan) -> PowerSpectrum:
    """Give a power spectrum back what the splines took from the images."""
    box = spectrum.spectrum_yx.shape[0]
    bins = torch.arange(-(box // 2), box - box // 2, dtype=torch.float64)
    per_px = bins / box * plan.pixel_size_ang / spectrum.pixel_size_ang
    along_y, along_x = whitening_of.on_axes(per_px, per_px)
    factor_yx = (along_y * along_x).square().to(spectrum.spectrum_yx.device)
    return PowerSpectrum(spectrum.spectrum_yx * factor_yx, spectrum.pixel_size_ang)
