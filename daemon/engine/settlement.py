"""What follows for an image from how its tasks ended: what can never run is skipped, the movie gets its last state."""

from collections.abc import Mapping, Sequence

import structlog

from daemon.domain.identity import stable_id
from daemon.domain.names import readable_path
from daemon.domain.states import MovieState, TaskState
from daemon.engine.attempts import UPSTREAM
from daemon.engine.recorder import Recorder
from daemon.engine.work import ImageWork
from daemon.errors import FormatError, FormatUnsupported, IllegalMove, MovieIncomplete, MovieUnreadable
from daemon.messages import events
from daemon.messages.envelope import Event
from daemon.messages.events import SessionRef
from daemon.store import ledger
from daemon.store import tasks as tasks_table
from daemon.store.changes import Change, EndTask, MoveMovie, PutNotification
from daemon.store.rows import TaskRow

log = structlog.get_logger(__name__)

QUARANTINING = frozenset(
    {"crashed", *(error.kind for error in (FormatError, FormatUnsupported, MovieIncomplete, MovieUnreadable))}
)
"""Failures that are the movie's own: it is set aside, with the reason, rather than failed."""

_STOPPED = frozenset({TaskState.FAILED, TaskState.SKIPPED, TaskState.CANCELLED})


async def settle_image(recorder: Recorder, work: ImageWork) -> float | None:
    """Skip what can never run now, end the movie when nothing of it is open, and return when the next retry is due."""
    async with recorder.deciding:
        owed = await tasks_table.tasks(recorder.store, movie_id=work.movie.movie_id)
        tasks = {task.stage: task for task in owed}
        states = {stage: task.state for stage, task in tasks.items()}
        changes, told = _skip_for_good(recorder, work, tasks, states)
        if states and all(state.is_terminal for state in states.values()):
            failed = [task for task in owed if states[task.stage] is TaskState.FAILED]
            more, event = _end_movie(recorder, work, failed)
            changes.extend(more)
            told.extend(event)
        if changes and not await _commit(recorder, work, changes, told):
            return None
    due_s = [task.next_attempt_at_s for task in owed if states[task.stage] is TaskState.PENDING]
    return min((at_s for at_s in due_s if at_s is not None), default=None)


def _skip_for_good(
    recorder: Recorder, work: ImageWork, tasks: Mapping[str, TaskRow], states: dict[str, TaskState]
) -> tuple[list[Change], list[Event]]:
    """Skip pending tasks of stages that are switched off or whose input will not come; `states` follows."""
    changes: list[Change] = []
    told: list[Event] = []
    now_s = recorder.now_s()
    switched_off = [stage for stage in tasks if stage not in recorder.graph.names]
    for stage in (*switched_off, *recorder.graph.names):
        if states.get(stage) is not TaskState.PENDING:
            continue
        if stage in switched_off:
            reason, kind = "the stage is switched off in the configuration", "switched_off"
        else:
            stopped = [up for up in recorder.graph.upstream(stage) if states.get(up) in _STOPPED]
            if not stopped:
                continue
            reason, kind = f"{stopped[0]} did not succeed", UPSTREAM
        states[stage] = TaskState.SKIPPED
        task = tasks[stage]
        changes.append(EndTask(task.task_id, TaskState.SKIPPED, reason=reason, kind=kind, cause=kind, ended_at_s=now_s))
        ref = recorder.task_ref(work, task, task.attempts)
        told.append(events.step_skipped(recorder.subjects, ref, reason=reason, at_s=now_s))
    return changes, told


def _end_movie(recorder: Recorder, work: ImageWork, failed: Sequence[TaskRow]) -> tuple[list[Change], list[Event]]:
    movie, now_s = work.movie, recorder.now_s()
    if not failed:
        return [MoveMovie(movie.movie_id, MovieState.DONE, "nothing is left to do", cause="visited", at_s=now_s)], []
    first = failed[0]
    if first.error_kind not in QUARANTINING:
        reason = f"{first.stage} failed: {first.reason}"
        return [MoveMovie(movie.movie_id, MovieState.FAILED, reason, cause="visited", at_s=now_s)], []
    session_id = work.session.session_id
    event = events.movie_quarantined(
        recorder.subjects,
        SessionRef(session_id, work.session.name),
        movie_id=movie.movie_id,
        path=readable_path(movie.identity.path),
        reason=first.reason,
        at_s=now_s,
    )
    moved = MoveMovie(movie.movie_id, MovieState.QUARANTINED, first.reason, cause="could not be read", at_s=now_s)
    notification = PutNotification(
        stable_id("quarantined", movie.movie_id),
        "warning",
        "movie_quarantined",
        f"{readable_path(movie.identity.path)}: {first.reason}",
        first.hint,
        session_id=session_id,
        at_s=now_s,
    )
    return [moved, notification], [event]


async def _commit(recorder: Recorder, work: ImageWork, changes: Sequence[Change], told: Sequence[Event]) -> bool:
    """Commit; False when the movie was superseded or withdrawn meanwhile, with all its tasks."""
    try:
        await recorder.commit(changes, told)
    except IllegalMove as error:
        now = await ledger.movie(recorder.store, work.movie.movie_id)
        if now is not None and now.state is MovieState.COMPLETE:
            raise
        log.info("end of an image dropped", image=work.image.name, what=error.message)
        return False
    return True
