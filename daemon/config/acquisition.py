"""The `acquisition` keys, the same in config.toml and in session.json's block of that name."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from daemon.domain.acquisition import CameraReference, EerFractions, GainReference


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ReferenceSettings(_Block):
    """An image of the camera; its path alone says the same as a table with only a path."""

    path: Path = Field(
        examples=["gains/gain.mrc"], description="The file; a relative path starts at the session's raw directory."
    )
    rotate_deg: Literal[0, 90, 180, 270] = Field(
        default=0, description="Turn it clockwise by this, after the flip that its own format implies."
    )
    flip: Literal["none", "x", "y"] = Field(
        default="none", description="Then mirror it: x swaps left and right, y turns it upside down."
    )

    @model_validator(mode="before")
    @classmethod
    def _accept_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, (str, Path)) else value

    def reference(self, path: Path) -> CameraReference:
        """Return it for the pipeline, with its path resolved to `path`."""
        return CameraReference(path, self.flip, self.rotate_deg)


class GainSettings(ReferenceSettings):
    """The gain reference of the camera: MRC, TIFF, DM4, DM3 or .gain."""

    operation: Literal["multiply", "divide", "auto"] = Field(
        default="auto", description="How it applies; auto multiplies, except an MRC gain for EER movies, which divides."
    )
    orientation: Literal["as_is", "auto"] = Field(
        default="as_is",
        description="auto finds from the first movies how the gain lies and whether it multiplies or divides; until "
        "that is certain, rotate_deg, flip and operation hold. as_is only warns when the movies contradict them.",
    )

    def reference(self, path: Path) -> GainReference:
        """Return it for the pipeline, with its path resolved to `path`."""
        return GainReference(path, self.flip, self.rotate_deg, self.operation, self.orientation)


class DarkSettings(ReferenceSettings):
    """The dark reference of the camera: counts per stored frame without a beam, subtracted before the gain."""

    path: Path = Field(
        examples=["gains/dark.mrc"], description="The file; a relative path starts at the session's raw directory."
    )


class DefectSettings(ReferenceSettings):
    """Defective pixels of the camera: lines of x y width height, or a map whose non-zero pixels are defective."""

    path: Path = Field(
        examples=["defects/defects.txt"], description="The file; a relative path starts at the session's raw directory."
    )


class EerSettings(_Block):
    """How the hardware frames of EER movies become the frames that are aligned: by count or by dose."""

    fractions: int | None = Field(
        default=None,
        ge=1,
        le=10000,
        examples=[40],
        description="Number of frames to make of all hardware frames; 40 where no dose is given either.",
    )
    dose_per_fraction_e_per_ang2: float | None = Field(
        default=None,
        gt=0,
        le=1000,
        examples=[1.0],
        description="Exposure that each frame is to have, instead of fractions; needs the movie's total dose.",
    )
    upsampling: Literal[1, 2, 4] = Field(default=1, description="Grid finer than the detector's pixels by this factor.")

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if self.fractions is not None and self.dose_per_fraction_e_per_ang2 is not None:
            raise ValueError("give fractions or dose_per_fraction_e_per_ang2, not both")
        return self

    def fractionation(self) -> EerFractions:
        """Return it for the pipeline."""
        unset = EerFractions()
        return EerFractions(self.fractions or unset.fractions, self.upsampling, self.dose_per_fraction_e_per_ang2)


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
        default=None, ge=0, lt=1, examples=[0.1], description="Fraction of the contrast that is amplitude contrast."
    )
    pixel_size_ang: float | None = Field(
        default=None, ge=0.05, le=10000, examples=[0.83], description="Size of a stored pixel at the specimen."
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
    motion_binning: Literal[1, 2, 4] | None = Field(
        default=None,
        examples=[2],
        description="Pixels of aligned micrographs are larger than the movie's by this factor, cut in Fourier space; "
        "2 for super-resolution movies. Unset: 1.",
    )
    gain: GainSettings | None = Field(default=None, description="Unset: the movies are taken as gain-corrected.")
    dark: DarkSettings | None = Field(default=None, description="Unset: no dark is subtracted.")
    defects: DefectSettings | None = Field(
        default=None, description="Unset: only defects that the movies themselves and the gain show are repaired."
    )
    eer: EerSettings | None = Field(default=None, description="Unset: 40 fractions, no up-sampling.")
