"""Tilt series are told by what was noted of the stage; tilted single particles are processed."""

import json
import math
import threading
from collections.abc import Sequence
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from daemon.domain.movie import FileIdentity
from daemon.domain.stage_position import StagePosition
from daemon.sessions.series_names import TILT_SERIES
from daemon.watchers.directory import DirectoryPoller
from daemon.watchers.discovery import Discoverer
from daemon.watchers.found import KnownFile
from daemon.watchers.series import TiltSeries
from daemon.watchers.settle import SettleRule
from daemon.watchers.sidecars import TiltNotes, read_tilt_note
from tests.sessions.desk import Desk, identify
from tests.watchers.stand_ins import RecordingSink, StepClock, write_small_mrc

pytestmark = pytest.mark.anyio

DATA = Path(__file__).parents[3] / "shared" / "data"
HERE = (100.0, -50.0)
SERIES = [0.0, 3.0, -3.0, -6.0, 6.0]


def mdoc_of(alpha_deg: float, place_um: tuple[float, float] | None = HERE, movie: str = "", number: int = 0) -> str:
    place = "" if place_um is None else f"StagePosition = {place_um[0]} {place_um[1]}\n"
    named = f"SubFramePath = D:\\frames\\{movie}\n" if movie else ""
    return f"[ZValue = {number}]\nTiltAngle = {alpha_deg}\n{place}{named}\n"


def epu_xml_of(alpha_deg: float, place_um: tuple[float, float]) -> str:
    x_m, y_m = place_um[0] / 1e6, place_um[1] / 1e6
    fields = f"<A>{math.radians(alpha_deg)}</A><B>0</B><X>{x_m}</X><Y>{y_m}</Y>"
    return f"<MicroscopeImage><stage><Position>{fields}</Position></stage></MicroscopeImage>"


async def judge(
    root: Path, movies: list[Path], tilts: TiltNotes | None = None, known: Sequence[KnownFile] = ()
) -> RecordingSink:
    """Let movies come one after the other, each judged before the next."""
    clock = StepClock()
    sink = RecordingSink(clock)
    rule = SettleRule(min_quiet_s=1.0)
    discoverer = Discoverer(
        DirectoryPoller(root, known=known), sink, expected_frames=lambda _: 2, rule=rule, clock=clock, tilts=tilts
    )
    for movie in movies:
        write_small_mrc(movie)
        clock.now_s += 1
        await discoverer.scan()
        async with anyio.create_task_group() as group:
            while not discoverer.is_settled:
                clock.now_s += 1.0
                discoverer.start_looks(group)
                await anyio.lowlevel.checkpoint()
    return sink


def left_alone(sink: RecordingSink) -> list[str]:
    return [path.stem for path, reason in sink.passed_over.items() if reason == TILT_SERIES]


@pytest.mark.parametrize("kind", ["mdoc of the movie", "xml of the movie"])
async def test_a_series_is_told_from_its_third_tilt_at_one_place(tmp_path: Path, kind: str) -> None:
    movies = [tmp_path / f"exposure{n}.mrc" for n in range(len(SERIES))]
    for n, (movie, alpha_deg) in enumerate(zip(movies, SERIES, strict=True)):
        place = (HERE[0] + 0.1 * n, HERE[1])  # the stage drifts
        if kind.startswith("mdoc"):
            movie.with_name(f"{movie.name}.mdoc").write_text(mdoc_of(alpha_deg, place))
        else:
            movie.with_suffix(".xml").write_text(epu_xml_of(alpha_deg, place))
    sink = await judge(tmp_path, movies)
    assert [path.stem for path in sink.paths("complete")] == ["exposure0", "exposure1"], "judged before it showed"
    assert left_alone(sink) == ["exposure2", "exposure3", "exposure4"]


@pytest.mark.parametrize(
    ("stages", "what"),
    [
        ([(30.0, (9.0 * n, 0.0)) for n in range(5)], "all at one tilt"),
        ([(30.0 + 0.01 * n, HERE) for n in range(5)], "several shots of one place"),
        ([(alpha, (9.0 * n, 0.0)) for n, alpha in enumerate(SERIES)], "another place for each tilt"),
        ([(alpha, HERE) for alpha in (0.0, 45.0, -45.0)], "a pair of tilts"),
        ([(alpha, None) for alpha in SERIES], "nobody knows where"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_tilted_single_particles_are_processed(
    tmp_path: Path, stages: list[tuple[float, tuple[float, float] | None]], what: str
) -> None:
    movies = [tmp_path / f"grid_{n}.mrc" for n in range(len(stages))]
    for movie, (alpha_deg, place) in zip(movies, stages, strict=True):
        movie.with_name(f"{movie.name}.mdoc").write_text(mdoc_of(alpha_deg, place))
    sink = await judge(tmp_path, movies)
    assert sink.paths("complete") == movies
    assert left_alone(sink) == []


@pytest.mark.parametrize("note", ["TS.mrc.mdoc", "TS.mdoc", "frames/TS.st.mdoc"])
async def test_the_note_of_a_series_names_all_its_movies(tmp_path: Path, note: str) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    movies = [frames / f"TS_{n:03d}.mrc" for n in range(len(SERIES))]
    other = frames / "TS_900.mrc"
    text = "".join(mdoc_of(a, None, m.name, n) for n, (a, m) in enumerate(zip(SERIES, movies, strict=True)))
    (tmp_path / note).write_text("PixelSpacing = 1\n\n" + text)
    sink = await judge(tmp_path, [*movies, other])
    assert left_alone(sink) == [movie.stem for movie in movies]
    assert sink.paths("complete") == [other]


async def test_a_note_of_many_movies_at_one_tilt_is_no_series(tmp_path: Path) -> None:
    movies = [tmp_path / f"grid_{n}.mrc" for n in range(4)]
    (tmp_path / "grid.mdoc").write_text("".join(mdoc_of(30.0, None, movie.name, n) for n, movie in enumerate(movies)))
    assert (await judge(tmp_path, movies)).paths("complete") == movies


async def test_who_names_the_movies_gets_them_all(tmp_path: Path) -> None:
    movies = [tmp_path / f"x{n}.mrc" for n in range(len(SERIES))]
    for movie, alpha_deg in zip(movies, SERIES, strict=True):
        movie.with_name(f"{movie.name}.mdoc").write_text(mdoc_of(alpha_deg))
    sink = await judge(tmp_path, movies, TiltNotes(tmp_path, leaves_series=False))
    assert sink.paths("complete") == movies


@pytest.mark.parametrize("step_deg", [3.0, 0.0])
async def test_session_json_says_where_the_stage_stood(tmp_path: Path, step_deg: float) -> None:
    desk = Desk(tmp_path)
    try:
        names = [f"image{n}" for n in range(4)]
        images = [
            {
                "name": name,
                "stage_alpha_tilt": f"{math.radians(20 + step_deg * n):.10f}",
                "stage_x": "1E-5",
                "stage_y": 0,
            }
            for n, name in enumerate(names)
        ]
        desk.write_manifest({"msession": {"name": "24dec03a"}, "images": images})
        await desk.open_session()
        book = desk.imported.book
        movies = [desk.frames / f"{name}.mrc" for name in names]
        await desk.intake.seen([desk.file(f"frames/{movie.name}") for movie in movies])
        sink = await judge(desk.raw, movies, TiltNotes(desk.raw, book.stage_of))
        assert left_alone(sink) == (names[2:] if step_deg else [])
    finally:
        desk.close()


@pytest.mark.parametrize("kind", ["mdoc", "xml", "session.json"])
async def test_a_series_goes_on_after_a_restart(tmp_path: Path, kind: str) -> None:
    desk = Desk(tmp_path)
    try:
        alphas = [30.0, 33.0, 27.0, 36.0, 24.0, 39.0]
        movies = [desk.frames / f"image{n}.mrc" for n in range(len(alphas))]
        images = []
        for movie, alpha_deg in zip(movies, alphas, strict=True):
            if kind == "mdoc":
                movie.with_name(f"{movie.name}.mdoc").write_text(mdoc_of(alpha_deg))
            elif kind == "xml":
                movie.with_suffix(".xml").write_text(epu_xml_of(alpha_deg, HERE))
            else:
                tilt = f"{math.radians(alpha_deg):.10f}"
                images.append({"name": movie.stem, "stage_alpha_tilt": tilt, "stage_x": "1E-5", "stage_y": 0})
        desk.write_manifest({"msession": {"name": "24dec03a"}, "images": images})
        await desk.open_session()
        await desk.intake.seen([desk.file(f"frames/{movie.name}") for movie in movies])
        sink = await judge(desk.raw, movies[:4], TiltNotes(desk.raw, desk.imported.book.stage_of))
        given_up = [(file, TILT_SERIES) for file in map(identify, sink.passed_over) if file.path in movies]
        assert [file.path for file, _ in given_up] == movies[2:4]
        await desk.intake.ignored(given_up)
        await desk.open_session()  # the next daemon: nothing in memory but what the ledger holds
        known = [KnownFile(identify(movie), settled=True) for movie in movies[:4]]
        notes = TiltNotes(desk.raw, desk.imported.book.stage_of, known=known)
        sink = await judge(desk.raw, movies[4:5], notes, known)
        assert left_alone(sink) == [movies[4].stem]
    finally:
        desk.close()


async def test_only_the_newest_movies_of_the_same_folder_are_looked_up_again(tmp_path: Path) -> None:
    def note(relative: str, alpha_deg: float) -> Path:
        movie = tmp_path / relative
        movie.parent.mkdir(exist_ok=True)
        movie.with_name(f"{movie.name}.mdoc").write_text(mdoc_of(alpha_deg))
        return movie

    def known(movie: Path, at: int, *, settled: bool = True) -> KnownFile:
        return KnownFile(FileIdentity(movie, 1, at), settled=settled)

    old = [known(note(f"a/old{n}.mrc", alpha), n) for n, alpha in enumerate(SERIES)]
    new = [known(tmp_path / f"a/bare{n}.mrc", 1000 + n) for n in range(200)]
    other = [known(note(f"b/x{n}.mrc", alpha), n) for n, alpha in enumerate(SERIES)]
    unjudged = [known(note(f"c/x{n}.mrc", alpha), n, settled=False) for n, alpha in enumerate(SERIES)]
    notes = TiltNotes(tmp_path, known=[*old, *new, *other, *unjudged])
    assert await notes.find_series(note("a/next.mrc", 9.0)) is None
    assert await notes.find_series(note("b/next.mrc", 9.0)) == []
    assert await notes.find_series(note("c/next.mrc", 9.0)) is None
    assert await notes.find_series(note("d/next.mrc", 9.0)) is None


@pytest.mark.parametrize("step_um", [400.0, 2.0])
async def test_a_session_note_of_many_places_is_no_series(tmp_path: Path, step_um: float) -> None:
    movies = [tmp_path / f"grid_{n}.mrc" for n in range(len(SERIES))]
    notes = enumerate(zip(SERIES, movies, strict=True))
    (tmp_path / "grid.mdoc").write_text("".join(mdoc_of(a, (step_um * n, 0.0), m.name, n) for n, (a, m) in notes))
    assert (await judge(tmp_path, movies)).paths("complete") == movies


def test_a_session_note_tells_the_series_in_it(tmp_path: Path) -> None:
    lines = [(f"grid_{n}.mrc", 0.5 * n, (9.0 * n, 0.0)) for n in range(30)]
    lines[5:5] = [(f"ts_{n}.mrc", alpha, (HERE[0] + 0.3 * n, HERE[1])) for n, alpha in enumerate(SERIES)]
    (tmp_path / "ts.mdoc").write_text("".join(mdoc_of(a, place, name, n) for n, (name, a, place) in enumerate(lines)))
    (tmp_path / "grid.mdoc").write_bytes((tmp_path / "ts.mdoc").read_bytes())
    in_series = [name for name, _, _ in lines if read_tilt_note(tmp_path / name, tmp_path).is_in_series]
    assert in_series == [f"ts_{n}.mrc" for n in range(len(SERIES))]


@pytest.mark.parametrize("note", ["x.mrc.mdoc", "TS.mdoc", "x.xml"])
def test_a_note_behind_a_link_that_leaves_the_roots_is_not_read(tmp_path: Path, note: str) -> None:
    raw, allowed, outside = (tmp_path / name for name in ("raw", "allowed", "outside"))
    movie = raw / ("TS_001.mrc" if note.startswith("TS") else "x.mrc")
    for folder in (raw, allowed, outside):
        folder.mkdir()
    text = epu_xml_of(30.0, HERE) if note.endswith("xml") else mdoc_of(30.0, HERE, movie.name)
    for folder in (allowed, outside):
        (folder / "note").write_text(text)
    (raw / note).symlink_to("../outside/note")
    assert read_tilt_note(movie, raw, [allowed]).stage is None
    (raw / note).unlink()
    (raw / note).symlink_to("../allowed/note")
    stage = read_tilt_note(movie, raw, [allowed]).stage
    assert stage is not None
    assert stage.alpha_deg == pytest.approx(30.0)
    assert read_tilt_note(movie, raw).stage is None


async def test_a_note_that_does_not_come_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr("daemon.watchers.sidecars.read_tilt_note", lambda *_: released.wait(60))
    try:
        assert await TiltNotes(tmp_path, limit_s=0.01).find_series(tmp_path / "a.mrc") is None
    finally:
        released.set()


async def test_notes_that_hang_cost_few_threads_and_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, asked = threading.Event(), list[Path]()

    def hang(movie: Path, *_: object) -> None:
        asked.append(movie)
        released.wait(60)

    monkeypatch.setattr("daemon.watchers.sidecars.read_tilt_note", hang)
    tilts = TiltNotes(tmp_path, limit_s=0.01)
    sink, clock = RecordingSink(), StepClock()
    discoverer = Discoverer(DirectoryPoller(tmp_path), sink, expected_frames=lambda _: 2, clock=clock, tilts=tilts)
    try:
        async with anyio.create_task_group() as group:
            for n in range(50):
                group.start_soon(tilts.find_series, tmp_path / f"m{n}.mrc")
        assert await tilts.find_series(tmp_path / "later.mrc") is None
        assert len(asked) <= 4, "a thread for each movie would hang"
        await discoverer.scan()
        await discoverer.scan()
        assert [problem.path for problem in sink.problems] == [tmp_path]
        assert "do not answer" in sink.problems[0].what
    finally:
        released.set()
    with anyio.fail_after(60):
        while not sink.paths("recovered"):
            await discoverer.scan()
            await anyio.lowlevel.checkpoint()
    assert sink.paths("recovered") == [tmp_path]
    await tilts.find_series(tmp_path / "again.mrc")
    with anyio.fail_after(60):
        while asked[-1].stem != "again":  # it may be given up before its thread has begun
            await anyio.lowlevel.checkpoint()


def test_an_angle_that_trembles_stays_one_angle() -> None:
    series = TiltSeries()
    for n in range(2000):
        assert series.take_stage(f"f/x{n}", StagePosition(30.0 + 1e-5 * n, HERE)) == []
    assert sum(map(len, series._angles.values())) == 1


def test_the_place_that_was_left_longest_ago_is_forgotten() -> None:
    series = TiltSeries()
    for n in range(2000):
        assert series.take_stage(f"f/x{n}", StagePosition(30.0, (9.0 * n, 0.0))) == []
    assert len(series._angles) <= 20
    assert len(series._members) <= 20


@pytest.mark.skipif(not DATA.is_dir(), reason="shared data are absent")
def test_real_notes(tmp_path: Path) -> None:
    note = tmp_path / "TS_01.mrc.mdoc"
    note.write_bytes((DATA / "mdoc" / "tilt_series.mdoc").read_bytes())
    found = read_tilt_note(tmp_path / "frames" / "TS_01_002_-3.0.mrc", tmp_path)
    assert found.is_in_series
    assert found.stage is not None
    assert found.stage.alpha_deg == pytest.approx(-2.99863)
    series = TiltSeries()
    data = DATA / "epu" / "epu_group_afis_spec"
    movies = [path for path in sorted(data.rglob("Data/*.xml")) if not path.stem.endswith("_Fractions")]
    for path in movies:
        read = read_tilt_note(path.with_name(f"{path.stem}_Fractions.mrc"), data)
        assert read.stage is not None
        assert not read.is_in_series
        assert series.take_stage(path.name, read.stage) == []


@pytest.mark.skipif(not DATA.is_dir(), reason="shared data are absent")
def test_a_real_manifest_has_no_series() -> None:
    from daemon.sessions.quantities import read_stage

    def walk(images: list[dict[str, object]]) -> list[dict[str, object]]:
        return [image for top in images for image in (top, *walk(top.get("children") or []))]  # type: ignore[arg-type]

    images = walk(json.loads((DATA / "sessions" / "24dec03a.session.json").read_bytes())["images"])
    series = TiltSeries()
    stages = [read_stage(image) for image in images]
    assert all(stage is not None and abs(stage.alpha_deg) < 0.1 for stage in stages)
    assert [series.take_stage(f"f/{n}", stage) for n, stage in enumerate(stages) if stage is not None] == [[]] * 307
