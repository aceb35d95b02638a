"""How far results are from the truth of a simulated movie."""

import numpy as np
import numpy.typing as npt
from scipy.interpolate import RectBivariateSpline

from daemon.domain.motion import MotionField
from daemon.simulator.truth import TrueMovie


def motion_error_px(field: MotionField, truth: TrueMovie) -> float:
    """Return the time-centred 2-D RMS error of an estimated motion over the whole field, in pixels.

    The reference frame of an estimate is arbitrary: at each point the mean over time is removed from
    the difference (docs/conventions.md). Raises ValueError when the numbers of frames differ.
    """
    rows, columns = truth.motion_tyx2.shape[1:3]
    estimate = total_motion(field, rows, columns)
    if estimate.shape != truth.motion_tyx2.shape:
        raise ValueError(f"{estimate.shape[0]} frames were estimated, {truth.frame_count} are true")
    difference = estimate - truth.motion_tyx2
    difference -= difference.mean(axis=0, keepdims=True)
    return float(np.sqrt(np.mean(np.sum(difference**2, axis=-1))))


def total_motion(field: MotionField, rows: int, columns: int) -> npt.NDArray[np.float64]:
    """Return global plus local motion (frames, rows, columns, 2) px on a grid that reaches the edges."""
    motion = np.broadcast_to(field.global_t2[:, None, None, :], (len(field.global_t2), rows, columns, 2)).copy()
    if field.local_tyx2 is not None:
        known_rows, known_columns = field.local_tyx2.shape[1:3]
        at_y, at_x = np.linspace(0, 1, rows), np.linspace(0, 1, columns)
        known_y, known_x = np.linspace(0, 1, known_rows), np.linspace(0, 1, known_columns)
        for frame, axis in np.ndindex(len(motion), 2):
            spline = RectBivariateSpline(known_y, known_x, field.local_tyx2[frame, :, :, axis])
            motion[frame, :, :, axis] += spline(at_y, at_x)
    return motion


def drift_ang(truth: TrueMovie, pixel_size_ang: float) -> float:
    """Return the true length of the path of the whole frame, in Å."""
    centre_t2 = truth.motion_tyx2.mean(axis=(1, 2))
    return float(np.linalg.norm(np.diff(centre_t2, axis=0), axis=1).sum() * pixel_size_ang)
