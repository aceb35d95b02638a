"""One exposure, one image: which of its files stands for it when one is given up, and when one is moved."""

from collections.abc import Callable
from contextlib import suppress

import pytest

from daemon.domain.movie import FileIdentity
from daemon.domain.states import MovieState, TaskState
from daemon.store import ledger, metrics, sessions
from daemon.store.changes import Change, EndTask, MoveMovie
from tests.sessions.desk import Desk

pytestmark = pytest.mark.anyio

Build = Callable[..., Desk]
EER, TIF, MRC = "frames/x_EER.eer", "frames/x.tif", "frames/x.mrc"


async def names_of(desk: Desk) -> dict[str, str]:
    """Name of the image of every file that has one now, by path inside the raw directory."""
    names = {image.image_id: image.name for image in await sessions.images(desk.store, desk.session_id)}
    newest = {entry.identity.path: entry for entry in sorted(await desk.movies(), key=lambda entry: entry.revision)}
    return {
        str(path.relative_to(desk.raw)): names[entry.image_id]
        for path, entry in newest.items()
        if entry.image_id is not None and entry.state is not MovieState.SUPERSEDED
    }


async def give_up(desk: Desk, how: str) -> None:
    """Let the preferred file of the exposure come to nothing."""
    file = desk.file(EER)
    if how == "quarantined":
        await desk.intake.quarantined(file, "ends in the middle of frame 7")
    elif how == "vanished":
        await desk.intake.vanished([file])
    elif how == "ignored":
        await desk.intake.ignored([(file, "one frame: an image, no movie")])
    else:  # by the engine: it could not be decoded
        await desk.intake.complete(file, None, "whole")
        movie = await desk.newest(EER)
        ends = [EndTask(task.task_id, TaskState.FAILED) for task in await desk.tasks_of(movie)]
        await desk.store.commit(*ends, MoveMovie(movie.movie_id, MovieState.QUARANTINED, "frame 3 is damaged"))
        await desk.intake.set_aside(file.path)


@pytest.mark.parametrize("how", ["quarantined", "vanished", "ignored", "while it was processed"])
async def test_a_spare_file_is_taken_when_its_preferred_sibling_is_given_up(build: Build, how: str) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file(EER), desk.file(TIF, 70), desk.file(MRC, 60)])
    assert (await desk.newest(TIF)).state is MovieState.IGNORED
    await give_up(desk, how)
    ignored, taken = await desk.revisions(TIF)
    assert (ignored.state, taken.state) == (MovieState.SUPERSEDED, MovieState.SETTLING)
    assert await desk.moves_of(ignored) == ["ignored", "superseded"]
    assert desk.reconsidered == [desk.file(TIF, 70)]
    # It is the same exposure, and the same image.
    assert taken.image_id == (await desk.revisions(EER))[0].image_id
    assert (await desk.newest(MRC)).state is MovieState.IGNORED
    await desk.intake.complete(desk.file(TIF, 70), None, "whole")
    assert (await desk.newest(TIF)).state is MovieState.COMPLETE
    assert desk.offered[-1][0] == taken.movie_id
    # The next one after it; the first is not tried again.
    await desk.intake.quarantined(desk.file(TIF, 70), "broken too")
    assert (await desk.newest(MRC)).state is MovieState.SETTLING
    await desk.intake.quarantined(desk.file(MRC, 60), "and this")
    left = {name: (await desk.newest(name)).state for name in (EER, TIF, MRC)}
    assert left[MRC] is MovieState.QUARANTINED
    assert left[TIF] is MovieState.IGNORED


async def test_what_was_quarantined_cannot_be_retried_into_the_image_of_its_heir(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file(EER), desk.file(TIF)])
    await give_up(desk, "while it was processed")
    broken, now = await desk.revisions(EER)
    assert (broken.state, now.state) == (MovieState.SUPERSEDED, MovieState.IGNORED)
    assert "x.tif of the same exposure was taken instead; this one was quarantined: " in now.reason
    assert await desk.moves_of(broken) == ["seen", "settling", "complete", "quarantined", "superseded"]


async def failures_of(desk: Desk) -> list[tuple[str, str]]:
    """Movie and reason of what the view `failures` has."""
    rows = await metrics.failures(desk.store, desk.session_id)
    return [(str(row["movie"]).removeprefix(f"{desk.raw}/"), row["reason"]) for row in rows]


@pytest.mark.parametrize("together", [False, True])
async def test_failures_tell_of_both_broken_files_of_an_exposure_until_a_good_one_comes(
    build: Build, together: bool
) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file(EER), desk.file(TIF)] if together else [desk.file(EER)])
    await desk.intake.quarantined(desk.file(EER), "ends in frame 7")
    if not together:
        assert await failures_of(desk) == [(EER, "ends in frame 7")]
        await desk.intake.seen([desk.file(TIF)])
    assert await failures_of(desk) == []
    await desk.intake.quarantined(desk.file(TIF), "0 bytes")
    ((movie, reason),) = await failures_of(desk)
    assert movie == TIF
    earlier = f"Of the same exposure, {desk.raw / EER} was given up before: ends in frame 7"
    assert reason == f"0 bytes. {earlier}"
    await desk.intake.seen([desk.file(MRC)])
    await desk.intake.complete(desk.file(MRC), None, "whole")
    assert await failures_of(desk) == []
    assert await names_of(desk) == {MRC: "x_EER"}


async def test_a_quarantined_file_that_is_written_again_ends_the_failure_of_its_exposure(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file(EER), desk.file(TIF)])
    await desk.intake.quarantined(desk.file(EER), "ends in frame 7")
    await desk.intake.quarantined(desk.file(TIF), "0 bytes")
    await desk.intake.rewritten(desk.file(EER), desk.file(EER, 900))
    await desk.intake.complete(desk.file(EER, 900), None, "whole")
    assert await failures_of(desk) == []
    assert await names_of(desk) == {EER: "x_EER"}


async def test_a_daemon_that_died_in_between_takes_the_spare_file_at_its_start(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file(EER), desk.file(TIF)])
    movie = await desk.newest(EER)
    ends = [EndTask(task.task_id, TaskState.SKIPPED) for task in await desk.tasks_of(movie)]
    await desk.store.commit(*ends, MoveMovie(movie.movie_id, MovieState.QUARANTINED, "broken"))
    desk = build()
    await desk.open_session()
    await desk.intake.take_heirs()
    assert (await desk.newest(TIF)).state is MovieState.SETTLING
    assert await names_of(desk) == {TIF: "x_EER"}
    await desk.intake.take_heirs()
    assert len(await desk.revisions(TIF)) == 2


async def finish(desk: Desk, relative: str, identity: FileIdentity) -> None:
    await desk.intake.seen([identity])
    await desk.intake.complete(identity, None, "whole")
    movie = await desk.newest(relative)
    ends = [EndTask(task.task_id, TaskState.COMPLETED) for task in await desk.tasks_of(movie)]
    await desk.store.commit(*ends, MoveMovie(movie.movie_id, MovieState.DONE))


def at(desk: Desk, relative: str, mtime_ns: int = 1_700_000_000_123_456_789) -> FileIdentity:
    return FileIdentity(desk.raw / relative, 100, mtime_ns)


@pytest.mark.parametrize("restart", [False, True])
async def test_a_movie_that_was_moved_is_the_same_image(build: Build, restart: bool) -> None:
    desk = build()
    await desk.open_session()
    await finish(desk, TIF, at(desk, TIF))
    if restart:
        desk = build()
        await desk.open_session()
    await desk.intake.vanished([at(desk, TIF)])
    await desk.intake.seen([at(desk, "archive/renamed.tif")])
    before, now = await desk.newest(TIF), await desk.newest("archive/renamed.tif")
    assert (before.state, now.state) == (MovieState.SUPERSEDED, MovieState.SETTLING)
    assert "archive/renamed.tif" in before.reason
    assert now.image_id == before.image_id
    assert await names_of(desk) == {"archive/renamed.tif": "x"}
    # What comes to the old path is another movie, also for the next daemon.
    desk = build()
    await desk.open_session()
    await desk.intake.seen([at(desk, TIF, 5)])
    assert (await names_of(desk))[TIF] == "frames__x"


async def test_a_slow_move_is_seen_through_when_it_is_over(build: Build) -> None:
    """A copy to another file system, whose time is set last and whose original goes then."""
    desk = build()
    await desk.open_session()
    await finish(desk, TIF, at(desk, TIF))
    await desk.intake.seen([FileIdentity(desk.raw / "archive/x.tif", 40, 7)])
    await desk.intake.vanished([at(desk, TIF)])
    await desk.intake.complete(at(desk, "archive/x.tif"), None, "whole")
    first, now = await desk.revisions("archive/x.tif")
    assert (first.state, now.state) == (MovieState.SUPERSEDED, MovieState.COMPLETE)
    assert "the same movie as" in first.reason
    assert now.image_id == (await desk.newest(TIF)).image_id
    assert desk.offered[-1][0] == now.movie_id


class _Killed(Exception):
    """The daemon was killed."""


def kill_after(desk: Desk, commits: int) -> None:
    """Let the daemon die before the next commit after so many."""
    commit = desk.store.commit
    left = iter(range(commits))

    async def commit_or_die(*changes: Change) -> None:
        if next(left, None) is None:
            raise _Killed
        await commit(*changes)

    desk.store.commit = commit_or_die  # type: ignore[method-assign]


@pytest.mark.parametrize("commits", [0, 1])
@pytest.mark.parametrize("slowly", [False, True])
async def test_a_kill_while_a_movie_is_moved_neither_loses_nor_doubles_it(
    build: Build, commits: int, slowly: bool
) -> None:
    desk = build()
    await desk.open_session()
    await finish(desk, TIF, at(desk, TIF))
    if slowly:
        await desk.intake.seen([FileIdentity(desk.raw / "archive/x.tif", 40, 7)])
    await desk.intake.vanished([at(desk, TIF)])
    kill_after(desk, commits)
    moved = at(desk, "archive/x.tif")
    with suppress(_Killed):
        await (desk.intake.complete(moved, None, "whole") if slowly else desk.intake.seen([moved]))
    desk = build()
    await desk.open_session()
    known = await ledger.known_files(desk.store, desk.session_id)
    await desk.intake.vanished([identity for identity in (at(desk, TIF),) if identity.path in known])
    await desk.intake.seen([identity for identity in (moved,) if identity.path not in known])
    await desk.intake.complete(moved, None, "whole")
    before, now = await desk.newest(TIF), await desk.newest("archive/x.tif")
    assert (before.state, now.state) == (MovieState.SUPERSEDED, MovieState.COMPLETE)
    assert now.image_id == before.image_id


async def test_a_kill_while_a_spare_file_is_taken_does_not_lose_its_exposure(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file(EER), desk.file(TIF)])
    kill_after(desk, 2)
    with suppress(_Killed):
        await desk.intake.quarantined(desk.file(EER), "ends in the middle of frame 7")
    desk = build()
    await desk.open_session()
    await desk.intake.take_heirs()
    assert (await desk.newest(TIF)).state is MovieState.SETTLING


@pytest.mark.parametrize(
    ("gone", "new", "mtime_ns"),
    [
        (False, "archive/x.tif", 1_700_000_000_123_456_789),  # a copy
        (True, "archive/x.tif", 1_700_000_000_123_456_788),  # another time
        (True, "frames/y.tif", 1_700_000_000_000_000_000),  # times cut to seconds tell nothing
    ],
)
async def test_another_movie_is_another_image(build: Build, gone: bool, new: str, mtime_ns: int) -> None:
    desk = build()
    await desk.open_session()
    cut = mtime_ns % 10**9 == 0
    original = at(desk, TIF, mtime_ns) if cut else at(desk, TIF)
    await finish(desk, TIF, original)
    if gone:
        await desk.intake.vanished([original])
    await desk.intake.seen([at(desk, new, mtime_ns)])
    assert (await desk.newest(TIF)).state is MovieState.DONE
    assert (await desk.newest(new)).image_id != (await desk.newest(TIF)).image_id


async def test_a_folder_that_was_renamed_is_known_by_its_file_names(build: Build) -> None:
    desk = build()
    await desk.open_session()
    files = {name: at(desk, f"square_1/{name}", 1_700_000_000_000_000_000) for name in ("a.mrc", "b.mrc")}
    for name, identity in files.items():
        await finish(desk, f"square_1/{name}", identity)
    await desk.intake.vanished(list(files.values()))
    await desk.intake.seen(
        [FileIdentity(desk.raw / "square_2" / n, i.size_bytes, i.mtime_ns) for n, i in files.items()]
    )
    assert await names_of(desk) == {"square_2/a.mrc": "a", "square_2/b.mrc": "b"}


async def test_a_moved_movie_that_was_not_processed_keeps_its_name(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([at(desk, TIF)])
    await desk.intake.vanished([at(desk, TIF)])
    await desk.intake.seen([at(desk, "archive/x.tif")])
    assert await names_of(desk) == {"archive/x.tif": "x"}


async def test_a_move_does_not_take_the_image_away_from_an_heir(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([at(desk, EER), desk.file(TIF)])
    await desk.intake.vanished([at(desk, EER)])
    await desk.intake.seen([at(desk, "frames/y.eer")])
    assert await names_of(desk) == {EER: "x_EER", TIF: "x_EER", "frames/y.eer": "y"}
