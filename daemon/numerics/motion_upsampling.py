"""Motion that was estimated on one grid, applied on one that is finer by a whole number.

A pixel of the coarser grid is times × times pixels of the finer one: its centre, c, lies at times·c + (times − 1)/2.
"""

from dataclasses import replace

from jaxtyping import Bool
from torch import Tensor

from daemon.numerics.motion_field import LocalField, MotionEstimate, grid_axis


def refine_grid(estimate: MotionEstimate, times: int) -> MotionEstimate:
    """The same motion in pixels that are smaller by a whole number. Raises ValueError unless times ≥ 1."""
    if times < 1:
        raise ValueError(f"a grid is made finer by a whole number, got {times}")
    if times == 1:
        return estimate
    shape_yx = (times * estimate.shape_yx[0], times * estimate.shape_yx[1])
    local = estimate.local
    if local is not None:
        rows, columns = local.grid_tyx2.shape[1:3]
        y, x = (
            (grid_axis(size, nodes) - (times - 1) / 2) / times
            for size, nodes in zip(shape_yx, (rows, columns), strict=True)
        )
        grid_tyx2 = local.grid_tyx2.new_empty(local.grid_tyx2.shape)
        for frame in range(local.frame_count):
            grid_tyx2[frame] = times * local.on_axes(frame, y, x)
        local = LocalField(grid_tyx2, shape_yx)
    return replace(
        estimate,
        shape_yx=shape_yx,
        global_t2=times * estimate.global_t2,
        local=local,
        expected_error_px=times * estimate.expected_error_px,
        residual_t_px=times * estimate.residual_t_px,
    )


def repeat_pixels(mask_yx: Bool[Tensor, "y x"], times: int) -> Bool[Tensor, "ny nx"]:
    """A map of pixels on a grid finer by a whole number."""
    return mask_yx if times == 1 else mask_yx.repeat_interleave(times, 0).repeat_interleave(times, 1)
