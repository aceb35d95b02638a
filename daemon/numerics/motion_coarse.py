"""The low frequencies of a movie: what frames are first compared by, and how much they have in common."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from daemon.numerics.fourier import good_fft_size
from daemon.numerics.motion_reduction import ReducedMovie
from daemon.numerics.motion_score import for_each, power, row_blocks, sum_aligned, sum_frames, turn_back
from daemon.numerics.motion_stack import cut_packed, pack, unpack
from daemon.numerics.parallel import map_in_order

FARTHEST = 1 / 3
"""Farther than this share of the image, frames share too little to be compared."""


@dataclass(frozen=True)
class CorrelationBand:
    """What first correlations look at: frequencies in cycles per px, damped by exp(−B k²/4).

    largest_shift_px: how far a frame is looked for from the mean of all; largest_jump_px: and from its neighbours'
    path. What jumped farther is looked for by `motion_jumps`.
    """

    lowest: float
    highest: float
    b_factor_px2: float
    largest_shift_px: float
    largest_jump_px: float


class CoarseMovie:
    """The low frequencies of a reduced movie and what correlating them needs.

    mean_removed: the mean of all frames is subtracted from each.
    """

    def __init__(self, reduced: ReducedMovie, band: CorrelationBand, *, mean_removed: bool = False) -> None:
        extent_yx = [reduced.shape_yx[axis] * reduced.spacing_yx_px[axis] for axis in (0, 1)]
        small = [
            min(reduced.shape_yx[axis], good_fft_size(math.ceil(2.04 * band.highest * extent_yx[axis]) + 2))
            for axis in (0, 1)
        ]
        self.shape_yx = (small[0], small[1])
        self.largest_shift_px = min(band.largest_shift_px, FARTHEST * min(extent_yx))
        self.largest_jump_px = min(band.largest_jump_px, self.largest_shift_px)
        self.finest_px = 1 / band.highest
        self.spacing_yx_px = (extent_yx[0] / small[0], extent_yx[1] / small[1])
        self.mean_removed = mean_removed
        self.amplitude_t = reduced.amplitude_t.double()
        self.spectra_tyx2 = cut_packed(reduced.spectra_tyx2, reduced.shape_yx, self.shape_yx)
        if mean_removed:
            mean_yx = sum_frames(self.spectra_tyx2) / len(self.spectra_tyx2)
            for frame_yx2 in self.spectra_tyx2:
                frame_yx2.copy_(pack(unpack(frame_yx2) - mean_yx))
        device = reduced.ky.device
        self.ky = torch.fft.fftfreq(small[0], d=self.spacing_yx_px[0], device=device)[:, None]
        self.kx = torch.fft.rfftfreq(small[1], d=self.spacing_yx_px[1], device=device)[None, :]
        squared = self.ky**2 + self.kx**2
        used = (squared >= band.lowest**2) & (squared <= band.highest**2) & (self.ky != 0) & (self.kx != 0)
        self.damping_yx = torch.exp(-0.25 * band.b_factor_px2 * squared) * used
        self.incoherent_yx = torch.empty_like(self.damping_yx)
        quartic_yx = torch.empty_like(self.damping_yx)

        def add(rows: slice) -> None:
            power_tyx = power(unpack(self.spectra_tyx2[:, rows]))
            self.incoherent_yx[rows], quartic_yx[rows] = power_tyx.sum(dim=0), power_tyx.square().sum(dim=0)

        for_each(add, row_blocks(self.spectra_tyx2, len(self.spectra_tyx2)), device)
        # Given |y_t|², the products y_t* y_u of independent noise have variance Σ_{t≠u} |y_t|² |y_u|².
        pairs_yx = self.incoherent_yx.square() - quartic_yx
        self.spread = math.sqrt(max(0.0, float((self.damping_yx.square() * pairs_yx).double().sum())))

    def excess_sigma(self, shift_t2: Float[Tensor, "t 2"]) -> float:
        """Coherent power at these shifts beyond that of noise, in standard deviations of noise alone."""
        coherent_yx = power(sum_aligned(self.spectra_tyx2, shift_t2, self.ky, self.kx))
        excess = float((self.damping_yx * (coherent_yx - self.incoherent_yx)).double().sum())
        return excess / self.spread if self.spread > 0 else 0.0

    def sum_aligned(self, frames: list[int], shift_t2: Float[Tensor, "t 2"]) -> Complex[Tensor, "y x"]:
        """Sum of some frames, each moved back by its shift; shift_t2 of all frames."""
        return sum_aligned(self.spectra_tyx2[frames], shift_t2[frames], self.ky, self.kx)

    def likeness(self, frames: list[int], shift_t2: Float[Tensor, "t 2"]) -> Float[Tensor, "f f"]:
        """Damped correlation of every pair of some frames where they lie, each in its standard deviations of noise.

        0 of a frame with itself. shift_t2 of all frames.
        """
        count = len(frames)
        if count < 2 or self.spread == 0:
            return torch.zeros(count, count, dtype=torch.float64)
        root_yx = self.damping_yx.sqrt()

        def correlate(rows: slice) -> Tensor:
            own_fyx = unpack(self.spectra_tyx2[frames, rows])
            aligned_fyx = turn_back(own_fyx, shift_t2[frames], self.ky[rows], self.kx) * root_yx[rows]
            flat_fk, power_fk = torch.view_as_real(aligned_fyx).flatten(1), power(aligned_fyx).flatten(1)
            return torch.stack([flat_fk @ flat_fk.T, 0.5 * power_fk @ power_fk.T]).double().cpu()

        blocks = row_blocks(self.spectra_tyx2, count)
        sums_2ff = torch.zeros(2, count, count, dtype=torch.float64)
        for part_2ff in map_in_order(correlate, blocks, device=self.ky.device):
            sums_2ff += part_2ff
        # Given |y_t|² and |y_u|², Re Σ D y_t* y_u of independent noise has variance ½ Σ D² |y_t|² |y_u|².
        correlation_ff, variance_ff = sums_2ff
        sigma_ff = variance_ff.clamp_min(torch.finfo(torch.float64).tiny).sqrt()
        likeness_ff: Tensor = (correlation_ff / sigma_ff).fill_diagonal_(0.0)
        return likeness_ff


class CorrelationMap:
    """Damped correlation at every shift (x, y) px, on reduced pixels, from a cross spectrum; sigma: its spread."""

    def __init__(self, coarse: CoarseMovie, product_yx: Complex[Tensor, "y x"]) -> None:
        self._map_yx = torch.fft.irfft2(product_yx * coarse.damping_yx, s=coarse.shape_yx).cpu()
        self.sigma = max(float(self._map_yx.std()), torch.finfo(torch.float32).tiny)
        self._spacing_yx_px, self._finest_px = coarse.spacing_yx_px, coarse.finest_px
        self._y, self._x = (
            spacing * torch.fft.fftfreq(size, d=1 / size)
            for size, spacing in zip(coarse.shape_yx, coarse.spacing_yx_px, strict=True)
        )
        y_reach, x_reach = (2 * FARTHEST * axis.abs().max() for axis in (self._y, self._x))
        self._is_far_yx = (self._y.abs()[:, None] > y_reach) | (self._x.abs()[None, :] > x_reach)
        self.count = int((~self._is_far_yx).sum())
        """Shifts that are within reach."""

    def at(self, shift_2: Float[Tensor, "2"]) -> float:
        """Correlation at the nearest reduced pixel."""
        row, column = self._nearest(shift_2)
        return float(self._map_yx[row, column])

    def highest(self) -> tuple[float, Float[Tensor, "2"]]:
        """Highest correlation within reach, and where."""
        row, column = divmod(int(self._map_yx.masked_fill(self._is_far_yx, -torch.inf).argmax()), len(self._x))
        return float(self._map_yx[row, column]), self._place(row, column)

    def highest_near(self, shift_2: Float[Tensor, "2"]) -> tuple[float, Float[Tensor, "2"]]:
        """Highest correlation within half of the finest detail compared, and where."""
        row, column = self._nearest(shift_2)
        reach_y, reach_x = (max(1, round(0.5 * self._finest_px / spacing)) for spacing in self._spacing_yx_px)
        rows = torch.arange(row - reach_y, row + reach_y + 1) % len(self._y)
        columns = torch.arange(column - reach_x, column + reach_x + 1) % len(self._x)
        near_yx = self._map_yx[rows][:, columns]
        best = divmod(int(near_yx.argmax()), len(columns))
        return float(near_yx[best]), self._place(int(rows[best[0]]), int(columns[best[1]]))

    def _nearest(self, shift_2: Tensor) -> tuple[int, int]:
        row, column = (round(float(shift_2[1 - axis]) / self._spacing_yx_px[axis]) for axis in (0, 1))
        return row % len(self._y), column % len(self._x)

    def _place(self, row: int, column: int) -> Tensor:
        return torch.tensor([float(self._x[column]), float(self._y[row])], dtype=torch.float64)
