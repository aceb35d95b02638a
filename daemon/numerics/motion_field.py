"""What is known of a movie's motion: a whole-frame path, and a local field on a grid with cubic splines between."""

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from scipy.interpolate import CubicSpline
from torch import Tensor

from daemon.numerics.frame_faults import FrameFaults


@dataclass(frozen=True)
class LocalField:
    """Local part of d(p, t) in unbinned px, to be added to whole-frame motion.

    grid_tyx2: (frames, rows, columns, 2) float64 on the CPU, last axis (x, y); node (i, j) lies at the pixel centre
    y = i·(height − 1)/(rows − 1), x = j·(width − 1)/(columns − 1). Between nodes: tensor product of not-a-knot
    cubic splines; beyond the outermost nodes their polynomials go on for 16 px or a step of the grid, whichever is
    less, and the field is constant from there on.
    """

    grid_tyx2: Float[Tensor, "t rows columns 2"]
    shape_yx: tuple[int, int]

    def __post_init__(self) -> None:
        if self.grid_tyx2.ndim != 4 or self.grid_tyx2.shape[-1] != 2 or min(self.grid_tyx2.shape[1:3]) < 4:
            raise ValueError(
                f"a field needs a grid of at least 4×4 nodes and (x, y), got {tuple(self.grid_tyx2.shape)}"
            )
        if min(self.shape_yx) < 2:
            raise ValueError(f"a field needs an image of at least 2×2 px, got {self.shape_yx}")

    @property
    def frame_count(self) -> int:
        """Number of frames."""
        return int(self.grid_tyx2.shape[0])

    def at(self, frame: int, y_px: Float[Tensor, "n"], x_px: Float[Tensor, "n"]) -> Float[Tensor, "n 2"]:
        """Motion (x, y) px of one frame at n positions."""
        _, rows, columns, _ = self.grid_tyx2.shape
        basis_y = spline_basis(y_px.cpu().double(), self.shape_yx[0], rows)
        basis_x = spline_basis(x_px.cpu().double(), self.shape_yx[1], columns)
        return torch.einsum("nr,rcd,nc->nd", basis_y, self.grid_tyx2[frame], basis_x)

    def on_axes(self, frame: int, y_px: Float[Tensor, "y"], x_px: Float[Tensor, "x"]) -> Float[Tensor, "y x 2"]:
        """Motion (x, y) px of one frame on the grid spanned by two lists of coordinates."""
        _, rows, columns, _ = self.grid_tyx2.shape
        basis_y = spline_basis(y_px.cpu().double(), self.shape_yx[0], rows)
        basis_x = spline_basis(x_px.cpu().double(), self.shape_yx[1], columns)
        return torch.einsum("yr,rcd,xc->yxd", basis_y, self.grid_tyx2[frame], basis_x)

    def on_grid(self, rows: int, columns: int) -> Float[Tensor, "t rows columns 2"]:
        """Motion of every frame on a regular grid that reaches the centres of the corner pixels."""
        y, x = grid_axis(self.shape_yx[0], rows), grid_axis(self.shape_yx[1], columns)
        return torch.stack([self.on_axes(frame, y, x) for frame in range(self.frame_count)])


@dataclass(frozen=True)
class MotionEstimate:
    """Motion of one movie: d(p, t) = global_t2[t] + local.at(t, …), zero in the first frame.

    fallback_reason: why there is less than was asked for (no local field, or no motion at all), None otherwise.
    doubt: why this motion should not be believed, None where it may be.
    expected_error_px: 2-D RMS error over frames and field to be expected, time-centred, local motion that was not
    modelled included; residual_t_px: distance of each
    frame's own best shift from the smooth path, 0 for frames not used; signal_sigma: coherent signal in the aligned
    frames, in standard deviations of noise; fixed_pattern_share: power of the camera's fixed pattern relative to the
    specimen's, 0 when none was found; unusable_frames: blank, saturated or otherwise odd frames, left out; faults:
    frames that lack rows or repeat the one before them.
    """

    shape_yx: tuple[int, int]
    global_t2: Float[Tensor, "t 2"]
    local: LocalField | None
    fallback_reason: str | None
    expected_error_px: float
    residual_t_px: Float[Tensor, "t"]
    signal_sigma: float
    fixed_pattern_share: float = 0.0
    unusable_frames: tuple[int, ...] = ()
    doubt: str | None = None
    faults: FrameFaults = field(default_factory=FrameFaults)

    @property
    def frame_count(self) -> int:
        """Number of frames."""
        return int(self.global_t2.shape[0])

    def at(self, frame: int, y_px: Float[Tensor, "n"], x_px: Float[Tensor, "n"]) -> Float[Tensor, "n 2"]:
        """Whole motion d (x, y) px of one frame at n positions."""
        whole = self.global_t2[frame].expand(y_px.numel(), 2)
        return whole if self.local is None else whole + self.local.at(frame, y_px, x_px)


def grid_axis(size_px: int, nodes: int) -> Float[Tensor, "nodes"]:
    """Positions of evenly spaced nodes from the centre of the first pixel to that of the last; float64."""
    return torch.linspace(0, size_px - 1, nodes, dtype=torch.float64)


# Enough for what interpolates between nodes 16 px apart to reach the edge; a cubic knows nothing of what lies farther.
_BEYOND_PX = 16.0


def spline_basis(position_px: Float[Tensor, "n"], size_px: int, nodes: int) -> Float[Tensor, "n nodes"]:
    """Matrix that turns node values into the values of their not-a-knot cubic spline at positions in px."""
    beyond_px = min(_BEYOND_PX, (size_px - 1) / (nodes - 1))
    position_px = position_px.clamp(-beyond_px, size_px - 1 + beyond_px)
    spline = CubicSpline(grid_axis(size_px, nodes).numpy(), np.eye(nodes), bc_type="not-a-knot")
    return torch.from_numpy(np.asarray(spline(position_px.numpy()), dtype=np.float64))
