"""Hints from outside: anyone who may publish names a path that may be worth a look."""

import logging
from collections.abc import Callable
from pathlib import Path

from daemon.bus.connection import Connection, subscribed
from daemon.messages.subjects import Subjects

logger = logging.getLogger(__name__)

_LONGEST_BYTES = 4096


class Hints:
    """Passes on absolute paths published on `elcano.<instance>.hint.path`; a hint is never more than a hint."""

    def __init__(self, subjects: Subjects, take: Callable[[Path], None]) -> None:
        self._subjects = subjects
        self._take = take

    async def serve(self, connection: Connection) -> None:
        """Listen over this connection until it is lost."""
        async with subscribed(connection, self._subjects.path_hint) as hints:
            async for hint in hints:
                text = hint.data[:_LONGEST_BYTES].decode(errors="replace").strip()
                if "\0" in text or not Path(text).is_absolute():
                    logger.warning("a hint that is no absolute path was left aside: %.100r", text)
                    continue
                self._take(Path(text))
