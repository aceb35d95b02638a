"""What `elcano doctor` finds, and how it looks: nowhere for longer than a limit.

A thread that hangs in a file system cannot be killed. Each look is therefore made on a thread of its own, which is
left behind when it does not come back: the doctor is asked precisely when something hangs.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from daemon.config.schema import Settings

LOOK_LIMIT_S = 5.0
"""For one folder: a file server under load answers within this."""
SEARCH_LIMIT_S = 60.0
"""For a walk through many folders."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at: how it is, what was found, what to do unless it is ok."""

    what: str
    status: Literal["ok", "warn", "fail"]
    found: str
    hint: str = ""


@dataclass(frozen=True)
class Inspection:
    """What every check may look at; `daemon` is the status that a running daemon gave."""

    settings: "Settings"
    daemon: dict[str, Any] | None
    daemon_problem: Finding | None
    unanswered: set[Path] = field(default_factory=set)
    """Folders that have not answered: nobody looks there a second time."""


Check = Callable[[Inspection], Iterable[Finding]]


class Look:
    """One look at one place, begun at once."""

    def __init__(self, what: str, place: Path, look: Callable[[], Iterable[Finding]]) -> None:
        """`look` returns or raises; nobody waits for it for ever."""
        self.what = what
        self.place = place
        self._look = look
        self._found: Sequence[Finding] = ()
        self._error: BaseException | None = None
        self._answered = threading.Event()
        threading.Thread(target=self._run, name="elcano-doctor", daemon=True).start()

    def _run(self) -> None:
        try:
            self._found = tuple(self._look())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked
            self._error = error
        finally:
            self._answered.set()

    def findings(self, limit_s: float) -> Sequence[Finding] | None:
        """Return what was found, None where nothing has come back within the limit. Raises what the look raised."""
        if not self._answered.wait(max(0.0, limit_s)):
            return None
        if self._error is not None:
            raise self._error
        return self._found


def look_patiently(inspection: Inspection, looks: Iterable[Look], *, limit_s: float) -> Iterator[Finding]:
    """Yield the findings of looks that are under way, in their order; all of them together have the limit."""
    until_s = time.monotonic() + limit_s
    for look in tuple(looks):
        found = look.findings(until_s - time.monotonic())
        if found is None:
            inspection.unanswered.add(look.place)
            said = f"{look.place} does not answer: nothing has come back within {limit_s:g} s"
            yield Finding(look.what, "fail", said, "Its file system hangs: check the mount, and the file server.")
        else:
            yield from found
