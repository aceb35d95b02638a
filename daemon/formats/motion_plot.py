"""The picture of a movie's motion: the path of the whole frame, and how its parts move beside it."""

import math
import textwrap

import numpy as np
import numpy.typing as npt

from daemon.domain.motion import MotionField
from daemon.formats.drawing import BLACK, BLUE, GREY, ORANGE, PALE, VERMILION, Axes, Box, Canvas

_WIDTH_PX, _HEIGHT_PX = 1100, 580
_PATH = Box(90, 84, 400, 400)
_LOCAL = Box(600, 84, 400, 400)
_LONGEST_TRACK_SHARE = 0.75
_SHORTEST_TRACK_PX = 0.001
_SMALLEST_SPAN_ANG = 2.0

_DOUBT_LETTERS, _DOUBT_LINES = 155, 2


def draw_motion_plot(
    image_name: str, field: MotionField, pixel_size_ang: float, words: str, doubt: str
) -> npt.NDArray[np.uint8]:
    """Draw the picture, uint8 (y, x, 3).

    words: the result in one line. doubt: why it is not to be trusted, or why no local motion is
    shown; else empty.
    """
    canvas = Canvas(_WIDTH_PX, _HEIGHT_PX)
    canvas.text(20, 22, image_name, size_px=17)
    canvas.text(20, 50, words, size_px=14)
    for line, part in enumerate(textwrap.wrap(doubt, _DOUBT_LETTERS)[:_DOUBT_LINES]):
        canvas.text(20, _HEIGHT_PX - 35 + 17 * line, part, size_px=14, colour=VERMILION)
    _draw_path(canvas, field.global_t2 * pixel_size_ang)
    _draw_local(canvas, field, pixel_size_ang)
    return canvas.pixels()


def _draw_path(canvas: Canvas, path_t2: npt.NDArray[np.float64]) -> None:
    centre = (path_t2.max(axis=0) + path_t2.min(axis=0)) / 2
    span = max(float(np.ptp(path_t2, axis=0).max()) * 1.15, _SMALLEST_SPAN_ANG)
    x_range = (float(centre[0] - span / 2), float(centre[0] + span / 2))
    y_range = (float(centre[1] - span / 2), float(centre[1] + span / 2))
    axes = Axes(canvas, _PATH, x_range, y_range, is_downward=True)
    axes.frame("x, Å", "y, Å, growing downwards as rows do")
    axes.curve(path_t2[:, 0], path_t2[:, 1], BLUE, width_px=2)
    for frame, (x, y) in enumerate(path_t2):
        at_x, at_y = axes.place(float(x), float(y))
        canvas.dot(at_x, at_y, VERMILION if frame == 0 else BLUE, radius_px=4.5 if frame == 0 else 2.5)
    canvas.text(
        _PATH.left_px, _PATH.top_px - 12, "how the specimen moved as a whole, first frame in orange", size_px=13
    )


def _draw_local(canvas: Canvas, field: MotionField, pixel_size_ang: float) -> None:
    width, height = _fit(field.width_px, field.height_px)
    left, top = _LOCAL.left_px + (_LOCAL.width_px - width) / 2, _LOCAL.top_px + (_LOCAL.height_px - height) / 2
    canvas.rectangle(Box(left, top, width, height), outline=BLACK, fill=(250, 250, 250))
    if field.local_tyx2 is None:
        canvas.text(left + width / 2, top + height / 2, "no local motion modelled", align="centre", colour=GREY)
        canvas.text(left, top - 36, "how its parts moved beside that", size_px=13)
        return
    rows, columns = field.local_tyx2.shape[1:3]
    tracks = field.local_tyx2 - field.local_tyx2[:1]
    longest_px = float(np.linalg.norm(tracks, axis=-1).max())
    magnification = magnify_tracks(field)
    magnified = magnification * width / field.width_px
    for row, column in np.ndindex(rows, columns):
        at = np.array([left + width * column / (columns - 1), top + height * row / (rows - 1)])
        points = [(float(x), float(y)) for x, y in at + tracks[:, row, column] * magnified]
        canvas.dot(float(at[0]), float(at[1]), PALE, radius_px=2.5)
        canvas.line(points, ORANGE, width_px=1.6)
    longest_ang = longest_px * pixel_size_ang
    words = f"how its parts moved beside that, {magnification:,} times magnified: at most {longest_ang:.2f} Å"
    canvas.text(left, top - 36, words, size_px=13)


def magnify_tracks(field: MotionField) -> int:
    """How many times longer tracks are drawn than the picture of the image itself would have them: a round number."""
    if field.local_tyx2 is None:
        return 1
    rows, columns = field.local_tyx2.shape[1:3]
    longest_px = float(np.linalg.norm(field.local_tyx2 - field.local_tyx2[:1], axis=-1).max())
    cell_px = min(field.width_px / max(columns - 1, 1), field.height_px / max(rows - 1, 1))
    most = _LONGEST_TRACK_SHARE * cell_px / max(longest_px, _SHORTEST_TRACK_PX)
    power = int(10 ** max(math.floor(math.log10(most)), 0))
    return max(int(most / power), 1) * power


def _fit(width_px: int, height_px: int) -> tuple[float, float]:
    scale = min(_LOCAL.width_px / width_px, _LOCAL.height_px / height_px)
    return width_px * scale, height_px * scale
