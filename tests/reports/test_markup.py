"""Text becomes markup in one place, and nothing from outside gets through it."""

from datetime import UTC, timedelta, timezone
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.reports.markup import (
    Html,
    escape,
    fold,
    show_number,
    show_size,
    show_span,
    show_time,
    show_value,
    table,
    tag,
)


class Reader(HTMLParser):
    """Collects the elements and the text of a piece of markup."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: dict[str, str | None] = {}
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes |= dict(attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=60))
def test_any_text_stays_one_text(text: str) -> None:
    read = Reader(tag("p", text, title=text).text)
    assert read.names == ["p"]
    assert set(read.attributes) == {"title"}
    assert read.text == read.attributes["title"]
    if text.isascii() and text.isprintable():
        assert read.text == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", "a␛[2Jb"),
        ("two\nlines\t", "two ⏎ lines␉"),
        ("\u202egnp.exe", "⟨U+202E⟩gnp.exe"),
        ("\ud800", "⟨U+D800⟩"),
        ("µ Å 冰 é", "µ Å 冰 é"),
        ("x" * 3000, "x" * 2000 + " … (1000 more characters)"),
        (None, ""),
        (0, "0"),
    ],
)
def test_what_is_not_seen_is_shown(text: str | int | None, shown: str) -> None:
    assert escape(text) == shown


def test_only_markup_is_markup() -> None:
    assert table(["name", "#n"], [["<b>", Html("<b>1</b>")]]).text == (
        '<div class="wide"><table><thead><tr><th scope="col">name</th><th scope="col" class="n">n</th></tr></thead>'
        '<tbody><tr><td>&lt;b&gt;</td><td class="n"><b>1</b></td></tr></tbody></table></div>'
    )
    assert fold("<more>", "x").text == "<details><summary>&lt;more&gt;</summary>x</details>"


def test_numbers_are_written_as_people_do() -> None:
    assert [show_number(value) for value in (0.0, 1234567, 3.14159, 0.00001234, None, float("nan"), -2500.0)] == [
        *("0", "1\u202f234\u202f567", "3.142", "1.2e-05", "", "", "-2\u202f500")
    ]
    assert [show_span(seconds) for seconds in (1.25, 59.0, 3599.0, 7300.0, 200_000.0)] == [
        *("1.2 s", "59 s", "60 min", "2 h 02 min", "2 d 8 h")
    ]
    assert [show_size(size) for size in (12, 2048, 5.5 * 2**40, 1000 * 2**20)] == [
        *("12 bytes", "2 KiB", "5.5 TiB", "1000 MiB")
    ]
    assert show_value({"a": None, "b": [1, 2.50, True]}) == "b 1, 2.5, yes"


def test_times_are_those_of_the_place() -> None:
    assert show_time(0, UTC) == "1970-01-01 00:00:00"
    assert show_time(0, timezone(timedelta(hours=1)), with_date=False) == "01:00"
    assert show_time(None, UTC) == ""
