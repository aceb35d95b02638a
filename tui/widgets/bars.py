"""Bars of counts by state: every state has its own character, so that they are told apart without colour."""

from tui.core.jobs import StepCount
from tui.core.states import Tone
from tui.widgets.tones import Piece

_PARTS: tuple[tuple[str, str, Tone], ...] = (
    ("done", "█", "done"),
    ("failed", "x", "failed"),
    ("skipped", "»", "skipped"),
    ("cancelled", "⊘", "cancelled"),
    ("running", "▒", "running"),
    ("waiting", "·", "waiting"),
)


def count_bar(count: StepCount, width: int) -> list[Piece]:
    """Return a bar of that width; whatever there is at all of a state gets at least one cell, as far as they go."""
    if not count.total:
        return [("·" * width, "dim")]
    numbers = [getattr(count, name) for name, _, _ in _PARTS]
    cells = _share(numbers, width)
    return [(sign * cell, tone) for (_, sign, tone), cell in zip(_PARTS, cells, strict=True) if cell]


def count_words(count: StepCount) -> list[Piece]:
    """Return the counts in words: those of which there are any, and of how many."""
    pieces: list[Piece] = [(f"{count.done}", "done"), (f" done of {count.total}", "plain")]
    for name, _, tone in _PARTS[1:]:
        number = getattr(count, name)
        if number:
            pieces += [(", ", "dim"), (f"{number} {name}", tone)]
    return pieces


def _share(numbers: list[int], width: int) -> list[int]:
    total = sum(numbers)
    cells = [max(1, number * width // total) if number else 0 for number in numbers]
    order = sorted(range(len(numbers)), key=lambda at: -numbers[at])
    while sum(cells) > width:
        largest = max(order, key=lambda at: cells[at])
        cells[largest] -= 1
    cells[order[0]] += width - sum(cells)
    return cells
