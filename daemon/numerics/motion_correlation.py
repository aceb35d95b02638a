"""Where frames lie at first: each correlated with the sum of all others, or all of them along one straight path."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from daemon.numerics.fourier import good_fft_size
from daemon.numerics.motion_prior import warped_time
from daemon.numerics.motion_reduction import ReducedMovie
from daemon.numerics.motion_score import (
    correlate_with_others,
    for_each,
    power,
    row_blocks,
    sum_aligned,
    sum_frames,
    sum_of_phases,
)
from daemon.numerics.motion_stack import cut_packed, pack, unpack
from daemon.numerics.parallel import map_in_order

# Rounds of correlation, each with the frames on either side that are looked at together; the widest search anywhere
# within reach, the others about the path of the neighbours.
_NEIGHBOURS = (2, 1, 0, 0)
# Within reach of a search noise comes to three or four standard deviations, and so do frames fall short of the average;
# one of sixty that is lost looks like a frame that jumped.
_RELIABLE_FRAME_SIGMA = 8.0
_MEDIAN_FRAMES = 5
# A movie is cut into so many stretches to look for jumps between them. One is believed where stretches are this much
# more alike at another shift than where they lie, and by so many standard deviations of all shifts.
_STRETCHES = 8
_MOST_JUMPS = 3
_JUMP_CONTRAST, _JUMP_SIGMA = 1.3, 6.0


@dataclass(frozen=True)
class CorrelationBand:
    """What first correlations look at: frequencies in cycles per px, damped by exp(−B k²/4).

    largest_shift_px: how far a frame may lie from the mean of all; largest_jump_px: and from its neighbours' path.
    """

    lowest: float
    highest: float
    b_factor_px2: float
    largest_shift_px: float
    largest_jump_px: float


@dataclass(frozen=True)
class Correlation:
    """Shifts (t, 2) px of zero mean, and the coherent power they bring about in standard deviations of noise."""

    shift_t2: Float[Tensor, "t 2"]
    signal_sigma: float


def correlate_frames(reduced: ReducedMovie, band: CorrelationBand, exposure_t: Float[Tensor, "t"]) -> Correlation:
    """Shifts of frames against the sum of all others, from the peaks of their correlations.

    Frames too weak to be found one by one are not: a path of constant direction is sought for all of them together.
    Frequencies on either axis are left out. Frames without amplitude keep the shift of their nearest usable neighbour.
    """
    coarse = _Coarse(reduced, band)
    usable = [index for index, amplitude in enumerate(reduced.amplitude_t.tolist()) if amplitude > 0]
    shift_t2 = coarse.align(usable)
    if shift_t2 is None:
        shift_t2 = coarse.align_straight(exposure_t)
    shift_t2 = coarse.join(shift_t2, usable)
    return Correlation(_fill_unusable(shift_t2, usable), coarse.excess_sigma(shift_t2))


def moving_path(reduced: ReducedMovie, band: CorrelationBand, exposure_t: Float[Tensor, "t"]) -> Float[Tensor, "t 2"]:
    """The path (x, y) px of constant direction along which frames have most in common beside what all of them share."""
    return _Coarse(reduced, band, mean_removed=True).align_straight(exposure_t)


class _Coarse:
    """The low frequencies of a reduced movie and what correlating them needs.

    mean_removed: the mean of all frames is subtracted from each. It takes along N/T of every frame's own noise, which
    makes frames unlike one another: −N(T|m|² − 1) in the coherent power, m the mean phase, is made up for.
    """

    def __init__(self, reduced: ReducedMovie, band: CorrelationBand, *, mean_removed: bool = False) -> None:
        extent_yx = [reduced.shape_yx[axis] * reduced.spacing_yx_px[axis] for axis in (0, 1)]
        small = [
            min(reduced.shape_yx[axis], good_fft_size(math.ceil(2.04 * band.highest * extent_yx[axis]) + 2))
            for axis in (0, 1)
        ]
        self.shape_yx = (small[0], small[1])
        # Farther than a quarter of the image, frames share too little to be compared.
        self._largest_shift_px = min(band.largest_shift_px, 0.25 * min(extent_yx))
        self._typical_shift_px = 0.5 * self._largest_shift_px
        self._largest_jump_px = min(band.largest_jump_px, self._largest_shift_px)
        self.spacing_yx_px = (extent_yx[0] / small[0], extent_yx[1] / small[1])
        self._mean_removed = mean_removed
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
        # A third of the finest wavelength from one straight path to the next.
        self._straight_step_px = 1 / (3 * band.highest)
        self._incoherent_yx = torch.empty_like(self.damping_yx)
        quartic_yx = torch.empty_like(self.damping_yx)

        def add(rows: slice) -> None:
            power_tyx = power(unpack(self.spectra_tyx2[:, rows]))
            self._incoherent_yx[rows], quartic_yx[rows] = power_tyx.sum(dim=0), power_tyx.square().sum(dim=0)

        for_each(add, row_blocks(self.spectra_tyx2, len(self.spectra_tyx2)), device)
        # Given |y_t|², the products y_t* y_u of independent noise have variance Σ_{t≠u} |y_t|² |y_u|².
        pairs_yx = self._incoherent_yx.square() - quartic_yx
        self._spread = math.sqrt(max(0.0, float((self.damping_yx.square() * pairs_yx).double().sum())))

    def align(self, usable: list[int]) -> Float[Tensor, "t 2"] | None:
        """Shifts (x, y) px of the usable frames, zero for the others; None when single frames can't be relied on.

        Correlation maps are first summed over neighbouring frames, whose shifts differ little against the width of a
        peak; frames stand alone only in the end, and near where their neighbours are.
        """
        shift_t2 = torch.zeros(self.spectra_tyx2.shape[0], 2, dtype=torch.float64)
        for neighbours in _NEIGHBOURS:
            free = neighbours == _NEIGHBOURS[0]
            expected_t2 = torch.zeros(len(usable), 2) if free else _median_path(shift_t2[usable])
            reach_px = self._largest_shift_px if free else self._largest_jump_px
            shift_t2 = self._seek(shift_t2, usable, self._searches(expected_t2, reach_px), neighbours)
            # A frame's own correlation with all others, in its standard deviations, follows from that of all pairs.
            if not free and self.excess_sigma(shift_t2) * math.sqrt(2 / len(usable)) < _RELIABLE_FRAME_SIGMA:
                return None
        return shift_t2

    def _seek(self, shift_t2: Tensor, usable: list[int], searches: "_Searches", neighbours: int) -> Tensor:
        """Shifts of the usable frames, each sought against all others as they lie by now."""
        maps_tyx = self._correlations(usable, shift_t2, searches)
        maps_tyx = _running_sum(maps_tyx, min(neighbours, (len(usable) - 1) // 4)).cpu()
        found_t2 = torch.stack([self._peak(map_yx, searches, t) for t, map_yx in enumerate(maps_tyx)])
        sought_t2 = shift_t2.clone()
        sought_t2[usable] = found_t2 - found_t2.mean(dim=0)
        return sought_t2

    def join(self, shift_t2: Tensor, usable: list[int]) -> Tensor:
        """Put in jumps that no single frame shows: half the others lie where it does, and it looks no farther.

        Frames before and after such a jump are aligned among themselves, and each half is a stranger to the other.
        """
        shift_t2 = self._recall(shift_t2, usable)
        for _ in range(_MOST_JUMPS):
            jump = self._find_jump(shift_t2, usable)
            if jump is None:
                break
            first, offset_2 = jump
            shift_t2[usable[first:]] += offset_2
            shift_t2 = self._recall(shift_t2, usable)
        shift_t2[usable] -= shift_t2[usable].mean(dim=0)
        return shift_t2

    def _recall(self, shift_t2: Tensor, usable: list[int]) -> Tensor:
        """Fetch frames that were left on the wrong side of a jump: they resemble all others much more from afar."""
        if float(shift_t2[usable].diff(dim=0).norm(dim=1).amax()) <= self._largest_jump_px:
            return shift_t2.clone()
        total_yx = sum_aligned(self.spectra_tyx2, shift_t2, self.ky, self.kx)
        afar, recalled_t2 = self._afar(), shift_t2.clone()
        for frame in usable:
            own_yx = self._aligned([frame], shift_t2)
            found = self._look_afar(total_yx - own_yx, own_yx, afar)
            if found is not None:
                recalled_t2[frame] += found[1]
        return recalled_t2

    def _look_afar(self, one_yx: Tensor, other_yx: Tensor, afar: "_Afar") -> tuple[float, Tensor] | None:
        """Where the other is much more like the one than where it lies: by how many deviations; offset (x, y) px."""
        map_yx = _correlation_map(other_yx * one_yx.conj() * self.damping_yx, afar.waves).cpu()
        far_yx, spread = map_yx.masked_fill(afar.is_near_yx, -math.inf), float(map_yx.std())
        height = float(far_yx.max())
        if height <= max(_JUMP_SIGMA * spread, _JUMP_CONTRAST * float(map_yx[afar.is_near_yx].max())):
            return None
        return height / spread, self._peak(far_yx, afar.searches, 0)

    def _afar(self) -> "_Afar":
        """Everywhere within reach, and where frames are looked for anyway: within a jump of where they lie."""
        searches = self._searches(torch.zeros(1, 2), self._largest_shift_px)
        y, x = (
            spacing * torch.arange(-reach, reach + 1)
            for spacing, reach in zip(self.spacing_yx_px, searches.reach_yx, strict=True)
        )
        is_near_yx = y[:, None] ** 2 + x[None, :] ** 2 <= self._largest_jump_px**2
        return _Afar(searches, self._waves_to(searches.farthest_yx), is_near_yx)

    def _aligned(self, frames: list[int], shift_t2: Tensor) -> Tensor:
        """Sum of some frames, each moved back by its shift; shift_t2 of all frames."""
        return sum_aligned(self.spectra_tyx2[frames], shift_t2[frames], self.ky, self.kx)

    def _find_jump(self, shift_t2: Tensor, usable: list[int]) -> tuple[int, Tensor] | None:
        """First frame, counted among the usable ones, after the jump that stands out most, and its (x, y) in px."""
        length = max(1, len(usable) // _STRETCHES)
        firsts = list(range(0, len(usable) - length + 1, length))
        sums = [self._aligned(usable[first : first + length], shift_t2) for first in firsts]
        afar = self._afar()
        best: tuple[float, int, int, Tensor] | None = None
        for before, after in ((i, i + gap) for gap in (1, 2) for i in range(len(sums) - gap)):
            found = self._look_afar(sums[before], sums[after], afar)
            if found is not None and (best is None or found[0] > best[0]):
                best = found[0], before, after, found[1]
        if best is None:
            return None
        _, before, after, offset_2 = best
        begin, end = firsts[before], firsts[after] + length
        return begin + self._place_jump(shift_t2, usable[begin:end], sums[before], offset_2), offset_2

    def _place_jump(self, shift_t2: Tensor, frames: list[int], before_yx: Tensor, offset_2: Tensor) -> int:
        """Which of these frames is the first one after a jump, from how each resembles what was before it."""
        jumped = []
        for frame in frames:
            gained_yx = self._aligned([frame], shift_t2 + offset_2) - self._aligned([frame], shift_t2)
            product_yx = gained_yx * before_yx.conj() * self.damping_yx
            jumped.append(float(product_yx.real.double().sum()))
        score = torch.tensor(jumped, dtype=torch.float64)
        gain = torch.stack([score[first:].sum() - score[:first].sum() for first in range(1, len(frames))])
        return 1 + int(gain.argmax())

    def _waves_to(self, farthest_yx: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Waves along y and x that bring a cross spectrum to all shifts up to the farthest."""
        wave_y, wave_x = (
            _waves(size, farthest, frequency.numel(), self.ky.device)
            for size, farthest, frequency in zip(self.shape_yx, farthest_yx, (self.ky, self.kx), strict=True)
        )
        return wave_y, wave_x

    def _searches(self, expected_t2: Tensor, reach_px: float) -> "_Searches":
        """Where each frame is sought: within reach of where it is expected."""
        spacing_yx = torch.tensor(self.spacing_yx_px, dtype=torch.float64)
        centre_t2 = (expected_t2.double().flip(1) / spacing_yx).round().long()
        reach = [
            min((size - 1) // 2, max(1, math.ceil(reach_px / spacing)))
            for size, spacing in zip(self.shape_yx, self.spacing_yx_px, strict=True)
        ]
        farthest = centre_t2.abs().amax(dim=0).tolist()
        return _Searches(centre_t2, (reach[0], reach[1]), (farthest[0] + reach[0], farthest[1] + reach[1]))

    def align_straight(self, exposure_t: Tensor) -> Float[Tensor, "t 2"]:
        """Best path of constant direction, at constant speed or at that of beam-induced motion."""
        best_t2 = torch.zeros(exposure_t.numel(), 2, dtype=torch.float64)
        most = -math.inf
        reach = max(1, math.floor(min(self._largest_jump_px * 2, self._largest_shift_px) / self._straight_step_px))
        steps = self._straight_step_px * torch.arange(-reach, reach + 1, dtype=torch.float64)
        for clock_t in (torch.arange(exposure_t.numel(), dtype=torch.float64), warped_time(exposure_t)):
            course_t = (clock_t - clock_t.mean()) / (clock_t[-1] - clock_t[0])
            for way_xy in torch.cartesian_prod(steps, steps):
                path_t2 = course_t[:, None] * way_xy
                sigma = self.excess_sigma(path_t2)
                if self._mean_removed:
                    sigma += self._missing_sigma(path_t2)
                if sigma > 0:
                    sigma *= math.exp(-0.125 * float(way_xy.square().sum()) / self._typical_shift_px**2)
                if sigma > most:
                    best_t2, most = path_t2, sigma
        return best_t2

    def _missing_sigma(self, shift_t2: Tensor) -> float:
        """Coherent power that frames lost with their mean, in the units of excess_sigma."""
        frames = shift_t2.shape[0]
        phase_yx = sum_of_phases(torch.ones(frames, dtype=torch.float64), shift_t2, self.ky, self.kx)
        likeness_yx = (phase_yx / frames).abs().square()
        lost_yx = self._incoherent_yx / (frames - 1) * (frames * likeness_yx - 1)
        return float((self.damping_yx * lost_yx).double().sum()) / self._spread if self._spread > 0 else 0.0

    def _correlations(self, usable: list[int], shift_t2: Tensor, searches: "_Searches") -> Float[Tensor, "t y x"]:
        """Correlation of each usable frame, as it lies, with the sum of all others, aligned, times the image's size.

        Only shifts up to searches.farthest_yx are looked at: they are few, and a sum for each costs less than a
        transform. Coefficients that stand for themselves alone are on the axes or at the limit, and not used.
        """
        total_yx = sum_aligned(self.spectra_tyx2, shift_t2, self.ky, self.kx)
        waves = self._waves_to(searches.farthest_yx)

        def correlate(index: int) -> Tensor:
            product_yx = correlate_with_others(
                self.spectra_tyx2, index, shift_t2, total_yx, self.damping_yx, self.ky, self.kx
            )
            return _correlation_map(product_yx, waves)

        return torch.stack(list(map_in_order(correlate, usable, device=self.ky.device)))

    def excess_sigma(self, shift_t2: Tensor) -> float:
        """Coherent power at these shifts beyond that of noise, in standard deviations of noise alone."""
        coherent_yx = power(sum_aligned(self.spectra_tyx2, shift_t2, self.ky, self.kx))
        excess = float((self.damping_yx * (coherent_yx - self._incoherent_yx)).double().sum())
        return excess / self._spread if self._spread > 0 else 0.0

    def _peak(self, map_yx: Tensor, searches: "_Searches", frame: int) -> Tensor:
        """Position (x, y) in unbinned px of the highest value where a frame is sought."""
        centre, reach = searches.centre_t2[frame].tolist(), searches.reach_yx
        first_y, first_x = (searches.farthest_yx[axis] + centre[axis] - reach[axis] for axis in (0, 1))
        window = map_yx[first_y : first_y + 2 * reach[0] + 1, first_x : first_x + 2 * reach[1] + 1]
        window = window * torch.where(window > 0, self._rarity(centre, reach), torch.ones(()))
        top, left = divmod(int(window.argmax()), window.shape[1])
        y = centre[0] + top - reach[0] + _vertex(window[:, left], top)
        x = centre[1] + left - reach[1] + _vertex(window[top], left)
        return torch.tensor([x * self.spacing_yx_px[1], y * self.spacing_yx_px[0]], dtype=torch.float64)

    def _rarity(self, centre: list[int], reach: tuple[int, int]) -> Tensor:
        """How much less likely shifts are with distance, over a search window: particles resemble their neighbours."""
        y, x = (
            self.spacing_yx_px[axis] * torch.arange(centre[axis] - reach[axis], centre[axis] + reach[axis] + 1)
            for axis in (0, 1)
        )
        return torch.exp(-0.5 * (y[:, None] ** 2 + x[None, :] ** 2) / self._typical_shift_px**2)


@dataclass(frozen=True)
class _Searches:
    """Where frames are sought, in reduced px (y, x): about a centre each, as far as reach; farthest_yx holds all."""

    centre_t2: Tensor
    reach_yx: tuple[int, int]
    farthest_yx: tuple[int, int]


@dataclass(frozen=True)
class _Afar:
    """A search everywhere within reach, its waves, and where in its map frames are looked for anyway."""

    searches: _Searches
    waves: tuple[Tensor, Tensor]
    is_near_yx: Tensor


def _correlation_map(product_yx: Tensor, waves: tuple[Tensor, Tensor]) -> Tensor:
    """Correlation at the shifts of the waves, of a cross spectrum that is damped."""
    wave_y, wave_x = waves
    map_yx: Tensor = (wave_y @ (product_yx @ wave_x.T)).real
    return map_yx


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
