"""Cramér–Rao bounds: how well motion and CTF can be known from counts, whatever the estimator.

Model of a movie at one spatial frequency k (cycles per px), frames t = 1 … T of relative intensity:

    y_t(k) = exp(−2πi k·d_t) z_t(k),   z ~ complex Gaussian, E[z_t z_u*] = Γ_tu(k),
    Γ_tu = P_fading a_t a_u + P_renewed r^|t−u| + δ_tu P_noise.

The specimen is unknown, only its power spectra are known: particles (P_fading, exposed amplitudes
a_t), ice (P_renewed, correlation r from frame to frame) and shot noise (white: 1 / electrons per px and
frame). Bins of a half plane are independent (Whittle's approximation, exact for periodic fields).

Derivation. With C = D Γ D*, D = diag exp(−iθ_t) and θ_t = 2π k·d_t, the derivative is
∂C/∂θ_t = −i (E_t C − C E_t), E_t the projector on frame t. The Fisher information of a complex
Gaussian, tr(C⁻¹ ∂_t C C⁻¹ ∂_u C), becomes 2 (Γ_tu (Γ⁻¹)_tu − δ_tu), free of the shifts themselves.
For one fading signal it is the familiar 2 P² (a_t² Σ_v a_v² δ_tu − a_t² a_u²) / (P_n (P_n + P Σ_v a_v²)).
Its rows sum to zero: the common shift is unknowable, so that every bound is time-centred. Summing
(2π)² k kᵀ over the bins gives the information about d_t in px⁻².
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from daemon.numerics.ctf_background import spline_basis
from daemon.numerics.simulation import MovieTruth, damage_amplitude, interaction_rad_per_v_ang
from daemon.numerics.simulation_specimen import ice_power


@dataclass(frozen=True)
class FrequencyGrid:
    """Half a disc of spatial frequencies up to 0.5 cycles per px.

    frequency_per_px and angle_rad (x towards y) have one entry per node; bins is the number of
    independent Fourier bins of the image that a node stands for.
    """

    frequency_per_px: Float[Tensor, "n"]
    angle_rad: Float[Tensor, "n"]
    bins: Float[Tensor, "n"]


def half_disc(shape_yx: tuple[int, int], *, rings: int, directions: int = 12) -> FrequencyGrid:
    """Polar grid over half a disc; `rings` must resolve the Thon rings. Corners beyond 0.5 are left out."""
    radius = (torch.arange(rings, dtype=torch.float64) + 0.5) * (0.5 / rings)
    angle = (torch.arange(directions, dtype=torch.float64) + 0.5) * (math.pi / directions)
    area = shape_yx[0] * shape_yx[1]
    bins = area * radius * (0.5 / rings) * (math.pi / directions)
    return FrequencyGrid(
        radius[:, None].expand(rings, directions).flatten(),
        angle[None, :].expand(rings, directions).flatten(),
        bins[:, None].expand(rings, directions).flatten(),
    )


def frame_covariance(
    fading_n: Float[Tensor, "n"],
    amplitude_nt: Float[Tensor, "n t"],
    renewed_n: Float[Tensor, "n"],
    memory_n: Float[Tensor, "n"],
    noise: float,
) -> Float[Tensor, "n t t"]:
    """Γ of the module's model at n frequencies; powers per pixel of relative intensity."""
    frames = amplitude_nt.shape[1]
    index = torch.arange(frames)
    lag = (index[:, None] - index[None, :]).abs()
    fading = fading_n[:, None, None] * amplitude_nt[:, :, None] * amplitude_nt[:, None, :]
    renewed = renewed_n[:, None, None] * memory_n[:, None, None] ** lag
    return fading + renewed + noise * torch.eye(frames, dtype=torch.float64)


def shift_information(covariance_ntu: Float[Tensor, "n t t"], grid: FrequencyGrid) -> Float[Tensor, "t 2 t 2"]:
    """Fisher information of the frame shifts (x, y) in px⁻² for the covariances at the grid's nodes."""
    frames = covariance_ntu.shape[1]
    inverse = torch.linalg.inv(covariance_ntu)
    coupling_ntu = 2 * (covariance_ntu * inverse - torch.eye(frames, dtype=torch.float64))
    wave = 2 * math.pi * grid.frequency_per_px
    k_n2 = torch.stack([wave * torch.cos(grid.angle_rad), wave * torch.sin(grid.angle_rad)], dim=1)
    return torch.einsum("n,ntu,ni,nj->tiuj", grid.bins, coupling_ntu, k_n2, k_n2)


def movie_shift_information(
    truth: MovieTruth, shape_yx: tuple[int, int], *, rings: int = 0
) -> Float[Tensor, "t 2 t 2"]:
    """Information about the frame shifts of a simulated movie, from the spectra it was made of.

    rings: radial nodes; 0 chooses four to a Thon ring at Nyquist.
    """
    grid = half_disc(shape_yx, rings=rings or _rings_for(truth))
    total = torch.zeros(truth.motion.frame_count, 2, truth.motion.frame_count, 2, dtype=torch.float64)
    nodes_at_once = 2048
    for first in range(0, len(grid.bins), nodes_at_once):
        part = slice(first, first + nodes_at_once)
        piece = FrequencyGrid(grid.frequency_per_px[part], grid.angle_rad[part], grid.bins[part])
        total += shift_information(_movie_covariance(truth, piece), piece)
    return total


def whole_frame_bound_px(information: Float[Tensor, "t 2 t 2"]) -> float:
    """Least time-centred 2-D RMS error (px) of one free shift per frame."""
    frames = information.shape[0]
    if frames == 1:
        return 0.0
    # Any orthonormal basis of paths with zero mean: the columns of a QR after the constant one.
    identity = torch.eye(frames, dtype=torch.float64)
    constant_first = torch.cat([torch.ones(frames, 1, dtype=torch.float64), identity[:, 1:]], dim=1)
    return math.sqrt(_mean_variance(information, torch.linalg.qr(constant_first).Q[:, 1:]))


def local_field_bound_px(information: Float[Tensor, "t 2 t 2"], *, spatial_terms: int, time_terms: int) -> float:
    """Least time-centred 2-D RMS error (px), over frames and field, of a motion model with a local field.

    One free shift per frame plus `spatial_terms` functions of position, orthonormal over the field and
    orthogonal to a constant, each with `time_terms` polynomials of time (degrees 1, 2, …). Information
    is spread evenly over the field, so that every spatial function has the whole movie's information
    and errors of different functions are independent: their variances add.
    """
    frames = information.shape[0]
    if not 1 <= time_terms < frames:
        raise ValueError(f"time_terms must lie in 1–{frames - 1} for {frames} frames, got {time_terms}")
    if spatial_terms < 0:
        raise ValueError(f"spatial_terms must not be negative, got {spatial_terms}")
    time = torch.linspace(-1, 1, frames, dtype=torch.float64)
    powers = torch.stack([time**degree for degree in range(time_terms + 1)], dim=1)
    # QR of 1, t, t² …: dropping the first column leaves an orthonormal, time-centred basis.
    basis_tm = torch.linalg.qr(powers).Q[:, 1:]
    local_variance = _mean_variance(information, basis_tm)
    return math.sqrt(whole_frame_bound_px(information) ** 2 + spatial_terms * local_variance)


@dataclass(frozen=True)
class CtfBound:
    """Least standard deviations of an unbiased CTF fit.

    phase_shift_deg is None where the phase shift was taken as known; astigmatism_angle_deg is
    infinite without astigmatism.
    """

    defocus_ang: float
    astigmatism_ang: float
    astigmatism_angle_deg: float
    phase_shift_deg: float | None


def ctf_bound(
    truth: MovieTruth,
    shape_yx: tuple[int, int],
    *,
    fit_phase: bool = False,
    electrons_per_px: float | None = None,
    splines: tuple[int, int] | None = None,
) -> CtfBound:
    """Bound on mean defocus, astigmatism U − V, its angle, and the phase shift, from Thon-ring statistics.

    electrons_per_px given: one motionless, undamaged exposure of that many electrons per pixel. None:
    all frames of the movie with its damage, motion known. In each bin of a half plane the periodogram is
    exponential around S = c² G + N (c the CTF; Whittle 1953), so that the information about
    parameters i, j is Σ ∂_i ln S ∂_j ln S; for many frames S is a matrix whose signal part has the
    eigenvalues g_m against the noise, and the modes add: Σ_m (g_m ∂_i c²)(g_m ∂_j c²) / (1 + c² g_m)².
    Signal and noise spectra are taken as known; splines given: as unknown, the logarithms of noise and of signal being
    splines of so many coefficients in √k, which no fit knows beforehand.
    """
    optics = truth.optics
    grid = half_disc(shape_yx, rings=_rings_for(truth), directions=48)
    frequency = grid.frequency_per_px / optics.pixel_size_ang
    contrast = optics.contrast_transfer(frequency, grid.angle_rad)
    slope = optics.contrast_transfer(frequency, grid.angle_rad, extra_phase_deg=90.0)
    envelope2 = torch.exp(-0.5 * optics.envelope_b_ang2 * frequency**2)
    # contrast_transfer carries the envelope: divide it out of c² here and give it to the signal instead.
    square = contrast**2 / envelope2
    per_phase = 2 * contrast * slope / envelope2
    ratio_nm = _signal_to_noise_modes(truth, frequency, electrons_per_px) * envelope2[:, None]
    # Logarithmic derivatives by the phase, the noise and the signal, of every node and mode.
    power_nm = 1 + square[:, None] * ratio_nm
    by_phase_nm, by_noise_nm = per_phase[:, None] * ratio_nm / power_nm, 1 / power_nm
    phase_per_ang = math.pi * optics.wavelength_ang * frequency**2
    twice = 2 * (grid.angle_rad - math.radians(optics.astigmatism_angle_deg))
    columns = [phase_per_ang, 0.5 * phase_per_ang * torch.cos(twice), 0.5 * phase_per_ang * torch.sin(twice)]
    if fit_phase:
        columns.append(torch.ones_like(frequency))
    factors_nm = [(column[:, None], by_phase_nm) for column in columns]
    if splines is not None:
        root, each_nm = frequency.sqrt(), (by_noise_nm, 1 - by_noise_nm)
        bases = [spline_basis(root, float(root.min()), float(root.max()), count) for count in splines]
        factors_nm += [
            (basis[:, [i]], by_nm) for basis, by_nm in zip(bases, each_nm, strict=True) for i in range(basis.shape[1])
        ]
    gradient_pnm = torch.stack([(column * by_nm).double() for column, by_nm in factors_nm])
    weighted_pnm = gradient_pnm * grid.bins.double()[:, None]
    information = weighted_pnm.flatten(1) @ gradient_pnm.flatten(1).T
    # Scaled to a diagonal of ones: parameters are of very different units.
    scale = information.diagonal().sqrt().clamp_min(torch.finfo(torch.float64).tiny)
    inverse = torch.linalg.pinv(information / (scale[:, None] * scale), hermitian=True, rtol=1e-12)
    sigma = (inverse.diagonal().sqrt() / scale).tolist()
    astigmatism = abs(optics.defocus_u_ang - optics.defocus_v_ang)
    angle = math.degrees(sigma[2] / (2 * astigmatism)) if astigmatism > 0 else math.inf
    return CtfBound(sigma[0], sigma[1], angle, math.degrees(sigma[3]) if fit_phase else None)


def _rings_for(truth: MovieTruth) -> int:
    """Radial nodes: four to a Thon ring at Nyquist, within 256–4096."""
    optics = truth.optics
    nyquist = 0.5 / optics.pixel_size_ang
    rings_per_cycle = 2 * optics.wavelength_ang * max(abs(optics.defocus_u_ang), abs(optics.defocus_v_ang)) * nyquist
    return int(min(4096, max(256, 4 * rings_per_cycle * nyquist)))


def _mean_variance(information: Tensor, basis_tm: Tensor) -> float:
    """Bound on the squared 2-D error, mean over frames, of paths within an orthonormal time-centred basis."""
    reduced = torch.einsum("tm,tiuj,un->minj", basis_tm, information, basis_tm)
    size = 2 * basis_tm.shape[1]
    return float(torch.linalg.inv(reduced.reshape(size, size)).trace()) / basis_tm.shape[0]


def _specimen_powers(truth: MovieTruth, frequency_per_ang: Tensor) -> tuple[Tensor, Tensor]:
    """Power per pixel of the phase contrast (CTF = 1) of particles and ice."""
    optics = truth.optics
    position = (frequency_per_ang / truth.power_step_per_ang).clamp(max=len(truth.particle_power_k) - 1.001)
    low = position.floor().to(torch.int64)
    particles = torch.lerp(truth.particle_power_k[low], truth.particle_power_k[low + 1], position - low)
    scale = (2 * interaction_rad_per_v_ang(optics.voltage_kv) / optics.pixel_size_ang) ** 2
    return scale * particles, scale * ice_power(frequency_per_ang, truth.ice_thickness_ang)


def _fading_and_memory(truth: MovieTruth, frequency_per_ang: Tensor) -> tuple[Tensor, Tensor]:
    """Amplitudes a_t (n, t) left in mid-frame and the ice's correlation from frame to frame (n)."""
    step = truth.dose_per_frame_e_per_ang2 if truth.damage else 0.0
    memory = damage_amplitude(frequency_per_ang, step, truth.optics.voltage_kv)
    frame = torch.arange(truth.motion.frame_count, dtype=torch.float64)
    return memory[:, None] ** (frame + 0.5), memory


def _movie_covariance(truth: MovieTruth, grid: FrequencyGrid) -> Tensor:
    frequency = grid.frequency_per_px / truth.optics.pixel_size_ang
    particles, ice = _specimen_powers(truth, frequency)
    transfer = truth.optics.contrast_transfer(frequency, grid.angle_rad) ** 2
    amplitude, memory = _fading_and_memory(truth, frequency)
    return frame_covariance(particles * transfer, amplitude, ice * transfer, memory, 1 / truth.electrons_per_px)


def _signal_to_noise_modes(
    truth: MovieTruth, frequency_per_ang: Tensor, electrons_per_px: float | None
) -> Float[Tensor, "n m"]:
    """Signal-to-noise power ratios at CTF = 1 of the independent modes of the frames."""
    if electrons_per_px is not None:
        particles, ice = _specimen_powers(truth, frequency_per_ang)
        return ((particles + ice) * electrons_per_px)[:, None]
    # They vary slowly with frequency and not with direction: a few hundred radii carry them.
    radius = torch.linspace(0, float(frequency_per_ang.max()), 400, dtype=torch.float64)
    particles, ice = _specimen_powers(truth, radius)
    amplitude, memory = _fading_and_memory(truth, radius)
    signal = frame_covariance(particles, amplitude, ice, memory, 0.0) * truth.electrons_per_px
    modes = torch.linalg.eigvalsh(signal).clamp(min=0.0)
    position = frequency_per_ang / radius[1]
    low = position.floor().clamp(max=len(radius) - 2).to(torch.int64)
    return torch.lerp(modes[low], modes[low + 1], (position - low)[:, None])
