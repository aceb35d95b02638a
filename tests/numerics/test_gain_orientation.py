"""Gain references found the right way round, and no guess where counts or gain do not tell."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from daemon.numerics.gain_orientation import PatternEvidence, central_part, gain_pattern, weigh_orientations
from tests.numerics.gain_cases import ORIENTATIONS, Camera, draw_camera, turn

SEEDS = range(20)


def weigh(counts_yx: npt.NDArray[Any], stored_yx: npt.NDArray[Any]) -> PatternEvidence[str]:
    pattern_yx = gain_pattern(stored_yx)
    patterns: Mapping[str, npt.NDArray[Any]] = {name: turn(pattern_yx, name) for name in ORIENTATIONS}
    return weigh_orientations(counts_yx, patterns)


def stored_for(camera: Camera, name: str) -> npt.NDArray[Any]:
    """Return the gain as a file holds it that must be turned by `name` to fit the frames."""
    inverse = {"turned 90": "turned 270", "turned 270": "turned 90"}.get(name, name)
    return turn(camera.gain_yx, inverse)


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_the_right_one_of_sixteen_is_found_in_every_seed(name: str) -> None:
    found = []
    for seed in SEEDS:
        camera = draw_camera((192, 192), seed)
        stored_yx = stored_for(camera, name)
        np.testing.assert_array_equal(turn(stored_yx, name), camera.gain_yx)
        counts_yx = camera.expose(40.0, seed)
        for divides, file_yx in ((False, stored_yx), (True, 1 / np.where(stored_yx > 0, stored_yx, np.inf))):
            evidence = weigh(counts_yx, file_yx)
            found.append((evidence.best, evidence.divides, evidence.doubt) == (name, divides, None))
    assert (len(found), sum(found)) == (40, 40)


def test_the_strength_is_how_much_of_the_gain_the_counts_show() -> None:
    camera = draw_camera((512, 512), 3)
    evidence = weigh(camera.expose(40.0, 3), camera.gain_yx)
    assert evidence.strength == pytest.approx(1.0, abs=0.05)
    corrected_yx = camera.expose(400.0, 3) * np.where(camera.gain_yx > 0, camera.gain_yx, 1.0)
    halfway_yx = camera.expose(400.0, 3) * np.where(camera.gain_yx > 0, camera.gain_yx, 1.0) ** 0.5
    assert weigh(halfway_yx, camera.gain_yx).strength == pytest.approx(0.5, abs=0.05)
    assert weigh(corrected_yx, camera.gain_yx).strength < 0.05


@pytest.mark.parametrize("seed", range(5))
def test_fewer_counts_end_in_silence_never_in_another_orientation(seed: int) -> None:
    camera, doubts = draw_camera((256, 256), seed), []
    for counts_per_px in (0.02, 0.1, 0.5, 2.0, 8.0, 32.0):
        evidence = weigh(camera.expose(counts_per_px, seed), camera.gain_yx)
        doubts.append(evidence.doubt)
        assert evidence.doubt == "thin" or (evidence.best, evidence.divides, evidence.doubt) == ("as is", False, None)
    assert doubts[0] == "thin"
    assert doubts[-1] is None


@pytest.mark.parametrize("symmetry", ["upside down", "mirrored", "turned 180", "transposed"])
def test_a_gain_with_a_symmetry_is_undecided(symmetry: str) -> None:
    camera = draw_camera((256, 256), 1, symmetry=symmetry)
    assert weigh(camera.expose(60.0, 1), camera.gain_yx).doubt == "alike"


def test_a_gain_of_columns_alone_is_undecided_as_upside_down_looks_the_same() -> None:
    camera = draw_camera((256, 256), 2, pixels=0.0, rows=0.0, blocks=0.0)
    evidence = weigh(camera.expose(60.0, 2), camera.gain_yx)
    assert evidence.doubt == "alike"
    assert evidence.margin_sigma < 3


def test_a_flat_gain_tells_nothing() -> None:
    camera = draw_camera((256, 256), 2)
    assert weigh(camera.expose(40.0, 2), np.ones((256, 256))).doubt == "flat"


@pytest.mark.parametrize("seed", range(8))
def test_the_gain_of_another_camera_is_called_foreign(seed: int) -> None:
    counts_yx = draw_camera((512, 512), seed).expose(60.0, seed)
    assert weigh(counts_yx, draw_camera((512, 512), seed + 100).gain_yx).doubt == "foreign"


def test_movies_that_the_camera_has_corrected_all_but_wholly_are_called_faint() -> None:
    camera = draw_camera((512, 512), 4)
    counts_yx = camera.expose(400.0, 4) * np.where(camera.gain_yx > 0, camera.gain_yx, 1.0) ** 0.85
    assert weigh(counts_yx, camera.gain_yx).doubt == "faint"


def test_a_sensor_that_is_not_square_leaves_out_what_cannot_fit() -> None:
    camera = draw_camera((224, 320), 5)
    counts_yx = camera.expose(40.0, 5)
    for name in ("as is", "mirrored", "upside down", "turned 180"):
        evidence = weigh(counts_yx, stored_for(camera, name))
        assert (evidence.best, evidence.doubt) == (name, None)
    turned = weigh(counts_yx, stored_for(camera, "turned 90"))
    assert (turned.best, turned.doubt) == ("turned 90", None)
    with pytest.raises(ValueError, match=r"no pattern has the shape"):
        weigh(counts_yx, np.ones((224, 321)))


def test_bad_pixels_edges_of_holes_and_a_noisy_gain_do_not_mislead() -> None:
    camera = draw_camera((512, 512), 6)
    counts_yx = camera.expose(40.0, 6)
    counts_yx[100:106, 200:206] = 40 * 255
    counts_yx[:, 77:79] = 40 * 255
    counts_yx[400:, :120] = 0
    counts_yx[:, 300:] *= 2.5
    measured_yx = camera.gain_yx * (1 + 0.01 * np.random.default_rng(6).standard_normal((512, 512)))
    measured_yx[3, 5], measured_yx[9, 9], measured_yx[7, 7] = np.nan, -1.0, np.inf
    evidence = weigh(counts_yx, turn(measured_yx, "mirrored"))
    assert (evidence.best, evidence.divides, evidence.doubt) == ("mirrored", False, None)


@pytest.mark.parametrize("shape_yx", [(2050, 2050), (2049, 2051), (2048, 2048), (64, 5000), (3001, 2048)])
def test_the_middle_of_what_is_turned_is_the_middle_turned(shape_yx: tuple[int, int]) -> None:
    image_yx = np.random.default_rng(0).random(shape_yx, dtype=np.float32)
    middle_yx = image_yx[central_part(image_yx.shape)]
    assert max(middle_yx.shape) <= 2048
    assert min(middle_yx.shape) >= min(*shape_yx, 2047)
    for name in ORIENTATIONS:
        turned_yx = turn(image_yx, name)
        np.testing.assert_array_equal(turn(middle_yx, name), turned_yx[central_part(turned_yx.shape)])


def test_what_cannot_be_weighed_is_refused() -> None:
    pattern_yx = gain_pattern(draw_camera((64, 64), 0).gain_yx)
    with pytest.raises(ValueError, match="must be positive"):
        weigh_orientations(np.zeros((64, 64)), {"as is": pattern_yx})
    with pytest.raises(ValueError, match="no pixel of the gain"):
        gain_pattern(np.zeros((8, 8)))
    with pytest.raises(ValueError, match="axes"):
        gain_pattern(np.ones((2, 8, 8)))


def test_a_small_image_is_never_enough() -> None:
    camera = draw_camera((24, 200), 0)
    assert weigh(camera.expose(1000.0, 0), camera.gain_yx).doubt == "thin"
