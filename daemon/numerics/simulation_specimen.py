"""What is in the beam: protein particles and amorphous ice, as projected electrostatic potential.

A molecule is a compact cloud of Gaussian sites. Every site displaces solvent, so at low resolution a
particle shows its contrast against ice and at high resolution the full scattering of its atoms (the
excluded-volume model of Fraser, MacRae & Suzuki 1978, J. Appl. Cryst. 11, 693). Ice is Gaussian
noise with the structure factor of a dense amorphous solid: quiet at low frequency, a peak at 3.7 Å.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

# Integral of an atom's potential in V·Å³ per Å of its electron scattering factor at k = 0: h²/(2πme).
POTENTIAL_PER_SCATTERING_V_ANG2 = 47.878
# Two heavy atoms of protein with their hydrogens to a site; 16.5 Å³ and f(0) = 2.8 Å for each.
SITE_VOLUME_ANG3 = 33.0
SITE_POTENTIAL_V_ANG3 = 2 * 2.8 * POTENTIAL_PER_SCATTERING_V_ANG2
SITE_SIGMA_ANG = 0.7
# The ice a site displaces scatters 4.5 V against the protein's 8.1 V, spread over the site's volume.
SOLVENT_SHARE = 0.55
SOLVENT_SIGMA_ANG = 2.5
# Low-density amorphous ice, 0.93 g/cm³: molecules per Å³, f(0) of one molecule in Å.
ICE_MOLECULES_PER_ANG3 = 0.0311
ICE_SCATTERING_ANG = 3.0
ICE_SIGMA_ANG = 0.5


@dataclass(frozen=True)
class Molecule:
    """A rigid protein: site centres in Å about its centre of mass, axes (x, y, z)."""

    diameter_ang: float
    sites_m3: Tensor


@dataclass(frozen=True)
class Particles:
    """Where the copies of a molecule are in a field and how they are turned.

    positions_n2: (n, 2) px, columns (x, y), 0-based pixel centres; rotations_n33: (n, 3, 3), acting on
    column vectors (x, y, z) of the molecule; the beam runs along z.
    """

    positions_n2: Tensor
    rotations_n33: Tensor


def build_molecule(diameter_ang: float, generator: torch.Generator) -> Molecule:
    """Build an asymmetric molecule of seven globular domains inside a sphere of `diameter_ang` (Å).

    Sites fill the domains on a jittered lattice, one per 33 Å³, so that the density is that of
    protein (1.35 g/cm³) without the low-frequency noise of independently placed atoms.
    """
    if not 20 <= diameter_ang <= 1000:
        raise ValueError(f"diameter_ang must lie in 20–1000 Å, got {diameter_ang}")
    radius = diameter_ang / 2
    spacing = SITE_VOLUME_ANG3 ** (1 / 3)
    steps = math.ceil(radius / spacing)
    axis = torch.arange(-steps, steps + 1, dtype=torch.float64) * spacing
    lattice = torch.cartesian_prod(axis, axis, axis)
    lattice = lattice + spacing * (torch.rand(lattice.shape, generator=generator, dtype=torch.float64) - 0.5)
    directions = torch.nn.functional.normalize(torch.randn(7, 3, generator=generator, dtype=torch.float64), dim=1)
    domain_radii = radius * (0.30 + 0.14 * torch.rand(7, generator=generator, dtype=torch.float64))
    # The first domain holds the others together at the centre, the rest reach the outer sphere.
    offsets = (radius - domain_radii).mul_(torch.tensor([0.1] + [1.0] * 6, dtype=torch.float64))
    distance_sm = torch.cdist(lattice, directions * offsets[:, None])
    inside = (distance_sm < domain_radii).any(dim=1)
    sites = lattice[inside]
    return Molecule(diameter_ang, sites - sites.mean(dim=0))


def random_rotations(count: int, generator: torch.Generator) -> Float[Tensor, "n 3 3"]:
    """Rotation matrices uniform over all orientations (normalised Gaussian quaternions)."""
    quaternion = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    w, x, y, z = torch.nn.functional.normalize(quaternion, dim=1).unbind(dim=1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], dim=1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], dim=1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], dim=1),
    ]
    return torch.stack(rows, dim=1)


def scatter_particles(
    shape_yx: tuple[int, int], spacing_px: float, particles_per_px2: float, generator: torch.Generator
) -> Particles:
    """Place particles at random, never two closer than `spacing_px`, over a field that wraps around."""
    height, width = shape_yx
    wanted = round(particles_per_px2 * height * width)
    extent = torch.tensor([width, height], dtype=torch.float64)
    candidates = torch.rand(max(20 * wanted, 1), 2, generator=generator, dtype=torch.float64) * extent - 0.5
    kept = torch.empty(wanted, 2, dtype=torch.float64)
    count = 0
    for candidate in candidates:
        if count == wanted:
            break
        gap = (kept[:count] - candidate).abs()
        gap = torch.minimum(gap, extent - gap)
        if count == 0 or float(gap.square().sum(dim=1).min()) >= spacing_px**2:
            kept[count] = candidate
            count += 1
    return Particles(kept[:count].clone(), random_rotations(count, generator))


def project_particles(
    molecule: Molecule, particles: Particles, shape_yx: tuple[int, int], pixel_size_ang: float
) -> Complex[Tensor, "y half_x"]:
    """Project particles along z; the field wraps around at its edges.

    Returns the unnormalised real FFT (torch.fft.rfft2) of the projected potential in V·Å, sampled at
    `pixel_size_ang`. Sites are spread by a cubic B-spline whose transform is divided out again, then
    multiplied by the site's own transform: exact but for aliasing near Nyquist.
    """
    height, width = shape_yx
    image = torch.zeros(height * width, dtype=torch.float32)
    sites = molecule.sites_m3 / pixel_size_ang
    for position, rotation in zip(particles.positions_n2, particles.rotations_n33, strict=True):
        _spread(image, sites @ rotation[:2].T + position, shape_yx)
    fy, fx = _frequencies(shape_yx)
    spread = (torch.sinc(fy) * torch.sinc(fx)) ** 4
    squared = (fy**2 + fx**2) / pixel_size_ang**2
    shape_factor = site_transform(squared.sqrt()) / (spread * pixel_size_ang**2)
    spectrum: Tensor = torch.fft.rfft2(image.view(height, width))
    return spectrum * shape_factor.to(torch.float32)


def site_transform(frequency_per_ang: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Fourier transform of one site's projected potential, V·Å³, at frequencies in 1/Å."""
    squared = frequency_per_ang**2
    atoms = torch.exp(-2 * math.pi**2 * SITE_SIGMA_ANG**2 * squared)
    solvent = torch.exp(-2 * math.pi**2 * SOLVENT_SIGMA_ANG**2 * squared)
    return SITE_POTENTIAL_V_ANG3 * (atoms - SOLVENT_SHARE * solvent)


def ice_power(frequency_per_ang: Float[Tensor, "..."], thickness_ang: float) -> Float[Tensor, "..."]:
    """Power spectral density of the projected potential of amorphous ice, V²·Å⁴ per area (V²·Å⁴).

    n·t·F(k)²·S(k): n molecules per Å³, thickness t, S the structure factor (0.06 from the
    compressibility at k = 0, a first peak at 1/3.7 Å⁻¹, 1 beyond).
    """
    molecule = POTENTIAL_PER_SCATTERING_V_ANG2 * ICE_SCATTERING_ANG
    squared = frequency_per_ang**2
    form = torch.exp(-4 * math.pi**2 * ICE_SIGMA_ANG**2 * squared)
    rise = torch.sigmoid((frequency_per_ang - 0.235) / 0.018)
    peak = 0.5 * torch.exp(-(((frequency_per_ang - 0.27) / 0.028) ** 2))
    return ICE_MOLECULES_PER_ANG3 * thickness_ang * molecule**2 * form * (0.06 + 0.94 * rise + peak)


def white_noise(shape_yx: tuple[int, int], generator: torch.Generator) -> Complex[Tensor, "y half_x"]:
    """Draw the real FFT of white noise of unit variance, divided by √(number of pixels).

    Multiplied by √(height·width·P) it is the transform of real noise whose power per pixel is P.
    """
    height, width = shape_yx
    half = width // 2 + 1
    noise = torch.randn(height, half, dtype=torch.complex64, generator=generator)
    for column in (0, width // 2) if width % 2 == 0 else (0,):
        mirrored = noise[:, column].roll(-1).flip(0).conj()
        # Bins that mirror onto themselves become real with unit variance, as the others have.
        noise[:, column] = (noise[:, column] + mirrored) / math.sqrt(2)
    return noise


def _frequencies(shape_yx: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Frequencies in cycles per pixel of the real FFT, shaped to broadcast as (y, half_x)."""
    height, width = shape_yx
    fy = torch.fft.fftfreq(height, dtype=torch.float64)[:, None]
    fx = torch.fft.rfftfreq(width, dtype=torch.float64)[None, :]
    return fy, fx


def _spread(image: Tensor, points_m2: Tensor, shape_yx: tuple[int, int]) -> None:
    """Add one cubic B-spline of unit sum at each point (x, y) px to the flat, periodic image."""
    height, width = shape_yx
    base = points_m2.floor()
    weights_m4 = [_cubic_weights((points_m2[:, axis] - base[:, axis]).to(torch.float32)) for axis in (0, 1)]
    start = base.to(torch.int64) - 1
    taps = torch.arange(4)
    columns = (start[:, 0, None] + taps) % width
    rows = (start[:, 1, None] + taps) % height
    index = rows[:, :, None] * width + columns[:, None, :]
    weight = weights_m4[1][:, :, None] * weights_m4[0][:, None, :]
    image.index_add_(0, index.flatten(), weight.flatten())


def _cubic_weights(fraction: Tensor) -> Tensor:
    """Weights of the four cubic B-spline taps at −1, 0, 1, 2 for a point at `fraction` past tap 0."""
    f, g = fraction, 1 - fraction
    outer = [g**3 / 6, f**3 / 6]
    inner = [(4 - 6 * f**2 + 3 * f**3) / 6, (4 - 6 * g**2 + 3 * g**3) / 6]
    return torch.stack([outer[0], inner[0], inner[1], outer[1]], dim=-1)
