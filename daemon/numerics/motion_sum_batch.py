"""A few frames at once, on their way into sums along a local field: by compiled kernels, or by their torch twin.

Only the raw frames of a batch are held. Both correct, warp and mix them block by block; how an image is cut into
blocks changes no result.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from daemon.numerics.kernels import has_kernels, type_for_kernels
from daemon.numerics.motion_field import LocalField
from daemon.numerics.motion_plan import SumPlan
from daemon.numerics.parallel import map_in_order
from daemon.numerics.warp import (
    LARGEST_GROUP_PX,
    BandWarp,
    DisplacementNodes,
    Window,
    node_axis,
    pixels_per_group,
    weight_rows,
)

MARGIN_PX = 16
"""Sums reach this far beyond the image, all frames mirrored as they are: `whitening` sees no edge there."""
_BLOCK_ROWS, _BLOCK_COLUMNS = 256, 1024
_GPU_BLOCK_ROWS = 1024
"""So many rows of all frames of a batch keep a GPU busy; whole images would take a plane for each frame."""
_KERNEL_ROWS = 128


@dataclass(frozen=True)
class Displacements:
    """Displacements (x, y) px of frames at common nodes, whole-frame motion included, as far as sums reach.

    group_t: pixels that each frame's displacements may be taken as constant over.
    """

    y_px: Float[Tensor, "rows"]
    x_px: Float[Tensor, "columns"]
    displacement_tyx2: Float[Tensor, "t rows columns 2"]
    group_t: tuple[int, ...]

    @staticmethod
    def of(local: LocalField, global_t2: Float[Tensor, "t 2"], frames: Sequence[int]) -> "Displacements":
        """Displacements of these frames, in their order."""
        # Farther out the field is constant: the outermost cell, which goes on, has the same value at both nodes.
        y_px = node_axis(local.shape_yx[0], 2 * MARGIN_PX)
        x_px = node_axis(local.shape_yx[1], MARGIN_PX)

        def move(frame: int) -> tuple[Tensor, int]:
            moved_yx2 = (local.on_axes(frame, y_px, x_px) + global_t2[frame]).float()
            return moved_yx2, pixels_per_group(moved_yx2)

        moved, groups = zip(*map_in_order(move, frames, device=y_px.device), strict=True)
        return Displacements(y_px, x_px, torch.stack(moved), groups)

    def nodes(self, index: int, device: torch.device) -> DisplacementNodes:
        """Displacements of one frame, the index-th."""
        return DisplacementNodes(self.y_px, self.x_px, self.displacement_tyx2[index].to(device))


class Batch(Protocol):
    """Frames that are added to sums, band by band; bands do not touch one another."""

    @property
    def tops(self) -> range:
        """First rows of the bands."""
        ...

    def add(self, top: int) -> None:
        """Warp one band of all frames and mix it into the sums."""
        ...


@dataclass(frozen=True)
class Sums:
    """Sums that frames are added to, MARGIN_PX wider than the image all around.

    parts: plain sums of those parts of the frames that are in work. combined: one for each row of mixing_bt, by which
    frame t of all that are summed is multiplied. Each is contiguous; what it holds is overwritten by the first share.
    """

    parts: list[Float[Tensor, "y x"]]
    combined: list[Float[Tensor, "y x"]]
    mixing_bt: Float[Tensor, "b t"]

    @property
    def shape_yx(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.parts[0].shape[0]), int(self.parts[0].shape[1])


@dataclass(frozen=True)
class Share:
    """Frames that are summed at once: from `first` on in the plan, each of the part in planes[…] of `Sums.parts`.

    new_planes: those of parts that begin here; what they held is overwritten. The very first share overwrites the
    combined sums as well.
    """

    first: int
    frames: tuple[int, ...]
    planes: tuple[int, ...]
    new_planes: frozenset[int]

    @property
    def here(self) -> slice:
        """Where they stand among the frames of the plan."""
        return slice(self.first, self.first + len(self.frames))


def take_batch(plan: SumPlan, fields: Displacements, share: Share, sums: Sums) -> Batch:
    """Get hold of the frames of a share."""
    kind = CompiledBatch if has_kernels(plan.movie_tyx.device) else TorchBatch
    return kind(plan, fields, share, sums)


class TorchBatch:
    """The reference: on every device, a block at a time that suits the cache; on a GPU, one that keeps it busy."""

    def __init__(self, plan: SumPlan, fields: Displacements, share: Share, sums: Sums) -> None:
        self._device = plan.movie_tyx.device
        self._sums = sums
        parts, combined = len(sums.parts), len(sums.combined)
        is_of_pt = torch.tensor(share.planes)[None, :] == torch.arange(parts)[:, None]
        self._weights_qt = torch.cat([is_of_pt.float(), sums.mixing_bt[:, share.here]]).to(self._device)
        self._is_new_q = [plane in share.new_planes for plane in range(parts)] + combined * [share.first == 0]
        read = functools.partial(_window_of, plan)
        self._windows = list(map_in_order(read, share.frames, device=self._device))
        chosen = range(share.here.start, share.here.stop)
        self._nodes = [(fields.nodes(index, self._device), fields.group_t[index]) for index in chosen]
        is_cpu = self._device.type == "cpu"
        most = (_BLOCK_ROWS, _BLOCK_COLUMNS) if is_cpu else (_GPU_BLOCK_ROWS, sums.shape_yx[1])
        self._rows, self._columns = (_even_block(size, limit) for size, limit in zip(sums.shape_yx, most, strict=True))

    @property
    def tops(self) -> range:
        """First rows of the bands."""
        return range(0, self._sums.shape_yx[0], self._rows)

    def add(self, top: int) -> None:
        """Warp one band of all frames and mix it into the sums, block by block."""
        height, width = self._sums.shape_yx
        # Whole groups, but no whole block more than the image needs: the displacements are not known so far beyond.
        covered = LARGEST_GROUP_PX * math.ceil(width / LARGEST_GROUP_PX)
        origin_yx, shape_yx = (top - MARGIN_PX, -MARGIN_PX), (self._rows, covered)
        bands = [BandWarp(nodes, origin_yx, shape_yx, group_px=group_px) for nodes, group_px in self._nodes]
        totals = [*self._sums.parts, *self._sums.combined]
        for left in range(0, width, self._columns):
            size = min(self._columns, covered - left)
            warped_tyx = torch.empty(len(bands), self._rows, size, device=self._device)
            for index, band in enumerate(bands):
                warped_tyx[index] = band.block(self._windows[index], left - MARGIN_PX, size)
            mixed_qyx = (self._weights_qt @ warped_tyx.flatten(1)).view(-1, self._rows, size)
            rows, columns = min(self._rows, height - top), min(size, width - left)
            here = (slice(top, top + rows), slice(left, left + columns))
            for total_yx, mixed_yx, is_new in zip(totals, mixed_qyx, self._is_new_q, strict=True):
                if is_new:
                    total_yx[here] = 0
                total_yx[here] += mixed_yx[:rows, :columns]


class CompiledBatch:
    """On the CPU: raw frames as they are, and everything about them as the kernel wants it."""

    def __init__(self, plan: SumPlan, fields: Displacements, share: Share, sums: Sums) -> None:
        from daemon.numerics.kernels import frame_rows_cpu, warp_cpu  # noqa: PLC0415 - needs numba, which may not be there

        raw_tyx, chosen, repairs_td = _raw_frames(plan, share.frames)
        dark_yx, gain_yx, defect_rows, defects = plan.correction.references()
        corner = torch.tensor([float(fields.y_px[0]), float(fields.x_px[0])], dtype=torch.float64)
        camera = frame_rows_cpu.Camera(
            *plan.shape_yx, _flat(dark_yx), _flat(gain_yx), defect_rows.numpy(), defects.numpy()
        )
        motion = warp_cpu.Motion(
            fields.displacement_tyx2[share.here].numpy(),
            corner.numpy(),
            np.array(fields.group_t[share.here]),
            _flat(weight_rows()),
        )
        totals = warp_cpu.Totals(
            sums.shape_yx,
            -MARGIN_PX,
            _addresses(sums.parts),
            np.array(share.planes),
            np.array([plane in share.new_planes for plane in range(len(sums.parts))]),
            _addresses(sums.combined),
            sums.mixing_bt[:, share.here].T.contiguous().numpy(),
            share.first == 0,
        )
        self._sums = sums  # kernels know addresses only
        self._add = functools.partial(
            warp_cpu.add_band, _flat(raw_tyx), np.array(chosen), _flat(repairs_td), camera, motion, totals
        )

    @property
    def tops(self) -> range:
        """First rows of the bands."""
        return range(0, self._sums.shape_yx[0], _KERNEL_ROWS)

    def add(self, top: int) -> None:
        """Warp one band of all frames and mix it into the sums."""
        self._add(top, min(top + _KERNEL_ROWS, self._sums.shape_yx[0]))


def _addresses(planes: list[Tensor]) -> npt.NDArray[np.uint64]:
    """Where planes begin, which must be contiguous float32 of the host."""
    if any(not plane.is_contiguous() or plane.dtype != torch.float32 for plane in planes):
        raise ValueError("sums must be contiguous float32")
    return np.array([plane.data_ptr() for plane in planes], np.uint64)


def _flat(tensor: Tensor) -> npt.NDArray[Any]:
    """One dimension of the same memory."""
    flat: npt.NDArray[Any] = tensor.reshape(-1).numpy()
    return flat


def _raw_frames(plan: SumPlan, frames: tuple[int, ...]) -> tuple[Tensor, list[int], Tensor]:
    """Raw frames in one piece, which of them are wanted, and what stands in for their defects."""
    source = plan.movie_tyx
    dtype = type_for_kernels(source.dtype)
    if isinstance(source, Tensor) and source.dtype == dtype and source.is_contiguous():
        repairs = map_in_order(lambda frame: plan.correction.repairs(source[frame]), frames, device=source.device)
        return source, list(frames), torch.stack(list(repairs))
    raw_tyx = torch.empty(len(frames), *plan.shape_yx, dtype=dtype)

    def read(index: int) -> Tensor:
        raw_yx = source[frames[index]]
        raw_tyx[index] = raw_yx
        return plan.correction.repairs(raw_yx)

    repairs = map_in_order(read, range(len(frames)), device=source.device)
    repairs_td = torch.stack(list(repairs))
    return raw_tyx, list(range(len(frames))), repairs_td


def _window_of(plan: SumPlan, frame: int) -> Window:
    """Reader of corrected pixels of one frame."""
    raw_yx = plan.movie_tyx[frame]
    return functools.partial(plan.correction.window, raw_yx, plan.correction.repairs(raw_yx))


def _even_block(size: int, limit: int) -> int:
    """Side of blocks of whole groups, as even as can be, no longer than a limit by much."""
    groups = math.ceil(size / LARGEST_GROUP_PX)
    return LARGEST_GROUP_PX * math.ceil(groups / math.ceil(size / limit))
