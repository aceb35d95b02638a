"""Curves in braille, and pictures that are kept."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tui.core.album import Album
from tui.core.braille import BraillePlot, range_of

NUMBERS = st.floats(-1e6, 1e6) | st.none()


def text(plot: BraillePlot) -> list[str]:
    return ["".join(piece for piece, _ in line) for line in plot.lines()]


def test_a_line_goes_from_corner_to_corner() -> None:
    plot = BraillePlot(2, 1, (0, 1), (0, 1))
    plot.curve([0, 1], [0, 1], "done")
    assert text(plot) == ["⡠⠊"]
    assert plot.lines()[0] == [("⡠⠊", "done")]


def test_what_is_not_known_is_a_gap_and_what_lies_outside_is_left_out() -> None:
    plot = BraillePlot(3, 1, (0, 5), (0, 1))
    plot.curve([0, 1, 2, 3, 9], [0, None, 0, 0, 0], "plain")
    assert text(plot) == ["⡀⣀ "]


def test_signs_stand_over_lines_and_the_later_tone_wins() -> None:
    plot = BraillePlot(2, 1, (0, 1), (0, 1))
    plot.curve([0, 1], [0, 0], "done")
    plot.sign(1, 0, "●", "warning")
    assert plot.lines() == [[("⣀", "done"), ("●", "warning")]]


def test_a_vertical_line_is_dotted() -> None:
    plot = BraillePlot(1, 1, (0, 1), (0, 1))
    plot.vertical(0, "dim")
    assert text(plot) == ["⠅"]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=20), st.integers(1, 12), st.integers(1, 6))
def test_whatever_is_drawn_fits(points: list[tuple[float | None, float | None]], columns: int, rows: int) -> None:
    xs, ys = [x for x, _ in points], [y for _, y in points]
    x_range, y_range = range_of(xs), range_of(ys)
    assert x_range[0] < x_range[1]
    plot = BraillePlot(columns, rows, x_range, y_range)
    plot.curve(xs, ys, "plain")
    assert [len(line) for line in text(plot)] == [columns] * rows
    known = [point for point in points if None not in point]
    assert bool(known) == any(line.strip() for line in text(plot))


def test_an_album_forgets_what_was_not_looked_at_for_longest() -> None:
    album = Album(most_bytes=10)
    album.put("a", b"12345")
    album.put("b", b"1234")
    assert album.get("a") == b"12345"
    album.put("c", b"123")
    assert (album.get("b"), album.get("a"), album.size_bytes) == (None, b"12345", 8)
    album.put("c", b"1")
    assert album.size_bytes == 6
