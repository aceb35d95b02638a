"""Directories that could not be imported, and why: each for as long as it is there."""

from collections.abc import Collection
from pathlib import Path

import structlog

from daemon.app.directories import Directories

log = structlog.get_logger(__name__)


class Refusals(dict[Path, str]):
    """Reasons by directory."""

    def __init__(self) -> None:
        super().__init__()
        self._is_looking = False

    async def drop_gone(self, directories: Directories, expected: Collection[Path]) -> None:
        """Forget directories that are gone, as where one was moved back; `expected` ones stay told all the same."""
        if self._is_looking:
            return
        self._is_looking = True
        try:
            for directory in sorted(self.keys() - set(expected)):
                if await directories.is_archived(directory):
                    self.pop(directory, None)
                    log.info("could not be imported, and is gone", directory=str(directory))
        finally:
            self._is_looking = False
