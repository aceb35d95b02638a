"""Tones as colours, for dark and light; from a palette that colour-blind people can tell apart (Okabe and Ito 2008)."""

from collections.abc import Iterable, Sequence
from functools import lru_cache

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

from tui.core.states import Shown, Tone

Piece = tuple[str, Tone]
"""Some text in one tone."""

_DARK: dict[Tone, str] = {
    "plain": "",
    "dim": "#8a8a8a",
    "strong": "bold",
    "done": "#56b4e9",
    "running": "#f0e442",
    "failed": "bold #ff7f50",
    "skipped": "#b0a8b9",
    "cancelled": "#cc79a7",
    "waiting": "#8a8a8a",
    "warning": "#e69f00",
}
_LIGHT: dict[Tone, str] = {
    "plain": "",
    "dim": "#6c6c6c",
    "strong": "bold",
    "done": "#005a9c",
    "running": "#7a5c00",
    "failed": "bold #b03a00",
    "skipped": "#5f5768",
    "cancelled": "#8f2d66",
    "waiting": "#6c6c6c",
    "warning": "#8a5a00",
}


@lru_cache(maxsize=64)
def tone_style(tone: Tone, *, dark: bool) -> Style:
    """Return how a tone is drawn."""
    return Style.parse((_DARK if dark else _LIGHT)[tone])


def segments_of(pieces: Iterable[Piece], base: Style, *, dark: bool) -> list[Segment]:
    """Return pieces as segments over a base style."""
    return [Segment(text, base + tone_style(tone, dark=dark)) for text, tone in pieces]


def width_of(pieces: Sequence[Piece]) -> int:
    """Return how many terminal cells pieces take."""
    return sum(cell_len(text) for text, _ in pieces)


def state_pieces(shown: Shown) -> list[Piece]:
    """A state: its sign and its word, in its tone."""
    return [(str(shown), shown.tone)]
