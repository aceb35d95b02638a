"""Sums of frames that moved as a whole, each brought back in Fourier space, exactly."""

from collections.abc import Callable
from contextlib import closing

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from daemon.numerics.dose import weight_rings
from daemon.numerics.fourier import shift_phases
from daemon.numerics.motion_canvas import Canvas
from daemon.numerics.motion_plan import CorrectedMovie, SumPlan
from daemon.numerics.parallel import map_in_order, only_side_by_side
from daemon.numerics.spectrum import PartSpectra

_MARGIN_PX = 8
_FRAMES_AT_ONCE = 2
"""However many threads there are: each frame in work takes nearly three images of memory."""


@only_side_by_side()
def sum_along_path(plan: SumPlan, global_t2: Float[Tensor, "t 2"], tell: Callable[[float], None]) -> CorrectedMovie:
    """Sum frames after undoing whole-frame motion (x, y) px; tell hears which share of them is done."""
    reach_x, reach_y = global_t2.abs().amax(dim=0).tolist()
    canvas = Canvas.around(plan.shape_yx, (reach_y + _MARGIN_PX, reach_x + _MARGIN_PX), binning=plan.binning)
    sums = _Sums(plan, canvas)
    done, device = 0, plan.movie_tyx.device

    def transform_back(frame: int) -> Tensor:
        return _transform_back(plan, canvas, frame, global_t2[frame])

    # Closed whatever happens: who tells may cancel, and what is under way must not outlive the threads that do it.
    with closing(map_in_order(transform_back, plan.frames, device=device, at_most=_FRAMES_AT_ONCE)) as transforms:
        for part in plan.parts:
            for frame, transform in zip(part, transforms, strict=False):
                sums.add(transform, frame, done)
                done += 1
                tell(done / len(plan.frames))
            sums.close_part()
    return sums.result()


def _transform_back(plan: SumPlan, canvas: Canvas, frame: int, shift_2: Tensor) -> Complex[Tensor, "py px"]:
    """Transform of a frame on the canvas, its motion undone, cut to the coefficients of larger pixels."""
    transform = canvas.transform(plan.correction.apply(plan.movie_tyx[frame]))
    shift_x, shift_y = (shift_2 / canvas.binning).tolist()
    phase_y, phase_x = shift_phases(canvas.binned_yx, (-shift_x, -shift_y), device=transform.device)
    transform *= phase_y
    transform *= phase_x
    return transform


class _Sums:
    """Everything that is summed on the way through the frames."""

    def __init__(self, plan: SumPlan, canvas: Canvas) -> None:
        self._plan, self._canvas = plan, canvas
        device = plan.movie_tyx.device
        half_yx = (canvas.binned_yx[0], canvas.binned_yx[1] // 2 + 1)
        self._unweighted_yx = torch.zeros(canvas.cut_shape_yx, device=device)
        self._part: Tensor | None = None
        self._even = torch.zeros(half_yx, dtype=torch.complex64, device=device) if plan.want_even_odd else None
        self._weighted: Tensor | None = None
        self._spectra = PartSpectra(plan.pixel_size_ang * plan.binning)
        if plan.weights is not None:
            self._weighted = torch.zeros(half_yx, dtype=torch.complex64, device=device)
            self._table_tr = plan.weights.table_tr.to(device)
            self._rings_yx = weight_rings(canvas.binned_yx, device).int()

    def add(self, transform: Tensor, frame: int, row: int) -> None:
        """Take in a frame, the row-th of those that are summed, given as its transform on the canvas."""
        if self._weighted is not None:
            weighted = transform * self._table_tr[row][self._rings_yx]
            self._weighted += weighted
        else:
            weighted = transform
        if self._even is not None and frame % 2 == 0:
            self._even += weighted
        self._part = transform if self._part is None else self._part.add_(transform)

    def close_part(self) -> None:
        """End a partial sum: into the plain sum and the spectrum."""
        assert self._part is not None
        part_yx = self._canvas.transform_back(self._part)
        self._unweighted_yx += part_yx
        self._spectra.add(part_yx)
        self._part = None

    def result(self) -> CorrectedMovie:
        """Finish all sums."""
        weighted_yx = None if self._weighted is None else self._canvas.transform_back(self._weighted)
        even_yx = odd_yx = None
        if self._even is not None:
            even_yx = self._canvas.transform_back(self._even)
            odd_yx = (self._unweighted_yx if weighted_yx is None else weighted_yx) - even_yx
        spectrum = self._spectra.conclude()
        return CorrectedMovie(self._unweighted_yx, weighted_yx, even_yx, odd_yx, spectrum)
