"""Measured defocus beside the range that was asked for."""

import pytest

from daemon.domain.acquisition import Acquisition
from daemon.sessions.defocus_check import defocus_note


@pytest.mark.parametrize("asked_um", [(0.8, 2.2), (-2.2, -0.8)])
@pytest.mark.parametrize(
    ("measured_um", "is_told"),
    [
        ([1.0, 1.5, 2.0], False),
        ([2.5, 2.6, 2.7], False),
        ([0.7, 0.7, 9.0], False),
        ([3.0, 3.1, 1.0], True),
        ([0.5, 0.4, 0.5, 2.0], True),
        ([3.0, 3.1], False),
    ],
)
def test_a_median_far_beyond_the_range_is_told(
    asked_um: tuple[float, float], measured_um: list[float], *, is_told: bool
) -> None:
    said = defocus_note(Acquisition(defocus_range_um=asked_um), [1e4 * each for each in measured_um])
    assert (said is not None) == is_told


def test_it_names_both_and_what_may_be_wrong() -> None:
    assert defocus_note(Acquisition(defocus_range_um=(0.8, 2.2)), [36_000.0] * 3) == (
        "the median defocus measured is 3.6 µm (of 3 trusted fits), and 0.8 to 2.2 µm were asked for: the pixel size "
        "or Cs that is given may be wrong"
    )


@pytest.mark.parametrize("asked_um", [None, (0.0, 0.0), (-1.0, 1.0)])
def test_without_a_range_nothing_is_said(asked_um: tuple[float, float] | None) -> None:
    assert defocus_note(Acquisition(defocus_range_um=asked_um), [90_000.0] * 9) is None
