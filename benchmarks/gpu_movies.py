"""Movies made in a moment on whatever device there is: a picture that moves by whole pixels, and counting noise."""

import math

import torch
from torch import Tensor

_CONTRAST = 0.15
_DETAIL_PX = 4.0


def draw_movie(
    shape_yx: tuple[int, int], frames: int, device: torch.device, *, seed: int, electrons_per_px: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Return counts (t, y, x) of uint8 on the host, and where the picture is in each frame (t, 2), x then y, px."""
    generator = torch.Generator(device).manual_seed(seed)
    white_yx = torch.randn(shape_yx, generator=generator, device=device)
    spectrum = torch.fft.rfft2(white_yx)
    ky = torch.fft.fftfreq(shape_yx[0], device=device)[:, None]
    kx = torch.fft.rfftfreq(shape_yx[1], device=device)[None]
    picture_yx = torch.fft.irfft2(spectrum * torch.exp(-(ky.square() + kx.square()) * _DETAIL_PX**2), s=shape_yx)
    rate_yx = electrons_per_px * (1 + _CONTRAST * picture_yx / picture_yx.std()).clamp_min(0.05)
    movie_tyx = torch.empty((frames, *shape_yx), dtype=torch.uint8)
    path_t2 = torch.empty((frames, 2))
    for frame in range(frames):
        x, y = round(6 * math.exp(-frame / 4)), round(4 * math.exp(-frame / 6) * math.cos(frame / 3))
        path_t2[frame] = torch.tensor([x, y])
        moved_yx = rate_yx.roll((y, x), (0, 1))
        movie_tyx[frame] = torch.poisson(moved_yx, generator=generator).clamp_max(255).to(torch.uint8).cpu()
    return movie_tyx, path_t2
