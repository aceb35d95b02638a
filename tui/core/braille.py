"""Curves drawn with braille characters: two by four dots to a cell."""

from collections.abc import Iterable, Sequence

from tui.core.states import Tone

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bits of the dots of a cell: left column downwards, right column downwards."""
_BLANK = 0x2800

Range = tuple[float, float]


def range_of(values: Iterable[float | None], *, margin: float = 0.05) -> Range:
    """Return the range that shows all values, with some room; never an empty one."""
    known = [value for value in values if value is not None]
    if not known:
        return 0.0, 1.0
    low, high = min(known), max(known)
    room = (high - low) * margin or max(abs(high), 1.0) * margin
    return low - room, high + room


class BraillePlot:
    """A drawing of so many cells; x runs over columns, y upwards. Where two curves share a cell the later one wins."""

    def __init__(self, columns: int, rows: int, x_range: Range, y_range: Range) -> None:
        self.columns, self.rows = max(1, columns), max(1, rows)
        self._x, self._y = x_range, y_range
        self._bits = [[0] * self.columns for _ in range(self.rows)]
        self._tones: list[list[Tone]] = [["plain"] * self.columns for _ in range(self.rows)]
        self._signs: dict[tuple[int, int], str] = {}

    def curve(self, x: Sequence[float | None], y: Sequence[float | None], tone: Tone) -> None:
        """Draw a line through points; it has a gap where one is not known."""
        before: tuple[int, int] | None = None
        for point in zip(x, y, strict=True):
            now = self._place(*point)
            if now is not None:
                for dot in _line(before or now, now):
                    self._set(dot, tone)
            before = now

    def vertical(self, x: float, tone: Tone) -> None:
        """Draw a dotted line from top to bottom."""
        place = self._place(x, self._y[0])
        if place is not None:
            for down in range(0, self.rows * 4, 2):
                self._set((place[0], down), tone)

    def sign(self, x: float, y: float, character: str, tone: Tone) -> None:
        """Put a character where a point is."""
        place = self._place(x, y)
        if place is not None:
            cell = place[1] // 4, place[0] // 2
            if cell[0] < self.rows and cell[1] < self.columns:
                self._signs[cell] = character
                self._tones[cell[0]][cell[1]] = tone

    def lines(self) -> list[list[tuple[str, Tone]]]:
        """Return the drawing, each line as pieces of one tone."""
        drawn = []
        for row in range(self.rows):
            pieces: list[tuple[str, Tone]] = []
            for column in range(self.columns):
                bits, tone = self._bits[row][column], self._tones[row][column]
                character = self._signs.get((row, column)) or (chr(_BLANK + bits) if bits else " ")
                if pieces and pieces[-1][1] == tone:
                    pieces[-1] = (pieces[-1][0] + character, tone)
                else:
                    pieces.append((character, tone))
            drawn.append(pieces)
        return drawn

    def _place(self, x: float | None, y: float | None) -> tuple[int, int] | None:
        """Return the dot of a point, from the upper left; None where it lies outside."""
        if x is None or y is None:
            return None
        across = (x - self._x[0]) / (self._x[1] - self._x[0])
        up = (y - self._y[0]) / (self._y[1] - self._y[0])
        if not (0 <= across <= 1 and 0 <= up <= 1):
            return None
        return round(across * (self.columns * 2 - 1)), round((1 - up) * (self.rows * 4 - 1))

    def _set(self, dot: tuple[int, int], tone: Tone) -> None:
        column, row = dot[0] // 2, dot[1] // 4
        self._bits[row][column] |= _DOTS[dot[0] % 2][dot[1] % 4]
        self._tones[row][column] = tone


def _line(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the dots between two, both included."""
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    return [
        (
            start[0] + round((end[0] - start[0]) * step / steps),
            start[1] + round((end[1] - start[1]) * step / steps),
        )
        for step in range(steps + 1)
    ]
