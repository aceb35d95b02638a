"""Parameters of a step whose work a program of another may do, installed by the site."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from daemon.exchange.command_template import check_template
from daemon.pipeline.stage import FILE_ONLY, StageParams


class ProgramParams(StageParams):
    """Who does the work of a step, and how a program of another is called."""

    placeholders: ClassVar[tuple[str, ...]] = ()
    """What `command` may name between braces."""

    backend: Literal["elcano", "program"] = Field(
        default="elcano",
        json_schema_extra=FILE_ONLY,
        description="Who does the work: Elcano itself, or the program that `command` starts. Only Elcano's own work "
        "gives the same bytes again.",
    )
    command: tuple[str, ...] = Field(
        default=(),
        json_schema_extra=FILE_ONLY,
        description="The program and its arguments, one item each, never through a shell; only this file may say it.",
    )
    program_time_limit_s: float = Field(
        default=900.0, gt=0, le=1700, description="The program is ended when it takes longer than this, s."
    )
    scratch_folder: Path | None = Field(
        default=None,
        examples=[Path("/scratch/elcano")],
        json_schema_extra=FILE_ONLY,
        description="Where the program works and leaves its files for us to take over: some times the size of a "
        "micrograph. Unset: the system's folder for temporary files.",
    )

    @field_validator("scratch_folder")
    @classmethod
    def _check_folder(cls, value: Path | None) -> Path | None:
        if value is not None and (not value.is_absolute() or "\0" in str(value)):
            raise ValueError("scratch_folder must be an absolute path")
        return value

    @field_validator("command")
    @classmethod
    def _check_command(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        check_template(value, cls.placeholders)
        return value

    @property
    def programs(self) -> tuple[str, ...]:
        """The program, where it is used."""
        return self.command[:1] if self.backend == "program" else ()
