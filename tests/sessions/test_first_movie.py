"""What the first whole movie of a session shows to be missing or mistaken in what was given."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from daemon.config.acquisition import AcquisitionSettings
from daemon.domain.acquisition import Acquisition, EerFractions, GainReference
from daemon.domain.movie import FileIdentity, MovieFormat, MovieHeader
from daemon.formats.mrc_writer import write_mrc
from daemon.sessions.first_movie import (
    ABERRATION_IMPLAUSIBLE,
    DOSE_IMPLAUSIBLE,
    FIRST_MOVIE,
    GAIN_MISSING,
    PIXEL_SIZE_CONTRADICTED,
    PIXEL_SIZE_IMPLAUSIBLE,
    find_doubts,
    first_movie_notes,
)
from daemon.store import sessions
from tests.sessions.desk import Desk, identify

pytestmark = pytest.mark.anyio

Build = Callable[..., Desk]

KNOWN = Acquisition(pixel_size_ang=0.83, dose_per_frame_e_per_ang2=1.0, gain=GainReference(Path("gain.mrc")))
HEADER = MovieHeader(Path("m.tif"), MovieFormat.TIFF, 5760, 4092, 40, "uint8", 0.83, 40 * 5760 * 4092)


def kinds_of(acquisition: Acquisition, header: MovieHeader = HEADER) -> list[str]:
    return [doubt.kind for doubt in find_doubts("24dec03a", acquisition, header)]


def test_what_fits_is_not_doubted() -> None:
    assert kinds_of(KNOWN) == []
    assert kinds_of(Acquisition(gain=KNOWN.gain)) == []


@pytest.mark.parametrize(
    ("said_ang", "is_doubted"), [(None, False), (1.0, False), (0.86, False), (0.415, True), (1.66, True)]
)
def test_a_pixel_size_is_doubted_where_the_movie_says_another_magnification(
    said_ang: float | None, is_doubted: bool
) -> None:
    """1 Å is what programs write that do not know it, and a calibrated pixel is a few percent off."""
    kinds = kinds_of(KNOWN, replace(HEADER, pixel_size_ang=said_ang))
    assert kinds == ([PIXEL_SIZE_CONTRADICTED] if is_doubted else [])


@pytest.mark.parametrize(
    ("given_ang", "said_ang", "doubts"),
    [
        (0.1, None, [PIXEL_SIZE_IMPLAUSIBLE]),
        (0.2, None, []),
        (10.0, 1.0, []),
        (66.0, 1.0, [PIXEL_SIZE_IMPLAUSIBLE]),
        (None, 0.08, [PIXEL_SIZE_IMPLAUSIBLE]),
        (None, None, []),
        (0.1, 0.83, [PIXEL_SIZE_CONTRADICTED, PIXEL_SIZE_IMPLAUSIBLE]),
    ],
)
def test_a_pixel_size_that_no_microscope_has_is_doubted(
    given_ang: float | None, said_ang: float | None, doubts: list[str]
) -> None:
    header = replace(HEADER, pixel_size_ang=said_ang)
    taken = replace(KNOWN, pixel_size_ang=given_ang, dose_per_frame_e_per_ang2=None)
    assert kinds_of(taken, header) == doubts


def test_a_pixel_size_that_no_microscope_has_is_noted_until_it_is_changed() -> None:
    tiny = replace(KNOWN, pixel_size_ang=0.1)
    (doubt,) = find_doubts("24dec03a", tiny, replace(HEADER, pixel_size_ang=None))
    assert "0.1 Å/px is given, and single particles are recorded with 0.2 to 10" in doubt.message
    told = {FIRST_MOVIE: {doubt.kind: {"given": doubt.given, "note": doubt.note}}}
    assert first_movie_notes(tiny, told) == ["the pixel size is doubtful: 0.1 Å/px is given"]
    assert first_movie_notes(KNOWN, told) == []


def test_a_doubtful_pixel_size_names_both_and_where_it_is_set() -> None:
    (doubt,) = find_doubts("24dec03a", KNOWN, replace(HEADER, pixel_size_ang=1.66))
    assert "24dec03a" in doubt.message
    assert "0.83 Å/px is given, and the movies say 1.66 Å/px" in doubt.message
    assert "acquisition.pixel_size_ang" in doubt.hint


@pytest.mark.parametrize(
    "acquisition",
    [
        replace(KNOWN, dose_per_frame_e_per_ang2=15.0),
        replace(KNOWN, dose_per_frame_e_per_ang2=None, total_dose_e_per_ang2=600.0),
    ],
)
def test_a_dose_that_no_specimen_bears_is_doubted(acquisition: Acquisition) -> None:
    (doubt,) = find_doubts("24dec03a", acquisition, HEADER)
    assert doubt.kind == DOSE_IMPLAUSIBLE
    assert "600 e⁻/Å² a movie (15 a frame, 40 frames)" in doubt.message


def test_a_dose_ten_times_that_of_a_frame_is_doubted_also_of_few_frames() -> None:
    few = replace(HEADER, frame_count=12)
    assert kinds_of(replace(KNOWN, dose_per_frame_e_per_ang2=15.0), few) == [DOSE_IMPLAUSIBLE]
    assert kinds_of(replace(KNOWN, dose_per_frame_e_per_ang2=6.0), few) == []
    assert kinds_of(replace(KNOWN, dose_per_frame_e_per_ang2=50.0), replace(HEADER, frame_count=1)) == []


@pytest.mark.parametrize(("given_mm", "is_doubted"), [(None, False), (0.0, False), (2.7, False), (0.0027, True)])
def test_an_aberration_in_metres_is_doubted(given_mm: float | None, *, is_doubted: bool) -> None:
    kinds = kinds_of(replace(KNOWN, spherical_aberration_mm=given_mm))
    assert kinds == ([ABERRATION_IMPLAUSIBLE] if is_doubted else [])


def test_the_dose_of_an_eer_movie_is_that_of_its_fractions() -> None:
    eer = replace(HEADER, format=MovieFormat.EER, frame_count=1000)
    assert kinds_of(replace(KNOWN, eer=EerFractions(fractions=40)), eer) == []
    assert kinds_of(replace(KNOWN, dose_per_frame_e_per_ang2=10.0, eer=EerFractions(fractions=40)), eer) == [
        DOSE_IMPLAUSIBLE
    ]


def test_a_note_lasts_as_long_as_what_was_doubted_is_given() -> None:
    told = {
        GAIN_MISSING: {"given": None, "note": "no gain"},
        PIXEL_SIZE_CONTRADICTED: {"given": 0.83, "note": "doubtful pixel"},
    }
    assert first_movie_notes(replace(KNOWN, gain=None), {FIRST_MOVIE: told}) == ["no gain", "doubtful pixel"]
    assert first_movie_notes(replace(KNOWN, pixel_size_ang=1.66), {FIRST_MOVIE: told}) == []
    # An image's own record gave it: the session does not know it.
    assert first_movie_notes(replace(KNOWN, pixel_size_ang=None), {FIRST_MOVIE: told}) == ["doubtful pixel"]


async def test_a_mended_mistake_that_is_made_again_otherwise_is_told_again(build: Build) -> None:
    for given_ang, notices in ((0.5, 1), (0.5, 1), (0.6, 2), (0.83, 2)):
        desk = build()
        await desk.open_session(acquisition=AcquisitionSettings(pixel_size_ang=given_ang))
        path = desk.frames / f"m{given_ang}_{notices}.mrc"
        write_mrc(path, np.ones((2, 8, 8), np.float32), pixel_size_ang=0.83)
        await desk.intake.seen([identify(path)])
        await desk.intake.complete(identify(path), 2, "whole")
        assert (await desk.event_kinds()).count("session.notification") == notices, given_ang
    # One notification, which says what holds last.
    (warning,) = await sessions.notifications(desk.store, desk.session_id)
    assert (warning.kind, warning.severity) == ("pixel_size_contradicted", "warning")
    assert "0.6 Å/px is given" in warning.message


async def test_a_counting_movie_without_gain_is_told_once_a_session(build: Build) -> None:
    desk = build()
    await desk.open_session()
    files = []
    for number in range(2):
        path = desk.frames / f"m{number}.mrc"
        write_mrc(path, np.ones((2, 8, 8), np.int8), pixel_size_ang=1.0)
        files.append(identify(path))
    await desk.intake.seen(files)
    for file in files:
        await desk.intake.complete(file, 2, "whole")
    desk = build()
    await desk.open_session()
    path = desk.frames / "m2.mrc"
    os.link(desk.frames / "m1.mrc", path)
    await desk.intake.seen([FileIdentity(path, 100, 1)])
    await desk.intake.complete(FileIdentity(path, 100, 1), 2, "whole")
    (warning,) = await sessions.notifications(desk.store, desk.session_id)
    assert (warning.kind, warning.severity) == ("gain_missing", "warning")
    assert "acquisition.gain" in warning.hint
    assert (await desk.event_kinds()).count("session.notification") == 1


async def test_movies_that_hold_no_counts_need_no_gain(build: Build) -> None:
    desk = build()
    await desk.open_session()
    path: Path = desk.frames / "m.mrc"
    write_mrc(path, np.ones((2, 8, 8), np.float32), pixel_size_ang=1.0)
    file = identify(path)
    await desk.intake.seen([file])
    await desk.intake.complete(file, 2, "whole")
    assert await sessions.notifications(desk.store, desk.session_id) == []
