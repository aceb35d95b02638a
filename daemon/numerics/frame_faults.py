"""What single frames of a movie lack: rows, as after a transfer that lost strips of them, or an image of their own."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Num
from torch import Tensor

_STEP_Y_PX, _STEP_X_PX = 8, 4
"""One row of eight is looked at, in one column of four: empty by chance only where hardly anything is counted."""
_LEAST_SHARE = 0.05
_SIGNIFICANCE_SIGMA = 8.0


# Pixels that are compared from frame to frame: one of so many. A frame is repeated where a twentieth of those that
# would differ in another frame do, or so few; and frames tell where so many would.
_COMPARED_Y_PX, _COMPARED_X_PX = 32, 16
_DIFFERENT_SHARE, _FEW_DIFFERENT, _LEAST_EXPECTED = 0.05, 2, 20


@dataclass(frozen=True)
class FrameFaults:
    """lost_rows: share of its rows that a frame lacks and others have; repeated: frames that hold the one before."""

    lost_rows: Mapping[int, float] = field(default_factory=dict)
    repeated: tuple[int, ...] = ()


class FrameWatch:
    """Looks at a few pixels of every raw frame, in any order, from several threads."""

    def __init__(self) -> None:
        self._empty: dict[int, Tensor] = {}
        self._compared: dict[int, Tensor] = {}

    def look(self, frame: int, raw_yx: Num[Tensor, "y x"]) -> None:
        """Remember what a frame is judged by."""
        self._empty[frame] = empty_rows(raw_yx)
        self._compared[frame] = raw_yx[::_COMPARED_Y_PX, ::_COMPARED_X_PX].clone()

    def conclude(self) -> FrameFaults:
        """What was wrong with the frames seen."""
        return FrameFaults(find_lost_rows(self._empty), find_repeated(self._compared))


def find_repeated(compared: Mapping[int, Num[Tensor, "r c"]]) -> tuple[int, ...]:
    """Frames that hold what the frame before them holds, but for a counter or a few dead pixels.

    compared: some pixels of each. Nothing is said of frames so empty that two of them may well be the same.
    """
    return tuple(
        frame
        for frame in sorted(compared)
        if frame - 1 in compared and _is_repeated(compared[frame], compared[frame - 1])
    )


def _is_repeated(one_rc: Tensor, other_rc: Tensor) -> bool:
    count = one_rc.numel()
    repeats = np.unique(one_rc.cpu().numpy(), return_counts=True)[1] / count
    # Of two frames whose pixels are drawn from these values.
    expected = count * (1 - float(np.square(repeats).sum()))
    different = int((one_rc != other_rc).sum())
    return expected >= _LEAST_EXPECTED and different <= max(_FEW_DIFFERENT, _DIFFERENT_SHARE * expected)


def empty_rows(raw_yx: Num[Tensor, "y x"]) -> Bool[Tensor, "r"]:
    """Whether rows of a raw frame, some of all, hold nothing but zeros."""
    return ~raw_yx[::_STEP_Y_PX, ::_STEP_X_PX].float().any(dim=1)


def find_lost_rows(empty: Mapping[int, Bool[Tensor, "r"]]) -> dict[int, float]:
    """Share of rows that are empty in a frame and not in most others, of those frames that lack a twentieth or more.

    empty: what `empty_rows` gave of each frame. Nothing is said where rows are empty by chance as often.
    """
    if len(empty) < 3:
        return {}
    frames = sorted(empty)
    empty_tr = torch.stack([empty[frame] for frame in frames]).cpu().numpy()
    lost_t = (empty_tr & (empty_tr.mean(axis=0) < 0.5)).mean(axis=1)
    chance = float(np.median(lost_t))
    limit = max(_LEAST_SHARE, _SIGNIFICANCE_SIGMA * math.sqrt(chance * (1 - chance) / empty_tr.shape[1]))
    return {frame: float(lost) for frame, lost in zip(frames, lost_t, strict=True) if lost - chance >= limit}
