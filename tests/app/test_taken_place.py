"""Directories whose name another session has by now: no session takes the movies or the results of another."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from daemon.app.refusals import FIRST_RETRY_S, Refusals
from daemon.domain.states import MovieState
from daemon.errors import CommandRefused, ImportFailed
from daemon.messages.commands import SessionImport
from daemon.sessions.place_mark import PlaceMark, read_place_mark
from daemon.store import ledger, outbox, sessions
from daemon.store.rows import SessionRow
from tests.app.test_moved_session import Watched
from tests.engine.fakes import FAKES
from tests.engine.workshop import SUBJECTS

pytestmark = pytest.mark.anyio

Build = Callable[..., Watched]


class Pair(Watched):
    """A house with sessions side by side under the watched root."""

    def add(self, directory: str, oid: str | None, name: str, *movies: str) -> Path:
        """Make a session directory with movies of its own."""
        self.raw = self.folder / "gpfs" / directory
        (self.raw / "frames").mkdir(parents=True, exist_ok=True)
        session = {"name": name} | ({"oid": oid} if oid else {})
        self.note({"msession": session, "acquisition": {"voltage_kv": 300}})
        for movie in movies:
            self.write(movie, sum(map(ord, directory + movie)))
        return self.raw

    async def places(self) -> dict[str, Path]:
        """Where each session is, by name."""
        return {row.session.name: row.session.raw_directory for row in await sessions.sessions(self.shop.store)}

    async def until_at(self, **places: Path) -> None:
        """Return when these sessions are watched there."""
        while await self.places() != places or not set(places.values()) <= self.reception.watched.keys():
            await self.look_away()

    async def until_done(self, count: int) -> None:
        """Return when so many movies are processed, of all sessions."""
        scheduler = self.shop.scheduler
        while True:
            since = scheduler.changes
            counts = [await self._done(row) for row in await sessions.sessions(self.shop.store)]
            if sum(counts) >= count:
                return
            await scheduler.wait_for_change(since)

    async def _done(self, row: SessionRow) -> int:
        return len(await ledger.movies(self.shop.store, row.session.session_id, (MovieState.DONE,)))

    async def revisions(self) -> Counter[tuple[str, int]]:
        """Files and their revisions, of all sessions."""
        found: Counter[tuple[str, int]] = Counter()
        for row in await sessions.sessions(self.shop.store):
            movies = await ledger.movies(self.shop.store, row.session.session_id)
            files = [(movie.identity.path, movie.revision) for movie in movies]
            found.update((path.name, revision) for path, revision in files if path.suffix == ".mrc")
        return found


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Pair]]:
    built: list[Pair] = []
    monkeypatch.setattr(FAKES[0], "acquisition", ("voltage_kv",))

    def make() -> Pair:
        if built:
            built.pop().close()
        built.append(Pair(tmp_path, raw="none"))
        return built[-1]

    yield make
    for house in built:
        house.close()


def swap(one: Path, other: Path) -> None:
    """Have two directories change their names."""
    aside = one.with_name(".aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


@pytest.mark.parametrize("runs_on", [True, False])
async def test_two_sessions_that_swap_their_names_go_on_where_they_are(
    build: Callable[[], Pair], *, runs_on: bool
) -> None:
    house = build()
    a, b = house.add("A", "aaaa-1", "one", "x.mrc"), house.add("B", "bbbb-2", "two", "x.mrc", "y.mrc")
    async with house.open():
        await house.until_done(3)
        if runs_on:
            swap(a, b)
            await house.until_at(one=b, two=a)
    if not runs_on:
        swap(a, b)
    house = build()
    async with house.open():
        await house.until_at(one=b, two=a)
        assert house.shop.script.runs == []
        assert set((await house.revisions()).elements()) == {("x.mrc", 1), ("y.mrc", 1)}
        house.raw = a
        house.write("z.mrc", 9)
        await house.until_done(4)
        assert {image for _, image in house.shop.script.runs} == {"z"}
        assert dict(house.reception.refused_sessions) == {}


async def test_a_new_session_where_another_was_begins_by_itself_and_overwrites_nothing(
    build: Callable[[], Pair],
) -> None:
    house = build()
    place = house.add("A", "aaaa-1", "one", "x.mrc")
    async with house.open():
        await house.until_done(1)
    made = {path: path.read_bytes() for path in house.shop.home.rglob("one/**/*.mrc") if path.is_file()}
    old = place.with_name("A_old")
    place.rename(old)
    house = build()
    house.add("A", "bbbb-2", "two", "x.mrc")
    async with house.open():
        await house.until_at(one=old, two=place)
        await house.until_done(2)
        assert set(await house.revisions()) == {("x.mrc", 1)}
        assert {row.session.session_id for row in await sessions.sessions(house.shop.store)} == {"aaaa-1", "bbbb-2"}
        assert made
        assert all(path.read_bytes() == stored for path, stored in made.items())


async def test_a_session_that_left_its_place_for_nowhere_is_kept_and_told_missing(build: Callable[[], Pair]) -> None:
    house = build()
    place = house.add("A", "aaaa-1", "one", "x.mrc")
    async with house.open():
        await house.until_done(1)
        place.rename(house.folder / "off")  # where nobody looks
        house.add("A", "bbbb-2", "two", "x.mrc")
        await house.until_done(2)
        places = await house.places()
        assert places["two"] == place
        assert not places["one"].exists()
        (row,) = [row for row in await sessions.sessions(house.shop.store) if row.session.name == "one"]
        (note,) = await sessions.notifications(house.shop.store, row.session.session_id)
        assert note.kind == "session_left"
        assert "its raw directory is missing" in note.message


async def test_another_directory_without_an_id_is_refused_and_nothing_mixed(build: Callable[[], Pair]) -> None:
    house = build()
    a, b = house.add("A", None, "one", "x.mrc"), house.add("B", None, "two", "x.mrc", "y.mrc")
    async with house.open():
        await house.until_done(3)
        runs = list(house.shop.script.runs)
        swap(a, b)
        while not {a, b} <= house.reception.refused_sessions.keys():
            await house.look_away()
        assert (
            "is another directory than the one that session one was imported from"
            in (house.reception.refused_sessions[a])
        )
        assert set(await house.revisions()) == {("x.mrc", 1), ("y.mrc", 1)}
        assert house.shop.script.runs == runs
        swap(a, b)
        for house.raw in (a, b):
            await house.take()
        assert dict(house.reception.refused_sessions) == {}
        assert house.shop.script.runs == runs


def make_again(house: Pair, place: Path, oid: str | None, name: str, *movies: str) -> None:
    """Remove a session directory and make another of its name, whose movies are others: as fast as a person never is.

    Of the clock by which directories are told apart, at least one tick passes.
    """
    before = read_place_mark(place)
    shutil.rmtree(place)
    place.mkdir()
    while read_place_mark(place) == before:
        place.rmdir()
        place.mkdir()
    house.add(place.name, oid, name)
    for movie in movies:
        os.utime(house.write(movie, 7), ns=(1, 1))


def tell_no_birth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a file system that does not say when a directory was made, and gives each the number that was free."""

    def read(place: Path) -> PlaceMark | None:
        return PlaceMark(7) if place.exists() else None

    for module in ("sessions.taken_places", "sessions.importing", "app.guarded_intake"):
        monkeypatch.setattr(f"daemon.{module}.read_place_mark", read)


def outputs(house: Pair, name: str) -> dict[Path, tuple[int, bytes]]:
    """Every result of a session: when it was written, and what it holds."""
    files = [path for path in (house.shop.home / name).rglob("*.mrc") if path.is_file() and not path.is_symlink()]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.mark.parametrize("tells_birth", [True, False])
@pytest.mark.parametrize("runs_on", [True, False])
async def test_a_directory_made_again_under_its_name_waits_and_overwrites_nothing(
    build: Callable[[], Pair], monkeypatch: pytest.MonkeyPatch, *, runs_on: bool, tells_birth: bool
) -> None:
    if not tells_birth:
        tell_no_birth(monkeypatch)
    house = build()
    place = house.add("A", None, "one", "x.mrc", "y.mrc")
    async with house.open():
        await house.until_done(2)
        made = outputs(house, "one")
        if runs_on:
            make_again(house, place, None, "one", "x.mrc", "y.mrc")
            while place not in house.reception.refused_sessions:
                await house.look_away()
    if not runs_on:
        make_again(house, place, None, "one", "x.mrc", "y.mrc")
    house = build()
    async with house.open():
        while place not in house.reception.refused_sessions:
            await house.look_away()
        said = house.reception.refused_sessions[place]
        assert "none of the movies that the session knows is in it" in said
        assert "rename the directory, or give its session.json an msession.oid and a name of its own" in said
        told = [msgspec.json.decode(row.body) for row in await outbox.unpublished(house.shop.store, 1000)]
        assert said in {event["data"].get("message") for event in told}
        assert set(await house.revisions()) == {("x.mrc", 1), ("y.mrc", 1)}
        # What the sentence says to do helps, by itself.
        house.add("A", "bbbb-2", "two")
        await house.until_done(4)
        assert (await house.places())["two"] == place
        assert dict(house.reception.refused_sessions) == {}
        assert (await house.revisions()) == {("x.mrc", 1): 2, ("y.mrc", 1): 2}
        assert made
        assert outputs(house, "one") == made


async def test_a_directory_emptied_and_filled_by_another_session_overwrites_nothing(
    build: Callable[[], Pair],
) -> None:
    house = build()
    house.add("A", "aaaa-1", "one", "x.mrc", "y.mrc")
    async with house.open():
        await house.until_done(2)
        made = outputs(house, "one")
        house.add("A", "bbbb-2", "two")  # looked at twice before it is believed: its movies may be found sooner
        for name in ("x.mrc", "y.mrc"):
            os.utime(house.write(name, 9), ns=(1, 1))
        await house.until_done(4)
        assert (await house.revisions()) == {("x.mrc", 1): 2, ("y.mrc", 1): 2}
        assert outputs(house, "one") == made


def empty(place: Path) -> None:
    """Remove all that is in a directory, not the directory."""
    for path in place.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def refill(house: Pair, manifest: dict[str, Any] | None, *movies: str) -> None:
    """Put other movies into the emptied directory of a house, session.json last, as a copying program may."""
    (house.raw / "frames").mkdir()
    for movie in movies:
        os.utime(house.write(movie, 7), ns=(1, 1))
    if manifest is not None:
        house.note(manifest)


async def until_refused(house: Pair, place: Path) -> str:
    """Return why a directory is not imported, once it is told."""
    while place not in house.reception.refused_sessions:
        await house.look_away()
    return house.reception.refused_sessions[place]


@pytest.mark.parametrize("runs_on", [True, False])
async def test_an_id_and_a_name_that_come_into_an_emptied_directory_make_a_session_of_its_own(
    build: Callable[[], Pair], *, runs_on: bool
) -> None:
    house = build()
    place = house.add("A", None, "one", "x.mrc", "y.mrc")
    new = {"msession": {"oid": "5555-5", "name": "new"}, "acquisition": {"voltage_kv": 300}}
    async with house.open():
        await house.until_done(2)
        made = outputs(house, "one")
        if runs_on:
            empty(place)
            refill(house, new, "yy.mrc", "yz.mrc")
            await house.until_done(4)
    if not runs_on:
        empty(place)
        refill(house, new, "yy.mrc", "yz.mrc")
    house = build()
    async with house.open():
        await house.until_done(4)
        rows = {row.session.name: row.session for row in await sessions.sessions(house.shop.store)}
        assert rows["new"].raw_directory == place
        assert rows["one"].raw_directory != place
        assert {row.session_id for row in rows.values()} >= {"5555-5"}
        kinds = [note.kind for note in await sessions.notifications(house.shop.store, rows["one"].session_id)]
        assert kinds.count("session_left") == 1
        assert outputs(house, "one") == made
        assert len(outputs(house, "new")) == len(made)


@pytest.mark.parametrize("runs_on", [True, False])
@pytest.mark.parametrize(
    ("oid", "manifest"),
    [
        ("aaaa-1", {"msession": {"name": "one"}, "acquisition": {"voltage_kv": 300}}),
        ("aaaa-1", None),
        (None, {"msession": {"name": "two"}, "acquisition": {"voltage_kv": 300}}),
        (None, {"msession": {"oid": "5555-5", "name": "one"}, "acquisition": {"voltage_kv": 300}}),
    ],
)
async def test_movies_under_another_manifest_without_id_or_name_wait_in_an_emptied_directory(
    build: Callable[[], Pair], oid: str | None, manifest: dict[str, Any] | None, *, runs_on: bool
) -> None:
    house = build()
    place = house.add("A", oid, "one", "x.mrc", "y.mrc")
    stood = json.loads((place / "session.json").read_bytes())
    async with house.open():
        await house.until_done(2)
        if runs_on:
            empty(place)
            refill(house, manifest, "zz.mrc", "zy.mrc")
            await until_refused(house, place)
    if not runs_on:
        empty(place)
        refill(house, manifest, "zz.mrc", "zy.mrc")
    house = build()
    async with house.open():
        said = await until_refused(house, place)
        assert "none of the movies that the session knows is in it as it was" in said
        assert set(await house.revisions()) == {("x.mrc", 1), ("y.mrc", 1)}
        assert house.shop.script.runs == []
        # They were the session's: said as the sentence says it.
        house.raw = place
        house.note(stood)
        await house.until_done(4)
        assert (await house.places()) == {"one": place}


async def test_a_manifest_that_comes_before_its_movies_is_not_taken_for_the_sessions(
    build: Callable[[], Pair],
) -> None:
    house = build()
    place = house.add("A", "aaaa-1", "one", "x.mrc", "y.mrc")
    async with house.open():
        await house.until_done(2)
        empty(place)
        house.note({"msession": {"name": "one"}, "acquisition": {"voltage_kv": 200}})
        with pytest.raises(CommandRefused, match="none of the movies that the session knows is in it as it was"):
            await house.take()
        (place / "frames").mkdir()
        house.write("zz.mrc", 9)
        await until_refused(house, place)
        assert set(await house.revisions()) == {("x.mrc", 1), ("y.mrc", 1)}


@pytest.mark.parametrize("runs_on", [True, False])
@pytest.mark.parametrize("is_first", [True, False])
async def test_movies_of_the_same_names_under_a_manifest_written_anew_overwrite_nothing(
    build: Callable[[], Pair], *, runs_on: bool, is_first: bool
) -> None:
    house = build()
    place = house.add("A", None, "one", "x.mrc", "y.mrc")
    stored = (place / "session.json").read_bytes()
    stood = (place / "session.json").stat()

    def replace_all() -> None:
        empty(place)
        if is_first:
            (place / "session.json").write_bytes(stored)  # the same file but for when it was made
            os.utime(place / "session.json", ns=(stood.st_atime_ns, stood.st_mtime_ns))
        refill(house, None, "x.mrc", "y.mrc")
        if not is_first:
            (place / "session.json").write_bytes(stored)

    async with house.open():
        await house.until_done(2)
        made = outputs(house, "one")
        if runs_on:
            replace_all()
            await until_refused(house, place)
    if not runs_on:
        replace_all()
    house = build()
    async with house.open():
        await until_refused(house, place)
        assert set(await house.revisions()) == {("x.mrc", 1), ("y.mrc", 1)}
        assert made
        assert outputs(house, "one") == made


async def test_a_directory_from_which_movies_are_archived_goes_on_as_its_session(build: Callable[[], Pair]) -> None:
    house = build()
    place = house.add("A", None, "one", "x.mrc", "y.mrc")
    async with house.open():
        await house.until_done(2)
        for name in ("x.mrc", "y.mrc"):
            (place / "frames" / name).unlink()
        house.write("z.mrc", 3)
        await house.until_done(3)
        (place / "frames" / "z.mrc").unlink()
        house.note({"msession": {"name": "one"}, "acquisition": {"voltage_kv": 300, "pixel_size_ang": 1.0}})
        house.write("w.mrc", 4)
        await house.until_done(4)
        empty(place)
    house = build()
    async with house.open():
        await house.until_at(one=place)
        assert dict(house.reception.refused_sessions) == {}
        assert set((await house.revisions()).elements()) == {(f"{name}.mrc", 1) for name in "wxyz"}


@pytest.mark.parametrize("tells_birth", [True, False])
async def test_the_only_movie_copied_again_is_its_sessions(
    build: Callable[[], Pair], monkeypatch: pytest.MonkeyPatch, *, tells_birth: bool
) -> None:
    if not tells_birth:
        tell_no_birth(monkeypatch)
    house = build()
    house.add("A", None, "one", "x.mrc")
    async with house.open():
        await house.until_done(1)
        house.write("x.mrc", 99)
        while ("x.mrc", 2) not in await house.revisions():
            await house.look_away()
        await house.until_done(1)
        assert dict(house.reception.refused_sessions) == {}


async def test_the_id_of_a_session_with_other_movies_is_refused(build: Callable[[], Pair]) -> None:
    house = build()
    place = house.add("A", "aaaa-1", "one", "x.mrc")
    async with house.open():
        await house.until_done(1)
        runs = list(house.shop.script.runs)
        shutil.rmtree(place)
        house.add(".template", "aaaa-1", "one", "x.mrc")
        os.utime(house.raw / "frames" / "x.mrc", ns=(1, 1))
        with pytest.raises(CommandRefused, match="carries the id of session one but other movies"):
            await house.take()
        assert await house.places() == {"one": place}
        assert house.shop.script.runs == runs


async def test_a_copy_without_an_id_is_refused_while_the_original_is_there(build: Callable[[], Pair]) -> None:
    house = build()
    place = house.add("A", None, "one", "x.mrc", "y.mrc")
    async with house.open():
        await house.until_done(2)
        runs = list(house.shop.script.runs)
        copy = place.with_name("C")
        shutil.copytree(place, place.with_name(".copy"))
        place.with_name(".copy").rename(copy)
        while copy not in house.reception.refused_sessions:
            await house.look_away()
        assert f"which is imported from {place} already" in house.reception.refused_sessions[copy]
        shutil.rmtree(place)
        await house.until_at(one=copy)
        assert house.shop.script.runs == runs
        while house.reception.refused_sessions:
            await house.look_away()


async def test_an_import_that_failed_by_a_fault_is_tried_again(
    build: Callable[[], Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    house = build()
    place = house.add("A", None, "one", "x.mrc")
    faults = [RuntimeError("another import broke this one")]
    real = sessions.foreign_image

    async def fail_once(*given: Any) -> Any:
        if faults:
            raise faults.pop()
        return await real(*given)

    monkeypatch.setattr("daemon.store.sessions.foreign_image", fail_once)
    monkeypatch.setattr("daemon.app.refusals.FIRST_RETRY_S", 0.0)
    async with house.open():
        await house.until_at(one=place)
        assert not faults
        while house.reception.refused_sessions:
            await house.look_away()


async def test_an_import_is_tried_again_ever_later_and_what_is_over_is_told(build: Callable[[], Pair]) -> None:
    store, now_s = build().shop.store, [0.0]
    refused, place = Refusals(SUBJECTS, lambda: now_s[0]), Path("/raw/A")
    fault = ImportFailed(place, RuntimeError("why"))
    await refused.tell(store, place, place, "one", fault)
    assert refused.take_due() == []
    now_s[0] = FIRST_RETRY_S
    assert refused.take_due() == [(place, "one")]
    assert refused.take_due() == [], "once, until it has failed again"
    await refused.tell(store, place, place, "one", fault)
    now_s[0] += 1.5 * FIRST_RETRY_S
    assert refused.take_due() == []
    await refused.settle(store, place)
    now_s[0] += 1e6
    assert (refused.take_due(), dict(refused)) == ([], {})
    (note,) = await sessions.notifications(store)
    assert note.severity == "info"


async def test_a_place_that_a_session_has_left_is_not_told_as_missing(build: Callable[[], Pair]) -> None:
    house = build()
    house.add("A", "aaaa-1", "one", "x.mrc")
    async with house.open():
        await house.until_done(1)
        before = house.move("elsewhere")
        await house.until_at(one=house.raw)
        refused = Refusals(SUBJECTS)
        await refused.tell(house.shop.store, before, before, None, CommandRefused(f"{before} is not a directory."))
        directories = house.reception._directories
        await refused.drop_gone(house.shop.store, directories, [before])
        assert dict(refused) == {}


@pytest.mark.parametrize("runs_on", [True, False])
@pytest.mark.parametrize("is_known", [True, False])
async def test_a_link_in_place_of_a_session_is_told_and_its_own_directory_goes_on(
    build: Callable[[], Pair], monkeypatch: pytest.MonkeyPatch, *, runs_on: bool, is_known: bool
) -> None:
    monkeypatch.setattr("daemon.app.refusals.FIRST_RETRY_S", 0.0)
    house = build()
    group = house.add("group", None, "one", "x.mrc")
    (group / "session.json").unlink()
    other, off = house.add("P" if is_known else ".P", None, "two", "p.mrc"), house.folder / "off"
    async with house.open():
        house.raw = group
        await house.take()
        await house.until_done(1 + is_known)
        group.rename(off)
        group.symlink_to(other)
        house.raw = other
        house.write("q.mrc", 9)
        if runs_on:
            await until_refused(house, group)
    house = build()
    async with house.open():
        said = await until_refused(house, group)
        if is_known:
            assert f"{group}, where session group was imported from, is a link that leads to {other} now" in said
        assert "Leave out the name" not in said
        group.unlink()
        off.rename(group)
        house.raw = group
        house.write("lost.mrc", 5)
        while group not in house.reception.watched:
            await house.look_away()
        while group in house.reception.refused_sessions:
            await house.look_away()
        while ("lost.mrc", 1) not in await house.revisions():
            await house.look_away()


async def test_a_session_that_left_is_told_by_its_name_after_a_restart(build: Callable[[], Pair]) -> None:
    house = build()
    place = house.add("A", "aaaa-1", "one", "x.mrc")
    async with house.open():
        await house.until_done(1)
        empty(place)
        refill(house, {"msession": {"oid": "bbbb-2", "name": "two"}, "acquisition": {"voltage_kv": 300}}, "y.mrc")
        await house.until_done(2)
    house = build()
    async with house.open():
        nowhere = (await house.places())["one"]
        said = await until_refused(house, nowhere)
        assert said.startswith(f"Session one has left {place}, where another one is now")
        assert ".left-" not in said


async def test_a_path_that_no_file_system_can_look_up_is_refused_by_the_command(build: Callable[[], Pair]) -> None:
    house = build()
    with pytest.raises(CommandRefused, match="is not an absolute path"):
        await house.reception.import_by_command(SessionImport(directory=f"{house.folder}/P/\0x"), "ada")
