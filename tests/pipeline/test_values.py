"""Products, retry policy, parameters and failures as values."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from daemon.errors import AcquisitionUnknown, FileNotWritten
from daemon.pipeline.product import ALIGNED, THUMBNAIL
from daemon.pipeline.result import TaskFailed
from daemon.pipeline.stage import RetryPolicy
from tests.engine.fakes import FakeParams


def test_a_product_lies_in_its_category_under_the_images_name() -> None:
    assert ALIGNED.path(Path("/home/s"), "x_1") == Path("/home/s/motioncor/x_1_aligned.mrc")
    assert THUMBNAIL.path(Path("/home/s"), "x.1") == Path("/home/s/thumbnails/x.1.jpg")


def test_retries_wait_ever_longer() -> None:
    policy = RetryPolicy(attempts=4, delay_s=2.0, factor=4.0)
    assert [policy.delay_before(attempt) for attempt in (1, 2, 3, 4)] == [0.0, 2.0, 8.0, 32.0]


@pytest.mark.parametrize("wrong", [{"factor": 0.0}, {"factor": float("nan")}, {"faktor": 1.0}])
def test_parameters_are_checked_and_frozen(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        FakeParams.model_validate(wrong)
    with pytest.raises(ValidationError):
        FakeParams().factor = 2.0  # type: ignore[misc]


def test_a_failure_keeps_the_words_of_its_error() -> None:
    unknown = TaskFailed.from_error(AcquisitionUnknown("voltage_kv", "x"))
    assert (unknown.kind, unknown.retryable) == ("acquisition_unknown", False)
    assert unknown.hint.startswith("Set acquisition.voltage_kv")
    full = TaskFailed.from_error(FileNotWritten(Path("/x"), OSError(28, "No space left on device")))
    assert full.retryable
    assert "No space left on device" in full.message
