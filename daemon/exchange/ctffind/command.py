"""CTFFIND's command and the answers to the questions it asks on its standard input.

The order of questions is that of the interactive programs, version 4.1 and version 5, for one micrograph (an MRC image
with a single section, of which nobody asks whether it is a movie). Å, kV, mm; phase shifts in radians, as it asks.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from daemon.exchange.relion.ctf import CtfOptics

CTFFIND_TEMPLATE = ("ctffind", "--omp-num-threads", "{threads}")
CTFFIND_PLACEHOLDERS = ("threads", "micrograph", "diagnostic")
"""What a template may name. The paths are typed as answers too: they are for those who wrap the program."""


@dataclass(frozen=True)
class CtffindFiles:
    """What is read, and the spectrum (MRC) that is written; the text lies beside it."""

    micrograph: Path
    diagnostic: Path

    @property
    def text(self) -> Path:
        """Where the program writes its numbers."""
        return self.diagnostic.with_suffix(".txt")

    @property
    def averages(self) -> Path:
        """Where the program writes its rotational averages."""
        return self.diagnostic.with_name(f"{self.diagnostic.stem}_avrot.txt")


@dataclass(frozen=True)
class CtffindSearch:
    """What the program is to look for. Only version 5 can be asked for the tilt."""

    box_px: int = 512
    lowest_resolution_ang: float = 30.0
    highest_resolution_ang: float = 5.0
    lowest_defocus_ang: float = 5000.0
    highest_defocus_ang: float = 50_000.0
    defocus_step_ang: float = 100.0
    fit_phase: bool = False
    determine_tilt: bool = False


def ctffind_answers(files: CtffindFiles, optics: CtfOptics, search: CtffindSearch, *, version: Literal[4, 5]) -> str:
    """Return the text for the program's standard input. Raises ValueError for paths that an answer can't hold."""
    for path in (files.micrograph, files.diagnostic):
        if any(character in str(path) for character in "\n\r\0"):
            raise ValueError(f"{str(path)!r} can't be given as one answer")
    numbers = (
        optics.micrograph_pixel_size_ang,
        optics.voltage_kv,
        optics.spherical_aberration_mm,
        optics.amplitude_contrast,
        search.box_px,
        search.lowest_resolution_ang,
        search.highest_resolution_ang,
        search.lowest_defocus_ang,
        search.highest_defocus_ang,
        search.defocus_step_ang,
    )
    answers = [str(files.micrograph), str(files.diagnostic), *(f"{number:.10g}" for number in numbers)]
    # Astigmatism known? Slower, exhaustive search? Restrain astigmatism?
    answers += ["no", "no", "no"]
    answers += ["yes", "0", f"{math.pi:.4f}", "0.5"] if search.fit_phase else ["no"]
    if version == 5:
        # Sample tilt? Sample thickness?
        answers += ["yes" if search.determine_tilt else "no", "no"]
    # Expert options?
    answers.append("no")
    return "\n".join(answers) + "\n"
