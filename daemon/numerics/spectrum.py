"""Averaged power spectra of micrographs, sampled coarsely enough to keep and finely enough for Thon rings.

A spectrum here is a square array of `box_px` bins with zero frequency at [box//2, box//2]; bin i lies
at (i − box//2) / (box · pixel_size_ang) in 1/Å, rows y, columns x. White noise of variance v in the
image gives a flat spectrum of height v.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

SPECTRUM_BOX_PX = 512
TARGET_PIXEL_ANG = 1.4
"""Nyquist at 2.8 Å: finer images are cut there, as CTFFIND does; rings beyond it carry next to nothing."""

_OVERSAMPLING = 2
"""Tiles are this much longer than the box: a tile no longer than the box would wash out rings at high defocus."""
_WINDOW_TAPER = 0.125
"""Share of a tile on either side over which its window falls off; tiles overlap by at least as much."""
_LAG_TAPER = 0.25
"""Outer part of the lag window that falls off, so that strong bins do not ring through the spectrum."""


@dataclass(frozen=True)
class PowerSpectrum:
    """A power spectrum and the pixel size that its Nyquist frequency belongs to."""

    spectrum_yx: Float[Tensor, "box box"]
    pixel_size_ang: float


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
    if image_yx.ndim != 2 or min(image_yx.shape) < 16:
        raise ValueError(f"image must be 2-D and at least 16 pixels wide, got shape {tuple(image_yx.shape)}")
    if box_px < 32 or box_px % 2:
        raise ValueError(f"box_px must be even and at least 32, got {box_px}")
    if not math.isfinite(float(image_yx.sum())):
        raise ValueError("image holds NaN or infinite pixels")
    tile_px = binning * _tile_length_px(binning * pixel_size_ang, box_px, target_pixel_ang)
    fine_px = _OVERSAMPLING * box_px
    spectrum_yx = _resample(_average_periodograms(image_yx, tile_px, fine_px), box_px)
    if binning > 1:
        spectrum_yx /= binning**2
    return PowerSpectrum(spectrum_yx, tile_px * pixel_size_ang / fine_px)


def average_spectra(spectra: Iterable[PowerSpectrum]) -> PowerSpectrum:
    """Average spectra of equal shape and pixel, such as those of partial sums. Raises ValueError when they differ."""
    total: SpectrumSum = SpectrumSum()
    for spectrum in spectra:
        total.add(spectrum)
    return total.mean()


class SpectrumSum:
    """Running average of spectra, for those who make them one at a time and keep none."""

    def __init__(self) -> None:
        self.count = 0
        self._total_yx: Tensor | None = None
        self._pixel_size_ang = 0.0

    def add(self, spectrum: PowerSpectrum) -> None:
        """Take one more spectrum in. Raises ValueError when its shape or pixel differs from the first."""
        if self._total_yx is None:
            self._total_yx = spectrum.spectrum_yx.double()
            self._pixel_size_ang = spectrum.pixel_size_ang
        else:
            if spectrum.spectrum_yx.shape != self._total_yx.shape or spectrum.pixel_size_ang != self._pixel_size_ang:
                raise ValueError("spectra to be averaged must share shape and pixel size")
            self._total_yx = self._total_yx + spectrum.spectrum_yx
        self.count += 1

    def mean(self) -> PowerSpectrum:
        """Return the average so far. Raises ValueError when nothing was added."""
        if self._total_yx is None:
            raise ValueError("no spectrum was added")
        return PowerSpectrum((self._total_yx / self.count).float(), self._pixel_size_ang)


def _tile_length_px(pixel_size_ang: float, box_px: int, target_pixel_ang: float) -> int:
    """Even length in image pixels whose spectrum, cut to 2·box bins, has about the target pixel."""
    if not (pixel_size_ang > 0 and math.isfinite(pixel_size_ang)):
        raise ValueError(f"pixel_size_ang must be positive, got {pixel_size_ang}")
    fine_px = _OVERSAMPLING * box_px
    wanted = max(fine_px, round(fine_px * target_pixel_ang / pixel_size_ang))
    length = wanted + wanted % 2
    while not _is_smooth(length):
        length += 2
    return length


def _is_smooth(length: int) -> bool:
    """Whether a length has no prime factor above 7, which every FFT library likes."""
    for prime in (2, 3, 5, 7):
        while length % prime == 0:
            length //= prime
    return length == 1


def _average_periodograms(image_yx: Tensor, tile_px: int, fine_px: int) -> Tensor:
    """Mean periodogram of the tiles as a half-plane of `fine_px` bins."""
    height, width = image_yx.shape
    down, across = (_tile_window(min(size, tile_px), image_yx.device) for size in (height, width))
    window_yx = down[:, None] * across[None, :]
    window_yx = window_yx / window_yx.square().sum().sqrt()
    total = torch.zeros((fine_px, fine_px // 2 + 1), dtype=torch.float64, device=image_yx.device)
    rows, columns = _tile_starts(height, tile_px), _tile_starts(width, tile_px)
    for top in rows:
        for left in columns:
            tile_yx = image_yx[top : top + tile_px, left : left + tile_px].float()
            total += _periodogram((tile_yx - tile_yx.mean()) * window_yx, tile_px, fine_px)
    return total / (len(rows) * len(columns))


def _periodogram(tile_yx: Tensor, tile_px: int, fine_px: int) -> Tensor:
    """Squared transform of a tile, padded to `tile_px` and cut to the `fine_px` lowest bins, as a half-plane."""
    transform_half = torch.fft.rfft2(tile_yx, s=(tile_px, tile_px))
    half = fine_px // 2
    kept = torch.cat([transform_half[:half, : half + 1], transform_half[-half:, : half + 1]])
    return kept.real.square() + kept.imag.square()


def _tile_window(length: int, device: torch.device) -> Tensor:
    """Flat window with squared-sine flanks, sampled at pixel centres so that no pixel is lost to a zero."""
    position = (torch.arange(length, device=device, dtype=torch.float32) + 0.5) / length
    flank = torch.minimum(position, 1 - position) / _WINDOW_TAPER
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
    profile = _average_rings(fine_half, radius_half)
    if not float(profile.max()) > 0:
        return torch.zeros((box_px, box_px), device=device)
    profile = profile.clamp(min=float(profile.max()) * 1e-12)
    lags = torch.fft.irfft2(fine_half / _interpolate(profile, radius_half), s=(fine_px, fine_px))
    kept = torch.cat([torch.arange(fine_px - half, fine_px), torch.arange(half)]).to(device)
    centred = torch.arange(-half, half, device=device, dtype=torch.float64)
    radius_yx = torch.hypot(centred[:, None], centred[None, :])
    lags_yx = lags[kept][:, kept] * _taper_lags(radius_yx / half)
    flat_yx: Tensor = torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(lags_yx))).real
    return (flat_yx * _interpolate(profile, radius_yx * _OVERSAMPLING)).float()


def _average_rings(power: Tensor, radius: Tensor) -> Tensor:
    """Mean over rings one bin wide; ring i holds the radii that round to i."""
    ring = radius.round().long().flatten()
    count = int(ring.max()) + 1
    total = torch.zeros(count, dtype=torch.float64, device=power.device).index_add_(0, ring, power.flatten())
    members = torch.zeros_like(total).index_add_(0, ring, torch.ones_like(power).flatten())
    return total / members.clamp(min=1)


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
