"""Accepting and rejecting by hand: it stands above the gates, by the gates' own mechanism, and can be undone."""

import json
import shutil
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from daemon.domain.acquisition import Acquisition
from daemon.domain.session import ImageRecord
from daemon.domain.states import MovieState, TaskState
from daemon.errors import CommandRefused, FileNotWritten
from daemon.messages.catalogue import read_data
from daemon.messages.envelope import decode_envelope
from daemon.messages.event_data import ImageMarked
from daemon.pipeline.gate import BY_HAND
from daemon.sessions.mark_journal import Word, journal_path, write_word
from daemon.store import results
from daemon.store import sessions as session_table
from daemon.store.changes import CloseSession, PutImages
from tests.engine.desk import Desk
from tests.engine.test_gates import LEAST, MOST, STAGES, states, verdicts

pytestmark = pytest.mark.anyio
OpenDesk = Callable[..., Awaitable[Desk]]

DONE, SKIPPED, PENDING = TaskState.COMPLETED, TaskState.SKIPPED, TaskState.PENDING
REFUSING = {"most": 950.0}
"""Refuses movies made with seed 1, lets those with seed 8 pass."""


class DiedHere(Exception):
    """Where a test lets the daemon die."""


async def die(*_: Any) -> None:
    raise DiedHere


async def close_session(desk: Desk) -> None:
    """One that is closed is watched by nobody after the next start."""
    await desk.shop.store.commit(CloseSession(desk.shop.session_id, "test"))


@pytest.fixture
async def desk(open_desk: OpenDesk) -> Desk:
    return await open_desk(stages=STAGES, gates=(MOST, LEAST), limits=REFUSING)


async def test_an_accepted_image_is_taken_up_where_a_gate_had_it_skipped(desk: Desk) -> None:
    (path,) = await desk.finish("middle", seeds=(1,))
    assert await verdicts(desk) == {"middle": (False, "most")}

    asked = {"session": "session1", "images": ["middle"], "why": "the only tilted one"}
    preview = await desk.ask("image.accept", **asked, preview=True)
    assert (preview["passes"], preview["accepted_by_hand"], preview["tasks_reopened"]) == (1, 1, 2)
    assert await verdicts(desk) == {"middle": (False, "most")}, "a preview marks nothing"
    assert await desk.ask("image.accept", **asked, token=preview["token"]) == {**preview, "preview": False}
    await desk.shop.process()
    state, owed = await desk.shop.states_of(path)
    assert (state, set(owed.values())) == (MovieState.DONE, {DONE})
    assert await verdicts(desk) == {"middle": (True, BY_HAND)}
    assert ("task", "skipped", "pending", "ada (operator)") in await desk.moves(path)
    counted = await results.count_verdicts(desk.shop.store, desk.shop.session_id)
    assert (counted.passes, counted.accepted_by_hand, counted.by_gate) == (1, 1, {})


async def test_a_rejected_image_is_skipped_with_who_and_why(desk: Desk) -> None:
    await desk.ask("stage.pause", stage="pick")
    (path,) = await desk.finish("low", seeds=(8,))
    assert (await desk.shop.states_of(path))[1]["pick"] is PENDING
    told = await desk.ask("image.reject", session="session1", images=["low"], why="crack in the ice")
    assert (told["by_gate"], told["tasks_skipped"], told["images"]) == ({BY_HAND: 1}, 2, 1)
    await desk.ask("stage.resume", stage="pick")
    await desk.shop.process()
    rows = await desk.shop.tasks_of(path)
    assert (rows["pick"].state, rows["draw"].state) == (SKIPPED, DONE)
    assert rows["pick"].reason == "by hand: rejected by ada (operator): crack in the ice"
    assert rows["pick"].error_kind == "gate"

    told = await desk.ask("image.unmark", session="session1", images=["low"])
    assert (told["passes"], told["tasks_reopened"], told["accepted_by_hand"]) == (1, 2, 0)
    await desk.shop.process()
    assert set((await desk.shop.states_of(path))[1].values()) == {DONE}
    assert await verdicts(desk) == {"low": (True, "")}


async def test_a_mark_made_before_the_numbers_are_there_holds_in_the_visit(desk: Desk) -> None:
    await desk.ask("stage.pause", stage="divide")
    low, middle = await desk.finish("low", "middle", seeds=(8, 1))
    await desk.ask("image.reject", session="session1", images=["low"])
    await desk.ask("image.accept", session="session1", images=["middle"])
    await desk.ask("stage.resume", stage="divide")
    await desk.shop.process()
    assert await states(desk, "pick") == {"low": SKIPPED, "middle": DONE}
    assert {(await desk.shop.movie(path)).state for path in (low, middle)} == {MovieState.DONE}


async def test_marks_outlive_the_daemon_and_moved_gates(open_desk: OpenDesk) -> None:
    desk = await open_desk(stages=STAGES, gates=(MOST, LEAST), limits=REFUSING)
    await desk.finish("low", "middle", seeds=(8, 1))
    await desk.ask("image.reject", session="session1", images=["low"])
    await desk.ask("image.accept", session="session1", images=["middle"])
    desk = await open_desk(stages=STAGES, gates=(MOST, LEAST), limits=REFUSING)
    await desk.controls.tuning.follow_configuration({"most": 1.0}, asked_by="config.toml")
    await desk.ask("session.thresholds", session="session1", limits={"most": None})
    assert await verdicts(desk) == {"low": (False, BY_HAND), "middle": (True, BY_HAND)}


async def marks(desk: Desk) -> list[tuple[Any, ...]]:
    """Who said what of which image, when and why, as it holds."""

    def read(connection: Any) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = connection.execute(
            "SELECT name, passes, asked_by, why, marked_at FROM mark JOIN image USING (image_id) ORDER BY name"
        ).fetchall()
        return rows

    return await desk.shop.store.read(read)


async def words(desk: Desk) -> list[tuple[Any, ...]]:
    """Every word that was said of each image, in order."""

    def read(connection: Any) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = connection.execute(
            "SELECT name, to_state, reason, history.asked_by, moved_at "
            "FROM history JOIN image ON image_id = subject_id "
            "WHERE cause = 'by hand' ORDER BY name, history.seq"
        ).fetchall()
        return rows

    return await desk.shop.store.read(read)


def told_of(desk: Desk, bodies: Sequence[bytes]) -> list[tuple[str, bool | None]]:
    """What events say of each image, in order."""
    facts = [read_data(decode_envelope(body)) for body in bodies]
    said = [(data.image_name, data.passes) for data in facts if isinstance(data, ImageMarked)]
    return sorted(said, key=lambda of_image: of_image[0])


async def bodies(desk: Desk) -> list[bytes]:
    def read(connection: Any) -> list[bytes]:
        return [body for (body,) in connection.execute("SELECT body FROM event ORDER BY seq").fetchall()]

    return await desk.shop.store.read(read)


async def test_a_lost_database_brings_back_who_judged_what_when_and_why(open_desk: OpenDesk, tmp_path: Path) -> None:
    desk = await open_desk(stages=STAGES, gates=(MOST, LEAST), limits=REFUSING)
    await desk.finish("low", "middle", "high", seeds=(8, 1, 9))
    await desk.ask("image.reject", session="session1", images=["low", "middle"], why="ice")
    desk.shop.clock.now_s += 60.5
    await desk.ask("image.accept", session="session1", images=["middle"], why="no, only tilted")
    await desk.ask("image.accept", session="session1", images=["high"])
    await desk.ask("image.unmark", session="session1", images=["high"], why="leave it")
    await desk.shop.process()
    before = (await marks(desk), await words(desk), await verdicts(desk), await states(desk, "pick"))
    told = told_of(desk, await bodies(desk))
    movies = sorted(desk.shop.frames.iterdir())
    desk.shop.close()
    shutil.rmtree(tmp_path / "state")

    desk = await open_desk(stages=STAGES, gates=(MOST, LEAST), limits=REFUSING)
    await desk.shop.prove(*movies)
    await desk.shop.process()
    assert [row[0] for row in before[0]] == ["low", "middle"]
    assert (await marks(desk), await words(desk), await verdicts(desk), await states(desk, "pick")) == before
    assert told_of(desk, await bodies(desk)) == told
    await desk.shop.open_session()
    await desk.controls.marking.take_up()
    assert await words(desk) == before[1], "nothing is taken up twice"


async def test_a_word_that_the_database_has_not_heard_is_taken_up_at_the_next_start(
    open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = await open_desk(stages=STAGES, gates=(MOST, LEAST), limits=REFUSING)
    await desk.finish("low", "middle", seeds=(8, 1))
    await desk.ask("image.reject", session="session1", images=["low"], why="ice")
    with monkeypatch.context() as patch:
        patch.setattr(desk.shop.engine.recorder, "commit", die)
        with pytest.raises(DiedHere):
            await desk.ask("image.accept", session="session1", images=["low", "middle"], why="tilted")
    assert [row[:2] for row in await marks(desk)] == [("low", False)]
    await close_session(desk)

    desk = await open_desk(stages=STAGES, gates=(MOST, LEAST), limits=REFUSING)
    await desk.controls.marking.take_up()
    await desk.controls.tuning.follow_configuration(REFUSING, asked_by="config.toml")
    assert [row[:4] for row in await marks(desk)] == [
        ("low", True, "ada (operator)", "tilted"),
        ("middle", True, "ada (operator)", "tilted"),
    ]
    assert await verdicts(desk) == {"low": (True, BY_HAND), "middle": (True, BY_HAND)}
    assert told_of(desk, await bodies(desk)) == [("low", False), ("low", True), ("middle", True)]
    await desk.shop.process()
    assert await states(desk, "pick") == {"low": DONE, "middle": DONE}


async def test_nothing_is_said_where_it_cannot_be_written(desk: Desk) -> None:
    await desk.finish("low", seeds=(8,))
    journal_path(desk.shop.session_home).mkdir()
    with pytest.raises(FileNotWritten):
        await desk.ask("image.reject", session="session1", images=["low"])
    assert await marks(desk) == []
    assert await verdicts(desk) == {"low": (True, "")}
    with structlog.testing.capture_logs() as lines:
        await desk.controls.marking.take_up()
    assert [line["session"] for line in lines if "cannot be read" in line["event"]] == ["session1"]


async def test_words_of_a_session_that_had_the_home_before_are_not_taken_for_this_one(
    open_desk: OpenDesk, desk: Desk
) -> None:
    await desk.finish("low", seeds=(8,))
    write_word(desk.shop.session_home, Word("another", False, "eve", "", 1.0, {"x": "low"}))
    await desk.controls.marking.take_up()
    assert await marks(desk) == []


async def test_images_of_another_session_are_judged_from_no_other_home(desk: Desk) -> None:
    await desk.finish("low", "middle", seeds=(8, 1))
    of_another = ImageRecord("theirs", "another", "theirs", None, None, Acquisition())
    await desk.shop.store.commit(PutImages((of_another,)))
    mine = {image.name: image.image_id for image in await session_table.images(desk.shop.store, desk.shop.session_id)}
    write_word(
        desk.shop.session_home,
        Word(desk.shop.session_id, False, "eve", "", 1.0, {"theirs": "theirs", mine["low"]: "low"}),
    )
    with structlog.testing.capture_logs() as lines:
        await desk.controls.marking.take_up()
    assert [row[:2] for row in await marks(desk)] == [("low", False)]
    assert [line["images"] for line in lines if "left out" in line["event"]] == [["theirs"]]


async def test_a_line_that_is_no_word_keeps_no_session_from_its_import(open_desk: OpenDesk, tmp_path: Path) -> None:
    desk = await open_desk(stages=STAGES, gates=(MOST, LEAST), limits=REFUSING)
    await desk.finish("low", seeds=(8,))
    await desk.ask("image.reject", session="session1", images=["low"], why="ice")
    path = journal_path(desk.shop.session_home)
    line = path.read_text()
    said = json.loads(line)
    bad = ({**said, "why": "\ud800"}, {**said, "at_s": float("nan")}, {**said, "at_s": 1e300})
    path.write_text("".join(json.dumps(each) + "\n" for each in bad) + line)
    before = await marks(desk)
    desk.shop.close()
    shutil.rmtree(tmp_path / "state")
    desk = await open_desk(stages=STAGES, gates=(MOST, LEAST), limits=REFUSING)
    await desk.shop.prove(*sorted(desk.shop.frames.iterdir()))
    await desk.shop.process()
    assert await marks(desk) == before


async def test_every_word_is_recorded_and_told(desk: Desk) -> None:
    await desk.finish("low", seeds=(8,))
    await desk.ask("image.reject", session="session1", images=["low"], why="ice")
    await desk.ask("image.unmark", session="session1", images=["low"], why="no, it is carbon")

    def read(connection: Any) -> tuple[list[Any], list[Any]]:
        moves = connection.execute(
            "SELECT to_state, reason, asked_by FROM history WHERE subject = 'image' AND asked_by <> '' ORDER BY seq"
        ).fetchall()
        return moves, connection.execute("SELECT body FROM event ORDER BY seq").fetchall()

    moves, bodies = await desk.shop.store.read(read)
    assert moves == [("rejected", "ice", "ada (operator)"), ("unmarked", "no, it is carbon", "ada (operator)")]
    facts = [read_data(decode_envelope(body)) for (body,) in bodies]
    told = [data for data in facts if isinstance(data, ImageMarked)]
    assert [(data.image_name, data.passes, data.asked_by, data.why) for data in told] == [
        ("low", False, "ada (operator)", "ice"),
        ("low", None, "ada (operator)", "no, it is carbon"),
    ]


async def test_what_cannot_be_marked_is_refused(desk: Desk) -> None:
    await desk.finish("low", seeds=(8,))
    with pytest.raises(CommandRefused, match="no micrograph high"):
        await desk.ask("image.reject", session="session1", images=["high"])
    with pytest.raises(CommandRefused, match="No micrograph is named"):
        await desk.ask("image.accept", session="session1")
    with pytest.raises(CommandRefused, match="No micrograph is named"):
        await desk.ask("image.accept", session="session1", where="passes IS NULL")
    token = (await desk.ask("image.reject", session="session1", images=["low"], preview=True))["token"]
    await desk.finish("middle", seeds=(1,))
    with pytest.raises(CommandRefused, match="more images were judged"):
        await desk.ask("image.reject", session="session1", images=["low"], token=token)
