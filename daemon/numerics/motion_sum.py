"""The sum of a movie's frames along its motion: plain, dose-weighted, in halves, and the spectrum of its partial sums.

Sums, not means: every result keeps the mean level of the plain sum of the frames used. Pixels that a frame did not see,
because the specimen had moved out of it, are filled with that frame's mirrored edge.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Complex, Float, Num
from torch import Tensor
from torch.nn.functional import pad

from daemon.numerics.detector import FrameCorrection
from daemon.numerics.dose import critical_exposure_e_per_ang2, mid_frame_exposures
from daemon.numerics.fourier import good_fft_size, radial_frequency, shift_phases
from daemon.numerics.motion_field import LocalField, MotionEstimate
from daemon.numerics.spectrum import PowerSpectrum, SpectrumSum, tile_power_spectrum
from daemon.numerics.warp import MARGIN_PX, DisplacementNodes, node_axis, spline_prefilter, warp_image

_PARTIAL_SUM_E_PER_ANG2 = 4.5
_PARTIAL_SUMS_WITHOUT_DOSE = 9


@dataclass(frozen=True)
class CorrectedMovie:
    """Motion-corrected sums, float32, all at the mean level of the sum of the frames used.

    weighted_yx: filtered by exposure, Σ q_t Y_t √(T / Σ q_t²), so that noise is as white and as strong as in the
    plain sum; None when the dose is unknown or no weighting was wanted. even_yx, odd_yx: frames 0, 2, … and 1, 3, …
    of the weighted sum (of the plain one where there is none); the two add up to it. spectrum: mean power spectrum of
    plain partial sums of about 4.5 e⁻/Å² (a ninth of the movie without a dose), which together hold every frame used.
    frames_used: how many.
    """

    unweighted_yx: Float[Tensor, "y x"]
    weighted_yx: Float[Tensor, "y x"] | None
    even_yx: Float[Tensor, "y x"] | None
    odd_yx: Float[Tensor, "y x"] | None
    spectrum: PowerSpectrum
    frames_used: int


def correct_motion(
    movie_tyx: Num[Tensor, "t y x"],
    estimate: MotionEstimate,
    *,
    pixel_size_ang: float,
    gain_yx: Float[Tensor, "y x"] | None = None,
    defects_yx: Bool[Tensor, "y x"] | None = None,
    dark_yx: Float[Tensor, "y x"] | None = None,
    dose_per_frame_e_per_ang2: float | None = None,
    dose_weighting: bool = True,
    pre_exposure_e_per_ang2: float = 0.0,
    voltage_kv: float = 300.0,
    want_even_odd: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> CorrectedMovie:
    """Sum a movie along an estimated motion.

    With dose_weighting=False the dose only limits the partial sums behind the spectrum. Frames the estimate calls
    unusable are left out, unless it calls all of them so. Whole-frame motion is applied in Fourier space, exactly; a
    local field by quintic splines (see warp for what they keep). Memory beside the movie: about twelve float32 images.
    Raises ValueError for shapes, doses or voltages that can't be.
    """
    shape_yx = (int(movie_tyx.shape[1]), int(movie_tyx.shape[2]))
    frames = int(movie_tyx.shape[0])
    if estimate.shape_yx != shape_yx or estimate.frame_count != frames:
        raise ValueError(
            f"the motion is of {estimate.frame_count} frames of {estimate.shape_yx}, the movie {frames} of {shape_yx}"
        )
    used = [frame for frame in range(frames) if frame not in estimate.unusable_frames] or list(range(frames))
    weighting = None
    if dose_per_frame_e_per_ang2 is not None and dose_weighting:
        exposures = mid_frame_exposures(
            frames, dose_per_frame_e_per_ang2, pre_exposure_e_per_ang2=pre_exposure_e_per_ang2
        )
        weighting = (exposures, voltage_kv)
    canvas = _Canvas.around(shape_yx, estimate)
    mover = _Mover(movie_tyx, estimate, canvas, FrameCorrection(shape_yx, gain_yx, defects_yx, dark_yx))
    sums = _Sums(canvas, movie_tyx.device, pixel_size_ang, weighting, want_even_odd)
    done = 0
    for part in partial_sums(used, dose_per_frame_e_per_ang2):
        for frame in part:
            if estimate.local is None:
                sums.add_spectrum(mover.shifted(frame), frame)
            else:
                sums.add_image(mover.warped(frame, estimate.local), frame)
            done += 1
            if on_progress is not None:
                on_progress(done, len(used))
        sums.close_part()
    return sums.result(len(used))


def partial_sums(frames: list[int], dose_per_frame_e_per_ang2: float | None) -> Iterator[list[int]]:
    """Split frames into consecutive parts, as equal as can be, of about 4.5 e⁻/Å² each."""
    count = _PARTIAL_SUMS_WITHOUT_DOSE
    if dose_per_frame_e_per_ang2 is not None:
        count = round(len(frames) * dose_per_frame_e_per_ang2 / _PARTIAL_SUM_E_PER_ANG2)
    count = max(1, min(count, len(frames)))
    edges = [round(index * len(frames) / count) for index in range(count + 1)]
    for first, last in pairwise(edges):
        yield frames[first:last]


@dataclass(frozen=True)
class _Canvas:
    """An image with room around it: what shifts and splines reach beyond the edges lies within, mirrored."""

    shape_yx: tuple[int, int]
    margin_yx: tuple[int, int]
    padded_yx: tuple[int, int]

    @staticmethod
    def around(shape_yx: tuple[int, int], estimate: MotionEstimate) -> "_Canvas":
        margins, padded = [], []
        for axis, size in enumerate(shape_yx):
            largest = float(estimate.global_t2[:, 1 - axis].abs().max())
            if estimate.local is not None:
                # Splines between nodes overshoot a little.
                largest += 1 + 1.2 * float(estimate.local.grid_tyx2[..., 1 - axis].abs().max())
            margin = min(math.ceil(largest) + MARGIN_PX, size - 1)
            margins.append(margin)
            padded.append(good_fft_size(size + 2 * margin))
            if padded[-1] - size - margin >= size:
                # Too small to be mirrored that far: an exact size will do.
                padded[-1] = size + 2 * margin
        return _Canvas(shape_yx, (margins[0], margins[1]), (padded[0], padded[1]))

    def fill(self, image_yx: Tensor) -> Tensor:
        """Put an image on the canvas, its edges mirrored."""
        after_y, after_x = (self.padded_yx[axis] - self.shape_yx[axis] - self.margin_yx[axis] for axis in (0, 1))
        sides = (self.margin_yx[1], after_x, self.margin_yx[0], after_y)
        return pad(image_yx[None, None], sides, mode="reflect")[0, 0]

    def cut(self, canvas_yx: Tensor) -> Tensor:
        """Take the image off the canvas, contiguous."""
        top, left = self.margin_yx
        return canvas_yx[top : top + self.shape_yx[0], left : left + self.shape_yx[1]].contiguous()


class _Mover:
    """Corrected frames, brought to where the specimen was in the first one."""

    def __init__(
        self, movie_tyx: Tensor, estimate: MotionEstimate, canvas: _Canvas, correction: FrameCorrection
    ) -> None:
        self._movie_tyx, self._global_t2, self._canvas, self._correction = (
            movie_tyx,
            estimate.global_t2,
            canvas,
            correction,
        )
        device = movie_tyx.device
        self._filter_y, self._filter_x = spline_prefilter(canvas.padded_yx, device)
        self._node_y = self._node_x = torch.zeros(0)
        if estimate.local is not None:
            reach = 2 + 1.2 * float(estimate.local.grid_tyx2[..., 1].abs().max())
            self._node_y, self._node_x = node_axis(canvas.shape_yx[0], reach), node_axis(canvas.shape_yx[1])

    def shifted(self, frame: int) -> Complex[Tensor, "py px"]:
        """Transform of a frame on the canvas, whole-frame motion undone."""
        return self._shifted(frame, 1.0, 1.0)

    def warped(self, frame: int, local: LocalField) -> Float[Tensor, "y x"]:
        """A frame with whole-frame and local motion undone: output(p) = frame(p + d(p))."""
        coefficients_yx = torch.fft.irfft2(
            self._shifted(frame, self._filter_y, self._filter_x), s=self._canvas.padded_yx
        )
        displacement_yx2 = local.on_axes(frame, self._node_y, self._node_x).float().to(coefficients_yx.device)
        nodes = DisplacementNodes(self._node_y, self._node_x, displacement_yx2)
        return warp_image(coefficients_yx, self._canvas.margin_yx, self._canvas.shape_yx, nodes)

    def _shifted(self, frame: int, filter_y: Tensor | float, filter_x: Tensor | float) -> Tensor:
        spectrum: Tensor = torch.fft.rfft2(self._canvas.fill(self._correction.apply(self._movie_tyx[frame])))
        shift_x, shift_y = self._global_t2[frame].tolist()
        phase_y, phase_x = shift_phases(self._canvas.padded_yx, (-shift_x, -shift_y), device=spectrum.device)
        spectrum *= phase_y * filter_y
        spectrum *= phase_x * filter_x
        return spectrum


class _Sums:
    """Everything that is summed on the way through the frames."""

    def __init__(
        self,
        canvas: _Canvas,
        device: torch.device,
        pixel_size_ang: float,
        weighting: tuple[list[float], float] | None,
        want_even_odd: bool,
    ) -> None:
        self._canvas, self._pixel_size_ang, self._want_even_odd = canvas, pixel_size_ang, want_even_odd
        self._exposures: list[float] | None = None
        half_yx = (canvas.padded_yx[0], canvas.padded_yx[1] // 2 + 1)
        self._unweighted_yx = torch.zeros(canvas.shape_yx, device=device)
        self._part_spectrum: Tensor | None = None
        self._part_yx: Tensor | None = None
        self._even_spectrum = torch.zeros(half_yx, dtype=torch.complex64, device=device) if want_even_odd else None
        self._spectra = SpectrumSum()
        if weighting is not None:
            self._exposures, voltage_kv = weighting
            frequency = radial_frequency(canvas.padded_yx, pixel_size_ang=pixel_size_ang, device=device)
            critical = critical_exposure_e_per_ang2(frequency, voltage_kv=voltage_kv)
            # Zero at k = 0, where nothing fades.
            self._decay = -0.5 / critical
            self._squares = torch.zeros_like(self._decay)
            self._weighted_spectrum = torch.zeros(half_yx, dtype=torch.complex64, device=device)

    def add_spectrum(self, spectrum: Tensor, frame: int) -> None:
        """Take in a frame given as its transform on the canvas."""
        self._weigh(spectrum, frame)
        self._part_spectrum = spectrum if self._part_spectrum is None else self._part_spectrum.add_(spectrum)

    def add_image(self, image_yx: Tensor, frame: int) -> None:
        """Take in a frame given as an image."""
        if self._exposures is not None or self._want_even_odd:
            self._weigh(torch.fft.rfft2(self._canvas.fill(image_yx)), frame)
        self._part_yx = image_yx if self._part_yx is None else self._part_yx.add_(image_yx)

    def close_part(self) -> None:
        """End a partial sum: into the plain sum and the spectrum."""
        if self._part_spectrum is not None:
            self._part_yx = self._image(self._part_spectrum)
        assert self._part_yx is not None
        self._unweighted_yx += self._part_yx
        self._spectra.add(tile_power_spectrum(self._part_yx, self._pixel_size_ang))
        self._part_spectrum = self._part_yx = None

    def result(self, frames_used: int) -> CorrectedMovie:
        """Finish all sums."""
        weighted_yx = even_yx = odd_yx = None
        norm: Tensor | float = 1.0
        if self._exposures is not None:
            norm = torch.sqrt(frames_used / self._squares.clamp_min(torch.finfo(torch.float32).tiny))
            weighted_yx = self._image(self._weighted_spectrum.mul_(norm))
        if self._even_spectrum is not None:
            even_yx = self._image(self._even_spectrum.mul_(norm))
            odd_yx = (self._unweighted_yx if weighted_yx is None else weighted_yx) - even_yx
        return CorrectedMovie(self._unweighted_yx, weighted_yx, even_yx, odd_yx, self._spectra.mean(), frames_used)

    def _weigh(self, spectrum: Tensor, frame: int) -> None:
        if self._exposures is None:
            if self._even_spectrum is not None and frame % 2 == 0:
                self._even_spectrum += spectrum
            return
        left = torch.exp(self._decay * self._exposures[frame])
        self._squares.addcmul_(left, left)
        weighted = spectrum * left
        self._weighted_spectrum += weighted
        if self._even_spectrum is not None and frame % 2 == 0:
            self._even_spectrum += weighted

    def _image(self, spectrum: Tensor) -> Tensor:
        return self._canvas.cut(torch.fft.irfft2(spectrum, s=self._canvas.padded_yx))
