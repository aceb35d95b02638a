"""Parameters that change while the daemon runs: for whom, from when, until when, and who said so."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from daemon.engine.parameters import ParameterBook
from daemon.errors import CommandRefused
from daemon.sessions.records import read_record
from daemon.stages.ctf_estimation import CtfEstimation, CtfParams
from daemon.store import sessions
from daemon.store.changes import SetControl
from daemon.store.rows import ControlRow
from tests.engine.desk import Desk
from tests.engine.fakes import FakeParams
from tests.engine.hold import Hold

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
    hold = Hold()
    desk.shop.script.acts["add", "x"] = hold
    await desk.shop.prove(desk.shop.write_movie("x"))
    async with desk.shop.running():
        await hold.reached()
        await desk.ask("stage.parameters", stage="divide", values={"factor": 3.0})
        hold.go_on()
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
        ({"stage": "add", "values": {"factor": 0}}, "factor: 0 is not allowed (takes a number above 0)."),
        ({"stage": "add", "values": {"factr": 1}}, "factr: unknown key (did you mean factor?)."),
        ({"stage": "add", "values": {}}, "No parameter is named"),
        ({"stage": "fly", "values": {"factor": 1}}, "no stage 'fly'"),
        ({"stage": "add", "values": {"factor": 1.0}, "session": "nosuch"}, "no session"),
    ):
        with pytest.raises(CommandRefused, match=re.escape(said)):
            await desk.ask("stage.parameters", **arguments)
    with pytest.raises(CommandRefused, match="no stage 'fly'"):
        await desk.shop.engine.set_parameters("fly", FakeParams(), asked_by="SIGHUP", cause="")
    assert await control_moves(desk) == []


CTF = "ctf_estimation"


def book_of(params: CtfParams, *controls: ControlRow) -> ParameterBook:
    return ParameterBook([(CtfEstimation(), params)], controls)


@pytest.mark.parametrize(
    ("values", "message", "hint"),
    [
        (
            {"lowest_defocus": 8000},
            "lowest_defocus: unknown key (did you mean lowest_defocus_ang?)",
            "`elcano parameters ctf_estimation` shows what it takes.",
        ),
        (
            {"lowest_defocus_ang": -5},
            "lowest_defocus_ang: -5 is not allowed (takes a number above 0 and up to 200000 Å)",
            "",
        ),
        (
            {"lowest_defocus_ang": 60000, "highest_defocus_ang": 50000},
            "lowest_defocus_ang must be below highest_defocus_ang",
            "",
        ),
    ],
)
def test_a_refusal_says_what_a_person_may_do(values: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(CommandRefused) as refused:
        book_of(CtfParams()).check(CTF, values)
    assert (refused.value.message, refused.value.hint) == (f"ctf_estimation does not take this: {message}.", hint)


def defocus_of(book: ParameterBook, session_id: str) -> tuple[float, float]:
    params = book.settings_for(session_id, []).parameters[CTF]
    assert isinstance(params, CtfParams)
    return params.lowest_defocus_ang, params.highest_defocus_ang


def test_values_for_all_must_go_together_with_those_of_every_session() -> None:
    book = book_of(CtfParams(lowest_defocus_ang=5000.0, highest_defocus_ang=50000.0))
    book.plan_values(CTF, {"highest_defocus_ang": 15000.0}, "s1", asked_by="ada", why="")
    book.take_values(CTF, {"highest_defocus_ang": 15000.0}, "s1")
    with pytest.raises(CommandRefused, match=r"session s1 has set .highest_defocus_ang = 15000.0.*must be below"):
        book.plan_values(CTF, {"lowest_defocus_ang": 20000.0}, None, asked_by="ada", why="")
    with pytest.raises(CommandRefused, match="session s1 has set"):
        book.plan_configured(CTF, CtfParams(lowest_defocus_ang=20000.0), asked_by="SIGHUP", why="")
    assert defocus_of(book, "s1") == (5000.0, 15000.0)
    book.plan_values(CTF, {"lowest_defocus_ang": 6000.0}, None, asked_by="ada", why="")
    book.take_values(CTF, {"lowest_defocus_ang": 6000.0}, None)
    assert defocus_of(book, "s1") == (6000.0, 15000.0)


def test_a_file_that_does_not_go_together_with_what_was_set_for_all_is_refused() -> None:
    book = book_of(CtfParams(lowest_defocus_ang=5000.0, highest_defocus_ang=50000.0))
    book.take_values(CTF, {"highest_defocus_ang": 15000.0}, None)
    wanted = CtfParams(lowest_defocus_ang=20000.0, highest_defocus_ang=50000.0)
    with pytest.raises(CommandRefused, match="must be below"):
        book.plan_configured(CTF, wanted, asked_by="SIGHUP", why="")
    assert defocus_of(book, "s1") == (5000.0, 15000.0)


def test_what_does_not_fit_any_more_is_left_out_and_named() -> None:
    def stored(session_id: str | None, key: str, value: float, over: float) -> ControlRow:
        return ControlRow("parameters", session_id, CTF, {"values": {key: value}, "over": {key: over}}, "ada", "", 1.0)

    # The file said 5000 when these were set, and says 20000 now.
    book = book_of(
        CtfParams(lowest_defocus_ang=20000.0, highest_defocus_ang=50000.0),
        stored("s1", "highest_defocus_ang", 15000.0, 50000.0),
        stored(None, "highest_defocus_ang", 40000.0, 50000.0),
    )
    assert defocus_of(book, "s1") == defocus_of(book, "s2") == (20000.0, 40000.0)
    (told,) = book.take_misfits()
    assert told.startswith("ctf_estimation runs without highest_defocus_ang = 15000.0, set for session s1: ")
    assert book.take_misfits() == []


async def test_what_is_left_out_at_the_start_is_told_to_people(open_desk: OpenDesk) -> None:
    desk = await open_desk()
    value = {"values": {"factor": -1.0}, "over": {"factor": 1.0}}  # allowed by an earlier version
    await desk.shop.store.commit(SetControl("parameters", None, "divide", value, "ada"))
    desk = await open_desk()
    await desk.controls.tuning.follow_configuration({}, asked_by="config.toml")
    (notification,) = await sessions.notifications(desk.shop.store)
    assert (notification.kind, notification.severity) == ("parameters_left_out", "error")
    assert notification.message.startswith("divide runs without factor = -1.0, set for all sessions: ")
    await desk.finish("x")
    assert factor_of(desk, "divide", "x") == 1.0
