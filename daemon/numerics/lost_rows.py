"""Rows that one frame of a movie lacks, as after a transfer that lost some of its strips."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Bool, Num
from torch import Tensor

_STEP_Y_PX, _STEP_X_PX = 8, 4
"""One row of eight is looked at, in one column of four: empty by chance only where hardly anything is counted."""
_LEAST_SHARE = 0.05
_SIGNIFICANCE_SIGMA = 8.0


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
