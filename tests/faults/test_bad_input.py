"""Every kind of bad input at once, beside good movies: each ends in a named state with a reason, none stops another."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.rig.facility import Facility, Finished, acquisition_of, fingerprint, receive, temporary_files
from daemon.formats.mrc_writer import write_mrc

BAG = "bag"
"""The session that holds good and bad files together."""


@dataclass(frozen=True)
class Bag:
    """A facility after its run. `bad` gives the words that the reason of each bad file must hold."""

    facility: Facility
    run: Finished
    good: list[Path]
    bad: dict[Path, str]
    ignored: dict[Path, str]
    raw_before: dict[str, Any] = field(repr=False)

    def movie(self, path: Path) -> dict[str, Any]:
        (row,) = self.facility.rows("SELECT * FROM movie WHERE path = ?", str(path))
        return row


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory, quick_session: Path) -> Bag:
    root = tmp_path_factory.mktemp("bad")
    facility = Facility.build(root)
    mrc, tiff, eer = sorted((quick_session / "frames").iterdir())[:3]
    good = receive(quick_session, facility.gpfs / BAG, [mrc.name, tiff.name, eer.name])
    frames = good[0].parent
    bad = {**_truncate(frames, (mrc, tiff, eer)), **_reserve(frames, (mrc, tiff, eer)), **_disguise(frames, tiff)}
    good += _repeat_stem(frames, tiff)
    ignored = _add_others(frames, mrc)
    _link(frames, root / "elsewhere.tif", tiff)
    sections = {"session": _write_sessions(facility, quick_session)}
    facility.configure(sections)
    before = fingerprint(facility.gpfs)
    return Bag(facility, facility.run_once(), good, bad, ignored, before)


def _truncate(frames: Path, movies: tuple[Path, ...]) -> dict[Path, str]:
    """Cut each format in its header, its first frame, its middle, and just before its end."""
    bad = {}
    for movie in movies:
        content = movie.read_bytes()
        for number, end in enumerate((3, 300, 1100, len(content) // 2, len(content) - 1)):
            path = frames / f"cut_{number}_{movie.suffix[1:]}{movie.suffix}"
            path.write_bytes(content[:end])
            bad[path] = "copy the movie again"
        empty = frames / f"empty_{movie.suffix[1:]}{movie.suffix}"
        empty.touch()
        bad[empty] = "0 bytes"
    return bad


def _reserve(frames: Path, movies: tuple[Path, ...]) -> dict[Path, str]:
    """Space was reserved, and nothing or half of the movie followed."""
    bad = {}
    for movie in movies:
        content = movie.read_bytes()
        for name, present in (("reserved", 0), ("half", len(content) // 2)):
            path = frames / f"{name}_{movie.suffix[1:]}{movie.suffix}"
            path.write_bytes(content[:present] + bytes(len(content) - present))
            bad[path] = "copy the movie again"
    return bad


def _disguise(frames: Path, tiff: Path) -> dict[Path, str]:
    """Text under a movie's name, and a movie whose data were damaged after it was written."""
    text = frames / "notes.tif"
    text.write_text("The grid cracked at 3 a.m.\n" * 40, encoding="utf-8")
    rotten = frames / "rotten.tif"
    content = bytearray(tiff.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(byte ^ 0x5A for byte in content[middle : middle + 2000])
    rotten.write_bytes(content)
    return {text: "copy the movie again", rotten: str(rotten)}


def _repeat_stem(frames: Path, tiff: Path) -> list[Path]:
    """Two squares, each with a movie of the same name."""
    twins = []
    for square in ("square_1", "square_2"):
        (frames / square).mkdir()
        path = frames / square / "twin.tif"
        path.write_bytes(tiff.read_bytes())
        twins.append(path)
    return twins


def _add_others(frames: Path, mrc: Path) -> dict[Path, str]:
    """Files that are no movies."""
    single = frames / "single.mrc"
    write_mrc(single, np.ones((64, 64), dtype=np.float32), pixel_size_ang=2.0)
    log = frames / "acquisition.log"
    log.write_text("nothing to see", encoding="utf-8")
    mdoc = frames / f"{mrc.name}.mdoc"
    mdoc.write_text("[T = SerialEM]", encoding="utf-8")
    return {single: "a single image", log: ".log suffix", mdoc: ".mdoc suffix"}


def _link(frames: Path, elsewhere: Path, tiff: Path) -> None:
    """What looks like a movie and cannot be read, or must not be."""
    (frames / "folder.tif").mkdir()
    (frames / "dangling.tif").symlink_to(frames / "nowhere.tif")
    (frames / "circle.tif").symlink_to(frames / "circle.tif")
    elsewhere.write_bytes(tiff.read_bytes())
    (frames / "outside.tif").symlink_to(elsewhere)


def _write_sessions(facility: Facility, quick: Path) -> list[dict[str, Any]]:
    """Sessions that lack something; the last two are only found under the root."""
    acquisition = acquisition_of(quick)
    wanted = ("voltage_kv", "spherical_aberration_mm", "pixel_size_ang", "dose_per_frame_e_per_ang2", "gain", "eer")
    known = {key: acquisition[key] for key in wanted}
    names = [next((quick / "frames").glob("*.mrc")).name]

    wrong_gain = facility.gpfs / "wrong_gain"
    receive(quick, wrong_gain, names, manifest=False)
    (wrong_gain / "gains" / "gain.mrc").unlink()
    write_mrc(wrong_gain / "gains" / "gain.mrc", np.ones((96, 100), dtype=np.float32), pixel_size_ang=2.0)

    no_pixel = facility.gpfs / "no_pixel"
    (movie,) = receive(quick, no_pixel, names, manifest=False)
    content = bytearray(movie.read_bytes())
    content[40:52] = bytes(12)  # the cell of an MRC header
    movie.unlink()
    movie.write_bytes(content)

    no_voltage = facility.gpfs / "no_voltage"
    receive(quick, no_voltage, names, manifest=False)

    malformed = facility.gpfs / "malformed"
    receive(quick, malformed, names)
    manifest = malformed / "session.json"
    manifest.write_text(manifest.read_text(encoding="utf-8")[:-40], encoding="utf-8")

    outside = facility.gpfs / "outside"
    receive(quick, outside, names)
    content_json = json.loads((outside / "session.json").read_text(encoding="utf-8"))
    content_json["acquisition"]["gain"]["path"] = "../../../etc/hostname"
    (outside / "session.json").write_text(json.dumps(content_json), encoding="utf-8")
    return [
        {"directory": str(wrong_gain), "acquisition": known},
        {"directory": str(no_pixel), "acquisition": {k: v for k, v in known.items() if k != "pixel_size_ang"}},
        {"directory": str(no_voltage), "acquisition": {k: v for k, v in known.items() if k != "voltage_kv"}},
    ]


def test_the_run_ends_with_exit_1_and_names_what_went_wrong(bag: Bag) -> None:
    assert bag.run.code == 1
    assert f"{BAG}: {len(bag.good)} done" in bag.run.out
    assert f"{len(bag.bad)} quarantined" in bag.run.out
    for name in ("wrong_gain", "no_pixel", "no_voltage"):
        assert f"{name}: 1 failed" in bag.run.out
    assert "Traceback" not in bag.run.err


def test_every_good_movie_is_done(bag: Bag) -> None:
    for path in bag.good:
        assert bag.movie(path)["state"] == "done", path
    sql = "SELECT count(*) AS n FROM task JOIN movie USING (movie_id) WHERE movie.state = 'done' AND task.state = ?"
    assert bag.facility.rows(sql, "completed") == [{"n": 4 * len(bag.good)}]


def test_two_movies_of_one_stem_are_two_images(bag: Bag) -> None:
    products = {path.name for path in (bag.facility.home / BAG / "thumbnails").iterdir()}
    assert {"twin.jpg", "square_2__twin.jpg"} <= products
    assert len(products) == len(bag.good)


def test_every_bad_movie_is_quarantined_with_a_reason_and_what_to_do(bag: Bag) -> None:
    for path, words in bag.bad.items():
        movie = bag.movie(path)
        assert movie["state"] == "quarantined", path
        assert words in movie["reason"], path
        tasks = bag.facility.rows("SELECT state, reason FROM task WHERE movie_id = ?", movie["movie_id"])
        assert {task["state"] for task in tasks} <= {"skipped", "failed"}
        assert all(task["reason"] for task in tasks)
    told = {
        envelope.data["path"]
        for envelope, _ in bag.facility.outbox()
        if envelope.type == "magellon.session.movie.quarantined"
    }
    assert told == {str(path) for path in bag.bad}


def test_damaged_data_are_read_again_before_they_are_given_up(bag: Bag) -> None:
    (path,) = [path for path in bag.bad if path.name == "rotten.tif"]
    sql = "SELECT * FROM task WHERE movie_id = ? AND stage = 'motion_correction'"
    (task,) = bag.facility.rows(sql, bag.movie(path)["movie_id"])
    assert (task["state"], task["attempts"], task["error_kind"]) == ("failed", 3, "format")
    assert "frame 3" in task["reason"]
    assert task["hint"] == "Copy it again from the camera while the original is still there."


def test_what_is_no_movie_is_left_alone(bag: Bag) -> None:
    for path, reason in bag.ignored.items():
        movie = bag.movie(path)
        assert movie["state"] == "ignored", path
        assert reason in movie["reason"], path
    outside = bag.movie(bag.facility.gpfs / BAG / "frames" / "outside.tif")
    assert (outside["state"], outside["reason"]) == ("ignored", "a symbolic link that leaves the allowed roots")


@pytest.mark.parametrize(
    ("session", "stage", "kind", "words", "hint"),
    [
        ("wrong_gain", "motion_correction", "gain_unsuitable", "100 × 96 px", "acquisition.gain"),
        ("no_pixel", "motion_correction", "acquisition_unknown", "pixel_size_ang", "acquisition.pixel_size_ang"),
        ("no_voltage", "ctf_estimation", "acquisition_unknown", "voltage_kv", "acquisition.voltage_kv"),
    ],
)
def test_what_a_session_lacks_fails_the_step_that_needs_it(
    bag: Bag, session: str, stage: str, kind: str, words: str, hint: str
) -> None:
    sql = "SELECT task.* FROM task JOIN session USING (session_id) WHERE session.name = ? AND stage = ?"
    (task,) = bag.facility.rows(sql, session, stage)
    assert (task["state"], task["error_kind"]) == ("failed", kind)
    assert words in task["reason"]
    assert hint in task["hint"]
    states = {row["stage"]: row["state"] for row in bag.facility.rows(sql.replace(" AND stage = ?", ""), session)}
    others = {"fft": "completed", "thumbnail": "completed", "motion_correction": "completed"}
    if stage == "motion_correction":
        others = dict.fromkeys(("ctf_estimation", "fft", "thumbnail"), "skipped")
    assert states == {**others, stage: "failed"}


def test_sessions_that_cannot_be_used_are_refused_with_a_sentence(bag: Bag) -> None:
    malformed, outside = bag.facility.gpfs / "malformed", bag.facility.gpfs / "outside"
    lines = {line.partition(" was not imported: ")[0]: line for line in bag.run.out.splitlines()}
    assert "is not JSON" in lines[str(malformed)]
    assert "Mend or remove the file: it is read again by itself." in lines[str(malformed)]
    assert "etc/hostname lies outside the allowed roots" in lines[str(outside)]
    assert bag.facility.rows("SELECT name FROM session WHERE name IN ('malformed', 'outside')") == []
    told = bag.facility.rows("SELECT * FROM notification WHERE kind = 'session_not_imported'")
    assert len(told) == 2
    assert all(row["hint"] for row in told)


def test_nothing_raw_was_touched_and_nothing_is_left_behind(bag: Bag) -> None:
    assert fingerprint(bag.facility.gpfs) == bag.raw_before
    assert temporary_files(bag.facility.home) == []


def test_failures_are_listed_for_people(bag: Bag) -> None:
    listed = {row["movie"] for row in bag.facility.rows("SELECT movie FROM failures")}
    assert {str(path) for path in bag.bad} <= listed
    assert len(listed) == len(bag.bad) + 3


def test_audit_accounts_for_everything_but_what_nobody_can_read(bag: Bag) -> None:
    first = bag.facility.elcano("audit", "--json")
    assert first.code == 1
    gaps = [gap for report in json.loads(first.out) for gap in report["gaps"]]
    frames = bag.facility.gpfs / BAG / "frames"
    assert {(gap["kind"], gap["path"]) for gap in gaps} == {
        ("dangling_link", str(frames / "circle.tif")),
        ("dangling_link", str(frames / "dangling.tif")),
        ("not_imported", str(bag.facility.gpfs / "malformed")),
        ("not_imported", str(bag.facility.gpfs / "outside")),
    }
    links = {name: (frames / name).readlink() for name in ("circle.tif", "dangling.tif")}
    refused = {bag.facility.gpfs / name: bag.facility.root / f"{name}-aside" for name in ("malformed", "outside")}
    for name in links:
        (frames / name).unlink()
    for folder, aside in refused.items():
        folder.rename(aside)
    again = bag.facility.elcano("audit")
    for folder, aside in refused.items():
        aside.rename(folder)
    for name, target in links.items():
        (frames / name).symlink_to(target)
    assert (again.code, again.err) == (0, "")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable to root")
def test_a_movie_that_may_not_be_read_is_set_aside(tmp_path: Path, quick_session: Path) -> None:
    facility = Facility.build(tmp_path)
    names = [path.name for path in sorted((quick_session / "frames").iterdir())[:2]]
    closed, _ = receive(quick_session, facility.gpfs / BAG, names)
    content = closed.read_bytes()
    closed.unlink()
    closed.write_bytes(content)
    closed.chmod(0)
    run = facility.run_once()
    assert run.code == 1
    assert f"{BAG}: 1 done, 1 quarantined" in run.out
    assert "Permission denied" in run.out
