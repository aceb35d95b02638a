import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.sessions.quantities import is_zero, read_count, read_length_m, read_positive, read_quantity


class Notes(list[str]):
    def __call__(self, key: str, what: str) -> None:
        self.append(f"{key} {what}")


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("300.0000000000", 300.0),
        ("-0.00000199", -1.99e-6),
        ("3.40E-8", 3.4e-8),
        (" 2.7 ", 2.7),
        ("+.5", 0.5),
        (7, 7.0),
        (2.5, 2.5),
        (None, None),
        ("", None),
        ("0E-10", None),
        ("0E-8", None),
        ("-0.000", None),
        (0, None),
        (0.0, None),
        (math.nan, None),
    ],
)
def test_numbers_and_the_many_ways_of_unknown(value: Any, number: float | None) -> None:
    notes = Notes()
    assert read_quantity(value, "dose", notes) == number
    assert notes == []


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("300 kV", "'300 kV' is not a number"),
        ("2,7", "'2,7' is not a number"),
        ("1_000", "'1_000' is not a number"),
        ("nan", "'nan' is not a number"),
        ("١", "'١' is not a number"),
        ("9" * 200, "is not a number"),
        (True, "True is not a number"),
        ([1], "list is not a number"),
        ("1e9999", "is out of range"),
        (math.inf, "inf is out of range"),
        (10**400, "is out of range"),
    ],
)
def test_what_is_no_number_is_noted_and_unknown(value: Any, said: str) -> None:
    notes = Notes()
    assert read_quantity(value, "dose", notes) is None
    assert len(notes) == 1
    assert said in notes[0]
    assert len(notes[0]) < 200


def test_bounds_and_whole_numbers() -> None:
    notes = Notes()
    assert read_positive("300000", "acceleration_voltage", notes, highest=3000) is None
    assert read_positive("-1", "dose", notes) is None
    assert read_count("40.5", "frame_count", notes) is None
    assert read_count("40.0", "frame_count", notes) == 40
    assert read_count(2**60, "frame_count", notes) is None
    assert notes == [
        "acceleration_voltage '300000' is out of range",
        "dose '-1' is out of range",
        "frame_count '40.5' is not a whole number",
        f"frame_count {2**60} is not a whole number",
    ]


@pytest.mark.parametrize("value", ["1E-10", "0.0000000001", "1.1E-9", "4.9E-9"])
def test_a_length_rounded_beyond_use_is_unknown(value: str) -> None:
    notes = Notes()
    assert read_length_m(value, "pixel_size", notes) is None
    assert notes == [f"pixel_size {value} m is rounded too coarsely to be used"]


@pytest.mark.parametrize("value", ["5.0E-9", "3.40E-8", "8.3E-11", "1.00E-10", 1e-10])
def test_a_length_exact_enough_is_taken(value: str | float) -> None:
    notes = Notes()
    assert read_length_m(value, "pixel_size", notes) == pytest.approx(float(value))
    assert notes == []


@settings(deadline=None, max_examples=200)
@given(st.floats(min_value=2e-11, max_value=1e-6))
def test_no_length_that_survives_ten_decimals_is_off_by_more_than_a_percent(true_m: float) -> None:
    stored = str(Decimal(true_m).quantize(Decimal("1E-10")))
    read = read_length_m(stored, "pixel_size", Notes())
    assert read is None or abs(read - true_m) <= 0.0101 * true_m


@pytest.mark.parametrize(("value", "zero"), [("0E-10", True), (0, True), (0.0, True), ("1", False), (None, False)])
def test_zero_in_any_form(value: Any, zero: bool) -> None:
    assert is_zero(value) is zero


def test_false_and_text_are_not_zero() -> None:
    assert not is_zero(False)
    assert not is_zero("none")
