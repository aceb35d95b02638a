"""Hints: paths that someone says may be worth a look."""

import logging
from pathlib import Path

import anyio
import pytest

from daemon.bus.connection import Connection
from daemon.bus.hints import Hints
from daemon.bus.roles import Role
from daemon.bus.settings import BusSettings
from tests.bus.fakes import running_link, running_server, settle


@pytest.mark.anyio
async def test_absolute_paths_are_passed_on_and_all_else_is_left_aside(
    settings: BusSettings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    taken: list[Path] = []
    last, ready = anyio.Event(), anyio.Event()

    def take(path: Path) -> None:
        taken.append(path)
        if path.name == "last":
            last.set()

    async def told(connection: Connection) -> None:
        await settle(connection)
        ready.set()

    subject = settings.subjects.path_hint
    hints = Hints(settings.subjects, take)
    async with running_server(settings) as server, running_link(server.target, hints.serve, told):
        await ready.wait()
        sender = await Connection.open(server.target(Role.OPERATOR), name="camera")
        for body in (
            *(b"/gpfs/a/x.mrc\n", b"relative/x.mrc", b"", b"/gpfs/\0x", b"\xff\xfe", "/gpfs/ä b".encode()),
            *(b"/" + b"x" * 10_000, b"/gpfs/last"),
        ):
            await sender.client.publish(subject, body)
        with anyio.fail_after(60):
            await last.wait()
        await sender.close()
    assert taken[:2] == [Path("/gpfs/a/x.mrc"), Path("/gpfs/ä b")]
    assert len(str(taken[2])) == 4096, "the longest path that there is"
    assert taken[3:] == [Path("/gpfs/last")]
    assert caplog.text.count("left aside") == 4
