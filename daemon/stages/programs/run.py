"""Runs the program that does a step's work: words to the task's log, signs of life, its identity, its pictures."""

import hashlib
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from daemon.errors import FileUnreadable, FormatError, ProgramFailed
from daemon.exchange.programs import find_program, run_program
from daemon.formats.mrc import read_mrc
from daemon.pipeline.context import StageContext
from daemon.stages.programs.parameters import ProgramParams


@dataclass(frozen=True)
class ProgramIdentity:
    """Which file ran: a program that was replaced is another one, whatever it calls itself."""

    path: str
    sha256: str


@dataclass(frozen=True)
class ProgramRun:
    """A program has ended well."""

    identity: ProgramIdentity
    lines: list[str]


def run_step_program(
    arguments: Sequence[str], folder: Path, params: ProgramParams, context: StageContext, *, answers: str = ""
) -> ProgramRun:
    """Run it in `folder`. Raises ProgramFailed, TaskCancelled.

    While it runs its seconds are the step's progress: a step that waits for a program is not stuck, and the time limit
    ends a program that is.
    """
    identity = identify_program(arguments[0])
    command = f"runs {shlex.join([identity.path, *arguments[1:]])}"
    context.log.info(command)
    begin_s, told_s = time.monotonic(), -1

    def look() -> None:
        nonlocal told_s
        context.check_cancelled()
        passed_s = int(time.monotonic() - begin_s)
        if passed_s != told_s:
            told_s = passed_s
            context.progress(passed_s, max(int(params.program_time_limit_s), passed_s), "s of the time limit")

    look()
    lines = run_program(
        arguments,
        folder=folder,
        answers=answers,
        time_limit_s=params.program_time_limit_s,
        on_line=context.log.info,
        check_cancelled=look,
    )
    context.progress(1, 1, "program")
    return ProgramRun(identity, lines)


def identify_program(name: str) -> ProgramIdentity:
    """Return the path and digest of a program. Raises ProgramFailed where it is not there."""
    path = find_program(name).resolve()
    try:
        status = path.stat()
        return ProgramIdentity(str(path), _digest(path, status.st_size, status.st_mtime_ns))
    except OSError as error:
        raise ProgramFailed(name, f"cannot be read: {error.strerror}") from error


def read_result_image(path: Path, program: str, shape_yx: tuple[int, int] | None) -> npt.NDArray[np.float32]:
    """Read an image that a program left. Raises ProgramFailed where it is missing, no image, or not of this shape."""
    if not path.is_file():
        raise ProgramFailed(program, f"left no {path.name}")
    try:
        image_yx = read_mrc(path)
    except (FormatError, FileUnreadable) as error:
        raise ProgramFailed(program, f"left a {path.name} that is no whole MRC image") from error
    if image_yx.ndim == 3 and len(image_yx) == 1:
        image_yx = image_yx[0]
    if image_yx.ndim != 2 or (shape_yx is not None and image_yx.shape != shape_yx):
        found = " × ".join(str(size) for size in reversed(image_yx.shape))
        wanted = "" if shape_yx is None else f", the movie's frames have {shape_yx[1]} × {shape_yx[0]}"
        raise ProgramFailed(
            program, f"left a {path.name} of {found} px{wanted}", hint="The command must not bin or crop."
        )
    pixels_yx = image_yx.astype(np.float32)
    if not np.isfinite(pixels_yx).all():
        raise ProgramFailed(program, f"left a {path.name} with pixels that are no numbers")
    return pixels_yx


@lru_cache(maxsize=8)
def _digest(path: Path, size_bytes: int, mtime_ns: int) -> str:
    """Digest of a program, read again only when it has changed."""
    del size_bytes, mtime_ns
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
