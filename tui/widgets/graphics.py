"""What pictures can be drawn with: the terminal's own graphics where it has them, else half cells.

The terminal is asked once, before the screen is taken over: afterwards its answers would be taken for keys. Where
nobody has asked (a browser, a test) there are half cells. All is asked in one go, last what every terminal answers: so
one that is far away takes the time of one way there and back, and one that knows no graphics takes no longer.

What draws them, textual-image, is loaded when there is something to draw: it asks by itself as it is loaded, a key
typed meanwhile is lost, and it takes as long as a fifth of all that comes before the first line.
"""

import fcntl
import io
import os
import re
import select
import struct
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from textual.widget import Widget

Method = Literal["sixel", "kitty", "cells"]
METHODS: tuple[Method, ...] = ("sixel", "kitty", "cells")

_USUAL_CELL_PX = (10, 20)
_QUESTION = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[16t\x1b[c"
"""Whether it takes a picture as Kitty does; how large a cell is; what it can do at all."""
_KITTY = re.compile(rb"\x1b_G([^\x1b]*)\x1b\\")
_CELL = re.compile(rb"\x1b\[6;(\d+);(\d+)t")
_ATTRIBUTES = re.compile(rb"\x1b\[\?([\d;]*)c")
_SIXEL = b"4"
_MUTE = frozenset({"dumb", "linux"})
"""Terminals that print what they do not understand."""
_PATIENCE_S = 1.0


@dataclass(frozen=True)
class Answers:
    """What a terminal says of itself."""

    method: Method = "cells"
    cell_px: tuple[int, int] | None = None
    typed: str = ""
    """What a person typed meanwhile."""


class _Found:
    """What the terminal of this process can do."""

    method: Method = "cells"
    cell_px = _USUAL_CELL_PX


def ask_terminal(forced: Method | None = None) -> str:
    """Ask the terminal what it draws, and how large its cells are; return what a person typed meanwhile.

    `forced`: what a person says it draws, whatever it answers.
    """
    answers = Answers()
    if os.environ.get("TERM") not in _MUTE and not os.environ.get("TEXTUAL_DRIVER"):
        stdin, screen = sys.__stdin__, sys.__stderr__
        if stdin is not None and screen is not None and stdin.isatty() and screen.isatty():
            answers = _ask(stdin.fileno(), screen.fileno())
    _Found.method = forced or answers.method
    _Found.cell_px = _told_by_system() or answers.cell_px or _USUAL_CELL_PX
    return answers.typed


def read_answers(heard: bytes) -> Answers:
    """Take apart what came back. Sixel goes first: some say that they take Kitty's pictures, and show none of ours."""
    attributes = _ATTRIBUTES.search(heard)
    kitty, cell = _KITTY.search(heard), _CELL.search(heard)
    method: Method = "cells"
    if attributes is not None and _SIXEL in attributes[1].split(b";"):
        method = "sixel"
    elif kitty is not None and kitty[1].endswith(b";OK"):
        method = "kitty"
    cell_px = (int(cell[2]), int(cell[1])) if cell is not None and int(cell[1]) and int(cell[2]) else None
    left = _ATTRIBUTES.sub(b"", _CELL.sub(b"", _KITTY.sub(b"", heard))).decode(errors="ignore")
    return Answers(method, cell_px, "" if "\x1b" in left else left)


def make_graphics() -> Widget | None:
    """Return a widget of textual-image that uses the terminal's own graphics; None where there are half cells."""
    if _Found.method == "cells":
        return None
    with _nobody_to_ask():
        from textual_image.widget import SixelImage, TGPImage  # noqa: PLC0415

    return SixelImage() if _Found.method == "sixel" else TGPImage()


def cell_size_px() -> tuple[int, int]:
    """Return width and height of a cell, as the terminal told it, else as it usually is."""
    return _Found.cell_px


def _ask(stdin: int, screen: int) -> Answers:
    before = termios.tcgetattr(stdin)
    heard = b""
    try:
        tty.setcbreak(stdin, termios.TCSADRAIN)
        os.write(screen, _QUESTION)
        until_s = time.monotonic() + _PATIENCE_S
        while _ATTRIBUTES.search(heard) is None and (left_s := until_s - time.monotonic()) > 0:
            if select.select([stdin], [], [], left_s)[0]:
                heard += os.read(stdin, 4096)
    except OSError:
        return Answers()  # it went away: the next to use it says so
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)
    return read_answers(heard)


def _told_by_system() -> tuple[int, int] | None:
    """Return the size of a cell as the kernel has it of the terminal, which need not say."""
    try:
        told = fcntl.ioctl(2, termios.TIOCGWINSZ, bytes(8))
    except OSError:
        return None
    rows, columns, width, height = struct.unpack("HHHH", told)
    return (width // columns, height // rows) if 0 < columns <= width and 0 < rows <= height else None


@contextmanager
def _nobody_to_ask() -> Iterator[None]:
    """Hide the terminal while textual-image is loaded, and tell it what was found out."""
    known = vars(sys)
    terminal = known["__stdout__"]
    known["__stdout__"] = io.StringIO()
    try:
        from textual_image._terminal import CellSize, get_cell_size  # noqa: PLC0415 - they have no public name

        vars(get_cell_size)["_result"] = CellSize(*_Found.cell_px)
        yield
    finally:
        known["__stdout__"] = terminal
