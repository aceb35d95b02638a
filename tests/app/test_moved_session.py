"""Sessions whose raw directory is renamed or moved: they go on at the new place, and nothing is made again."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import msgspec
import numpy as np
import pytest

from daemon.domain.states import MovieState, SessionState, TaskState
from daemon.engine.controls import Controls
from daemon.errors import CommandRefused, MovieUnreadable
from daemon.formats.mrc_writer import write_mrc
from daemon.messages import commands
from daemon.sessions.audit import audit_session
from daemon.sessions.moving import OldPlace
from daemon.store import ledger, outbox, sessions, tasks
from daemon.store.rows import SessionRow
from tests.app.test_reception import House
from tests.engine.fakes import FAKES

pytestmark = pytest.mark.anyio

Build = Callable[..., "Watched"]
MANIFEST = {
    "msession": {"oid": "11111111-1111-1111-1111-111111111111", "name": "grid1"},
    "acquisition": {"voltage_kv": 300, "gain": {"path": "gains/gain.mrc"}},
    "images": [{"name": "x", "level": 4}, {"name": "y", "level": 4}],
}


class Watched(House):
    """A house whose session lies directly under the watched root, with a gain of its own."""

    def __init__(self, folder: Path, *, raw: str = "grid1a", **more: Any) -> None:
        super().__init__(folder, with_raw=False, **more)
        self.raw = folder / "gpfs" / raw
        if raw == "grid1a":
            (self.raw / "frames").mkdir(parents=True, exist_ok=True)
            (self.raw / "gains").mkdir(exist_ok=True)
            write_mrc(self.raw / "gains" / "gain.mrc", np.ones((8, 10), np.float32), pixel_size_ang=1.0)

    def configure(self, more: str) -> None:
        super().configure(more)
        text = self.config.read_text(encoding="utf-8").replace("link_frames = false", "link_frames = true")
        self.config.write_text(text, encoding="utf-8")

    def note(self, manifest: dict[str, Any] = MANIFEST) -> None:
        (self.raw / "session.json").write_text(json.dumps(manifest), encoding="utf-8")

    def move(self, name: str) -> Path:
        """Rename the raw directory."""
        before, self.raw = self.raw, self.raw.with_name(name)
        before.rename(self.raw)
        return before

    async def row(self) -> SessionRow:
        (row,) = await sessions.sessions(self.shop.store)
        return row

    async def until_there(self) -> None:
        """Return when the one session is watched where it is now."""
        while self.raw not in self.reception.watched:
            await self.look_away()

    async def look_away(self) -> None:
        """Let others go on, for as long as a thread takes to answer: a loop that only yields would starve them."""
        await self.shop.store.read(lambda _: None)

    async def told(self) -> list[str]:
        """Every notification that was told of a move."""
        events = [msgspec.json.decode(row.body) for row in await outbox.unpublished(self.shop.store, 1000)]
        said = [event["data"].get("message", "") for event in events]
        return [text for text in said if "was moved from" in text]

    async def gaps(self) -> list[str]:
        report = await audit_session(self.shop.store, (await self.row()).session, ["sums", "shares", "marks"])
        return [f"{gap.kind} {gap.path}" for gap in (*report.gaps, *report.notes)]

    async def images(self) -> list[str]:
        known = await sessions.images(self.shop.store, (await self.row()).session.session_id)
        return sorted(image.name for image in known)

    def links(self) -> set[Path]:
        frames = self.shop.home
        return {link.readlink() for link in frames.glob("*/frames/*")}


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Build]:
    built: list[Watched] = []
    monkeypatch.setattr(FAKES[0], "acquisition", ("gain", "voltage_kv"))

    def make(**more: Any) -> Watched:
        if built:
            built.pop().close()
        built.append(Watched(tmp_path, **more))
        return built[-1]

    yield make
    for house in built:
        house.close()


async def begin(house: Watched, *names: str) -> None:
    """Have a session of these movies found, or imported where it has no manifest, and processed."""
    if not (house.raw / "session.json").exists():
        await house.take()
    await house.until_there()
    for seed, name in enumerate(names):
        await house.until(house.write(f"{name}.mrc", seed), MovieState.DONE)
    while len(house.links()) < len(names):
        await house.look_away()


async def test_a_moved_session_whose_movies_nobody_may_look_at_is_told_and_goes_on_once_they_may(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = build()
    house.note()
    async with house.open():
        await begin(house, "x")
    house.move("renamed")
    stat, closed = Path.stat, house.raw / "frames"

    def look_at(path: Path, **more: Any) -> Any:
        if path.parent == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **more)

    house = build(raw="renamed")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", look_at)
        async with house.open():
            while house.raw not in house.reception.refused_sessions:
                await house.look_away()
            said = f"{closed}: cannot be read: Permission denied. Let the user that runs elcano read it."
            assert house.reception.refused_sessions[house.raw] == said
    house = build(raw="renamed")
    async with house.open():
        await house.until_there()
        assert (await house.row()).session.raw_directory == house.raw


async def test_a_renamed_session_is_found_and_goes_on_where_it_is(build: Build) -> None:
    house = build()
    house.note()
    async with house.open():
        await begin(house, "x", "y")
        before, runs = await house.row(), Counter(house.shop.script.runs)
        tuned = commands.StageParameters(stage="add", values={"factor": 2.0}, session="grid1")
        await Controls(house.shop.engine).tuning.set_values(tuned, "ada")
        old = house.move("renamed")
        await house.until_there()
        await house.until(house.write("late.mrc", 7), MovieState.DONE)
        while house.links() != {house.raw / "frames" / f"{name}.mrc" for name in ("x", "y", "late")}:
            await house.look_away()
        row = await house.row()
        assert (row.session.session_id, row.session.name) == (before.session.session_id, "grid1")
        assert (row.session.raw_directory, row.session.former_directories) == (house.raw, (old,))
        assert row.session.acquisition.gain is not None
        assert row.session.acquisition.gain.path == house.raw / "gains" / "gain.mrc"
        assert await house.images() == ["late", "x", "y"]
        assert house.reception.open_sessions == {row.session.session_id: "grid1"}
        assert (dict(house.reception.refused_sessions), house.reception.not_watched) == ({}, [])
        again = Counter(house.shop.script.runs) - runs
        assert {image for _, image in again} == {"late"}, "nothing else is processed again"
        entries = await ledger.movies(house.shop.store, row.session.session_id)
        assert len([entry for entry in entries if entry.image_id is not None]) == 3
        assert await house.gaps() == []
        (said,) = await house.told()
        assert (
            said == f"Session grid1 was moved from {old} to {house.raw}, and goes on there: nothing is processed again."
        )


@pytest.mark.parametrize("has_manifest", [True, False])
async def test_a_link_at_the_old_place_that_leads_to_the_new_one_changes_nothing(
    build: Build, *, has_manifest: bool
) -> None:
    """Files for RELION that were written before go on naming movies by the old path: a link keeps them right."""
    house = build()
    if has_manifest:
        house.note()
    async with house.open():
        await begin(house, "x")
        old = house.move("renamed")
        if not has_manifest:
            await house.take()
        await house.until_there()
        old.symlink_to(house.raw)
        await house.until(house.write("y.mrc", 1), MovieState.DONE)
    house = build(raw="renamed")
    async with house.open():
        await house.until_there()
        await house.until(house.write("z.mrc", 2), MovieState.DONE)
        row = await house.row()
        assert (row.session.raw_directory, row.session.former_directories) == (house.raw, (old,))
        assert await house.images() == ["x", "y", "z"]
        assert dict(house.reception.refused_sessions) == {}
        assert {image for _, image in house.shop.script.runs} == {"z"}, "nothing is processed again"
        assert await house.gaps() == []
        assert (old / "frames" / "x.mrc").is_file()


async def test_what_waits_fails_or_is_written_while_a_session_is_moved_is_not_lost(build: Build) -> None:
    house = build()
    house.note()
    async with house.open(at_work=False):
        await house.until_there()
        waiting, growing = house.write("x.mrc"), house.write("y.mrc", 2)
        whole = growing.read_bytes()
        growing.write_bytes(whole[:-9])
        while await house.state_of(waiting) is not MovieState.COMPLETE or await house.state_of(growing) is None:
            await house.look_away()
        house.move("renamed")
        await house.until_there()
        (house.raw / "frames" / "y.mrc").write_bytes(whole)
        async with anyio.create_task_group() as group:
            group.start_soon(house.shop.scheduler.run)
            await house.until(house.raw / "frames" / "x.mrc", MovieState.DONE)
            await house.until(house.raw / "frames" / "y.mrc", MovieState.DONE)
            group.cancel_scope.cancel()
        assert await house.images() == ["x", "y"]
        assert await house.gaps() == []


async def test_a_session_without_a_manifest_is_taken_up_at_its_new_place_by_an_import(build: Build) -> None:
    house = build()
    house.configure(
        f'[[session]]\ndirectory = "{house.raw}"\nname = "named"\n'
        f'acquisition = {{ voltage_kv = 300.0, gain = {{ path = "{house.raw / "gains" / "gain.mrc"}" }} }}\n'
    )
    async with house.open():
        await begin(house, "x", "y")
        before, runs = await house.row(), list(house.shop.script.runs)
        (house.raw / "frames" / "y.mrc").unlink()
        house.move("elsewhere")
        answer = await house.take()
        assert (answer["session_id"], answer["session"]) == (before.session.session_id, "named")
        assert (answer["tasks_again"], answer["unknown"]) == (0, ["spherical_aberration_mm", "pixel_size_ang", "dose"])
        assert house.shop.script.runs == runs
        row = await house.row()
        assert row.session.acquisition.gain is not None
        assert row.session.acquisition.gain.path == house.raw / "gains" / "gain.mrc"
    # What an entry says of the first place holds at the new one, also for the next daemon.
    house = build(raw="elsewhere")
    async with house.open():
        await house.until(house.write("z.mrc", 3), MovieState.DONE)
        assert {image for _, image in house.shop.script.runs} == {"z"}
        assert (await house.row()).session.acquisition == row.session.acquisition
        assert dict(house.reception.refused_sessions) == {}
        house.raw.with_name("grid1a").mkdir()
        house.raw = house.raw.with_name("grid1a")
        with pytest.raises(CommandRefused, match="belongs to"):  # as its name does: it is a session of its own
            await house.take()


async def test_a_directory_with_other_movies_is_another_session(build: Build) -> None:
    house = build()
    async with house.open():
        await begin(house, "x", "y")
        old = house.move("elsewhere")
        house.write("y.mrc", 5)
        await house.take()
        assert {row.session.raw_directory for row in await sessions.sessions(house.shop.store)} == {old, house.raw}
        house.raw.with_name("third").mkdir()
        house.raw = house.raw.with_name("third")
        await house.take()
        assert len(await sessions.sessions(house.shop.store)) == 3


async def test_a_copy_is_refused_until_nothing_is_left_of_what_it_is_a_copy_of(build: Build) -> None:
    house = build()
    house.note()
    async with house.open():
        await begin(house, "x")
        copy = house.raw.with_name("copy")
        shutil.copytree(house.raw, house.raw.with_name(".copy"))
        house.raw.with_name(".copy").rename(copy)
        while copy not in house.reception.refused_sessions:
            await house.look_away()
        said = house.reception.refused_sessions[copy]
        assert "which is imported from" in said
        assert f"goes on here once nothing is left of {house.raw}" in said
        shutil.rmtree(house.raw)
        house.raw = copy
        await house.until_there()
        assert dict(house.reception.refused_sessions) == {}
        assert await house.gaps() == []
        assert len(await house.told()) == 1


async def test_a_session_on_a_file_system_that_may_not_be_mounted_is_not_taken_for_moved(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = build()
    house.note()
    async with house.open():
        await begin(house, "x")
        home = house.raw.parent
        monkeypatch.setattr("daemon.sessions.moving.look_at_old", lambda *_: OldPlace.HIDDEN)
        house.move("elsewhere")
        with pytest.raises(CommandRefused, match=f"put any file into {home} and import it again"):
            await house.take()
        monkeypatch.undo()
        assert (await house.take())["session"] == "grid1"


async def test_a_session_that_was_moved_while_no_daemon_ran_is_found_and_one_moved_back_too(build: Build) -> None:
    house = build()
    house.note()
    async with house.open():
        await begin(house, "x")
    house.move("renamed")
    house = build(raw="renamed")
    async with house.open():
        await house.until_there()
        assert house.shop.script.runs == []
        house.move("grid1a")
        await house.until_there()
        row = await house.row()
        assert row.session.former_directories == (house.raw.with_name("renamed"),)
        await house.until(house.write("y.mrc", 2), MovieState.DONE)
        assert {image for _, image in house.shop.script.runs} == {"y"}
        assert dict(house.reception.refused_sessions) == {}
        assert await house.gaps() == []


async def test_a_move_that_a_kill_cut_short_is_completed_by_the_next_daemon(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = build()
    house.note()
    house.shop.script.fail("add", "y", *(MovieUnreadable(house.raw, FileNotFoundError(2, "gone")) for _ in range(9)))
    async with house.open():
        await begin(house, "x")
        failed = house.write("y.mrc", 2)
        scheduler = house.shop.scheduler
        since = scheduler.changes
        while await house.state_of(failed) is not MovieState.QUARANTINED:
            await scheduler.wait_for_change(since)
            since = scheduler.changes
            house.shop.clock.now_s += 1000
        old = house.move("renamed")

        async def die(*_: Any) -> None:
            raise RuntimeError("killed")

        monkeypatch.setattr("daemon.sessions.importing._enter", die)
        while house.raw not in house.reception.refused_sessions:
            await house.look_away()
        monkeypatch.undo()
        moved = await ledger.movies(house.shop.store, (await house.row()).session.session_id)
        assert all(movie.identity.path.is_relative_to(house.raw) for movie in moved)
    house = build(raw="renamed")
    async with house.open():
        await house.until(house.raw / "frames" / "y.mrc", MovieState.DONE)
        assert {image for _, image in house.shop.script.runs} == {"y"}, "what could not be read is tried again"
        while any(target.is_relative_to(old) for target in house.links()):
            await house.look_away()
        assert await house.gaps() == []


async def test_a_closed_session_stays_closed_where_it_was_moved_to(build: Build) -> None:
    house = build()
    house.note()
    async with house.open():
        await begin(house, "x")
        await Controls(house.shop.engine).close_session(commands.SessionClose(session="grid1"), "ada")
        house.move("archive")
        await house.until_there()
        row = await house.row()
        assert row.session.state is SessionState.CLOSED
        owed = await tasks.tasks(house.shop.store, session_id=row.session.session_id)
        assert {task.state for task in owed} == {TaskState.COMPLETED}
