"""What an estimate of motion is judged by: the true field, and the Cramér–Rao bounds of the movie."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from daemon.domain.motion import MotionField
from daemon.formats.atomic import write_atomically
from daemon.numerics.bounds import (
    frame_covariance,
    half_disc,
    local_field_bound_px,
    shift_information,
    whole_frame_bound_px,
)
from daemon.numerics.motion import LocalField

GRID_NODES = 17
_MOST_RINGS = 512


@dataclass(frozen=True)
class Bounds:
    """Least time-centred 2-D RMS errors in px of an unbiased estimate; a prior that fits may beat them.

    One free shift per frame; that and a local field of 6 spatial by 4 temporal terms; of 12 by 4.
    """

    whole_frame_px: float
    field_px: float
    fine_field_px: float

    @classmethod
    def of(cls, information: Tensor) -> "Bounds":
        """Compute them from the information (t, 2, t, 2) about the frames' shifts, px⁻²."""
        time_terms = min(4, information.shape[0] - 1)
        field_px, fine_px = (
            local_field_bound_px(information, spatial_terms=terms, time_terms=time_terms) for terms in (6, 12)
        )
        return cls(whole_frame_bound_px(information), field_px, fine_px)


@dataclass(frozen=True)
class MotionTruth:
    """The true motion (t, 17, 17, 2), (x, y) px, on a grid that reaches the corners, and what is to be known of it."""

    field_tyx2: Tensor
    information: Tensor

    def save(self, path: Path) -> None:
        """Write it as `.npz`, plain arrays."""
        write_atomically(
            path,
            lambda temporary: np.savez(
                temporary, field_tyx2=self.field_tyx2.numpy(), information=self.information.numpy()
            ),
        )

    @classmethod
    def load(cls, path: Path) -> "MotionTruth":
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(torch.from_numpy(arrays["field_tyx2"]), torch.from_numpy(arrays["information"]))


def field_error_px(estimated_tyx2: Tensor, true_tyx2: Tensor) -> tuple[float, float]:
    """Time-centred 2-D RMS error over frames and field, and the worst point; the reference frame is arbitrary."""
    if estimated_tyx2.shape != true_tyx2.shape:
        raise ValueError(
            f"motion of {tuple(estimated_tyx2.shape)} was found, the true one has {tuple(true_tyx2.shape)}"
        )
    error_tyx2 = estimated_tyx2 - true_tyx2
    error_tyx = (error_tyx2 - error_tyx2.mean(dim=0)).norm(dim=-1)
    return float(error_tyx.square().mean().sqrt()), float(error_tyx.max())


def on_judging_grid(field: MotionField) -> Tensor:
    """Return a motion on the grid of the truth."""
    field_tyx2 = torch.from_numpy(field.global_t2)[:, None, None].expand(-1, GRID_NODES, GRID_NODES, 2)
    if field.local_tyx2 is None:
        return field_tyx2
    local = LocalField(torch.from_numpy(field.local_tyx2), (field.height_px, field.width_px))
    return field_tyx2 + local.on_grid(GRID_NODES, GRID_NODES)


def picture_information(intensity_yx: Tensor, frames: int, electrons_per_px: float) -> Tensor:
    """Information about the shifts of an unchanging picture (relative intensity, mean 1) that is counted anew.

    Its own spectrum, averaged around, takes the place of a specimen's. A Hann window keeps the edges out of it.
    """
    height, width = intensity_yx.shape
    window_yx = torch.hann_window(height, dtype=torch.float64)[:, None] * torch.hann_window(width, dtype=torch.float64)
    contrast_yx = (intensity_yx.double() - float(intensity_yx.mean())) * window_yx
    power = torch.fft.rfft2(contrast_yx).abs().square() / window_yx.square().sum()
    radius = torch.hypot(
        torch.fft.fftfreq(height, dtype=torch.float64)[:, None], torch.fft.rfftfreq(width, dtype=torch.float64)[None]
    )
    rings = min(_MOST_RINGS, min(height, width) // 2)  # each holds a bin of the transform at least
    ring = (radius * (2 * rings)).long().flatten()
    inside = ring < rings
    counts = torch.zeros(rings, dtype=torch.float64)
    totals = counts.clone()
    counts.index_add_(0, ring[inside], torch.ones_like(power).flatten()[inside])
    totals.index_add_(0, ring[inside], power.flatten()[inside])
    grid = half_disc((height, width), rings=rings)
    fading_n = (totals / counts)[(grid.frequency_per_px * (2 * rings)).long()]
    nothing_n = torch.zeros_like(fading_n)
    amplitude_nt = torch.ones(len(fading_n), frames, dtype=torch.float64)
    covariance_ntu = frame_covariance(fading_n, amplitude_nt, nothing_n, nothing_n, 1 / electrons_per_px)
    return shift_information(covariance_ntu, grid)
