"""Parameters that change while the daemon runs: for whom, from when, until when, and who said so."""

import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.to_thread
import pytest

from daemon.errors import CommandRefused
from daemon.pipeline.context import StageContext
from daemon.sessions.records import read_record
from daemon.store import sessions
from tests.engine.desk import Desk
from tests.engine.fakes import FakeParams

pytestmark = pytest.mark.anyio
OpenDesk = Callable[..., Awaitable[Desk]]


def factor_of(desk: Desk, stage: str, image: str) -> Any:
    record = read_record(desk.shop.session_home, stage, image)
    assert record is not None
    return record.parameters["factor"]


async def control_moves(desk: Desk) -> list[tuple[str, str, str, str]]:
    """Who set what and why, from the history."""

    def read(connection: Any) -> list[tuple[str, str, str, str]]:
        rows: list[tuple[str, str, str, str]] = connection.execute(
            "SELECT cause, to_state, asked_by, reason FROM history WHERE subject = 'control' ORDER BY seq"
        ).fetchall()
        return rows

    return await desk.shop.store.read(read)


async def test_values_hold_from_the_next_movie_on_and_over_a_restart(open_desk: OpenDesk) -> None:
    desk = await open_desk()
    await desk.finish("before")
    changed = await desk.ask("stage.parameters", stage="divide", values={"factor": 3.0}, why="too dark")
    assert changed == {"stage": "divide", "parameters": {"factor": 3.0}}
    await desk.finish("after")
    assert [factor_of(desk, "divide", name) for name in ("before", "after")] == [1.0, 3.0]
    assert factor_of(desk, "mark", "after") == 1.0

    desk = await open_desk()
    await desk.finish("next")
    assert factor_of(desk, "divide", "next") == 3.0
    (notification,) = await sessions.notifications(desk.shop.store)
    assert notification.message == "divide runs with factor = 3.0 from the next movie on, by ada (operator)."
    assert notification.hint == "too dark"
    ((cause, value, who, why),) = await control_moves(desk)
    assert (cause, who, why) == ("parameters divide", "ada (operator)", "too dark")
    assert value == '{"over":{"factor":1.0},"values":{"factor":3.0}}'


async def test_a_movie_in_work_keeps_what_it_began_with(open_desk: OpenDesk) -> None:
    desk = await open_desk()
    reached, go_on = threading.Event(), threading.Event()

    def hold(_: StageContext) -> None:
        reached.set()
        assert go_on.wait(30)

    desk.shop.script.acts["add", "x"] = hold
    await desk.shop.prove(desk.shop.write_movie("x"))
    async with desk.shop.running():
        assert await anyio.to_thread.run_sync(reached.wait, 30)
        await desk.ask("stage.parameters", stage="divide", values={"factor": 3.0})
        go_on.set()
        await desk.shop.until_idle()
    assert factor_of(desk, "divide", "x") == 1.0


async def test_a_session_may_have_its_own(open_desk: OpenDesk) -> None:
    desk = await open_desk()
    await desk.ask("stage.parameters", stage="mark", values={"factor": 2.0})
    await desk.ask("stage.parameters", stage="mark", values={"factor": 4.0}, session="session1")
    await desk.finish("x")
    assert factor_of(desk, "mark", "x") == 4.0
    (row,) = await desk.ask("parameters", stage="mark", session="session1")
    assert row == {
        "stage": "mark",
        "parameters": {"factor": 4.0},
        "set_for_all": {"factor": 2.0},
        "set_for_session": {"factor": 4.0},
    }
    assert desk.shop.engine.parameters.check("mark", {}).model_dump() == {"factor": 2.0}


async def test_who_edits_the_file_is_the_last_to_have_spoken(open_desk: OpenDesk) -> None:
    desk = await open_desk()
    await desk.ask("stage.parameters", stage="add", values={"factor": 3.0})
    desk = await open_desk(params=FakeParams(factor=5.0))
    assert desk.shop.engine.parameters.check("add", {}).model_dump() == {"factor": 5.0}

    await desk.ask("stage.parameters", stage="add", values={"factor": 6.0})
    await desk.shop.engine.set_parameters("add", FakeParams(factor=7.0), asked_by="SIGHUP", cause="file read again")
    await desk.finish("x")
    assert factor_of(desk, "add", "x") == 7.0
    assert (await control_moves(desk))[-1] == ("parameters add", "unset", "SIGHUP", "file read again")
    desk = await open_desk(params=FakeParams(factor=7.0))
    assert desk.shop.engine.parameters.check("add", {}).model_dump() == {"factor": 7.0}


async def test_wrong_values_change_nothing(open_desk: OpenDesk) -> None:
    desk = await open_desk()
    for arguments, said in (
        ({"stage": "add", "values": {"factor": 0}}, "factor: Input should be greater than 0"),
        ({"stage": "add", "values": {"sharp": 1}}, "sharp: Extra inputs"),
        ({"stage": "add", "values": {}}, "No parameter is named"),
        ({"stage": "fly", "values": {"factor": 1}}, "no stage 'fly'"),
        ({"stage": "add", "values": {"factor": 1.0}, "session": "nosuch"}, "no session"),
    ):
        with pytest.raises(CommandRefused, match=said):
            await desk.ask("stage.parameters", **arguments)
    with pytest.raises(CommandRefused, match="no stage 'fly'"):
        await desk.shop.engine.set_parameters("fly", FakeParams(), asked_by="SIGHUP", cause="")
    assert await control_moves(desk) == []
