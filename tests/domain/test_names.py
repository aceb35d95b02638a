from pathlib import Path

import pytest

from daemon.domain.names import LONGEST_NAME, name_problem, spell_all, spell_controls


@pytest.mark.parametrize("name", ["a", "24dec03a_00031gr_00001sq_v01", "FoilHole 1 (2)", "größe_µ", "x" * LONGEST_NAME])
def test_names_that_can_be_files(name: str) -> None:
    assert name_problem(name) == ""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "empty"),
        ("x" * (LONGEST_NAME + 1), "101 characters long"),
        ("a/b", "path separator"),
        ("..\\b", "path separator"),
        ("a\nb", "control"),
        ("a\0b", "control"),
        ("a\u202eb", "invisible"),
        ("a\u2028b", "invisible"),
        ("a\ud800b", "invisible"),
        (" a", "blank"),
        ("a ", "blank"),
        (".", "dot"),
        ("..", "dot"),
        (".elcano", "dot"),
        ("\U0001f52c" * 51, "204 bytes"),
    ],
)
def test_names_that_cannot(name: str, said: str) -> None:
    assert said in name_problem(name)


def test_what_would_steer_a_terminal_is_spelled_out_and_nothing_else_is_touched() -> None:
    assert spell_controls("24dec03a, 0.83 Å/px × 2 — 日本") == "24dec03a, 0.83 Å/px × 2 — 日本"
    assert spell_controls("a\x1b[31m\n\tb\x00") == r"a\x1b[31m\n\tb\x00"
    assert spell_controls("abc\u202ecba\u2028") == r"abc\u202ecba\u2028"
    assert spell_controls("one\ntwo\x07", keep="\n") == "one\ntwo\\x07"
    assert spell_controls(b"caf\xe9.tif".decode(errors="surrogateescape")) == r"caf\xe9.tif"
    told = spell_all({"a\n": [Path("/x\x1b"), 3, 0.5, None, True, ("y\r",)]})
    assert told == {r"a\n": [r"/x\x1b", 3, 0.5, None, True, [r"y\r"]]}
