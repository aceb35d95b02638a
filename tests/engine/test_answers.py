"""What queries and commands answer, each on a small store."""

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import anyio
import pytest

from daemon.domain.motion import NOT_RELIED_ON
from daemon.domain.movie import FileIdentity
from daemon.domain.states import MovieState, SessionState, TaskState
from daemon.engine import answers
from daemon.engine.answers import Answers, Handler
from daemon.engine.controls import Controls
from daemon.engine.outcome import summarise
from daemon.engine.troubles import Trouble
from daemon.errors import AcquisitionUnknown, CommandRefused, QueryRefused
from daemon.messages import commands
from daemon.messages.commands import COMMANDS, QUERIES, Reply, encode_reply, read_arguments
from daemon.sessions.first_movie import FIRST_MOVIE, GAIN_MISSING
from daemon.sessions.manifest import NOT_USED
from daemon.sessions.series_names import TILT_SERIES
from daemon.sessions.troubles import PlaceTrouble
from daemon.store import ledger, metrics, sessions
from daemon.store.changes import EndTask, MoveMovie, PutBackTask, PutDecision, PutNotification, PutSession
from daemon.store.rows import TaskRow
from daemon.store.store import Store
from tests.engine.fakes import ALL_DONE
from tests.engine.workshop import Workshop, identify

pytestmark = pytest.mark.anyio


@dataclass
class Counter:
    """A workshop with one movie done and one failed in its second stage, and what it answers."""

    shop: Workshop
    handlers: dict[str, Handler]
    done: Path
    failed: Path
    foreseen: list[Trouble]

    async def ask(self, name: str, **arguments: Any) -> Any:
        """Ask as the responder does; the answer must survive the way to the wire."""
        command = commands.Command(name=name, arguments=arguments)
        kind = {**COMMANDS, **QUERIES}[name]
        data = await self.handlers[name](read_arguments(command, kind), "ada (operator)")
        encode_reply(Reply(ok=True, data=data))
        return data


@pytest.fixture
async def counter(build: Callable[..., Workshop]) -> Counter:
    shop = build()
    await shop.open_session()
    done, failed = shop.write_movie("x"), shop.write_movie("y")
    shop.script.fail("divide", "y", ValueError("no rings"))
    await shop.prove(done, failed)
    await shop.process()
    controls = Controls(shop.engine)
    foreseen: list[Trouble] = []
    answers = Answers(
        shop.store,
        shop.engine,
        bus_status=lambda: {"connected": False},
        watching=list,
        passed_over=lambda: ["/gpfs/forgotten"],
        not_watched=lambda: [
            PlaceTrouble(Path("/gpfs/closed"), "cannot be watched: Permission denied", "Let us.", 1_700_000_000.0)
        ],
        not_imported=lambda: [{"directory": "/gpfs/broken", "reason": "it is no JSON"}],
        foreseen=foreseen.copy,
        paused=controls.pausing.standing,
        running=list,
        clock_s=shop.clock,
    )
    return Counter(shop, {**answers.handlers(), **controls.handlers()}, done, failed, foreseen)


async def test_series_and_what_holds_work_up_are_in_the_status(counter: Counter) -> None:
    tilt = counter.shop.write_movie("TS_01_000_0.0")
    await counter.shop.intake.ignored([(identify(tilt), TILT_SERIES)])
    await counter.shop.engine.troubles.begin("disk_full", "The disk is full.", "Make room.", path=Path("/home"))
    counter.foreseen.append(Trouble("disk_filling", "/raw is full in 3 h 04.", "Make room.", 1_700_000_000.0, "/raw"))
    status = await counter.ask("status")
    (left,) = status["sessions"][0]["left_alone"]
    assert (left["kind"], left["movies"], left["series"]) == ("tilt_series", 1, 1)
    assert left["said"].startswith("1 movie of 1 tilt series left alone, first ")
    full, closed, filling = status["troubles"]
    assert (filling["kind"], filling["path"], filling["text"]) == ("disk_filling", "/raw", "/raw is full in 3 h 04.")
    assert (full["kind"], full["path"], full["text"]) == ("disk_full", "/home", "The disk is full.")
    assert closed["kind"] == "not_watched"


async def test_queries(counter: Counter) -> None:
    status = await counter.ask("status")
    (session,) = status["sessions"]
    assert (session["name"], session["state"], session["movies"]) == ("session1", "open", {"done": 1, "failed": 1})
    assert status["bus"] == {"connected": False}
    assert (status["uptime_s"], status["pid"], status["device"]) == (0.0, os.getpid(), "cpu")
    assert status["passed_over"] == ["/gpfs/forgotten"]
    assert session["left_alone"] == []
    (trouble,) = status["troubles"]
    assert trouble == {
        "kind": "not_watched",
        "path": "/gpfs/closed",
        "since": "2023-11-14T22:13:20+00:00",
        "text": "/gpfs/closed cannot be watched: Permission denied.",
        "hint": "Let us.",
    }

    (job,) = await counter.ask("jobs", session="session1")
    assert job["state"] == "running"  # its session is open
    assert list(job["steps"]) == ["add", "divide", "mark", "draw"]
    assert job["steps"]["divide"] == {"completed": 1, "failed": 1}
    assert job["steps"]["mark"] == {"completed": 1, "skipped": 1}

    failed = await counter.ask("tasks", state="failed")
    assert [(task["stage"], task["wire_code"], task["reason"]) for task in failed] == [
        ("divide", 3, "divide: no rings.")
    ]
    assert len(await counter.ask("tasks", session=session["session_id"], limit=3)) == 3
    assert [task["stage"] for task in await counter.ask("tasks", stage="mark", job_id=job["job_id"])] == ["mark"] * 2

    images = await counter.ask("images", session="session1")
    assert [(image["name"], image["state"], image["divide"]) for image in images] == [
        ("x", "done", "completed"),
        ("y", "failed", "failed"),
    ]
    rows = (await counter.ask("metrics", stage="divide", session="session1"))["rows"]
    assert [row["name"] for row in rows] == ["x"]
    queues = await counter.ask("queues")
    assert queues["scheduler"]["waiting"] == 0
    assert queues["byte_budget"]["reserved_bytes"] == 0
    result = await counter.ask("sql", statement="SELECT count(*) AS n FROM movie")
    assert (result["columns"], result["rows"]) == (("n",), ((2,),))


async def test_rows_of_tasks_are_built_beside_the_event_loop(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    def tell(rows: Sequence[TaskRow]) -> list[dict[str, Any]]:
        threads.append(threading.get_ident())
        return tell_tasks(rows)

    tell_tasks = answers._tell_tasks
    monkeypatch.setattr(answers, "_tell_tasks", tell)
    told = await counter.ask("tasks", stage="add")
    assert [set(task) - {field.name for field in fields(TaskRow)} for task in told] == [{"wire_code"}] * 2
    assert threads
    assert threading.get_ident() not in threads


async def test_status_shows_the_latest_failures(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.engine.answers._LATEST_FAILURES", 10)
    failures = (await counter.ask("status"))["failures"]
    assert failures["total"] == 1
    (failure,) = failures["latest"]
    assert (failure["session"], failure["name"], failure["stage"]) == ("session1", "y", "divide")
    assert failure["reason"] == "divide: no rings."
    assert "total" not in failure

    shop = counter.shop
    for number in range(12):
        shop.clock.now_s += 60
        await shop.intake.seen([identify(shop.write_movie(f"short{number}"))])
        await shop.intake.quarantined(identify(shop.frames / f"short{number}.mrc"), f"{number} bytes are missing")
    failures = (await counter.ask("status"))["failures"]
    assert failures["total"] == 13
    assert [failure["reason"] for failure in failures["latest"]] == [
        f"{number} bytes are missing" for number in range(11, 1, -1)
    ]
    assert {failure["what"] for failure in failures["latest"]} == {"movie"}


async def test_status_says_what_a_session_lacks_and_which_could_not_be_imported(counter: Counter) -> None:
    shop = counter.shop
    (session,) = (await counter.ask("status"))["sessions"]
    assert session["notes"] == []
    told = {GAIN_MISSING: {"given": None, "note": "no gain"}}
    await shop.store.commit(PutDecision(session["session_id"], FIRST_MOVIE, told))
    status = await counter.ask("status")
    assert status["sessions"][0]["notes"] == ["no gain"]
    # A run that ends by itself says it each time, not only when it is found.
    outcome = await anyio.to_thread.run_sync(summarise, shop.store, {}, [], {})
    assert "\n  note: no gain\n" in outcome.text
    assert status["not_imported"] == [{"directory": "/gpfs/broken", "reason": "it is no JSON"}]


async def test_status_counts_the_movies_whose_motion_is_not_to_be_relied_on(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(0, ""), (1, "x"), (3, "x")]

    async def count(store: Store, stage: str, words: str, session_id: str) -> tuple[int, str]:
        assert (stage, words) == ("motion_correction", NOT_RELIED_ON)
        return found[len(told)]

    monkeypatch.setattr(metrics, "count_remarked", count)
    told: list[tuple[dict[str, Any], list[str]]] = []
    while len(told) < len(found):
        (session,) = (await counter.ask("status"))["sessions"]
        told.append((session["doubted_motion"], session["notes"]))
    ending = "is not to be relied on: look at the motion picture, which says why"
    assert told == [
        ({"movies": 0, "first": ""}, []),
        ({"movies": 1, "first": "x"}, [f"the motion of x {ending}"]),
        ({"movies": 3, "first": "x"}, [f"the motion of 3 movies, the first x, {ending}"]),
    ]


async def test_status_names_the_mistyped_keys_of_session_json_also_beside_what_failed_for_want_of_them(
    counter: Counter,
) -> None:
    shop = counter.shop
    path = shop.write_movie("z")
    shop.script.fail("divide", "z", AcquisitionUnknown(["spherical_aberration_mm"], "z"))
    await shop.prove(path)
    await shop.process()
    (row,) = await sessions.sessions(shop.store)
    said = "cs_mm is not used: did you mean spherical_aberration_mm?"
    await shop.store.commit(PutSession(row.session, {**row.facts, NOT_USED: [said, "lens is not used"]}))
    status = await counter.ask("status")
    assert status["sessions"][0]["notes"] == [f"session.json: {said}", "session.json: lens is not used"]
    hints = {failure["name"]: failure["hint"] for failure in status["failures"]["latest"]}
    assert hints["z"].startswith(f"session.json: {said} Set acquisition.spherical_aberration_mm")
    assert "session.json" not in hints["y"]


async def test_status_counts_files_apart_that_are_no_movies(counter: Counter) -> None:
    named = counter.shop.write_movie("x_manifest").rename(counter.shop.frames / "session.json")
    spare = counter.shop.write_movie("spare")
    reasons = [(identify(named), "not a movie: .json suffix"), (identify(spare), TILT_SERIES)]
    await counter.shop.intake.ignored(reasons)
    (session,) = (await counter.ask("status"))["sessions"]
    assert (session["movies"]["ignored"], session["other_files"]) == (2, 1)
    outcome = await anyio.to_thread.run_sync(summarise, counter.shop.store, {}, [], {})
    assert "session1: 1 done, 1 failed, 1 ignored, 1 other file; results in" in outcome.text
    assert "  1 movie of 1 tilt series left alone, first frames/spare.mrc" in outcome.text


async def test_status_has_the_latest_notifications_and_how_many_there_are(counter: Counter) -> None:
    before = (await counter.ask("status"))["notifications"]["total"]
    for number in range(7):
        told = PutNotification(f"n{number}", "warning", "disk_full", f"told {number}", "Make room.", at_s=2e9 + number)
        await counter.shop.store.commit(told)
    kept = (await counter.ask("status"))["notifications"]
    assert (kept["total"], [each["message"] for each in kept["latest"]]) == (
        before + 7,
        [f"told {number}" for number in range(6, 1, -1)],
    )


async def test_refusals(counter: Counter) -> None:
    for name, arguments, said in (
        ("jobs", {"session": "nosuch"}, "no session 'nosuch'"),
        ("tasks", {"state": "dead"}, "no task state 'dead'"),
        ("metrics", {"stage": "fly"}, "no stage 'fly'"),
        ("task.retry", {"task_ids": ["nosuch"]}, "no task 'nosuch'.*SELECT id, .* FROM failures"),
        ("task.retry", {"task_ids": ["session1"]}, "That is a session: use --session session1"),
        ("task.retry", {"task_ids": ["divide"]}, "That is a stage: use --stage divide"),
        ("session.close", {"session": "nosuch"}, "no session 'nosuch'"),
        ("audit", {"session": "nosuch"}, "no session 'nosuch'"),
    ):
        with pytest.raises(CommandRefused, match=said):
            await counter.ask(name, **arguments)
    with pytest.raises(QueryRefused):
        await counter.ask("sql", statement="DROP TABLE movie")
    (task,) = await counter.ask("tasks", stage="add", limit=1)
    with pytest.raises(CommandRefused, match="is completed; only failed"):
        await counter.ask("task.retry", task_ids=[task["task_id"]])


async def test_the_audit_through_the_wire(counter: Counter) -> None:
    report, of_none = await counter.ask("audit")
    assert (report["is_clean"], list(report["gaps"])) == (True, [])
    assert (of_none["session"], of_none["is_clean"]) == ("", False)
    assert [(gap["kind"], gap["path"]) for gap in of_none["gaps"]] == [
        ("passed_over", "/gpfs/forgotten"),
        ("not_imported", "/gpfs/broken"),
        ("not_watched", "/gpfs/closed"),
    ]
    (report,) = await counter.ask("audit", session="session1")
    assert report["is_clean"], "a session that is named is accounted for alone"
    foreign = counter.shop.session_home / "shares" / "alien.txt"
    foreign.write_text("x")
    (report,) = await counter.ask("audit", session="session1", deep=True)
    assert not report["is_clean"]
    assert report["gaps"] == [
        {"kind": "foreign_output", "path": str(foreign), "what": "no record says that Elcano wrote it"}
    ]


@pytest.mark.parametrize("named", [True, False])
async def test_retry_reopens_the_movie_and_what_was_skipped(counter: Counter, named: bool) -> None:
    (failed,) = await counter.ask("tasks", state="failed")
    arguments: dict[str, Any] = {"task_ids": [failed["task_id"]]} if named else {"session": "session1"}
    assert await counter.ask("task.retry", **arguments) == {
        "tasks": 1,
        "movies": 1,
        "open": 2,
        "cancelled": 0,
        "looked_at": 0,
    }
    state, states = await counter.shop.states_of(counter.failed)
    assert state is MovieState.COMPLETE
    assert (states["divide"], states["mark"], states["add"]) == (
        TaskState.PENDING,
        TaskState.PENDING,
        TaskState.COMPLETED,
    )
    await counter.shop.process()
    assert await counter.shop.states_of(counter.failed) == (MovieState.DONE, ALL_DONE)
    assert counter.shop.script.count("add", "y") == 1
    assert counter.shop.script.count("divide", "y") == 2
    movie = await counter.shop.movie(counter.failed)
    asked = [move for move in await ledger.history(counter.shop.store, movie.movie_id) if move.asked_by]
    assert {move.asked_by for move in asked} == {"ada (operator)"}
    assert {move.subject for move in asked} == {"movie", "task"}


async def test_what_is_done_without_cancelled_steps_is_counted_apart(counter: Counter) -> None:
    (summary,) = (await counter.ask("status"))["sessions"]
    assert summary["partly_cancelled"] == 0
    (task,) = await counter.ask("tasks", stage="divide", state="completed")
    movie_id = task["movie_id"]
    await counter.shop.store.commit(
        PutBackTask(task["task_id"], "again", asked_by="ada"),
        EndTask(task["task_id"], TaskState.CANCELLED),
        MoveMovie(movie_id, MovieState.COMPLETE, asked_by="ada"),
        MoveMovie(movie_id, MovieState.DONE),
    )
    (summary,) = (await counter.ask("status"))["sessions"]
    assert (summary["movies"]["done"], summary["partly_cancelled"]) == (1, 1)


async def test_a_retried_task_gets_all_its_tries_again(counter: Counter) -> None:
    shop = counter.shop
    counter.shop.clock.now_s += 1
    await counter.ask("task.retry", session="session1")
    shop.script.fail("divide", "y", MemoryError("1"), MemoryError("2"))
    await shop.process()
    assert await shop.states_of(counter.failed) == (MovieState.DONE, ALL_DONE)
    assert (await shop.tasks_of(counter.failed))["divide"].attempts == 4


async def test_what_fails_again_ends_again(counter: Counter) -> None:
    await counter.ask("task.retry", stage="divide")
    counter.shop.script.fail("divide", "y", ValueError("still no rings"))
    await counter.shop.process()
    state, states = await counter.shop.states_of(counter.failed)
    assert (state, states["mark"]) == (MovieState.FAILED, TaskState.SKIPPED)


async def test_a_quarantined_movie_can_be_retried_when_its_bytes_came_back(counter: Counter) -> None:
    shop = counter.shop
    path = shop.write_movie("z", seed=4)
    whole, written_ns = path.read_bytes(), path.stat().st_mtime_ns
    await shop.prove(path)
    path.write_bytes(whole[:-9])
    await shop.process()
    assert (await shop.movie(path)).state is MovieState.QUARANTINED
    path.write_bytes(whole)
    os.utime(path, ns=(written_ns, written_ns))  # of another time it would be another movie
    owed = await shop.tasks_of(path)
    await counter.ask("task.retry", task_ids=[owed["add"].task_id])
    await shop.process()
    assert await shop.states_of(path) == (MovieState.DONE, ALL_DONE)


async def test_movies_that_never_became_whole_are_looked_at_anew(counter: Counter) -> None:
    shop = counter.shop
    short = shop.write_movie("short", seed=4)
    await shop.intake.seen([identify(short)])
    await shop.intake.quarantined(identify(short), "9 bytes are missing")
    (failure,) = [row for row in (await counter.ask("status"))["failures"]["latest"] if row["what"] == "movie"]
    with pytest.raises(CommandRefused, match="Nobody watches the session"):
        await counter.ask("task.retry", task_ids=[failure["id"]])
    looks: list[tuple[str, Path, str]] = []

    def look(session_id: str, movie: FileIdentity, why: str) -> bool:
        looks.append((session_id, movie.path, why))
        return True

    shop.engine.recorder.on_look_again = look
    answer = await counter.ask("task.retry", task_ids=[failure["id"]], why="copied again")
    assert (answer["tasks"], answer["looked_at"]) == (0, 1)
    answer = await counter.ask("task.retry", session="session1")
    assert (answer["tasks"], answer["looked_at"]) == (1, 1), "what failed, and what never became whole"
    asked = [(shop.session_id, short, f"retried by ada (operator){why}") for why in (": copied again", "")]
    assert looks == asked
    done = await shop.movie(counter.failed)
    with pytest.raises(CommandRefused, match=r"y\.mrc is complete; of movies only quarantined"):
        await counter.ask("task.retry", task_ids=[done.movie_id])


async def test_a_superseded_movie_is_not_retried(counter: Counter) -> None:
    shop = counter.shop
    task_id = (await shop.tasks_of(counter.failed))["divide"].task_id
    before = identify(counter.failed)
    shop.write_movie("y", seed=9, shape_tyx=(4, 8, 10))
    await shop.intake.rewritten(before, identify(counter.failed))
    assert await counter.ask("task.retry") == {"tasks": 0, "movies": 0, "open": 4, "cancelled": 0, "looked_at": 0}
    with pytest.raises(CommandRefused, match=r"y\.mrc is superseded"):
        await counter.ask("task.retry", task_ids=[task_id])


async def test_a_retry_at_the_moment_of_the_end_is_not_lost(counter: Counter) -> None:
    """Two people press retry while the visit of the first is about to end the movie."""
    shop = counter.shop
    await counter.ask("task.retry", session="session1")
    shop.script.fail("divide", "y", ValueError("again"))
    recorder = shop.engine.recorder
    async with shop.running():
        with anyio.fail_after(60):
            while (await shop.tasks_of(counter.failed))["divide"].state is not TaskState.FAILED:
                await anyio.lowlevel.checkpoint()
        await counter.ask("task.retry", session="session1")
        await shop.until_idle()
    assert not recorder.deciding.statistics().locked
    state, states = await shop.states_of(counter.failed)
    assert (state, states) == (MovieState.DONE, ALL_DONE)


async def test_closing_a_session(counter: Counter) -> None:
    session_id = counter.shop.session_id
    answer = {"session_id": session_id, "closed": True, "unfinished": ""}
    assert await counter.ask("session.close", session="session1", reason="grid is done") == answer
    await counter.ask("session.close", session="session1")
    row = await sessions.session(counter.shop.store, session_id)
    assert row is not None
    assert row.session.state is SessionState.CLOSED
    assert (await counter.shop.event_kinds()).count("session.closed") == 1
    (job,) = await counter.ask("jobs")
    assert job["state"] == "completed"


async def test_every_handler_answers_a_known_name(counter: Counter) -> None:
    assert set(counter.handlers) <= {*COMMANDS, *QUERIES}


async def test_the_outcome_of_a_run_in_words(counter: Counter) -> None:
    outcome = await anyio.to_thread.run_sync(summarise, counter.shop.store, {}, [], {})
    assert not outcome.is_good
    assert "session1: 1 done, 1 failed" in outcome.text
    assert "y: divide: no rings." in outcome.text
    await counter.ask("task.retry")
    outcome = await anyio.to_thread.run_sync(summarise, counter.shop.store, {}, [], {})
    assert not outcome.is_good  # it is pending
    await counter.shop.process()
    outcome = await anyio.to_thread.run_sync(summarise, counter.shop.store, {}, [], {})
    assert outcome.is_good
    outcome = await anyio.to_thread.run_sync(summarise, counter.shop.store, {}, ["/gpfs/forgotten"], {})
    assert not outcome.is_good
    assert "/gpfs/forgotten: movies were passed over, there is no session.json" in outcome.text
    refused = {Path("/gpfs/bad"): "no session.json"}
    outcome = await anyio.to_thread.run_sync(summarise, counter.shop.store, refused, [], {})
    assert not outcome.is_good
    assert "/gpfs/bad was not imported: no session.json" in outcome.text
    unwatched = {Path("/gpfs/a/closed"): "cannot be watched: Permission denied"}
    outcome = await anyio.to_thread.run_sync(summarise, counter.shop.store, {}, [], unwatched)
    assert not outcome.is_good
    assert "/gpfs/a/closed cannot be watched: Permission denied" in outcome.text


async def test_notifications_are_told_newest_first_with_the_name_of_their_session(counter: Counter) -> None:
    session_id = (await sessions.sessions(counter.shop.store))[0].session.session_id
    name = (await sessions.sessions(counter.shop.store))[0].session.name
    await counter.shop.store.commit(
        PutNotification("n1", "warning", "beam", "The beam is off.", "Look.", session_id, at_s=100.0),
        PutNotification("n2", "error", "disk", "The disk is full.", "Make room.", at_s=200.0),
    )
    told = (await counter.ask("notifications")).notifications
    assert [(each.message, each.session, each.raised_at_s) for each in told if each.raised_at_s <= 200.0] == [
        ("The disk is full.", "", 200.0),
        ("The beam is off.", name, 100.0),
    ]
    of_session = (await counter.ask("notifications", session=name, limit=1)).notifications
    assert [each.notification_id for each in of_session] == ["n1"]
    with pytest.raises(CommandRefused):
        await counter.ask("notifications", session="nowhere")
