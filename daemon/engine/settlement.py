"""What follows for an image from how its tasks ended: what can never run is skipped, the movie gets its last state."""

from collections.abc import Mapping, Sequence

import anyio.to_thread
import structlog

from daemon.domain.states import MovieState, TaskState
from daemon.engine.attempts import CRASHES, UPSTREAM
from daemon.engine.gatekeeper import GATE
from daemon.engine.machinery import Machinery
from daemon.engine.recorder import Recorder
from daemon.engine.work import ImageWork
from daemon.errors import FileUnreadable, FormatError, FormatUnsupported, IllegalMove, MovieIncomplete, MovieUnreadable
from daemon.messages import events
from daemon.messages.envelope import Event
from daemon.messages.events import SessionRef
from daemon.pipeline.gate import Verdict
from daemon.pipeline.graph import StageGraph
from daemon.sessions.given_up import tell_quarantined
from daemon.sessions.outdated import CAUSE, is_made_with, reopen, tasks_to_reopen
from daemon.sessions.present_place import follow_record
from daemon.sessions.records import read_record
from daemon.store import ledger, sessions
from daemon.store import tasks as tasks_table
from daemon.store.changes import Change, EndTask, MoveMovie
from daemon.store.rows import TaskRow

log = structlog.get_logger(__name__)

QUARANTINING = CRASHES | {error.kind for error in (FormatError, FormatUnsupported, MovieIncomplete, MovieUnreadable)}
"""Failures that are the movie's own: it is set aside, with the reason, rather than failed."""

_MADE = (TaskState.COMPLETED, TaskState.FAILED)
_STOPPED = frozenset({TaskState.FAILED, TaskState.SKIPPED, TaskState.CANCELLED})


async def settle_image(shared: Machinery, work: ImageWork) -> float | None:
    """Skip what can never run now, end the movie when nothing of it is open, and return when the next retry is due.

    What was made with an acquisition that was corrected meanwhile is put back first, to be made again at once.
    """
    recorder, session_id = shared.recorder, work.session.session_id
    async with recorder.deciding:
        if await _put_back_outdated(recorder, work):
            return recorder.now_s()
        owed = await tasks_table.tasks(recorder.store, movie_id=work.movie.movie_id)
        tasks = {task.stage: task for task in owed}
        states = {stage: task.state for stage, task in tasks.items()}
        verdict, news = await shared.gatekeeper.judge_stored(session_id, work.image.image_id, states)
        changes, told = await _end_for_good(recorder, work, tasks, states, verdict)
        if news is not None:
            changes.append(news)
        failing, warned = await recorder.failing.look(work.session, owed, recorder.now_s())
        changes.extend(failing)
        told.extend(warned)
        if states and all(state.is_terminal for state in states.values()):
            failed = [task for task in owed if states[task.stage] is TaskState.FAILED]
            more, event = _end_movie(recorder, work, failed, states)
            changes.extend(more)
            told.extend(event)
        if changes and not await _commit(recorder, work, changes, told):
            recorder.failing.forget(work.session)
            return None
    if any(isinstance(change, MoveMovie) and change.state is MovieState.QUARANTINED for change in changes):
        recorder.on_set_aside(session_id, work.movie.identity.path)
    # What is paused comes back when the pause ends, not before.
    waits = [
        task
        for task in owed
        if states[task.stage] is TaskState.PENDING and not shared.pauses.holds(task.stage, session_id)
    ]
    if verdict.passes and any(_was_kept_by_gate(recorder, task, states) for task in waits):
        return recorder.now_s()
    return min((task.next_attempt_at_s for task in waits if task.next_attempt_at_s is not None), default=None)


def _was_kept_by_gate(recorder: Recorder, task: TaskRow, states: Mapping[str, TaskState]) -> bool:
    """Whether a task could run, but had its turn before the numbers that it is judged by were there."""
    ups = recorder.graph.upstream(task.stage)
    is_ready = task.next_attempt_at_s is None and all(states.get(up) in {None, TaskState.COMPLETED} for up in ups)
    return is_ready and recorder.graph[task.stage].gated


async def _put_back_outdated(recorder: Recorder, work: ImageWork) -> bool:
    """Put back what used another acquisition than the image has now, or what is made of something that waits again.

    False when there is nothing of that kind. The acquisition may have been corrected during the visit, or before the
    daemon died in an earlier one; tasks that ended otherwise have been put back by the import that corrected it.
    """
    image = await sessions.image(recorder.store, work.image.image_id)
    if image is None:
        return False
    suspects = work.stages_in(*_MADE)
    if image.acquisition != work.image.acquisition:
        suspects |= work.pending.keys()
    owed = await tasks_table.tasks(recorder.store, movie_id=work.movie.movie_id)
    made = [task.stage for task in owed if task.state in _MADE and task.stage in suspects]
    known = [recorder.graph[stage] for stage in made if stage in recorder.graph.names]
    # As it is now: its files may have been moved since the visit began.
    row = await sessions.session(recorder.store, work.session.session_id) if known else None
    session = work.session if row is None else row.session

    def find() -> list[str]:
        found = []
        for stage in known:
            try:
                record = read_record(work.session.home, stage.name, work.image.name)
            except FileUnreadable as error:
                log.warning(
                    "the note of what was made of this movie cannot be read",
                    stage=stage.name,
                    image=work.image.name,
                    reason=str(error),
                )
                continue
            if record is None:
                continue
            if not is_made_with(stage, follow_record(record.acquisition, session), image.acquisition):
                found.append(stage.name)
        return found

    outdated = await anyio.to_thread.run_sync(find) if known else []
    remade = _made_of_what_waits(recorder.graph, owed)
    chosen = tasks_to_reopen(recorder.graph, owed, {*outdated, *remade})
    if not chosen:
        return False
    log.info("results are outdated", image=work.image.name, again=[task.stage for task in chosen])
    why = "the acquisition changed while it was processed" if outdated else "what it is made of is made again"
    changes = reopen([work.movie], [task.task_id for task in chosen], why, cause=CAUSE if outdated else UPSTREAM)
    return await _commit(recorder, work, changes, [])


def _made_of_what_waits(graph: StageGraph, owed: Sequence[TaskRow]) -> list[str]:
    """Return the stages that have ended on an input which was put back since: the visit had begun them before."""
    waits = {task.stage for task in owed if task.state is TaskState.PENDING}
    made = {task.stage for task in owed if task.state in _MADE}
    return [stage for stage in graph.names if stage in made and waits & set(graph.upstream(stage))]


async def _end_for_good(
    recorder: Recorder, work: ImageWork, tasks: Mapping[str, TaskRow], states: dict[str, TaskState], verdict: Verdict
) -> tuple[list[Change], list[Event]]:
    """Skip pending tasks whose stage is switched off or whose input will not come; `states` follows."""
    changes: list[Change] = []
    told: list[Event] = []
    now_s = recorder.now_s()
    switched_off = [stage for stage in tasks if stage not in recorder.graph.names]
    for stage in (*switched_off, *recorder.graph.names):
        if states.get(stage) is not TaskState.PENDING:
            continue
        task = tasks[stage]
        why = _find_obstacle(recorder.graph, stage, states, verdict)
        if why is None:
            continue
        reason, kind = why
        states[stage] = TaskState.SKIPPED
        if task.from_scratch:
            changes.append(await recorder.take_back(work, task))
        changes.append(EndTask(task.task_id, TaskState.SKIPPED, reason=reason, kind=kind, cause=kind, ended_at_s=now_s))
        ref = recorder.task_ref(work, task, task.attempts)
        told.append(events.step_skipped(recorder.subjects, ref, reason=reason, at_s=now_s))
    return changes, told


def _find_obstacle(
    graph: StageGraph, stage: str, states: Mapping[str, TaskState], verdict: Verdict
) -> tuple[str, str] | None:
    """Return why a pending task can never run, in words and as a kind; None when it can."""
    if stage not in graph.names:
        return "the stage is switched off in the configuration", "switched_off"
    if graph[stage].gated and verdict.passes is False:
        return verdict.reason, GATE
    stopped = [up for up in graph.upstream(stage) if states.get(up) in _STOPPED]
    if not stopped:
        return None
    if verdict.passes is False and all(graph[up].gated and states[up] is TaskState.SKIPPED for up in stopped):
        return verdict.reason, GATE
    return f"{stopped[0]} did not succeed", UPSTREAM


def _end_movie(
    recorder: Recorder, work: ImageWork, failed: Sequence[TaskRow], states: Mapping[str, TaskState]
) -> tuple[list[Change], list[Event]]:
    movie, now_s = work.movie, recorder.now_s()
    if not failed:
        cancelled = sum(state is TaskState.CANCELLED for state in states.values())
        reason = "nothing is left to do" + (f", {cancelled} task(s) cancelled" if cancelled else "")
        return [MoveMovie(movie.movie_id, MovieState.DONE, reason, cause="visited", at_s=now_s)], []
    first = failed[0]
    if first.error_kind not in QUARANTINING:
        reason = f"{first.stage} failed: {first.reason}"
        return [MoveMovie(movie.movie_id, MovieState.FAILED, reason, cause="visited", at_s=now_s)], []
    session = SessionRef(work.session.session_id, work.session.name)
    told = movie.movie_id, movie.identity.path
    notification, event = tell_quarantined(recorder.subjects, session, told, first.reason, at_s=now_s, hint=first.hint)
    moved = MoveMovie(movie.movie_id, MovieState.QUARANTINED, first.reason, cause="could not be read", at_s=now_s)
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
