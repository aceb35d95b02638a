"""truth.json: what every simulated movie really shows, in a file that grows movie by movie.

Lengths in Å, pixels unbinned with (0, 0) at the centre of the first pixel, angles in degrees; motion
d(p, t): a specimen point at p in frame 0 is seen at p + d in frame t.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.errors import FileNotWritten, FileUnreadable, FormatError
from daemon.formats.atomic import write_atomically

SCHEMA = 1
GRID_NODES = 13
"""Nodes of the motion grid along each axis; it reaches the centres of the corner pixels."""

_END = "\n]}\n"


@dataclass(frozen=True)
class TrueMovie:
    """The truth about one movie. The optics are None where a real micrograph was replayed.

    motion_tyx2: (frames, rows, columns, 2) px, last axis (x, y), on a grid reaching the corner pixels.
    particles_n2: particle centres (x, y) in px of frame 0.
    """

    name: str
    file: str
    format: str
    seed: int
    width_px: int
    height_px: int
    stored_frames: int
    dose_per_frame_e_per_ang2: float
    motion_tyx2: npt.NDArray[np.float64]
    particles_n2: npt.NDArray[np.float64]
    defocus_u_ang: float | None = None
    defocus_v_ang: float | None = None
    astigmatism_angle_deg: float | None = None
    phase_shift_deg: float | None = None

    @property
    def frame_count(self) -> int:
        """Frames that motion is given for; an EER movie stores several hardware frames to each."""
        return int(self.motion_tyx2.shape[0])


class TruthFile:
    """A truth.json being written: valid JSON after every movie, however many there are."""

    def __init__(self, path: Path, session: Mapping[str, Any]) -> None:
        """Start the file with facts about the whole session. Raises FileNotWritten."""
        self._path = path
        self._is_empty = True
        head = json.dumps({"schema": SCHEMA, **session}, ensure_ascii=False, indent=1)
        text = head.removesuffix("\n}") + ',\n "movies": [' + _END
        write_atomically(path, lambda temporary: _write_text(temporary, text))

    def append(self, movie: TrueMovie) -> None:
        """Add one movie. Raises FileNotWritten."""
        text = ("\n" if self._is_empty else ",\n") + json.dumps(_to_json(movie), ensure_ascii=False) + _END
        try:
            with self._path.open("r+b") as file:
                file.seek(-len(_END), 2)
                file.write(text.encode())
        except OSError as error:
            raise FileNotWritten(self._path, error) from error
        self._is_empty = False


def read_truth(path: Path) -> tuple[Mapping[str, Any], dict[str, TrueMovie]]:
    """Read truth.json: the session's facts, and the movies by name. Raises FileUnreadable, FormatError."""
    try:
        document = json.loads(path.read_bytes())
        movies = {entry["name"]: _from_json(entry) for entry in document.pop("movies")}
    except OSError as error:
        raise FileUnreadable(path, error) from error
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(path, f"not a truth.json: {error}") from error
    return document, movies


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _to_json(movie: TrueMovie) -> dict[str, Any]:
    entry = {key: value for key, value in vars(movie).items() if not isinstance(value, np.ndarray)}
    # A ten-thousandth of a pixel is far below what any estimate can reach.
    entry["motion_tyx2"] = np.round(movie.motion_tyx2, 4).tolist()
    entry["particles_n2"] = np.round(movie.particles_n2, 2).tolist()
    return entry


def _from_json(entry: Mapping[str, Any]) -> TrueMovie:
    arrays = {
        "motion_tyx2": np.asarray(entry["motion_tyx2"], dtype=np.float64),
        "particles_n2": np.asarray(entry["particles_n2"], dtype=np.float64).reshape(-1, 2),
    }
    return TrueMovie(**{**entry, **arrays})
