"""What is drawn of a micrograph without a picture: its rings as curves, and the path of its motion."""

from collections.abc import Sequence

from daemon.messages.micrographs import RingCurves
from tui.core.braille import BraillePlot, range_of
from tui.core.states import Tone

Piece = tuple[str, Tone]


def draw_rings(curves: RingCurves | None, width: int, height: int) -> list[list[Piece]]:
    """Draw the rings as curves: measured, fitted as far as it is believed, and how well both agree."""
    if curves is None:
        return [[(" No rings were fitted.", "dim")]]
    frequency = curves.frequency_per_ang
    known = [value for value in frequency if value is not None]
    if height < 3 or not known:
        return []
    # Where the spectrum rises steeply at low frequency nothing could be seen of the rings.
    begin = len(frequency) // 12
    measured, fitted = curves.measured[begin:], curves.fitted[begin:]
    x_range = (known[min(begin, len(known) - 1)], known[-1])
    if x_range[0] >= x_range[1]:
        return []
    plot = BraillePlot(width - 2, height - 2, x_range, range_of([*measured, *fitted]))
    plot.curve(frequency[begin:], measured, "done")
    plot.curve(frequency[begin:], fitted, "warning")
    title: list[Piece] = [(" rings ", "dim"), ("─ measured", "done"), ("  ─ fitted", "warning")]
    left, right = f"{1 / x_range[0]:.1f} Å" if x_range[0] > 0 else "", f"{1 / x_range[1]:.1f} Å"
    scale = f" {left}{right:>{max(1, width - 2 - len(left))}}"
    return [title, *([(" ", "plain"), *line] for line in plot.lines()), [(scale, "dim")]]


def draw_path(path_ang: Sequence[tuple[float, float]], width: int, height: int) -> list[list[Piece]]:
    """Draw where the whole frame went, both axes to one scale, as in the image."""
    if not path_ang:
        return [[(" No motion is known.", "dim")]]
    if height < 3 or width < 6:
        return []
    columns, rows = width - 2, height - 2
    xs, ys = [x for x, _ in path_ang], [-y for _, y in path_ang]  # y of an image grows downwards
    middle = ((min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2)
    # A cell is twice as high as wide.
    per_column = max((max(xs) - min(xs)) / columns, (max(ys) - min(ys)) / (2 * rows), 0.01) * 1.1
    across, up = per_column * columns / 2, per_column * rows
    plot = BraillePlot(columns, rows, (middle[0] - across, middle[0] + across), (middle[1] - up, middle[1] + up))
    plot.curve(xs, ys, "done")
    plot.sign(xs[0], ys[0], "○", "warning")
    plot.sign(xs[-1], ys[-1], "●", "done")
    title: list[Piece] = [(" motion ", "dim"), ("○ first frame", "warning"), (" ● last", "done")]
    scale = f" {2 * across:.1f} Å across"
    return [title, *([(" ", "plain"), *line] for line in plot.lines()), [(scale, "dim")]]
