"""Where the microscope's stage stood while an image was taken."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StagePosition:
    """Tilt about the holder's axis, and the place on the grid where that is known."""

    alpha_deg: float
    place_um: tuple[float, float] | None = None
