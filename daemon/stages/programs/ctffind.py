"""CTF estimation by a CTFFIND, version 4.1 or 5, that the site has installed: its numbers and its curves."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from daemon.errors import FormatError, ProgramFailed
from daemon.exchange.command_template import Value, fill_template
from daemon.exchange.ctffind.command import CtffindFiles, CtffindSearch, ctffind_answers
from daemon.exchange.ctffind.text import CtffindResult, read_ctffind_text
from daemon.exchange.relion.ctf import CtfOptics
from daemon.exchange.scratch import open_scratch
from daemon.formats.mrc_writer import write_mrc
from daemon.formats.rotational_average import read_rotational_average
from daemon.pipeline.context import Array, StageContext
from daemon.stages.programs.parameters import ProgramParams
from daemon.stages.programs.run import ProgramIdentity, run_step_program

_AVERAGE_ROWS = 6
_BOX_IMAGES = 64
"""Room for what the program writes beside the micrograph, in spectra of its box."""


@dataclass(frozen=True)
class ProgramCtf:
    """What the program found, the text of its rotational averages, and which program it was."""

    result: CtffindResult
    averages: str
    identity: ProgramIdentity


def find_ctf_with_program(
    micrograph_yx: Array,
    optics: CtfOptics,
    search: CtffindSearch,
    version: Literal[4, 5],
    params: ProgramParams,
    context: StageContext,
) -> ProgramCtf:
    """Hand the micrograph over, type the answers, read the numbers. Raises ProgramFailed also for a useless result."""
    program = params.command[0]
    needed_bytes = 4 * (micrograph_yx.size + _BOX_IMAGES * search.box_px**2)
    with open_scratch(params.scratch_folder, needed_bytes, program) as folder:
        files = CtffindFiles(folder / "micrograph.mrc", folder / "spectrum.mrc")
        write_mrc(files.micrograph, micrograph_yx.astype(np.float32), pixel_size_ang=optics.micrograph_pixel_size_ang)
        values: dict[str, Value] = {
            "threads": context.device.threads,
            "micrograph": str(files.micrograph),
            "diagnostic": str(files.diagnostic),
        }
        answers = ctffind_answers(files, optics, search, version=version)
        ran = run_step_program(fill_template(params.command, values), folder, params, context, answers=answers)
        return ProgramCtf(_read_numbers(files, program), _read_averages(files, program), ran.identity)


def _read_numbers(files: CtffindFiles, program: str) -> CtffindResult:
    if not files.text.is_file():
        raise ProgramFailed(program, f"left no {files.text.name}", hint="Is ctffind_version that of the program?")
    try:
        found = read_ctffind_text(files.text.read_text(encoding="utf-8", errors="replace"))
    except ValueError as error:
        raise ProgramFailed(program, f"left a {files.text.name} that can't be used: {error}") from error
    if found.ctf.mean_defocus_ang <= 0:
        raise ProgramFailed(program, f"found an overfocus of {-found.ctf.mean_defocus_ang:.0f} Å, which was not asked")
    return found


def _read_averages(files: CtffindFiles, program: str) -> str:
    path = files.averages
    if not path.is_file():
        raise ProgramFailed(program, f"left no {path.name}")
    try:
        rows = read_rotational_average(path)
    except (FormatError, UnicodeDecodeError) as error:
        raise ProgramFailed(program, f"left a {path.name} that is no table of rotational averages") from error
    if len(rows) != _AVERAGE_ROWS:
        raise ProgramFailed(program, f"left a {path.name} of {len(rows)} rows where {_AVERAGE_ROWS} are known")
    return path.read_text(encoding="utf-8")
