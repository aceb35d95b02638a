"""The link over a real NATS server: news in batches, troubles said, reconnecting without loss or repeats."""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

import anyio
import pytest

from daemon.bus.connection import Connection
from daemon.bus.connection_file import connection_file_path
from daemon.bus.embedded import EmbeddedServer
from daemon.bus.heartbeat import Heartbeat
from daemon.bus.responder import Handler, Responder
from daemon.bus.roles import Role
from daemon.bus.settings import BusSettings
from daemon.bus.summaries import JobSummaries
from daemon.errors import CommandRefused
from daemon.messages.event_data import JobSummary, NodeHeartbeat, StepStarted
from daemon.messages.news import NotificationsAnswer
from tests.bus.fakes import (
    SUBJECTS,
    MemoryOutbox,
    node_beat,
    publisher_of,
    running_link,
    running_server,
    settings_in,
    step_event,
)
from tests.tui.scenes import notifications, summary
from tui.core.link_state import LinkPhase, LinkState
from tui.core.model import News
from tui.link import BusLink

pytestmark = pytest.mark.anyio


@pytest.fixture
def settings(tmp_path: object) -> BusSettings:
    from pathlib import Path

    return settings_in(Path(str(tmp_path)))


class Heard:
    """Everything a link delivered."""

    def __init__(self) -> None:
        self.news: list[News] = []
        self._came = anyio.Event()

    def deliver(self, news: Sequence[News]) -> None:
        self.news += news
        self._came.set()
        self._came = anyio.Event()

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        with anyio.fail_after(60):
            while not condition():
                await self._came.wait()

    @property
    def link(self) -> LinkState:
        return [item for item in self.news if isinstance(item, LinkState)][-1]

    def steps(self) -> list[str]:
        return [item.task_id for item in self.news if isinstance(item, StepStarted)]


@contextlib.asynccontextmanager
async def attached(settings: BusSettings) -> AsyncIterator[tuple[BusLink, Heard]]:
    link, heard = BusLink(settings, config="/etc/elcano/night.toml"), Heard()
    async with anyio.create_task_group() as group:
        group.start_soon(link.run, heard.deliver)
        yield link, heard
        group.cancel_scope.cancel()


async def until_followed(server: EmbeddedServer) -> None:
    """Return when somebody follows the steps: who was not there yet is not told of them."""
    connection = await Connection.open(server.target(), name="look")
    js = connection.client.jetstream()
    with anyio.fail_after(60):
        while not (await js.stream_info(SUBJECTS.step_stream)).state.consumer_count:
            await anyio.lowlevel.checkpoint()
    await connection.close()


async def answer_queues(_: object, asked_by: str) -> dict[str, object]:
    return {"paused": [], "asked_by": asked_by}


HANDLERS: dict[str, Handler] = {"queues": answer_queues}


async def test_a_terminal_that_comes_first_waits_and_then_sees_all(settings: BusSettings) -> None:
    summaries = JobSummaries(SUBJECTS, max_store_bytes=settings.max_store_bytes, interval_s=0.01)
    summaries.put(summary("job-1"))
    outbox = MemoryOutbox()
    publisher = publisher_of(outbox)
    responder = Responder(SUBJECTS, HANDLERS)
    async with attached(settings) as (link, heard):
        await heard.wait_until(lambda: bool(heard.news) and heard.link.phase is LinkPhase.NOT_RUNNING)
        assert str(settings.state_directory) in heard.link.message
        assert "elcano run" in heard.link.hint
        assert heard.link.config == "/etc/elcano/night.toml"
        beat = Heartbeat(SUBJECTS, node_beat)
        services = (publisher.serve, summaries.serve, responder.serve, beat.serve)
        async with running_server(settings) as server, running_link(server.target, *services):
            await heard.wait_until(lambda: heard.link.is_connected)
            assert heard.link.role == "operator"
            assert heard.link.config == "/etc/elcano/night.toml"
            await heard.wait_until(lambda: any(isinstance(item, JobSummary) for item in heard.news))
            await until_followed(server)
            for number in range(20):
                outbox.add(step_event(number))
            publisher.wake()
            await heard.wait_until(lambda: len(heard.steps()) == 20)
            assert heard.steps() == [f"t-{number}" for number in range(20)]
            assert (await link.ask("queues"))["asked_by"].endswith("(operator)")
            with pytest.raises(CommandRefused, match="no query 'jobs'"):
                await link.ask("jobs")
    assert not any(isinstance(item, NodeHeartbeat) and item.host != "host" for item in heard.news)


async def test_a_server_that_dies_is_told_and_found_again_without_loss_or_repeats(settings: BusSettings) -> None:
    outbox = MemoryOutbox()
    publisher = publisher_of(outbox)
    responder = Responder(SUBJECTS, HANDLERS)
    async with attached(settings) as (_, heard):
        async with running_server(settings) as server, running_link(server.target, publisher.serve, responder.serve):
            await heard.wait_until(lambda: bool(heard.news) and heard.link.is_connected)
            await until_followed(server)
            outbox.add(step_event(0))
            publisher.wake()
            await heard.wait_until(lambda: heard.steps() == ["t-0"])
        await heard.wait_until(lambda: heard.link.phase is LinkPhase.LOST)
        assert "`elcano run --config /etc/elcano/night.toml` starts it" in heard.link.hint
        before = heard.link.connections
        outbox.add(step_event(1))
        async with running_server(settings) as server, running_link(server.target, publisher.serve, responder.serve):
            outbox.add(step_event(2))
            publisher.wake()
            await heard.wait_until(lambda: heard.link.is_connected and len(heard.steps()) >= 3)
    assert heard.steps() == ["t-0", "t-1", "t-2"]
    assert heard.link.connections == before + 1


async def test_nats_without_a_daemon_behind_it_is_not_taken_for_one(settings: BusSettings) -> None:
    async with attached(settings) as (_, heard), running_server(settings):
        await heard.wait_until(lambda: bool(heard.news) and "answers at nats://" in heard.link.message)
        assert heard.link.phase is LinkPhase.NOT_RUNNING


async def test_a_viewer_is_known_as_one(settings: BusSettings) -> None:
    responder = Responder(SUBJECTS, HANDLERS)
    async with running_server(settings) as server, running_link(server.target, responder.serve):
        # What an administrator does for a viewer: only this file may be read.
        connection_file_path(settings.state_directory, Role.OPERATOR).unlink()
        async with attached(settings) as (link, heard):
            await heard.wait_until(lambda: bool(heard.news) and heard.link.is_connected)
            assert heard.link.is_viewer
            with pytest.raises(CommandRefused, match="viewer"):
                await link.ask("node.pause")


async def test_wrong_credentials_are_said(settings: BusSettings) -> None:
    async with running_server(settings) as server:
        target = server.target()
        async with attached(replace(settings, url=target.url)) as (_, heard):
            await heard.wait_until(lambda: bool(heard.news) and heard.link.phase is LinkPhase.REFUSED)
            assert "does not accept these credentials" in heard.link.message
            assert heard.link.hint


async def test_the_history_of_notifications_comes_with_each_connection(
    settings: BusSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.link._NOTIFICATIONS_EVERY_S", 3600.0)

    async def answer_notifications(_: object, asked_by: str) -> dict[str, object]:
        del asked_by
        return notifications()

    responder = Responder(SUBJECTS, {**HANDLERS, "notifications": answer_notifications})

    def told() -> list[list[str]]:
        answers = [item for item in heard.news if isinstance(item, NotificationsAnswer)]
        return [[entry.notification_id for entry in answer.notifications] for answer in answers]

    async with attached(settings) as (_, heard):
        for count in (1, 2):
            async with running_server(settings) as server, running_link(server.target, responder.serve):
                await heard.wait_until(lambda count=count: len(told()) == count)  # type: ignore[misc]
            await heard.wait_until(lambda: heard.link.phase is LinkPhase.LOST)
    assert told() == [["n1", "n2"], ["n1", "n2"]]


async def test_who_looks_only_is_known_as_a_viewer_and_cannot_act(settings: BusSettings) -> None:
    responder = Responder(SUBJECTS, HANDLERS)
    async with (
        running_server(settings) as server,
        running_link(server.target, responder.serve),
        attached(replace(settings, looks_only=True)) as (link, heard),
    ):
        await heard.wait_until(lambda: bool(heard.news) and heard.link.is_connected)
        assert heard.link.is_viewer
        with pytest.raises(CommandRefused, match="looks only"):
            await link.ask("node.pause")


async def test_what_concerns_no_session_is_asked_for_again_and_again(
    settings: BusSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.link._NOTIFICATIONS_EVERY_S", 0.05)
    kept = notifications()["notifications"]
    known = kept[:1]

    async def answer_notifications(_: object, asked_by: str) -> dict[str, object]:
        del asked_by
        return {"notifications": known}

    def told() -> list[str]:
        answers = [item for item in heard.news if isinstance(item, NotificationsAnswer)]
        return [note.notification_id for note in answers[-1].notifications] if answers else []

    responder = Responder(SUBJECTS, {**HANDLERS, "notifications": answer_notifications})
    async with (
        running_server(settings) as server,
        running_link(server.target, responder.serve),
        attached(settings) as (_, heard),
    ):
        await heard.wait_until(lambda: told() == ["n1"])
        known = kept
        await heard.wait_until(lambda: told() == ["n1", "n2"])
