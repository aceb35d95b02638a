"""The `acquisition` keys, the same in config.toml and in session.json's block of that name."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from daemon.domain.acquisition import EerFractions, GainReference


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class GainSettings(_Block):
    """The gain reference of the camera."""

    path: Path = Field(
        examples=["gains/gain.mrc"], description="The file; a relative path starts at the session's raw directory."
    )
    rotate_deg: Literal[0, 90, 180, 270] = Field(
        default=0, description="Turn it clockwise by this, after the flip that its own format implies."
    )
    flip: Literal["none", "x", "y"] = Field(
        default="none", description="Then mirror it: x swaps left and right, y turns it upside down."
    )
    operation: Literal["multiply", "divide", "auto"] = Field(
        default="auto", description="How it applies; auto multiplies, except an MRC gain for EER movies, which divides."
    )

    def reference(self, path: Path) -> GainReference:
        """Return it for the pipeline, with its path resolved to `path`."""
        return GainReference(path, self.flip, self.rotate_deg, self.operation)


class EerSettings(_Block):
    """How the hardware frames of EER movies become the frames that are aligned."""

    fractions: int = Field(default=40, ge=1, le=10000, description="Number of frames to make of all hardware frames.")
    upsampling: Literal[1, 2, 4] = Field(default=1, description="Grid finer than the detector's pixels by this factor.")

    def fractionation(self) -> EerFractions:
        """Return it for the pipeline."""
        return EerFractions(self.fractions, self.upsampling)


def _check_range(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError("the lower end must come first")
    return value


Defocus = Annotated[float, Field(ge=-50, le=50)]


class AcquisitionSettings(_Block):
    """How the microscope took the data. Unset means unknown here: the next source is asked."""

    voltage_kv: float | None = Field(
        default=None, ge=20, le=3000, examples=[300.0], description="Accelerating voltage."
    )
    spherical_aberration_mm: float | None = Field(
        default=None, ge=0, le=20, examples=[2.7], description="Spherical aberration (Cs) of the objective lens."
    )
    amplitude_contrast: float | None = Field(
        default=None, ge=0, le=1, examples=[0.1], description="Fraction of the contrast that is amplitude contrast."
    )
    pixel_size_ang: float | None = Field(
        default=None, gt=0, le=10000, examples=[0.83], description="Size of a stored pixel at the specimen."
    )
    dose_per_frame_e_per_ang2: float | None = Field(
        default=None,
        gt=0,
        le=1000,
        examples=[1.25],
        description="Exposure of one frame (EER: of one fraction). Give this or total_dose_e_per_ang2.",
    )
    total_dose_e_per_ang2: float | None = Field(
        default=None, gt=0, le=100000, examples=[50.0], description="Exposure of the whole movie."
    )
    magnification: int | None = Field(
        default=None, ge=1, le=10000000, examples=[105000], description="Nominal magnification, for the records."
    )
    defocus_range_um: Annotated[tuple[Defocus, Defocus], AfterValidator(_check_range)] | None = Field(
        default=None,
        examples=[[0.8, 2.5]],
        description="Lowest and highest defocus to expect; positive is underfocus.",
    )
    phase_plate: bool | None = Field(
        default=None, examples=[False], description="Whether a phase plate was used: its phase shift is then fitted."
    )
    movie_pattern: str | None = Field(
        default=None,
        min_length=1,
        max_length=255,
        examples=["*_fractions.tiff"],
        description="Which files of this session are movies, instead of [watch] pattern.",
    )
    gain: GainSettings | None = Field(default=None, description="Unset: the movies are taken as gain-corrected.")
    eer: EerSettings | None = Field(default=None, description="Unset: 40 fractions, no up-sampling.")
