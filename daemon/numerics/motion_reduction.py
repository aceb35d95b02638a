"""A movie made small: corrected frames, Fourier-cropped to the resolution that carries motion, whitened.

Only integers stay at full size: one frame at a time is expanded to float32, transformed and cut. Frames
too many to be seen one by one (raw EER frames) are summed in groups first.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Complex, Float, Num
from torch import Tensor
from torch.nn.functional import pad

from daemon.numerics.detector import FrameCorrection
from daemon.numerics.fourier import good_fft_size, resize_rfft

# A frame whose noise or mean is this many times that of the median frame (or its inverse) is no frame like the others.
_NOISE_OUTLIER = 2.5
_BRIGHTNESS_OUTLIER = 4.0


@dataclass(frozen=True)
class ReducedMovie:
    """Cropped half-plane transforms of the frames (or groups), each times amplitude / noise amplitude.

    frequencies (ky, kx) are in cycles per unbinned pixel; spacing_yx_px is the size of a reduced pixel in
    unbinned ones; amplitude_t is the specimen's strength in each whitened frame relative to the median
    frame, 0 for a frame that must not be used; centre_t is the mean frame index of each group.
    """

    spectra_tyx: Complex[Tensor, "t y x"]
    shape_yx: tuple[int, int]
    spacing_yx_px: tuple[float, float]
    ky: Float[Tensor, "y 1"]
    kx: Float[Tensor, "1 x"]
    amplitude_t: Float[Tensor, "t"]
    centre_t: Float[Tensor, "t"]


def group_frames(frames: int, largest_count: int) -> list[range]:
    """Split frames into at most `largest_count` consecutive groups of (nearly) equal size."""
    count = min(frames, largest_count)
    edges = [round(index * frames / count) for index in range(count + 1)]
    return [range(first, last) for first, last in pairwise(edges)]


def reduce_movie(
    movie_tyx: Num[Tensor, "t y x"],
    correction: FrameCorrection,
    *,
    highest_frequency_per_px: float,
    groups: list[range],
    on_group: Callable[[int], None],
) -> ReducedMovie:
    """Transform every group of frames and keep frequencies up to `highest_frequency_per_px` (cycles per pixel)."""
    shape_yx = (int(movie_tyx.shape[1]), int(movie_tyx.shape[2]))
    padded_yx = (good_fft_size(shape_yx[0]), good_fft_size(shape_yx[1]))
    small_yx = tuple(
        min(size, good_fft_size(math.ceil(2.04 * highest_frequency_per_px * size) + 2)) for size in padded_yx
    )
    spectra = torch.empty(
        (len(groups), small_yx[0], small_yx[1] // 2 + 1), dtype=torch.complex64, device=movie_tyx.device
    )
    means = []
    scale = 1 / math.sqrt(shape_yx[0] * shape_yx[1])
    for index, group in enumerate(groups):
        frame_yx = correction.apply(movie_tyx[group[0]])
        for frame in group[1:]:
            frame_yx += correction.apply(movie_tyx[frame])
        mean = frame_yx.mean()
        means.append(float(mean))
        padding = (0, padded_yx[1] - shape_yx[1], 0, padded_yx[0] - shape_yx[0])
        spectrum = torch.fft.rfft2(pad(frame_yx.sub_(mean).mul_(scale), padding))
        spectra[index] = resize_rfft(spectrum, padded_yx, (small_yx[0], small_yx[1]))
        on_group(len(group))
    ky = torch.fft.fftfreq(small_yx[0], d=padded_yx[0] / small_yx[0], dtype=torch.float64, device=movie_tyx.device)
    kx = torch.fft.rfftfreq(small_yx[1], d=padded_yx[1] / small_yx[1], dtype=torch.float64, device=movie_tyx.device)
    noise_t = _noise_amplitudes(spectra, ky[:, None], kx[None, :], highest_frequency_per_px)
    amplitude_t = _specimen_amplitudes(torch.tensor(means, dtype=torch.float64), noise_t)
    for index, noise in enumerate(noise_t.tolist()):
        if float(amplitude_t[index]) > 0:
            spectra[index] *= float(amplitude_t[index]) / noise
        else:
            spectra[index] = 0
    return ReducedMovie(
        spectra,
        (small_yx[0], small_yx[1]),
        (padded_yx[0] / small_yx[0], padded_yx[1] / small_yx[1]),
        ky[:, None].float(),
        kx[None, :].float(),
        amplitude_t,
        torch.tensor([0.5 * (group[0] + group[-1]) for group in groups], dtype=torch.float64),
    )


def _noise_amplitudes(spectra: Tensor, ky: Tensor, kx: Tensor, highest: float) -> Tensor:
    """RMS of the outer band of each frame, where nearly all is counting noise; float64 on the CPU."""
    radius = torch.sqrt(ky**2 + kx**2)
    band = (radius > 0.8 * highest) & (radius <= highest) & (ky.abs() > 0) & (kx > 0)
    if not bool(band.any()):
        band = radius > 0
    return torch.stack([spectrum[band].abs().square().double().mean().sqrt() for spectrum in spectra]).cpu()


def _specimen_amplitudes(mean_t: Tensor, noise_t: Tensor) -> Tensor:
    """Relative specimen amplitude in whitened frames: proportional to mean/noise; 0 for outliers and blank frames."""
    present = torch.isfinite(noise_t) & (noise_t > 0)
    if not bool(present.any()):
        return torch.zeros_like(noise_t)
    typical = noise_t[present].median()
    usable = present & (noise_t < _NOISE_OUTLIER * typical) & (noise_t > typical / _NOISE_OUTLIER)
    if bool((mean_t > 0)[usable].all()) and bool(usable.any()):
        brightness = mean_t[usable].median()
        usable &= (mean_t < _BRIGHTNESS_OUTLIER * brightness) & (mean_t > brightness / _BRIGHTNESS_OUTLIER)
    ratio_t = torch.where(usable, noise_t / typical, torch.ones_like(noise_t))
    if bool((mean_t[usable] > 0).all()):
        # Contrast is relative to the beam: a frame of half the dose has half the signal and 0.7 of the noise.
        ratio_t = torch.where(usable, noise_t / mean_t.clamp_min(1e-12), ratio_t)
        ratio_t = ratio_t / ratio_t[usable].median()
    else:
        ratio_t = torch.ones_like(ratio_t)
    return torch.where(usable, (1 / ratio_t.clamp_min(1e-6)).clamp(max=1.5), torch.zeros_like(ratio_t))
