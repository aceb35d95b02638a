"""The canvas: pixels where they should be, ticks that are round, the same bytes every time."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.formats.drawing import BLACK, BLUE, GREEN, VERMILION, WHITE, Axes, Box, Canvas, add_label, ticks


@settings(deadline=None, max_examples=100)
@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e5))
def test_ticks_are_few_round_and_inside(low: float, width: float) -> None:
    found = ticks(low, low + width)
    values = [value for value, _ in found]
    assert 2 <= len(values) <= 8
    assert all(low - 1e-6 * width <= value <= low + width * (1 + 1e-6) for value in values)
    steps = {round((after - before) / width, 6) for before, after in itertools.pairwise(values)}
    assert len(steps) == 1
    assert all(float(words) == pytest.approx(value, abs=1e-6 * width) for value, words in found)


def test_lines_boxes_dots_and_images_land_where_they_are_put() -> None:
    canvas = Canvas(100, 60)
    canvas.line([(10, 30), (90, 30)], BLUE, width_px=4)
    canvas.rectangle(Box(5, 5, 10, 10), fill=VERMILION)
    canvas.dot(80, 10, GREEN, radius_px=5)
    canvas.image(np.full((4, 4), 77, dtype=np.uint8), Box(40, 40, 16, 16))
    pixels = canvas.pixels()
    assert pixels.shape == (60, 100, 3)
    assert pixels.dtype == np.uint8
    assert tuple(pixels[30, 50]) == BLUE
    assert tuple(pixels[10, 10]) == VERMILION
    assert tuple(pixels[10, 80]) == GREEN
    assert tuple(pixels[48, 48]) == (77, 77, 77)
    assert tuple(pixels[55, 5]) == WHITE


def ink(words: str, **how: object) -> np.ndarray:
    canvas = Canvas(200, 40)
    canvas.text(100, 20, words, size_px=20, **how)  # type: ignore[arg-type]
    return np.flatnonzero((canvas.pixels() < 128).any(axis=(0, 2)))


def test_text_is_aligned_about_its_point() -> None:
    left, centre, right = ink("words"), ink("words", align="centre"), ink("words", align="right")
    assert left.min() >= 100
    assert right.max() <= 100
    assert abs(float(centre.min() + centre.max()) / 2 - 100) < 4


@pytest.mark.parametrize(("letter", "base"), [("Å", "A"), ("µ", "u")])
def test_letters_of_this_field_are_built_on_plain_ones(letter: str, base: str) -> None:
    def draw(words: str) -> np.ndarray:
        canvas = Canvas(60, 60)
        canvas.text(20, 30, words, size_px=30)
        return canvas.pixels()

    assert int((draw(letter) < 128).sum()) > int((draw(base) < 128).sum())
    assert bool((draw(letter) <= draw(base).astype(int) + 1).all())


def test_superscripts_are_smaller_and_higher() -> None:
    def rows(words: str) -> np.ndarray:
        canvas = Canvas(60, 60)
        canvas.text(20, 30, words, size_px=30)
        return np.flatnonzero((canvas.pixels() < 128).any(axis=(1, 2)))

    assert rows("²").max() < rows("2").max() - 4
    assert len(rows("²")) < len(rows("2"))


def test_axes_place_by_scale_and_hold_curves_inside() -> None:
    canvas = Canvas(200, 200)
    axes = Axes(canvas, Box(50, 20, 100, 100), (0.0, 10.0), (-1.0, 1.0))
    assert axes.place(0, -1) == (50, 120)
    assert axes.place(10, 1) == (150, 20)
    assert axes.place(5, 0) == (100, 70)
    assert axes.place(99, 99) == (150, 20)
    axes.curve(np.array([0.0, 10.0]), np.array([0.0, 0.0]), BLACK, width_px=3)
    axes.vertical(20.0, VERMILION)
    pixels = canvas.pixels()
    assert tuple(pixels[70, 100]) == BLACK
    assert not (pixels == VERMILION).all(axis=2).any()


def test_gaps_are_left_where_a_value_is_missing() -> None:
    canvas = Canvas(200, 200)
    axes = Axes(canvas, Box(0, 0, 200, 200), (0.0, 4.0), (0.0, 1.0))
    axes.curve(np.arange(5.0), np.array([0.5, 0.5, np.nan, 0.5, 0.5]), BLACK, width_px=4)
    pixels = canvas.pixels()
    assert tuple(pixels[100, 25]) == BLACK
    assert tuple(pixels[100, 100]) == WHITE
    assert tuple(pixels[100, 175]) == BLACK


def test_axes_without_extent_are_refused() -> None:
    with pytest.raises(ValueError, match="growing"):
        Axes(Canvas(10, 10), Box(0, 0, 5, 5), (1.0, 1.0), (0.0, 1.0))


def test_same_calls_give_the_same_pixels() -> None:
    def draw() -> bytes:
        canvas = Canvas(300, 200)
        Axes(canvas, Box(60, 20, 200, 120), (0.0, 0.3), (-0.5, 1.0)).frame("spatial frequency, 1/Å", "agreement")
        canvas.text(20, 20, "1.2 µm", size_px=15, is_vertical=True)
        return canvas.pixels().tobytes()

    assert draw() == draw()


@pytest.mark.parametrize("height_px", [64, 1024, 4096])
def test_a_label_covers_a_corner_and_nothing_else(height_px: int) -> None:
    grey_yx = np.full((height_px, height_px), 77, np.uint8)
    labelled_yx = add_label(grey_yx, "edge 2.8 Å")
    assert labelled_yx.shape == grey_yx.shape
    rows, columns = np.nonzero(labelled_yx != 77)
    assert rows.min() >= height_px - max(70, height_px // 30)
    assert columns.max() < max(64, height_px // 5)
    assert labelled_yx.min() < 40
    assert labelled_yx.max() == 255
    assert (grey_yx == 77).all()
