"""The log of one task: what the daemon's log has of it from before, and what is told as it happens."""

from collections.abc import Sequence
from typing import NamedTuple

from daemon.messages.event_data import LogLine
from daemon.messages.news import LogEntry

_SAME_S = 1.0
"""One line goes both ways, by different clocks' ticks."""


class Said(NamedTuple):
    """One line."""

    at_s: float
    level: str
    message: str


def merge_logs(kept: Sequence[LogEntry], live: Sequence[LogLine]) -> list[Said]:
    """Return every line once, in order of time."""
    said = [Said(entry.at_s, entry.level, _whole(entry)) for entry in kept]
    known: dict[str, list[float]] = {}
    for entry in kept:
        known.setdefault(entry.message, []).append(entry.at_s)
    for line in live:
        at_s = line.ts.timestamp()
        if all(abs(at_s - before_s) > _SAME_S for before_s in known.get(line.message, ())):
            said.append(Said(at_s, line.level, line.message))
    return sorted(said, key=lambda line: line.at_s)


def _whole(entry: LogEntry) -> str:
    """Return a line with the reason that was noted with it."""
    reason = entry.facts.get("reason", "")
    return f"{entry.message}: {reason}" if reason else entry.message
