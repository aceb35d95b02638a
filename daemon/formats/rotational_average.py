"""Rotational averages as CTFFIND writes them (`*_avrot.txt`): comments, then each curve as one long row."""

from pathlib import Path

import numpy as np

from daemon.domain.ctf import CtfCurves, Curve
from daemon.errors import FileUnreadable, FormatError

_ROWS = (
    "spatial frequency, 1/Å",
    "average over rings, relative to the background",
    "average along equal phase (astigmatism undone), relative to the background",
    "fit, averaged likewise",
    "local correlation of the average along equal phase with the fit",
    "two standard deviations of that correlation for noise",
)


def write_rotational_average(path: Path, image_name: str, curves: CtfCurves | None) -> None:
    """Write six rows in CTFFIND's order, six significant digits; only the header where nothing was fitted.

    Powers are divided by the background, so that rings of all resolutions can be seen together. Raises OSError.
    """
    lines = [f"# Image: {image_name}", f"# Columns: {0 if curves is None else len(curves.frequency_per_ang)}"]
    lines += [f"# Row {number}: {meaning}" for number, meaning in enumerate(_ROWS, start=1)]
    if curves is not None:
        rows = (
            curves.frequency_per_ang,
            curves.measured / curves.background,
            curves.measured_equal_phase / curves.background,
            curves.fitted / curves.background,
            curves.quality,
            curves.quality_noise,
        )
        lines += [" ".join(f"{value:.6g}" for value in row.tolist()) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def read_rotational_average(path: Path) -> list[Curve]:
    """Read the rows, ours or CTFFIND's. Raises FileUnreadable, FormatError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [[float(word) for word in line.split()] for line in lines if line.strip() and not line.startswith("#")]
    except OSError as error:
        raise FileUnreadable(path, error) from error
    except ValueError as error:
        raise FormatError(path, f"not a table of rotational averages: {error}") from error
    if len({len(row) for row in rows}) > 1:
        raise FormatError(path, "rows of rotational averages differ in length")
    return [np.array(row, dtype=np.float64) for row in rows]
