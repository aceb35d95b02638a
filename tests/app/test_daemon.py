"""A whole daemon in this process, with its own NATS server, under a service manager that only listens."""

import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.abc import TaskGroup

from benchmarks.rig.facility import Facility
from daemon.app.daemon import Daemon
from daemon.app.parameters import stage_parameters
from daemon.app.pulse import Pulse
from daemon.app.reload import live_keys
from daemon.app.service import Service
from daemon.app.service_manager import ServiceManager
from daemon.bus.client import BusClient
from daemon.bus.settings import BusSettings
from daemon.cli.doctor import _begin, _check_mounts
from daemon.config.changes import changes_live
from daemon.config.loader import load_settings, settings_model
from daemon.config.problems import model_of
from daemon.engine.compute import ComputeThread
from daemon.engine.scheduler import SchedulerStatistics
from daemon.messages.commands import Reply
from daemon.store import sessions
from tests.app.listener import Listener

pytestmark = pytest.mark.anyio

LIMIT_S = 180.0
"""After which something hangs, also on a machine with much else to do: a whole daemon starts and ends."""


@pytest.fixture
def facility(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Facility:
    monkeypatch.setenv("HOME", str(tmp_path))
    return Facility.build(tmp_path)


@pytest.fixture
def build(facility: Facility) -> Iterator[Callable[[], Daemon]]:
    """Build the daemon of the facility, once, and close it in the end."""
    umask, level = os.umask(0o022), logging.getLogger().level
    made: list[Daemon] = []

    def make() -> Daemon:
        made.append(Daemon(load_settings(facility.config, stage_parameters(), os.environ)))
        return made[-1]

    yield make
    for daemon in made:
        daemon.close()
    os.umask(umask)
    logging.getLogger().setLevel(level)


@pytest.fixture
def daemon(build: Callable[[], Daemon]) -> Daemon:
    return build()


@asynccontextmanager
async def served(daemon: Daemon, listener: Listener) -> AsyncIterator[None]:
    """Run the daemon for the block, and end it by a signal."""
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            group.start_soon(Service(daemon, ServiceManager(listener.address, 60.0)).run)
            yield
            os.kill(os.getpid(), signal.SIGTERM)
        await anyio.to_thread.run_sync(listener.hear_until, "STOPPING")


async def ask(daemon: Daemon, name: str, arguments: dict[str, Any]) -> Reply:
    """Ask as a command line does."""
    async with BusClient(BusSettings.of(daemon.settings.state, daemon.settings.bus)) as client:
        return await client.request(name, arguments)


async def test_what_waits_is_worked_on_before_any_session_is_watched_again(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = anyio.Event()
    open_reception = daemon.reception.open

    async def work() -> None:
        works.set()
        await anyio.sleep_forever()

    async def open_late(group: TaskGroup) -> None:
        await works.wait()
        await open_reception(group)

    monkeypatch.setattr(daemon.engine.scheduler, "run", work)
    monkeypatch.setattr(daemon.reception, "open", open_late)
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            group.start_soon(daemon.run)
            await daemon.wait_serving()
            group.cancel_scope.cancel()


async def test_nothing_is_taken_up_before_it_is_proven_that_it_can_be_computed(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    may_prove, works = anyio.Event(), anyio.Event()

    async def prove(_: object) -> None:
        await may_prove.wait()
        order.append("proven")

    async def work() -> None:
        order.append("work")
        works.set()
        await anyio.sleep_forever()

    monkeypatch.setattr(daemon.engine, "prove_compute", prove)
    monkeypatch.setattr(daemon.engine.scheduler, "run", work)
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            group.start_soon(daemon.run)
            await daemon._serving.wait()  # everything else goes on meanwhile
            assert order == []
            may_prove.set()
            await works.wait()
            group.cancel_scope.cancel()
    assert order == ["proven", "work"]


async def test_ready_means_that_it_answers_and_reload_changes_what_can_change(
    facility: Facility, daemon: Daemon, tmp_path: Path
) -> None:
    late = tmp_path / "late session"
    late.mkdir()
    with Listener.at(tmp_path) as listener:
        async with served(daemon, listener):
            said = await anyio.to_thread.run_sync(listener.hear_until, "READY")
            assert said[-1]["STATUS"] == "0 movies done, 0 waiting"
            assert any("WATCHDOG" in part for part in said)
            assert daemon.bus.status().connected
            findings = await anyio.to_thread.run_sync(lambda: list(_check_mounts(_begin(daemon.settings))))
            assert [(finding.what, finding.status) for finding in findings] == [("mount", "ok")] * 3
            for mark, kind in (("", "refused"), ("0" * 64, "mount_mismatch")):
                reply = await ask(daemon, "session.import", {"directory": str(facility.gpfs / "none"), "mark": mark})
                assert reply.error is not None
                assert reply.error.kind == kind

            facility.configure(
                {
                    "lifecycle": {"idle_close_s": 61},
                    "log": {"level": "error"},
                    "compute": {"threads": 3},
                    "limits": {"disk_reserve_gib": 1},
                    "store": {"snapshot_interval_s": 7},
                    "gates": {"ctf_resolution_ang": 7},
                    "stages": {"thumbnail": {"height_px": 256}},
                    "session": [{"directory": str(late)}],
                }
            )
            os.kill(os.getpid(), signal.SIGHUP)
            await anyio.to_thread.run_sync(listener.hear_until, "RELOADING")
            await anyio.to_thread.run_sync(listener.hear_until, "READY")
            assert (daemon.housekeeping.idle_close_s, daemon.housekeeping.snapshot_interval_s) == (61, 7)
            assert daemon.engine.room._reserve_bytes == 2**30
            assert logging.getLogger().level == logging.ERROR
            assert daemon.engine.gatekeeper.limits("any session")["ctf_resolution_ang"] == 7
            thumbnail = daemon.engine.parameters.settings_for("any session", []).parameters["thumbnail"]
            assert thumbnail.model_dump()["height_px"] == 256
            while not await sessions.sessions(daemon.store):
                await anyio.lowlevel.checkpoint()

            facility.config.write_text("[watch]\npolls = 3\n", encoding="utf-8")
            os.kill(os.getpid(), signal.SIGHUP)
            await anyio.to_thread.run_sync(listener.hear_until, "READY")
            told = {known.kind: known for known in await sessions.notifications(daemon.store)}
            assert "compute.threads: 1 -> 3" in told["configuration_reloaded"].message
            assert "watch.polls: unknown key" in told["configuration_refused"].message
            assert daemon.housekeeping.idle_close_s == 61


async def test_every_key_that_changes_live_has_something_that_changes(daemon: Daemon) -> None:
    model = settings_model(stage_parameters())
    marked = {
        f"{section}.{key}"
        for section, field in model.model_fields.items()
        if section not in {"stages", "session"} and (inner := model_of(field.annotation))
        for key, info in inner.model_fields.items()
        if changes_live(section, key, info)
    }
    assert marked == live_keys(daemon.engine, daemon.housekeeping).keys()


async def test_a_daemon_whose_compute_thread_has_ended_is_dead(daemon: Daemon) -> None:
    assert daemon.dead_part() is None
    thread: ComputeThread = daemon.engine.compute
    thread.close()
    assert daemon.dead_part() == "the compute thread"


async def test_a_daemon_whose_work_stands_still_is_dead_unless_it_has_told_why(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0
    monkeypatch.setattr(daemon, "_pulse", Pulse(daemon._work_in_hand, clock_s=lambda: now_s))
    held = SchedulerStatistics(waiting=5, delayed=0, in_flight=3, visited=7, next_retry_at_s=None)
    monkeypatch.setattr(daemon.engine.scheduler, "statistics", lambda: held)
    assert daemon.dead_part() is None
    now_s += 24 * 3600
    assert daemon.dead_part() == "all work in hand"
    await daemon.engine.troubles.begin("disk_full", "The disk is full.", "Make room.")
    assert daemon.dead_part() is None
    await daemon.engine.troubles.end("disk_full", "There is room.")
    assert daemon.dead_part() is None
    now_s += 24 * 3600
    held = replace(held, in_flight=0)
    assert daemon.dead_part() is None


async def test_without_nats_it_is_ready_as_well_and_says_so(
    facility: Facility, build: Callable[[], Daemon], tmp_path: Path
) -> None:
    facility.configure({"bus": {"url": "nats://127.0.0.1:1"}})
    daemon = build()
    with Listener.at(tmp_path) as listener:
        async with served(daemon, listener):
            said = await anyio.to_thread.run_sync(listener.hear_until, "READY")
            assert said[-1]["STATUS"].startswith("0 movies done, 0 waiting; without NATS (NATS at nats://127.0.0.1:1")
