import os
import signal
from collections.abc import Sequence

import anyio
import anyio.lowlevel
import pytest

from daemon.bus.connection import Connection
from daemon.bus.embedded import EmbeddedServer
from daemon.bus.settings import BusSettings
from daemon.errors import BusUnavailable
from tests.bus.fakes import (
    SUBJECTS,
    MemoryOutbox,
    Row,
    publisher_of,
    running_link,
    running_server,
    step_event,
    stream_ids,
)

STREAM = SUBJECTS.step_stream


def without_repeats(ids: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(ids))


@pytest.mark.anyio
async def test_the_outbox_is_published_in_order_and_marked(settings: BusSettings) -> None:
    outbox = MemoryOutbox()
    for number in range(250):
        outbox.add(step_event(number))
    publisher = publisher_of(outbox)
    async with running_server(settings) as server, running_link(server.target, publisher.serve):
        with anyio.fail_after(60):
            await publisher.wait_drained()
        assert await stream_ids(server, STREAM) == [row.event_id for row in outbox.rows]
    assert outbox.marked == set(range(250))
    assert (publisher.counts.published, publisher.counts.repeats) == (250, 0)


@pytest.mark.anyio
async def test_a_wake_up_is_enough_no_poll_is_waited_for(settings: BusSettings) -> None:
    outbox = MemoryOutbox()
    publisher = publisher_of(outbox)
    publisher._idle_poll_s = 3600.0
    async with running_server(settings) as server, running_link(server.target, publisher.serve):
        with anyio.fail_after(60):
            await publisher.wait_drained()
            for number in range(3):
                outbox.add(step_event(number))
                publisher.wake()
                await publisher.wait_drained()
    assert outbox.marked == {0, 1, 2}


@pytest.mark.anyio
async def test_what_is_added_while_the_outbox_is_read_is_not_overlooked(settings: BusSettings) -> None:
    class LateOutbox(MemoryOutbox):
        """The next event is committed while the empty answer is on its way."""

        async def unpublished(self, limit: int) -> Sequence[Row]:
            rows = await super().unpublished(limit)
            if len(self.rows) < 5:
                self.add(step_event(len(self.rows)))
                publisher.wake()
            return rows

    outbox = LateOutbox()
    publisher = publisher_of(outbox)
    publisher._idle_poll_s = 3600.0
    async with running_server(settings) as server, running_link(server.target, publisher.serve):
        with anyio.fail_after(60):
            await publisher.wait_drained()
    assert outbox.marked == set(range(5))


@pytest.mark.anyio
async def test_server_killed_mid_stream_nothing_lost_and_repeats_have_the_same_id(settings: BusSettings) -> None:
    """Kill -9 three times with an event under way; who drops repeats by id sees exactly the outbox."""
    outbox = MemoryOutbox()
    for number in range(1000):
        outbox.add(step_event(number))
    publisher = publisher_of(outbox)

    async def kill_when_published(numbers: Sequence[int]) -> None:
        for number in numbers:
            while publisher.counts.published < number:
                await anyio.lowlevel.checkpoint()
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)

    async with running_server(settings) as server, running_link(server.target, publisher.serve) as link:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(kill_when_published, (37, 350, 701))
            with anyio.fail_after(60):
                await publisher.wait_drained()
        assert server.starts == 4
        assert link.connections_made == 4
        ids = await stream_ids(server, STREAM)
    assert without_repeats(ids) == [row.event_id for row in outbox.rows]
    assert outbox.marked == set(range(1000))


@pytest.mark.anyio
async def test_what_was_published_but_not_marked_comes_again_with_the_same_id_and_is_dropped(
    settings: BusSettings,
) -> None:
    """The daemon died between the server's acknowledgement and its own commit."""
    outbox = MemoryOutbox()
    for number in range(20):
        outbox.add(step_event(number))
    async with running_server(settings) as server:
        first = publisher_of(outbox)
        async with running_link(server.target, first.serve):
            await first.wait_drained()
        outbox.marked = set(range(5))
        second = publisher_of(outbox)
        async with running_link(server.target, second.serve):
            await second.wait_drained()
        assert await stream_ids(server, STREAM) == [row.event_id for row in outbox.rows]
    assert second.counts.repeats == 15


@pytest.mark.anyio
async def test_server_away_from_the_start_then_there(settings: BusSettings) -> None:
    outbox = MemoryOutbox()
    publisher = publisher_of(outbox)
    server = EmbeddedServer(settings)
    async with running_link(server.target, publisher.serve, wait=False) as link:
        for number in range(10):
            outbox.add(step_event(number))
            publisher.wake()
        with pytest.raises(BusUnavailable, match="not running"):
            await link.connect()
        assert not outbox.marked
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.run)
            with anyio.fail_after(60):
                await publisher.wait_drained()
            assert await stream_ids(server, STREAM) == [row.event_id for row in outbox.rows]
            tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_an_event_no_server_can_take_is_told_and_does_not_hold_up_the_rest(
    settings: BusSettings, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = MemoryOutbox()
    outbox.add(step_event(0))
    outbox.rows.append(Row(1, "huge", SUBJECTS.step("j", "ctf"), b"x" * (2**20 + 1)))
    outbox.rows.append(Row(2, "misplaced", "magellon.job.bad subject.step.ctf", b"{}"))
    outbox.rows.append(Row(3, "last", SUBJECTS.step("j", "ctf"), b"{}"))
    publisher = publisher_of(outbox)
    async with running_server(settings) as server, running_link(server.target, publisher.serve):
        with anyio.fail_after(60):
            await publisher.wait_drained()
        assert await stream_ids(server, STREAM) == [outbox.rows[0].event_id, "last"]
    assert publisher.counts.refused == 2
    assert [record.getMessage().split()[1] for record in caplog.records if record.levelname == "ERROR"] == [
        "huge",
        "misplaced",
    ]


@pytest.mark.anyio
async def test_a_stream_deleted_by_hand_is_made_again(settings: BusSettings) -> None:
    outbox = MemoryOutbox()
    publisher = publisher_of(outbox)
    async with running_server(settings) as server, running_link(server.target, publisher.serve) as link:
        with anyio.fail_after(60):
            await publisher.wait_drained()
            connection = await link.wait_connected()
            await connection.client.jetstream().delete_stream(STREAM)
            outbox.add(step_event(1))
            publisher.wake()
            await publisher.wait_drained()
        assert await stream_ids(server, STREAM) == [outbox.rows[0].event_id]


@pytest.mark.anyio
async def test_a_site_stream_that_does_not_keep_our_subjects_is_named(
    settings: BusSettings, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = MemoryOutbox()
    outbox.add(step_event(1))
    publisher = publisher_of(outbox)
    async with running_server(settings) as server:
        connection = await Connection.open(server.target(), name="site")
        js = connection.client.jetstream()
        await js.add_stream(name=STREAM, subjects=["magellon.elsewhere.*"])
        async with running_link(server.target, publisher.serve):
            with anyio.fail_after(60):
                while "made by others" not in caplog.text:
                    await anyio.lowlevel.checkpoint()
                assert not outbox.marked
                await js.update_stream(name=STREAM, subjects=["magellon.elsewhere.*", "magellon.job.*.step.*"])
                await publisher.wait_drained()
        config = (await js.stream_info(STREAM)).config
        assert config.subjects == ["magellon.elsewhere.*", "magellon.job.*.step.*"]
        await connection.close()
    assert outbox.marked == {0}
