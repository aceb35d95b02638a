"""Averaged power spectra of micrographs, sampled coarsely enough to keep and finely enough for Thon rings.

A spectrum here is a square array of `box_px` bins with zero frequency at [box//2, box//2]; bin i lies
at (i − box//2) / (box · pixel_size_ang) in 1/Å, rows y, columns x. White noise of variance v in the
image gives a flat spectrum of height v.
"""

import functools
import math
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

from daemon.numerics.fourier import good_fft_size
from daemon.numerics.parallel import MOST_IMAGES_AT_ONCE, map_in_order
from daemon.numerics.rings import average_rings, centred_radius

SPECTRUM_BOX_PX = 512
TARGET_PIXEL_ANG = 1.4
"""Nyquist at 2.8 Å: finer images are cut there, as CTFFIND does; rings beyond it carry next to nothing."""

_OVERSAMPLING = 2
"""Tiles are this much longer than the box: a tile no longer than the box would wash out rings at high defocus."""
_MOST_BOXES = 32
"""Longest tile, in boxes: pixels below 0.09 Å are a mistake, and memory must not grow with it."""
_WINDOW_TAPER = 0.125
"""Share of a tile over which its window gives way to its neighbour's; tiles overlap by at least as much."""
_EDGE_TAPER = 0.04
"""Share of a tile over which the image fades at its own edges, as it does not go on there."""
_WHOLE_SUM_ANG = 12.0
"""Resolution to which the rings of a whole exposure are worth looking at beside those of its parts."""
_STRIP_ROWS = 64
"""Rows of a tile that are windowed and transformed at once on the CPU."""
_LAG_TAPER = 0.25
"""Outer part of the lag window that falls off, so that strong bins do not ring through the spectrum."""


@dataclass(frozen=True)
class PowerSpectrum:
    """A power spectrum and the pixel size that its Nyquist frequency belongs to."""

    spectrum_yx: Float[Tensor, "box box"]
    pixel_size_ang: float


@dataclass(frozen=True)
class MovieSpectrum(PowerSpectrum):
    """The spectrum that a movie's CTF is fitted to; parts_myx: those of its partial sums, in order of exposure."""

    parts_myx: Float[Tensor, "m box box"]

    def multiply(self, factor_yx: Float[Tensor, "box box"]) -> "MovieSpectrum":
        """All spectra times a factor."""
        return MovieSpectrum(self.spectrum_yx * factor_yx, self.pixel_size_ang, self.parts_myx * factor_yx)

    def stack(self) -> Tensor:
        """Spectrum first, parts after, as they are kept in a file; one image where there is but one part."""
        if len(self.parts_myx) < 2:
            return self.spectrum_yx
        return torch.cat([self.spectrum_yx[None], self.parts_myx])


def spectrum_pixel_ang(
    pixel_size_ang: float, *, box_px: int = SPECTRUM_BOX_PX, target_pixel_ang: float = TARGET_PIXEL_ANG
) -> float:
    """Pixel size in Å of the spectrum of an image of `pixel_size_ang`: about the target, or the image's if coarser."""
    tile_px = _tile_length_px(pixel_size_ang, box_px, target_pixel_ang)
    return tile_px * pixel_size_ang / (_OVERSAMPLING * box_px)


def tile_power_spectrum(
    image_yx: Float[Tensor, "y x"],
    pixel_size_ang: float,
    *,
    box_px: int = SPECTRUM_BOX_PX,
    target_pixel_ang: float = TARGET_PIXEL_ANG,
    binning: int = 1,
) -> PowerSpectrum:
    """Average the periodograms of overlapping windowed tiles and resample them to `box_px` bins.

    Tiles span 2·box bins' worth of resolution at the image's own pixel, so nothing is interpolated, and bins
    beyond the target's Nyquist are cut. The finer spectrum is brought to the box by cutting its
    autocorrelation at lags of half a box (Blackman & Tukey 1958, after dividing by a radial profile:
    "prewhitening"): rings as fine as the box can hold keep most of their contrast, where tiles no larger
    than the box would wash them out. An image smaller than a tile is windowed as a whole and padded.
    `binning`: give the bins and heights that the image would have if it were binned in Fourier space by that factor.

    Bins are unbiased, so single ones may fall below zero when few tiles were averaged. Constant images
    give zeros. Raises ValueError for non-finite pixels, an odd box or an image that is not 2-D.
    """
    tiling = _Tiling.of(pixel_size_ang, box_px, target_pixel_ang, binning)
    return tiling.spectrum(_average_periodograms(image_yx, tiling))


class PartSpectra:
    """Spectra of the partial sums of a movie, taken in one at a time, and of all together; see `tile_power_spectrum`.

    Every tile is transformed once: transforms of the whole are the sums of those of the parts. What is kept is the
    transforms of one image's tiles, 4 MB for each with the default box, and a periodogram for each part.
    """

    def __init__(
        self,
        pixel_size_ang: float,
        *,
        box_px: int = SPECTRUM_BOX_PX,
        target_pixel_ang: float = TARGET_PIXEL_ANG,
        binning: int = 1,
    ) -> None:
        self._tiling = _Tiling.of(pixel_size_ang, box_px, target_pixel_ang, binning)
        self._parts: list[Tensor] = []
        self._whole = _Tiles()

    def add(self, part_yx: Float[Tensor, "y x"]) -> None:
        """Take one more part in. Raises ValueError for what `tile_power_spectrum` refuses, or another shape."""
        self._parts.append(_average_periodograms(part_yx, self._tiling, self._whole))

    def conclude(self) -> MovieSpectrum:
        """Average of the parts, and towards low frequencies of that and the spectrum of the sum of all frames.

        What rings there are between 30 and 10 Å outlives the whole exposure, and one sum shows it better than many.
        Finer ones do not, the less as water moves by an Angstrom with every electron per Å² (McMullan, Vinothkumar &
        Henderson 2015, Ultramicroscopy 158, 26): there the parts speak alone. White noise keeps its height. To be
        asked once. Raises ValueError when nothing was added.
        """
        if not self._parts:
            raise ValueError("no part of the movie was added")
        periodograms = self._parts if len(self._parts) == 1 else [*self._parts, self._whole.average_power()]
        self._whole = _Tiles()  # the memory of its tiles serves what follows
        device = self._parts[0].device
        parts = [each.spectrum_yx for each in map_in_order(self._tiling.spectrum, periodograms, device=device)]
        count, pixel_ang = len(self._parts), self._tiling.spectrum_pixel_ang
        mean_yx = torch.stack(parts[:count]).double().mean(dim=0).float()
        if count > 1:
            share_yx = _share_of_whole(len(mean_yx), pixel_ang, device)
            # As many times more electrons, as many times more noise.
            mean_yx = torch.lerp(mean_yx, parts[count] / count, share_yx)
        return MovieSpectrum(mean_yx, pixel_ang, torch.stack(parts[:count]))


def _share_of_whole(box_px: int, pixel_size_ang: float, device: torch.device) -> Tensor:
    """Weight of the whole sum's spectrum in each bin: ¾ at zero frequency, 0.28 at 12 Å, then nothing."""
    centred = torch.arange(-(box_px // 2), box_px - box_px // 2, device=device, dtype=torch.float32)
    squared_yx = (centred[:, None].square() + centred[None, :].square()) / (box_px * pixel_size_ang) ** 2
    return 0.75 * torch.exp(-squared_yx * _WHOLE_SUM_ANG**2)


def _tile_length_px(pixel_size_ang: float, box_px: int, target_pixel_ang: float) -> int:
    """Even length in image pixels whose spectrum, cut to 2·box bins, has about the target pixel, or one finer."""
    if not (pixel_size_ang > 0 and math.isfinite(pixel_size_ang)):
        raise ValueError(f"pixel_size_ang must be positive, got {pixel_size_ang}")
    fine_px = _OVERSAMPLING * box_px
    wanted = min(round(fine_px * target_pixel_ang / pixel_size_ang), _MOST_BOXES * box_px)
    return good_fft_size(max(fine_px, wanted))


@dataclass(frozen=True)
class _Tiling:
    """How long tiles are, and what becomes of their periodograms."""

    tile_px: int
    box_px: int
    spectrum_pixel_ang: float
    binning: int

    @staticmethod
    def of(pixel_size_ang: float, box_px: int, target_pixel_ang: float, binning: int) -> "_Tiling":
        if box_px < 32 or box_px % 2:
            raise ValueError(f"box_px must be even and at least 32, got {box_px}")
        tile_px = binning * _tile_length_px(binning * pixel_size_ang, box_px, target_pixel_ang)
        return _Tiling(tile_px, box_px, tile_px * pixel_size_ang / (_OVERSAMPLING * box_px), binning)

    def spectrum(self, fine_half: Tensor) -> PowerSpectrum:
        """Bring a half-plane periodogram to the bins of a spectrum."""
        spectrum_yx = _resample(fine_half, self.box_px)
        if self.binning > 1:
            spectrum_yx /= self.binning**2
        return PowerSpectrum(spectrum_yx, self.spectrum_pixel_ang)


class _Tiles:
    """Sums of the transforms of tiles that lie at the same place in images of one shape."""

    def __init__(self) -> None:
        self._shape_yx: tuple[int, ...] = ()
        self._transforms: dict[int, Tensor] = {}
        self._pixels = 1.0

    def begin(self, shape_yx: tuple[int, ...], pixels: float) -> None:
        """Expect tiles of one more image. Raises ValueError when its shape differs from the first."""
        if self._shape_yx not in ((), shape_yx):
            raise ValueError(f"partial sums must share a shape, got {shape_yx} after {self._shape_yx}")
        self._shape_yx, self._pixels = shape_yx, pixels

    def add(self, index: int, transform_half: Tensor) -> None:
        """Add the transform of a tile, which is kept; one thread for each index."""
        if index in self._transforms:
            self._transforms[index] += transform_half
        else:
            self._transforms[index] = transform_half

    def average_power(self) -> Tensor:
        """Mean periodogram of the sums, added up in the tiles' order, whichever was done first."""
        powers = (_power(self._transforms[index]).double() for index in sorted(self._transforms))
        total = functools.reduce(torch.add, powers)
        return total / self._pixels


def _average_periodograms(image_yx: Tensor, tiling: _Tiling, whole: _Tiles | None = None) -> Tensor:
    """Mean periodogram of an image's tiles as a half-plane of fine bins; their transforms are added to the whole's."""
    if image_yx.ndim != 2 or min(image_yx.shape) < 16:
        raise ValueError(f"image must be 2-D and at least 16 pixels wide, got shape {tuple(image_yx.shape)}")
    if not math.isfinite(float(image_yx.sum())):
        raise ValueError("image holds NaN or infinite pixels")
    device, fine_px = image_yx.device, _OVERSAMPLING * tiling.box_px
    down, across = (_tile_windows(size, tiling.tile_px, device) for size in image_yx.shape)
    pixels = math.prod(sum(float(window.double().square().sum()) for _, window in axis) for axis in (down, across))
    if whole is not None:
        whole.begin(tuple(image_yx.shape), pixels)

    def measure(tile: tuple[int, tuple[tuple[int, Tensor], tuple[int, Tensor]]]) -> Tensor:
        index, ((top, window_y), (left, window_x)) = tile
        tile_yx = image_yx[top : top + len(window_y), left : left + len(window_x)]
        transform_half = _transform_tile(tile_yx, window_y, window_x, tiling.tile_px, fine_px)
        power_half = _power(transform_half)
        if whole is not None:
            whole.add(index, transform_half)
        return power_half

    total = torch.zeros((fine_px, fine_px // 2 + 1), dtype=torch.float64, device=device)
    for power_half in map_in_order(
        measure, enumerate(product(down, across)), device=device, at_most=MOST_IMAGES_AT_ONCE
    ):
        total += power_half
    return total / pixels


def _transform_tile(tile_yx: Tensor, window_y: Tensor, window_x: Tensor, tile_px: int, fine_px: int) -> Tensor:
    """Transform of a tile less its mean, windowed, padded to tile_px, cut to the fine_px lowest bins; half-plane."""
    half, mean = fine_px // 2, tile_yx.float().mean()
    # Columns that are cut anyway need no transform of their own, and rows a few at a time stay in the cache.
    rows_half = torch.empty((len(window_y), half + 1), dtype=torch.complex64, device=tile_yx.device)
    step = _STRIP_ROWS if tile_yx.device.type == "cpu" else len(window_y)
    for first in range(0, len(window_y), step):
        rows = slice(first, first + step)
        strip_yx = (tile_yx[rows].float() - mean).mul_(window_y[rows, None]).mul_(window_x)
        rows_half[rows] = torch.fft.rfft(strip_yx, n=tile_px)[:, : half + 1]
    transform_half = torch.fft.fft(rows_half, n=tile_px, dim=0)
    return torch.cat([transform_half[:half], transform_half[-half:]])


def _power(transform: Tensor) -> Tensor:
    return transform.real.square() + transform.imag.square()


def _tile_windows(size: int, tile_px: int, device: torch.device) -> list[tuple[int, Tensor]]:
    """First pixel and window of each tile along an axis; their squares add up to one but at the image's own edges.

    So every pixel counts alike, whether one tile holds it or two: where tiles overlap by half, windows that are each
    flat would leave a third of what the image tells unused.
    """
    length = min(size, tile_px)
    starts = _tile_starts(size, tile_px)
    flank = _taper_ends(length, _WINDOW_TAPER * length)
    shared = torch.zeros(size, dtype=torch.float64)
    for first in starts:
        shared[first : first + length] += flank.square()
    fading = _taper_ends(size, _EDGE_TAPER * length) / shared.sqrt()
    return [(first, (flank * fading[first : first + length]).float().to(device)) for first in starts]


def _taper_ends(length: int, taper_px: float) -> Tensor:
    """One, with squared-sine flanks, sampled at pixel centres so that no pixel is lost to a zero."""
    position = torch.arange(length, dtype=torch.float64) + 0.5
    flank = torch.minimum(position, length - position) / taper_px
    return torch.sin(0.5 * math.pi * flank.clamp(max=1)).square()


def _tile_starts(size: int, tile_px: int) -> list[int]:
    """First pixels of evenly spread tiles that overlap by at least the window's flank and reach both edges."""
    if size <= tile_px:
        return [0]
    count = math.ceil((size - tile_px) / (tile_px * (1 - _WINDOW_TAPER))) + 1
    return [round(index * (size - tile_px) / (count - 1)) for index in range(count)]


def _resample(fine_half: Tensor, box_px: int) -> Tensor:
    """Bring a half-plane periodogram to box² bins, zero frequency in the middle, by cutting its lags."""
    device = fine_half.device
    fine_px, half = fine_half.shape[0], box_px // 2
    rows = torch.fft.fftfreq(fine_px, 1 / fine_px, device=device, dtype=torch.float64)
    columns = torch.arange(fine_half.shape[1], device=device, dtype=torch.float64)
    radius_half = torch.hypot(rows[:, None], columns[None, :])
    profile, _ = average_rings(fine_half, radius_half.round().long())
    if not float(profile.max()) > 0:
        return torch.zeros((box_px, box_px), device=device)
    profile = profile.clamp(min=float(profile.max()) * 1e-12)
    lags = torch.fft.irfft2(fine_half / _interpolate(profile, radius_half), s=(fine_px, fine_px))
    kept = torch.cat([torch.arange(fine_px - half, fine_px), torch.arange(half)]).to(device)
    radius_yx = centred_radius(box_px, device)
    lags_yx = lags[kept][:, kept] * _taper_lags(radius_yx / half)
    flat_yx: Tensor = torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(lags_yx))).real
    return (flat_yx * _interpolate(profile, radius_yx * _OVERSAMPLING)).float()


def _interpolate(profile: Tensor, radius: Tensor) -> Tensor:
    """Read a profile between its rings, linearly."""
    radius = radius.clamp(max=len(profile) - 1)
    below = radius.floor().long().clamp(max=len(profile) - 2)
    share = radius - below
    return profile[below] * (1 - share) + profile[below + 1] * share


def _taper_lags(distance: Tensor) -> Tensor:
    """Weight of a lag at this share of the longest one: one inside, a squared cosine to zero at the rim."""
    beyond = ((distance - 1 + _LAG_TAPER) / _LAG_TAPER).clamp(0, 1)
    return torch.cos(0.5 * math.pi * beyond).square()
