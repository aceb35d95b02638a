"""Pictures: brought to the cells there are, drawn beside the way of keys, kept; and how the screens look."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from textual.app import App, ComposeResult

from tests.tui.fake_link import FakeLink
from tests.tui.scenes import matrix, task
from tests.tui.screen_text import settle, shown, until
from tests.tui.window import ANSWERS
from tui.app import ElcanoTerminal
from tui.widgets.picture import Picture, draw_picture, fit_cells

Make = Callable[[FakeLink], ElcanoTerminal]
CELL = (10, 20)


def png_of(image: Image.Image) -> bytes:
    encoded = BytesIO()
    image.save(encoded, format="PNG")
    return encoded.getvalue()


def halves(width: int = 8, height: int = 8) -> bytes:
    """Red above, blue below."""
    image = Image.new("RGB", (width, height), (255, 0, 0))
    image.paste((0, 0, 255), (0, height // 2, width, height))
    return png_of(image)


@pytest.mark.parametrize(
    ("size_px", "cells", "fitted"),
    [
        ((100, 100), (40, 10), (20, 10)),
        ((100, 100), (10, 40), (10, 5)),
        ((400, 100), (20, 20), (20, 2)),
        ((9, 900), (3, 3), (1, 3)),
    ],
)
def test_a_picture_keeps_its_proportions(
    size_px: tuple[int, int], cells: tuple[int, int], fitted: tuple[int, int]
) -> None:
    assert fit_cells(size_px, *cells, CELL) == fitted


def test_half_cells_show_two_pixels_each() -> None:
    drawing = draw_picture(halves(), 4, 2, CELL, as_graphics=False)
    assert drawing is not None
    assert (drawing.columns, drawing.rows, drawing.image) == (4, 2, None)
    colours = [[segment.style for segment in strip] for strip in drawing.strips]
    assert [str(style) for style in colours[0][:1]] == ["#ff0000 on #ff0000"]
    assert [str(style) for style in colours[1][:1]] == ["#0000ff on #0000ff"]
    mixed = draw_picture(halves(), 2, 1, CELL, as_graphics=False)
    assert mixed is not None
    assert str(next(iter(mixed.strips[0])).style) == "#ff0000 on #0000ff"


def test_the_contrast_that_averaging_takes_from_grey_is_given_back() -> None:
    image = Image.new("L", (8, 8), 120)
    image.paste(130, (0, 0, 4, 8))
    drawing = draw_picture(png_of(image), 4, 2, CELL, as_graphics=False)
    assert drawing is not None
    assert {str(segment.style) for segment in drawing.strips[0]} == {"#ffffff on #ffffff", "#000000 on #000000"}


def test_graphics_get_as_many_pixels_as_their_cells_have() -> None:
    drawing = draw_picture(halves(), 4, 2, CELL, as_graphics=True)
    assert drawing is not None
    assert drawing.image is not None
    assert drawing.image.size == (40, 40)


def test_what_is_no_picture_is_none() -> None:
    assert draw_picture(b"no picture", 4, 2, CELL, as_graphics=False) is None
    assert draw_picture(halves()[:60], 4, 2, CELL, as_graphics=False) is None


class _Frame(App[None]):
    def compose(self) -> ComposeResult:
        yield Picture()


@pytest.mark.anyio
async def test_a_picture_is_drawn_on_a_thread_and_follows_the_size() -> None:
    app = _Frame()
    async with app.run_test(size=(20, 10)) as pilot:
        picture = app.query_one(Picture)
        picture.show(halves())
        assert "▀" not in shown(app), "nothing is drawn while the caller waits"
        await settle(pilot)
        assert shown(app).count("▀") == 200
        await pilot.resize_terminal(10, 10)
        await settle(pilot)
        assert shown(app).count("▀") == 50
        picture.say("no picture yet")
        await settle(pilot)
        assert " ".join(shown(app).split()) == "no picture yet"
        picture.show(b"no picture")
        await settle(pilot)
        assert " ".join(shown(app).split()) == "This picture cannot be read."


@pytest.mark.anyio
async def test_a_task_shows_its_pictures(terminal: Make, link: FakeLink) -> None:
    files = [
        {"path": f"/h/s/{name}", "kind": kind, "size_bytes": 9, "sha256": kind}
        for name, kind in (("x.star", "ctf_star"), ("x_ctf.png", "ctf_plot"), ("x_ctf.mrc", "ctf_spectrum"))
    ]
    link.answers |= {**ANSWERS, "task": task(files=files, image="24dec03a_00003ex")}
    async with terminal(link).run_test(size=(100, 90), notifications=True) as pilot:
        await settle(pilot)
        await pilot.press("enter", "enter")
        await until(pilot, lambda: shown(pilot.app).count("▀▀▀▀") > 1, "two pictures")
        text = shown(pilot.app)
        assert "Thon rings: measured left, fit right" in text
        assert "CTF fit" in text
        assert "▀▀▀▀" in text
        asked = [arguments["kind"] for name, arguments in link.asked if name == "picture"]
        assert asked == ["ctf_spectrum", "ctf_plot"]


@pytest.mark.parametrize("size", [(100, 30), (160, 50)], ids=["100x30", "160x50"])
@pytest.mark.parametrize("keys", [("4",), ("4", "down", "down", "down", "enter")], ids=["list", "one"])
def test_looks(snap_compare: Any, link: FakeLink, terminal: Make, size: tuple[int, int], keys: tuple[str, ...]) -> None:
    link.answers |= {**ANSWERS, "matrix": matrix()}

    async def press(pilot: Any) -> None:
        await settle(pilot)
        for key in keys:
            await pilot.press(key)
            await settle(pilot)
        if len(keys) == 1 and size[0] > 100:
            pilot.app.screen._look_beside()  # the cursor has rested
            await settle(pilot)

    assert snap_compare(terminal(link), terminal_size=size, run_before=press)
