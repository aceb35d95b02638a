"""Blocks of facts for screens that tell much of one thing: titles, wrapped sentences, names with values."""

from collections.abc import Iterable

from tui.core.states import Tone
from tui.core.text import show_line, show_lines
from tui.widgets.tones import Piece

Line = list[Piece]


def wrap_text(text: str, width: int, *, most: int = 50) -> list[str]:
    """Break a text into harmless lines, at spaces where there are any."""
    lines: list[str] = []
    for whole in show_lines(text, most=most):
        line = whole
        while len(line) > width > 0:
            cut = line.rfind(" ", 1, width + 1)
            cut = cut if cut > 0 else width
            lines.append(line[:cut].rstrip())
            line = line[cut:].lstrip()
        if line:
            lines.append(line)
    return lines


def title_line(words: str) -> Line:
    """A title over what follows."""
    return [(f" {words}", "strong")]


def text_lines(text: str, width: int, tone: Tone = "plain", *, sign: str = "") -> list[Line]:
    """A sentence, wrapped under its sign."""
    indent = "   " + " " * len(sign)
    parts = wrap_text(text, max(8, width - len(indent) - 1))
    return [[(("   " + sign if number == 0 else indent) + part, tone)] for number, part in enumerate(parts)]


def pair_lines(pairs: Iterable[tuple[str, str]], width: int) -> list[Line]:
    """Names and values, one pair a line; long values are wrapped under themselves."""
    rows = [(show_line(name, max(8, width // 3)), value) for name, value in pairs]
    name_width = max((len(name) for name, _ in rows), default=0)
    lines: list[Line] = []
    for name, value in rows:
        first, *rest = wrap_text(value, max(8, width - name_width - 6)) or [""]
        lines.append([(f"   {name:<{name_width}}  ", "dim"), (first, "plain")])
        lines += [[(" " * (name_width + 5) + part, "plain")] for part in rest]
    return lines
