"""Accepting and rejecting by hand: it stands above the gates, by the gates' own mechanism, and can be undone."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from daemon.domain.states import MovieState, TaskState
from daemon.errors import CommandRefused
from daemon.messages.catalogue import read_data
from daemon.messages.envelope import decode_envelope
from daemon.messages.event_data import ImageMarked
from daemon.pipeline.gate import BY_HAND
from daemon.store import results
from tests.engine.desk import Desk
from tests.engine.test_gates import LEAST, MOST, STAGES, states, verdicts

pytestmark = pytest.mark.anyio
OpenDesk = Callable[..., Awaitable[Desk]]

DONE, SKIPPED, PENDING = TaskState.COMPLETED, TaskState.SKIPPED, TaskState.PENDING
REFUSING = {"most": 950.0}
"""Refuses movies made with seed 1, lets those with seed 8 pass."""


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
