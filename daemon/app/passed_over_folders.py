"""Folders under the watched roots that hold movies and belong to no session, each told of once in the log."""

from collections.abc import Collection, Sequence
from pathlib import Path

import structlog

from daemon.app.directories import Directories
from daemon.watchers.passed_over import outside_sessions

log = structlog.get_logger(__name__)


class PassedOverFolders:
    """What was told of, and where it really is."""

    def __init__(self, directories: Directories) -> None:
        """`directories` says where folders really are."""
        self._directories = directories
        self._real: dict[Path, Path] = {}

    async def tell(self, folders: Sequence[Path], sessions: Collection[Path]) -> None:
        """Say which folders hold movies that nobody processes, and how they would be."""
        self._real |= await self._directories.real_paths(folders)
        for folder in self.outside(folders, sessions):
            log.warning(
                "movies are passed over: their folder has no session.json",
                folder=str(folder),
                hint=f"elcano import {folder}, or a [[session]] entry, or a session.json in it takes it up",
            )

    def outside(self, folders: Sequence[Path], sessions: Collection[Path]) -> list[Path]:
        """Return the folders that are none of these sessions' raw directories, nor in one."""
        return outside_sessions({folder: self._real.get(folder, folder) for folder in folders}, tuple(sessions))
