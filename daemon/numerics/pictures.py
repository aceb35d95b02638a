"""Micrographs and spectra as grey pictures, uint8, row 0 on top."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from daemon.numerics.ctf_background import fit_log_background, spline_basis
from daemon.numerics.rings import average_rings, centred_radius
from daemon.numerics.spectrum import PowerSpectrum

_SPLINES = 9
_CLIPPED = 0.002
_SAMPLE = 1 << 20


def render_thumbnail(image_yx: Float[Tensor, "y x"], height_px: int) -> UInt8[Tensor, "height width"]:
    """Area-average an image to a height, its proportions kept, and stretch its grey levels robustly.

    Levels run over ±4 robust standard deviations about the median (or less where the image uses less),
    so that a few hot pixels or an ice crystal leave contrast for the rest. A constant image is mid-grey.
    Raises ValueError for a height below 1 or non-finite pixels.
    """
    if height_px < 1 or image_yx.ndim != 2:
        raise ValueError(f"need a 2-D image and a positive height, got {tuple(image_yx.shape)} and {height_px}")
    if not bool(torch.isfinite(image_yx).all()):
        raise ValueError("image holds NaN or infinite pixels")
    width_px = max(1, round(height_px * image_yx.shape[1] / image_yx.shape[0]))
    small_yx = _resize(image_yx.float(), (height_px, width_px))
    sample = _thin(small_yx)
    middle = sample.median()
    spread = 4 * 1.4826 * (sample - middle).abs().median()
    low = torch.maximum(sample.min(), middle - spread)
    high = torch.minimum(sample.max(), middle + spread)
    return stretch(small_yx, float(low), float(high))


def render_spectrum(spectrum: PowerSpectrum, height_px: int) -> UInt8[Tensor, "height height"]:
    """Show a power spectrum so that Thon rings are seen: background flattened, square root, robust limits.

    The background is a smooth radial curve; zero frequency lies at [height//2, height//2]. An empty
    spectrum is mid-grey. Raises ValueError for a height below 1 or non-finite bins.
    """
    if height_px < 1:
        raise ValueError(f"height_px must be positive, got {height_px}")
    spectrum_yx = spectrum.spectrum_yx.double()
    if not bool(torch.isfinite(spectrum_yx).all()):
        raise ValueError("spectrum holds NaN or infinite bins")
    flat_yx = _flatten(spectrum_yx)
    kernel = torch.tensor([0.25, 0.5, 0.25], dtype=flat_yx.dtype, device=flat_yx.device)
    padded = torch.nn.functional.pad(flat_yx[None, None], (1, 1, 1, 1), mode="replicate")
    smooth = torch.nn.functional.conv2d(padded, (kernel[:, None] * kernel)[None, None])[0, 0]
    shown_yx = _resize(smooth.clamp(min=0).sqrt().float(), (height_px, height_px))
    sample = _thin(shown_yx)
    limits = torch.quantile(sample, torch.tensor([_CLIPPED, 1 - _CLIPPED], dtype=sample.dtype, device=sample.device))
    return stretch(shown_yx, float(limits[0]), float(limits[1]))


def stretch(values_yx: Float[Tensor, "y x"], low: float, high: float) -> UInt8[Tensor, "y x"]:
    """Map low … high to 0 … 255, clipped; mid-grey when the two are equal."""
    if not high > low:
        return torch.full(values_yx.shape, 128, dtype=torch.uint8, device=values_yx.device)
    return ((values_yx - low) * (255 / (high - low))).round().clamp(0, 255).to(torch.uint8)


def _flatten(spectrum_yx: Tensor) -> Tensor:
    """Divide by a smooth curve through the ring averages; bins at the very centre are cut to the rest's level."""
    ring_yx = centred_radius(len(spectrum_yx), spectrum_yx.device).round().long()
    mean, count = average_rings(spectrum_yx, ring_yx)
    present = (mean > 0) & (count > 0)
    if int(present.sum()) < 2 * _SPLINES:
        return torch.zeros_like(spectrum_yx)
    rings = torch.arange(len(count), device=count.device, dtype=torch.float64)
    first, last = 2.0, float(rings[-1])
    basis = spline_basis(rings.sqrt(), first**0.5, last**0.5, _SPLINES)
    coefficients = fit_log_background(mean[present], count[present] / (1 + rings[present]), basis[present])
    return spectrum_yx / (basis @ coefficients).exp()[ring_yx]


def _resize(image_yx: Tensor, shape_yx: tuple[int, int]) -> Tensor:
    """Area average downwards; cubic interpolation upwards."""
    shrinks = image_yx.shape[0] >= shape_yx[0] and image_yx.shape[1] >= shape_yx[1]
    mode = "area" if shrinks else "bicubic"
    resized: Tensor = torch.nn.functional.interpolate(image_yx[None, None], size=shape_yx, mode=mode)[0, 0]
    return resized


def _thin(values: Tensor) -> Tensor:
    """Evenly spaced values, few enough for order statistics."""
    flat = values.flatten()
    return flat[:: max(1, len(flat) // _SAMPLE)]
