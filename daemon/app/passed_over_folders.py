"""Folders under the watched roots that hold movies and belong to no session, each told of once."""

from collections.abc import Collection, Sequence
from pathlib import Path

import structlog

from daemon.app.directories import Directories
from daemon.domain.identity import stable_id
from daemon.domain.names import readable_path
from daemon.store import sessions as session_table
from daemon.store.changes import PutNotification
from daemon.store.store import Store
from daemon.watchers.passed_over import outside_sessions

log = structlog.get_logger(__name__)

_KIND = "movies_passed_over"


class PassedOverFolders:
    """What was told of, and where it really is."""

    def __init__(self, directories: Directories, store: Store) -> None:
        """`directories` says where folders really are, `store` keeps what people were told."""
        self._directories = directories
        self._store = store
        self._real: dict[Path, Path] = {}

    async def tell(self, folders: Sequence[Path], sessions: Collection[Path]) -> None:
        """Say which folders hold movies that nobody processes, and how they would be."""
        self._real |= await self._directories.real_paths(folders)
        for folder in self.outside(folders, sessions):
            hint = f"elcano import {folder}, or a [[session]] entry, or a session.json in it takes it up"
            log.warning("movies are passed over: their folder has no session.json", folder=str(folder), hint=hint)
            told = stable_id(_KIND, str(folder))
            if await session_table.notification(self._store, told) is None:
                message = f"Movies in {readable_path(folder)} are passed over: no session.json lies there."
                await self._store.commit(PutNotification(told, "warning", _KIND, message, f"{hint}."))

    def outside(self, folders: Sequence[Path], sessions: Collection[Path]) -> list[Path]:
        """Return the folders that are none of these sessions' raw directories, nor in one."""
        return outside_sessions({folder: self._real.get(folder, folder) for folder in folders}, tuple(sessions))
