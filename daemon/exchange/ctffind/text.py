"""CTFFIND's diagnostic text as domain CTF.

Comments start with #; one row for each micrograph: its number, defocus 1 and 2 (Å, underfocus positive), azimuth of
astigmatism (degrees, from +x towards +y), additional phase shift (radians), cross-correlation, and the spacing (Å) to
which rings were fitted, "inf" where they were not; version 5 adds tilt axis and tilt angle (degrees) and sample
thickness (Å). Its comments name the columns; RELION takes defocus and azimuth over as they are.
"""

import math
from dataclasses import dataclass

from daemon.domain.ctf import Ctf

_COLUMNS, _COLUMNS_WITH_TILT, _COLUMNS_WITH_THICKNESS = 7, 9, 10


@dataclass(frozen=True)
class CtffindResult:
    """The CTF, and what only version 5 tells (None otherwise, and where it was not asked for: it writes 0 then)."""

    ctf: Ctf
    tilt_axis_deg: float | None
    tilt_angle_deg: float | None
    thickness_ang: float | None


def read_ctffind_text(text: str) -> CtffindResult:
    """Return the result for the only micrograph. Raises ValueError where the text does not tell it."""
    rows = [line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if len(rows) != 1:
        raise ValueError(f"CTFFIND's text has {len(rows)} rows where one micrograph was fitted")
    if len(rows[0]) < _COLUMNS:
        raise ValueError(f"CTFFIND's row has {len(rows[0])} numbers, at least {_COLUMNS} are needed")
    try:
        _, one_ang, other_ang, azimuth_deg, phase_rad, score, spacing_ang, *extra = (float(word) for word in rows[0])
    except ValueError as error:
        raise ValueError(f"CTFFIND's row holds something else than numbers: {' '.join(rows[0])}") from error
    if not all(math.isfinite(value) for value in (one_ang, other_ang, azimuth_deg, phase_rad, score)):
        raise ValueError("CTFFIND found no CTF: its numbers are not finite")
    if other_ang > one_ang:
        one_ang, other_ang, azimuth_deg = other_ang, one_ang, azimuth_deg + 90
    ctf = Ctf(
        defocus_u_ang=one_ang,
        defocus_v_ang=other_ang,
        astigmatism_angle_deg=90 - (90 - azimuth_deg) % 180,
        phase_shift_deg=math.degrees(phase_rad) % 180,
        score=score,
        fit_resolution_ang=spacing_ang if math.isfinite(spacing_ang) and spacing_ang > 0 else None,
    )
    has_tilt = len(rows[0]) >= _COLUMNS_WITH_TILT and extra[1] != 0
    has_thickness = len(rows[0]) >= _COLUMNS_WITH_THICKNESS and extra[2] > 0
    return CtffindResult(
        ctf,
        extra[0] if has_tilt else None,
        extra[1] if has_tilt else None,
        extra[2] if has_thickness else None,
    )
