"""Parameters in words, without those of a program that did not run."""

from tui.core.parameter_words import tell_parameters

_VALUES = {
    "backend": "elcano",
    "command": ["MotionCor3", "{input_option}"],
    "program_time_limit_s": 900.0,
    "scratch_folder": None,
    "local": True,
    "patch_ang": 300.0,
    "b_factor_ang2": None,
}


def test_what_concerns_a_program_is_told_only_where_it_ran() -> None:
    own_work = {"backend": "elcano", "local": "yes", "patch_ang": "300 (its own)", "b_factor_ang2": "not set"}
    assert tell_parameters(_VALUES, {"patch_ang"}) == own_work
    told = tell_parameters(_VALUES | {"backend": "program"}, {})
    assert (told["command"], told["scratch_folder"]) == ("MotionCor3 {input_option}", "not set")


def test_no_value_is_told_in_the_words_of_a_programming_language() -> None:
    told = tell_parameters({"a": [], "b": {"x": None}, "c": False, "d": "x\x1b[31m"}, {})
    assert told == {"a": "none", "b": "x: not set", "c": "no", "d": "x␛[31m"}
