"""A movie made small: corrected frames, Fourier-cropped to the resolution that carries motion, whitened.

Only integers stay at full size, and those only where the movie keeps them: one frame at a time is expanded to float32,
transformed and cut. Frames too many to be seen one by one (raw EER frames) are summed in groups first.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import BFloat16, Complex, Float
from torch import Tensor

from daemon.numerics.detector import FrameCorrection
from daemon.numerics.fourier import good_fft_size, resize_columns, resize_rows
from daemon.numerics.motion_stack import pack, unpack
from daemon.numerics.movie_source import MovieSource
from daemon.numerics.parallel import map_in_order

# A frame whose noise or mean is this many times that of the median frame (or its inverse) is no frame like the others.
_NOISE_OUTLIER = 2.5
_BRIGHTNESS_OUTLIER = 4.0
# Rows handled at once: a strip and its transform stay in the processor's cache.
_STRIP_ROWS = 64


@dataclass(frozen=True)
class ReducedMovie:
    """Cropped half-plane transforms of the frames (or groups), packed, each times amplitude / noise amplitude.

    frequencies (ky, kx) are in cycles per unbinned pixel; spacing_yx_px is the size of a reduced pixel in
    unbinned ones; amplitude_t is the specimen's strength in each whitened frame relative to the median
    frame, 0 for a frame that must not be used; centre_t is the mean frame index of each group.
    """

    spectra_tyx2: BFloat16[Tensor, "t y x 2"]
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
    movie_tyx: MovieSource,
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
        (len(groups), small_yx[0], small_yx[1] // 2 + 1, 2), dtype=torch.bfloat16, device=movie_tyx.device
    )
    cropped = _CroppedTransform(shape_yx, padded_yx, (small_yx[0], small_yx[1]), movie_tyx.device)

    def transform(index: int) -> float:
        spectrum_yx, mean = cropped.of_sum((movie_tyx[frame] for frame in groups[index]), correction)
        spectra[index] = pack(spectrum_yx)
        return mean

    means = []
    for index, mean in enumerate(map_in_order(transform, range(len(groups)), device=movie_tyx.device)):
        means.append(mean)
        on_group(len(groups[index]))
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


class _CroppedTransform:
    """Half-plane transform of sums of frames, less their mean, padded by zeros and cut to few coefficients.

    Rows are transformed and cut a strip at a time, so that columns are only transformed where they are kept.
    """

    def __init__(
        self, shape_yx: tuple[int, int], padded_yx: tuple[int, int], small_yx: tuple[int, int], device: torch.device
    ) -> None:
        self._shape_yx, self._padded_yx, self._small_yx = shape_yx, padded_yx, small_yx
        self._scale = 1 / math.sqrt(shape_yx[0] * shape_yx[1])
        self._constant_x = self._along_x(torch.ones((1, shape_yx[1]), device=device))

    def of_sum(self, frames: Iterator[Tensor], correction: FrameCorrection) -> tuple[Complex[Tensor, "y x"], float]:
        """Transform of the sum of corrected frames, scaled so that white noise keeps its variance, and their mean."""
        height, width = self._shape_yx
        rows_yx = self._constant_x.new_empty((height, self._small_yx[1] // 2 + 1))
        total = torch.zeros((), dtype=torch.float64, device=rows_yx.device)
        for top, strip_yx in self._strips_of_sum(frames, correction):
            total += strip_yx.sum()
            rows_yx[top : top + strip_yx.shape[0]] = self._along_x(strip_yx)
        mean = float(total) / (height * width)
        rows_yx -= mean * self._constant_x
        spectrum_yx = torch.fft.fft(rows_yx.mul_(self._scale), n=self._padded_yx[0], dim=0)
        return resize_rows(spectrum_yx, self._small_yx[0]), mean

    def _strips_of_sum(self, frames: Iterator[Tensor], correction: FrameCorrection) -> Iterator[tuple[int, Tensor]]:
        """First row and corrected pixels of strips of the frames' sum; of several frames, one at a time is held."""
        height, width = self._shape_yx
        frame_yx, following = next(frames), next(frames, None)
        repairs = correction.repairs(frame_yx)
        strips = [(top, min(top + _STRIP_ROWS, height)) for top in range(0, height, _STRIP_ROWS)]
        if following is None:
            for top, bottom in strips:
                yield top, correction.window(frame_yx, repairs, top, bottom, 0, width)
            return
        sum_yx = correction.apply(frame_yx)
        del frame_yx
        while following is not None:
            repairs = correction.repairs(following)
            for top, bottom in strips:
                sum_yx[top:bottom] += correction.window(following, repairs, top, bottom, 0, width)
            following = next(frames, None)
        for top, bottom in strips:
            yield top, sum_yx[top:bottom]

    def _along_x(self, rows_yx: Tensor) -> Complex[Tensor, "y x"]:
        width = self._padded_yx[1]
        return resize_columns(torch.fft.rfft(rows_yx, n=width), width, self._small_yx[1])


def _noise_amplitudes(spectra: Tensor, ky: Tensor, kx: Tensor, highest: float) -> Tensor:
    """RMS of the outer band of each frame, where nearly all is counting noise; float64 on the CPU."""
    radius = torch.sqrt(ky**2 + kx**2)
    band = (radius > 0.8 * highest) & (radius <= highest) & (ky.abs() > 0) & (kx > 0)
    if not bool(band.any()):
        band = radius > 0
    return torch.stack([unpack(each_yx2)[band].abs().square().double().mean().sqrt() for each_yx2 in spectra]).cpu()


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
