"""Sessions of which most movies fail at a stage: people are told once, and once more when that is over."""

from collections.abc import Sequence

from daemon.domain.identity import stable_id
from daemon.domain.session import Session
from daemon.domain.states import TaskState
from daemon.messages.envelope import Event
from daemon.messages.events import SessionRef
from daemon.messages.subjects import Subjects
from daemon.sessions.telling import notice
from daemon.store import sessions
from daemon.store.changes import Change
from daemon.store.rows import TaskRow
from daemon.store.store import Store

KIND = "movies_fail"
_FEWEST = 2
"""One movie that fails may be the movie's own fault."""


class FailingSessions:
    """Which stages fail for most movies of which sessions; the notifications of an earlier daemon are remembered."""

    def __init__(self, store: Store, subjects: Subjects) -> None:
        self._store = store
        self._subjects = subjects
        self._is_failing: dict[tuple[str, str], bool] = {}

    async def look(self, session: Session, owed: Sequence[TaskRow], at_s: float) -> tuple[list[Change], list[Event]]:
        """Return what is to be told after an image was settled; `owed` are its tasks as they stand in the store."""
        changes: list[Change] = []
        told: list[Event] = []
        ended = [task for task in owed if task.state in {TaskState.FAILED, TaskState.COMPLETED}]
        counts = {job_id: self._store.count_tasks(job_id) for job_id in {task.job_id for task in ended}}
        for task in ended:
            states = counts[task.job_id].get((task.job_id, task.stage), {})
            failed, completed = states.get(TaskState.FAILED, 0), states.get(TaskState.COMPLETED, 0)
            is_failing = failed >= _FEWEST and failed > completed
            if is_failing == await self._was_failing(session, task.stage):
                continue
            self._is_failing[session.session_id, task.stage] = is_failing
            change, event = notice(
                self._subjects,
                SessionRef(session.session_id, session.name),
                kind=KIND,
                message=_words(session, task, failed, completed) if is_failing else _over(session, task.stage),
                hint=task.hint if is_failing else "",
                severity="warning" if is_failing else "info",
                at_s=at_s,
                fact=task.stage,
            )
            changes.append(change)
            told.append(event)
        return changes, told

    def forget(self, session: Session) -> None:
        """What was to be told was not committed: the store says what people know."""
        for key in [key for key in self._is_failing if key[0] == session.session_id]:
            del self._is_failing[key]

    async def _was_failing(self, session: Session, stage: str) -> bool:
        """Whether people were told so, by this daemon or by one before it."""
        key = session.session_id, stage
        if key not in self._is_failing:
            known = await sessions.notification(self._store, stable_id(KIND, session.session_id, stage))
            self._is_failing[key] = known is not None and known.severity == "warning"
        return self._is_failing[key]


def _words(session: Session, task: TaskRow, failed: int, completed: int) -> str:
    what = f"{failed} of {failed + completed} movies" if completed else f"all {failed} movies"
    return f"{task.stage} failed for {what} of {session.name} so far; the latest: {task.reason}"


def _over(session: Session, stage: str) -> str:
    return f"{stage} succeeds again for most movies of {session.name}."
