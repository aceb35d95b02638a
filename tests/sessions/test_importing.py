"""Import of a session: what is taken from where, what is refused, and that a second import changes nothing."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import numpy as np
import pytest
import structlog.testing

from daemon.config.acquisition import AcquisitionSettings
from daemon.domain.identity import canonical_json
from daemon.domain.states import MovieState, SessionState, TaskState
from daemon.errors import CommandRefused, ManifestInvalid, PathOutsideRoots
from daemon.formats.mrc_writer import write_mrc
from daemon.pipeline.graph import StageGraph
from daemon.sessions.importing import ImportRequest, ImportRules, import_session
from daemon.sessions.lifecycle import closing
from daemon.sessions.manifest import NOT_USED
from daemon.sessions.preview import preview_import
from daemon.sessions.telling import queue
from daemon.store import sessions
from daemon.store.changes import CloseSession, EndTask, MoveMovie, PutBackTasks, PutImages
from tests.engine.fakes import Add, Script
from tests.sessions.desk import STAGES, SUBJECTS, Desk, identify

pytestmark = pytest.mark.anyio

Build = Callable[..., Desk]

MANIFEST: dict[str, Any] = {
    "msession": {"oid": "11111111-1111-1111-1111-111111111111", "name": "24dec03a"},
    "acquisition": {"voltage_kv": 300, "spherical_aberration_mm": 2.7, "total_dose_e_per_ang2": 50},
    "images": [
        {
            "oid": "22222222-2222-2222-2222-222222222222",
            "name": "24dec03a_00001gr",
            "level": 1,
            "children": [
                {
                    "oid": "33333333-3333-3333-3333-333333333333",
                    "name": "24dec03a_00001gr_00001ex",
                    "level": 4,
                    "pixel_size": "8.3E-11",
                    "frame_count": 40,
                }
            ],
        }
    ],
}


async def test_a_session_with_a_manifest(build: Build) -> None:
    desk = build()
    desk.write_manifest(MANIFEST)
    await desk.open_session(asked_by="ada")
    session = desk.imported.book.session
    assert (session.session_id, session.name) == ("11111111-1111-1111-1111-111111111111", "24dec03a")
    assert session.home == desk.home / "24dec03a"
    assert (session.acquisition.voltage_kv, session.acquisition.total_dose_e_per_ang2) == (300.0, 50.0)
    images = {image.name: image for image in await sessions.images(desk.store, session.session_id)}
    child = images["24dec03a_00001gr_00001ex"]
    assert child.parent_id == images["24dec03a_00001gr"].image_id == "22222222-2222-2222-2222-222222222222"
    assert child.acquisition.voltage_kv == 300.0
    assert child.manifest["frame_count"] == 40
    (job,) = await sessions.jobs(desk.store)
    assert (job.kind, job.session_id, job.parameters) == (
        "import",
        session.session_id,
        {"stages": ["motion_correction", "ctf_estimation"]},
    )
    told = await desk.events()
    assert [event["type"] for event in told] == ["magellon.session.imported", "magellon.job.started"]
    assert told[0]["data"]["image_count"] == 2
    assert told[0]["data"]["asked_by"] == "ada"
    record = json.loads(desk.imported.folders.session_record.read_text())
    assert record["name"] == "24dec03a"
    assert record["acquisition"]["voltage_kv"] == 300.0
    assert len(record["manifest"]["images"]) == 2
    for folder in ("motioncor", "ctf", ".elcano"):
        assert (session.home / folder).is_dir()


async def test_a_plain_directory(build: Build) -> None:
    desk = build()
    await desk.open_session(acquisition=AcquisitionSettings(voltage_kv=200.0, pixel_size_ang=1.1))
    session = desk.imported.book.session
    assert session.name == "24dec03a"
    assert (session.acquisition.voltage_kv, session.acquisition.pixel_size_ang) == (200.0, 1.1)
    await desk.intake.seen([desk.file("frames/x.tif")])
    (image,) = await sessions.images(desk.store, session.session_id)
    assert image.acquisition == session.acquisition


async def test_the_configuration_goes_before_the_manifest(build: Build) -> None:
    desk = build()
    desk.write_manifest(MANIFEST)
    await desk.open_session(acquisition=AcquisitionSettings(voltage_kv=200.0, dose_per_frame_e_per_ang2=1.0))
    taken = desk.imported.book.session.acquisition
    assert (taken.voltage_kv, taken.spherical_aberration_mm) == (200.0, 2.7)
    assert (taken.dose_per_frame_e_per_ang2, taken.total_dose_e_per_ang2) == (1.0, None)


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "is not JSON"), ("[]", "is not a JSON object"), ('{"images": {}}', "images: is not a list"), ("", "JSON")],
)
async def test_a_malformed_manifest_is_refused_and_leaves_nothing(build: Build, content: str, said: str) -> None:
    desk = build()
    (desk.raw / "session.json").write_text(content)
    with pytest.raises(ManifestInvalid, match=said):
        await desk.open_session()
    assert await sessions.sessions(desk.store) == []
    assert not desk.home.exists()
    assert await desk.events() == []
    desk.write_manifest(MANIFEST)  # mended
    await desk.open_session()
    assert desk.imported.book.session.name == "24dec03a"


async def test_two_directories_of_one_name(build: Build) -> None:
    desk = build()
    await desk.open_session()
    other = desk.folder / "gpfs" / "elsewhere" / "24dec03a"
    other.mkdir(parents=True)
    with pytest.raises(CommandRefused, match="belongs to") as refused:
        await desk.open_session(other)
    assert "elcano import --name" in refused.value.hint
    await desk.open_session(other, name="24dec03b")
    assert len(await sessions.sessions(desk.store)) == 2


async def test_a_copied_session_directory_is_not_taken_for_the_original(build: Build) -> None:
    desk = build()
    desk.write_manifest(MANIFEST)
    await desk.open_session()
    copy = desk.folder / "gpfs" / "copy"
    desk.write_manifest(MANIFEST, copy)
    for name in (None, "another_name"):
        with pytest.raises(CommandRefused, match=r"imported from .*24dec03a already"):
            await desk.open_session(copy, name=name)
    (row,) = await sessions.sessions(desk.store)
    assert row.session.raw_directory == desk.raw


async def test_a_manifest_that_comes_later_keeps_the_session(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file("frames/24dec03a_00001gr_00001ex.tif")])
    before, movie = desk.imported.book.session, (await desk.movies())[0]
    desk.write_manifest({**MANIFEST, "msession": {**MANIFEST["msession"], "name": "renamed"}})
    await desk.open_session()
    after = desk.imported.book.session
    assert (after.session_id, after.name, after.home) == (before.session_id, before.name, before.home)
    assert after.acquisition.voltage_kv == 300.0
    assert await desk.movies() == [movie]
    assert [row.session.session_id for row in await sessions.sessions(desk.store)] == [before.session_id]
    assert (await desk.event_kinds()).count("session.imported") == 1
    with pytest.raises(CommandRefused, match="is imported as '24dec03a' already"):
        await desk.open_session(name="renamed")


async def test_importing_again_reopens_only_when_a_person_asks(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await desk.store.commit(CloseSession(desk.session_id, "idle"))
    await desk.open_session()
    row = await sessions.session(desk.store, desk.session_id)
    assert row is not None
    assert row.session.state is SessionState.CLOSED
    await desk.open_session(asked_by="ada")
    row = await sessions.session(desk.store, desk.session_id)
    assert row is not None
    assert row.session.state is SessionState.OPEN
    assert len(await sessions.jobs(desk.store)) == 1


async def test_places_that_cannot_be_a_session(build: Build, tmp_path: Path) -> None:
    desk = build()
    with pytest.raises(PathOutsideRoots):
        await desk.open_session(tmp_path)
    outside = tmp_path / "outside"
    outside.mkdir()
    link = desk.folder / "gpfs" / "link"
    link.symlink_to(outside)
    with pytest.raises(PathOutsideRoots):
        await desk.open_session(link)
    with pytest.raises(CommandRefused, match="is not a directory"):
        await desk.open_session(desk.folder / "gpfs" / "nowhere")
    with pytest.raises(CommandRefused, match="no stage"):
        await desk.open_session(stages=())
    with pytest.raises(CommandRefused, match="path separator"):
        await desk.open_session(name="a/b")


async def test_a_manifest_behind_a_link_that_leaves_the_roots_is_not_read(build: Build, tmp_path: Path) -> None:
    desk = build()
    for folder in (tmp_path / "outside", desk.folder / "gpfs" / "manifests"):
        desk.write_manifest({**MANIFEST, "msession": {"name": "linked"}}, folder)
    manifest = desk.raw / "session.json"
    manifest.symlink_to(tmp_path / "outside" / "session.json")
    with pytest.raises(PathOutsideRoots):
        await desk.open_session()
    manifest.unlink()
    manifest.symlink_to("../manifests/session.json")
    await desk.open_session()
    assert desk.imported.book.session.name == "linked"


async def test_a_linked_session_directory_is_known_by_its_real_place(build: Build) -> None:
    desk = build()
    link = desk.folder / "gpfs" / "today"
    link.symlink_to(desk.raw)
    await desk.open_session(link)
    assert desk.imported.book.session.raw_directory == desk.raw
    assert desk.imported.book.session.name == "24dec03a"


async def test_the_gain_is_found_under_the_raw_directory_only(build: Build) -> None:
    desk = build()
    desk.write_manifest({**MANIFEST, "acquisition": {"gain": {"path": "../../../etc/gain.mrc"}}})
    with pytest.raises(PathOutsideRoots):
        await desk.open_session()
    desk.write_manifest({**MANIFEST, "acquisition": {"gain": {"path": "gains/gain.mrc", "rotate_deg": 90}}})
    await desk.open_session()
    gain = desk.imported.book.session.acquisition.gain
    assert gain is not None
    assert (gain.path, gain.rotate_deg) == (desk.raw / "gains" / "gain.mrc", 90)
    record = json.loads(desk.imported.folders.session_record.read_text())
    assert record["acquisition"]["gain"]["path"] == str(desk.raw / "gains" / "gain.mrc")


async def test_a_session_inside_another_is_refused(build: Build) -> None:
    desk = build()
    await desk.open_session()
    for directory in (desk.frames, desk.folder / "gpfs"):
        with pytest.raises(CommandRefused, match="one in the other"):
            await desk.open_session(directory)


async def test_where_sessions_lie_is_a_session_only_where_it_was_one_before(build: Build) -> None:
    desk = build()
    gpfs = desk.folder / "gpfs"
    rules = ImportRules([gpfs], desk.home, 0o027, None, ("motioncor",))
    watched = replace(rules, holders=(gpfs,))
    request = ImportRequest(gpfs, stages=STAGES)
    with pytest.raises(CommandRefused, match="where session directories lie, no session itself"):
        await import_session(desk.store, SUBJECTS, request, watched)
    assert await sessions.sessions(desk.store) == []
    known = await import_session(desk.store, SUBJECTS, request, rules)
    again = await import_session(desk.store, SUBJECTS, request, watched)
    assert again.book.session.session_id == known.book.session.session_id


async def test_where_sessions_lie_is_said_so_although_sessions_lie_there(build: Build) -> None:
    desk = build()
    await desk.open_session()
    gpfs = desk.folder / "gpfs"
    watched = ImportRules([gpfs], desk.home, 0o027, None, ("motioncor",), holders=(gpfs,))
    with pytest.raises(CommandRefused, match="where session directories lie, no session itself"):
        await import_session(desk.store, SUBJECTS, ImportRequest(gpfs, stages=STAGES), watched)
    known = [row.session for row in await sessions.sessions(desk.store)]
    seen = preview_import(ImportRequest(gpfs, stages=STAGES), [gpfs], [gpfs], desk.home, known)
    assert "where session directories lie, no session itself" in seen.refusal


async def test_images_of_another_session_are_not_taken_away(build: Build) -> None:
    desk = build()
    desk.write_manifest(MANIFEST)
    await desk.open_session()
    thief = desk.folder / "gpfs" / "thief"
    desk.write_manifest({**MANIFEST, "msession": {"oid": "9", "name": "thief"}}, thief)
    with pytest.raises(CommandRefused, match="another session already"):
        await desk.open_session(thief)


async def test_an_oid_that_stands_twice_is_refused(build: Build) -> None:
    desk = build()
    twins = [{"oid": "same", "name": "a"}, {"oid": "same", "name": "b"}]
    desk.write_manifest({**MANIFEST, "images": twins})
    with pytest.raises(ManifestInvalid, match="is the oid of 'a' too"):
        await desk.open_session()


async def test_half_a_character_is_refused_not_fatal(build: Build) -> None:
    desk = build()
    desk.raw.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**MANIFEST, "metadata": {"comment": "HALF"}}).replace("HALF", "\\ud800")
    (desk.raw / "session.json").write_text(text)
    with pytest.raises(ManifestInvalid, match="half a character"):
        await desk.open_session()


@pytest.mark.parametrize("oid", ["\ud800", "\0", " ", "x" * 10_000, "../../other", "a/b"])
async def test_an_id_that_is_none_is_refused(build: Build, oid: str) -> None:
    desk = build()
    desk.write_manifest({"msession": {"oid": oid, "name": "s"}})
    with pytest.raises(ManifestInvalid, match=r"msession\.oid"):
        await desk.open_session()
    assert await sessions.sessions(desk.store) == []


async def test_a_corrected_acquisition_reaches_movies_already_seen(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file("frames/x.tif")])
    await desk.open_session(acquisition=AcquisitionSettings(voltage_kv=300.0))
    (image,) = await sessions.images(desk.store, desk.session_id)
    assert image.acquisition.voltage_kv == 300.0


async def test_reopening_is_told_once(build: Build) -> None:
    desk = build()
    await desk.open_session(asked_by="ada")
    closed, event = closing(SUBJECTS, desk.imported.book.session, reason="idle", at_s=desk.now_s)
    await desk.store.commit(closed, queue(SUBJECTS, event))
    for _ in range(2):
        await desk.open_session(asked_by="ada")
    told = [event for event in await desk.events() if event["type"] == "magellon.session.reopened"]
    assert [(event["data"]["reason"], event["data"]["asked_by"]) for event in told] == [("imported again", "ada")]


async def test_what_nobody_gave_is_named(build: Build) -> None:
    desk = build()
    await desk.open_session()
    everything = ["voltage_kv", "spherical_aberration_mm", "pixel_size_ang", "dose", "gain"]
    assert list(desk.imported.unknown) == everything
    desk.write_manifest(MANIFEST)  # which gives the pixel size with its images
    await desk.open_session()
    assert list(desk.imported.unknown) == ["gain"]


async def test_mistyped_keys_are_kept_until_they_are_mended(build: Build) -> None:
    desk = build()
    for content, said in (
        ({"cs_mm": 2.7, "voltage_kv": 300}, ["cs_mm is not used: did you mean spherical_aberration_mm?"]),
        ({"spherical_aberration_mm": 2.7, "voltage_kv": 300}, []),
    ):
        desk.write_manifest({"acquisition": content})
        await desk.open_session()
        (row,) = await sessions.sessions(desk.store)
        assert row.facts[NOT_USED] == said


async def test_a_manifest_that_comes_late_tells_how_images_were_taken(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file("frames/24dec03a_00001gr_00001ex.tif"), desk.file("frames/other.tif")])
    desk.write_manifest(MANIFEST)
    await desk.open_session()
    named = await desk.newest("frames/24dec03a_00001gr_00001ex.tif")
    other = await desk.newest("frames/other.tif")
    taken = {image.image_id: image.acquisition for image in await sessions.images(desk.store, desk.session_id)}
    assert taken[named.image_id or ""].pixel_size_ang == pytest.approx(0.83)
    assert taken[other.image_id or ""].pixel_size_ang is None
    assert taken[other.image_id or ""].voltage_kv == 300.0


async def test_a_rewritten_movie_keeps_the_corrected_acquisition(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file("frames/x.tif")])
    book = desk.imported.book
    await desk.open_session(acquisition=AcquisitionSettings(voltage_kv=300.0), book=book)
    await desk.intake.rewritten(desk.file("frames/x.tif"), desk.file("frames/x.tif", 900))
    (image,) = await sessions.images(desk.store, desk.session_id)
    assert image.acquisition.voltage_kv == 300.0


async def test_the_log_says_in_one_short_line_what_is_known(build: Build) -> None:
    desk = build()
    desk.write_manifest({**MANIFEST, "acquisition": {**MANIFEST["acquisition"], "gain": {"path": "gains/g.mrc"}}})
    with structlog.testing.capture_logs() as logged:
        await desk.open_session(acquisition=AcquisitionSettings(pixel_size_ang=0.83))
    (line,) = [line for line in logged if line["event"] == "session imported"]
    assert line["known"] == (
        "0.83 Å/px (config.toml); 300 kV, Cs 2.7 mm, 50 e⁻/Å² in all, gain g.mrc (acquisition block of session.json)"
    )
    assert "not known" not in line


@pytest.mark.parametrize("known", [False, True])
async def test_what_happens_to_a_movie_during_an_import_is_neither_missed_nor_undone(
    build: Build, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    desk = build()
    await desk.open_session(acquisition=AcquisitionSettings(voltage_kv=200.0))
    book, intake = desk.imported.book, desk.intake
    files = []
    for name, frames in (("a.mrc", 4), ("b.mrc", 6)):
        write_mrc(desk.frames / name, np.ones((frames, 8, 8), np.int16), pixel_size_ang=1.0)
        files.append(identify(desk.frames / name))
    await intake.seen(files[: 1 + known])
    await intake.complete(files[0], None, "whole")
    is_over = anyio.Event()
    images = sessions.images

    async def meanwhile() -> None:
        await (intake.complete(files[1], None, "whole") if known else intake.seen(files[1:]))
        is_over.set()

    async def read_while_more_happens(store: Any, session_id: str) -> Any:
        found = await images(store, session_id)
        group.start_soon(meanwhile)
        while not (is_over.is_set() or book.in_hand._door.statistics().tasks_waiting):
            await anyio.lowlevel.checkpoint()
        return found

    with monkeypatch.context() as patched:
        patched.setattr("daemon.sessions.importing.session_table.images", read_while_more_happens)
        async with anyio.create_task_group() as group:
            await desk.open_session(acquisition=AcquisitionSettings(voltage_kv=300.0), book=book)
    kept = {image.name: image.acquisition for image in await sessions.images(desk.store, desk.session_id)}
    assert {name: taken.voltage_kv for name, taken in kept.items()} == {"a": 300.0, "b": 300.0}
    assert (kept["a"].optics_group, kept["b"].optics_group) == (1, 2 if known else 1)
    for file in files:
        movie = book.find(file.path)
        assert movie is not None
        assert movie.image is not None
        assert movie.image.acquisition == kept[movie.image.name]


def manifest_of(count: int) -> dict[str, Any]:
    return {"msession": {"name": "24dec03a"}, "images": [{"name": f"image{n}", "level": 4} for n in range(count)]}


async def test_many_images_are_committed_in_parts_between_which_others_commit(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = build()
    desk.write_manifest(manifest_of(25))
    monkeypatch.setattr("daemon.sessions.image_records.IMAGES_PER_COMMIT", 10)
    commit, sizes = desk.store.commit, list[int]()

    async def count(*changes: Any) -> None:
        sizes.extend(len(change.images) for change in changes if isinstance(change, PutImages))
        await commit(*changes)

    monkeypatch.setattr(desk.store, "commit", count)
    await desk.open_session()
    assert sizes == [10, 10, 5]
    assert len(await sessions.images(desk.store, desk.session_id)) == 25
    (imported, _) = await desk.events()
    assert imported["data"]["image_count"] == 25


async def test_an_import_that_was_interrupted_between_its_parts_is_made_whole_and_told_once(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = build()
    desk.write_manifest(manifest_of(25))
    monkeypatch.setattr("daemon.sessions.image_records.IMAGES_PER_COMMIT", 10)
    commit, left = desk.store.commit, [2]

    async def die(*changes: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        await commit(*changes)

    with monkeypatch.context() as patched:
        patched.setattr(desk.store, "commit", die)
        with pytest.raises(KeyboardInterrupt):
            await desk.open_session()
    assert await sessions.sessions(desk.store) == []
    await desk.open_session()
    assert len(await sessions.images(desk.store, desk.session_id)) == 25
    assert await desk.event_kinds() == ["session.imported", "job.started"]


@pytest.mark.parametrize("oid", [None, "another-oid"])
async def test_a_manifest_exported_anew_after_an_interrupted_import_is_all_that_is_known(
    build: Build, monkeypatch: pytest.MonkeyPatch, oid: str | None
) -> None:
    desk = build()
    before = manifest_of(6)
    for number, image in enumerate(before["images"]):
        image["oid"] = f"oid{number}"
    desk.write_manifest({**before, "msession": {"oid": "first-oid", "name": "24dec03a"}})
    monkeypatch.setattr("daemon.sessions.image_records.IMAGES_PER_COMMIT", 4)
    with monkeypatch.context() as patched:
        patched.setattr("daemon.sessions.importing._commit_import", interrupt)
        with pytest.raises(KeyboardInterrupt):
            await desk.open_session()
    edited = [
        {"oid": f"oid{number}" if number < 3 else f"new{number}", "name": f"image{number}"} for number in range(5)
    ]
    desk.write_manifest({"msession": {"oid": oid or "first-oid", "name": "24dec03a"}, "images": edited})
    await desk.open_session()
    assert desk.session_id == (oid or "first-oid")
    kept = await sessions.images(desk.store, desk.session_id)
    assert [(image.image_id, image.name) for image in kept] == [(image["oid"], image["name"]) for image in edited]
    assert await sessions.unfounded_sessions(desk.store) == []
    (told, _) = await desk.events()
    assert (told["type"], told["data"]["image_count"]) == ("magellon.session.imported", 5)


async def interrupt(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


async def test_what_another_import_has_entered_meanwhile_is_neither_forgotten_nor_taken(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = build()
    other = desk.folder / "gpfs" / "other"
    desk.write_manifest(MANIFEST)
    desk.write_manifest({"msession": {"name": "other"}, "images": [{"name": "b", "oid": "b-oid"}]}, other)
    thief = desk.folder / "gpfs" / "thief"
    desk.write_manifest({**MANIFEST, "msession": {"oid": "9", "name": "thief"}}, thief)
    rules = ImportRules([desk.folder / "gpfs"], desk.home, 0o027, None, ("motioncor",))
    commit = desk.store.commit

    async def take(directory: Path) -> None:
        await import_session(desk.store, SUBJECTS, ImportRequest(directory, stages=STAGES), rules)

    async def import_the_others_then(*changes: Any) -> None:
        monkeypatch.setattr(desk.store, "commit", commit)
        await commit(*changes)
        assert isinstance(changes[0], PutImages)
        await take(other)
        with pytest.raises(CommandRefused, match="another session already"):
            await take(thief)

    monkeypatch.setattr(desk.store, "commit", import_the_others_then)
    await take(desk.raw)
    entered = [row.session for row in await sessions.sessions(desk.store)]
    counts = {session.name: len(await sessions.images(desk.store, session.session_id)) for session in entered}
    assert counts == {"other": 1, "24dec03a": 2}


async def test_two_sessions_that_are_imported_at_once_may_not_share_name_or_id(build: Build) -> None:
    desk = build()
    twin = desk.folder / "gpfs" / "twin"
    desk.write_manifest(MANIFEST)
    desk.write_manifest({**MANIFEST, "images": []}, twin)
    rules = ImportRules([desk.folder / "gpfs"], desk.home, 0o027, None, ("motioncor",))
    outcomes: list[str] = []

    async def take(directory: Path) -> None:
        try:
            await import_session(desk.store, SUBJECTS, ImportRequest(directory, stages=STAGES), rules)
        except CommandRefused as error:
            outcomes.append(str(error))
        else:
            outcomes.append("imported")

    async with anyio.create_task_group() as group:
        group.start_soon(take, desk.raw)
        group.start_soon(take, twin)
    assert sorted(outcome == "imported" for outcome in outcomes) == [False, True]
    assert any("is imported from" in outcome for outcome in outcomes)
    assert rules.under_way == {}


async def test_the_record_of_a_session_is_canonical_json(build: Build) -> None:
    desk = build()
    desk.write_manifest({**MANIFEST, "project": {"name": "Ångström"}, "metadata": {"b": 1, "a": [None, 2.5]}})
    await desk.open_session()
    text = desk.imported.folders.session_record.read_text()
    assert text == canonical_json(json.loads(text)) + "\n"
    assert [image["level"] for image in json.loads(text)["manifest"]["images"]] == [1, 4]


class Voltage(Add):
    """A stage that uses the voltage."""

    acquisition = ("voltage_kv",)


async def correct_many(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> StageGraph:
    """Have 25 movies made with one voltage, whose session.json says another one now, in parts of ten."""
    graph = StageGraph((Voltage(Script()),))
    desk.write_manifest(manifest_of(25))
    await desk.open_session(stages=(Voltage.name,), graph=graph)
    monkeypatch.setattr("daemon.sessions.image_records.IMAGES_PER_COMMIT", 10)
    files = [desk.file(f"frames/{image['name']}.mrc") for image in manifest_of(25)["images"]]
    await desk.intake.seen(files)
    for file in files:
        movie = await desk.newest(str(file.path.relative_to(desk.raw)))
        (task,) = await desk.tasks_of(movie)
        made = EndTask(task.task_id, TaskState.COMPLETED)
        states = [MoveMovie(movie.movie_id, state) for state in (MovieState.COMPLETE, MovieState.DONE)]
        await desk.store.commit(states[0], made, states[1])
    desk.write_manifest({**manifest_of(25), "acquisition": {"voltage_kv": 200}})
    return graph


async def test_a_corrected_acquisition_reaches_its_movies_in_parts_also_when_that_is_cut_short(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = build()
    graph = await correct_many(desk, monkeypatch)
    commit, sizes = desk.store.commit, list[int]()

    async def die_after_the_first(*changes: Any) -> None:
        sizes.extend(len(change.task_ids) for change in changes if isinstance(change, PutBackTasks))
        if len(sizes) > 1:
            raise RuntimeError("killed")
        await commit(*changes)

    monkeypatch.setattr(desk.store, "commit", die_after_the_first)
    with pytest.raises(RuntimeError, match="killed"):
        await desk.open_session(stages=(Voltage.name,), graph=graph)
    assert sizes == [10, 10]
    monkeypatch.setattr(desk.store, "commit", commit)
    await desk.open_session(stages=(Voltage.name,), graph=graph)
    assert (desk.imported.reopened.tasks, len(desk.imported.reopened.movies)) == (15, 15)
    assert {movie.state for movie in await desk.movies()} == {MovieState.COMPLETE}
    await desk.open_session(stages=(Voltage.name,), graph=graph)
    assert desk.imported.reopened.tasks == 0


async def test_a_movie_that_is_superseded_as_its_session_is_corrected_is_left_out(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = build()
    graph = await correct_many(desk, monkeypatch)
    commit, gone = desk.store.commit, (await desk.movies())[12].movie_id
    is_gone = False

    async def supersede_before(*changes: Any) -> None:
        nonlocal is_gone
        if not is_gone and any(isinstance(change, PutBackTasks) for change in changes):
            is_gone = True
            await commit(MoveMovie(gone, MovieState.SUPERSEDED))
        await commit(*changes)

    monkeypatch.setattr(desk.store, "commit", supersede_before)
    await desk.open_session(stages=(Voltage.name,), graph=graph)
    assert len(desk.imported.reopened.movies) == 24
    states = Counter(movie.state for movie in await desk.movies())
    assert states == {MovieState.COMPLETE: 24, MovieState.SUPERSEDED: 1}
