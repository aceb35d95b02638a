"""The picture of a CTF fit and the table of its curves."""

from pathlib import Path

import numpy as np
import pytest

from daemon.domain.ctf import Ctf, CtfCurves
from daemon.errors import FileUnreadable, FormatError
from daemon.formats.ctf_plot import draw_ctf_plot
from daemon.formats.drawing import BLUE, GREEN, VERMILION
from daemon.formats.rotational_average import read_rotational_average, write_rotational_average

CTF = Ctf(22474.0, 21482.0, -53.0, 0.0, 0.195, 4.0)


def make_curves(count: int = 200) -> CtfCurves:
    frequency = np.linspace(0.034, 0.32, count)
    rings = np.sin(700 * frequency**2) ** 2
    background = np.exp(-5 * frequency)
    envelope = background * np.exp(-20 * frequency**2)
    power = background + envelope * rings
    return CtfCurves(
        frequency, power, power * 1.01, power, background, envelope, rings, np.cos(3 * frequency), 0 * rings + 0.5
    )


def draw(
    name: str, halves: np.ndarray, ctf: Ctf | None, curves: CtfCurves | None, doubt: str, depth: str = ""
) -> np.ndarray:
    return draw_ctf_plot(name, halves, ctf, curves, doubt, depth, edge_per_ang=0.5)


def count_pixels(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((picture == colour).all(axis=2).sum())


def test_picture_shows_curves_and_halves() -> None:
    halves = np.zeros((64, 64), dtype=np.uint8)
    halves[:, 32:] = 200
    picture = draw("image_00001", halves, CTF, make_curves(), "")
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert tuple(picture[300, 100]) == (0, 0, 0)
    assert tuple(picture[300, 400]) == (200, 200, 200)
    assert count_pixels(picture, BLUE) > 300
    assert count_pixels(picture, VERMILION) > 300


def test_fit_is_drawn_only_as_far_as_it_agrees() -> None:
    halves = np.zeros((64, 64), dtype=np.uint8)
    near = Ctf(22474.0, 21482.0, -53.0, 0.0, 0.195, 12.0)
    whole = count_pixels(draw("a", halves, CTF, make_curves(), ""), VERMILION)
    assert count_pixels(draw("a", halves, near, make_curves(), ""), VERMILION) < 0.6 * whole


def test_the_end_of_the_fit_is_a_circle_in_the_spectrum() -> None:
    """4 Å of 2 Å at the edge: half way out, all round."""
    halves = np.zeros((64, 64), dtype=np.uint8)
    spectrum = draw("a", halves, CTF, make_curves(), "")[78:518, 20:460]
    rows, columns = np.nonzero((spectrum == GREEN).all(axis=2))
    radii = np.hypot(rows - 219.5, columns - 219.5)
    assert len(radii) > 40  # lines are smoothed: few of their pixels have the whole colour
    assert abs(radii - 110).max() < 1.5
    beyond = Ctf(22474.0, 21482.0, -53.0, 0.0, 0.195, 1.5)
    assert count_pixels(draw("a", halves, beyond, make_curves(), "")[78:518, 20:460], GREEN) == 0


def test_fit_that_agrees_nowhere_is_not_drawn() -> None:
    halves = np.zeros((64, 64), dtype=np.uint8)
    nowhere = Ctf(22474.0, 21482.0, -53.0, 0.0, 0.195, None)
    picture = draw("a", halves, nowhere, make_curves(), "")
    whole = count_pixels(draw("a", halves, CTF, make_curves(), ""), VERMILION)
    assert count_pixels(picture, VERMILION) == 0 < whole
    assert count_pixels(picture, BLUE) > 300
    assert (picture[380:, 530:] == 255).all(), "no agreement where nothing agrees"


def test_doubt_is_written_in_red_and_changes_nothing_else() -> None:
    halves = np.zeros((64, 64), dtype=np.uint8)
    sure = draw("a", halves, CTF, make_curves(), "")
    doubtful = draw("a", halves, CTF, make_curves(), "no rings")
    changed = np.flatnonzero((sure != doubtful).any(axis=(1, 2)))
    assert len(changed) > 0
    assert changed.min() > 540


def test_tilt_and_thickness_are_said_below_the_curves() -> None:
    halves = np.zeros((64, 64), dtype=np.uint8)
    plain = draw("a", halves, CTF, make_curves(), "")
    told = draw("a", halves, CTF, make_curves(), "", "Specimen: tilt 5.2 ± 0.8°, its axis at 30°")
    changed = np.flatnonzero((plain != told).any(axis=(1, 2)))
    assert len(changed) > 0
    assert changed.min() > 530


def test_without_a_fit_the_picture_says_so() -> None:
    picture = draw("a", np.full((64, 64), 128, dtype=np.uint8), None, None, "the spectrum holds no power")
    assert count_pixels(picture, BLUE) == 0
    assert count_pixels(picture, VERMILION) > 50


def test_same_numbers_give_the_same_pixels() -> None:
    halves = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    one, other = (draw("a", halves, CTF, make_curves(), "doubt") for _ in range(2))
    assert np.array_equal(one, other)


def test_rotational_average_reads_back_in_ctffinds_order(tmp_path: Path) -> None:
    curves, path = make_curves(), tmp_path / "image_avrot.txt"
    write_rotational_average(path, "image", curves)
    lines = path.read_text().splitlines()
    assert lines[0] == "# Image: image"
    assert sum(not line.startswith("#") for line in lines) == 6
    frequency, measured, _, fitted, quality, noise = read_rotational_average(path)
    np.testing.assert_allclose(frequency, curves.frequency_per_ang, rtol=1e-5)
    np.testing.assert_allclose(measured, curves.measured / curves.background, rtol=1e-5)
    np.testing.assert_allclose(fitted, curves.fitted / curves.background, rtol=1e-5)
    np.testing.assert_allclose(quality, curves.quality, rtol=1e-5)
    np.testing.assert_allclose(noise, curves.quality_noise, rtol=1e-5)


def test_without_a_fit_the_table_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "image_avrot.txt"
    write_rotational_average(path, "image", None)
    assert read_rotational_average(path) == []


def test_broken_tables_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "image_avrot.txt"
    path.write_text("1 2 3\n1 2\n")
    with pytest.raises(FormatError, match="length"):
        read_rotational_average(path)
    path.write_text("one two\n")
    with pytest.raises(FormatError, match="not a table"):
        read_rotational_average(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match="not a table"):
        read_rotational_average(path)
    with pytest.raises(FileUnreadable):
        read_rotational_average(tmp_path)
