"""Which file is which image, and how many frames movies usually have. No disk, no store."""

from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from daemon.domain.acquisition import Acquisition
from daemon.domain.movie import FileIdentity, LedgerEntry
from daemon.domain.session import ImageRecord, Session
from daemon.domain.states import MovieState
from daemon.sessions.book import SessionBook

RAW = Path("/gpfs/s")
SESSION = Session("session-id", "s", RAW, Path("/home/s"), Acquisition())
DEFAULT = ImageRecord("", "session-id", "", None, None, Acquisition(voltage_kv=300.0))


def make_book(*records: ImageRecord) -> SessionBook:
    book = SessionBook(SESSION, "job", ("add",), DEFAULT)
    book.renew(book.session, book.stages, DEFAULT, records)
    return book


def record(name: str, frame_name: str | None = None, **manifest: Any) -> ImageRecord:
    return ImageRecord(f"oid-{name}", "session-id", name, None, 4, Acquisition(voltage_kv=200.0), frame_name, manifest)


def file(relative: str, size_bytes: int = 1) -> FileIdentity:
    return FileIdentity(RAW / relative, size_bytes, 1)


def test_a_movie_gets_its_record() -> None:
    book = make_book(record("x_1", "x_1.frames"), record("x_10"))
    movie = book.add(file("frames/x_10_fractions.tif"))
    assert movie.image is not None
    assert (movie.image.image_id, movie.image.acquisition.voltage_kv) == ("oid-x_10", 200.0)
    assert (book.add(file("frames/x_1.frames.mrc")).image or DEFAULT).image_id == "oid-x_1"


def test_a_movie_without_record_gets_an_image_of_its_own() -> None:
    book = make_book(record("x"))
    image = book.add(file("frames/y.tif")).image
    assert image is not None
    assert (image.name, image.acquisition.voltage_kv) == ("y", 300.0)
    other = make_book().add(file("elsewhere/y.tif")).image
    assert other is not None
    assert other.image_id == image.image_id  # the id comes from the name, so another import finds it again


def test_a_record_belongs_to_one_movie() -> None:
    book = make_book(record("x"))
    first, second = book.add(file("a/x.tif")), book.add(file("b/x.tif"))
    assert first.image is not None
    assert second.image is not None
    assert (first.image.image_id, second.image.name) == ("oid-x", "b__x")
    assert second.image.image_id != "oid-x"


def test_a_revision_keeps_its_image_and_has_an_id_of_its_own() -> None:
    book = make_book()
    first = book.add(file("x.tif"))
    second = book.add(file("x.tif", 2))
    assert (second.revision, second.image) == (2, first.image)
    assert second.movie_id != first.movie_id
    assert make_book().add(file("x.tif")).movie_id == first.movie_id
    assert book.find(RAW / "x.tif") == second


def test_files_of_one_exposure() -> None:
    book = make_book()
    paths = [RAW / name for name in ("x.tif", "x_EER.eer", "b/x.tif", "x_1.mrc")]
    ordered = book.in_order_of_preference(paths)
    assert ordered.index(RAW / "x_EER.eer") < ordered.index(RAW / "x.tif")
    book.add(file("x_EER.eer"))
    assert book.other_file_of_its_image(RAW / "x.tif") == RAW / "x_EER.eer"
    assert book.other_file_of_its_image(RAW / "x_EER.eer") is None
    assert book.other_file_of_its_image(RAW / "x_1.mrc") is None
    assert book.other_file_of_its_image(RAW / "b/x.tif") is None


def test_the_ledger_brings_everything_back() -> None:
    book = make_book()
    image = book.add(file("b/x.tif")).image
    assert image is not None
    fresh = make_book()
    entries = [
        LedgerEntry(f"id{revision}", "session-id", file("b/x.tif", revision), revision, state, "", "i", 1.0, 1.0)
        for revision, state in ((2, MovieState.DONE), (1, MovieState.SUPERSEDED))
    ]
    fresh.restore(entries, {"i": image}, 40)
    known = fresh.find(RAW / "b/x.tif")
    assert known is not None
    assert (known.movie_id, known.revision, known.state, known.image) == ("id2", 2, MovieState.DONE, image)
    assert (fresh.add(file("a/x.tif")).image or DEFAULT).name == "a__x"
    assert fresh.expected_frames(RAW / "z.tif") == 40


@pytest.mark.parametrize(
    ("counts", "decided"),
    [
        ([40, 40], [None, None]),
        ([40, 40, 40, 40], [None, None, 40, None]),
        ([40, 1, 40, 2, 40], [None, None, None, None, 40]),
        ([40] * 3 + [50] * 3, [None, None, 40, None, None, None]),  # a tie keeps what was decided
        ([40] * 3 + [50] * 4, [None, None, 40, None, None, None, 50]),
        ([40, 50] * 6, [None] * 4 + [40] + [None] * 7),
    ],
)
def test_the_usual_frame_count(counts: list[int], decided: list[int | None]) -> None:
    book = make_book()
    assert [book.count_frames(count) for count in counts] == decided


def test_what_the_record_says_goes_before_what_is_usual() -> None:
    book = make_book(record("x", frame_count=33), record("y", frame_count=0))
    for _ in range(3):
        book.count_frames(40)
    book.add(file("x.tif"))
    book.add(file("y.tif"))
    assert book.expected_frames(RAW / "x.tif") == 33
    assert book.expected_frames(RAW / "y.tif") == 40


@pytest.mark.anyio
async def test_who_waited_for_the_book_asks_again_whether_its_movie_was_moved() -> None:
    book = make_book()
    book.add(file("frames/y.tif"))
    moved, alone = file("moved/y.tif"), list[bool]()

    async def complete() -> None:
        async with book.in_hand_to_complete(moved):
            alone.append(book.in_hand.statistics().locked)

    async with anyio.create_task_group() as group, book.in_hand:
        group.start_soon(complete)
        with anyio.fail_after(60.0):
            while not book.in_hand.statistics().tasks_waiting:
                await anyio.lowlevel.checkpoint()
        book.note_presence(RAW / "frames/y.tif", is_there=False)
    assert alone == [True], "what a move changes concerns another movie too"
    book.note_presence(RAW / "frames/y.tif", is_there=True)
    await complete()
    assert alone == [True, False]
