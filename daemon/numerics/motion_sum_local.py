"""Sums of frames that moved along a local field: every block of pixels through all frames before the next block.

Frames are taken a batch at a time, and only its raw frames are held. A block is corrected, warped and mixed into all
sums while it is in the processor's cache. The exposure filter, which differs from frame to frame, is made of a few
combinations of frames that are the same at every frequency: so many sums are transformed, instead of every frame.

What the splines took is given back by its average over all frames. The exposure filter prefers early ones near Nyquist:
beyond 0.42 cycles per pixel the noise of weighted sums is white only within some tens of percent.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from daemon.numerics.canvas_filter import Filter, Room, filter_on_canvas, leave_canvas, make_room
from daemon.numerics.dose import weight_rings
from daemon.numerics.motion_canvas import Canvas, binned_shape
from daemon.numerics.motion_field import LocalField
from daemon.numerics.motion_plan import CorrectedMovie, SumPlan
from daemon.numerics.motion_sum_batch import MARGIN_PX, Displacements, Share, Sums, take_batch
from daemon.numerics.parallel import map_in_order, only_side_by_side
from daemon.numerics.spectrum import MovieSpectrum, PartSpectra
from daemon.numerics.warp import whitening

FRAMES_AT_ONCE = 16
"""Raw frames that are held while they are summed."""
_PARTS_AT_ONCE = 2
"""Parts whose plain sums are in work at once, in the memory of the two transforms that come later: the combined sums
are read and written for both together."""


@only_side_by_side()
def sum_along_field(
    plan: SumPlan, global_t2: Float[Tensor, "t 2"], local: LocalField, tell: Callable[[float], None]
) -> CorrectedMovie:
    """Sum frames after undoing motion, whole-frame (x, y) px and local; tell hears which share of the work is done."""
    fields = Displacements.of(local, global_t2, plan.frames)
    whitening_of = _Whitening.of(fields)
    mixing = _Mixing.of(plan)
    device = plan.movie_tyx.device
    wide_yx = (plan.shape_yx[0] + 2 * MARGIN_PX, plan.shape_yx[1] + 2 * MARGIN_PX)
    shares = list(_shares(plan.parts))
    canvas = Canvas.around(wide_yx, (0, 0), binning=plan.binning)
    room = make_room(canvas, device)
    parts = [_lend(each, wide_yx) for each in room]
    sums = Sums(parts, [torch.empty(wide_yx, device=device) for _ in mixing.weights_bt], mixing.weights_bt)
    spectra, left = PartSpectra(plan.pixel_size_ang, binning=plan.binning), [len(part) for part in plan.parts]
    part = done = 0
    for share in shares:
        batch = take_batch(plan, fields, share, sums)
        for _ in map_in_order(batch.add, batch.tops, device=device):
            done += len(share.frames)
            tell(0.95 * done / (len(batch.tops) * len(plan.frames)))
        del batch
        for plane in sorted(set(share.planes)):
            left[part] -= share.planes.count(plane)
            if not left[part]:
                spectra.add(_inner(sums.parts[plane]))
                part += 1
    combined, whole = sums.combined, spectra.conclude()
    del sums, parts, spectra, fields
    result = _finish(plan, whitening_of, mixing, combined, whole, canvas, room)
    tell(1.0)
    return result


def _shares(parts: Sequence[tuple[int, ...]]) -> Iterator[Share]:
    """Frames in order, a few whole parts at a time; a part that is too many frames by itself is split evenly."""
    first, waiting = 0, list(parts)
    while waiting:
        taken = [waiting.pop(0)]
        while waiting and len(taken) < _PARTS_AT_ONCE and sum(map(len, [*taken, waiting[0]])) <= FRAMES_AT_ONCE:
            taken.append(waiting.pop(0))
        frames = tuple(frame for part in taken for frame in part)
        planes = tuple(plane for plane, part in enumerate(taken) for _ in part)
        count = math.ceil(len(frames) / FRAMES_AT_ONCE)
        edges = [round(index * len(frames) / count) for index in range(count + 1)]
        for begin, end in pairwise(edges):
            new = frozenset(planes) if begin == 0 else frozenset[int]()
            yield Share(first + begin, frames[begin:end], planes[begin:end], new)
        first += len(frames)


def _inner(wide_yx: Tensor) -> Tensor:
    """The image itself, without what sums reach beyond it."""
    return wide_yx[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]


@dataclass(frozen=True)
class _Mixing:
    """How frames, in order, are combined: all alike, for the exposure filter, and once more for even frames alone.

    filter_cr: what each of the first combinations, those of all frames, is multiplied with, by ring; None where nothing
    is filtered. The first is the plain sum.
    """

    weights_bt: Float[Tensor, "b t"]
    filter_cr: Float[Tensor, "c r"] | None

    @staticmethod
    def of(plan: SumPlan) -> "_Mixing":
        weights_ct, filter_cr = torch.ones(1, len(plan.frames)), None
        if plan.weights is not None:
            basis_tc, filter_cr = plan.weights.basis()
            weights_ct = basis_tc.T
        if not plan.want_even_odd:
            return _Mixing(weights_ct, filter_cr)
        is_even_t = torch.tensor([frame % 2 == 0 for frame in plan.frames]).float()
        return _Mixing(torch.cat([weights_ct, weights_ct * is_even_t]), filter_cr)


@dataclass(frozen=True)
class _Whitening:
    """Fractions of pixels, along y and x, by which the frames were displaced all over the field."""

    fraction_y: Tensor
    fraction_x: Tensor

    @staticmethod
    def of(fields: Displacements) -> "_Whitening":
        # Fields are smooth: of nodes 16 px apart, every other one knows as much.
        moved_n2 = fields.displacement_tyx2[:, ::2, ::2].flatten(0, 2)
        return _Whitening(moved_n2[:, 1], moved_n2[:, 0])

    def on_axes(self, frequency_y: Tensor, frequency_x: Tensor) -> tuple[Tensor, Tensor]:
        """Factors along y, as a column, and along x; frequencies in cycles per pixel."""
        along_y, along_x = whitening(self.fraction_y, frequency_y), whitening(self.fraction_x, frequency_x)
        return along_y.float()[:, None], along_x.float()[None, :]


def _lend(transform: Tensor, shape_yx: tuple[int, int]) -> Tensor:
    """Memory of a transform that is made later, as an image; memory of its own where that is too little."""
    lent, size = torch.view_as_real(transform).flatten(), shape_yx[0] * shape_yx[1]
    return lent[:size].view(shape_yx) if len(lent) >= size else torch.empty(shape_yx, device=transform.device)


def _finish(
    plan: SumPlan,
    whitening_of: _Whitening,
    mixing: _Mixing,
    combined: list[Tensor],
    spectrum: MovieSpectrum,
    canvas: Canvas,
    room: Room,
) -> CorrectedMovie:
    """Undo what the splines took, filter by exposure, come back from Fourier space.

    combined: all combinations; the list is emptied before there are images.
    """
    margin_px = MARGIN_PX // plan.binning
    shape_yx = binned_shape(plan.shape_yx, plan.binning)
    filters = _CanvasFilters(canvas, whitening_of, combined[0].device)
    each = filters.of(mixing.filter_cr)

    def transforms(alike: list[Tensor], alone: Filter | None) -> tuple[Tensor, ...]:
        # The plain sum comes last, as it is what is wanted alone as well.
        return filter_on_canvas(list(zip(alike, each, strict=True))[::-1], canvas, room, alone)

    def image(transform: Tensor) -> Tensor:
        return leave_canvas(transform, canvas, (margin_px, margin_px), shape_yx)

    even_yx = odd_yx = None
    if plan.want_even_odd:
        even_yx = image(transforms(combined[len(each) :], None)[0])
    found = transforms(combined[: len(each)], None if mixing.filter_cr is None else filters.plain)
    combined.clear()
    weighted_yx = None if mixing.filter_cr is None else image(found[0])
    unweighted_yx = image(found[-1])
    if even_yx is not None:
        odd_yx = (unweighted_yx if weighted_yx is None else weighted_yx) - even_yx
    return CorrectedMovie(unweighted_yx, weighted_yx, even_yx, odd_yx, _whitened(spectrum, whitening_of, plan))


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

    def of(self, filter_cr: Tensor | None) -> list[Filter]:
        """Factors of each combination; of the only one there is where nothing is filtered."""
        if filter_cr is None:
            return [self.plain]
        return [functools.partial(self._by_ring, filter_r) for filter_r in filter_cr.to(self._rings_yx.device)]

    def _by_ring(self, filter_r: Tensor, columns: slice) -> Tensor:
        rings_yx = self._rings_yx[:, columns]
        weights_yx = filter_r.index_select(0, rings_yx.flatten().int()).view(rings_yx.shape)
        return weights_yx.mul_(self._along_y).mul_(self._along_x[:, columns])


def _whitened(spectrum: MovieSpectrum, whitening_of: _Whitening, plan: SumPlan) -> MovieSpectrum:
    """Give power spectra back what the splines took from the images."""
    box = spectrum.spectrum_yx.shape[0]
    bins = torch.arange(-(box // 2), box - box // 2, dtype=torch.float64)
    per_px = bins / box * plan.pixel_size_ang / spectrum.pixel_size_ang
    along_y, along_x = whitening_of.on_axes(per_px, per_px)
    factor_yx = (along_y * along_x).square().to(spectrum.spectrum_yx.device)
    return spectrum.multiply(factor_yx)
