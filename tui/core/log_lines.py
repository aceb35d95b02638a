"""Lines of the daemon's log as a terminal knows them, and those of them that a filter shows."""

from collections import deque
from collections.abc import Sequence
from itertools import islice

from daemon.messages.news import LogEntry, LogsAnswer
from tui.core.selection import Filter

_MOST = 20_000
LEVELS = ("debug", "info", "warning", "error")
"""From the least serious on."""
GAP = "gap"
"""In place of a level: here lines are missing, and this one says why."""


class LogLines:
    """Lines by a number of their own, which they keep when the oldest are forgotten.

    Filled from answers to `logs`, each of which continues the one before: nothing comes twice. What is missing
    between two answers is said by a line in its place.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._lines: deque[LogEntry] = deque()
        self.begin = 0
        """Number of the oldest line."""
        self.run = ""
        self.last = 0
        """Where to go on, in the daemon's own count."""

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def end(self) -> int:
        """One behind the number of the newest line."""
        return self.begin + len(self._lines)

    def take(self, answer: LogsAnswer) -> bool:
        """Take an answer; whether it brought anything."""
        before = self.end
        is_other_run = answer.run != self.run
        if is_other_run and self.run:
            self._put(_gap("The daemon was started again; what it said last before that is in its own log."))
        expected = 1 if is_other_run else self.last + 1
        came = answer.lines[0].seq if answer.lines else answer.last + 1
        if came > expected and (self.run or came > answer.first):
            self._put(_gap(f"{came - expected} lines are left out here; they are in the daemon's own log."))
        for line in answer.lines:
            if line.seq >= expected:
                self._put(line)
        self.run, self.last = answer.run, answer.last
        return self.end > before

    def line(self, number: int) -> LogEntry:
        """Return a line that is still known."""
        return self._lines[number - self.begin]

    def since(self, number: int) -> Sequence[tuple[int, LogEntry]]:
        """Return the lines from a number on, each with its own."""
        first = max(number, self.begin)
        return list(enumerate(islice(self._lines, first - self.begin, None), first))

    def _put(self, line: LogEntry) -> None:
        self._lines.append(line)
        if len(self._lines) > self._most:
            self._lines.popleft()
            self.begin += 1


class LogView:
    """The numbers of the lines that are shown; it reads on, and looks at each line once."""

    def __init__(self, lines: LogLines) -> None:
        self._lines = lines
        self._filter = Filter()
        self._least = 0
        self._shown: list[int] = []
        self._seen = 0

    def choose(self, chosen: Filter, least_level: str) -> None:
        """Show what passes this filter and is at least so serious."""
        least = LEVELS.index(least_level)
        if (chosen, least) != (self._filter, self._least):
            self._filter, self._least = chosen, least
            self._shown, self._seen = [], 0

    def numbers(self) -> Sequence[int]:
        """Return the numbers of the lines to show, oldest first."""
        begin = self._lines.begin
        if self._shown and self._shown[0] < begin:
            self._shown = [number for number in self._shown if number >= begin]
        self._shown += [number for number, line in self._lines.since(self._seen) if self._shows(line)]
        self._seen = self._lines.end
        return self._shown

    def _shows(self, line: LogEntry) -> bool:
        if line.level == GAP:
            return True
        if LEVELS.index(line.level) < self._least:
            return False
        if not all(_holds(line, *condition) for condition in self._filter.conditions):
            return False
        if not self._filter.words:
            return True
        about = (line.message, line.session, line.stage, line.image, line.source, *line.facts.values())
        return self._filter.matches_text("\n".join(about))


def _holds(line: LogEntry, key: str, wanted: str, negated: bool) -> bool:
    """Whether a condition such as `stage:ctf` or `-level:info` holds; an unknown key is looked for among the facts."""
    known = {
        "level": line.level,
        "session": line.session,
        "stage": line.stage,
        "image": line.image,
        "from": line.source,
    }
    value = known.get(key) if key in known else line.facts.get(key, "")
    return (wanted in (value or "").lower()) is not negated


def _gap(words: str) -> LogEntry:
    return LogEntry(
        seq=0, at_s=0.0, level=GAP, message=words, source="", session="", stage="", image="", task_id="", facts={}
    )
