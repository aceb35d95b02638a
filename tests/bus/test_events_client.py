"""Events as a terminal follows them."""

import logging
import os
import signal

import anyio
import msgspec
import pytest

from daemon.bus.client import BusClient
from daemon.bus.connection import Connection
from daemon.bus.connection_file import connection_file_path
from daemon.bus.follow import Delivery, Start, follow
from daemon.bus.heartbeat import Heartbeat
from daemon.bus.roles import Role
from daemon.bus.settings import BusSettings
from daemon.bus.signals import SignalChannel
from daemon.bus.summaries import JobSummaries
from daemon.messages.envelope import Event, utc
from daemon.messages.event_data import JobSummary
from daemon.messages.events import TaskRef, step_progress
from daemon.messages.subjects import ANY
from tests.bus.fakes import (
    SUBJECTS,
    MemoryOutbox,
    node_beat,
    publisher_of,
    running_link,
    running_server,
    settle,
    step_event,
)

ALL_STEPS = SUBJECTS.step(ANY, ANY)
TASK = TaskRef("j-1", "t-1", "i-1", "image", "ctf", 1)


def progress(current: int, task: TaskRef = TASK) -> Event:
    return step_progress(SUBJECTS, task, current=current, total=100, unit="frames", at_s=1.7e9 + current)


async def collect(bus: BusClient, subject: str, count: int, start: Start, into: list[str]) -> None:
    events = bus.events(subject, start=start)
    async for event in events:
        into.append(event.id)
        if len(into) == count:
            break
    await events.aclose()  # type: ignore[attr-defined]


@pytest.mark.anyio
async def test_a_terminal_that_comes_late_reads_all_and_goes_on(settings: BusSettings) -> None:
    outbox = MemoryOutbox()
    publisher = publisher_of(outbox)
    for number in range(50):
        outbox.add(step_event(number))
    seen: list[str] = []
    async with running_server(settings) as server, running_link(server.target, publisher.serve):
        await publisher.wait_drained()
        async with BusClient(settings) as bus, anyio.create_task_group() as tasks:
            tasks.start_soon(collect, bus, ALL_STEPS, 60, "first", seen)
            for number in range(50, 60):
                outbox.add(step_event(number))
            publisher.wake()
    assert seen == [row.event_id for row in outbox.rows]


@pytest.mark.anyio
async def test_a_terminal_misses_and_doubles_nothing_when_the_server_is_killed(settings: BusSettings) -> None:
    outbox = MemoryOutbox()
    publisher = publisher_of(outbox)
    for number in range(300):
        outbox.add(step_event(number))
    seen: list[str] = []

    async def kill_when_seen(numbers: tuple[int, ...]) -> None:
        for number in numbers:
            while len(seen) < number:
                await anyio.lowlevel.checkpoint()
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)

    async with running_server(settings) as server, running_link(server.target, publisher.serve):
        connection_file_path(settings.state_directory, Role.OPERATOR).unlink()  # as a viewer: its rights are enough
        async with BusClient(settings) as bus:
            with anyio.fail_after(60):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(kill_when_seen, (20, 150))
                    tasks.start_soon(collect, bus, ALL_STEPS, 300, "first", seen)
    assert seen == [row.event_id for row in outbox.rows]


@pytest.mark.anyio
async def test_repeats_beyond_the_servers_window_are_dropped_by_id(settings: BusSettings) -> None:
    """The server knows nothing of the first copy: published without its id in the header."""
    outbox = MemoryOutbox()
    publisher = publisher_of(outbox)
    first, second = outbox.add(step_event(1)), outbox.add(step_event(2))
    seen: list[str] = []
    async with running_server(settings) as server, running_link(server.target, publisher.serve):
        await publisher.wait_drained()
        connection = await Connection.open(server.target(), name="repeats")
        js = connection.client.jetstream()
        await js.publish(first.subject, first.body)
        await js.publish(first.subject, b"no event at all")
        last = step_event(3)
        await js.publish(last.subject, last.body())
        await connection.close()
        async with BusClient(settings) as bus:
            with anyio.fail_after(60):
                await collect(bus, ALL_STEPS, 3, "first", seen)
    assert seen == [first.event_id, second.event_id, last.id]


@pytest.mark.anyio
async def test_new_means_from_now_on(settings: BusSettings) -> None:
    outbox = MemoryOutbox()
    publisher = publisher_of(outbox)
    outbox.add(step_event(0))
    seen: list[str] = []
    async with running_server(settings) as server, running_link(server.target, publisher.serve):
        await publisher.wait_drained()
        async with BusClient(settings) as bus, anyio.create_task_group() as tasks:
            tasks.start_soon(collect, bus, ALL_STEPS, 1, "new", seen)
            connection = await Connection.open(server.target(), name="look")
            js = connection.client.jetstream()
            with anyio.fail_after(60):
                while not (await js.stream_info(SUBJECTS.step_stream)).state.consumer_count:
                    await anyio.lowlevel.checkpoint()
            await connection.close()
            outbox.add(step_event(1))
            publisher.wake()
    assert seen == [outbox.rows[1].event_id]


@pytest.mark.anyio
async def test_a_stream_made_anew_is_read_from_its_beginning(settings: BusSettings) -> None:
    async def take(count: int) -> list[Delivery]:
        return [await anext(deliveries) for _ in range(count)]

    async with running_server(settings) as server:
        connection = await Connection.open(server.target(), name="owner")
        js = connection.client.jetstream()
        await js.add_stream(name="S", subjects=["s"])
        for number in range(3):
            await js.publish("s", str(number).encode())
        async with running_link(server.target) as link:
            deliveries = follow(link, "S", "s")
            with anyio.fail_after(60):
                assert [(d.sequence, d.body, d.pending) for d in await take(3)] == [
                    (1, b"0", 2),
                    (2, b"1", 1),
                    (3, b"2", 0),
                ]
                await js.delete_stream("S")
                await js.add_stream(name="S", subjects=["s"])
                await js.publish("s", b"again")
                followed = await link.wait_connected()
                await followed.close()  # the follower has to make its consumer again
                assert [(d.sequence, d.body) for d in await take(1)] == [(1, b"again")]
            await deliveries.aclose()  # type: ignore[attr-defined]
        await connection.close()


@pytest.mark.anyio
@pytest.mark.parametrize("start", ["first", "new"])
async def test_a_follower_waits_for_a_stream_that_is_not_there_yet_and_misses_nothing_of_it(
    settings: BusSettings, caplog: pytest.LogCaptureFixture, start: Start
) -> None:
    caplog.set_level(logging.DEBUG, "daemon.bus.follow")
    outbox = MemoryOutbox()
    outbox.add(step_event(0))
    seen: list[str] = []
    async with running_server(settings) as server, BusClient(settings) as bus, anyio.create_task_group() as tasks:
        tasks.start_soon(collect, bus, ALL_STEPS, 1, start, seen)
        with anyio.fail_after(60):
            while "does not exist yet" not in caplog.text:
                await anyio.lowlevel.checkpoint()
        publisher = publisher_of(outbox)
        async with running_link(server.target, publisher.serve):
            with anyio.fail_after(60):
                while not seen:
                    await anyio.lowlevel.checkpoint()
    assert seen == [outbox.rows[0].event_id]


@pytest.mark.anyio
async def test_the_past_of_what_no_stream_keeps_cannot_be_asked_for(settings: BusSettings) -> None:
    async with running_server(settings), BusClient(settings) as bus:
        with pytest.raises(ValueError, match=r"no stream keeps magellon\.>"):
            await anext(bus.events(SUBJECTS.all_events, start="first"))


async def listen_until(bus: BusClient, subject: str, last: str, into: list[Event], ready: anyio.Event) -> None:
    events = bus.events(subject)

    async def announce() -> None:
        # The iterator has subscribed by the time its first wait lets this task run.
        await settle(await bus.link.wait_connected())
        ready.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(announce)
        while not into or into[-1].id != last:
            into.append(await anext(events))
    await events.aclose()  # type: ignore[attr-defined]


@pytest.mark.anyio
async def test_progress_is_coalesced_log_lines_are_not_and_neither_stays(settings: BusSettings) -> None:
    channel = SignalChannel(interval_s=0.01)
    other = TaskRef("j-1", "t-2", "i-2", "image_2", "ctf", 1)
    seen: list[Event] = []
    ready = anyio.Event()
    async with (
        running_server(settings) as server,
        running_link(server.target, channel.serve),
        BusClient(settings) as bus,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listen_until, bus, SUBJECTS.all_events, progress(9, other).id, seen, ready)
        await ready.wait()
        with anyio.fail_after(60):
            while channel._connected is None:
                await anyio.lowlevel.checkpoint()
        for current in range(101):
            channel.offer(progress(current), key="t-1")
        channel.offer(step_event(7))
        channel.offer(step_event(8))
        channel.offer(progress(5, other), key="t-2")
        channel.offer(progress(9, other), key="t-2")
    assert [event.id for event in seen] == [
        step_event(7).id,
        step_event(8).id,
        progress(100).id,
        progress(9, other).id,
    ]
    assert (channel.counts.sent, channel.counts.coalesced, channel.counts.dropped) == (4, 101, 0)


def test_without_a_connection_signals_are_dropped_and_counted() -> None:
    channel = SignalChannel()
    for current in range(10):
        channel.offer(progress(current), key="t-1")
        channel.offer(step_event(current))
    assert (channel.counts.sent, channel.counts.dropped) == (0, 20)


@pytest.mark.anyio
async def test_a_full_channel_drops_and_forgets_what_came_late(settings: BusSettings) -> None:
    channel = SignalChannel(interval_s=3600.0, capacity=3)
    async with running_server(settings) as server, running_link(server.target, channel.serve):
        with anyio.fail_after(60):
            while channel._connected is None:
                await anyio.lowlevel.checkpoint()
        await anyio.to_thread.run_sync(channel.offer, step_event(0))  # from another thread, as stages do
        with anyio.fail_after(60):
            while channel.counts.sent < 1:
                await anyio.lowlevel.checkpoint()
        for number in range(5):
            channel.offer(step_event(number))
        channel.offer(progress(1), key="t-1")
        channel.forget("t-1")
        channel.forget("t-1")
        assert (channel.counts.sent, channel.counts.dropped) == (1, 3)
    assert channel.counts.dropped == 6, "what waited when the connection closed counts as dropped"


@pytest.mark.anyio
async def test_a_heartbeat_comes_with_the_connection(settings: BusSettings) -> None:
    heartbeat = Heartbeat(SUBJECTS, node_beat, interval_s=0.02)
    async with (
        running_server(settings) as server,
        BusClient(settings) as bus,
        running_link(server.target, heartbeat.serve),
    ):
        with anyio.fail_after(60):
            events = bus.events(SUBJECTS.node_heartbeat("host"))
            seen = await anext(events)
            await events.aclose()  # type: ignore[attr-defined]
    assert seen.envelope.type == "magellon.node.heartbeat"
    assert seen.envelope.data["pid"] == os.getpid()


def summary(job: str, state: str) -> JobSummary:
    return JobSummary(
        job_id=job, session_id="s", session="24dec03a", kind="import", state=state, steps={}, updated_at=utc(1.7e9)
    )


@pytest.mark.anyio
async def test_who_comes_late_gets_one_summary_per_job_then_changes(settings: BusSettings) -> None:
    summaries = JobSummaries(SUBJECTS, max_store_bytes=64 * 2**20, interval_s=0.0)
    summaries.put(summary("j.1", "pending"))
    async with running_server(settings) as server, running_link(server.target, summaries.serve):
        connection_file_path(settings.state_directory, Role.OPERATOR).unlink()
        async with BusClient(settings) as bus:
            with anyio.fail_after(60):
                stream = bus.job_summaries()
                assert await anext(stream) == summary("j.1", "pending")
                for state in ("running", "completed"):
                    summaries.put(summary("j.1", state))
                    assert await anext(stream) == summary("j.1", state)
                summaries.put(summary("j-2", "running"))
                assert await anext(stream) == summary("j-2", "running")
                await stream.aclose()  # type: ignore[attr-defined]
                late = bus.job_summaries()
                assert {(await anext(late)).state, (await anext(late)).state} == {"completed", "running"}
                await late.aclose()  # type: ignore[attr-defined]


@pytest.mark.anyio
async def test_summaries_are_written_again_to_a_server_that_lost_them(settings: BusSettings) -> None:
    summaries = JobSummaries(SUBJECTS, max_store_bytes=64 * 2**20, interval_s=0.0)
    summaries.put(summary("j-1", "running"))
    async with (
        running_server(settings) as server,
        running_link(server.target, summaries.serve) as link,
        BusClient(settings) as bus,
    ):
        with anyio.fail_after(60):
            stream = bus.job_summaries()
            await anext(stream)
            await stream.aclose()  # type: ignore[attr-defined]
            connection = await Connection.open(server.target(), name="vandal")
            await connection.client.jetstream().delete_key_value(SUBJECTS.job_bucket)
            await connection.close()
            mine = await link.wait_connected()
            await mine.close()
            again = bus.job_summaries()
            assert await anext(again) == summary("j-1", "running")
            await again.aclose()  # type: ignore[attr-defined]


@pytest.mark.anyio
async def test_a_steps_progress_expires_from_the_stream(settings: BusSettings) -> None:
    outbox = MemoryOutbox()
    outbox.add(step_event(1))
    publisher = publisher_of(outbox)
    channel = SignalChannel(interval_s=0.0)
    async with running_server(settings) as server, running_link(server.target, publisher.serve, channel.serve) as link:
        with anyio.fail_after(60):
            await publisher.wait_drained()
            while channel._connected is None:
                await anyio.lowlevel.checkpoint()
            channel.offer(progress(1), key="t-1")
            connection = await link.wait_connected()
            js = connection.client.jetstream()
            while (await js.stream_info(SUBJECTS.step_stream)).state.messages < 2:
                await anyio.lowlevel.checkpoint()
            headers = [(await js.get_msg(SUBJECTS.step_stream, number)).headers or {} for number in (1, 2)]
    assert "Nats-TTL" not in headers[0]
    assert headers[1]["Nats-TTL"] == "60s"
    assert msgspec.json.decode(progress(1).body())["type"] == "magellon.step.progress"
