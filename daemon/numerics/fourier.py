"""Real Fourier transforms of images: sizes, frequencies, resampling, shifts.

Spectra are those of torch.fft.rfft2 (unshifted, x halved). Frequencies are in cycles per pixel
unless a pixel size is given, then in 1/Å. Axes are (y, x), shifts and positions are (x, y).
"""

import math

import torch
from jaxtyping import Complex
from torch import Tensor

_SMALL_PRIMES = (2, 3, 5, 7)


def good_fft_size(minimum: int, *, multiple_of: int = 2) -> int:
    """Smallest size ≥ minimum that is a multiple of `multiple_of` and has no prime factor above 7."""
    if minimum < 1 or multiple_of < 1:
        raise ValueError(f"sizes must be positive, got minimum {minimum} and multiple_of {multiple_of}")
    size = math.ceil(minimum / multiple_of) * multiple_of
    while not _is_smooth(size // multiple_of):
        size += multiple_of
    return size


def _is_smooth(size: int) -> bool:
    for prime in _SMALL_PRIMES:
        while size % prime == 0:
            size //= prime
    return size == 1


def resize_rows(spectrum: Complex[Tensor, "*batch y x"], rows: int) -> Complex[Tensor, "*batch ny x"]:
    """Cut or zero-extend the rows only, whose transform is a full one."""
    present = spectrum.shape[-2]
    if rows == present:
        return spectrum
    shared = min(rows, present)
    resized = spectrum.new_zeros((*spectrum.shape[:-2], rows, spectrum.shape[-1]))
    positive, negative = (shared + 1) // 2, (shared - 1) // 2
    resized[..., :positive, :] = spectrum[..., :positive, :]
    if negative:
        resized[..., rows - negative :, :] = spectrum[..., present - negative :, :]
    if shared % 2 == 0:
        nyquist = shared // 2
        if rows < present:
            resized[..., nyquist, :] = spectrum[..., nyquist, :] + spectrum[..., present - nyquist, :]
        else:
            resized[..., nyquist, :] = 0.5 * spectrum[..., nyquist, :]
            resized[..., rows - nyquist, :] = 0.5 * spectrum[..., nyquist, :]
    return resized


def resize_columns(
    spectrum: Complex[Tensor, "*batch y x"], width: int, new_width: int
) -> Complex[Tensor, "*batch y nx"]:
    """Cut or zero-extend the columns only, half of those of an image of `width` columns."""
    if new_width == width:
        return spectrum
    shared = min(width, new_width)
    resized = spectrum.new_zeros((*spectrum.shape[:-1], new_width // 2 + 1))
    resized[..., : shared // 2 + 1] = spectrum[..., : shared // 2 + 1]
    if shared % 2 == 0:
        # The mirrored column is implied by the real transform, which reads the real part of this one only.
        resized[..., shared // 2] *= 2.0 if new_width < width else 0.5
    return resized


def shift_phases(
    shape_yx: tuple[int, int], shift_xy_px: tuple[float, float], *, device: torch.device | None = None
) -> tuple[Complex[Tensor, "y 1"], Complex[Tensor, "1 x"]]:
    """Separable factors exp(−2πi k·shift): multiplied onto an rfft2 they move the image content by +shift.

    The phases are formed in double precision, so that large shifts of large images stay exact.
    """
    height, width = shape_yx
    ky = torch.fft.fftfreq(height, dtype=torch.float64, device=device)
    kx = torch.fft.rfftfreq(width, dtype=torch.float64, device=device)
    turn_y, turn_x = -2 * math.pi * shift_xy_px[1] * ky, -2 * math.pi * shift_xy_px[0] * kx
    factor_y = torch.polar(torch.ones_like(turn_y), turn_y).to(torch.complex64)
    factor_x = torch.polar(torch.ones_like(turn_x), turn_x).to(torch.complex64)
    return factor_y[:, None], factor_x[None, :]
