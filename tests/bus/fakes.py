"""An outbox in memory, and a bus that runs for as long as a context lasts."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.lowlevel

from daemon.bus.connection import Connection, Target
from daemon.bus.embedded import EmbeddedServer, find_server_binary
from daemon.bus.heartbeat import Beat
from daemon.bus.link import Link
from daemon.bus.publisher import OutboxPublisher
from daemon.bus.responder import Handler, Responder
from daemon.bus.roles import Role
from daemon.bus.settings import BusSettings
from daemon.messages.envelope import Event, utc
from daemon.messages.event_data import NodeHeartbeat
from daemon.messages.events import TaskRef, step_started
from daemon.messages.subjects import Subjects

SUBJECTS = Subjects()


def step_event(number: int, *, job: str = "j-1", subjects: Subjects = SUBJECTS) -> Event:
    task = TaskRef(job, f"t-{number}", f"i-{number}", f"image_{number}", "ctf", 1)
    return step_started(subjects, task, at_s=1_700_000_000.0 + number)


@dataclass(frozen=True)
class Row:
    seq: int
    event_id: str
    subject: str
    body: bytes


@dataclass
class MemoryOutbox:
    """Keeps rows as the store does; counts how often it is read."""

    rows: list[Row] = field(default_factory=list)
    marked: set[int] = field(default_factory=set)

    def add(self, event: Event) -> Row:
        row = Row(len(self.rows), event.id, event.subject, event.body())
        self.rows.append(row)
        return row

    async def unpublished(self, limit: int) -> Sequence[Row]:
        return [row for row in self.rows if row.seq not in self.marked][:limit]

    async def mark_published(self, seqs: Sequence[int]) -> None:
        assert not self.marked & set(seqs), "marked twice"
        self.marked |= set(seqs)


async def node_beat() -> Beat:
    node = NodeHeartbeat(
        ts=utc(1_700_000_000.0),
        host="host",
        instance="main",
        pid=os.getpid(),
        version="0",
        uptime_s=0.0,
        cpu_percent=None,
        memory_used_bytes=0,
        devices=[],
        queues={},
    )
    return Beat(node=node, stages=())


@contextlib.asynccontextmanager
async def running_server(settings: BusSettings) -> AsyncIterator[EmbeddedServer]:
    server = EmbeddedServer(settings)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.run)
        await server.started.wait()
        yield server
        tasks.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def running_link(
    find_target: Callable[[], Target], *services: Callable[[Connection], object], wait: bool = True
) -> AsyncIterator[Link]:
    link = Link(find_target, name="test", longest_wait_s=0.2)
    for service in services:
        link.add(service)  # type: ignore[arg-type]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(link.run)
        if wait:
            await link.wait_connected()
        yield link
        tasks.cancel_scope.cancel()


def publisher_of(outbox: MemoryOutbox) -> OutboxPublisher:
    return OutboxPublisher(outbox, SUBJECTS, max_store_bytes=64 * 2**20, acknowledge_timeout_s=0.5)


async def settle(connection: Connection) -> None:
    """Return when the server has acted on everything sent so far, and we have its complaints.

    A flush of nats-py writes its PING ahead of what waits in the buffer: only the second one comes behind.
    """
    await anyio.lowlevel.checkpoint()
    await connection.client.flush()
    await connection.client.flush()


@contextlib.asynccontextmanager
async def answering(settings: BusSettings, handlers: Mapping[str, Handler]) -> AsyncIterator[EmbeddedServer]:
    """A server with a daemon behind it that answers."""
    responder = Responder(settings.subjects, handlers)
    ready = anyio.Event()

    async def told(connection: Connection) -> None:
        await settle(connection)
        ready.set()

    async with running_server(settings) as server, running_link(server.target, responder.serve, told):
        await ready.wait()
        yield server


async def stream_ids(server: EmbeddedServer, stream: str) -> list[str]:
    """Ids of everything in a stream, in the stream's order, repeats included."""
    connection = await Connection.open(server.target(Role.DAEMON), name="reader")
    try:
        js = connection.client.jetstream()
        state = (await js.stream_info(stream)).state
        ids = []
        for sequence in range(state.first_seq, state.last_seq + 1):
            message = await js.get_msg(stream, sequence)
            assert message.headers is not None
            ids.append(message.headers["Nats-Msg-Id"])
        return ids
    finally:
        await connection.close()


def settings_in(directory: Path) -> BusSettings:
    return BusSettings(directory / "state", max_store_bytes=64 * 2**20)


@contextlib.contextmanager
def site_server(directory: Path, configuration: Mapping[str, object]) -> Iterator[str]:
    """A server that is not ours, on a random port of the loopback interface."""
    path = directory / "site.json"
    whole = {"host": "127.0.0.1", "port": -1, "ports_file_dir": str(directory), "log_file": str(directory / "site.log")}
    path.write_text(json.dumps({**whole, **configuration}))
    with subprocess.Popen([str(find_server_binary(None)), "-c", str(path)]) as server:
        try:
            ports = directory / f"nats-server_{server.pid}.ports"
            deadline_s = time.monotonic() + 60
            while not (ports.exists() and ports.read_text().strip().endswith("}")):
                assert server.poll() is None, (directory / "site.log").read_text()
                assert time.monotonic() < deadline_s
            yield str(json.loads(ports.read_text())["nats"][0])
        finally:
            server.terminate()
