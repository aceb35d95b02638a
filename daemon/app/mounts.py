"""The daemon's side of the mount proof: its own nonce in the home, and what it sees of others' and of the roots."""

import functools
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
import anyio.to_thread
import structlog

from daemon.config.schema import Settings
from daemon.errors import CommandRefused, ElcanoError, FileNotWritten
from daemon.messages import commands
from daemon.sessions.mount_check import DaemonSight, DaemonView
from daemon.sessions.mount_proof import PATIENCE_S, MountProof, Nonce, await_nonce, look_at_root, nonce_path, read_nonce

log = structlog.get_logger(__name__)

_AT_ONCE = 2


class Mounts:
    """Writes this daemon's nonce, and answers `mount.proof` and `mount.prove`."""

    def __init__(self, settings: Settings, *, patience_s: float = PATIENCE_S) -> None:
        """`patience_s` is how long another node's nonce is looked for."""
        self._patience_s = patience_s
        self._home = settings.paths.home
        self._roots = settings.watched_roots
        host = socket.gethostname()
        self._proof = MountProof(self._home, f"{host}-{settings.bus.instance}", host, settings.output.group)
        self._nonce: Nonce | None = None
        self._host = host
        # Threads of their own: on a mount that hangs they never return, and others must go on.
        self._threads = anyio.CapacityLimiter(_AT_ONCE)

    def handlers(self) -> Mapping[str, Callable[[Any, str], Awaitable[Any]]]:
        """Return both answers."""
        return {"mount.proof": self._show_proof, "mount.prove": self._look_for}

    async def prove(self) -> None:
        """Write the nonce and read it back at the start; a home that cannot be written now is told, not fatal.

        Raises MountMismatch, FileUnreadable: whatever were written there would be lost.
        """
        try:
            await self._run(self._renew)
        except FileNotWritten as error:
            log.error("home not proven", reason=str(error))  # noqa: TRY400 - the sentence says it all

    async def _show_proof(self, _: commands.NoArguments, asked_by: str) -> DaemonView:
        """Tell our nonce, written anew where it is no longer there, and what the watched roots look like."""
        del asked_by
        trouble = ""
        try:
            await self._run(self._keep)
        except ElcanoError as error:
            self._nonce, trouble = None, str(error)
        roots = [await self._run(functools.partial(look_at_root, root)) for root in self._roots]
        return DaemonView(host=self._host, home=str(self._home), proof=self._nonce, trouble=trouble, roots=roots)

    async def _look_for(self, query: commands.MountProve, asked_by: str) -> DaemonSight:
        """Look for another node's nonce."""
        del asked_by
        path = nonce_path(self._home, query.file)
        instead = await self._run(functools.partial(await_nonce, path, query.nonce, patience_s=self._patience_s))
        return DaemonSight(seen=instead is None, path=str(path), found=instead or "")

    def _keep(self) -> None:
        if self._nonce is None or read_nonce(nonce_path(self._home, self._nonce.file)) != self._nonce.nonce:
            self._renew()

    def _renew(self) -> None:
        self._nonce = self._proof.renew(time.time())

    async def _run(self, work: Callable[[], Any]) -> Any:
        if self._threads.available_tokens <= 0 and self._threads.statistics().tasks_waiting >= _AT_ONCE:
            raise CommandRefused(f"Too many mount proofs at once, or {self._home} hangs.", hint="Check the mount.")
        return await anyio.to_thread.run_sync(work, limiter=self._threads, abandon_on_cancel=True)
