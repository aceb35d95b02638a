"""docs/terminal.md names every screen and key there is, and its pictures need nothing from elsewhere."""

import re
from xml.etree import ElementTree as ET

import pytest

from docs.terminal_page import DEEPER, PAGE, PICTURES, draw, lighten, scenes, with_keys
from tui.actions import ACTIONS
from tui.tabs import TABS

_MOST_BYTES = 80_000


def test_every_screen_has_its_part_and_its_picture() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for tab in TABS:
        assert f"\n### {tab.key} {tab.title}\n" in text
    for title in DEEPER.values():
        assert f"\n**{title}.** " in text
    assert re.findall(r"\(pictures/(\w+)\.svg\)", text) == [scene.name for scene in scenes()]
    assert {scene.name for scene in scenes()} == {*(tab.name for tab in TABS), *DEEPER}


def test_the_keys_are_those_of_the_terminal() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert with_keys(text) == text, "renew it: make docs"
    missing = [
        (action.name, screen)
        for action in ACTIONS
        for screen in action.screens
        if f"| {', '.join(f'`{key}`' for key in action.all_key_words)} | {action.help} |" not in text
    ]
    assert not missing
    assert {screen for action in ACTIONS for screen in action.screens} <= {"*", *(tab.name for tab in TABS), *DEEPER}


def test_a_page_without_a_place_for_the_keys_is_refused() -> None:
    with pytest.raises(ValueError, match="the keys stand between them"):
        with_keys("# The terminal\n")


def test_pictures_are_small_and_whole_in_themselves() -> None:
    assert {path.stem for path in PICTURES.iterdir()} == {scene.name for scene in scenes()}
    for path in PICTURES.iterdir():
        svg = path.read_text(encoding="utf-8")
        assert len(svg.encode()) <= _MOST_BYTES, path.name
        assert ET.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
        rest = svg.replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"https?:|href|@import|@font-face|url\((?!#)|<script", rest), path.name


def test_neighbours_are_joined_and_nothing_else_is_lost() -> None:
    frame = '<rect fill="#292929" stroke="white" x="1" y="1" width="9" height="9" rx="8"/>'
    cells = '<rect fill="#111111" x="0" y="1.5" width="12.2" height="24.65"/>'
    cells += '<rect fill="#111111" x="12.2" y="1.5" width="12.2" height="24.65"/>'
    cells += '<rect fill="#222222" x="24.4" y="1.5" width="12.2" height="24.65"/>\n'
    half = '<text class="terminal-77-r1" x="0" y="20" textLength="12.2">▀</text>'
    svg = lighten(f"<svg>{frame}{cells}{half}</svg>")
    assert frame in svg
    assert '<path fill="#111111" d="M0 1.5h24.4v24.65h-24.4z"/>' in svg
    assert '<path fill="#222222" d="M24.4 1.5h12.2v24.65h-12.2z"/>' in svg
    assert '<path class="t-r1" d="M0 1.5h12.2v12.5h-12.2z"/>' in svg


@pytest.mark.anyio
async def test_a_screen_is_drawn_the_same_twice() -> None:
    jobs, again = scenes()[0], scenes()[0]
    assert await draw(jobs) == await draw(again)
