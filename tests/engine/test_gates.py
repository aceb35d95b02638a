"""Gates: who runs, who is skipped, and what moving them does; on stages that are gated."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import ClassVar

import pytest

from daemon.domain.states import MovieState, TaskState
from daemon.engine import tuning
from daemon.errors import CommandRefused, FormatUnsupported
from daemon.messages.envelope import Event
from daemon.pipeline.gate import Gate
from daemon.pipeline.product import MOVIE, Product
from daemon.store import metrics, results, tasks
from daemon.store.changes import Change, EndTask, StartAttempt
from daemon.store.results import VerdictCount
from tests.engine.desk import Desk
from tests.engine.fakes import FAKES, SUM, Add, Divide, Draw, FakeStage

pytestmark = pytest.mark.anyio
OpenDesk = Callable[..., Awaitable[Desk]]

DONE, SKIPPED, PENDING = TaskState.COMPLETED, TaskState.SKIPPED, TaskState.PENDING
PEAKS = Product("peaks", "peaks", "_peaks.mrc")
BOXES = Product("boxes", "boxes", "_boxes.mrc")


class Pick(FakeStage):
    """Sum → peaks, where the gates allow it."""

    name = "pick"
    slug = "picking"
    category = "peaks"
    consumes: ClassVar[tuple[Product, ...]] = (SUM,)
    produces = (PEAKS,)
    gated = True


class Extract(FakeStage):
    """Peaks → boxes."""

    name = "extract"
    slug = "extracting"
    category = "boxes"
    consumes: ClassVar[tuple[Product, ...]] = (PEAKS,)
    produces = (BOXES,)
    gated = True


STAGES = (Add, Divide, Pick, Extract, Draw)
SEEDS = {"low": 8, "middle": 1, "high": 9}
"""Movies of these sum up to 946, 984 and 1024."""
MOST = Gate("most", "divide", lambda numbers: numbers.get("total"), "total", "", True, 1e9)
LEAST = Gate("least", "divide", lambda numbers: numbers.get("total"), "total", "", False, None)


@pytest.fixture
async def desk(open_desk: OpenDesk) -> Desk:
    return await open_desk(stages=STAGES, gates=(MOST, LEAST))


async def totals(desk: Desk) -> dict[str, float]:
    return {row["name"]: row["total"] for row in await metrics.stage_rows(desk.shop.store, "divide")}


async def verdicts(desk: Desk) -> dict[str, tuple[bool | None, str | None]]:
    rows = await metrics.micrographs(desk.shop.store, desk.shop.session_id)
    return {row["name"]: (row["passes"], row["gate"]) for row in rows}


async def states(desk: Desk, stage: str) -> dict[str, TaskState]:
    names = {row["image_id"]: row["name"] for row in await metrics.micrographs(desk.shop.store, desk.shop.session_id)}
    return {names[task.image_id or ""]: task.state for task in await tasks.tasks(desk.shop.store, stage=stage)}


async def test_a_refused_image_is_skipped_with_the_gate_value_and_limit_named(open_desk: OpenDesk) -> None:
    desk = await open_desk(stages=STAGES, gates=(MOST, LEAST), limits={"most": 950.0})
    low, middle = await desk.finish("low", "middle", seeds=(8, 1))
    total = (await totals(desk))["middle"]
    assert await desk.shop.states_of(low) == (MovieState.DONE, dict.fromkeys([s.name for s in STAGES], DONE))
    state, owed = await desk.shop.states_of(middle)
    assert (state, owed["pick"], owed["extract"], owed["draw"]) == (MovieState.DONE, SKIPPED, SKIPPED, DONE)
    rows = await desk.shop.tasks_of(middle)
    for stage in ("pick", "extract"):
        assert rows[stage].reason == f"most: total {total:.4g}, asked for at most 950"
        assert rows[stage].error_kind == "gate"
    assert await verdicts(desk) == {"low": (True, ""), "middle": (False, "most")}
    assert (await desk.shop.event_kinds()).count("skipped picking") == 1
    with pytest.raises(CommandRefused, match="skipped by a gate"):
        await desk.ask("task.retry", task_ids=[rows["pick"].task_id])


async def test_moving_a_gate_does_exactly_what_its_preview_said(desk: Desk) -> None:
    await desk.finish(*SEEDS, seeds=tuple(SEEDS.values()))
    total = await totals(desk)
    assert total["low"] < total["middle"] < total["high"]
    assert set((await states(desk, "pick")).values()) == {DONE}

    asked = {"session": "session1", "limits": {"most": total["middle"]}, "why": "thick ice"}
    preview = await desk.ask("session.thresholds", **asked, preview=True)
    assert (preview["passes"], preview["refused"], preview["by_gate"]) == (2, 1, {"most": 1})
    assert (await desk.ask("gates", session="session1"))["passes"] == 3, "a preview moves nothing"
    moved = await desk.ask("session.thresholds", **asked, token=preview["token"])
    assert moved == {**preview, "preview": False}
    assert await verdicts(desk) == {"low": (True, ""), "middle": (True, ""), "high": (False, "most")}
    assert set((await states(desk, "pick")).values()) == {DONE}, "what is done stays"

    (late,) = await desk.finish("late", seeds=(9,))
    assert (await desk.shop.states_of(late))[1]["pick"] is SKIPPED
    asked = {"session": "session1", "limits": {"most": None}}
    preview = await desk.ask("session.thresholds", **asked, preview=True)
    assert (preview["passes"], preview["tasks_reopened"]) == (4, 2)
    assert {**preview, "preview": False} == await desk.ask("session.thresholds", **asked, token=preview["token"])
    await desk.shop.process()
    state, owed = await desk.shop.states_of(late)
    assert (state, set(owed.values())) == (MovieState.DONE, {DONE})
    assert ("task", "skipped", "pending", "ada (operator)") in await desk.moves(late)
    assert ("movie", "done", "complete", "ada (operator)") in await desk.moves(late)
    assert desk.shop.script.count("divide", "late") == 1


async def test_what_waits_is_skipped_at_once_when_a_gate_moves(desk: Desk) -> None:
    await desk.ask("stage.pause", stage="pick")
    (path,) = await desk.finish("high", seeds=(9,))
    assert (await desk.shop.states_of(path))[1]["pick"] is PENDING
    moved = await desk.ask("session.thresholds", session="session1", limits={"most": 1.0})
    assert (moved["passes"], moved["tasks_skipped"]) == (0, 2)
    await desk.shop.process()
    state, owed = await desk.shop.states_of(path)
    assert (state, owed["pick"], owed["extract"]) == (MovieState.DONE, SKIPPED, SKIPPED)
    assert ("task", "pending", "skipped", "ada (operator)") in await desk.moves(path)

    await desk.ask("session.thresholds", session="session1", reset=True)
    await desk.ask("stage.resume", stage="pick")
    await desk.shop.process()
    assert set((await desk.shop.states_of(path))[1].values()) == {DONE}


async def test_limits_outlive_the_daemon_and_the_configuration_is_followed(open_desk: OpenDesk) -> None:
    desk = await open_desk(stages=STAGES, gates=(MOST, LEAST))
    await desk.ask("session.thresholds", session="session1", limits={"most": 1.0})
    (path,) = await desk.finish("low", seeds=(8,))
    assert (await desk.shop.states_of(path))[1]["pick"] is SKIPPED

    desk = await open_desk(stages=STAGES, gates=(MOST, LEAST))
    assert (await desk.ask("gates", session="session1"))["limits"] == {"most": 1.0, "least": None}
    await desk.ask("session.thresholds", session="session1", reset=True)
    await desk.shop.process()
    assert (await desk.shop.states_of(path))[1]["pick"] is DONE
    await desk.controls.tuning.follow_configuration({"least": 1e6}, asked_by="config.toml")
    assert await verdicts(desk) == {"low": (False, "least")}


@pytest.mark.parametrize("chunk", [1, 1000])
async def test_a_task_that_is_done_meanwhile_does_not_keep_gates_from_moving(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(tuning, "_CHUNK", chunk)
    await desk.ask("stage.pause", stage="pick")
    high, middle = await desk.finish("high", "middle", seeds=(9, 1))
    begun = (await desk.shop.tasks_of(high))["pick"]
    shop, recorder = desk.shop, desk.shop.engine.recorder
    commit, tries = recorder.commit, 0
    offered: dict[str, float] = {}

    async def commit_late(changes: Sequence[Change], told: Sequence[Event]) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            await shop.store.commit(StartAttempt(begun.task_id, 1, "hash"), EndTask(begun.task_id, DONE, 1))
        await commit(changes, told)

    monkeypatch.setattr(recorder, "commit", commit_late)
    monkeypatch.setattr(shop.engine.scheduler, "offer", offered.__setitem__)
    await desk.controls.tuning.follow_configuration({"most": 1.0}, asked_by="SIGHUP")
    assert await states(desk, "pick") == {"high": DONE, "middle": SKIPPED}
    assert await verdicts(desk) == {"high": (False, "most"), "middle": (False, "most")}
    movie = await shop.movie(middle)
    assert offered[movie.movie_id] == movie.last_write_s


async def test_a_stale_preview_and_an_unknown_gate_are_refused(desk: Desk) -> None:
    await desk.finish("low", seeds=(8,))
    asked = {"session": "session1", "limits": {"most": 950.0}}
    token = (await desk.ask("session.thresholds", **asked, preview=True))["token"]
    await desk.finish("middle", seeds=(1,))
    with pytest.raises(CommandRefused, match="more images were judged"):
        await desk.ask("session.thresholds", **asked, token=token)
    with pytest.raises(CommandRefused, match="no gate 'ice'") as refused:
        await desk.ask("session.thresholds", session="session1", limits={"ice": 1.0})
    assert refused.value.hint == "Known: least, most."


async def test_a_limit_is_bound_as_in_the_configuration(open_desk: OpenDesk) -> None:
    desk = await open_desk(stages=STAGES, gates=(replace(MOST, name="ctf_resolution_ang"),))
    asked = {"session": "session1", "limits": {"ctf_resolution_ang": -4.0}}
    with pytest.raises(CommandRefused, match="ctf_resolution_ang cannot be -4: it is a number from 0 to 1000 Å"):
        await desk.ask("session.thresholds", **asked)
    for limit in (0.0, 1000.0, None):
        asked = {"session": "session1", "limits": {"ctf_resolution_ang": limit}}
        assert (await desk.ask("session.thresholds", **asked))["limits"] == {"ctf_resolution_ang": limit}


async def test_an_image_whose_numbers_never_came_is_kept_back_and_counted_apart(desk: Desk) -> None:
    desk.shop.script.fail("divide", "low", ValueError("no"))
    (path,) = await desk.finish("low", seeds=(8,))
    state, owed = await desk.shop.states_of(path)
    assert (state, owed["divide"], owed["pick"]) == (MovieState.FAILED, TaskState.FAILED, SKIPPED)
    assert (await desk.shop.tasks_of(path))["pick"].reason == "divide did not succeed"
    assert await verdicts(desk) == {"low": (False, "divide")}
    counted = await results.count_verdicts(desk.shop.store, desk.shop.session_id)
    assert counted == VerdictCount(0, 0, {}, {"divide": 1}), "a failure is no refusal"
    assert asdict(counted)["failed"] == {"divide": 1}, "as it is sent"
    asked = await desk.ask("gates", session="session1")
    assert (asked["refused"], asked["by_gate"], asked["failed"]) == (0, {}, {"divide": 1})
    await desk.ask("task.retry", session="session1")
    counted = await results.count_verdicts(desk.shop.store, desk.shop.session_id)
    assert counted == VerdictCount(0, 0, {}, waiting={"divide": 1}), "what waits has not failed"
    await desk.shop.process()
    assert (await desk.shop.states_of(path))[1]["pick"] in {DONE, SKIPPED}


async def test_a_gated_stage_that_comes_before_its_numbers_has_a_second_turn(open_desk: OpenDesk) -> None:
    class Early(Pick):
        consumes: ClassVar[tuple[Product, ...]] = (MOVIE,)

    desk = await open_desk(stages=(Early, Add, Divide), gates=(MOST,))
    (path,) = await desk.finish("low", seeds=(8,))
    assert await desk.shop.states_of(path) == (MovieState.DONE, {"pick": DONE, "add": DONE, "divide": DONE})


async def test_verdicts_stand_in_the_table_while_no_stage_is_gated(open_desk: OpenDesk) -> None:
    desk = await open_desk(stages=FAKES, gates=(MOST,))
    await desk.ask("session.thresholds", session="session1", limits={"most": 950.0})
    await desk.finish("low", "middle", seeds=(8, 1))
    found = await verdicts(desk)
    assert found == {"low": (True, ""), "middle": (False, "most")}


async def test_what_was_set_aside_is_not_judged_and_what_was_cancelled_not_known(
    desk: Desk,
) -> None:
    desk.shop.script.fail("divide", "torn", FormatUnsupported(Path("torn.mrc"), "eight channels"))
    await desk.ask("stage.pause", stage="divide")
    stopped, torn, _ = await desk.finish("stopped", "torn", "low", seeds=(9, 1, 8))
    for stage, row in (await desk.shop.tasks_of(stopped)).items():
        if stage == "divide":
            await desk.ask("task.cancel", task_ids=[row.task_id])
    await desk.ask("stage.resume", stage="divide")
    await desk.shop.process()
    assert (await desk.shop.states_of(torn))[0] is MovieState.QUARANTINED
    assert (await desk.shop.states_of(stopped))[1]["divide"] is TaskState.CANCELLED
    for _ in range(2):
        answer = await desk.ask("gates", session="session1")
        assert (answer["passes"], answer["refused"], answer["undecided"]) == (1, 0, 1), "`stopped` is not known"
        assert await results.count_verdicts(desk.shop.store, desk.shop.session_id) == VerdictCount(1, 0, {})
        assert {name: passes for name, (passes, _) in (await verdicts(desk)).items()} == {
            "low": True,
            "stopped": None,
            "torn": None,
        }
        await desk.ask("session.thresholds", session="session1", limits={"most": 1e6})
