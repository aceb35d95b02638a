"""The latest lines of this process's log, kept for those who ask: a terminal that comes late reads what was said."""

import logging
import secrets
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from itertools import islice
from typing import Any

from daemon.domain.names import spell_controls
from daemon.messages.news import LogEntry, LogsAnswer, LogsQuery

_MOST_LINES = 5000
_MOST_CHARACTERS = 4 * 2**20
"""Of all lines together."""
_LONGEST = 20_000
"""Characters of one message or fact that are kept."""
_OWN = frozenset({"event", "level", "logger", "timestamp", "session", "stage", "image", "task", "exc_info"})
_NAMES = ((logging.ERROR, "error"), (logging.WARNING, "warning"), (logging.INFO, "info"))


class LogBook(logging.Handler):
    """Beside whatever else writes the log; bounded by lines and by characters, the oldest go first.

    The lines have what their writers noted as structlog bound it: session, image, stage, task.
    """

    def __init__(self, most_lines: int = _MOST_LINES, most_characters: int = _MOST_CHARACTERS) -> None:
        super().__init__()
        self.run = secrets.token_hex(8)
        self._most_lines = most_lines
        self._most_characters = most_characters
        self._lines: deque[LogEntry] = deque()
        self._sizes: deque[int] = deque()
        self._characters = 0
        self._last = 0

    def open(self) -> None:
        """Keep what is logged from now on."""
        logging.getLogger().addHandler(self)

    def close(self) -> None:
        """Keep nothing more."""
        logging.getLogger().removeHandler(self)
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line; called under the handler's lock, from any thread."""
        noted = record.msg if isinstance(record.msg, Mapping) else {"event": record.getMessage()}
        facts = {str(key): _kept(value) for key, value in noted.items() if key not in _OWN and not key.startswith("_")}
        trouble = _traceback(record.exc_info or noted.get("exc_info"))
        if trouble:
            facts["exception"] = trouble
        self._last += 1
        entry = LogEntry(
            seq=self._last,
            at_s=record.created,
            level=next((name for least, name in _NAMES if record.levelno >= least), "debug"),
            message=_kept(noted.get("event", "")),
            source=record.name,
            session=_kept(noted.get("session", "")),
            stage=_kept(noted.get("stage", "")),
            image=_kept(noted.get("image", "")),
            task_id=_kept(noted.get("task", "")),
            facts=facts,
        )
        self._lines.append(entry)
        self._sizes.append(len(entry.message) + sum(map(len, facts.values())))
        self._characters += self._sizes[-1]
        while len(self._lines) > self._most_lines or self._characters > self._most_characters:
            self._lines.popleft()
            self._characters -= self._sizes.popleft()

    def handlers(self) -> Mapping[str, Callable[[Any, str], Awaitable[Any]]]:
        """Return what answers `logs`."""
        return {"logs": self.answer}

    async def answer(self, query: LogsQuery, asked_by: str) -> LogsAnswer:
        """Return the lines since an earlier answer, the latest of them if there are too many."""
        del asked_by
        after = query.after if query.run == self.run else 0
        self.acquire()
        try:
            last, first = self._last, self._last - len(self._lines) + 1
            since = islice(reversed(self._lines), max(0, last - max(after, first - 1)))
            lines = list(islice((line for line in since if query.task_id in {"", line.task_id}), query.limit))
        finally:
            self.release()
        return LogsAnswer(run=self.run, first=first, last=last, lines=lines[::-1])


def _kept(value: object) -> str:
    """Return what is kept of a text: as any message can carry it, and not endless."""
    text = value if isinstance(value, str) else str(value)
    more = len(text) - _LONGEST
    return spell_controls(text if more <= 0 else f"{text[:_LONGEST]}… (+{more} characters)", keep="\n")


def _traceback(trouble: object) -> str:
    """Return the traceback that a line has, in whichever of the ways of logging it was given."""
    if isinstance(trouble, BaseException):
        return _kept("".join(traceback.format_exception(trouble)))
    if isinstance(trouble, tuple):
        return _kept("".join(traceback.format_exception(*trouble))) if trouble[1] is not None else ""
    return _kept(traceback.format_exc()) if trouble else ""
