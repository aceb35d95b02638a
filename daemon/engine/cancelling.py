"""Gives up what a person does not want any more: what waits ends at once, what runs is asked to stop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daemon.domain.states import MovieState, TaskState
from daemon.engine.engine import Engine
from daemon.engine.lookup import check_stage, find_images, find_jobs, find_session, find_session_id
from daemon.errors import CommandRefused, IllegalMove
from daemon.messages import commands, events
from daemon.messages.envelope import Event
from daemon.messages.events import JobRef, TaskRef
from daemon.store import ledger, sessions, tasks
from daemon.store.changes import Change, EndTask, MarkJob
from daemon.store.rows import TaskRow

_OPEN = (TaskState.PENDING, TaskState.RUNNING)
_CHUNK = 1000
_MOST_RACES = 20


@dataclass(frozen=True)
class _Order:
    """Who wants tasks ended, and why; also who they are."""

    asked_by: str
    why: str

    @property
    def reason(self) -> str:
        return f"cancelled by {self.asked_by}" + (f": {self.why}" if self.why else "")


class Cancelling:
    """Commands that cancel."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._store = engine.store
        self._recorder = engine.recorder

    async def cancel_tasks(self, command: commands.TaskCancel, asked_by: str) -> dict[str, Any]:
        """Cancel tasks that wait or run."""
        check_stage(self._engine.graph, command.stage)
        order = _Order(asked_by, command.why)
        async with self._recorder.deciding:
            if command.task_ids:
                chosen = [await self._named(task_id) for task_id in dict.fromkeys(command.task_ids)]
            else:
                chosen = await self._matching(command)
            return await self._cancel(chosen, order)

    async def cancel_job(self, command: commands.JobCancel, asked_by: str) -> dict[str, Any]:
        """Cancel all that waits or runs of jobs; a movie that comes later is processed, and its job goes on with it.

        The job is marked last: should the daemon end before, what is left of it goes on and shows as that.
        """
        order = _Order(asked_by, command.why)
        async with self._recorder.deciding:
            jobs = await find_jobs(self._store, command.job)
            chosen = {job.job_id: await tasks.tasks(self._store, job_id=job.job_id, states=_OPEN) for job in jobs}
            if not any(chosen.values()) and any(job.cancelled_by is not None for job in jobs):
                hint = "Movies that come later are processed. `elcano retry --session N --cancelled` takes it up again."
                raise CommandRefused(f"{command.job} is cancelled already.", hint=hint)
            cancelled = await self._cancel([task for owed in chosen.values() for task in owed], order)
            struck = [job for job in jobs if chosen[job.job_id]]
            for job in struck:
                session = await find_session(self._store, job.session_id)
                ref = JobRef(job.job_id, job.session_id, session.name, job.kind)
                at_s = self._recorder.now_s()
                told = events.job_cancelled(self._recorder.subjects, ref, asked_by=asked_by, at_s=at_s)
                mark = MarkJob(job.job_id, cancelled_by=asked_by, reason=command.why, at_s=at_s)
                await self._recorder.commit([mark], [told])
            return {**cancelled, "jobs": len(struck)}

    async def _named(self, task_id: str) -> TaskRow:
        row = await tasks.task(self._store, task_id)
        if row is None:
            hint = "Ids stand in: elcano query \"SELECT task_id, stage, state FROM task WHERE state = 'pending'\"."
            raise CommandRefused(f"There is no task {task_id!r}.", hint=hint)
        if row.state.is_terminal:
            raise CommandRefused(f"Task {task_id} is {row.state}; only what waits or runs can be cancelled.")
        return row

    async def _matching(self, command: commands.TaskCancel) -> list[TaskRow]:
        if command.session is None and command.stage is None and not command.images:
            raise CommandRefused("Nothing is named to be cancelled.", hint="Name tasks, a session, a stage or images.")
        session_id = await find_session_id(self._store, command.session)
        images = await find_images(self._store, session_id, command.images, None)
        found = await tasks.tasks(self._store, session_id=session_id, stage=command.stage, states=_OPEN)
        return [task for task in found if images is None or task.image_id in images]

    async def _cancel(self, chosen: Sequence[TaskRow], order: _Order) -> dict[str, Any]:
        cancelled = 0
        names: dict[str, Mapping[str, str]] = {}
        for session_id in {task.session_id for task in chosen}:
            known = await sessions.images(self._store, session_id)
            names[session_id] = {image.image_id: image.name for image in known}
        for begin in range(0, len(chosen), _CHUNK):
            cancelled += await self._cancel_chunk(chosen[begin : begin + _CHUNK], names, order)
        await self._stop({task.movie_id: task.state for task in chosen if task.movie_id is not None}, chosen)
        return {"tasks": cancelled, "movies": len({task.movie_id for task in chosen})}

    async def _cancel_chunk(
        self, chosen: Sequence[TaskRow], names: Mapping[str, Mapping[str, str]], order: _Order
    ) -> int:
        """Commit the ends; a visit may move some of the tasks meanwhile: then they are read again."""
        wanted = {task.task_id for task in chosen}
        movies = {task.movie_id for task in chosen if task.movie_id is not None}
        left = list(chosen)
        for tries_left in reversed(range(_MOST_RACES)):
            changes: list[Change] = []
            told: list[Event] = []
            for task in left:
                change, event = self._end(task, names[task.session_id].get(task.image_id or "", ""), order)
                changes.append(change)
                told.append(event)
            try:
                await self._recorder.commit(changes, told)
            except IllegalMove:
                if not tries_left:
                    raise
            else:
                return len(left)
            left = [
                task
                for task in await tasks.tasks(self._store, movie_ids=movies, states=_OPEN)
                if task.task_id in wanted
            ]
        return 0

    def _end(self, task: TaskRow, image_name: str, order: _Order) -> tuple[Change, Event]:
        now_s = self._recorder.now_s()
        end = EndTask(
            task.task_id,
            TaskState.CANCELLED,
            attempt=task.attempts if task.state is TaskState.RUNNING else None,
            reason=order.reason,
            kind="cancelled",
            cause="cancel",
            asked_by=order.asked_by,
            ended_at_s=now_s,
        )
        graph = self._engine.graph
        slug = graph[task.stage].slug if task.stage in graph.names else task.stage
        ref = TaskRef(task.job_id, task.task_id, task.image_id or "", image_name, slug, task.attempts)
        told = events.step_cancelled(
            self._recorder.subjects, ref, reason=order.reason, at_s=now_s, asked_by=order.asked_by
        )
        return end, told

    async def _stop(self, movies: Mapping[str, TaskState], chosen: Sequence[TaskRow]) -> None:
        """Ask visits to stop whose running task was cancelled, and let what is left of each movie go on, or end."""
        scheduler = self._engine.scheduler
        running = {task.movie_id for task in chosen if task.state is TaskState.RUNNING}
        for session_id in {task.session_id for task in chosen}:
            for movie in await ledger.movies(self._store, session_id, (MovieState.COMPLETE,)):
                if movie.movie_id in movies:
                    if movie.movie_id in running:
                        scheduler.cancel(movie.movie_id)
                    scheduler.offer(movie.movie_id, movie.last_write_s)
