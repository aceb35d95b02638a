"""`elcano run --once` on movies of all formats: every product, near the truth, nothing else touched or done twice."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mrcfile
import pyarrow.parquet as pq
import pytest
import starfile
from PIL import Image

from benchmarks.rig.facility import (
    PRODUCTS,
    STAGES,
    Facility,
    Finished,
    acquisition_of,
    check_completed,
    fingerprint,
    read_tree,
    receive,
    temporary_files,
)
from daemon.exchange.relion.motion import read_motion
from daemon.formats.star import read_star
from daemon.simulator.comparison import drift_ang, motion_error_px
from daemon.simulator.truth import TrueMovie, read_truth

WITH_MANIFEST, WITHOUT = "telling", "plain"
MOVIES = 6
"""Three in each of the two sessions."""


@dataclass(frozen=True)
class Outcome:
    """A facility after its first run, and how its raw data looked before it."""

    facility: Facility
    raw: Path
    raw_before: dict[str, Any]
    run: Finished
    truth: dict[str, TrueMovie]

    @property
    def home(self) -> Path:
        return self.facility.home / WITH_MANIFEST


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, telling_session: Path, quick_session: Path) -> Outcome:
    root = tmp_path_factory.mktemp("once")
    raw = root / "raw"
    receive(telling_session, raw / WITH_MANIFEST)
    names = [path.name for path in sorted((quick_session / "frames").iterdir())[:3]]
    receive(quick_session, raw / "no_manifest", names, manifest=False)
    facility = Facility.build(root / "first", sections=_entries(raw, quick_session))
    before = fingerprint(raw)
    _, truth = read_truth(telling_session / "truth.json")
    return Outcome(facility, raw, before, facility.run_once(), truth)


def _entries(raw: Path, quick_session: Path) -> dict[str, Any]:
    """Two `[[session]]` entries and nothing under the watched root; one says itself how its data were taken."""
    acquisition = acquisition_of(quick_session)
    wanted = ("voltage_kv", "spherical_aberration_mm", "pixel_size_ang", "dose_per_frame_e_per_ang2", "gain", "eer")
    without = {"directory": str(raw / "no_manifest"), "name": WITHOUT}
    return {
        "stages": {"ctf_estimation": {"largest_astigmatism_ang": 1000.0}},  # as this microscope has it, and more
        "session": [
            {"directory": str(raw / WITH_MANIFEST)},
            {**without, "acquisition": {key: acquisition[key] for key in wanted}},
        ],
    }


def test_it_ends_well_and_says_so(outcome: Outcome) -> None:
    assert outcome.run.code == 0, outcome.run.err
    for name in (WITH_MANIFEST, WITHOUT):
        assert f"{name}: 3 done" in outcome.run.out
        assert str(outcome.facility.home / name) in outcome.run.out
    check_completed(outcome.facility, movies=MOVIES)


def test_every_product_stands_under_its_name(outcome: Outcome) -> None:
    for session in (WITH_MANIFEST, WITHOUT):
        home = outcome.facility.home / session
        raw = outcome.raw / (WITH_MANIFEST if session == WITH_MANIFEST else "no_manifest")
        movies = sorted((raw / "frames").iterdir())
        for category, suffixes in PRODUCTS.items():
            wanted = {movie.stem + suffix for movie in movies for suffix in suffixes}
            assert {path.name for path in (home / category).iterdir()} == wanted
        assert {link.name: link.readlink() for link in (home / "frames").iterdir()} == {
            movie.name: movie for movie in movies
        }
        records = {path.relative_to(home / ".elcano" / "tasks").as_posix() for path in home.glob(".elcano/tasks/*/*")}
        assert records == {f"{stage}/{movie.stem}.json" for stage in STAGES for movie in movies}
    assert temporary_files(outcome.facility.home) == []


def test_outputs_are_owned_as_configured(outcome: Outcome) -> None:
    for path in outcome.facility.home.rglob("*"):
        if not path.is_symlink():
            assert path.stat().st_mode & 0o777 == (0o750 if path.is_dir() else 0o640), path


def test_other_programs_read_every_product(outcome: Outcome) -> None:
    names = {"mrc": 0, "png": 0, "jpg": 0, "star": 0, "txt": 0}
    for session in (WITH_MANIFEST, WITHOUT):
        for path in sorted((outcome.facility.home / session).glob("*/*")):
            if path.parent.name in PRODUCTS:
                _check_readable(path)
                names[path.suffix.removeprefix(".")] += 1
    assert names == {"mrc": 4 * MOVIES, "png": 3 * MOVIES, "jpg": MOVIES, "star": 2 * MOVIES, "txt": MOVIES}


def _check_readable(path: Path) -> None:
    if path.suffix == ".mrc":
        assert mrcfile.validate(path, print_file=io.StringIO()), path
    elif path.suffix in {".png", ".jpg"}:
        with Image.open(path) as picture:
            picture.load()
            height = {"fft": 1024, "thumbnails": 494}.get(path.parent.name)
            assert height in {None, picture.height}, path
    elif path.suffix == ".star":
        blocks = starfile.read(path, always_dict=True)
        assert ("global_shift" in blocks) == path.name.endswith("_motion.star")
    else:
        assert path.read_text(encoding="utf-8").startswith("#")


@pytest.mark.parametrize("suffix", [".mrc", ".tif", ".eer"])
def test_motion_is_near_the_truth(outcome: Outcome, suffix: str) -> None:
    (truth,) = [movie for movie in outcome.truth.values() if movie.file.endswith(suffix)]
    field = read_motion(read_star(outcome.home / "motioncor" / f"{truth.name}_motion.star"))
    # Seeds and formats gave 0.09 to 0.21 px on movies of this size and dose.
    assert motion_error_px(field, truth) < 0.35
    (row,) = outcome.facility.rows("SELECT drift_ang FROM micrographs WHERE name = ?", truth.name)
    assert row["drift_ang"] == pytest.approx(drift_ang(truth, 2.0), abs=3.0)


def test_defocus_that_is_trusted_is_near_the_truth(outcome: Outcome) -> None:
    """20 e⁻/Å² on 0.1 µm determine the mean defocus far better than the astigmatism, and not in every case."""
    sql = "SELECT image.name, ctf.* FROM metrics_ctf_estimation AS ctf JOIN image USING (image_id)"
    rows = {row["name"]: row for row in outcome.facility.rows(sql) if row["name"] in outcome.truth}
    trusted = [name for name, row in rows.items() if row["confident"]]
    assert len(trusted) >= 2
    for name in trusted:
        truth, row = outcome.truth[name], rows[name]
        assert truth.defocus_u_ang is not None
        assert truth.defocus_v_ang is not None
        mean_ang = (row["defocus_u_ang"] + row["defocus_v_ang"]) / 2
        assert mean_ang == pytest.approx((truth.defocus_u_ang + truth.defocus_v_ang) / 2, abs=300)
        star = starfile.read(outcome.home / "ctf" / f"{name}.star", always_dict=True)
        (defocus,) = [float(block["rlnDefocusU"].iloc[0]) for block in star.values() if "rlnDefocusU" in block]
        assert defocus == pytest.approx(row["defocus_u_ang"], abs=1)


def test_records_tell_what_is_on_disk(outcome: Outcome) -> None:
    tree = read_tree(outcome.home)
    for path in outcome.facility.records(WITH_MANIFEST):
        record = json.loads(path.read_text(encoding="utf-8"))
        assert record["state"] == "completed"
        assert record["outputs"]
        for output in record["outputs"]:
            assert tree[output["path"]] == output["sha256"]


def test_the_raw_directories_are_untouched(outcome: Outcome) -> None:
    assert fingerprint(outcome.raw) == outcome.raw_before


def test_audit_finds_no_gap(outcome: Outcome) -> None:
    audit = outcome.facility.elcano("audit", "--deep", "--json")
    assert (audit.code, audit.err) == (0, "")
    reports = {report["session"]: report for report in json.loads(audit.out)}
    assert set(reports) == {WITH_MANIFEST, WITHOUT}
    for report in reports.values():
        assert report["movies"]["done"] == 3
        assert report["tasks"] == {"completed": 3 * len(STAGES)}
        assert report["gaps"] == []


def test_query_answers_without_a_daemon(outcome: Outcome) -> None:
    sql = "SELECT name, defocus_u_ang FROM micrographs WHERE session = 'telling' ORDER BY name"
    asked = outcome.facility.elcano("query", sql, "--format", "json")
    assert (asked.code, asked.err) == (0, "")
    rows = json.loads(asked.out)
    assert [row["name"] for row in rows] == sorted(outcome.truth)
    assert all(row["defocus_u_ang"] > 0 for row in rows)
    table = outcome.facility.elcano("query", sql, "--limit", "2")
    assert [line.split()[0] for line in table.out.splitlines()] == ["name", *sorted(outcome.truth)[:2]]
    assert table.err == "elcano: only the first 2 rows; raise --limit for more.\n"


def test_results_of_a_query_go_to_a_file(outcome: Outcome, tmp_path: Path) -> None:
    sql = "SELECT name, defocus_u_ang, seen_at FROM micrographs ORDER BY name"
    written = outcome.facility.elcano("query", sql, "--format", "parquet", "--output", tmp_path / "results.parquet")
    assert (written.code, written.out, written.err) == (0, "", "")
    assert pq.read_table(tmp_path / "results.parquet").num_rows == MOVIES
    for refused, words in (
        (("DELETE FROM movie",), "A DELETE statement is not allowed"),
        (("SELECT 1 AS a, 2 AS a", "--format", "json"), "Column 'a' comes twice"),
        ((sql, "--output", tmp_path / "nowhere" / "results.txt"), "cannot be written: No such file or directory"),
    ):
        answer = outcome.facility.elcano("query", *refused)
        assert (answer.code, answer.out) == (1, "")
        assert answer.err.startswith("elcano: ")
        assert words in answer.err


def test_parquet_snapshots_hold_the_results(outcome: Outcome) -> None:
    table = pq.read_table(outcome.home / "tables" / "micrographs.parquet")
    assert sorted(table.column("name").to_pylist()) == sorted(outcome.truth)
    assert set(table.column("state").to_pylist()) == {"done"}
    tasks = pq.read_table(outcome.home / "tables" / "task.parquet")
    assert tasks.num_rows == 3 * len(STAGES)


def test_a_second_run_does_nothing_and_changes_no_byte(outcome: Outcome) -> None:
    facility = outcome.facility
    sql = "SELECT task_id, state, attempts, started_at, ended_at FROM task ORDER BY task_id"
    own = (".elcano",)  # the daemon's claim and its proof of the mount, written at each start
    before, tasks, events = read_tree(facility.home, leave_out=own), facility.rows(sql), len(facility.outbox())
    times = {path: path.lstat().st_mtime_ns for category in PRODUCTS for path in outcome.home.glob(f"{category}/*")}
    again = facility.run_once()
    assert (again.code, again.out) == (0, outcome.run.out)
    assert read_tree(facility.home, leave_out=own) == before
    assert {path: path.lstat().st_mtime_ns for path in times} == times
    assert facility.rows(sql) == tasks
    assert len(facility.outbox()) == events
    assert fingerprint(outcome.raw) == outcome.raw_before


def test_another_home_gets_the_same_bytes(outcome: Outcome, tmp_path: Path, quick_session: Path) -> None:
    """All products, records, session.json and frame links; only tables/ hold times. In another order, too."""
    sections = _entries(outcome.raw, quick_session) | {"watch": {"order": "latest"}, "compute": {"readers": 1}}
    other = Facility.build(tmp_path / "second", sections=sections)
    assert other.run_once().code == 0
    first = read_tree(outcome.facility.home / WITH_MANIFEST, leave_out=("tables",))
    assert len(first) == 3 * (12 + len(STAGES)) + 1
    assert read_tree(other.home / WITH_MANIFEST, leave_out=("tables",)) == first
    plain = read_tree(outcome.facility.home / WITHOUT, leave_out=("tables",))
    assert read_tree(other.home / WITHOUT, leave_out=("tables",)) == plain
