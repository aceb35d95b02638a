"""How the specimen moves under the beam: a true, evaluable field d(p, t).

A specimen point at p in the reference frame is seen at p + d(p, t) in frame t; all in unbinned
pixels, x fast, y slow, 0-based pixel centres. The reference frame is frame 0, where d = 0.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class SpecimenMotion:
    """Whole-frame drift plus a local field of plane waves, each with its own course in time.

    d(p, t) = global_t2[t] + Σ_m time_tm[t, m] · amplitude_m2[m] · cos(2π (u_m x/W + v_m y/H) + ψ_m).
    Wave vectors (u, v) are in cycles per field; with half a cycle and more across the field the sum is
    smooth but outside the span of a second-order polynomial. Motion within a frame is not simulated.
    """

    shape_yx: tuple[int, int]
    global_t2: Tensor
    time_tm: Tensor
    amplitude_m2: Tensor
    wave_vector_m2: Tensor
    phase_rad_m: Tensor

    @property
    def frame_count(self) -> int:
        """Number of frames."""
        return int(self.global_t2.shape[0])

    @property
    def has_local_field(self) -> bool:
        """Whether anything but whole-frame drift happens."""
        return bool((self.time_tm.abs().sum() > 0) and (self.amplitude_m2.abs().sum() > 0))

    def local_at(
        self, frame: int, y_px: Float[Tensor, "*points"], x_px: Float[Tensor, "*points"]
    ) -> Float[Tensor, "*points 2"]:
        """Local part of d in px, last axis (x, y), at positions in the reference frame."""
        height, width = self.shape_yx
        u, v = self.wave_vector_m2.unbind(dim=1)
        turns = x_px[..., None] * (u / width) + y_px[..., None] * (v / height)
        waves = torch.cos(2 * math.pi * turns + self.phase_rad_m)
        return (waves * self.time_tm[frame]) @ self.amplitude_m2

    def at(
        self, frame: int, y_px: Float[Tensor, "*points"], x_px: Float[Tensor, "*points"]
    ) -> Float[Tensor, "*points 2"]:
        """d in px, last axis (x, y), at positions in the reference frame."""
        return self.local_at(frame, y_px, x_px) + self.global_t2[frame]

    def on_grid(self, rows: int, columns: int) -> Float[Tensor, "t rows columns 2"]:
        """d of every frame on a regular grid reaching the centres of the corner pixels."""
        height, width = self.shape_yx
        y = torch.linspace(0, height - 1, rows, dtype=torch.float64)[:, None].expand(rows, columns)
        x = torch.linspace(0, width - 1, columns, dtype=torch.float64)[None, :].expand(rows, columns)
        return torch.stack([self.at(frame, y, x) for frame in range(self.frame_count)])


def still(shape_yx: tuple[int, int], frames: int) -> SpecimenMotion:
    """No motion at all."""
    return whole_frame_motion(shape_yx, torch.zeros(frames, 2, dtype=torch.float64))


def whole_frame_motion(shape_yx: tuple[int, int], global_t2: Float[Tensor, "t 2"]) -> SpecimenMotion:
    """Drift given by the caller in px (x, y), the same everywhere."""
    frames = int(global_t2.shape[0])
    return SpecimenMotion(
        shape_yx,
        global_t2.to(torch.float64),
        torch.zeros(frames, 1, dtype=torch.float64),
        torch.zeros(1, 2, dtype=torch.float64),
        torch.zeros(1, 2, dtype=torch.float64),
        torch.zeros(1, dtype=torch.float64),
    )


def random_motion(
    shape_yx: tuple[int, int],
    frames: int,
    dose_per_frame_e_per_ang2: float,
    generator: torch.Generator,
    *,
    drift_px: float,
    local_px: float,
) -> SpecimenMotion:
    """Draw the motion of one exposure.

    drift_px: length of the whole-frame path from the first frame to the last (straight-line, px): a
    burst that dies out within some 5 e⁻/Å², a steady stage drift, and slow vibration on top.
    local_px: greatest length of the local field anywhere over frames and positions (px); each of its
    waves decays with dose at its own rate, as beam-induced motion does (Brilot et al. 2012,
    J. Struct. Biol. 177, 630).
    """
    if frames < 1:
        raise ValueError(f"frames must be at least 1, got {frames}")
    if drift_px < 0 or local_px < 0:
        raise ValueError(f"drift_px and local_px must not be negative, got {drift_px} and {local_px}")
    dose = (torch.arange(frames, dtype=torch.float64)) * dose_per_frame_e_per_ang2
    waves = 6
    direction = 2 * math.pi * _uniform(waves, generator)
    cycles = 0.45 + 0.65 * _uniform(waves, generator)
    heading = 2 * math.pi * _uniform(waves, generator)
    strength = 0.5 + 0.5 * _uniform(waves, generator)
    decay_e_per_ang2 = 2 + 10 * _uniform(waves, generator)
    motion = SpecimenMotion(
        shape_yx,
        _drift(dose, drift_px, generator),
        1 - torch.exp(-dose[:, None] / decay_e_per_ang2),
        torch.stack([strength * torch.cos(heading), strength * torch.sin(heading)], dim=1),
        torch.stack([cycles * torch.cos(direction), cycles * torch.sin(direction)], dim=1),
        2 * math.pi * _uniform(waves, generator),
    )
    return _scale_local(motion, local_px)


def source_grid(motion: SpecimenMotion, frame: int) -> "SourceGrid":
    """Where each pixel of a frame comes from, once whole-frame drift has been applied.

    With r = p + g(t) the drifted specimen, the pixel q = r + l(r − g) shows the point r. That fixed
    point is solved to 1e-9 px on a grid that reaches beyond the frame and joined by cubic splines
    (error below 1e-3 px for fields of a few pixels with up to two cycles across the frame).
    """
    axes = [_node_positions(size) for size in motion.shape_yx]
    y_q, x_q = torch.meshgrid(*axes, indexing="ij")
    drift_x, drift_y = motion.global_t2[frame].tolist()
    offset = torch.zeros(*y_q.shape, 2, dtype=torch.float64)
    for _ in range(60):
        update = -motion.local_at(frame, y_q + offset[..., 1] - drift_y, x_q + offset[..., 0] - drift_x)
        step = float((update - offset).abs().max())
        offset = update
        if step < 1e-9:
            return SourceGrid(motion.shape_yx, offset)
    raise ValueError(f"the local motion of frame {frame} folds the specimen onto itself; make it smaller or smoother")


@dataclass(frozen=True)
class SourceGrid:
    """Offsets r(q) − q in px on the node grid of `source_grid`, last axis (x, y)."""

    shape_yx: tuple[int, int]
    offset_yx2: Tensor

    def bands(self, rows_per_band: int) -> Iterator[tuple[int, Float[Tensor, "rows x"], Float[Tensor, "rows x"]]]:
        """Yield (first row, y, x): the source positions (px) of one band of pixel rows after the other."""
        height, width = self.shape_yx
        basis_y, basis_x = (spline_basis(size, _node_positions(size)).to(torch.float32) for size in (height, width))
        along_x = [self.offset_yx2[..., axis].to(torch.float32) @ basis_x.T for axis in (0, 1)]
        x_index = torch.arange(width, dtype=torch.float32)
        for first in range(0, height, rows_per_band):
            rows = basis_y[first : first + rows_per_band]
            y_index = torch.arange(first, first + len(rows), dtype=torch.float32)[:, None]
            yield first, rows @ along_x[1] + y_index, rows @ along_x[0] + x_index


def spline_basis(size: int, nodes_m: Float[Tensor, "m"]) -> Float[Tensor, "size m"]:
    """Matrix that turns values at evenly spaced nodes into their natural cubic spline at pixels 0 … size−1."""
    count = len(nodes_m)
    position = (torch.arange(size, dtype=torch.float64) - nodes_m[0]) / (nodes_m[1] - nodes_m[0])
    cell = position.floor().clamp(0, count - 2).to(torch.int64)
    f = (position - cell)[:, None]
    g = 1 - f
    # Curvatures from values: m[i−1] + 4 m[i] + m[i+1] = 6 · second difference, none at the ends.
    system = torch.eye(count, dtype=torch.float64)
    difference = torch.zeros(count, count, dtype=torch.float64)
    inner = torch.arange(1, count - 1)
    system[inner, inner - 1], system[inner, inner], system[inner, inner + 1] = 1.0, 4.0, 1.0
    difference[inner, inner - 1], difference[inner, inner], difference[inner, inner + 1] = 6.0, -12.0, 6.0
    curvature = torch.linalg.solve(system, difference)
    identity = torch.eye(count, dtype=torch.float64)
    linear: Tensor = g * identity[cell] + f * identity[cell + 1]
    bend: Tensor = ((g**3 - g) * curvature[cell] + (f**3 - f) * curvature[cell + 1]) / 6
    return linear + bend


def _node_positions(size: int) -> Tensor:
    """61 nodes, six of them beyond each end, where the spline's free ends do no harm inside the frame."""
    inner = 48
    spacing = max(size - 1, inner) / inner
    return spacing * torch.arange(-6, inner + 7, dtype=torch.float64)


def _uniform(count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator, dtype=torch.float64)


def _drift(dose_e_per_ang2: Tensor, drift_px: float, generator: torch.Generator) -> Tensor:
    """Whole-frame path (t, 2) px, zero in frame 0, ending drift_px away."""
    frames = len(dose_e_per_ang2)
    if frames == 1 or drift_px == 0:
        return torch.zeros(frames, 2, dtype=torch.float64)
    fraction = torch.arange(frames, dtype=torch.float64) / (frames - 1)
    burst = 1 - torch.exp(-dose_e_per_ang2 / 5.0)
    angles = 2 * math.pi * _uniform(2, generator)
    path = 0.6 * burst[:, None] / burst[-1] * torch.stack([angles[0].cos(), angles[0].sin()])
    # The stage drifts within 60° of the burst, so that the two never cancel.
    stage = angles[0] + (angles[1] - math.pi) / 3
    path = path + 0.4 * fraction[:, None] * torch.stack([stage.cos(), stage.sin()])
    for cycles in (1.5, 2.5):
        wobble = 0.03 * torch.randn(2, generator=generator, dtype=torch.float64)
        path = path + torch.sin(2 * math.pi * cycles * fraction)[:, None] * wobble
    path = path - path[0]
    return path * (drift_px / float(path[-1].norm()))


def _scale_local(motion: SpecimenMotion, local_px: float) -> SpecimenMotion:
    """Scale the local field so that its greatest length is local_px."""
    without_drift = SpecimenMotion(
        motion.shape_yx,
        torch.zeros_like(motion.global_t2),
        motion.time_tm,
        motion.amplitude_m2,
        motion.wave_vector_m2,
        motion.phase_rad_m,
    )
    peak = float(without_drift.on_grid(33, 33).norm(dim=-1).max())
    scale = local_px / peak if peak > 0 else 0.0
    return SpecimenMotion(
        motion.shape_yx,
        motion.global_t2,
        motion.time_tm,
        motion.amplitude_m2 * scale,
        motion.wave_vector_m2,
        motion.phase_rad_m,
    )
