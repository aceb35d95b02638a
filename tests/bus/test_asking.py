"""Commands and queries, from a client through a real server to a handler and back."""

import dataclasses
import os
import signal
import threading
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import anyio
import pytest

from daemon.bus.client import BusClient
from daemon.bus.connection import Connection
from daemon.bus.connection_file import connection_file_path, find_target
from daemon.bus.responder import Responder
from daemon.bus.roles import Role
from daemon.bus.settings import BusSettings
from daemon.errors import BusUnavailable, CommandRefused, DaemonNotRunning, PathOutsideRoots
from daemon.messages.commands import Reply, SessionImport, SqlQuery, TaskRetry, decode_reply
from daemon.messages.subjects import Subjects
from tests.bus.fakes import answering, running_server, settle


class Desk:
    """Handlers that remember what they were asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, str]] = []

    async def import_session(self, arguments: SessionImport, asked_by: str) -> dict[str, str]:
        self.asked.append((arguments, asked_by))
        return {"session_id": "s-1"}

    async def refuse(self, arguments: TaskRetry, asked_by: str) -> None:
        raise PathOutsideRoots(Path("/etc"), [])

    async def break_down(self, arguments: object, asked_by: str) -> None:
        raise ZeroDivisionError("by zero")

    async def select(self, arguments: SqlQuery, asked_by: str) -> dict[str, Any]:
        rows = [[number, "x" * 1000] for number in range(arguments.limit)]
        return {"columns": ["number", "text"], "rows": rows, "truncated": False}

    def handlers(self) -> dict[str, Any]:
        return {
            "session.import": self.import_session,
            "task.retry": self.refuse,
            "status": self.break_down,
            "sql": self.select,
        }


@pytest.mark.anyio
async def test_a_command_reaches_its_handler_with_who_asked(settings: BusSettings) -> None:
    desk = Desk()
    async with answering(settings, desk.handlers()), BusClient(settings, asked_by="ana@krios") as bus:
        reply = await bus.request("session.import", SessionImport(directory="/gpfs/a"))
        assert reply.ok
        assert reply.data == {"session_id": "s-1"}
        await bus.request("session.import", {"directory": "/gpfs/b"})
    assert desk.asked == [
        (SessionImport(directory="/gpfs/a"), "ana@krios (operator)"),
        (SessionImport(directory="/gpfs/b"), "ana@krios (operator)"),
    ]


class Telltale(PurePosixPath):
    """Notes on which thread it is encoded."""

    threads: ClassVar[set[int]] = set()

    def __str__(self) -> str:
        self.threads.add(threading.get_ident())
        return super().__str__()


@pytest.mark.anyio
async def test_answers_are_encoded_beside_the_event_loop(settings: BusSettings) -> None:
    async def tell(arguments: object, asked_by: str) -> list[Telltale]:
        return [Telltale(f"/gpfs/{number}") for number in range(10)]

    async with answering(settings, {"jobs": tell}), BusClient(settings) as bus:
        reply = await bus.request("jobs")
    assert reply.data == [f"/gpfs/{number}" for number in range(10)]
    assert Telltale.threads
    assert threading.get_ident() not in Telltale.threads


@pytest.mark.anyio
async def test_refusals_and_defects_come_back_as_words(settings: BusSettings, caplog: pytest.LogCaptureFixture) -> None:
    async with answering(settings, Desk().handlers()), BusClient(settings) as bus:
        refused = await bus.request("task.retry")
        assert refused.error is not None
        assert (refused.ok, refused.error.kind) == (False, "path_outside_roots")
        assert "allowed roots" in refused.error.message
        assert "[watch] roots" in refused.error.hint
        broken = await bus.request("status")
        assert broken.error is not None
        assert broken.error.message == "The daemon failed at status: ZeroDivisionError: by zero."
        wrong = await bus.request("sql", {"statement": "select 1", "rows": 1})
        assert wrong.error is not None
        assert "unknown field `rows`" in wrong.error.message
        unserved = await bus.request("queues")
        assert unserved.error is not None
        assert str(unserved.error) == "There is no query 'queues'. Known: sql, status."
    assert "Traceback" in caplog.text
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.anyio
async def test_five_megabytes_come_in_pages_and_are_joined(settings: BusSettings) -> None:
    async with answering(settings, Desk().handlers()), BusClient(settings) as bus:
        reply = await bus.request("sql", SqlQuery(statement="select", limit=5000))
    assert reply.page is None
    assert reply.data["columns"] == ["number", "text"]
    assert reply.data["truncated"] is False
    assert reply.data["rows"] == [[number, "x" * 1000] for number in range(5000)]


@pytest.mark.anyio
async def test_an_answer_that_cannot_be_sent_is_an_error_reply(settings: BusSettings) -> None:
    async def one_huge_row(arguments: object, asked_by: str) -> list[str]:
        return ["x" * 2**21]

    async def no_json(arguments: object, asked_by: str) -> object:
        return object()

    handlers = {"jobs": one_huge_row, "queues": no_json}
    async with answering(settings, handlers), BusClient(settings) as bus:
        huge = await bus.request("jobs")
        assert huge.error is not None
        assert huge.error.message == "One row of the answer has 2.0 MiB, which cannot be sent."
        odd = await bus.request("queues")
        assert odd.error is not None
        assert "object cannot be sent in a reply" in odd.error.message


@pytest.mark.anyio
async def test_any_nats_program_may_ask_and_is_marked_unverified(settings: BusSettings) -> None:
    desk = Desk()
    async with answering(settings, desk.handlers()) as server:
        connection = await Connection.open(dataclasses.replace(server.target(), inbox="_INBOX"), name="site program")

        async def ask(subject: str, body: bytes) -> Reply:
            return decode_reply((await connection.client.request(subject, body, timeout=60)).data)

        assert (await ask("elcano.main.query.sql", b'{"arguments":{"statement":"","limit":1}}')).ok
        assert (await ask("elcano.main.cmd.session.import", b'{"arguments":{"directory":"/a"},"asked_by":"root"}')).ok
        unknown = (await ask("elcano.main.cmd.jobs.everything", b"")).error
        assert unknown is not None
        assert unknown.message == "There is no command 'jobs.everything'."
        assert not (await ask("elcano.main.query.session.import", b"{}")).ok, "a command is not to be had as a query"
        await connection.close()
    assert [asked_by for _, asked_by in desk.asked] == ["root (unverified)"]


@pytest.mark.anyio
async def test_a_viewer_may_ask_and_listen_but_not_act(settings: BusSettings) -> None:
    desk = Desk()
    async with answering(settings, desk.handlers()):
        connection_file_path(settings.state_directory, Role.OPERATOR).unlink()
        async with BusClient(settings) as bus:
            assert (await bus.link.wait_connected()).target.role == "viewer"
            assert (await bus.request("sql", SqlQuery(statement="", limit=1))).ok
            with pytest.raises(
                CommandRefused, match=r"does not let you as viewer ask elcano\.main\.cmd\.session\.import"
            ):
                await bus.request("session.import", SessionImport(directory="/gpfs/a"))
    assert desk.asked == []


@pytest.mark.anyio
async def test_who_looks_only_enters_as_a_viewer_whatever_else_may_be_read(settings: BusSettings) -> None:
    desk = Desk()
    async with answering(settings, desk.handlers()):
        looking = dataclasses.replace(settings, looks_only=True)
        async with BusClient(looking) as bus:
            assert (await bus.link.wait_connected()).target.role == "viewer"
            assert (await bus.request("sql", SqlQuery(statement="", limit=1))).ok
            with pytest.raises(CommandRefused, match="Who looks only cannot ask"):
                await bus.request("session.import", SessionImport(directory="/gpfs/a"))
        connection_file_path(settings.state_directory, Role.VIEWER).unlink()
        with pytest.raises(DaemonNotRunning):
            find_target(looking)
    assert desk.asked == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    "subject",
    [
        "elcano.main.cmd.task.retry",
        "magellon.job.j.step.ctf",
        "$JS.API.STREAM.DELETE.MAGELLON_STEP_EVENTS",
        "_INBOX_operator.x",
    ],
)
async def test_a_viewer_may_not_publish(settings: BusSettings, subject: str) -> None:
    async with running_server(settings) as server:
        viewer = await Connection.open(server.target(Role.VIEWER), name="viewer")
        denied: list[str] = []
        viewer.on_denied(denied.append)
        await viewer.client.publish(subject, b"{}")
        await settle(viewer)
        await viewer.close()
    assert len(denied) == 1
    assert f'publish to "{subject.lower()}"' in denied[0]


@pytest.mark.anyio
async def test_a_viewer_may_not_read_the_answers_to_others(settings: BusSettings) -> None:
    async with running_server(settings) as server:
        viewer = await Connection.open(server.target(Role.VIEWER), name="viewer")
        denied: list[str] = []
        viewer.on_denied(denied.append)
        for subject in ("_INBOX_operator.>", "elcano.main.cmd.>", "_INBOX.>", ">"):
            await viewer.client.subscribe(subject)
        await settle(viewer)
        await viewer.close()
    assert len(denied) == 4


@pytest.mark.anyio
async def test_no_daemon_is_said_at_once(settings: BusSettings) -> None:
    with pytest.raises(DaemonNotRunning, match="No elcano daemon answers"):
        async with BusClient(settings):
            pass
    async with running_server(settings), BusClient(settings) as bus:
        with pytest.raises(DaemonNotRunning, match=r"nats://127\.0\.0\.1:"):
            await bus.request("status")
    with pytest.raises(DaemonNotRunning, match=str(settings.state_directory)):
        async with BusClient(settings):
            pass


@pytest.mark.anyio
async def test_a_daemon_that_does_not_answer_is_not_said_to_be_absent(settings: BusSettings) -> None:
    async def sleep(arguments: object, asked_by: str) -> None:
        await anyio.sleep_forever()

    async with answering(settings, {"jobs": sleep, "status": sleep}), BusClient(settings) as bus:
        with pytest.raises(BusUnavailable, match=r"did not answer jobs within 0\.05 s") as late:
            await bus.request("jobs", timeout_s=0.05)
        assert "`elcano status`" in late.value.hint
        with pytest.raises(BusUnavailable, match=r"did not answer status within 0\.05 s") as late:
            await bus.request("status", timeout_s=0.05)
        assert late.value.hint == "The daemon is there but busy: look at its log, or ask again later."


@pytest.mark.anyio
async def test_a_command_under_way_is_finished_when_the_connection_is_lost(settings: BusSettings) -> None:
    began, go_on, finished = anyio.Event(), anyio.Event(), anyio.Event()

    async def slow(arguments: object, asked_by: str) -> None:
        began.set()
        with anyio.fail_after(60):  # the responder shields it: nothing else would end it if this test fails
            await go_on.wait()
        finished.set()

    async def ask(bus: BusClient) -> None:
        with pytest.raises(BusUnavailable, match="connection to NATS was lost"):
            await bus.request("session.close", {"session": "a"})
        asked.set()

    asked = anyio.Event()
    async with (
        answering(settings, {"session.close": slow}) as server,
        BusClient(settings) as bus,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(ask, bus)
        with anyio.fail_after(60):
            await began.wait()
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            await asked.wait()
            assert not finished.is_set()
            go_on.set()
            await finished.wait()


@pytest.mark.anyio
async def test_long_queries_hold_back_neither_commands_nor_short_queries(settings: BusSettings) -> None:
    """More of them than all lanes have places: a few work, some wait, the rest are told to come back."""
    began, crowd = 0, anyio.Event()
    go_on, refused = anyio.Event(), anyio.Event()
    answers: list[Reply] = []

    async def slow(arguments: SqlQuery, asked_by: str) -> list[str]:
        nonlocal began
        began += 1
        if began == 4:
            crowd.set()
        await go_on.wait()
        return []

    async def quick(arguments: object, asked_by: str) -> str:
        return "at once"

    async def ask(bus: BusClient) -> None:
        answers.append(await bus.request("sql", SqlQuery(statement="select")))
        refused.set()

    handlers = {"sql": slow, "status": quick, "session.close": quick}
    async with (
        answering(settings, handlers),
        BusClient(settings) as bus,
        anyio.create_task_group() as viewers,
    ):
        with anyio.fail_after(60):
            for _ in range(4 + 32 + 4):
                viewers.start_soon(ask, bus)
            await crowd.wait()
            await refused.wait()
            assert (await bus.request("session.close", {"session": "a"})).data == "at once"
            assert (await bus.request("status")).data == "at once"
            assert began == 4
            go_on.set()
    assert began == 4 + 32
    assert len(answers) == 4 + 32 + 4
    errors = {str(reply.error) for reply in answers if reply.error is not None}
    assert errors == {"32 long queries wait already, sql is one too many. Ask again in a minute."}
    assert sum(not reply.ok for reply in answers) == 4


@pytest.mark.anyio
async def test_unknown_names_are_refused_on_both_sides(settings: BusSettings) -> None:
    with pytest.raises(ValueError, match=r"named session\.explode"):
        Responder(Subjects(), {"session.explode": Desk().break_down})
    async with running_server(settings), BusClient(settings) as bus:
        with pytest.raises(CommandRefused, match=r"session\.explode"):
            await bus.request("session.explode")


@pytest.mark.anyio
async def test_errors_of_the_caller_pass_through_the_client_unwrapped(settings: BusSettings) -> None:
    async with running_server(settings):
        with pytest.raises(ZeroDivisionError):
            async with BusClient(settings):
                raise ZeroDivisionError
