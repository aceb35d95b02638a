"""What is paused: a stage, a session, a stage of a session, or the whole node; it outlives a restart."""

from collections.abc import Iterable
from dataclasses import dataclass

from daemon.store.rows import ControlRow


@dataclass(frozen=True)
class Pause:
    """One pause; without session and stage it is the node's."""

    session_id: str | None
    stage: str | None
    asked_by: str
    why: str
    since_s: float


class Pauses:
    """The pauses that hold now; everything here runs on the event loop."""

    def __init__(self, controls: Iterable[ControlRow]) -> None:
        """`controls` is what people have set, as the store has it."""
        self._standing: dict[tuple[str | None, str | None], Pause] = {}
        for row in controls:
            if row.kind == "pause":
                self.add(Pause(row.session_id, row.stage, row.asked_by, row.why, row.set_at_s))

    def add(self, pause: Pause) -> None:
        """Let a pause hold."""
        self._standing[pause.session_id, pause.stage] = pause

    def remove(self, session_id: str | None, stage: str | None) -> None:
        """Let a pause end."""
        self._standing.pop((session_id, stage), None)

    def find(self, session_id: str | None, stage: str | None) -> Pause | None:
        """Return the pause of exactly this scope."""
        return self._standing.get((session_id, stage))

    def holds(self, stage: str, session_id: str) -> bool:
        """Whether a stage must not begin on an image of this session."""
        scopes = ((None, None), (None, stage), (session_id, None), (session_id, stage))
        return any(scope in self._standing for scope in scopes)

    @property
    def node(self) -> Pause | None:
        """The pause of the whole node."""
        return self._standing.get((None, None))

    def standing(self) -> list[Pause]:
        """Every pause, the oldest first."""
        return sorted(self._standing.values(), key=lambda pause: pause.since_s)
