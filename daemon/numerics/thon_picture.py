"""Measured rings beside fitted rings in one square, for eyes and for `N_ctf.mrc`."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from daemon.numerics.ctf_fit_refine import RingFit, RingModel
from daemon.numerics.spectrum import PowerSpectrum

_ANGLES = 360
_ARC_ANGLES = 21
_GREY = 0.5
_NOISE_SWING = 4.0
"""Black to white spans at least this many standard deviations of noise either side of grey."""


def draw_halves(
    spectrum: PowerSpectrum, fit: RingFit, model: RingModel, last_per_ang: float
) -> Float[Tensor, "box box"]:
    """Measured rings at x < 0, fitted rings at x ≥ 0; 0 … 1 about, 0.5 where there is nothing to say.

    The measured half is the spectrum less its background, over the fitted ring contrast, averaged along
    arcs of ten degrees so that faint rings show; where rings sink into noise it fades instead of
    shouting. The fitted half is CTF², drawn as far as it agrees with the spectrum (`last_per_ang`).
    """
    box_px = spectrum.spectrum_yx.shape[0]
    device = spectrum.spectrum_yx.device
    centred = torch.arange(box_px, device=device, dtype=torch.float64) - box_px // 2
    y, x = (grid.contiguous() for grid in torch.meshgrid(centred, centred, indexing="ij"))
    radius = torch.hypot(y, x)
    width = 1 / (box_px * spectrum.pixel_size_ang)
    background, contrast = fit.curves_at(model, torch.arange(box_px, device=device).double() * width)
    nearest = radius.round().long()
    middle = (background * (1 + contrast / 2))[nearest]
    deviation = _average_arcs(spectrum.spectrum_yx.double() / middle - 1, radius, torch.atan2(y, x))
    noise = math.sqrt(fit.variance) * (math.pi * radius * _ARC_ANGLES / _ANGLES).clamp(min=1).rsqrt()
    swing = torch.maximum((contrast / (2 + contrast))[nearest], _NOISE_SWING * noise)
    seen = (radius * width >= float(fit.bins.frequency_per_ang.min())) & (radius < box_px // 2)
    measured = torch.where(seen, _GREY + _GREY * deviation / swing, torch.full_like(radius, _GREY))
    rings = fit.rings_at(model, radius * width, torch.atan2(y, x))
    fitted = torch.where(radius * width <= last_per_ang, rings, torch.full_like(rings, _GREY))
    return torch.where(x < 0, measured.clamp(-_GREY, 1 + _GREY), fitted).float()


def _average_arcs(values_yx: Tensor, radius: Tensor, angle: Tensor) -> Tensor:
    """Mean along an arc about each bin, by way of polar coordinates; a spectrum repeats after half a turn."""
    box_px = values_yx.shape[0]
    half = box_px // 2
    device = values_yx.device
    radii = torch.arange(half, device=device, dtype=torch.float64)
    angles = torch.arange(_ANGLES, device=device, dtype=torch.float64) * (math.pi / _ANGLES)
    x = (radii[:, None] * angles.cos() + half) * 2 / (box_px - 1) - 1
    y = (radii[:, None] * angles.sin() + half) * 2 / (box_px - 1) - 1
    polar = _sample(values_yx, x, y)
    side = _ARC_ANGLES // 2
    wrapped = torch.cat([polar[:, -side:], polar, polar[:, : side + 1]], dim=1)
    smooth = torch.nn.functional.avg_pool1d(wrapped[None], _ARC_ANGLES, 1)[0]
    column = torch.remainder(angle, math.pi) * (_ANGLES / math.pi)
    return _sample(smooth, column * 2 / _ANGLES - 1, radius.clamp(max=half - 1) * 2 / (half - 1) - 1)


def _sample(values: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Bilinear look-up at coordinates where −1 and 1 are the first and last sample."""
    grid = torch.stack([x, y], dim=-1)[None]
    sampled: Tensor = torch.nn.functional.grid_sample(
        values[None, None], grid, mode="bilinear", padding_mode="border", align_corners=True
    )[0, 0]
    return sampled
