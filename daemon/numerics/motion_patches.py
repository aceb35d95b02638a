"""Patches of a reduced movie: their frames' transforms, and the likelihood of a shift for each patch and frame."""

import math
from collections import deque
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from jaxtyping import BFloat16, Float
from torch import Tensor

from daemon.numerics.dose import critical_exposure_e_per_ang2
from daemon.numerics.fourier import good_fft_size
from daemon.numerics.motion_path import warped_time
from daemon.numerics.motion_pattern import PatternPower, pattern_term
from daemon.numerics.motion_reduction import ReducedMovie
from daemon.numerics.motion_score import (
    RadialBins,
    SpectralModel,
    estimate_spectra,
    expand_stacks,
    ring_powers,
    sum_aligned,
)
from daemon.numerics.motion_stack import cut_packed, pack
from daemon.numerics.parallel import MOST_IMAGES_AT_ONCE, map_in_order

_SAMPLES = (-1 / 3, 0.0, 1 / 3)
# Frames within this much warped time are one to a patch: 3 e⁻/Å² at 16 e⁻/Å², less before, more after.
_GROUP_SPAN = 0.15
_LOWEST_PER_ANG = 1e-4
# Power of what is left that frames are multiplied by: the best of 0, ¼, ½, ¾ and 1 for early and late frames together.
_FADING_SHARE = 0.75
# Late frames of what does not fade, as gold or stain, would be lost with less: 0.48 px off instead of 0.02.
_LEAST_LEFT = 0.3


@dataclass(frozen=True)
class FrameGroups:
    """Consecutive frames of a reduced movie that patches see as one, and the mean exposure of each group, e⁻/Å²."""

    members: tuple[range, ...]
    exposure_g: Float[Tensor, "g"]

    def mean(self, values_t: Float[Tensor, "t ..."]) -> Float[Tensor, "g ..."]:
        """Mean over each group."""
        return torch.stack([values_t[each.start : each.stop].mean(dim=0) for each in self.members])

    def spread(self, values_g: Float[Tensor, "g"]) -> Float[Tensor, "t"]:
        """Value of its group for every frame."""
        return values_g.repeat_interleave(torch.tensor([len(each) for each in self.members]))


def group_by_exposure(exposure_t: Float[Tensor, "t"], *, alone: bool = False) -> FrameGroups:
    """Group frames between which local motion, fast at first, hardly goes on; alone: every frame is its own group."""
    clock = warped_time(exposure_t).tolist()
    edges = [0]
    for frame in range(1, len(clock)):
        if alone or clock[frame] - clock[edges[-1]] > _GROUP_SPAN:
            edges.append(frame)
    members = tuple(range(first, last) for first, last in pairwise([*edges, len(clock)]))
    return FrameGroups(members, torch.stack([exposure_t[each.start : each.stop].mean() for each in members]))


@dataclass(frozen=True)
class Fading:
    """How far frames count for what is left of the specimen, by frequency.

    Protein fades (Grant & Grigorieff 2015, eLife 4, e06980) and ice is renewed, both about as fast: the first frames,
    where local motion is fastest, have most in common with those soon after. But ice of late frames is like that of
    their own neighbours, and not every specimen fades: with a power of what is left, and never less than a share,
    neither is lost.
    """

    exposure_g: Float[Tensor, "g"]
    pixel_size_ang: float

    def amplitude(self, frequency_per_px: Float[Tensor, "..."]) -> Float[Tensor, "g ..."]:
        """Factor of every group, float64."""
        per_ang = frequency_per_px.double() / self.pixel_size_ang
        rate = _FADING_SHARE / (2 * critical_exposure_e_per_ang2(per_ang.clamp_min(_LOWEST_PER_ANG)))
        exposure_g = self.exposure_g.to(rate.device) - self.exposure_g[0]
        return torch.exp(-exposure_g.reshape(-1, *(1,) * rate.ndim) * rate).clamp_min(_LEAST_LEFT)


@dataclass(frozen=True)
class PatchSet:
    """Frames (or groups of them) of all patches as packed half-plane transforms with amplitudes as in ReducedMovie.

    fading: what frames were multiplied by beside their amplitudes.
    moved_pt2: px (x, y) by which each window followed the specimen, already removed from its content.
    sample_ps2: positions (x, y) at which a patch samples the field, in fractions of the longer image side.
    """

    frames_ptyx2: BFloat16[Tensor, "p t y x 2"]
    shape_yx: tuple[int, int]
    moved_pt2: Float[Tensor, "p t 2"]
    sample_ps2: Float[Tensor, "p s 2"]
    cell_p2: Float[Tensor, "p 2"]
    ky: Float[Tensor, "y 1"]
    kx: Float[Tensor, "1 x"]
    amplitude_t: Float[Tensor, "t"]
    fading: "Fading | None" = None

    @property
    def count(self) -> int:
        """Number of patches."""
        return int(self.frames_ptyx2.shape[0])

    def up_to(self, highest: float) -> "PatchSet":
        """Only what frequencies up to `highest` (cycles per px) need."""
        extent_yx = [1 / float(self.ky[1, 0]), 1 / float(self.kx[0, 1])]
        small = [
            min(size, 2 * math.ceil(highest * extent) + 2)
            for size, extent in zip(self.shape_yx, extent_yx, strict=True)
        ]
        if small[0] * small[1] > 0.8 * self.shape_yx[0] * self.shape_yx[1]:
            return self
        shape_yx = (small[0], small[1])
        device = self.ky.device
        return replace(
            self,
            frames_ptyx2=cut_packed(self.frames_ptyx2, self.shape_yx, shape_yx),
            shape_yx=shape_yx,
            ky=torch.fft.fftfreq(small[0], d=extent_yx[0] / small[0], device=device)[:, None],
            kx=torch.fft.rfftfreq(small[1], d=extent_yx[1] / small[1], device=device)[None, :],
        )


def cut_patches(
    reduced: ReducedMovie,
    shift_t2: Float[Tensor, "t 2"],
    groups: FrameGroups,
    counts_yx: tuple[int, int],
    *,
    lowest: float,
    image_shape_yx: tuple[int, int],
    fading: Fading | None = None,
) -> PatchSet:
    """Cut counts_yx patches that together cover the image; each window follows whole-frame motion by whole pixels.

    Frames of a group are brought to the group's mean shift and summed. Frequencies below `lowest` (cycles per px) are
    removed first, so that patch edges find no slopes to cut.
    """
    size_yx = [_smooth_below(reduced.shape_yx[axis] // counts_yx[axis]) for axis in (0, 1)]
    starts = [
        torch.linspace(0, reduced.shape_yx[axis] - size_yx[axis], counts_yx[axis]).round().long().tolist()
        for axis in (0, 1)
    ]
    corners = [(top, left) for top in starts[0] for left in starts[1]]
    device = reduced.ky.device
    area = reduced.shape_yx[0] * reduced.shape_yx[1]
    spacing_y, spacing_x = reduced.spacing_yx_px
    scale = math.sqrt(area / (size_yx[0] * size_yx[1]))
    passed_yx = scale * ((reduced.ky**2 + reduced.kx**2) >= lowest**2)
    mean_g2 = groups.mean(shift_t2)
    ky = torch.fft.fftfreq(size_yx[0], d=spacing_y, dtype=torch.float64, device=device)[:, None].float()
    kx = torch.fft.rfftfreq(size_yx[1], d=spacing_x, dtype=torch.float64, device=device)[None, :].float()
    fading_gyx = None if fading is None else fading.amplitude(torch.hypot(ky, kx)).float()

    count = len(groups.members)
    shape = (len(corners), count, size_yx[0], size_yx[1] // 2 + 1, 2)
    patches = torch.empty(shape, dtype=torch.bfloat16, device=device)
    moved_pt2 = torch.zeros(len(corners), count, 2, dtype=torch.float64)

    def cut(group: int) -> None:
        """Keep the transforms (p, y, x) of one group's windows, and by how much they followed, px."""
        frames, mean_xy = groups.members[group], mean_g2[group]
        part = slice(frames.start, frames.stop)
        spectrum_yx = sum_aligned(reduced.spectra_tyx2[part], shift_t2[part] - mean_xy, reduced.ky, reduced.kx)
        image_yx = torch.fft.irfft2(spectrum_yx.mul_(passed_yx), s=reduced.shape_yx)
        follow_x, follow_y = round(float(mean_xy[0]) / spacing_x), round(float(mean_xy[1]) / spacing_y)
        windows, moved = [], []
        for top, left in corners:
            y = min(max(top + follow_y, 0), reduced.shape_yx[0] - size_yx[0])
            x = min(max(left + follow_x, 0), reduced.shape_yx[1] - size_yx[1])
            windows.append(image_yx[y : y + size_yx[0], x : x + size_yx[1]])
            moved.append(((x - left) * spacing_x, (y - top) * spacing_y))
        transforms_pyx = torch.fft.rfft2(torch.stack(windows))
        if fading_gyx is not None:
            transforms_pyx *= fading_gyx[group]
        patches[:, group], moved_pt2[:, group] = pack(transforms_pyx), torch.tensor(moved, dtype=torch.float64)

    deque(map_in_order(cut, range(count), device=device, at_most=MOST_IMAGES_AT_ONCE), maxlen=0)
    samples = _sample_positions(corners, (size_yx[0], size_yx[1]), reduced.spacing_yx_px, max(image_shape_yx))
    cells = torch.cartesian_prod(torch.arange(counts_yx[0]), torch.arange(counts_yx[1]))
    # Independent noise adds in power: a sum of b·y has the amplitude √Σb².
    amplitude_g = torch.stack([reduced.amplitude_t[each.start : each.stop].square().sum() for each in groups.members])
    return PatchSet(patches, (size_yx[0], size_yx[1]), moved_pt2, samples, cells, ky, kx, amplitude_g.sqrt(), fading)


def _smooth_below(size: int) -> int:
    """Largest even size ≤ size without prime factors above 7."""
    candidate = size - size % 2
    while good_fft_size(candidate) != candidate:
        candidate -= 2
    return candidate


def _sample_positions(
    corners: list[tuple[int, int]], size_yx: tuple[int, int], spacing_yx_px: tuple[float, float], longest_px: int
) -> Tensor:
    positions = []
    for top, left in corners:
        y = [(top + (size_yx[0] - 1) / 2 + part * size_yx[0]) * spacing_yx_px[0] / longest_px for part in _SAMPLES]
        x = [(left + (size_yx[1] - 1) / 2 + part * size_yx[1]) * spacing_yx_px[1] / longest_px for part in _SAMPLES]
        positions.append([(each_x, each_y) for each_y in y for each_x in x])
    return torch.tensor(positions, dtype=torch.float64)


class PatchLikelihood:
    """ℓ of motion_score for every patch within a band, with spectra shared by all patches but for two factors each.

    The factors are a patch's signal strength and noise relative to the average; both are learnt at every `update`.
    """

    def __init__(
        self, patches: PatchSet, *, lowest: float, highest: float, pattern: PatternPower | None = None
    ) -> None:
        self.patches = patches.up_to(highest)
        self._pattern = pattern
        self._bins = RadialBins(self.patches.ky, self.patches.kx, low=lowest, high=highest)
        self._device = patches.ky.device
        self._usable_t = (patches.amplitude_t > 0).double()
        self._squared_ta = patches.amplitude_t.square()[:, None].expand(-1, self._bins.rings)
        if patches.fading is not None:
            self._squared_ta = self._squared_ta * patches.fading.amplitude(self._bins.frequency_a).square()
        inverse_ta = self._usable_t[:, None] / self._squared_ta.clamp_min(1e-12)

        def powers(frames_tyx2: Tensor) -> tuple[Tensor, Tensor]:
            power_ta = ring_powers(frames_tyx2, self._bins)
            return power_ta.sum(dim=0), (inverse_ta * power_ta).sum(dim=0)

        pairs = list(map_in_order(powers, self.patches.frames_ptyx2.unbind(), device=self._device))
        self._incoherent_pa, self._total_pa = (torch.stack(each) for each in zip(*pairs, strict=True))
        self._coherent_pa: Tensor | None = None
        self._model: SpectralModel | None = None
        self.strength_p = torch.ones(patches.count, dtype=torch.float64)
        self.noise_p = torch.ones(patches.count, dtype=torch.float64)

    @property
    def model(self) -> SpectralModel:
        """Spectra of the last update."""
        if self._model is None:
            raise ValueError("the likelihood has no spectra before its first update")
        return self._model

    def update(self, shift_pt2: Float[Tensor, "p t 2"]) -> Float[Tensor, "p t 2"]:
        """Return the gradient of ℓ at these total shifts (px), with spectra learnt from those of the update before.

        The first update learns from its own shifts. Steps become small before the iteration ends, and frames need not
        be turned twice for it.
        """
        if self._coherent_pa is None:
            self._coherent_pa = self._coherent(shift_pt2)
        self._learn(self._coherent_pa)
        self._coherent_pa, gradient_pt2 = self._expand(shift_pt2, self._weights(), with_gradient=True)
        if self._pattern is not None:
            gradient_pt2 = gradient_pt2 + torch.stack(
                [gradient_t2 for _, gradient_t2 in self._pattern_terms(shift_pt2)]
            )
        return gradient_pt2

    def values(self, shift_pt2: Float[Tensor, "p t 2"]) -> Float[Tensor, "p"]:
        """ℓ of every patch at these total shifts, with the spectra of the last update."""
        value_p = (self._weights() * self._coherent(shift_pt2)).sum(dim=1)
        if self._pattern is not None:
            value_p = value_p + torch.tensor([value for value, _ in self._pattern_terms(shift_pt2)])
        return value_p

    def _pattern_terms(self, shift_pt2: Tensor) -> list[tuple[float, Tensor]]:
        """What a pattern adds to each patch's ℓ, and to its gradient."""

        def term(patch: int) -> tuple[float, Tensor]:
            return self._pattern_term(patch, shift_pt2[patch])

        return list(map_in_order(term, range(self.patches.count), device=self._device))

    def _pattern_term(self, patch: int, shift_t2: Tensor) -> tuple[float, Tensor]:
        assert self._pattern is not None
        model, strength, noise = self.model, float(self.strength_p[patch]), float(self.noise_p[patch])
        own = SpectralModel(strength * model.signal_a, noise * model.noise_a, model.squared_amplitude_t)
        ky, kx = self.patches.ky, self.patches.kx
        return pattern_term(shift_t2, self._usable_t, own, self._pattern, ky, kx, self._bins)

    def information(self) -> tuple[Float[Tensor, "p"], Float[Tensor, "t t"]]:
        """Expected curvature of −ℓ as strength (p) ⊗ Laplacian (t, t) in px⁻²."""
        model = self.model
        average_tt = model.information(self._bins)
        size = float(average_tt.diagonal().sum())
        if size <= 0:
            return torch.zeros(self.patches.count, dtype=torch.float64), average_tt
        return model.information_traces(self._bins, self.strength_p, self.noise_p) / size, average_tt

    def _coherent(self, shift_pt2: Tensor) -> Float[Tensor, "p a"]:
        """Ring sums of the aligned sums' powers."""
        unweighted_pa = torch.zeros(self.patches.count, self._bins.rings)
        return self._expand(shift_pt2, unweighted_pa, with_gradient=False)[0]

    def _expand(self, shift_pt2: Tensor, weight_pa: Tensor, *, with_gradient: bool) -> tuple[Tensor, Tensor]:
        patches, residual_pt2 = self.patches, shift_pt2 - self.patches.moved_pt2
        frames_ptyx2, ky, kx = patches.frames_ptyx2, patches.ky, patches.kx
        return expand_stacks(frames_ptyx2, residual_pt2, weight_pa, ky, kx, self._bins, with_gradient=with_gradient)

    def _weights(self) -> Float[Tensor, "p a"]:
        return self.model.weight(self.strength_p[:, None], self.noise_p[:, None])

    def _learn(self, coherent_pa: Tensor) -> None:
        count = self.patches.count
        model = estimate_spectra(
            coherent_pa.sum(dim=0),
            self._incoherent_pa.sum(dim=0),
            self._total_pa.sum(dim=0),
            count * self._bins.count_a,
            self._squared_ta,
        )
        self._model = model
        sum2_a = self._squared_ta.sum(dim=0)
        pairs_a = sum2_a.square() - self._squared_ta.square().sum(dim=0)
        weight_a = model.weight()
        expected = float((weight_a * model.signal_a * self._bins.count_a * pairs_a).sum())
        measured_p = ((coherent_pa - self._incoherent_pa) * weight_a).sum(dim=1)
        usable = max(float(self._usable_t.sum()), 1.0)
        noise_total = float((model.noise_a * self._bins.count_a).sum()) * usable
        signal_total = float((model.signal_a * self._bins.count_a * sum2_a).sum())
        if expected > 0:
            # A patch may be empty, but none is trusted more than twice the average for a lucky estimate.
            self.strength_p = (measured_p / expected).clamp(0.0, 4.0)
        self.noise_p = ((self._total_pa.sum(dim=1) - self.strength_p * signal_total) / max(noise_total, 1e-300)).clamp(
            0.2, 20.0
        )
        if not math.isfinite(float(self.noise_p.sum())) or count == 0:
            raise ValueError("the movie holds values that are not finite")
