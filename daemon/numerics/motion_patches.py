"""Patches of a reduced movie: their frames' transforms, and the likelihood of a shift for each patch and frame."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from daemon.numerics.fourier import good_fft_size
from daemon.numerics.motion_pattern import PatternPower, pattern_term
from daemon.numerics.motion_reduction import ReducedMovie
from daemon.numerics.motion_score import RadialBins, SpectralModel, estimate_spectra, shift_gradient, sum_aligned

_SAMPLES = (-1 / 3, 0.0, 1 / 3)


@dataclass(frozen=True)
class PatchSet:
    """Frames of all patches as half-plane transforms, specimen amplitudes multiplied in as in ReducedMovie.

    moved_pt2: px (x, y) by which each window followed the specimen, already removed from its content.
    sample_ps2: positions (x, y) at which a patch samples the field, in fractions of the longer image side.
    """

    frames_ptyx: Complex[Tensor, "p t y x"]
    moved_pt2: Float[Tensor, "p t 2"]
    sample_ps2: Float[Tensor, "p s 2"]
    cell_p2: Float[Tensor, "p 2"]
    ky: Float[Tensor, "y 1"]
    kx: Float[Tensor, "1 x"]
    amplitude_t: Float[Tensor, "t"]

    @property
    def count(self) -> int:
        """Number of patches."""
        return int(self.frames_ptyx.shape[0])


def cut_patches(
    reduced: ReducedMovie,
    shift_t2: Float[Tensor, "t 2"],
    counts_yx: tuple[int, int],
    *,
    lowest: float,
    image_shape_yx: tuple[int, int],
) -> PatchSet:
    """Cut counts_yx patches that together cover the image; each window follows whole-frame motion by whole pixels.

    Frequencies below `lowest` (cycles per px) are removed first, so that patch edges find no slopes to cut.
    """
    size_yx = [_smooth_below(reduced.shape_yx[axis] // counts_yx[axis]) for axis in (0, 1)]
    starts = [
        torch.linspace(0, reduced.shape_yx[axis] - size_yx[axis], counts_yx[axis]).round().long().tolist()
        for axis in (0, 1)
    ]
    corners = [(top, left) for top in starts[0] for left in starts[1]]
    frames = reduced.spectra_tyx.shape[0]
    device = reduced.spectra_tyx.device
    patches = torch.empty((len(corners), frames, size_yx[0], size_yx[1] // 2 + 1), dtype=torch.complex64, device=device)
    moved_pt2 = torch.zeros(len(corners), frames, 2, dtype=torch.float64)
    passed_yx = (reduced.ky**2 + reduced.kx**2) >= lowest**2
    area = reduced.shape_yx[0] * reduced.shape_yx[1]
    spacing_y, spacing_x = reduced.spacing_yx_px
    scale = math.sqrt(area / (size_yx[0] * size_yx[1]))
    for frame in range(frames):
        image_yx = torch.fft.irfft2(reduced.spectra_tyx[frame] * (scale * passed_yx), s=reduced.shape_yx)
        follow_x, follow_y = (
            round(float(shift_t2[frame, axis]) / spacing) for axis, spacing in ((0, spacing_x), (1, spacing_y))
        )
        windows = []
        for patch, (top, left) in enumerate(corners):
            y = min(max(top + follow_y, 0), reduced.shape_yx[0] - size_yx[0])
            x = min(max(left + follow_x, 0), reduced.shape_yx[1] - size_yx[1])
            windows.append(image_yx[y : y + size_yx[0], x : x + size_yx[1]])
            moved_pt2[patch, frame, 0], moved_pt2[patch, frame, 1] = (x - left) * spacing_x, (y - top) * spacing_y
        patches[:, frame] = torch.fft.rfft2(torch.stack(windows))
    ky = torch.fft.fftfreq(size_yx[0], d=spacing_y, dtype=torch.float64, device=device)[:, None].float()
    kx = torch.fft.rfftfreq(size_yx[1], d=spacing_x, dtype=torch.float64, device=device)[None, :].float()
    samples = _sample_positions(corners, (size_yx[0], size_yx[1]), reduced.spacing_yx_px, max(image_shape_yx))
    cells = torch.cartesian_prod(torch.arange(counts_yx[0]), torch.arange(counts_yx[1]))
    return PatchSet(patches, moved_pt2, samples, cells, ky, kx, reduced.amplitude_t)


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
        self.patches = patches
        self._pattern = pattern
        self._bins = RadialBins(patches.ky, patches.kx, low=lowest, high=highest)
        self._squared_t = patches.amplitude_t.square()
        ones_t = torch.where(
            self._squared_t > 0, 1 / self._squared_t.clamp_min(1e-12), torch.zeros_like(self._squared_t)
        )
        incoherent, total = [], []
        for frames_tyx in patches.frames_ptyx:
            power_ta = torch.stack([self._bins.total(frame.abs().square()) for frame in frames_tyx])
            incoherent.append(power_ta.sum(dim=0))
            total.append((power_ta * ones_t[:, None]).sum(dim=0))
        self._incoherent_pa, self._total_pa = torch.stack(incoherent), torch.stack(total)
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
        """Learn spectra at these total shifts (px) and return the gradient of ℓ there."""
        residual_pt2 = shift_pt2 - self.patches.moved_pt2
        totals = [self._aligned(patch, residual_pt2[patch]) for patch in range(self.patches.count)]
        coherent_pa = torch.stack([self._bins.total(total.abs().square()) for total in totals])
        self._learn(coherent_pa)
        gradients = []
        for patch, total_yx in enumerate(totals):
            weight_yx = self._bins.expand(self._weight(patch))
            frames_tyx = self.patches.frames_ptyx[patch]
            gradients.append(
                shift_gradient(frames_tyx, residual_pt2[patch], total_yx, weight_yx, self.patches.ky, self.patches.kx)
            )
        gradient_pt2 = torch.stack(gradients)
        if self._pattern is not None:
            gradient_pt2 += torch.stack(
                [self._pattern_term(patch, shift_t2)[1] for patch, shift_t2 in enumerate(shift_pt2)]
            )
        return gradient_pt2

    def value(self, patch: int, shift_t2: Float[Tensor, "t 2"]) -> float:
        """ℓ of one patch at these total shifts, with the spectra of the last update."""
        coherent_a = self._bins.total(self._aligned(patch, shift_t2 - self.patches.moved_pt2[patch]).abs().square())
        value = float((self._weight(patch) * coherent_a).sum())
        return value if self._pattern is None else value + self._pattern_term(patch, shift_t2)[0]

    def _pattern_term(self, patch: int, shift_t2: Tensor) -> tuple[float, Tensor]:
        assert self._pattern is not None
        model, strength, noise = self.model, float(self.strength_p[patch]), float(self.noise_p[patch])
        own = SpectralModel(strength * model.signal_a, noise * model.noise_a, model.squared_amplitude_t)
        usable_t = (self._squared_t > 0).double()
        return pattern_term(shift_t2, usable_t, own, self._pattern, self.patches.ky, self.patches.kx, self._bins)

    def information(self) -> tuple[Float[Tensor, "p"], Float[Tensor, "t t"]]:
        """Expected curvature of −ℓ as strength (p) ⊗ Laplacian (t, t) in px⁻²."""
        model = self.model
        average_tt = model.information(self._bins)
        size = float(average_tt.diagonal().sum())
        if size <= 0:
            return torch.zeros(self.patches.count, dtype=torch.float64), average_tt
        share = [
            float(model.information(self._bins, strength=strength, noise=noise).diagonal().sum()) / size
            for strength, noise in zip(self.strength_p.tolist(), self.noise_p.tolist(), strict=True)
        ]
        return torch.tensor(share, dtype=torch.float64), average_tt

    def _aligned(self, patch: int, residual_t2: Tensor) -> Tensor:
        return sum_aligned(self.patches.frames_ptyx[patch], residual_t2, self.patches.ky, self.patches.kx)

    def _weight(self, patch: int) -> Tensor:
        return self.model.weight(float(self.strength_p[patch]), float(self.noise_p[patch]))

    def _learn(self, coherent_pa: Tensor) -> None:
        count = self.patches.count
        model = estimate_spectra(
            coherent_pa.mean(dim=0),
            self._incoherent_pa.mean(dim=0),
            self._total_pa.mean(dim=0),
            self._bins.count_a,
            self._squared_t,
        )
        self._model = model
        sum2, sum4 = float(self._squared_t.sum()), float(self._squared_t.square().sum())
        weight_a = model.weight()
        expected = float((weight_a * model.signal_a * self._bins.count_a).sum()) * max(sum2**2 - sum4, 1e-300)
        measured_p = ((coherent_pa - self._incoherent_pa) * weight_a).sum(dim=1)
        usable = max(float((self._squared_t > 0).sum()), 1.0)
        noise_total = float((model.noise_a * self._bins.count_a).sum()) * usable
        signal_total = float((model.signal_a * self._bins.count_a).sum()) * sum2
        if expected > 0:
            # A patch may be empty, but none is trusted more than twice the average for a lucky estimate.
            self.strength_p = (measured_p / expected).clamp(0.0, 4.0)
        self.noise_p = ((self._total_pa.sum(dim=1) - self.strength_p * signal_total) / max(noise_total, 1e-300)).clamp(
            0.2, 20.0
        )
        if not math.isfinite(float(self.noise_p.sum())) or count == 0:
            raise ValueError("the movie holds values that are not finite")
