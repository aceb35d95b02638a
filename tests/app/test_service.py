"""A service and its manager, in one process: only the daemon inside is a stand-in."""

import os
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from daemon.app.service import Service
from daemon.app.service_manager import ServiceManager
from tests.app.listener import Listener

pytestmark = pytest.mark.anyio

WATCHDOG_S = 0.06
STOPPING = {"STOPPING": "1", "STATUS": "stopping"}


class StandIn:
    """A daemon that serves when told, and is as well as told."""

    def __init__(self) -> None:
        self.serving = anyio.Event()
        self.done = anyio.Event()
        self.reloads: list[str] = []
        self.may_reload = anyio.Event()
        self.may_reload.set()
        self.dead: str | None = None
        self.line = "0 movies done, 0 waiting"

    async def run(self) -> None:
        await self.done.wait()

    async def wait_serving(self) -> None:
        await self.serving.wait()

    async def reload(self, asked_by: str) -> None:
        await self.may_reload.wait()
        self.reloads.append(asked_by)

    def summary(self) -> str:
        return self.line

    def dead_part(self) -> str | None:
        return self.dead


@asynccontextmanager
async def serving(daemon: StandIn, listener: Listener, watchdog_s: float | None = None) -> AsyncIterator[anyio.Event]:
    """Run the service for the block; gives an event that is set when it has ended."""
    ended = anyio.Event()

    async def run() -> None:
        await Service(daemon, ServiceManager(listener.address, watchdog_s), status_every_s=0.01).run()
        ended.set()

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        with anyio.fail_after(60):
            yield ended
        group.cancel_scope.cancel()


async def heard(listener: Listener, key: str) -> list[dict[str, str]]:
    return await anyio.to_thread.run_sync(listener.hear_until, key)


async def test_ready_is_said_when_the_daemon_serves_and_not_before(tmp_path: Path) -> None:
    daemon = StandIn()
    with Listener.at(tmp_path) as listener:
        async with serving(daemon, listener, WATCHDOG_S):
            before = [await heard(listener, "WATCHDOG"), await heard(listener, "WATCHDOG")]
            assert all("READY" not in said for part in before for said in part)
            daemon.serving.set()
            assert (await heard(listener, "READY"))[-1]["STATUS"] == daemon.line


async def test_the_status_follows_what_happens(tmp_path: Path) -> None:
    daemon = StandIn()
    daemon.serving.set()
    with Listener.at(tmp_path) as listener:
        async with serving(daemon, listener):
            await heard(listener, "READY")
            daemon.line = "1 movies done, 2 waiting"
            assert await heard(listener, "STATUS") == [{"STATUS": daemon.line}]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_and_says_so(tmp_path: Path, number: signal.Signals) -> None:
    daemon = StandIn()
    daemon.serving.set()
    with Listener.at(tmp_path) as listener:
        async with serving(daemon, listener) as ended:
            await heard(listener, "READY")
            os.kill(os.getpid(), number)
            assert await heard(listener, "STOPPING") == [STOPPING]
            await ended.wait()
    assert not daemon.done.is_set(), "it was ended, it did not end"


async def test_a_daemon_that_is_done_ends_the_service(tmp_path: Path) -> None:
    daemon = StandIn()
    daemon.serving.set()
    with Listener.at(tmp_path) as listener:
        async with serving(daemon, listener) as ended:
            await heard(listener, "READY")
            daemon.done.set()
            await ended.wait()
            assert await heard(listener, "STOPPING") == [STOPPING]


async def test_hangup_reloads_and_is_ready_again(tmp_path: Path) -> None:
    daemon = StandIn()
    daemon.serving.set()
    with Listener.at(tmp_path) as listener:
        async with serving(daemon, listener) as ended:
            await heard(listener, "READY")
            daemon.may_reload = anyio.Event()
            os.kill(os.getpid(), signal.SIGHUP)
            assert "MONOTONIC_USEC" in (await heard(listener, "RELOADING"))[-1]
            assert daemon.reloads == []
            daemon.may_reload.set()
            await heard(listener, "READY")
            assert daemon.reloads == ["SIGHUP"]
            assert not ended.is_set()


async def test_a_reload_that_hangs_does_not_keep_the_daemon_from_ending(tmp_path: Path) -> None:
    daemon = StandIn()
    daemon.serving.set()
    daemon.may_reload = anyio.Event()
    with Listener.at(tmp_path) as listener:
        async with serving(daemon, listener) as ended:
            await heard(listener, "READY")
            os.kill(os.getpid(), signal.SIGHUP)
            assert list((await heard(listener, "RELOADING"))[-1]) == ["RELOADING", "MONOTONIC_USEC"]
            os.kill(os.getpid(), signal.SIGTERM)
            assert await heard(listener, "STOPPING") == [STOPPING], "it is not ready again before it ends"
            await ended.wait()
    assert daemon.reloads == []


async def test_a_stuck_loop_gives_no_sign_of_life(tmp_path: Path) -> None:
    daemon = StandIn()
    with Listener.at(tmp_path) as listener:
        async with serving(daemon, listener, WATCHDOG_S):
            await heard(listener, "WATCHDOG")
            heard_meanwhile: list[dict[str, str] | None] = []
            over = threading.Event()
            ear = threading.Thread(
                target=lambda: heard_meanwhile.append(listener.listen_for_silence(5 * WATCHDOG_S, over))
            )
            ear.start()
            over.wait()  # on the loop's own thread: nothing of it turns
            ear.join()
            assert heard_meanwhile == [None]
            await heard(listener, "WATCHDOG")


async def test_a_daemon_with_a_dead_part_gives_no_sign_of_life(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    daemon = StandIn()
    with Listener.at(tmp_path) as listener:
        async with serving(daemon, listener, WATCHDOG_S):
            await heard(listener, "WATCHDOG")
            daemon.dead = "the compute thread"
            silence = await anyio.to_thread.run_sync(listener.listen_for_silence, 5 * WATCHDOG_S, threading.Event())
            assert silence is None
    assert (capsys.readouterr().out + caplog.text).count("the compute thread") == 1
