"""What comes from outside is shown, never obeyed."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tui.core.text import LONGEST_LINE, show_end, show_line, show_lines


def test_what_steers_a_terminal_is_shown() -> None:
    assert show_line("\x1b[2Jgone\r\n") == "␛[2Jgone␍␊"
    assert show_line("\x9b31m\x7f\x07") == "\\u009b31m␡␇"
    assert show_line("safe\u202egnp.exe") == "safe\\u202egnp.exe"
    assert show_line("zero\u200bwidth") == "zero\\u200bwidth"


def test_markup_stays_as_it_is() -> None:
    assert show_line("[bold]x[/] [link=evil]") == "[bold]x[/] [link=evil]"


def test_bytes_of_no_encoding_are_shown() -> None:
    assert show_line(b"frame_\xff\xfe.tif".decode(errors="surrogateescape")) == "frame_\\xff\\xfe.tif"


def test_ordinary_names_are_untouched() -> None:
    for name in ("24dec03a_00001gr.tif", "Ångström µm × 3", "試料_01", "é̈"):
        assert show_line(name) == name


def test_a_long_line_is_cut_and_counted() -> None:
    shown = show_line("x" * 10_000)
    assert shown == "x" * LONGEST_LINE + "… (+8000 characters)"
    assert len(show_lines("\n" * 10_000, most=20)) == 21


def test_the_end_of_a_name_is_kept() -> None:
    assert show_end("24dec03a_00001ex", 8) == "…00001ex"
    assert show_end("short", 8) == "short"


@given(st.text(max_size=200))
def test_nothing_unseen_comes_through(raw: str) -> None:
    shown = show_line(raw)
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
    assert cell_len(shown) >= 0
    shown.encode()
