"""How the motion of a movie is sought: apart from the search, so that defaults are known without torch."""

import math
from dataclasses import dataclass

FILTERED_VOLTAGES_KV = (80.0, 400.0)
"""Accelerating voltages for which the exposure filter is known."""
TOO_SMALL = "the image is too small for local motion"
"""How the reason begins when there is no local field because there cannot be one."""
TOO_UNSURE = "an error of"
"""How the doubt begins that is about nothing but the size of the error to be expected."""


@dataclass(frozen=True)
class MotionOptions:
    """How motion is sought.

    patches_yx: rows and columns of patches, None for as many as are `patch_ang` wide; local: whether local motion is
    sought at all; resolution_limit_ang: finest detail compared; b_factor_ang2: damping of the first correlation;
    largest_shift_ang: farthest a frame is looked for from the others' mean, but for frames that jumped;
    most_frames: longer movies are seen in this many groups of frames and their path interpolated.
    """

    local: bool = True
    patches_yx: tuple[int, int] | None = None
    patch_ang: float = 300.0
    resolution_limit_ang: float = 4.0
    b_factor_ang2: float = 500.0
    largest_shift_ang: float = 100.0
    most_frames: int = 64
    iterations: int = 8

    def __post_init__(self) -> None:
        for name in ("patch_ang", "resolution_limit_ang", "largest_shift_ang"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not self.b_factor_ang2 >= 0:
            raise ValueError(f"b_factor_ang2 can't be negative, got {self.b_factor_ang2}")
        if self.most_frames < 8 or self.iterations < 1:
            raise ValueError(f"at least 8 groups and 1 iteration are needed, got {self.most_frames}, {self.iterations}")
        if self.patches_yx is not None and min(self.patches_yx) < 2:
            raise ValueError(f"patches_yx must be at least 2×2 (or local=False), got {self.patches_yx}")
