"""Files as they are browsed: by kind, one by one, and what is in them."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from daemon.errors import CommandRefused
from tests.tui.facility_scenes import ANSWERS
from tests.tui.fake_link import FakeLink
from tests.tui.scenes import sessions
from tests.tui.screen_text import settle, shown
from tests.tui.test_imports import rested, walk
from tui.app import ElcanoTerminal

pytestmark = pytest.mark.anyio
Make = Callable[[FakeLink], ElcanoTerminal]


def slice_of(asked: Any) -> dict[str, Any]:
    encoded = BytesIO()
    Image.new("L", (40, 30), 200).save(encoded, format="PNG")
    section = 32 if asked["section"] is None else asked["section"]
    said = "400 × 300 × 64 float32, 1.5 Å/px"
    return {
        "width_px": 40,
        "height_px": 30,
        "section": section,
        "sections": 64,
        "said": said,
        "pieces": [encoded.getvalue()],
    }


@pytest.fixture
def link() -> FakeLink:
    encoded = BytesIO()
    Image.new("L", (40, 30), 90).save(encoded, format="PNG")
    picture = {"kind": "thumbnail", "width_px": 40, "height_px": 30, "pieces": [encoded.getvalue()]}
    return FakeLink(*sessions(), answers={**ANSWERS, "artifact.slice": slice_of, "picture": picture})


async def test_kinds_then_files_then_back(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await walk(pilot, "8")
        assert "24dec03a  2560 files, 60.2 GiB; beside them 1200 raw movies" in shown(pilot.app)
        await walk(pilot, "down", "enter")
        assert "24dec03a_00000ex_motion.star" in shown(pilot.app)
        assert "200 of 640 files" in shown(pilot.app)
        await walk(pilot, "escape")
        assert "›" in next(line for line in shown(pilot.app).splitlines() if "motion_star" in line)


async def test_files_are_read_page_by_page_and_sought_by_the_daemon(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await walk(pilot, "8", "enter", "end")
        assert "440 files more" in shown(pilot.app)
        await walk(pilot, "enter", "slash", *"00003", "enter")
        assert [(one["offset"], one["containing"]) for one in files_asked(link)[:2]] == [(0, ""), (200, "")]
        assert files_asked(link)[-1]["containing"] == "00003"
        await walk(pilot, "escape")
        assert files_asked(link)[-1]["containing"] == ""


def files_asked(link: FakeLink) -> list[dict[str, Any]]:
    """What was asked of lists of files, in order; a cursor that rests asks for other things meanwhile."""
    return [asked for name, asked in link.asked if name == "artifact.files"]


async def test_a_section_of_a_volume_is_seen_and_turned_over(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 40), notifications=True) as pilot:
        await walk(pilot, "8", "enter")
        await rested(pilot, "section 33 of 64")
        await rested(pilot, "▀▀▀▀")
        assert "400 × 300 × 64 float32" in shown(pilot.app)
        await walk(pilot, "right_square_bracket")
        await rested(pilot, "section 34 of 64")
        await walk(pilot, "left_square_bracket", "left_square_bracket")
        await rested(pilot, "section 32 of 64")
        await walk(pilot, "enter")
        assert "24dec03a_00003ex" not in shown(pilot.app)
        await walk(pilot, "escape")
        assert "24dec03a_00003ex" in shown(pilot.app)


async def test_pictures_come_by_the_question_that_micrographs_ask(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(160, 50), notifications=True) as pilot:
        await walk(pilot, "8", "down", "down", "down", "enter")
        await rested(pilot, "▀▀▀▀")
        asked = {"session": "24dec03a", "image": "24dec03a_00000ex", "kind": "thumbnail", "longest_px": 512}
        assert ("picture", asked) in link.asked


async def test_a_table_is_plotted(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 40), notifications=True) as pilot:
        await walk(pilot, "8", "down", "enter")
        await rested(pilot, "rlnMicrographShiftX")
        assert "0 … 400, 40 rows" in shown(pilot.app)
        await walk(pilot, "right_square_bracket")
        assert "1 of 1 column" in shown(pilot.app)


async def test_what_is_gone_is_said_and_what_cannot_be_read_too(link: FakeLink, terminal: Make) -> None:
    link.answers["artifact.slice"] = CommandRefused("x_aligned.mrc: not an MRC file.")
    async with terminal(link).run_test(size=(120, 40), notifications=True) as pilot:
        await walk(pilot, "8", "enter")
        await rested(pilot, "not an MRC file")
        await walk(pilot, "down", "down")
        await rested(pilot, "✗ is not there any more")
        before = len(link.asked)
        await walk(pilot, "right_square_bracket")
        assert "no other section" in shown(pilot.app)
        assert link.asked[before:] == []


async def test_paths_are_copied(link: FakeLink, terminal: Make, monkeypatch: Any) -> None:
    copied: list[str] = []
    monkeypatch.setattr(ElcanoTerminal, "copy_to_clipboard", lambda _, text: copied.append(text))
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await walk(pilot, "8", "y")
        assert "Open a kind and move to a file first" in shown(pilot.app)
        await walk(pilot, "enter", "space", "space", "y")
        assert "2 paths copied." in shown(pilot.app)
        assert copied[0].splitlines() == [
            "/home/24dec03a/micrograph/24dec03a_00000ex_aligned.mrc",
            "/home/24dec03a/micrograph/24dec03a_00001ex_aligned.mrc",
        ]


async def test_another_session_is_chosen(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(100, 30), notifications=True) as pilot:
        await walk(pilot, "8", "o", *"02b", "enter")
        assert ("artifacts", {"session": "24dec02b"}) in link.asked


async def test_in_sixty_columns_what_is_hidden_is_said(link: FakeLink, terminal: Make) -> None:
    async with terminal(link).run_test(size=(60, 20), notifications=True) as pilot:
        await walk(pilot, "8", "enter")
        assert "the preview is hidden: Enter shows it" in shown(pilot.app)
        await walk(pilot, "enter")
        await rested(pilot, "section 33 of 64")


async def test_nothing_there_yet(terminal: Make) -> None:
    nothing = {"groups": [], "raw_movies": 0, "raw_bytes": 0}
    async with terminal(FakeLink(answers=ANSWERS)).run_test(size=(100, 30), notifications=True) as pilot:
        await walk(pilot, "8")
        assert "No session has been imported yet" in shown(pilot.app)
    async with terminal(FakeLink(*sessions(), answers={"artifacts": nothing})).run_test(size=(100, 30)) as pilot:
        await walk(pilot, "8")
        assert "Nothing was written for this session yet" in shown(pilot.app)
        await settle(pilot)
