"""Tilt of a specimen from how its defocus changes across a micrograph.

Every tile's spectrum, averaged along lines of equal phase of the CTF that fits the whole (ctf_fit), is one curve
D_t(k) = −A(k) cos(2χ(k) + 2πλk² δ_t) + noise once its smooth background is divided out. The plane δ_t = δ + g·x_t that
explains all tiles best is found among all planes up to 65° and refined by Gauss–Newton together with A. This is the
defocus plane of CTFFIND's tilt search (Elferich, Kong, Zottig & Grigorieff 2024, eLife 13, RP97227), without
resampling spectra for each plane.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy.special import fdtrc
from torch import Tensor

from daemon.numerics.ctf_background import solve_weighted
from daemon.numerics.ctf_curves import CtfNumbers, PhaseLines
from daemon.numerics.thon import Optics, select_bins

_TILE_PX = 512
_TARGET_PIXEL_ANG = 1.4
_FLANK_PX = 64
_RESOLUTIONS_ANG = (25.0, 4.0)
_AMPLITUDE_SPLINES = 5
_STEEPEST = math.tan(math.radians(65.0))
_SEARCH_STEP_RAD = 0.4
_MOST_DIRECTIONS = 72
_LEAST_TILES = 8
_ITERATIONS = 8
_MEDIAN_OF_CHI_SQUARE = 0.455
_LARGEST_P_VALUE = 1e-4
_LEAST_EVIDENCE = 30.0
"""Some 10⁴ planes are tried: of noise alone, the best of them brings 20 as a rule."""


@dataclass(frozen=True)
class Tilt:
    """Defocus plane of a micrograph, and the tilt that it means; sigmas are standard deviations.

    gradient_x, gradient_y: change of defocus per distance (Å/Å) along +x and +y. angle_deg ≥ 0; axis_deg from +x
    towards +y in (−180, 180], with defocus growing along axis_deg + 90. evidence: fall of χ² that the tilt brings over
    any flat specimen. is_carried: whether that speaks for a tilt, and tiles of a flat one would hardly lie so on a
    plane; else the plane is noise.
    """

    gradient_x: float
    gradient_y: float
    angle_deg: float
    angle_sigma_deg: float
    axis_deg: float
    evidence: float
    is_carried: bool


@dataclass(frozen=True)
class _Tiles:
    """Curves of all tiles, and where the tiles are: 1, x and y from the image's centre in Å."""

    curves_tr: Tensor
    lines: PhaseLines
    amplitude_basis_rj: Tensor
    place_t3: Tensor

    def angle(self, plane: Tensor) -> Tensor:
        """2χ of each tile's rings at its own defocus."""
        return self.lines.angle_r + self.lines.turn_r * (self.place_t3 @ plane)[:, None]


def measure_tilt(
    image_yx: Float[Tensor, "y x"], pixel_size_ang: float, found: CtfNumbers, optics: Optics
) -> Tilt | None:
    """Fit the defocus plane of a micrograph whose CTF is known on the whole; None when too few tiles hold power.

    Raises ValueError when the image is not 2-D, the pixel size not positive or the mean defocus not positive.
    """
    if image_yx.ndim != 2 or not pixel_size_ang > 0 or not found.mean_defocus_ang > 0:
        raise ValueError("a tilt needs a 2-D image, a positive pixel size and a positive defocus")
    tiles = _average_tiles(image_yx, pixel_size_ang, found, optics)
    if tiles is None:
        return None
    start = _search(tiles, found.mean_defocus_ang)
    plane, amplitude_r = _refine(tiles, start)
    return _conclude(tiles, plane, amplitude_r)


def _average_tiles(image_yx: Tensor, pixel_size_ang: float, found: CtfNumbers, optics: Optics) -> _Tiles | None:
    """Power spectra of tiles as whitened curves along equal phase."""
    factor = max(1, round(_TARGET_PIXEL_ANG / pixel_size_ang))
    small_yx = torch.nn.functional.avg_pool2d(image_yx[None].float(), factor)[0] if factor > 1 else image_yx.float()
    pixel = factor * pixel_size_ang
    finest = max(_RESOLUTIONS_ANG[1], 2.2 * pixel)
    if min(small_yx.shape) < 2 * _TILE_PX - 2 * _FLANK_PX or finest > _RESOLUTIONS_ANG[0] / 2:
        return None
    device = image_yx.device
    index_yx = torch.arange(_TILE_PX**2, device=device, dtype=torch.float64).reshape(_TILE_PX, _TILE_PX)
    bins = select_bins(index_yx, pixel, 1 / _RESOLUTIONS_ANG[0], 1 / finest)
    lines = PhaseLines(bins, found, optics)
    # Bins are named by their place in a centred square; a real transform keeps rows from zero upwards.
    row, column = bins.power.long() // _TILE_PX - _TILE_PX // 2, bins.power.long() % _TILE_PX - _TILE_PX // 2
    window_yx = _window(device)
    curves, places = [], []
    for top in _starts(small_yx.shape[0]):
        for left in _starts(small_yx.shape[1]):
            tile_yx = small_yx[top : top + _TILE_PX, left : left + _TILE_PX]
            half = torch.fft.rfft2((tile_yx - tile_yx.mean()) * window_yx)
            power = half.real.square() + half.imag.square()
            curve = lines.whiten(power[row, column].double())
            if not bool(curve.any()):
                continue
            curves.append(curve)
            middle = [start - 0.5 * (size - _TILE_PX) for start, size in zip((top, left), small_yx.shape, strict=True)]
            places.append([1.0, middle[1] * pixel, middle[0] * pixel])
    if len(curves) < _LEAST_TILES:
        return None
    place_t3 = torch.tensor(places, dtype=torch.float64, device=device)
    return _Tiles(torch.stack(curves), lines, lines.splines(_AMPLITUDE_SPLINES), place_t3)


def _starts(size: int) -> list[int]:
    """First pixels of evenly spread tiles that share their flanks and reach both edges."""
    count = max(1, math.ceil((size - _TILE_PX) / (_TILE_PX - _FLANK_PX)) + 1)
    return [round(index * (size - _TILE_PX) / max(count - 1, 1)) for index in range(count)]


def _window(device: torch.device) -> Tensor:
    """Flat square with squared-sine flanks."""
    position = torch.arange(_TILE_PX, device=device, dtype=torch.float32) + 0.5
    flank = torch.minimum(position, _TILE_PX - position) / _FLANK_PX
    side = torch.sin(0.5 * math.pi * flank.clamp(max=1)).square()
    return side[:, None] * side[None, :]


def _search(tiles: _Tiles, defocus_ang: float) -> Tensor:
    """Best plane (offset at the centre, gradient along x and y) on a grid over all tilts."""
    curves, weight, turn = tiles.curves_tr, tiles.lines.weight_r, tiles.lines.turn_r
    noise = _noise(tiles)
    amplitude = _smooth((curves.square().mean(0) - noise / weight).clamp(min=0)).sqrt()
    step = _SEARCH_STEP_RAD / float(turn.max())
    reach = float(tiles.place_t3[:, 1:].norm(dim=1).max())
    largest = min(_STEEPEST * reach, 0.6 * defocus_ang)
    shells, margin = int(largest / step), 4
    lags = torch.arange(-shells - margin, shells + margin + 1, device=curves.device, dtype=torch.float64) * step
    table_tl = -(curves * amplitude * weight) @ (tiles.lines.angle_r[:, None] + turn[:, None] * lags).cos()
    best, plane = -math.inf, (0.0, 0.0, 0.0)
    rows = torch.arange(len(curves), device=curves.device)
    for shell in range(shells + 1):
        count = min(_MOST_DIRECTIONS, max(1, math.ceil(2 * math.pi * shell)))
        angle = torch.arange(count, device=curves.device, dtype=torch.float64) * (2 * math.pi / count)
        slope = shell * step / reach
        gradient = torch.stack([angle.cos(), angle.sin()]) * slope
        at = (tiles.place_t3[:, 1:] @ gradient / step).round().long() + shells + margin
        for shift in range(-margin, margin + 1):
            total = table_tl[rows[:, None], (at + shift).clamp(0, len(lags) - 1)].sum(0)
            index = int(total.argmax())
            if float(total[index]) > best:
                best, plane = float(total[index]), (shift * step, *gradient[:, index].tolist())
    return torch.tensor(plane, dtype=torch.float64, device=curves.device)


def _noise(tiles: _Tiles) -> float:
    """Variance of a curve at a ring of weight one, from the finest quarter of the rings, where the CTF moves least."""
    outer = slice(-max(8, tiles.curves_tr.shape[1] // 4), None)
    return float((tiles.curves_tr[:, outer].square() * tiles.lines.weight_r[outer]).median()) / _MEDIAN_OF_CHI_SQUARE


def _smooth(values: Tensor) -> Tensor:
    """Running mean over twenty-one rings, fewer where there are no more."""
    side = min(10, (len(values) - 1) // 2)
    padded = torch.nn.functional.pad(values[None, None], (side, side), mode="replicate")
    smooth: Tensor = torch.nn.functional.avg_pool1d(padded, 2 * side + 1, 1)[0, 0]
    return smooth


def _refine(tiles: _Tiles, plane: Tensor) -> tuple[Tensor, Tensor]:
    """Gauss–Newton on the plane, with the amplitude solved for at each step; the plane and A on rings."""
    misfit, amplitude_r = _solve_amplitude(tiles, plane)
    for _ in range(_ITERATIONS):
        normal, gradient, _ = _linearise(tiles, plane, amplitude_r)
        step = torch.linalg.solve(normal + 1e-9 * torch.diag(normal.diagonal() + 1e-12), gradient.sum(0))
        while float((tiles.place_t3 @ step).abs().max()) * float(tiles.lines.turn_r.max()) > _SEARCH_STEP_RAD:
            step = step / 2
        trial_misfit, trial_amplitude = _solve_amplitude(tiles, plane + step)
        if not trial_misfit < misfit:
            break
        gained, misfit = misfit - trial_misfit, trial_misfit
        plane, amplitude_r = plane + step, trial_amplitude
        if gained < 1e-9 * misfit:
            break
    return plane, amplitude_r


def _solve_amplitude(tiles: _Tiles, plane: Tensor) -> tuple[float, Tensor]:
    """Least squares for A(k) at a given plane: the weighted misfit that is left, and A on rings."""
    wave_tr = -tiles.angle(plane).cos()
    along, power = (wave_tr * tiles.curves_tr).sum(0), wave_tr.square().sum(0)
    basis, weight = tiles.amplitude_basis_rj, tiles.lines.weight_r
    amplitude_r = basis @ solve_weighted(basis, along / power.clamp(min=1e-9), weight * power)
    misfit = (weight * (tiles.curves_tr - amplitude_r * wave_tr).square()).sum()
    return float(misfit), amplitude_r


def _misfit_without(tiles: _Tiles) -> float:
    """Least misfit of a flat specimen, whose defocus may differ a little from that of the fit of the whole."""
    step = _SEARCH_STEP_RAD / float(tiles.lines.turn_r.max())
    flat = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64, device=tiles.place_t3.device)
    return min(_solve_amplitude(tiles, 0.25 * shift * step * flat)[0] for shift in range(-16, 17))


def _linearise(tiles: _Tiles, plane: Tensor, amplitude_r: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Normal matrix over (offset, gradient x, y); of each tile its part of the gradient and its information."""
    angle_tr = tiles.angle(plane)
    slope_tr = amplitude_r * tiles.lines.turn_r * angle_tr.sin()
    pull_t = (tiles.lines.weight_r * slope_tr * (tiles.curves_tr + amplitude_r * angle_tr.cos())).sum(1)
    known_t = (tiles.lines.weight_r * slope_tr.square()).sum(1)
    normal = tiles.place_t3.T @ (known_t[:, None] * tiles.place_t3)
    return normal, pull_t[:, None] * tiles.place_t3, known_t


def _conclude(tiles: _Tiles, plane: Tensor, amplitude_r: Tensor) -> Tilt:
    """Uncertainty from how far single tiles lie off the plane, or from noise where that is more; and the verdict."""
    normal, gradient, known_t = _linearise(tiles, plane, amplitude_r)
    freedom = len(known_t) - 3
    pull_t = gradient[:, 0]
    scatter = float((pull_t.square() / known_t.clamp(min=1e-30)).sum()) / freedom
    noise = max(scatter, _noise(tiles))
    covariance = torch.linalg.inv(normal + 1e-12 * torch.diag(normal.diagonal() + 1e-30)) * noise
    slope, inner = plane[1:], covariance[1:, 1:]
    size = max(float(slope.norm()), 1e-9)
    along = slope / size
    ratio = float(slope @ torch.linalg.solve(inner, slope)) / 2
    p_value = float(fdtrc(2, freedom, max(ratio, 0.0)))
    evidence = (_misfit_without(tiles) - _solve_amplitude(tiles, plane)[0]) / noise
    spread = math.sqrt(max(float(along @ inner @ along), 0.0))
    toward_deg = math.degrees(math.atan2(float(slope[1]), float(slope[0])))
    return Tilt(
        float(slope[0]),
        float(slope[1]),
        math.degrees(math.atan(size)),
        math.degrees(spread / (1 + size**2)),
        _turn_into_range(toward_deg - 90),
        evidence,
        evidence >= _LEAST_EVIDENCE and p_value < _LARGEST_P_VALUE,
    )


def _turn_into_range(angle_deg: float) -> float:
    """The same direction in (−180, 180]."""
    turned = angle_deg % 360.0
    return turned - 360.0 if turned > 180 else turned
