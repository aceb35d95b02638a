"""What the bus costs: outbox publishing, delivery, requests, a killed server. Beside it nats-py alone, as the ratio.

`python benchmarks/bus_rates.py [EVENTS]`
"""

import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from daemon.bus.client import BusClient
from daemon.bus.connection import Connection
from daemon.bus.embedded import EmbeddedServer
from daemon.bus.link import Link
from daemon.bus.publisher import OutboxPublisher
from daemon.bus.responder import Responder
from daemon.bus.settings import BusSettings
from daemon.messages.commands import NoArguments, SqlQuery
from daemon.messages.envelope import Event
from daemon.messages.events import TaskRef, step_started
from daemon.messages.subjects import ANY, Subjects

SUBJECTS = Subjects()
REQUESTS = 500


@dataclass(frozen=True)
class Row:
    """One event of the outbox."""

    seq: int
    event_id: str
    subject: str
    body: bytes


@dataclass
class ListOutbox:
    """The store's part, without its cost."""

    rows: list[Row] = field(default_factory=list)
    done: int = 0
    half_done: anyio.Event = field(default_factory=anyio.Event)

    def add(self, event: Event) -> None:
        """Append an event."""
        self.rows.append(Row(len(self.rows), event.id, event.subject, event.body()))

    async def unpublished(self, limit: int) -> Sequence[Row]:
        """Return the next rows."""
        return self.rows[self.done : self.done + limit]

    async def mark_published(self, seqs: Sequence[int]) -> None:
        """Move on."""
        self.done = max(seqs) + 1
        if 2 * self.done >= len(self.rows):
            self.half_done.set()


def event(number: int) -> Event:
    """Return the start of one step, as a session makes one per image and stage."""
    return step_started(
        SUBJECTS, TaskRef("j", f"t-{number}", "i", f"image_{number:05d}", "ctf", 1), at_s=1.7e9 + number
    )


async def status(_: NoArguments, _by: str) -> dict[str, int]:
    """Answer something small."""
    return {"jobs": 1}


async def select(query: SqlQuery, _by: str) -> dict[str, object]:
    """Answer a table."""
    return {"columns": ["a", "b"], "rows": [[number, "x" * 100] for number in range(query.limit)]}


async def measure_peer(server: EmbeddedServer, count: int) -> float:
    """Return seconds of nats-py alone: awaited JetStream publishes with ids."""
    connection = await Connection.open(server.target(), name="peer")
    js = connection.client.jetstream()
    await js.add_stream(name="PEER", subjects=["peer.>"])
    bodies = [event(number) for number in range(count)]
    began_s = time.perf_counter()
    for body in bodies:
        await js.publish("peer.events", body.body(), headers={"Nats-Msg-Id": body.id})
    taken_s = time.perf_counter() - began_s
    await connection.close()
    return taken_s


async def measure_outbox(server: EmbeddedServer, count: int, *, kill: bool) -> float:
    """Return seconds until an outbox of `count` is drained, with one kill -9 of the server half-way if asked."""
    outbox = ListOutbox()
    for number in range(count):
        outbox.add(event(number + count * kill))
    publisher = OutboxPublisher(outbox, SUBJECTS)
    link = Link(server.target, name="bench")
    link.add(publisher.serve)
    async with anyio.create_task_group() as tasks:
        began_s = time.perf_counter()
        tasks.start_soon(link.run)
        if kill:
            await outbox.half_done.wait()
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
        await publisher.wait_drained()
        taken_s = time.perf_counter() - began_s
        tasks.cancel_scope.cancel()
    return taken_s


async def measure_delivery(server: EmbeddedServer, bus: BusClient, count: int) -> list[float]:
    """Return seconds from commit (wake) to a follower of the stream, one event at a time."""
    outbox = ListOutbox()
    publisher = OutboxPublisher(outbox, SUBJECTS)
    link = Link(server.target, name="bench")
    link.add(publisher.serve)
    latencies_s: list[float] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(link.run)
        told = bus.events(SUBJECTS.step(ANY, ANY), start="first")
        outbox.add(event(10_000_000))
        publisher.wake()
        began_s = time.perf_counter()
        async for seen in told:
            if seen.id != outbox.rows[-1].event_id:
                continue  # left in the stream by earlier measurements
            latencies_s.append(time.perf_counter() - began_s)
            if len(latencies_s) > count:
                break
            outbox.add(event(10_000_000 + len(outbox.rows)))
            began_s = time.perf_counter()
            publisher.wake()
        tasks.cancel_scope.cancel()
    return latencies_s[1:]


async def measure_requests(server: EmbeddedServer, bus: BusClient) -> tuple[list[float], float]:
    """Return seconds of each small request, and of one answer of 50,000 rows."""
    link = Link(server.target, name="bench")
    link.add(Responder(SUBJECTS, {"status": status, "sql": select}).serve)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(link.run)
        await link.wait_connected()
        await anyio.sleep(0.2)
        latencies_s = []
        for _ in range(REQUESTS):
            began_s = time.perf_counter()
            assert (await bus.request("status")).ok
            latencies_s.append(time.perf_counter() - began_s)
        began_s = time.perf_counter()
        reply = await bus.request("sql", SqlQuery(statement="", limit=50_000))
        table_s = time.perf_counter() - began_s
        assert len(reply.data["rows"]) == 50_000
        tasks.cancel_scope.cancel()
    return latencies_s, table_s


def show(words: str, seconds: list[float]) -> None:
    """Print median and 99th percentile in milliseconds."""
    p99_s = statistics.quantiles(seconds, n=100)[98]
    print(f"{words:58} p50 {statistics.median(seconds) * 1e3:6.2f}   p99 {p99_s * 1e3:6.2f} ms")


async def main(count: int) -> None:
    """Measure everything on one server in a temporary directory."""
    with tempfile.TemporaryDirectory() as directory:
        settings = BusSettings(Path(directory) / "state")
        server = EmbeddedServer(settings)
        async with anyio.create_task_group() as tasks:
            began_s = time.perf_counter()
            tasks.start_soon(server.run)
            await server.started.wait()
            print(f"{'server started and ready':58} {(time.perf_counter() - began_s) * 1e3:.0f} ms")
            peer_s = await measure_peer(server, count)
            print(f"{'nats-py alone, awaited publishes':58} {count / peer_s:8.0f} events/s")
            ours_s = await measure_outbox(server, count, kill=False)
            print(f"{'outbox publisher, in order':58} {count / ours_s:8.0f} events/s   ratio {peer_s / ours_s:.2f}")
            killed_s = await measure_outbox(server, count, kill=True)
            print(f"{'the same with a kill -9 of the server half-way':58} {killed_s - ours_s:8.2f} s more")
            async with BusClient(settings) as bus:
                show("event: commit to a follower of the stream", await measure_delivery(server, bus, 300))
                latencies_s, table_s = await measure_requests(server, bus)
                show("query: small answer", latencies_s)
                print(f"{'query: 50,000 rows, 5.6 MB, in pages':58} {table_s * 1e3:8.0f} ms")
            tasks.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
