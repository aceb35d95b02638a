"""Sessions that come in: named anew in the configuration, closed long ago, with a movie that proves broken."""

import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest

from daemon.app.directories import Directories
from daemon.app.parameters import stage_parameters
from daemon.app.reception import Reception
from daemon.app.refusals import Refusals
from daemon.bus.service import Bus
from daemon.config.loader import load_settings
from daemon.domain.states import MovieState, SessionState
from daemon.errors import ConfigurationInvalid, FileUnanswered, FormatError
from daemon.formats.mrc_writer import write_mrc
from daemon.messages.commands import SessionImport
from daemon.messages.subjects import Subjects
from daemon.store import ledger, sessions
from daemon.store.changes import CloseSession
from daemon.store.store import Store
from tests.engine.workshop import SUBJECTS, Workshop, movie_pixels

pytestmark = pytest.mark.anyio

LIMIT_S = 180.0
"""After which something hangs, also on a machine with much else to do: the first look at a gain loads what computes."""


class _Publisher:
    def wake(self) -> None:
        """Nobody listens."""


@dataclass(frozen=True)
class _SilentBus:
    """What the reception needs of a bus."""

    subjects: Subjects = SUBJECTS
    publisher: _Publisher = field(default_factory=_Publisher)


class House:
    """A workshop with a reception in front of it; its configuration is a file."""

    def __init__(self, folder: Path, *, with_raw: bool = True, limit_s: float = LIMIT_S) -> None:
        self.folder = folder
        self.shop = Workshop(folder)
        self.raw = folder / "gpfs" / "group" / "session1"  # below a folder of the root: nobody looks for it there
        if with_raw:
            (self.raw / "frames").mkdir(parents=True, exist_ok=True)
        self.config = folder / "config.toml"
        if not self.config.exists():
            self.configure("")
        settings = load_settings(self.config, stage_parameters(), {"HOME": str(folder)})
        bus = cast("Bus", _SilentBus())
        self.reception = Reception(settings, self.shop.store, self.shop.engine, bus, once=True, limit_s=limit_s)
        self.shop.engine.recorder.on_set_aside = self.reception.take_set_aside

    def configure(self, more: str) -> None:
        gpfs, home, state = (self.folder / name for name in ("gpfs", "home", "state"))
        self.config.write_text(
            f'[paths]\ngpfs = "{gpfs}"\nhome = "{home}"\nstate = "{state}"\n[watch]\npoll_min_s = 0.1\n'
            f"[watch.settle]\nmin_quiet_s = 0.1\nunknown_count_wait_s = 0.1\n[output]\nlink_frames = false\n{more}",
            encoding="utf-8",
        )

    @asynccontextmanager
    async def open(self, *, at_work: bool = True) -> AsyncIterator[None]:
        """Serve for the block."""
        with anyio.fail_after(LIMIT_S):
            async with anyio.create_task_group() as group:
                await self.reception.open(group)
                if at_work:
                    group.start_soon(self.shop.scheduler.run)
                yield
                group.cancel_scope.cancel()

    async def take(self) -> dict[str, Any]:
        """Import the session by command."""
        return await self.reception.import_by_command(SessionImport(directory=str(self.raw)), "ada")

    def write(self, name: str, seed: int = 1) -> Path:
        path = self.raw / "frames" / name
        write_mrc(path, movie_pixels(seed), pixel_size_ang=1.0)
        return path

    async def state_of(self, path: Path) -> MovieState | None:
        """State of a file's newest revision."""
        (row,) = await sessions.sessions(self.shop.store)
        entries = await ledger.movies(self.shop.store, row.session.session_id)
        found = sorted((entry for entry in entries if entry.identity.path == path), key=lambda entry: entry.revision)
        return found[-1].state if found else None

    async def until(self, path: Path, state: MovieState) -> None:
        """Return when a movie's visit has left it in a state."""
        scheduler = self.shop.scheduler
        since = scheduler.changes
        while await self.state_of(path) is not state:
            await scheduler.wait_for_change(since)
            since = scheduler.changes

    def close(self) -> None:
        self.shop.close()


@pytest.fixture
def build(tmp_path: Path) -> Any:
    built: list[House] = []

    def make(**more: Any) -> House:
        if built:
            built.pop().close()
        built.append(House(tmp_path, **more))
        return built[-1]

    yield make
    for house in built:
        house.close()


Build = Callable[..., House]


async def test_the_spare_file_of_a_movie_that_cannot_be_decoded_is_processed(build: Build) -> None:
    house = build()
    preferred, spare = house.write("x.mrc"), house.write("x.mrcs", 2)
    house.shop.script.fail("add", "x", FormatError(preferred, "frame 3 is damaged"))
    async with house.open():
        await house.take()
        await house.until(spare, MovieState.DONE)
    assert await house.state_of(preferred) is MovieState.IGNORED
    assert house.shop.script.count("add", "x") == 2
    assert house.reception.is_settled


async def test_the_spare_file_of_a_movie_that_breaks_while_its_session_is_restored_is_processed(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = build()
    preferred, spare = house.write("x.mrc"), house.write("x.mrcs", 2)
    async with house.open(at_work=False):
        await house.take()
        while await house.state_of(preferred) is not MovieState.COMPLETE:
            await anyio.lowlevel.checkpoint()
    house = build()
    house.shop.script.fail("add", "x", FormatError(preferred, "frame 3 is damaged"))
    known_files = ledger.known_files

    async def break_meanwhile(store: Store, session_id: str) -> Any:
        (movie,) = await ledger.movies(store, session_id, (MovieState.COMPLETE,))
        house.shop.scheduler.offer(movie.movie_id, movie.last_write_s)
        async with house.shop.running():
            await house.until(preferred, MovieState.QUARANTINED)
            await house.shop.until_idle()
        return await known_files(store, session_id)

    monkeypatch.setattr("daemon.app.watched.ledger.known_files", break_meanwhile)
    async with house.open():
        await house.until(spare, MovieState.DONE)


async def test_a_quarantined_movie_is_judged_anew_when_it_is_asked_for(build: Build) -> None:
    house = build()
    movie = house.write("x.mrc")
    whole = movie.read_bytes()
    movie.write_bytes(whole[:-9])
    kept = movie.stat()
    async with house.open():
        answer = await house.take()
        while await house.state_of(movie) is not MovieState.QUARANTINED:
            await anyio.lowlevel.checkpoint()
        (entry,) = await ledger.movies(house.shop.store, answer["session_id"])
        assert house.reception.look_again(answer["session_id"], entry.identity, "retried by ada")
        assert not house.reception.look_again("nosuch", entry.identity, "retried by ada")
        while len(entries := await ledger.movies(house.shop.store, answer["session_id"])) < 2:
            await anyio.lowlevel.checkpoint()
        assert {one.reason for one in entries if one.state is MovieState.SUPERSEDED} == {"retried by ada"}
        while await house.state_of(movie) is not MovieState.QUARANTINED:
            await anyio.lowlevel.checkpoint()
    assert kept.st_mtime_ns == movie.stat().st_mtime_ns


async def test_a_movie_that_came_back_while_no_daemon_ran_is_processed(build: Build) -> None:
    house = build()
    async with house.open(at_work=False):
        await house.take()
        movie = house.write("x.mrc")
        while await house.state_of(movie) is not MovieState.COMPLETE:
            await anyio.lowlevel.checkpoint()
        away = movie.rename(house.folder / "x.mrc")
        while await house.state_of(movie) is not MovieState.VANISHED:
            await anyio.lowlevel.checkpoint()
    away.rename(movie)
    house = build()
    async with house.open():
        await house.until(movie, MovieState.DONE)
    assert house.shop.script.count("add", "x") == 1


async def test_a_closed_session_without_manifest_is_watched_by_the_next_daemon(build: Build) -> None:
    house = build()
    async with house.open():
        answer = await house.take()
        await house.shop.store.commit(CloseSession(answer["session_id"], "idle"))
    house = build()
    async with house.open():
        late = house.write("late.mrc")
        await house.until(late, MovieState.DONE)
        (row,) = await sessions.sessions(house.shop.store)
        assert row.session.state is SessionState.OPEN


async def test_a_closed_session_whose_directory_was_archived_is_left_in_peace(build: Build) -> None:
    house = build()
    async with house.open():
        answer = await house.take()
        await house.shop.store.commit(CloseSession(answer["session_id"], "idle"))
    house.raw.rename(house.folder / "archive")
    house = build(with_raw=False)
    async with house.open():
        assert house.reception.refused_sessions == {}
        assert house.reception.open_sessions == {}
        assert await sessions.notifications(house.shop.store) == []


async def test_a_folder_that_could_not_be_imported_is_told_of_as_long_as_it_is_there(build: Build) -> None:
    house = build()
    manifest = '{"msession": {"oid": "1", "name": "session1"}, "images": []}'
    (house.raw / "session.json").write_text(manifest, encoding="utf-8")
    copy = house.folder / "gpfs" / "copy"
    async with house.open():
        await house.take()
        copy.mkdir()
        (copy / "session.json").write_text(manifest, encoding="utf-8")
        while copy not in house.reception.refused_sessions:
            await anyio.lowlevel.checkpoint()
        copy.rename(house.folder / "elsewhere")
        while copy in house.reception.refused_sessions:
            await anyio.lowlevel.checkpoint()


async def test_a_directory_that_is_to_be_there_stays_told_when_it_is_gone(build: Build, tmp_path: Path) -> None:
    store = build().shop.store
    refused, there = Refusals(SUBJECTS), tmp_path / "there"
    there.mkdir()
    refused |= {tmp_path / "gone": "why", tmp_path / "configured": "why", there: "why"}
    await refused.drop_gone(store, Directories(LIMIT_S), [tmp_path / "configured"])
    assert refused.keys() == {tmp_path / "configured", there}


async def test_an_import_reads_the_session_entries_again(build: Build) -> None:
    house = build()
    async with house.open():
        answer = await house.take()
        assert answer["unknown"] == ["voltage_kv", "spherical_aberration_mm", "pixel_size_ang", "dose", "gain"]
        acquisition = "voltage_kv = 300.0, spherical_aberration_mm = 2.7, total_dose_e_per_ang2 = 50.0"
        entry = f'[[session]]\ndirectory = "{house.raw}"\nacquisition = {{ {acquisition} }}\n'
        house.configure(entry)
        assert (await house.take())["unknown"] == ["pixel_size_ang", "gain"]
        (row,) = await sessions.sessions(house.shop.store)
        assert row.session.acquisition.voltage_kv == 300.0
        house.configure(entry.replace("voltage_kv = 300.0", "voltage_kv = 3"))
        with pytest.raises(ConfigurationInvalid, match="voltage_kv"):
            await house.take()


async def test_a_session_named_anew_may_lie_outside_the_roots(build: Build) -> None:
    house = build()
    outside = house.folder / "elsewhere"
    outside.mkdir()
    async with house.open():
        house.configure(f'[[session]]\ndirectory = "{outside}"\nname = "afar"\n')
        answer = await house.reception.import_by_command(SessionImport(directory=str(outside)), "ada")
        assert answer["session"] == "afar"


async def test_a_directory_that_does_not_answer_holds_up_no_other_and_is_taken_when_it_does(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = build()
    hung = house.raw.with_name("session0")
    hung.mkdir()
    async with house.open():
        await house.take()
        await house.reception.import_by_command(SessionImport(directory=str(hung)), "ada")
    answers = threading.Event()

    def hang(name: str) -> None:
        look = getattr(Path, name)

        def look_late(path: Path, **more: Any) -> Any:
            if path.is_relative_to(hung):
                assert threading.current_thread() is not threading.main_thread(), f"{name} on the event loop"
                answers.wait()
            return look(path, **more)

        monkeypatch.setattr(Path, name, look_late)

    house = build(limit_s=0.3)
    for name in ("resolve", "iterdir", "stat"):
        hang(name)
    try:
        async with house.open():
            while len(house.reception.open_sessions) < 1 or hung not in house.reception.refused_sessions:
                await anyio.lowlevel.checkpoint()
            assert list(house.reception.open_sessions.values()) == [house.raw.name]
            assert "has not answered" in house.reception.refused_sessions[hung]
            assert str(hung) not in [movie["path"] for movie in house.reception.watched.waiting_movies()]
            with pytest.raises(FileUnanswered):
                await house.reception.import_by_command(SessionImport(directory=str(hung)), "ada")
            answers.set()
            while len(house.reception.open_sessions) < 2:
                await anyio.lowlevel.checkpoint()
            assert house.reception.refused_sessions == {}
    finally:
        answers.set()


async def test_a_folder_that_cannot_be_listed_is_known_to_the_reception(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = build()
    listdir, refused = os.listdir, str(house.raw / "frames")

    def list_folder(folder: str) -> list[str]:
        if folder == refused:
            raise PermissionError(13, "Permission denied")
        return listdir(folder)

    monkeypatch.setattr(os, "listdir", list_folder)
    async with house.open(at_work=False):
        await house.take()
        while not house.reception.is_settled:
            await anyio.lowlevel.checkpoint()
        assert house.reception.watch_problems == {Path(refused): "cannot be watched: Permission denied"}
        (trouble,) = house.reception.not_watched
        assert trouble.message == f"{refused} cannot be watched: Permission denied."
        assert "let the user that runs elcano read" in trouble.hint
        monkeypatch.undo()
        kept = trouble.message
        while kept != f"{refused} is watched again.":
            notes = await sessions.notifications(house.shop.store)
            (kept,) = [note.message for note in notes if note.kind == "not_watched"]
        assert house.reception.not_watched == []
