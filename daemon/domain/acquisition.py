"""How the microscope took the data. Å, kV, mm (Cs), e⁻/Å²; defocus positive = underfocus."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class GainReference:
    """Where the gain is and how it applies.

    `rotate_deg` (clockwise, row 0 on top) and then `flip` act after the flip of the gain's own format (TIFF rows are
    flipped, MRC and `.gain` rows are not). `operation` auto: multiply, except an MRC gain for EER.
    """

    path: Path
    flip: Literal["none", "x", "y"] = "none"
    rotate_deg: Literal[0, 90, 180, 270] = 0
    operation: Literal["multiply", "divide", "auto"] = "auto"


@dataclass(frozen=True)
class EerFractions:
    """How the hardware frames of an EER movie become the frames we align."""

    fractions: int = 40
    upsampling: Literal[1, 2, 4] = 1


@dataclass(frozen=True)
class Acquisition:
    """Everything known about how a session or one image was taken; None means unknown."""

    voltage_kv: float | None = None
    spherical_aberration_mm: float | None = None
    amplitude_contrast: float | None = None
    pixel_size_ang: float | None = None
    dose_per_frame_e_per_ang2: float | None = None
    total_dose_e_per_ang2: float | None = None
    magnification: int | None = None
    defocus_range_um: tuple[float, float] | None = None
    phase_plate: bool = False
    gain: GainReference | None = None
    dark: Path | None = None
    defects: Path | None = None
    movie_pattern: str | None = None
    eer: EerFractions = field(default_factory=EerFractions)

    def dose_per_frame(self, frame_count: int) -> float | None:
        """Dose of one aligned frame in e⁻/Å², or None when neither it nor the total dose is known."""
        if self.dose_per_frame_e_per_ang2 is not None:
            return self.dose_per_frame_e_per_ang2
        if self.total_dose_e_per_ang2 is not None and frame_count > 0:
            return self.total_dose_e_per_ang2 / frame_count
        return None
