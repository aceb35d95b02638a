"""The picture of a movie's motion: y as rows go, and tracks as much magnified as it says."""

import numpy as np
import pytest

from daemon.domain.motion import MotionField
from daemon.formats.drawing import Axes, Box, Canvas
from daemon.formats.motion_plot import draw_motion_plot, magnify_tracks

ORANGE = (230, 159, 0)


def field_of(local_px: float, *, path_y_px: float = 0.0) -> MotionField:
    """Every node moves along +x by as much, beside a path along y."""
    local = np.zeros((2, 5, 5, 2))
    local[1, ..., 0] = local_px
    return MotionField(2000, 1000, np.array([[0.0, 0.0], [0.0, path_y_px]]), local)


def test_y_grows_downwards_where_it_is_asked_for() -> None:
    box, x, y = Box(0, 0, 100, 50), (0.0, 10.0), (-2.0, 2.0)
    down, up = Axes(Canvas(100, 50), box, x, y, is_downward=True), Axes(Canvas(100, 50), box, x, y)
    assert (down.place(5.0, 2.0), up.place(5.0, 2.0)) == ((50.0, 50.0), (50.0, 0.0))
    assert (down.place(5.0, -2.0), up.place(5.0, -2.0)) == ((50.0, 0.0), (50.0, 50.0))


def test_a_movement_towards_higher_rows_is_drawn_downwards() -> None:
    picture = draw_motion_plot("x", field_of(0.0, path_y_px=5.0), 1.0, "", "").astype(int)
    left = picture[84:484, 90:490]
    (first, *_), _ = np.nonzero((left[..., 0] > 180) & (left[..., 2] < 60))  # the first frame, in vermilion
    (*_, last), _ = np.nonzero((left[..., 2] > 150) & (left[..., 0] < 60))  # the path, in blue
    assert first < 60
    assert last > 340


@pytest.mark.parametrize(("local_px", "times"), [(0.6, 300), (6.0, 30), (180.0, 1), (0.0, 100_000)])
def test_tracks_are_magnified_by_a_round_number(local_px: float, times: int) -> None:
    """Cells are 250 px high: the longest track takes at most three quarters of that."""
    assert magnify_tracks(field_of(local_px)) == times


def test_tracks_are_as_long_as_the_words_say() -> None:
    field = field_of(1.5)
    picture = draw_motion_plot("x", field, 1.0, "", "").astype(int)
    is_track = np.abs(picture - np.array(ORANGE)).sum(axis=-1) < 40
    row = int(is_track.sum(axis=1).argmax())
    # Five tracks side by side, 400 px of picture for 2000 of the image.
    drawn_px = is_track[row].sum() / 5
    assert drawn_px == pytest.approx(1.5 * magnify_tracks(field) * 400 / 2000, rel=0.1)
