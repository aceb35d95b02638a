"""A movie made small: corrected frames, Fourier-cropped to the resolution that carries motion, whitened.

Only integers stay at full size, and those only where the movie keeps them: one frame at a time is expanded to float32,
transformed and cut. Frames too many to be seen one by one (raw EER frames) are summed in groups first.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
from jaxtyping import BFloat16, Complex, Float
from torch import Tensor

from daemon.numerics.detector import FrameCorrection
from daemon.numerics.fourier import good_fft_size
from daemon.numerics.frame_faults import FrameFaults, FrameWatch
from daemon.numerics.motion_halving import design_half_bands, halve_frame, halved_shape
from daemon.numerics.motion_stack import pack_cut
from daemon.numerics.movie_source import MovieSource
from daemon.numerics.parallel import MOST_IMAGES_AT_ONCE, map_in_order

# A frame whose noise or mean is this many times that of the median frame (or its inverse) is no frame like the others.
_NOISE_OUTLIER = 2.5
_BRIGHTNESS_OUTLIER = 4.0
# Rows handled at once: a strip and its transform stay in the processor's cache.
_STRIP_ROWS = 64
_MARGIN = 1.02


@dataclass(frozen=True)
class ReducedMovie:
    """Cropped half-plane transforms of the frames (or groups), packed, each times amplitude / noise amplitude.

    frequencies (ky, kx) are in cycles per unbinned pixel; spacing_yx_px is the size of a reduced pixel in
    unbinned ones; amplitude_t is the specimen's strength in each whitened frame relative to the median
    frame, 0 for a frame that must not be used; centre_t is the mean frame index of each group; faults: what single
    frames lack.
    """

    spectra_tyx2: BFloat16[Tensor, "t y x 2"]
    shape_yx: tuple[int, int]
    spacing_yx_px: tuple[float, float]
    ky: Float[Tensor, "y 1"]
    kx: Float[Tensor, "1 x"]
    amplitude_t: Float[Tensor, "t"]
    centre_t: Float[Tensor, "t"]
    faults: FrameFaults = field(default_factory=FrameFaults)

    @property
    def usable(self) -> list[int]:
        """Indices of the frames (or groups) that show an image."""
        return [index for index, amplitude in enumerate(self.amplitude_t.tolist()) if amplitude > 0]

    def unusable(self, groups: Sequence[range]) -> tuple[int, ...]:
        """Single frames of the others, given which frames each stands for."""
        amplitudes = zip(groups, self.amplitude_t.tolist(), strict=True)
        return tuple(frame for group, amplitude in amplitudes if amplitude == 0 for frame in group)

    def without(self, indices: list[int]) -> "ReducedMovie":
        """The same movie with some more frames (or groups) that must not be used; their transforms are overwritten."""
        if not indices:
            return self
        amplitude_t = self.amplitude_t.clone()
        amplitude_t[indices] = 0
        self.spectra_tyx2[indices] = 0
        return replace(self, amplitude_t=amplitude_t)


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
    cut = _CutTransform((int(movie_tyx.shape[1]), int(movie_tyx.shape[2])), highest_frequency_per_px, movie_tyx.device)
    padded_yx, small_yx = cut.padded_yx, cut.small_yx
    spectra = torch.empty(
        (len(groups), small_yx[0], small_yx[1] // 2 + 1, 2), dtype=torch.bfloat16, device=movie_tyx.device
    )

    watch = FrameWatch()

    def read(frame: int) -> Tensor:
        raw_yx = movie_tyx[frame]
        watch.look(frame, raw_yx)
        return raw_yx

    def transform(index: int) -> tuple[float, float]:
        return cut.of_sum(map(read, groups[index]), correction, spectra[index])

    means, noises = [], []
    transformed = map_in_order(transform, range(len(groups)), device=movie_tyx.device, at_most=MOST_IMAGES_AT_ONCE)
    for index, (mean, noise) in enumerate(transformed):
        means.append(mean)
        noises.append(noise)
        on_group(len(groups[index]))
    ky = torch.fft.fftfreq(small_yx[0], d=padded_yx[0] / small_yx[0], dtype=torch.float64, device=movie_tyx.device)
    kx = torch.fft.rfftfreq(small_yx[1], d=padded_yx[1] / small_yx[1], dtype=torch.float64, device=movie_tyx.device)
    noise_t = torch.tensor(noises, dtype=torch.float64)
    amplitude_t = _specimen_amplitudes(torch.tensor(means, dtype=torch.float64), noise_t)
    faults = watch.conclude()
    # The noise of a frame that is there twice would agree with itself.
    amplitude_t[[index for index, group in enumerate(groups) if not set(group).isdisjoint(faults.repeated)]] = 0
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
        faults,
    )


class _CutTransform:
    """Half-plane transform of sums of frames, less their mean, padded and cut to few coefficients.

    padded_yx and small_yx: sizes in unbinned pixels before the cut, and in reduced ones after it. Frames are halved
    before they are transformed as often as the limit allows.
    """

    def __init__(self, shape_yx: tuple[int, int], highest: float, device: torch.device) -> None:
        self._device = device
        # Images that are zero beyond the frame, for whoever needs one next: new pages are dear.
        self._spare: list[Tensor] = []
        # The corners of what is kept lie a little beyond the limit.
        self._filters = design_half_bands(_MARGIN * highest)
        step = 2 ** len(self._filters)
        self._shape_yx = halved_shape(shape_yx, len(self._filters))
        self._fft_yx = (good_fft_size(self._shape_yx[0]), good_fft_size(self._shape_yx[1]))
        self.padded_yx = (step * self._fft_yx[0], step * self._fft_yx[1])
        small_y, small_x = (
            min(present, good_fft_size(math.ceil(2 * _MARGIN * highest * size) + 2))
            for present, size in zip(self._fft_yx, self.padded_yx, strict=True)
        )
        self.small_yx = (small_y, small_x)
        ky = torch.fft.fftfreq(small_y, d=self.padded_yx[0] / small_y, dtype=torch.float64)
        kx = torch.fft.rfftfreq(small_x, d=self.padded_yx[1] / small_x, dtype=torch.float64)
        factor_y, factor_x = self._inverse_response(ky), self._inverse_response(kx)
        factor_y *= step**2 / math.sqrt(shape_yx[0] * shape_yx[1])
        # What becomes the Nyquist frequency lies beyond the limit, and has no sign of its own.
        factor_y[small_y // 2], factor_x[small_x // 2] = 0, 0
        self._factor_y, self._factor_x = factor_y.float().to(device), factor_x.float().to(device)
        self._noise_y2 = _noise_columns(ky, kx, highest)
        self._constant_x = self._along_x(torch.ones((1, self._shape_yx[1]), device=device))

    def _inverse_response(self, frequency_per_px: Tensor) -> Tensor:
        """What makes up for the filters."""
        response = torch.ones_like(frequency_per_px)
        for level, each in enumerate(self._filters):
            response *= each.response(frequency_per_px * 2**level)
        return 1 / response

    def of_sum(
        self, frames: Iterator[Tensor], correction: FrameCorrection, packed_yx2: BFloat16[Tensor, "y x 2"]
    ) -> tuple[float, float]:
        """Write the transform of the sum of corrected frames, scaled so that white noise keeps its variance, packed.

        Returns the mean of the sum and the RMS of the outer band of its transform, where nearly all is counting noise.
        """
        of_frames = self._of_halved if self._filters else self._of_strips
        spectrum_yx, mean = of_frames(frames, correction)
        power, count = pack_cut(spectrum_yx, self._factor_y, self._factor_x, self._noise_y2, packed_yx2)
        return mean, math.sqrt(power / count) if count else 0.0

    def _of_halved(self, frames: Iterator[Tensor], correction: FrameCorrection) -> tuple[Tensor, float]:
        height, width = self._shape_yx
        try:
            padded_yx = self._spare.pop()
        except IndexError:
            padded_yx = torch.zeros(self._fft_yx, device=self._device)
        image_yx = padded_yx[:height, :width]
        halve_frame(next(frames), correction, self._filters, half_yx=image_yx)
        for frame_yx in frames:
            more_yx = torch.empty((height, width), device=self._device)
            halve_frame(frame_yx, correction, self._filters, half_yx=more_yx)
            image_yx += more_yx
        mean = float(image_yx.sum()) / (height * width)
        image_yx -= mean
        spectrum_yx = torch.fft.rfft2(padded_yx)
        self._spare.append(padded_yx)
        return spectrum_yx, mean

    def _of_strips(self, frames: Iterator[Tensor], correction: FrameCorrection) -> tuple[Tensor, float]:
        """Rows are transformed and cut a strip at a time, so that columns are only transformed where they are kept."""
        height, width = self._shape_yx
        rows_yx = self._constant_x.new_empty((height, self.small_yx[1] // 2 + 1))
        total = torch.zeros((), dtype=torch.float64, device=self._device)
        for top, strip_yx in self._strips_of_sum(frames, correction):
            total += strip_yx.sum()
            rows_yx[top : top + strip_yx.shape[0]] = self._along_x(strip_yx)
        mean = float(total) / (height * width)
        rows_yx -= mean * self._constant_x
        return torch.fft.fft(rows_yx, n=self._fft_yx[0], dim=0), mean

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
        kept_yx: Tensor = torch.fft.rfft(rows_yx, n=self._fft_yx[1])[:, : self.small_yx[1] // 2 + 1]
        return kept_yx


def _noise_columns(ky: Tensor, kx: Tensor, highest: float) -> Tensor:
    """From and up to which column of each row the outer band is seen, without the axes; all where it has no width."""
    radius_yx = torch.hypot(ky[:, None], kx[None, :])
    inner = (radius_yx > 0.8 * highest) & (radius_yx <= highest) & (ky[:, None] != 0) & (kx[None, :] > 0)
    if not bool(inner.any()):
        inner = radius_yx > 0
    first = inner.int().argmax(dim=1)
    return torch.stack([first, first + inner.sum(dim=1)], dim=1)


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
