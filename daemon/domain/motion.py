"""Specimen motion of one movie, in unbinned pixels of the sum.

A specimen point at p in the reference frame is seen at p + d(p, t) in frame t; d is stored. What
RELION calls shift is the correction, −d (daemon.exchange.relion.motion changes the sign).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

NOT_RELIED_ON = "the motion found is not to be relied on"
"""How a remark about motion begins that should not be believed; why follows."""


@dataclass(frozen=True)
class MotionField:
    """Whole-frame motion plus a local field sampled on a regular grid that reaches the edges.

    global_t2: (frames, 2) px, columns (x, y).
    local_tyx2: (frames, grid rows, grid columns, 2) px, columns (x, y), to be added to the global
    motion; None when only whole-frame motion is believed. Grid node (i, j) lies at
    y = i·(height−1)/(rows−1), x = j·(width−1)/(columns−1); cubic interpolation between nodes.
    """

    width_px: int
    height_px: int
    global_t2: npt.NDArray[np.float64]
    local_tyx2: npt.NDArray[np.float64] | None
