"""What does not fade as proteins do (gold, stain, a calibration grid) is aligned as well."""

import pytest
import torch

from daemon.numerics.motion import estimate_motion
from daemon.numerics.simulation import default_motion
from daemon.numerics.simulation_detector import build_detector, draw_seed
from daemon.numerics.simulation_micrograph import MicrographMovie, micrograph_margin_px

SHAPE_YX, FRAMES, PIXEL_ANG, DOSE = (1280, 1280), 20, 0.85, 3.0
NODES = 9


@pytest.mark.slow
def test_a_specimen_that_does_not_fade_is_found_to_a_few_hundredths_of_a_pixel() -> None:
    generator = torch.Generator().manual_seed(1)
    motion = default_motion(SHAPE_YX, FRAMES, PIXEL_ANG, DOSE, generator)
    margin = micrograph_margin_px(motion)
    grains_yx = torch.randn([edge + 2 * margin for edge in SHAPE_YX], generator=generator)
    ky, kx = torch.fft.fftfreq(grains_yx.shape[0])[:, None], torch.fft.rfftfreq(grains_yx.shape[1])
    blurred_yx = torch.fft.irfft2(torch.fft.rfft2(grains_yx) * torch.exp(-(ky**2 + kx**2) / 0.08), s=grains_yx.shape)
    specimen_yx = (1 + 0.25 * blurred_yx / blurred_yx.std()).clamp_min(0.05)
    detector = build_detector(SHAPE_YX, generator)
    movie_tyx = MicrographMovie(specimen_yx, motion, detector, 1.0, draw_seed(generator)).stack()
    found = estimate_motion(movie_tyx, pixel_size_ang=PIXEL_ANG, dose_per_frame_e_per_ang2=DOSE)
    assert found.local is not None, found.fallback_reason
    error_tyx2 = found.global_t2[:, None, None] + found.local.on_grid(NODES, NODES) - motion.on_grid(NODES, NODES)
    error_tyx2 -= error_tyx2.mean(dim=0)
    # Its signal allows 0.02 px. Weighed by most of what a protein would have lost: 0.16 px, and no local motion.
    assert error_tyx2.square().sum(-1).mean().sqrt() < 0.04
