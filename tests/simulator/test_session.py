"""Whole simulated sessions on disk, read back by the daemon's own readers."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.domain.acquisition import CameraReference, EerFractions, GainReference
from daemon.errors import FileNotWritten, FileUnreadable, FormatError, SimulationInvalid
from daemon.formats.dark import read_dark
from daemon.formats.defects import read_defects
from daemon.formats.gain import read_gain
from daemon.formats.movie import read_movie, read_movie_header
from daemon.formats.structure import inspect_structure
from daemon.simulator.arrival import Arrival
from daemon.simulator.plan import MovieSize, SessionPlan, SessionRequest, plan_session
from daemon.simulator.session import SimulatedSession, SimulationProgress, build_camera, make_movie, write_session
from daemon.simulator.truth import read_truth
from tests.simulator.clocks import FakeClock

SIZE = MovieSize(192, 128, 4, pixel_size_ang=2.0, electrons_per_px=1.5)


def _plan(movies: int = 3, **changes: Any) -> SessionPlan:
    settings: dict[str, Any] = {"movie_format": "mixed", "size": SIZE, **changes}
    return plan_session(SessionRequest("24dec03a", movies, **settings))


def _digest(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        digest.update(str(path.relative_to(root)).encode())
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _read(path: Path) -> "np.ndarray[Any, Any]":
    return read_movie(read_movie_header(path), eer=EerFractions(SIZE.frames, 1))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSession:
    return write_session(_plan(), tmp_path_factory.mktemp("gpfs"))


def test_a_session_has_the_layout_of_a_raw_directory(mixed: SimulatedSession) -> None:
    names = sorted(str(path.relative_to(mixed.directory)) for path in mixed.directory.rglob("*") if path.is_file())
    assert names == sorted(
        ["gains/gain.mrc", "session.json", "truth.json"] + [f"frames/{path.name}" for path in mixed.movies]
    )
    assert [path.suffix for path in mixed.movies] == [".mrc", ".tif", ".eer"]
    assert mixed.total_bytes == sum(path.stat().st_size for path in mixed.movies)


def test_every_movie_is_whole_and_holds_the_planned_frames(mixed: SimulatedSession) -> None:
    plan = _plan()
    detector = build_camera(plan)
    for planned, path in zip(plan.movies, mixed.movies, strict=True):
        structure = inspect_structure(path)
        assert structure.whole, structure.reason
        header = read_movie_header(path)
        assert header.shape_yx == SIZE.shape_yx
        assert header.pixel_size_ang == pytest.approx(2.0, rel=1e-3)
        assert header.frame_count == (4 * 15 if path.suffix == ".eer" else 4)
        movie_tyx = _read(path)
        made = make_movie(plan, planned, detector)
        if path.suffix == ".eer":
            hardware = np.stack([frame.numpy() for frame in made.hardware_frames(15)])
            expected = hardware.reshape(4, 15, *SIZE.shape_yx).sum(axis=1)
        else:
            expected = made.stack().numpy()
        np.testing.assert_array_equal(movie_tyx, expected)


def test_the_gain_on_disk_flattens_every_format(mixed: SimulatedSession) -> None:
    detector = build_camera(_plan())
    for path in mixed.movies:
        reference = GainReference(mixed.directory / "gains" / "gain.mrc", operation="multiply")
        gain_yx = read_gain(reference, read_movie_header(path))
        np.testing.assert_array_equal(gain_yx, detector.gain_yx.numpy())
    acquisition = json.loads((mixed.directory / "session.json").read_text())["acquisition"]
    assert acquisition["gain"]["operation"] == "multiply"


def test_the_truth_names_every_movie(mixed: SimulatedSession) -> None:
    plan = _plan()
    session, movies = read_truth(mixed.directory / "truth.json")
    assert session["session"] == "24dec03a"
    detector = build_camera(plan)
    assert session["hot_pixels_yx"] == detector.hot_yx.nonzero().tolist()
    assert list(movies) == [planned.name for planned in plan.movies]
    for planned in plan.movies:
        true = movies[planned.name]
        assert (mixed.directory / true.file).is_file()
        made = make_movie(plan, planned, detector).truth
        assert (true.defocus_u_ang, true.defocus_v_ang) == (planned.defocus_u_ang, planned.defocus_v_ang)
        assert true.motion_tyx2.shape == (4, 13, 13, 2)
        np.testing.assert_allclose(true.motion_tyx2, made.motion.on_grid(13, 13).numpy(), atol=1e-4)
        np.testing.assert_allclose(true.particles_n2, made.particles.positions_n2.numpy(), atol=0.01)
        assert true.frame_count == 4
        assert true.dose_per_frame_e_per_ang2 == pytest.approx(1.5 / 4)


def test_the_same_plan_writes_the_same_bytes_however_it_arrives(mixed: SimulatedSession, tmp_path: Path) -> None:
    expected = _digest(mixed.directory)
    arrivals = {
        "in_place": Arrival(in_place=True),
        "slow": Arrival(600, "slow"),
        "prepared": Arrival(600, "slow", in_place=True, prepared=True),
    }
    for name, arrival in arrivals.items():
        staging = tmp_path / f"{name}-staging"
        staging.mkdir()
        written = write_session(_plan(), tmp_path / name, arrival, clock=FakeClock(), staging=staging)
        assert _digest(written.directory) == expected, name
        assert list(staging.iterdir()) == []


def test_movies_arrive_at_their_rate_while_slow_files_grow(tmp_path: Path) -> None:
    sizes: list[tuple[str, int]] = []
    frames = tmp_path / "24dec03a" / "frames"

    def look() -> None:
        sizes.extend((path.name, path.stat().st_size) for path in sorted(frames.iterdir()))

    clock = FakeClock(on_sleep=look)
    arrival = Arrival(120, "slow", in_place=True, prepared=True)
    written = write_session(_plan(2, movie_format="tiff"), tmp_path, arrival, clock=clock)
    # Two movies 30 s apart, each growing over 18 s: the second is whole 48 s after the start.
    assert clock.moment_s == pytest.approx(1048.0)
    assert written.late_s == 0
    first = written.movies[0]
    growing = [size for name, size in sizes if name == first.name and size < first.stat().st_size]
    assert len(set(growing)) > 20
    assert growing == sorted(growing)


def test_a_machine_that_is_too_slow_is_told(tmp_path: Path) -> None:
    clock = FakeClock()
    arrival = Arrival(3600, "slow", write_s=5.0)
    written = write_session(_plan(3, movie_format="mrc"), tmp_path, arrival, clock=clock)
    assert written.late_s == pytest.approx(8.0)


def test_progress_is_told_in_order(tmp_path: Path) -> None:
    events: list[SimulationProgress] = []
    write_session(_plan(2, movie_format="mrc"), tmp_path, Arrival(prepared=True), on_progress=events.append)
    phases = [(event.index, event.phase) for event in events]
    assert phases == [(index, "making") for index in (0, 1) for _ in range(4)] + [
        step for index in (0, 1) for step in [(index, "waiting")] + [(index, "writing")] * 64 + [(index, "written")]
    ]
    assert all(0 <= event.current <= event.total and event.movies == 2 for event in events)


@pytest.mark.parametrize(("mrc_type", "dtype"), [("bytes", "uint8"), ("uint16", "uint16"), ("float32", "float32")])
def test_mrc_movies_come_in_three_types(tmp_path: Path, mrc_type: Any, dtype: str) -> None:
    written = write_session(_plan(1, movie_format="mrc", mrc_type=mrc_type), tmp_path)
    header = read_movie_header(written.movies[0])
    assert header.dtype == dtype
    assert float(_read(written.movies[0]).mean()) == pytest.approx(1.5, rel=0.05)


@pytest.mark.parametrize("kind", ["mrc4", "tiff-tiled", "eer65000", "eer65002"])
def test_every_kind_holds_the_same_counts(tmp_path: Path, kind: Any) -> None:
    plan = _plan(1, movie_format=kind)
    (path,) = write_session(plan, tmp_path).movies
    assert inspect_structure(path).whole
    made = make_movie(plan, plan.movies[0], build_camera(plan))
    expected = made.stack().numpy()
    if kind == "mrc4":
        expected = np.minimum(expected, 15)
        assert path.read_bytes()[12] == 101
    elif kind.startswith("eer"):
        hardware = np.stack([frame.numpy() for frame in made.hardware_frames(15)])
        expected = hardware.reshape(4, 15, *SIZE.shape_yx).sum(axis=1)
    np.testing.assert_array_equal(_read(path), expected)


def test_camera_faults_are_in_the_movies_and_in_the_files_that_name_them(tmp_path: Path) -> None:
    plan = _plan(3, camera_faults=True)
    written = write_session(plan, tmp_path)
    acquisition = json.loads((written.directory / "session.json").read_text())["acquisition"]
    dark = CameraReference(written.directory / acquisition["dark"]["path"])
    named = CameraReference(written.directory / acquisition["defects"]["path"])
    for planned, path in zip(plan.movies, written.movies, strict=True):
        header, movie_tyx = read_movie_header(path), _read(path)
        bad_yx = read_defects(named, header)
        assert 2 * SIZE.height_px <= bad_yx.sum() <= 2 * SIZE.height_px + 36
        made = make_movie(plan, planned, build_camera(plan))
        if path.suffix == ".eer":
            assert not movie_tyx[:, bad_yx].any()
            continue
        assert (movie_tyx[:, bad_yx] == 255).all()
        counts_tyx = movie_tyx.astype(np.float32) - read_dark(dark, header)
        np.testing.assert_array_equal(counts_tyx[:, ~bad_yx], made.stack().numpy()[:, ~bad_yx])


def test_without_a_manifest_there_is_only_the_directory(tmp_path: Path) -> None:
    written = write_session(_plan(1, manifest="none"), tmp_path)
    assert not (written.directory / "session.json").exists()


def test_a_taken_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "24dec03a").mkdir()
    with pytest.raises(SimulationInvalid, match="exists already"):
        write_session(_plan(), tmp_path)
    assert list((tmp_path / "24dec03a").iterdir()) == []
    with pytest.raises(SimulationInvalid, match="rate"):
        write_session(_plan(), tmp_path / "other", Arrival(-1))
    assert not (tmp_path / "other").exists()


def test_a_place_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FileNotWritten, match="file"):
        write_session(_plan(), tmp_path / "file")
    with pytest.raises(FileNotWritten, match="nowhere"):
        write_session(_plan(), tmp_path / "gpfs", Arrival(prepared=True), staging=tmp_path / "nowhere")


def test_a_damaged_truth_is_called_so(tmp_path: Path) -> None:
    path = tmp_path / "truth.json"
    with pytest.raises(FileUnreadable):
        read_truth(path)
    for text in ("", "[]", '{"movies": [{}]}', '{"movies": 3}'):
        path.write_text(text)
        with pytest.raises(FormatError, match=r"not a truth\.json"):
            read_truth(path)


def test_the_phase_plate_reaches_the_truth(tmp_path: Path) -> None:
    plan = _plan(1, movie_format="mrc", phase_shift_deg=90.0)
    written = write_session(replace(plan), tmp_path)
    true = next(iter(read_truth(written.directory / "truth.json")[1].values()))
    assert true.phase_shift_deg == 90.0
    assert json.loads((written.directory / "session.json").read_text())["acquisition"]["phase_plate"] is True
