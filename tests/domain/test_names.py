import pytest

from daemon.domain.names import LONGEST_NAME, name_problem


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
