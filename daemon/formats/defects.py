"""Files that name defective pixels of a camera.

A map is an image of any kind that `camera_image` reads: pixels that are not zero are defective. Any
other file is read as MotionCor's text: a line "x y width height" for each rectangle, in pixels of the
frames as `movie` returns them, counted from 0; what follows a # is a remark. Both are turned as
`camera_image` says.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from daemon.domain.acquisition import CameraReference, EerFractions
from daemon.domain.movie import MovieFormat, MovieHeader
from daemon.errors import DefectsUnsuitable
from daemon.formats.byte_source import ByteSource
from daemon.formats.camera_image import (
    DM_SUFFIXES,
    EER_GAIN_SUFFIX,
    MRC_SUFFIXES,
    TIFF_SUFFIXES,
    read_camera_image,
    repeat_pixels,
    turn_image,
)

_MAP_SUFFIXES = MRC_SUFFIXES | TIFF_SUFFIXES | DM_SUFFIXES | {EER_GAIN_SUFFIX}
_LONGEST_TEXT_BYTES = 16 << 20
_LARGEST_SHARE = 0.5


def read_defects(
    reference: CameraReference, movie: MovieHeader, *, eer: EerFractions | None = None
) -> npt.NDArray[np.bool_]:
    """Return which pixels (y, x) are defective, in the orientation and size of the movie's frames.

    `eer` gives the up-sampling of an EER movie; None means none. Raises DefectsUnsuitable (shape, broken
    lines, most of the camera defective), and what reading its format raises.
    """
    if reference.path.suffix.lower() in _MAP_SUFFIXES:
        defects_yx = read_camera_image(reference, movie, DefectsUnsuitable) != 0
    else:
        is_turned = reference.rotate_deg in {90, 270}
        shape_yx = movie.shape_yx[::-1] if is_turned else movie.shape_yx
        defects_yx = turn_image(_read_rectangles(reference.path, shape_yx), reference)
    share = float(defects_yx.mean())
    if share > _LARGEST_SHARE:
        raise DefectsUnsuitable(
            reference.path, f"it calls {share:.0%} of the pixels defective; in a map, zero means a good pixel"
        )
    times = eer.upsampling if eer is not None and movie.format is MovieFormat.EER else 1
    return np.ascontiguousarray(repeat_pixels(defects_yx, times))


def _read_rectangles(path: Path, shape_yx: tuple[int, int]) -> npt.NDArray[np.bool_]:
    with ByteSource(path) as source:
        if source.size_bytes > _LONGEST_TEXT_BYTES:
            raise DefectsUnsuitable(path, f"{source.size_bytes} bytes are too many for a list of rectangles")
        raw = source.read_at(0, source.size_bytes)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DefectsUnsuitable(path, "it is neither a map (MRC, TIFF, DM4) nor text") from error
    height_px, width_px = shape_yx
    defects_yx = np.zeros(shape_yx, dtype=np.bool_)
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        x_px, y_px, columns, rows = _read_rectangle(path, number, words)
        if x_px + columns > width_px or y_px + rows > height_px:
            raise DefectsUnsuitable(
                path,
                f"line {number} names columns {x_px} to {x_px + columns - 1} and rows {y_px} to {y_px + rows - 1}, "
                f"the frames are {width_px} × {height_px} px (width × height)",
            )
        defects_yx[y_px : y_px + rows, x_px : x_px + columns] = True
    return defects_yx


def _read_rectangle(path: Path, number: int, words: list[str]) -> list[int]:
    rectangle = [int(word) for word in words if word.isascii() and word.isdigit() and len(word) < 10]
    if len(rectangle) != 4 or len(words) != 4 or 0 in rectangle[2:]:
        raise DefectsUnsuitable(
            path, f"line {number} ({' '.join(words)[:60]!r}) is not four whole numbers: x, y, width, height"
        )
    return rectangle
