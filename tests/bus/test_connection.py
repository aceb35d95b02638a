import dataclasses
import logging
import os
import shutil
import signal
import socket
import struct
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from daemon.bus.connection import Connection, Target, subscribed
from daemon.bus.roles import Role
from daemon.bus.settings import BusSettings
from daemon.errors import BusUnavailable
from tests.bus.fakes import running_link, running_server, settle, site_server


@pytest.mark.anyio
async def test_a_wrong_password_is_one_clear_sentence(settings: BusSettings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with running_server(settings) as server:
        caplog.clear()
        wrong = dataclasses.replace(server.target(Role.VIEWER), password="guess")
        with pytest.raises(BusUnavailable) as caught:
            await Connection.open(wrong, name="test")
        assert str(caught.value) == (
            f"NATS at {wrong.url} does not accept user 'viewer'. Check [bus] credentials in config.toml."
        )
        assert caplog.records == []
        with pytest.raises(BusUnavailable, match="does not accept these credentials"):
            await Connection.open(Target(wrong.url), name="test")


@pytest.mark.anyio
async def test_nobody_there_is_one_clear_sentence_and_keeps_the_password_secret() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(BusUnavailable) as caught:
        await Connection.open(Target(f"nats://user:geheim@127.0.0.1:{port}"), name="test")
    assert str(caught.value) == (
        f"NATS at nats://127.0.0.1:{port} cannot be reached: nothing listens there. "
        "Check [bus] url, and that the server runs."
    )


@pytest.mark.anyio
async def test_a_refusal_that_was_lost_with_the_connection_is_asked_for_again() -> None:
    async def refuse(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.send(b'INFO {"server_id":"test","max_payload":1024,"auth_required":true}\r\n')
            if b'"verbose": true' in await stream.receive():
                await stream.send(b"-ERR 'Authorization Violation'\r\n")
            else:  # a reset takes with it what the other side had not read yet
                stream.extra(anyio.abc.SocketAttribute.raw_socket).setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )

    async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0) as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, refuse)
            with pytest.raises(BusUnavailable, match="does not accept user 'ann'"):
                await Connection.open(Target(f"nats://127.0.0.1:{port}", user="ann", password="x"), name="test")
            tasks.cancel_scope.cancel()


@pytest.mark.anyio
@pytest.mark.parametrize("url", ["nats://host:port", "http://host", "nats://", "", "wss://u:geheim@host"])
async def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(BusUnavailable, match="is not the address of a NATS server") as caught:
        await Connection.open(Target(url), name="test")
    assert "geheim" not in str(caught.value)


@pytest.mark.anyio
async def test_a_server_that_speaks_another_protocol_is_refused() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0) as listener:

        async def answer(stream: anyio.abc.SocketStream) -> None:
            async with stream:
                await stream.send(b"220 mail ready\r\n")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, answer)
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            with pytest.raises(BusUnavailable, match="cannot be reached: empty response"):
                await Connection.open(Target(f"127.0.0.1:{port}"), name="test")
            tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_the_link_asks_anew_where_the_server_is(settings: BusSettings, tmp_path: Path) -> None:
    """The daemon was restarted elsewhere: other port, other passwords."""
    elsewhere = dataclasses.replace(settings, state_directory=tmp_path / "elsewhere")
    async with running_server(elsewhere) as second, running_server(settings) as first:
        targets = [first.target()]
        async with running_link(lambda: targets[-1]) as link:
            targets.append(second.target())
            assert first.pid is not None
            os.kill(first.pid, signal.SIGKILL)
            with anyio.fail_after(60):
                while link.connections_made < 2:
                    await link.wait_change()
            connection = await link.wait_connected()
            assert connection.target == second.target()


@pytest.mark.anyio
async def test_a_subscription_ends_with_its_connection_and_is_not_a_cancellation(settings: BusSettings) -> None:
    async with running_server(settings) as server:
        connection = await Connection.open(server.target(), name="test")
        async with subscribed(connection, "some.thing") as messages:
            await connection.client.publish("some.thing", b"1")
            with anyio.fail_after(60):
                assert (await messages.receive()).data == b"1"
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            with anyio.fail_after(60):
                assert [message.data async for message in messages] == []
        assert connection.lost.is_set()
        await connection.close()


@pytest.mark.anyio
async def test_a_service_that_meets_trouble_is_started_again(
    settings: BusSettings, caplog: pytest.LogCaptureFixture
) -> None:
    runs = []

    async def fragile(connection: Connection) -> None:
        runs.append(connection)
        if len(runs) < 3:
            await connection.client.jetstream().stream_info("NOT_THERE")

    async with running_server(settings) as server, running_link(server.target, fragile):
        with anyio.fail_after(60):
            while len(runs) < 3:
                await anyio.lowlevel.checkpoint()
    assert len(set(map(id, runs))) == 1
    assert caplog.text.count("stream not found") == 1


@pytest.mark.anyio
async def test_a_defect_in_a_service_is_not_hidden(settings: BusSettings) -> None:
    async def broken(_: Connection) -> None:
        raise ZeroDivisionError

    async with running_server(settings) as server:
        with pytest.raises(ExceptionGroup) as caught:
            async with running_link(server.target, broken):
                await anyio.sleep_forever()
    assert caught.group_contains(ZeroDivisionError)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("text", "words"),
    [("password = 1234", "neither a NATS credentials file nor an nkey seed"), (None, "cannot be read: No such file")],
)
async def test_unusable_credentials_are_named(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "credentials"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BusUnavailable, match=f"{path} .*{words}"):
        await Connection.open(Target("nats://127.0.0.1:1", credentials=path), name="test")


@pytest.mark.anyio
async def test_a_site_server_is_entered_with_an_nkey_seed(tmp_path: Path) -> None:
    seed = tmp_path / "elcano.nk"
    seed.write_text("SUAAOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBZ5FE\n")
    user = {"nkey": "UDVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCYSJF"}
    with site_server(tmp_path, {"authorization": {"users": [user]}}) as url:
        connection = await Connection.open(Target(url, credentials=seed), name="test")
        await settle(connection)
        await connection.close()
        seed.write_text("SUAAOBYHA4DQ")
        with pytest.raises(BusUnavailable, match=rf"nkey seed in {seed} is not valid"):
            await Connection.open(Target(url, credentials=seed), name="test")


@pytest.mark.anyio
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl, which makes the test's certificate, is absent")
async def test_a_site_server_is_reached_over_tls(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    extension = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    await anyio.run_process([*command.split(), *extension])
    with site_server(tmp_path, {"tls": {"cert_file": str(certificate), "key_file": str(key)}}) as url:
        connection = await Connection.open(Target(url, tls_ca=certificate), name="test")
        await settle(connection)
        await connection.close()
        with pytest.raises(BusUnavailable, match="do not agree on TLS: CERTIFICATE_VERIFY_FAILED"):
            await Connection.open(Target(url), name="test")


@pytest.mark.anyio
async def test_unusable_tls_files_are_named(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    with pytest.raises(BusUnavailable, match=r"TLS files .*ca\.pem.* cannot be used: No such file"):
        await Connection.open(Target("tls://127.0.0.1:1", tls_ca=ca), name="test")
    ca.write_text("no certificate")
    with pytest.raises(BusUnavailable, match=r"TLS files .*ca\.pem"):
        await Connection.open(Target("tls://127.0.0.1:1", tls_ca=ca), name="test")
