"""The terminal's own graphics: how they are found out, and that the very pixels arrive at the very cells."""

import base64
import os
import pty
import re
import sys
import termios
import threading
from collections.abc import Iterator
from io import BytesIO, StringIO

import pytest
from PIL import Image
from textual.app import App, ComposeResult

from tests.tui.screen_text import settle, shown, until
from tests.tui.sixel import read_sixel
from tui.widgets import graphics
from tui.widgets.graphics import Answers, ask_terminal, cell_size_px, make_graphics, read_answers
from tui.widgets.picture import Picture

CELL = (8, 16)
_PLACEHOLDER = "\U0010eeee"


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test finds out of its terminal is nothing to the next."""
    monkeypatch.setattr(graphics._Found, "method", "cells")
    monkeypatch.setattr(graphics._Found, "cell_px", CELL)


@pytest.mark.parametrize(
    ("heard", "answers"),
    [
        (b"", Answers()),
        (b"\x1b[?1;2c", Answers()),
        (b"\x1b[?62;4;22c", Answers("sixel")),
        (b"\x1b[6;18;9t\x1b[?62;4c", Answers("sixel", (9, 18))),
        (b"\x1b_Gi=31;OK\x1b\\\x1b[6;32;15t\x1b[?62;52c", Answers("kitty", (15, 32))),
        (b"\x1b_Gi=31;OK\x1b\\\x1b[?62;4c", Answers("sixel")),
        (b"\x1b_Gi=31;ENOTSUPPORTED\x1b\\\x1b[?62c", Answers()),
        (b"\x1b[6;0;0t\x1b[?44;14c", Answers()),
        (b"2\x1b[?1;2c/x", Answers(typed="2/x")),
        (b"\x1b[A\x1b[?1;2c", Answers()),
    ],
    ids=[
        "silent",
        "plain",
        "sixel",
        "sixel with cells",
        "kitty",
        "both",
        "kitty refuses",
        "no cells",
        "typed",
        "arrow",
    ],
)
def test_what_terminals_answer(heard: bytes, answers: Answers) -> None:
    assert read_answers(heard) == answers


class Far:
    """A terminal at the other end, which answers what it is asked, once a person has typed something."""

    def __init__(self, answer: bytes) -> None:
        self.far, self.near = pty.openpty()
        self.heard = b""
        self._answer = answer
        self._thread = threading.Thread(target=self._be)
        os.write(self.far, b"2")
        self._thread.start()

    def _be(self) -> None:
        while not self.heard.endswith(b"\x1b[c"):
            self.heard += os.read(self.far, 4096)
        os.write(self.far, self._answer)

    def close(self) -> None:
        self._thread.join(60)
        os.close(self.far)
        os.close(self.near)


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Far]:
    terminal = Far(request.param)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("TEXTUAL_DRIVER", raising=False)
    monkeypatch.setattr(graphics, "_told_by_system", lambda: None)
    monkeypatch.setattr(graphics, "_PATIENCE_S", 60.0)
    ends = [os.fdopen(os.dup(terminal.near), mode) for mode in ("r", "w")]
    monkeypatch.setattr(sys, "__stdin__", ends[0])
    monkeypatch.setattr(sys, "__stderr__", ends[1])
    yield terminal
    for end in ends:
        end.close()
    terminal.close()


@pytest.mark.parametrize("far", [b"\x1b[6;20;11t\x1b[?62;4c"], indirect=True)
def test_it_is_asked_in_one_go_and_what_was_typed_is_kept(far: Far) -> None:
    before = termios.tcgetattr(far.near)
    assert ask_terminal() == "2"
    assert (graphics._Found.method, cell_size_px()) == ("sixel", (11, 20))
    assert far.heard.count(b"\x1b[c") == 1
    assert termios.tcgetattr(far.near) == before
    assert type(make_graphics()).__module__ == "textual_image.widget.sixel"


@pytest.mark.parametrize("far", [b"\x1b[?62;4c"], indirect=True)
def test_a_person_knows_better(far: Far) -> None:
    assert ask_terminal("cells") == "2"
    assert make_graphics() is None
    assert cell_size_px() == (10, 20)
    assert far.heard


@pytest.mark.parametrize(("variable", "value"), [("TERM", "dumb"), ("TEXTUAL_DRIVER", "textual_serve:WebDriver")])
def test_who_would_print_the_question_is_not_asked(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr(graphics, "_ask", lambda *_: pytest.fail("it was asked"))
    assert ask_terminal() == ""
    assert make_graphics() is None


class _Frame(App[None]):
    def compose(self) -> ComposeResult:
        yield Picture()


def picture(size: tuple[int, int]) -> Image.Image:
    """Few colours that nothing makes others of: stripes down, and a corner that tells up from down, left from right."""
    image = Image.new("RGB", size, (0, 0, 0))
    for number, colour in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255))):
        image.paste(colour, (number * size[0] // 4, 0, (number + 1) * size[0] // 4, size[1]))
    image.paste((255, 255, 0), (0, 0, size[0] // 8, size[1] // 8))
    return image


def png_of(image: Image.Image) -> bytes:
    encoded = BytesIO()
    image.save(encoded, format="PNG")
    return encoded.getvalue()


@pytest.mark.anyio
async def test_sixel_carries_every_pixel_to_its_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphics._Found, "method", "sixel")
    app = _Frame()
    # Twenty by ten cells of 8×16 are 160×160 pixels: the picture fits as it is.
    wanted = picture((160, 160))
    async with app.run_test(size=(20, 10)) as pilot:
        shown_in = app.query_one(Picture)
        assert shown_in.has_graphics
        shown_in.show(png_of(wanted))

        def drawn() -> str:
            return "".join(strip.text for strip in app.screen._compositor.render_strips())

        await until(pilot, lambda: "\x1bP" in drawn(), "Sixel data")
        text = drawn()
        assert "▀" not in text
        got, at = read_sixel(text)
        assert at == (1, 1), "row and column, counted from 1"
        assert got.size == wanted.size
        assert got.tobytes() == wanted.tobytes()
        shown_in.say("gone")
        await settle(pilot)
        assert shown(app).split() == ["gone"]


@pytest.mark.anyio
async def test_kitty_gets_the_picture_whole_and_its_cells_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    from textual_image.renderable import tgp

    sent = StringIO()
    monkeypatch.setattr(graphics._Found, "method", "kitty")
    monkeypatch.setattr(sys, "__stdout__", sent)
    app = _Frame()
    # Noise does not go into one piece of 4096 characters.
    wanted = Image.frombytes("RGB", (80, 160), os.urandom(80 * 160 * 3))
    async with app.run_test(size=(20, 10)) as pilot:
        app.query_one(Picture).show(png_of(wanted))
        await until(pilot, lambda: _PLACEHOLDER in shown(app), "placeholders of Kitty's pictures")
        text = shown(app)
    pieces = [_read_kitty(part) for part in re.findall(r"\x1b_G([^\x1b]*)\x1b\\", sent.getvalue())]
    data = [(keys, payload) for keys, payload in pieces if payload]
    assert len(data) > 1
    assert [keys["m"] for keys, _ in data] == ["1"] * (len(data) - 1) + ["0"]
    assert {keys["f"] for keys, _ in data} == {"100"}, "PNG"
    (number,) = {keys["i"] for keys, _ in data}
    with Image.open(BytesIO(base64.b64decode("".join(payload for _, payload in data)))) as got:
        assert got.size == wanted.size
        assert got.convert("RGB").tobytes() == wanted.tobytes()
    (placed,) = [keys for keys, _ in pieces if keys.get("a") == "p"]
    assert (placed["i"], placed["c"], placed["r"], placed["U"]) == (number, "10", "10", "1")
    rows = [line for line in text.splitlines() if _PLACEHOLDER in line]
    assert [line.count(_PLACEHOLDER) for line in rows] == [10] * 10
    marks = tgp._NUMBER_TO_DIACRITIC
    for row, line in enumerate(rows):
        cells = line[line.index(_PLACEHOLDER) :].split(_PLACEHOLDER)[1:]
        assert [(ord(cell[0]), ord(cell[1])) for cell in cells] == [(marks[row], marks[n]) for n in range(10)]


def _read_kitty(part: str) -> tuple[dict[str, str], str]:
    keys, _, payload = part.partition(";")
    return dict(key.split("=") for key in keys.split(",")), payload
