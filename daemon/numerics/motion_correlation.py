"""Where frames lie at first: each correlated with the sum of all others, or all of them along one straight path."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from daemon.numerics.motion_coarse import CoarseMovie, CorrelationBand, CorrelationMap
from daemon.numerics.motion_jumps import bring_together
from daemon.numerics.motion_path import Jumps, warped_time
from daemon.numerics.motion_reduction import ReducedMovie
from daemon.numerics.motion_score import correlate_with_others, sum_aligned, sum_of_phases, turn_back
from daemon.numerics.motion_stack import unpack
from daemon.numerics.parallel import map_in_order

# Rounds of correlation, each with the frames on either side that are looked at together; the widest search anywhere
# within reach, the others about the path of the neighbours.
_NEIGHBOURS = (2, 1, 0, 0)
# Within reach of a search noise comes to three or four standard deviations, and so do frames fall short of the average;
# one of sixty that is lost looks like a frame that jumped.
_RELIABLE_FRAME_SIGMA = 8.0
_MEDIAN_FRAMES = 5


@dataclass(frozen=True)
class Correlation:
    """Shifts (t, 2) px of zero mean, and the coherent power they bring about in standard deviations of noise.

    jumps: which of them no smooth path explains; strangers: frames, but few, that are like the others nowhere.
    """

    shift_t2: Float[Tensor, "t 2"]
    jumps: Jumps | None
    strangers: list[int]
    signal_sigma: float


def correlate_frames(reduced: ReducedMovie, band: CorrelationBand, exposure_t: Float[Tensor, "t"]) -> Correlation:
    """Shifts of frames against the sum of all others, from the peaks of their correlations.

    Frames too weak to be found one by one are not: a path of constant direction is sought for all of them together.
    Frequencies on either axis are left out. Frames without amplitude keep the shift of their nearest usable neighbour.
    """
    coarse = CoarseMovie(reduced, band)
    alignment = _Alignment(coarse)
    usable = reduced.usable
    shift_t2 = alignment.align(usable)
    if shift_t2 is None:
        shift_t2 = alignment.align_straight(exposure_t)
    shift_t2, strangers = bring_together(coarse, shift_t2, usable, lambda moved_t2: alignment.settle(moved_t2, usable))
    shift_t2 = _fill_unusable(shift_t2, [frame for frame in usable if frame not in strangers])
    jumps = Jumps.of(shift_t2, coarse.finest_px)
    return Correlation(shift_t2, jumps, strangers, coarse.excess_sigma(shift_t2))


def moving_path(reduced: ReducedMovie, band: CorrelationBand, exposure_t: Float[Tensor, "t"]) -> Float[Tensor, "t 2"]:
    """The path (x, y) px of constant direction along which frames have most in common beside what all of them share."""
    return _Alignment(CoarseMovie(reduced, band, mean_removed=True)).align_straight(exposure_t)


class _Alignment:
    """Paths sought in the low frequencies of a movie."""

    def __init__(self, coarse: CoarseMovie) -> None:
        self._coarse = coarse
        self._typical_shift_px = 0.5 * coarse.largest_shift_px
        # A third of the finest wavelength from one straight path to the next.
        self._straight_step_px = coarse.finest_px / 3

    def align(self, usable: list[int]) -> Float[Tensor, "t 2"] | None:
        """Shifts (x, y) px of the usable frames, zero for the others; None when single frames can't be relied on.

        Correlation maps are first summed over neighbouring frames, whose shifts differ little against the width of a
        peak; frames stand alone only in the end, and near where their neighbours are.
        """
        shift_t2 = torch.zeros(self._coarse.spectra_tyx2.shape[0], 2, dtype=torch.float64)
        for neighbours in _NEIGHBOURS:
            free = neighbours == _NEIGHBOURS[0]
            expected_t2 = torch.zeros(len(usable), 2) if free else _median_path(shift_t2[usable])
            reach_px = self._coarse.largest_shift_px if free else self._coarse.largest_jump_px
            shift_t2 = self._seek(shift_t2, usable, self._searches(expected_t2, reach_px), neighbours)
            if not free and not self._is_reliable(shift_t2, usable):
                return None
        return shift_t2

    def _is_reliable(self, shift_t2: Tensor, usable: list[int]) -> bool:
        """Whether frames can be found one by one, with paths such as this one.

        A frame's own correlation with all others, in its standard deviations, follows from that of all pairs.
        """
        return self._coarse.excess_sigma(shift_t2) * math.sqrt(2 / len(usable)) >= _RELIABLE_FRAME_SIGMA

    def _seek(self, shift_t2: Tensor, usable: list[int], searches: "_Searches", neighbours: int) -> Tensor:
        """Shifts of the usable frames, each sought against all others as they lie by now."""
        maps_tyx = self._correlations(usable, shift_t2, searches)
        maps_tyx = _running_sum(maps_tyx, min(neighbours, (len(usable) - 1) // 4)).cpu()
        found_t2 = torch.stack([self._peak(map_yx, searches, t) for t, map_yx in enumerate(maps_tyx)])
        sought_t2 = shift_t2.clone()
        sought_t2[usable] = found_t2 - found_t2.mean(dim=0)
        return sought_t2

    def settle(self, shift_t2: Tensor, usable: list[int]) -> Tensor:
        """Shifts of the usable frames, each sought near where it lies, if frames can be found one by one."""
        if not self._is_reliable(shift_t2, usable):
            return shift_t2
        return self._seek(shift_t2, usable, self._searches(shift_t2[usable], self._coarse.largest_jump_px), 0)

    def _searches(self, expected_t2: Tensor, reach_px: float) -> "_Searches":
        """Where each frame is sought: within reach of where it is expected."""
        spacing_yx = torch.tensor(self._coarse.spacing_yx_px, dtype=torch.float64)
        centre_t2 = (expected_t2.double().flip(1) / spacing_yx).round().long()
        reach = [
            min((size - 1) // 2, max(1, math.ceil(reach_px / spacing)))
            for size, spacing in zip(self._coarse.shape_yx, self._coarse.spacing_yx_px, strict=True)
        ]
        return _Searches(centre_t2, (reach[0], reach[1]))

    def align_straight(self, exposure_t: Tensor) -> Float[Tensor, "t 2"]:
        """Best path of constant direction, at constant speed or at that of beam-induced motion."""
        best_t2 = self._steady_path(exposure_t.numel())
        most = self._weigh_straight(best_t2)
        reach = max(
            1, math.floor(min(self._coarse.largest_jump_px * 2, self._coarse.largest_shift_px) / self._straight_step_px)
        )
        steps = self._straight_step_px * torch.arange(-reach, reach + 1, dtype=torch.float64)
        for clock_t in (torch.arange(exposure_t.numel(), dtype=torch.float64), warped_time(exposure_t)):
            course_t = (clock_t - clock_t.mean()) / (clock_t[-1] - clock_t[0])
            for way_xy in torch.cartesian_prod(steps, steps):
                path_t2 = course_t[:, None] * way_xy
                sigma = self._weigh_straight(path_t2)
                if sigma > most:
                    best_t2, most = path_t2, sigma
        return best_t2

    def _weigh_straight(self, path_t2: Tensor) -> float:
        """What frames have in common along a path in standard deviations, the less the longer it is."""
        sigma = self._coarse.excess_sigma(path_t2)
        if self._coarse.mean_removed:
            sigma += self._missing_sigma(path_t2)
        if sigma > 0:
            way_2 = path_t2[-1] - path_t2[0]
            sigma *= math.exp(-0.125 * float(way_2.square().sum()) / self._typical_shift_px**2)
        return sigma

    def _steady_path(self, frames: int) -> Float[Tensor, "t 2"]:
        """The path of constant velocity that frames have in common with the next ones, however fast.

        From one frame to the next it is found anywhere, over ever more frames as exactly as that allows.
        """
        coarse, lag, step_2 = self._coarse, 1, torch.zeros(2, dtype=torch.float64)
        while 2 * lag <= frames:
            pairs = zip(coarse.spectra_tyx2[lag:], coarse.spectra_tyx2, strict=False)
            product_yx = torch.zeros(coarse.damping_yx.shape, dtype=torch.complex64, device=coarse.ky.device)
            for later_yx2, earlier_yx2 in pairs:
                product_yx.addcmul_(unpack(later_yx2), unpack(earlier_yx2).conj())
            found = CorrelationMap(coarse, product_yx)
            step_2 = (found.highest() if lag == 1 else found.highest_near(lag * step_2))[1] / lag
            lag *= 2
        clock_t = torch.arange(frames, dtype=torch.float64)
        return (clock_t - clock_t.mean())[:, None] * step_2

    def _missing_sigma(self, shift_t2: Tensor) -> float:
        """Coherent power that frames lost with their mean, in the units of excess_sigma."""
        frames = shift_t2.shape[0]
        phase_yx = sum_of_phases(torch.ones(frames, dtype=torch.float64), shift_t2, self._coarse.ky, self._coarse.kx)
        likeness_yx = (phase_yx / frames).abs().square()
        lost_yx = self._coarse.incoherent_yx / (frames - 1) * (frames * likeness_yx - 1)
        return (
            float((self._coarse.damping_yx * lost_yx).double().sum()) / self._coarse.spread
            if self._coarse.spread > 0
            else 0.0
        )

    def _correlations(self, usable: list[int], shift_t2: Tensor, searches: "_Searches") -> Float[Tensor, "t y x"]:
        """Correlation of each usable frame, as it lies, with the sum of all others, aligned, times the image's size.

        Only shifts within reach of where a frame is expected are looked at: they are few, and a sum for each costs less
        than a transform. Coefficients that stand for themselves alone are on the axes or at the limit, and not used.
        """
        coarse = self._coarse
        total_yx = sum_aligned(coarse.spectra_tyx2, shift_t2, coarse.ky, coarse.kx)
        sizes = zip(coarse.shape_yx, searches.reach_yx, (coarse.ky, coarse.kx), strict=True)
        wave_y, wave_x = (_waves(size, reach, axis.numel(), axis.device) for size, reach, axis in sizes)
        expected_t2 = searches.centre_t2.flip(1) * torch.tensor(coarse.spacing_yx_px, dtype=torch.float64).flip(0)

        def correlate(place: int) -> Tensor:
            product_yx = correlate_with_others(
                coarse.spectra_tyx2, usable[place], shift_t2, total_yx, coarse.damping_yx, coarse.ky, coarse.kx
            )
            if bool(searches.centre_t2[place].any()):
                product_yx = turn_back(product_yx[None], expected_t2[place][None], coarse.ky, coarse.kx)[0]
            map_yx: Tensor = (wave_y @ (product_yx @ wave_x.T)).real
            return map_yx

        return torch.stack(list(map_in_order(correlate, range(len(usable)), device=coarse.ky.device)))

    def _peak(self, map_yx: Tensor, searches: "_Searches", frame: int) -> Tensor:
        """Position (x, y) in unbinned px of the highest value where a frame is sought."""
        centre, reach = searches.centre_t2[frame].tolist(), searches.reach_yx
        likely_yx = map_yx * torch.where(map_yx > 0, self._rarity(reach), torch.ones(()))
        top, left = divmod(int(likely_yx.argmax()), likely_yx.shape[1])
        y = centre[0] + top - reach[0] + _vertex(likely_yx[:, left], top)
        x = centre[1] + left - reach[1] + _vertex(likely_yx[top], left)
        return torch.tensor([x * self._coarse.spacing_yx_px[1], y * self._coarse.spacing_yx_px[0]], dtype=torch.float64)

    def _rarity(self, reach: tuple[int, int]) -> Tensor:
        """How much less likely shifts are with distance, over a search window: particles resemble their neighbours."""
        y, x = (self._coarse.spacing_yx_px[axis] * torch.arange(-reach[axis], reach[axis] + 1) for axis in (0, 1))
        return torch.exp(-0.5 * (y[:, None] ** 2 + x[None, :] ** 2) / self._typical_shift_px**2)


@dataclass(frozen=True)
class _Searches:
    """Where frames are sought, in reduced px (y, x): about a centre each, as far as reach."""

    centre_t2: Tensor
    reach_yx: tuple[int, int]


def _waves(size: int, farthest: int, frequencies: int, device: torch.device) -> Tensor:
    """exp(2πi f s / size) for shifts s = −farthest … farthest and the frequencies f of one axis, (s, f)."""
    frequency = torch.arange(frequencies, dtype=torch.int64, device=device)
    shift = torch.arange(-farthest, farthest + 1, dtype=torch.int64, device=device)
    turn = (shift[:, None] * frequency).remainder(size).double() * (2 * math.pi / size)
    return torch.polar(torch.ones_like(turn), turn).to(torch.complex64)


def _running_sum(maps_tyx: Tensor, reach: int) -> Tensor:
    """Triangular running sum over frames, mirrored at the ends."""
    if reach == 0:
        return maps_tyx
    frames = maps_tyx.shape[0]
    share_tu = torch.zeros(frames, frames, dtype=maps_tyx.dtype)
    for frame in range(frames):
        for offset in range(-reach, reach + 1):
            other = abs(frame + offset)
            share_tu[frame, min(other, 2 * (frames - 1) - other)] += reach + 1 - abs(offset)
    return (share_tu.to(maps_tyx.device) @ maps_tyx.flatten(1)).reshape(maps_tyx.shape)


def _median_path(shift_t2: Tensor) -> Tensor:
    """Median over each frame and its nearest neighbours, fewer of them at the ends."""
    reach = _MEDIAN_FRAMES // 2
    frames = shift_t2.shape[0]
    rows = []
    for index in range(frames):
        near = min(reach, index, frames - 1 - index)
        # At the very ends the frame alone says too little: lean on the next two.
        first, last = (index - near, index + near + 1) if near else (max(0, index - 2), min(frames, index + 3))
        rows.append(shift_t2[first:last].median(dim=0).values)
    return torch.stack(rows)


def _vertex(line: Tensor, index: int) -> float:
    """Offset of the parabola's vertex through a maximum and its neighbours; 0 at an end."""
    if not 0 < index < line.numel() - 1:
        return 0.0
    below, here, above = (float(line[index + step]) for step in (-1, 0, 1))
    curvature = below - 2 * here + above
    return 0.0 if curvature >= 0 else max(-0.5, min(0.5, 0.5 * (below - above) / curvature))


def _fill_unusable(shift_t2: Tensor, usable: list[int]) -> Tensor:
    filled = shift_t2.clone()
    for index in range(shift_t2.shape[0]):
        if index not in usable:
            filled[index] = shift_t2[min(usable, key=lambda other: (abs(other - index), other))]
    return filled
