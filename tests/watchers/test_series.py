"""Tilt series and diffraction are told from single particles by names, and nothing else is."""

from pathlib import Path

import pytest

from daemon.sessions.series_names import DIFFRACTION, TILT_SERIES, name_series, read_angle, recognise
from daemon.watchers.directory import DirectoryPoller, PollSettings
from daemon.watchers.discovery import Discoverer
from daemon.watchers.found import KnownFile
from daemon.watchers.selection import MovieSelection
from daemon.watchers.series import TiltSeries
from daemon.watchers.session_watch import selects
from tests.watchers.stand_ins import RecordingSink, StepClock, live, write_small_mrc

DATA = Path(__file__).parents[3] / "shared" / "data"

SINGLE_PARTICLES = [
    "frames/24dec03a_00012gr_00003sq_v02_00004hl_00005ex.frames.mrc",
    "Images-Disc1/GridSquare_8999138/Data/FoilHole_9015883_Data_9017347_6_20210911_164821_fractions.tiff",
    "Images-Disc1/GridSquare_1/Data/FoilHole_1_Data_2_3_20240101_101010_EER.eer",
    "frames/20220605_75157_20220605-aav2spr_1-1_counted_frames.mrc",
    "frames/apo_tilt30_00012.tif",
    "May08_03.05.02.bin.mrc",
    "tilted_30/x_00012.tif",
    "nodiffraction/x.tif",
]


@pytest.mark.parametrize(
    ("relative", "reason"),
    [
        ("Position_3_012_-36.00_20240311_101500_EER.eer", TILT_SERIES),
        ("grid1/Position_12_2_001_0.00_20240311_101500_fractions.tiff", TILT_SERIES),
        ("tilt_series_03/x_00001.tif", TILT_SERIES),
        ("TiltSeries/x_00001.tif", TILT_SERIES),
        ("EPU-D/crystal1/x_0001.mrc", DIFFRACTION),
        ("g1_microED/x_0001.mrc", DIFFRACTION),
        ("Diffraction/x_0001.tif", DIFFRACTION),
        *((relative, "") for relative in SINGLE_PARTICLES),
    ],
)
def test_names_that_tell_by_themselves(relative: str, reason: str) -> None:
    assert recognise(relative) == reason
    assert MovieSelection().reason_against(relative) == reason
    assert MovieSelection(leaves_series=False).reason_against(relative) == ""


@pytest.mark.parametrize(
    ("name", "sequence", "angle_deg"),
    [
        ("TS_01_012_-36.0.mrc", "TS_01", -36.0),
        ("s_mmm_01013_33.0_Oct08_07.46.46.tif", "s_mmm", 33.0),
        ("L1_001[12.00].tif", "L1", 12.0),
        ("x[-3.0]-17.mrc", "x", -3.0),
    ],
)
def test_angles_in_names(name: str, sequence: str, angle_deg: float) -> None:
    assert read_angle(f"frames/{name}") == (f"frames/{sequence}", angle_deg)


def test_single_particles_have_no_angle_in_their_names() -> None:
    assert [relative for relative in SINGLE_PARTICLES if read_angle(relative) is not None] == []
    assert read_angle("x_00012_07.46.46.tif") is None, "a time of day"
    assert read_angle("x_00012_95.0.tif") is None, "no stage tilts so far"


def names(angles: list[float], sequence: str = "TS_01") -> list[str]:
    return [f"{sequence}_{index:03d}_{angle:.1f}.mrc" for index, angle in enumerate(angles)]


def test_small_steps_make_a_series_and_all_of_it_is_named_once() -> None:
    series = TiltSeries()
    first = names([0.0, 3.0, -3.0, -6.0])
    assert [series.take(name) for name in first] == [[], [], first[:3], first[3:]]
    other = names([0.0, 3.0], "TS_02")
    assert [series.take(name) for name in other] == [[], []], "another sequence is another question"


@pytest.mark.parametrize(
    "angles",
    [
        [30.0] * 40,
        [29.9, 30.0, 30.1, 30.2, 29.8] * 10,
        [0.0, 20.0, 40.0] * 10,
        [0.0, 30.0] * 20,
        [0.8, 1.2, 1.6, 2.0, 2.4, 2.8] * 5,
    ],
    ids=["constant", "constant with jitter", "three chosen tilts", "two tilts", "a defocus"],
)
def test_tilted_single_particles_are_no_series(angles: list[float]) -> None:
    series = TiltSeries()
    assert [taken for name in names(angles) if (taken := series.take(name))] == []


@pytest.mark.anyio
async def test_the_first_movies_of_a_series_are_given_up_before_they_are_judged(tmp_path: Path) -> None:
    clock = StepClock()
    sink = RecordingSink(clock)
    tilts = [tmp_path / "frames" / name for name in names([0.0, 3.0, -3.0, 6.0])]
    particle = write_small_mrc(tmp_path / "frames" / "x_00012_30.0.mrc")
    write_small_mrc(tilts[0])
    write_small_mrc(tilts[1])
    discoverer = Discoverer(DirectoryPoller(tmp_path), sink, expected_frames=lambda _: 2, clock=clock)
    await live(discoverer, clock, 3.0)
    assert sink.passed_over == {}
    write_small_mrc(tilts[2])
    write_small_mrc(tilts[3])
    await live(discoverer, clock, 20.0)
    assert sink.passed_over == dict.fromkeys(tilts, TILT_SERIES)
    assert sink.paths("complete") == [particle]
    assert discoverer.is_settled


@pytest.mark.anyio
async def test_what_was_judged_stays_and_a_restart_remembers_the_sequence(tmp_path: Path) -> None:
    clock = StepClock()
    sink = RecordingSink(clock)
    first = [write_small_mrc(tmp_path / name) for name in names([0.0, 3.0])]
    poller = DirectoryPoller(tmp_path)
    known = [KnownFile(found.identity, settled=True) for found in poller.poll(0.0).new]
    last = write_small_mrc(tmp_path / "TS_01_002_-3.0.mrc")
    discoverer = Discoverer(DirectoryPoller(tmp_path, known=known), sink, expected_frames=lambda _: 2, clock=clock)
    await live(discoverer, clock, 20.0)
    assert sink.passed_over == {last: TILT_SERIES}
    assert sink.paths("vanished") == []
    assert all(path.exists() for path in first)


def test_every_movie_of_a_series_is_named_however_many_there_are(tmp_path: Path) -> None:
    tilts = [tmp_path / "tilt_series_1" / f"x_{n:03d}.tif" for n in range(9)]
    others = [tmp_path / f"{n}.jpg" for n in range(9)]
    for path in (*tilts, *others):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    result = DirectoryPoller(tmp_path, settings=PollSettings(named_others_per_suffix=3)).poll(0.0)
    assert [file.identity.path for file in result.other if file.reason == TILT_SERIES] == tilts
    assert result.tallied == {".jpg": 6}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("TS_01_000_0.0.tif", "TS_02_000_0.0.tif"),
        ("a/TS_01[-36.00]-12.mrc", "a/TS_02[-36.00]-12.mrc"),
        ("Position_3_001_0.00_20240311_101500_EER.eer", "Position_4_001_0.00_20240311_101500_EER.eer"),
        ("tilt_series_1/x_001.tif", "tilt_series_2/x_001.tif"),
        ("f/FoilHole_1_Data_2_3_20240101_101010_EER.eer", "f/FoilHole_9_Data_2_3_20240101_101010_EER.eer"),
    ],
)
def test_names_tell_one_series_from_the_next(one: str, other: str) -> None:
    assert name_series(one) != name_series(other)


@pytest.mark.parametrize(
    "tilts",
    [
        ["TS_01_000_0.0.tif", "TS_01_001_3.0.tif"],
        ["Position_3_001_0.00_20240311_101500_EER.eer", "Position_3_002_-3.00_20240311_101700_EER.eer"],
        ["TS_01[-36.00]-12.mrc", "TS_01[-33.00]-11.mrc"],
        ["TS_01_012[-36.0].mrc", "TS_01_011[-33.0].mrc"],
        ["tilt_series_1/x_001.tif", "tilt_series_1/x_002.tif"],
        ["f/FoilHole_1_Data_2_3_20240101_101010_EER.eer", "f/FoilHole_1_Data_2_4_20240101_101210_EER.eer"],
    ],
)
def test_names_of_one_series_share_its_name(tilts: list[str]) -> None:
    assert len({name_series(tilt) for tilt in tilts}) == 1


def test_who_says_otherwise_gets_them(tmp_path: Path) -> None:
    tilts = [write_small_mrc(tmp_path / name) for name in names([0.0, 3.0, -3.0])]
    poller = DirectoryPoller(tmp_path, selection=MovieSelection("TS_*", leaves_series=False))
    assert [found.path for found in poller.poll(0.0).new] == sorted(tilts)
    tomography = Path("Position_3_012_-36.00_20240311_101500_EER.eer")
    assert not selects(None)(tomography)
    assert selects("Position_*", leaves_series=False)(tomography)


def test_real_trees_of_single_particles_hold_no_series() -> None:
    if not DATA.is_dir():
        pytest.skip(f"{DATA} is not here")
    series = TiltSeries()
    paths = [path.relative_to(DATA).as_posix() for path in (DATA / "epu").rglob("*") if path.is_file()]
    assert len(paths) > 100
    assert [path for path in paths if recognise(path) or series.take(path)] == []


def test_the_frames_of_a_real_tilt_series_are_recognised() -> None:
    mdoc = DATA / "mdoc" / "tilt_series.mdoc"
    if not mdoc.is_file():
        pytest.skip(f"{mdoc} is not here")
    lines = [line for line in mdoc.read_text().splitlines() if line.startswith("SubFramePath")]
    frames = [line.rpartition("\\")[2] for line in lines]
    series = TiltSeries()
    taken = [name for frame in frames for name in series.take(frame)]
    assert len(frames) > 20
    assert sorted(taken) == sorted(frames)
