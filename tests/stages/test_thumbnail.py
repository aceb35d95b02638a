"""thumbnail: the picture, its proportions and its metrics."""

from pathlib import Path

import numpy as np
import pytest

from daemon.errors import TaskCancelled
from daemon.pipeline.product import ALIGNED, THUMBNAIL
from daemon.stages.thumbnail import Thumbnail, ThumbnailMetrics, ThumbnailParams
from tests.stages.fakes import FakeContext, FakeInputs, make_item, read_picture

STAGE = Thumbnail()


def micrograph() -> np.ndarray:
    return np.random.default_rng(1).normal(30, 5, (600, 900)).astype(np.float32)


def test_the_picture_keeps_proportions_and_says_its_size(tmp_path: Path) -> None:
    context = FakeContext(tmp_path, inputs=FakeInputs({ALIGNED: micrograph()}))
    metrics = STAGE.run(make_item(), ThumbnailParams(), context).metrics
    assert isinstance(metrics, ThumbnailMetrics)
    assert context.written[THUMBNAIL].read_bytes().startswith(b"\xff\xd8")
    picture = read_picture(context.written[THUMBNAIL])
    assert picture.shape == (494, 741)
    assert (metrics.width_px, metrics.height_px) == (741, 494)
    assert metrics.mean_level == pytest.approx(30, abs=0.1)
    assert metrics.level_deviation == pytest.approx(5, rel=0.02)
    assert picture.std() > 20


def test_same_micrograph_gives_the_same_bytes(tmp_path: Path) -> None:
    pictures = []
    for folder in ("one", "other"):
        context = FakeContext(tmp_path / folder, inputs=FakeInputs({ALIGNED: micrograph()}))
        STAGE.run(make_item(), ThumbnailParams(), context)
        pictures.append(context.written[THUMBNAIL].read_bytes())
    assert pictures[0] == pictures[1]


def test_small_micrographs_are_enlarged_to_the_height(tmp_path: Path) -> None:
    context = FakeContext(tmp_path, inputs=FakeInputs({ALIGNED: micrograph()[:100, :120]}))
    STAGE.run(make_item(), ThumbnailParams(height_px=200), context)
    assert read_picture(context.written[THUMBNAIL]).shape == (200, 240)


def test_a_cancelled_run_writes_nothing(tmp_path: Path) -> None:
    context = FakeContext(tmp_path, inputs=FakeInputs({ALIGNED: micrograph()}), is_cancelled=lambda: True)
    with pytest.raises(TaskCancelled):
        STAGE.run(make_item(), ThumbnailParams(), context)
    assert not context.written


def test_needs_grow_with_the_micrograph() -> None:
    small, large = make_item().movie, make_item(shape_tyx=(40, 4092, 5760)).movie
    assert STAGE.needs(large, ThumbnailParams()).host_bytes > STAGE.needs(small, ThumbnailParams()).host_bytes
