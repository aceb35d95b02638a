"""What else a camera leaves beside its gain: a dark to subtract, and a list of pixels that nobody should believe."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.formats.atomic import write_atomically
from daemon.formats.mrc_writer import write_mrc

DARK_PATH = "gains/dark.mrc"
DEFECTS_PATH = "defects/defects.txt"
"""Where the files lie, relative to the session's raw directory."""

_LARGEST_DARK = 2
_BAD_COLUMN_WIDTH_PX = 2
_BAD_BLOCK_PX = 6


@dataclass(frozen=True)
class CameraFaults:
    """Counts that the camera adds to each pixel of a stored frame, and rectangles (x, y, width, height) it ruins."""

    dark_yx: npt.NDArray[np.uint8]
    rectangles: tuple[tuple[int, int, int, int], ...]

    def add_dark(self, frame_yx: npt.NDArray[Any], largest: int) -> npt.NDArray[np.uint8]:
        """Return a frame of counts with the dark in it, saturating at `largest`."""
        counts_yx: npt.NDArray[np.uint8] = np.minimum(frame_yx.astype(np.uint16) + self.dark_yx, largest).astype(
            np.uint8
        )
        return counts_yx.astype(np.uint8)

    def ruin(self, frame_yx: npt.NDArray[Any], value: int) -> None:
        """Let the defective rectangles read `value`."""
        for x_px, y_px, width_px, height_px in self.rectangles:
            frame_yx[y_px : y_px + height_px, x_px : x_px + width_px] = value

    def write(self, directory: Path, pixel_size_ang: float) -> None:
        """Write both files into a raw directory. Raises FileNotWritten."""
        dark_yx = self.dark_yx.astype(np.float32)
        lines = ["# x y width height", *(" ".join(map(str, rectangle)) for rectangle in self.rectangles)]
        text = "\n".join(lines) + "\n"
        write_atomically(directory / DARK_PATH, lambda path: write_mrc(path, dark_yx, pixel_size_ang=pixel_size_ang))
        write_atomically(directory / DEFECTS_PATH, lambda path: _write_text(path, text))


def draw_faults(shape_yx: tuple[int, int], seed: int) -> CameraFaults:
    """Draw a dark of 0 to 2 counts a pixel, a ruined pair of columns and a ruined block."""
    rng = np.random.default_rng(seed)
    height_px, width_px = shape_yx
    dark_yx = rng.integers(0, _LARGEST_DARK + 1, shape_yx, dtype=np.uint8)
    column = int(rng.integers(0, width_px - _BAD_COLUMN_WIDTH_PX))
    left, top = (int(rng.integers(0, side - _BAD_BLOCK_PX)) for side in (width_px, height_px))
    return CameraFaults(
        dark_yx, ((column, 0, _BAD_COLUMN_WIDTH_PX, height_px), (left, top, _BAD_BLOCK_PX, _BAD_BLOCK_PX))
    )


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
