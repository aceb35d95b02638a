"""One connection to NATS, opened once and lost once. What mends it is daemon.bus.link."""

import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import nkeys  # type: ignore[import-untyped]
from anyio.streams.memory import MemoryObjectReceiveStream
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import InvalidUserCredentialsError

from daemon.errors import BusUnavailable

logger = logging.getLogger(__name__)

NATS_TROUBLE = (NatsError, OSError)
"""What nats-py raises when the server or the way to it fails; TimeoutError is an OSError."""

_CONNECT_TIMEOUT_S = 5
_PING_INTERVAL_S = 20
_CLOSE_TIMEOUT_S = 5.0
_ABANDON_TIMEOUT_S = 0.2
"""After a failed TLS handshake asyncio never reports the end of the connection; there is nothing to wait for."""


@dataclass(frozen=True)
class Target:
    """Where NATS is and how to enter it."""

    url: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    credentials: Path | None = None
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    inbox: str = "_INBOX"
    role: str | None = None

    @property
    def shown(self) -> str:
        """The address without what must stay secret. Raises BusUnavailable when it is none."""
        try:
            parts = urlsplit(self.url if "//" in self.url else f"nats://{self.url}")
            port = f":{parts.port}" if parts.port else ""
        except ValueError:
            parts, port = urlsplit(""), ""
        if parts.scheme not in {"nats", "tls"} or not parts.hostname:
            raise BusUnavailable(
                f"{self.url.rpartition('@')[2]!r} is not the address of a NATS server.",
                hint="[bus] url looks like nats://host:4222 or tls://host:4222.",
            )
        return f"{parts.scheme}://{parts.hostname}{port}"

    def secrets(self) -> dict[str, Any]:
        """Return what nats-py needs to enter. Raises BusUnavailable when a file cannot be used."""
        entry: dict[str, Any] = {}
        if self.user is not None:
            entry |= {"user": self.user, "password": self.password}
        if self.credentials is not None:
            entry |= _credentials(self.credentials)
        if self.tls_ca is not None or self.tls_certificate is not None:
            entry["tls"] = self._tls()
        return entry

    def _tls(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.tls_ca)
            if self.tls_certificate is not None:
                context.load_cert_chain(self.tls_certificate, self.tls_key)
        except OSError as error:  # ssl.SSLError is one
            files = ", ".join(str(path) for path in (self.tls_ca, self.tls_certificate, self.tls_key) if path)
            raise BusUnavailable(
                f"The TLS files for NATS ({files}) cannot be used: {error.strerror or error}.",
                hint="Check the [bus] tls keys in config.toml.",
            ) from error
        return context


class Connection:
    """A live connection; `lost` is set once it is gone, for good."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.client = Client()
        self.lost = anyio.Event()
        self._on_lost: list[Callable[[], None]] = []
        self._on_denied: list[Callable[[str], None]] = []
        self._problem: Exception | None = None

    @classmethod
    async def open(cls, target: Target, *, name: str) -> "Connection":
        """Connect. Raises BusUnavailable with the reason in one sentence."""
        logger.debug("connecting to NATS at %s", target.shown)
        try:
            return await cls._open_once(target, name=name)
        except BusUnavailable as error:
            if not isinstance(error.__cause__, ConnectionResetError | BrokenPipeError):
                raise
        # A server that refuses us closes at once, and its reason is lost where we speak on meanwhile. When asked to
        # answer each line, it is let speak first; but a connection that works should not answer each line.
        heard = await cls._open_once(target, name=name, is_verbose=True)
        await heard.close()
        return await cls._open_once(target, name=name)

    @classmethod
    async def _open_once(cls, target: Target, *, name: str, is_verbose: bool = False) -> "Connection":
        connection = cls(target)
        entry = target.secrets()
        try:
            with anyio.fail_after(2 * _CONNECT_TIMEOUT_S):
                await connection.client.connect(
                    servers=[target.url],
                    name=name,
                    inbox_prefix=target.inbox,
                    verbose=is_verbose,
                    # nats-py's own reconnecting stays off: it would keep an old address and old credentials.
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=_CONNECT_TIMEOUT_S,
                    ping_interval=_PING_INTERVAL_S,
                    error_cb=connection._note_error,
                    closed_cb=connection._note_lost,
                    **entry,
                )
        except NATS_TROUBLE as error:
            await connection.close(patience_s=_ABANDON_TIMEOUT_S)
            reason = connection._problem or error
            raise _explain(reason, target) from reason
        except (nkeys.NkeysError, ValueError) as error:
            await connection.close(patience_s=_ABANDON_TIMEOUT_S)
            raise _explain(error, target) from error
        except BaseException:
            await connection.close(patience_s=_ABANDON_TIMEOUT_S)
            raise
        return connection

    async def close(self, *, patience_s: float = _CLOSE_TIMEOUT_S) -> None:
        """Close; never raises for a server that is gone already."""
        with anyio.move_on_after(patience_s, shield=True):
            try:
                await self.client.close()
            except NATS_TROUBLE as error:
                logger.debug("closing the connection to %s: %s", self.target.shown, error)
        self._tell_lost()

    def on_lost(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back when the connection is gone, at once if it is; returns how to forget the callback."""
        if self.lost.is_set():
            callback()
        else:
            self._on_lost.append(callback)
        return lambda: self._on_lost.remove(callback) if callback in self._on_lost else None

    def on_denied(self, callback: Callable[[str], None]) -> Callable[[], None]:
        """Call back with the server's words when it refuses a subject; returns how to forget the callback."""
        self._on_denied.append(callback)
        return lambda: self._on_denied.remove(callback) if callback in self._on_denied else None

    async def _note_error(self, error: Exception) -> None:
        self._problem = error
        if "permissions violation" in str(error).lower():
            logger.warning("NATS at %s refused: %s", self.target.shown, error)
            for callback in list(self._on_denied):
                callback(str(error))
        else:
            logger.debug("NATS at %s: %r", self.target.shown, error)

    async def _note_lost(self) -> None:
        self._tell_lost()

    def _tell_lost(self) -> None:
        if not self.lost.is_set():
            self.lost.set()
            callbacks, self._on_lost = self._on_lost, []
            for callback in callbacks:
                callback()


@contextlib.asynccontextmanager
async def subscribed(
    connection: Connection, subject: str, *, buffer: int = 1024
) -> AsyncIterator[MemoryObjectReceiveStream[Msg]]:
    """Subscribe for as long as the context lasts; the stream ends when the connection is lost.

    nats-py's own `next_msg` is not used: it raises CancelledError when the connection closes, which
    looks as if the caller had been cancelled.
    """
    send, receive = anyio.create_memory_object_stream[Msg](buffer)

    async def deliver(message: Msg) -> None:
        # The reader is gone, or the connection was lost while a message waited: nobody wants it.
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await send.send(message)

    try:
        subscription = await connection.client.subscribe(subject, cb=deliver)
    except BaseException:  # the connection is lost at this very moment, or nobody wants to listen any more
        send.close()
        receive.close()
        raise
    forget = connection.on_lost(send.close)
    try:
        yield receive
    finally:
        forget()
        send.close()
        receive.close()
        if not connection.client.is_closed:
            with contextlib.suppress(NatsError):  # the connection may close at this very moment
                await subscription.unsubscribe()


def _credentials(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise BusUnavailable(
            f"NATS credentials {path} cannot be read: {error.strerror or error}.",
            hint="Check [bus] credentials in config.toml and the file's permissions.",
        ) from error
    if "BEGIN NATS USER JWT" in text:
        return {"user_credentials": str(path)}
    if text.strip().startswith("SU"):
        seed = text.split()[0]
        try:
            nkeys.from_seed(bytearray(seed.encode())).wipe()
        except (nkeys.NkeysError, ValueError) as error:
            raise BusUnavailable(
                f"The nkey seed in {path} is not valid.", hint="Check [bus] credentials in config.toml."
            ) from error
        return {"nkeys_seed_str": seed}
    raise BusUnavailable(
        f"{path} is neither a NATS credentials file nor an nkey seed.", hint="Check [bus] credentials in config.toml."
    )


def _explain(error: Exception, target: Target) -> BusUnavailable:
    words = str(error).removeprefix("nats: ").removeprefix("nkeys: ").strip("' ") or type(error).__name__
    if isinstance(error, InvalidUserCredentialsError | nkeys.NkeysError):
        return BusUnavailable(
            f"The credentials {target.credentials} cannot be used: {words}.",
            hint="Check [bus] credentials in config.toml.",
        )
    if "authorization" in words.lower() or "authentication" in words.lower():
        who = f"user {target.user!r}" if target.user else "these credentials"
        return BusUnavailable(
            f"NATS at {target.shown} does not accept {who}.", hint="Check [bus] credentials in config.toml."
        )
    if isinstance(error, ssl.SSLError):
        return BusUnavailable(
            f"NATS at {target.shown} and this machine do not agree on TLS: {error.reason or words}.",
            hint="Check the [bus] tls keys in config.toml.",
        )
    if isinstance(error, ConnectionRefusedError):
        words = "nothing listens there"
    elif isinstance(error, ConnectionResetError | BrokenPipeError):
        words = "it closes the connection at once, perhaps for the credentials or TLS"
    elif isinstance(error, TimeoutError):
        words = "it does not answer"
    elif isinstance(error, OSError) and error.strerror:
        words = error.strerror
    return BusUnavailable(
        f"NATS at {target.shown} cannot be reached: {words}.", hint="Check [bus] url, and that the server runs."
    )
