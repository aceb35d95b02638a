"""Command templates: every item stays one argument, and what is not known takes its option with it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.exchange.command_template import check_template, fill_template, placeholders
from daemon.exchange.ctffind.command import CTFFIND_PLACEHOLDERS, CTFFIND_TEMPLATE
from daemon.exchange.motioncor.command import MOTIONCOR3_TEMPLATE, MOTIONCOR_PLACEHOLDERS

VALUES = {"movie": "/data/a movie; rm -rf $HOME.tif", "gain": None, "pixel": 0.83, "frames": 40}


def test_values_stay_single_arguments() -> None:
    filled = fill_template(["prog", "-In", "{movie}", "-Pix={pixel}", "-N", "{frames}"], VALUES)
    assert filled == ("prog", "-In", "/data/a movie; rm -rf $HOME.tif", "-Pix=0.83", "-N", "40")


def test_what_is_not_known_is_left_out_with_its_option() -> None:
    assert fill_template(["prog", "-Gain", "{gain}", "-N", "{frames}"], VALUES) == ("prog", "-N", "40")
    assert fill_template(["prog", "--gain={gain}", "{movie}"], VALUES)[1:] == (VALUES["movie"],)
    # A number is no option.
    assert fill_template(["prog", "-1", "{gain}"], VALUES) == ("prog", "-1")


def test_literal_braces_are_doubled() -> None:
    assert fill_template(["prog", "{{movie}}"], VALUES) == ("prog", "{movie}")


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (["prog", "{movies}"], "movies"),
        (["prog", "{movie.attr}"], "plain name"),
        (["prog", "{movie!r}"], "plain name"),
        (["prog", "{}"], "plain name"),
        (["prog", "{movie"], "expected"),
        (["{movie}"], "program"),
        ([], "program"),
    ],
)
def test_templates_that_cannot_be_meant_are_refused(template: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fill_template(template, VALUES)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(alphabet=st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)))
def test_any_text_comes_through_as_it_is(texts: list[str]) -> None:
    values = {f"v{index}": text for index, text in enumerate(texts)}
    template = ["prog", *(f"{{{name}}}" for name in values)]
    assert placeholders(template) == tuple(values)
    assert fill_template(template, values) == ("prog", *texts)


@pytest.mark.parametrize(
    "shipped", [(MOTIONCOR3_TEMPLATE, MOTIONCOR_PLACEHOLDERS), (CTFFIND_TEMPLATE, CTFFIND_PLACEHOLDERS)]
)
def test_shipped_templates_name_what_is_known(shipped: tuple[tuple[str, ...], tuple[str, ...]]) -> None:
    check_template(*shipped)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ([], "the first item"),
        (["", "x"], "the first item"),
        (["{movie}"], "the first item"),
        (["prog", "{film}"], "{film} is no value of this command; it has frames, movie"),
        (["prog", "{"], "Single"),
        (["prog", "a\0b"], "zero byte"),
    ],
)
def test_a_template_is_checked_without_its_values(template: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_template(template, ("movie", "frames"))
