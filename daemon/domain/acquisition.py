"""How the microscope took the data. Å, kV, mm (Cs), e⁻/Å²; defocus positive = underfocus."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

Flip = Literal["none", "x", "y"]
Rotation = Literal[0, 90, 180, 270]


@dataclass(frozen=True)
class CameraReference:
    """Where an image of the camera itself lies (a dark, a map of defects), and how it is turned to fit the frames.

    `rotate_deg` (clockwise, row 0 on top) and then `flip` act after the rule of the file's own format (TIFF rows are
    flipped, others are not).
    """

    path: Path
    flip: Flip = "none"
    rotate_deg: Rotation = 0


@dataclass(frozen=True)
class GainReference(CameraReference):
    """Where the gain is and how it applies.

    `operation` auto: multiply, except an MRC gain for EER. `orientation` auto: how it lies, and whether it divides, is
    found from the session's movies; the other fields hold what was found, and what is configured as long as nothing is.
    """

    operation: Literal["multiply", "divide", "auto"] = "auto"
    orientation: Literal["as_is", "auto"] = "as_is"


@dataclass(frozen=True)
class EerFractions:
    """How the hardware frames of an EER movie become the frames we align.

    By count, or where `dose_per_fraction_e_per_ang2` is given, by dose; `hardware_frames_each` is what a dose comes
    to for one movie, None until that movie's total dose and number of hardware frames are known.
    """

    fractions: int = 40
    upsampling: Literal[1, 2, 4] = 1
    dose_per_fraction_e_per_ang2: float | None = None
    hardware_frames_each: int | None = None

    def frames_each(self, hardware_frames: int) -> int:
        """Return how many hardware frames a fraction sums: floor(hardware_frames / fractions), or what a dose asks."""
        return min(self.hardware_frames_each or max(1, hardware_frames // self.fractions), hardware_frames)

    def for_movie(self, hardware_frames: int, total_dose_e_per_ang2: float | None) -> "EerFractions":
        """Return it with a dose turned into hardware frames: as near as whole frames come, at least one."""
        dose = self.dose_per_fraction_e_per_ang2
        if dose is None or total_dose_e_per_ang2 is None:
            return self
        each = round(hardware_frames * dose / total_dose_e_per_ang2)
        return replace(self, hardware_frames_each=min(max(1, each), hardware_frames))


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
    dark: CameraReference | None = None
    defects: CameraReference | None = None
    movie_pattern: str | None = None
    motion_binning: Literal[1, 2, 4] = 1
    """How many times larger the pixels of aligned micrographs are than the movie's."""
    eer: EerFractions = field(default_factory=EerFractions)
    optics_group: int = 1
    """Images of one number were taken alike; the session decides it when a movie is whole."""

    @property
    def micrograph_pixel_size_ang(self) -> float | None:
        """Pixel size of the aligned micrograph, None when that of the movie is not known."""
        return None if self.pixel_size_ang is None else self.pixel_size_ang * self.motion_binning

    def dose_per_frame(self, frame_count: int) -> float | None:
        """Dose of one aligned frame in e⁻/Å², or None when neither it nor the total dose is known."""
        if self.dose_per_frame_e_per_ang2 is not None:
            return self.dose_per_frame_e_per_ang2
        if self.total_dose_e_per_ang2 is not None and frame_count > 0:
            return self.total_dose_e_per_ang2 / frame_count
        return None
