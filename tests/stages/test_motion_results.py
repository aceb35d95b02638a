"""What is kept of a motion that is not to be relied on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from daemon.domain.motion import NOT_RELIED_ON
from daemon.formats.motion_plot import draw_motion_plot
from daemon.numerics.motion import CorrectedMovie, MotionEstimate, _doubt
from daemon.stages import motion_results
from daemon.stages.motion_results import MotionMetrics, field_of, measure_motion, write_motion
from tests.stages.fakes import ACQUISITION, FakeContext, make_item

STRANGERS = "30 % of the frames don't show what the others show"
nothing: Any = None


def _measure(doubt: str | None) -> tuple[MotionEstimate, MotionMetrics]:
    still_t2 = torch.zeros(3, 2, dtype=torch.float64)
    estimate = replace(MotionEstimate((64, 64), still_t2, None, None, 1.4, still_t2[:, 0], 50.0), doubt=doubt)
    image_yx = torch.zeros(64, 64)
    corrected = CorrectedMovie(image_yx, image_yx, None, None, nothing)
    said = [] if doubt is None else [f"{NOT_RELIED_ON}: {doubt}"]
    return estimate, measure_motion(estimate, field_of(estimate), corrected, 1.0, 3, 0, 1.0, said)


def test_a_motion_not_relied_on_has_no_error_to_be_expected_unless_that_is_why() -> None:
    of_error = _doubt(50.0, 1.4, nothing, nothing, [0, 1, 2])
    assert of_error == "an error of 1.4 px is to be expected"
    told = {doubt: _measure(doubt)[1].expected_error_px for doubt in (None, of_error, STRANGERS)}
    assert told == {None: 1.4, of_error: 1.4, STRANGERS: None}


@pytest.mark.parametrize(("doubt", "ending"), [(None, "third; expected error 1.40 px"), (STRANGERS, "first third")])
def test_the_picture_gives_no_error_above_a_motion_that_is_not_to_be_relied_on(
    doubt: str | None, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[str, str]] = []

    def listen(name: str, field: Any, pixel_size_ang: float, words: str, said: str) -> Any:
        drawn.append((words, said))
        return draw_motion_plot(name, field, pixel_size_ang, words, said)

    monkeypatch.setattr(motion_results, "draw_motion_plot", listen)
    estimate, metrics = _measure(doubt)
    write_motion(make_item(acquisition=ACQUISITION), field_of(estimate), metrics, 0.0, FakeContext(tmp_path))
    ((words, said),) = drawn
    assert words.endswith(ending)
    assert said == ("" if doubt is None else f"{NOT_RELIED_ON}: {STRANGERS}")
