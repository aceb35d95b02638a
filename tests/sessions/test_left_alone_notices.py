"""Files that look like movies and are left alone: people are told once, and again when they are ten times as many."""

from collections.abc import Callable

import pytest

from daemon.sessions.left_alone import find_left_alone
from daemon.sessions.no_movies import LINK_OUTSIDE, NAME_UNWRITABLE, SINGLE_IMAGE
from daemon.store import sessions
from tests.sessions.desk import Desk

pytestmark = pytest.mark.anyio

Build = Callable[..., Desk]


async def told(desk: Desk) -> list[str]:
    """What stands among the notifications."""
    found = await sessions.notifications(desk.store, desk.session_id)
    return [f"{note.message} {note.hint}" for note in found]


async def ignore(desk: Desk, reason: str, names: list[str]) -> None:
    await desk.intake.ignored([(desk.file(f"frames/{name}"), reason) for name in names])


async def test_movies_behind_links_are_told_once_with_their_number_and_again_when_they_are_many(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await ignore(desk, LINK_OUTSIDE, ["00.tif", "01.tif"])
    for number in range(2, 9):
        await ignore(desk, LINK_OUTSIDE, [f"0{number}.tif"])
    (said,) = await told(desk)
    assert said.startswith("2 movies behind symbolic links that leave the allowed roots left alone in 24dec03a so far")
    assert "first frames/00.tif." in said
    assert "[watch] roots" in said
    assert (await desk.event_kinds()).count("session.notification") == 1
    await ignore(desk, LINK_OUTSIDE, ["z.tif"])
    (said,) = await told(desk)
    assert said.startswith("10 movies behind")
    assert (await desk.event_kinds()).count("session.notification") == 2
    # The next daemon knows what was told.
    desk = build()
    await desk.open_session()
    await ignore(desk, LINK_OUTSIDE, ["y.tif"])
    assert (await desk.event_kinds()).count("session.notification") == 2
    (left,) = await find_left_alone(desk.store, desk.imported.book.session)
    assert (left.kind, left.movies) == ("link_outside", 11)
    assert left.said.startswith(
        "11 movies behind symbolic links that leave the allowed roots left alone, first frames/00"
    )


async def test_names_with_control_characters_are_told_so_that_they_can_be_read(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await desk.intake.seen([desk.file("frames/a\nb.tif"), desk.file("frames/good.tif")])
    (said,) = await told(desk)
    assert said.startswith("1 movie with a line break or another control character in its name left alone")
    assert "first frames/a\\nb.tif." in said
    assert [entry.reason for entry in await desk.movies() if entry.image_id is None] == [NAME_UNWRITABLE]
    (left,) = await find_left_alone(desk.store, desk.imported.book.session)
    assert left.said.endswith("first frames/a\\nb.tif; to have them processed, rename them")


async def test_single_frames_are_told_where_there_is_no_movie(build: Build) -> None:
    desk = build()
    await desk.open_session()
    await ignore(desk, SINGLE_IMAGE, ["a.mrc"])
    assert await told(desk) == []
    await ignore(desk, SINGLE_IMAGE, ["b.mrc"])
    await ignore(desk, SINGLE_IMAGE, ["c.mrc"])
    (said,) = await told(desk)
    assert said.startswith("3 images of a single frame, not movies, left alone in 24dec03a so far")
    assert "No movie has come yet." in said
    assert "min_frames = 1" in said


async def test_single_frames_beside_movies_are_nothing_to_tell(build: Build) -> None:
    desk = build()
    await desk.open_session()
    movie = desk.file("frames/m.tif")
    await desk.intake.seen([movie])
    await desk.intake.complete(movie, 40, "whole")
    await ignore(desk, SINGLE_IMAGE, [f"{number}.mrc" for number in range(5)])
    assert not [said for said in await told(desk) if "single frame" in said]
