"""Simulated movies with exactly known truth: specimen → damage → optics → motion → counts.

Weak phase object: the relative intensity is 1 + 2 · (CTF ∗ σ_e·V) with V the projected potential in
V·Å and σ_e the interaction parameter, so that protein is dark at underfocus. Particles fade with the
exposure filter of Grant & Grigorieff 2015 (eLife 4, e06980, eq. 3); ice does not fade but is renewed:
each of its Fourier components forgets its past at that same rate and keeps its power, because the
beam moves water molecules about (McMullan, Vinothkumar & Henderson 2015, Ultramicroscopy 158, 26).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from daemon.numerics.ctf import ctf, defocus_along, electron_wavelength_ang
from daemon.numerics.rings import average_rings
from daemon.numerics.simulation_detector import (
    CountedMovie,
    Detector,
    build_detector,
    draw_seed,
    seed_generator,
)
from daemon.numerics.simulation_motion import SpecimenMotion, random_motion
from daemon.numerics.simulation_specimen import (
    Molecule,
    Particles,
    build_molecule,
    ice_power,
    project_particles,
    scatter_particles,
    white_noise,
)
from daemon.numerics.simulation_warp import good_size, move_image

_MARGIN_PX = 24
# One molecule for all simulations: a session shows one protein, and so do all sessions unless told otherwise.
_MOLECULE_SEED = 20150


@dataclass(frozen=True)
class SimulatedOptics:
    """How the microscope forms the image. Å, kV, mm, degrees; defocus positive = underfocus, U ≥ V.

    envelope_b_ang2: B of the amplitude envelope exp(−B k² / 4) that stands for partial coherence, the
    detector and motion within frames. 60 is an exceptional microscope; with 150 the Thon rings of a
    motion-corrected simulated movie are as strong against the noise, from 10 to 4 Å, as those of a
    real 300 kV micrograph of 47 e⁻/Å².
    """

    pixel_size_ang: float
    defocus_u_ang: float
    defocus_v_ang: float
    astigmatism_angle_deg: float = 0.0
    voltage_kv: float = 300.0
    spherical_aberration_mm: float = 2.7
    amplitude_contrast: float = 0.1
    phase_shift_deg: float = 0.0
    envelope_b_ang2: float = 110.0

    @property
    def wavelength_ang(self) -> float:
        """Electron wavelength in Å."""
        return electron_wavelength_ang(self.voltage_kv)

    def contrast_transfer(
        self, frequency_per_ang: Float[Tensor, "..."], angle_rad: Float[Tensor, "..."], extra_phase_deg: float = 0.0
    ) -> Float[Tensor, "..."]:
        """CTF with envelope at spatial frequencies (1/Å) and directions (rad, x towards y).

        extra_phase_deg = 90 gives the derivative by the phase χ.
        """
        defocus = defocus_along(angle_rad, self.defocus_u_ang, self.defocus_v_ang, self.astigmatism_angle_deg)
        transfer = ctf(
            frequency_per_ang,
            defocus,
            voltage_kv=self.voltage_kv,
            spherical_aberration_mm=self.spherical_aberration_mm,
            amplitude_contrast=self.amplitude_contrast,
            phase_shift_deg=self.phase_shift_deg + extra_phase_deg,
        )
        return transfer * torch.exp(-0.25 * self.envelope_b_ang2 * frequency_per_ang**2)


@dataclass(frozen=True)
class SpecimenOptions:
    """What the ice holds. Å; density in particles per Å² of the field."""

    particle_diameter_ang: float = 120.0
    particle_density_per_ang2: float = 1 / 220.0**2
    ice_thickness_ang: float = 300.0
    molecule: Molecule | None = None


def interaction_rad_per_v_ang(voltage_kv: float) -> float:
    """Interaction parameter σ_e: phase per projected potential, rad/(V·Å); 6.53e-4 at 300 kV.

    2π/(λE) · (mc² + E)/(2mc² + E) (Kirkland 2010, Advanced Computing in Electron Microscopy, eq. 5.6).
    """
    energy_v = voltage_kv * 1e3
    rest_v = 510_998.95
    scale = (rest_v + energy_v) / (2 * rest_v + energy_v)
    return 2 * math.pi / (electron_wavelength_ang(voltage_kv) * energy_v) * scale


def damage_amplitude(
    frequency_per_ang: Float[Tensor, "..."], exposure_e_per_ang2: float, voltage_kv: float
) -> Float[Tensor, "..."]:
    """What is left of the specimen's amplitudes after an exposure (e⁻/Å²): exp(−N / (2 N_e(k))).

    N_e(k) = 0.245 k^−1.665 + 2.81 e⁻/Å² at 300 kV, times 0.8 at 200 kV (Grant & Grigorieff 2015).
    Kept apart from the exposure filter of dose weighting, which is judged against it.
    """
    scale = 0.8 if voltage_kv < 250 else 1.0
    critical = scale * (0.245 * frequency_per_ang.clamp(min=1e-6) ** -1.665 + 2.81)
    return torch.exp(-0.5 * exposure_e_per_ang2 / critical)


@dataclass(frozen=True)
class MovieTruth:
    """What an estimate of a simulated movie is judged against.

    particles: positions in px of the frame at rest (frame 0), only those whose centre lies inside it.
    particle_power_k: mean power spectral density of the projected particles, V²·Å⁴, at multiples of
    power_step_per_ang.
    """

    motion: SpecimenMotion
    optics: SimulatedOptics
    dose_per_frame_e_per_ang2: float
    damage: bool
    detector: Detector
    particles: Particles
    ice_thickness_ang: float
    particle_power_k: Tensor
    power_step_per_ang: float

    @property
    def electrons_per_px(self) -> float:
        """Mean electrons per pixel and frame."""
        return self.dose_per_frame_e_per_ang2 * self.optics.pixel_size_ang**2


class SimulatedMovie(CountedMovie):
    """A movie made frame by frame from a specimen, with its truth."""

    def __init__(
        self,
        truth: MovieTruth,
        particles_hat: Complex[Tensor, "y half_x"],
        padded_yx: tuple[int, int],
        generator: torch.Generator,
    ) -> None:
        super().__init__(truth.detector, truth.motion.frame_count, truth.electrons_per_px, draw_seed(generator))
        self.truth = truth
        self._padded_yx = padded_yx
        self._particles_hat = particles_hat
        self._ice_seed = draw_seed(generator)

    def intensities(self) -> Iterator[Float[Tensor, "y x"]]:
        """Yield the expected relative intensity (mean 1) of each frame: no counting noise, no detector."""
        truth, optics = self.truth, self.truth.optics
        generator = seed_generator(self._ice_seed)
        frequency, angle = _polar_frequencies(self._padded_yx, optics.pixel_size_ang)
        transfer = _phase_transfer(optics, frequency, angle)
        frequency = frequency.to(torch.float32)
        ice_amplitude = _ice_amplitude(frequency, self._padded_yx, optics.pixel_size_ang, truth.ice_thickness_ang)
        step = truth.dose_per_frame_e_per_ang2 if truth.damage else 0.0
        memory = damage_amplitude(frequency, step, optics.voltage_kv)
        renewal = (1 - memory**2).clamp_(min=0.0).sqrt_()
        remaining = damage_amplitude(frequency, 0.5 * step, optics.voltage_kv)
        ice = white_noise(self._padded_yx, generator)
        for frame in range(len(self)):
            if frame > 0 and truth.damage:
                remaining *= memory
                ice = ice * memory + white_noise(self._padded_yx, generator) * renewal
            spectrum = (self._particles_hat * remaining + ice * ice_amplitude) * transfer
            yield move_image(spectrum, self._padded_yx, truth.motion, frame).add_(1.0).clamp_(min=0.0)


def simulate_movie(
    shape_yx: tuple[int, int],
    frames: int,
    optics: SimulatedOptics,
    dose_per_frame_e_per_ang2: float,
    generator: torch.Generator,
    *,
    motion: SpecimenMotion | None = None,
    damage: bool = True,
    gain_yx: Float[Tensor, "y x"] | None = None,
    hot_pixels: int = 0,
    dead_pixels: int = 0,
    detector: Detector | None = None,
    specimen: SpecimenOptions | None = None,
) -> SimulatedMovie:
    """Simulate a movie; all randomness comes from `generator`, the same seed gives the same counts.

    motion: drawn at random when None (9 Å of drift, a local field of up to 3.3 Å over 4000 Å).
    detector: the camera, when a session shares one; else one is built from gain_yx, hot_pixels and
    dead_pixels. Raw counts have the rate expected/gain, so that raw · gain is flat.
    """
    if frames < 1 or min(shape_yx) < 64:
        raise ValueError(f"a movie needs at least one frame of 64×64 px, got {frames} of {shape_yx}")
    if not dose_per_frame_e_per_ang2 > 0:
        raise ValueError(f"dose_per_frame_e_per_ang2 must be positive, got {dose_per_frame_e_per_ang2}")
    options = specimen or SpecimenOptions()
    pixel = optics.pixel_size_ang
    if motion is None:
        motion = default_motion(shape_yx, frames, pixel, dose_per_frame_e_per_ang2, generator)
    if motion.shape_yx != shape_yx or motion.frame_count != frames:
        raise ValueError(f"motion is for {motion.frame_count} frames of {motion.shape_yx}, not {frames} of {shape_yx}")
    if detector is None:
        detector = build_detector(shape_yx, generator, gain_yx=gain_yx, hot_pixels=hot_pixels, dead_pixels=dead_pixels)
    if detector.shape_yx != shape_yx:
        raise ValueError(f"the detector has {detector.shape_yx} pixels, the movie {shape_yx}")
    margin_px = _MARGIN_PX + 2 * math.ceil(float(motion.on_grid(9, 9).abs().max()))
    padded = (good_size(shape_yx[0] + margin_px), good_size(shape_yx[1] + margin_px))
    particles_hat, particles = _draw_particles(padded, pixel, options, generator)
    power, step = _radial_power(particles_hat, padded, pixel)
    truth = MovieTruth(
        motion,
        optics,
        dose_per_frame_e_per_ang2,
        damage,
        detector,
        _inside(particles, shape_yx),
        options.ice_thickness_ang,
        power,
        step,
    )
    return SimulatedMovie(truth, particles_hat, padded, generator)


def default_motion(
    shape_yx: tuple[int, int],
    frames: int,
    pixel_size_ang: float,
    dose_per_frame_e_per_ang2: float,
    generator: torch.Generator,
) -> SpecimenMotion:
    """Draw motion as good holey grids show it: 9 Å of drift, local field growing with the field's width."""
    local_ang = 3.3 * min(1.0, max(shape_yx) * pixel_size_ang / 4000.0)
    return random_motion(
        shape_yx,
        frames,
        dose_per_frame_e_per_ang2,
        generator,
        drift_px=9.0 / pixel_size_ang,
        local_px=local_ang / pixel_size_ang,
    )


def _draw_particles(
    shape_yx: tuple[int, int], pixel_size_ang: float, options: SpecimenOptions, generator: torch.Generator
) -> tuple[Complex[Tensor, "y half_x"], Particles]:
    """Real FFT of the particles' projected potential (V·Å, unnormalised) and where they are."""
    molecule = options.molecule
    if molecule is None:
        molecule = build_molecule(options.particle_diameter_ang, seed_generator(_MOLECULE_SEED))
    density = options.particle_density_per_ang2 * pixel_size_ang**2
    particles = scatter_particles(shape_yx, 0.95 * molecule.diameter_ang / pixel_size_ang, density, generator)
    return project_particles(molecule, particles, shape_yx, pixel_size_ang), particles


def _phase_transfer(optics: SimulatedOptics, frequency_per_ang: Tensor, angle_rad: Tensor) -> Tensor:
    """Factor from projected potential (V·Å) to relative intensity; the mean intensity stays as it is."""
    transfer = optics.contrast_transfer(frequency_per_ang, angle_rad) * (
        2 * interaction_rad_per_v_ang(optics.voltage_kv)
    )
    transfer[0, 0] = 0.0
    return transfer.to(torch.float32)


def _ice_amplitude(
    frequency_per_ang: Tensor, shape_yx: tuple[int, int], pixel_size_ang: float, thickness_ang: float
) -> Tensor:
    """Factor from `white_noise` to the unnormalised real FFT of the ice's projected potential (V·Å)."""
    area_px = shape_yx[0] * shape_yx[1]
    return ((ice_power(frequency_per_ang, thickness_ang) * area_px).sqrt() / pixel_size_ang).to(torch.float32)


def _polar_frequencies(shape_yx: tuple[int, int], pixel_size_ang: float) -> tuple[Tensor, Tensor]:
    """Frequency (1/Å) and direction (rad, x towards y) of each bin of a real FFT."""
    fy = torch.fft.fftfreq(shape_yx[0], d=pixel_size_ang, dtype=torch.float64)[:, None]
    fx = torch.fft.rfftfreq(shape_yx[1], d=pixel_size_ang, dtype=torch.float64)[None, :]
    return torch.hypot(fy, fx), torch.atan2(fy, fx)


def _inside(particles: Particles, shape_yx: tuple[int, int]) -> Particles:
    height, width = shape_yx
    x, y = particles.positions_n2.unbind(dim=1)
    kept = (x <= width - 0.5) & (y <= height - 0.5)
    return Particles(particles.positions_n2[kept], particles.rotations_n33[kept])


def _radial_power(
    particles_hat: Tensor, shape_yx: tuple[int, int], pixel_size_ang: float
) -> tuple[Float[Tensor, "k"], float]:
    """Radial mean of the particles' power spectral density (V²·Å⁴) and the width of its bins (1/Å)."""
    frequency, _angle = _polar_frequencies(shape_yx, pixel_size_ang)
    step = 1 / (min(shape_yx) * pixel_size_ang)
    power, _ = average_rings(particles_hat.abs().square().to(torch.float64), (frequency / step).round().long())
    return power * pixel_size_ang**2 / (shape_yx[0] * shape_yx[1]), step
