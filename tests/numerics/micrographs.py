"""Micrographs for tests: one undamaged exposure of a specimen at rest, flat, tilted or deep."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from daemon.numerics.simulation import (
    SimulatedOptics,
    SpecimenOptions,
    _draw_particles,
    _ice_amplitude,
    _phase_transfer,
    _polar_frequencies,
)
from daemon.numerics.simulation_detector import draw_counts
from daemon.numerics.simulation_specimen import white_noise
from daemon.numerics.simulation_warp import good_size

_MARGIN_PX = 24
_LAYER_ANG = 50.0
_PLANE_ANG = 60.0
"""Images at defocus values this far apart are blended: at 4 Å that is wrong by less than a hundredth."""


def project_specimen(
    shape_yx: tuple[int, int], pixel_size_ang: float, options: SpecimenOptions, generator: torch.Generator
) -> Tensor:
    """Projected potential in V·Å of particles in one frozen configuration of ice; mean 0, wraps around."""
    particles_hat, _ = _draw_particles(shape_yx, pixel_size_ang, options, generator)
    frequency, _angle = _polar_frequencies(shape_yx, pixel_size_ang)
    ice_amplitude = _ice_amplitude(frequency, shape_yx, pixel_size_ang, options.ice_thickness_ang)
    spectrum = particles_hat + white_noise(shape_yx, generator) * ice_amplitude
    potential_yx: Tensor = torch.fft.irfft2(spectrum, s=shape_yx)
    return potential_yx


def simulate_image(potential_yx: Tensor, optics: SimulatedOptics) -> Tensor:
    """Expected relative intensity (mean 1) of a projected potential in V·Å; the field wraps around."""
    shape_yx = (int(potential_yx.shape[0]), int(potential_yx.shape[1]))
    frequency, angle = _polar_frequencies(shape_yx, optics.pixel_size_ang)
    spectrum = torch.fft.rfft2(potential_yx.to(torch.float32)) * _phase_transfer(optics, frequency, angle)
    intensity_yx: Tensor = torch.fft.irfft2(spectrum, s=shape_yx).add_(1.0).clamp_(min=0.0)
    return intensity_yx


def simulate_micrograph(
    shape_yx: tuple[int, int],
    optics: SimulatedOptics,
    electrons_per_px: float,
    generator: torch.Generator,
    specimen: SpecimenOptions | None = None,
) -> Tensor:
    """Counts of one motionless, undamaged exposure of `electrons_per_px`, without gain; float32."""
    padded = _padded(shape_yx)
    potential = project_specimen(padded, optics.pixel_size_ang, specimen or SpecimenOptions(), generator)
    height, width = shape_yx
    mean = simulate_image(potential, optics)[:height, :width] * electrons_per_px
    return draw_counts(mean, generator, torch.int32).to(torch.float32)


def simulate_deep_micrograph(
    shape_yx: tuple[int, int],
    optics: SimulatedOptics,
    electrons_per_px: float,
    generator: torch.Generator,
    *,
    tilt_angle_deg: float = 0.0,
    tilt_axis_deg: float = 0.0,
    thickness_ang: float = 0.0,
    specimen: SpecimenOptions | None = None,
) -> Tensor:
    """Counts of one undamaged exposure of a specimen in depth; float32.

    The optics hold at the centre of the image. The tilt axis runs from +x towards +y; defocus grows along the
    direction tilt_axis_deg + 90. thickness_ang: depth over which the specimen is spread evenly, in independent layers;
    how much ice there is stays the specimen's. Raises ValueError for a tilt of 85° or more and a negative thickness.
    """
    if not abs(tilt_angle_deg) < 85 or thickness_ang < 0:
        raise ValueError(f"tilt must be below 85° and thickness not negative, got {tilt_angle_deg}°, {thickness_ang} Å")
    options = specimen or SpecimenOptions()
    pixel = optics.pixel_size_ang
    padded = _padded(shape_yx)
    y = torch.arange(padded[0])[:, None] - (shape_yx[0] - 1) / 2
    x = torch.arange(padded[1])[None, :] - (shape_yx[1] - 1) / 2
    axis = math.radians(tilt_axis_deg)
    offset_yx = math.tan(math.radians(tilt_angle_deg)) * pixel * (y * math.cos(axis) - x * math.sin(axis))
    layers = max(1, math.ceil(thickness_ang / _LAYER_ANG))
    layer_options = replace(
        options,
        particle_density_per_ang2=options.particle_density_per_ang2 / layers,
        ice_thickness_ang=options.ice_thickness_ang / layers,
    )
    contrast_yx = torch.zeros(padded)
    for layer in range(layers):
        potential_yx = project_specimen(padded, pixel, layer_options, generator)
        depth_ang = thickness_ang * ((layer + 0.5) / layers - 0.5)
        contrast_yx += _image_at(potential_yx, optics, offset_yx + depth_ang)
    mean_yx = (contrast_yx[: shape_yx[0], : shape_yx[1]] + 1).clamp_(min=0.0) * electrons_per_px
    return draw_counts(mean_yx, generator, torch.int32).to(torch.float32)


def _image_at(potential_yx: Tensor, optics: SimulatedOptics, offset_yx: Tensor) -> Tensor:
    """Contrast of a projected potential whose defocus differs from place to place by the given offsets."""
    low, high = float(offset_yx.min()), float(offset_yx.max())
    count = 1 + math.ceil((high - low) / _PLANE_ANG)
    position_yx = (offset_yx - low) * ((count - 1) / max(high - low, 1e-9))
    total_yx = torch.zeros_like(potential_yx)
    for index in range(count):
        offset_ang = low + (high - low) * index / max(count - 1, 1)
        here = replace(
            optics,
            defocus_u_ang=optics.defocus_u_ang + offset_ang,
            defocus_v_ang=optics.defocus_v_ang + offset_ang,
        )
        share_yx = (1 - (position_yx - index).abs()).clamp(min=0.0)
        total_yx += share_yx * (simulate_image(potential_yx, here) - 1)
    return total_yx


def _padded(shape_yx: tuple[int, int]) -> tuple[int, int]:
    return good_size(shape_yx[0] + _MARGIN_PX), good_size(shape_yx[1] + _MARGIN_PX)
