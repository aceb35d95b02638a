"""What names tell of tilt series and diffraction: that a movie belongs to one, to which, and at what angle."""

import re
from pathlib import PurePosixPath

TILT_SERIES = "belongs to a tilt series"
DIFFRACTION = "belongs to a diffraction data set"

_LARGEST_ANGLE_DEG = 85.0

_ANGLE = r"(?P<angle>[+-]?(?:0|[1-9]\d?)\.\d{1,2})"
# TS_01_012_-36.0, s_mmm_01013_33.0_Oct08_07.46.46: a counter, then the angle.
_COUNTED = re.compile(rf"^(?P<sequence>.*?)[_-]\d{{2,5}}_{_ANGLE}(?=_|$)")
# TS_01[-36.00]-12: the angle in brackets.
_BRACKETED = re.compile(rf"^(?P<sequence>.*?)[_-]?(?:\d{{2,5}})?\[{_ANGLE}\]")
# Tomography 5: Position_3_012_-36.00_20240311_101500_EER.
_TOMOGRAPHY = re.compile(r"^(?P<position>Position_\d+(?:_\d+)?)_\d{3}_[+-]?\d{1,2}\.\d{1,2}_\d{8}_\d{6}(?:_|$)")
_SERIES_FOLDER = re.compile(r"(?:^|[_\- .])tilt[_\- ]?series(?:$|[_\- .\d])", re.IGNORECASE)
_DIFFRACTION_FOLDER = re.compile(r"(?:^|[_\- .])(?:diffraction|micro-?ed|epu-?d)(?:$|[_\- .\d])", re.IGNORECASE)
# What stands behind the counter of a movie: when it was written, and what it holds.
_WRITTEN_AT = re.compile(r"_\d{8}_\d{6}(?:_.*)?$")
_NUMBER = re.compile(r"\d")
_COUNTER = re.compile(r"[_-]\d+(?:[_-]?(?:frames|fractions|eer))?$", re.IGNORECASE)


def recognise(relative: str) -> str:
    """Say why the movie at this path (relative to the raw directory) is none of single particles; empty when it is."""
    path = PurePosixPath(relative)
    if _TOMOGRAPHY.match(path.stem) or any(_SERIES_FOLDER.search(folder) for folder in path.parts[:-1]):
        return TILT_SERIES
    return DIFFRACTION if any(_DIFFRACTION_FOLDER.search(folder) for folder in path.parts[:-1]) else ""


def read_angle(relative: str) -> tuple[str, float] | None:
    """Return the sequence that a movie belongs to by its name, and its tilt in degrees; None without an angle."""
    path = PurePosixPath(relative)
    found = _COUNTED.match(path.stem) or _BRACKETED.match(path.stem)
    if found is None or abs(float(found["angle"])) > _LARGEST_ANGLE_DEG:
        return None
    return f"{path.parent}/{found['sequence']}", float(found["angle"])


def name_series(relative: str) -> str:
    """Return what the names of all movies of one series share, as far as names tell one series from the next."""
    path = PurePosixPath(relative)
    position, bracketed, angle = _TOMOGRAPHY.match(path.stem), _BRACKETED.match(path.stem), read_angle(relative)
    if position is not None:
        return f"{path.parent}/{position['position']}"
    if bracketed is not None:
        before = path.stem.partition("[")[0]
        shorter = _COUNTER.sub("", before)
        # TS_01_012[-36.0]: a number of the series and one of the tilt; TS_01[-36.0]: the former alone.
        return f"{path.parent}/{shorter if _NUMBER.search(shorter) else before}"
    return angle[0] if angle is not None else f"{path.parent}/{_COUNTER.sub('', _WRITTEN_AT.sub('', path.stem))}"
