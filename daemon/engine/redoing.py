"""Has work done again that a person asks for: failed tasks as they are, or a stage with what depends on it."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daemon.domain.identity import canonical_json, stable_id
from daemon.domain.movie import LedgerEntry
from daemon.domain.states import MovieState, TaskState
from daemon.engine.attempts import UPSTREAM
from daemon.engine.engine import Engine
from daemon.engine.gatekeeper import GATE
from daemon.engine.lookup import check_stage, find_images, find_session_id
from daemon.errors import CommandRefused, IllegalMove
from daemon.messages import commands
from daemon.pipeline.graph import StageGraph
from daemon.sessions.outdated import reopen
from daemon.store import ledger, sessions, tasks
from daemon.store.changes import Change, MoveMovie, PutBackTask, ReopenJob
from daemon.store.rows import TaskRow
from daemon.store.tasks import OwedTask

_MAY_RETRY = frozenset({TaskState.FAILED, TaskState.CANCELLED, TaskState.SKIPPED})
_MAY_REOPEN = frozenset({MovieState.COMPLETE, MovieState.DONE, MovieState.FAILED, MovieState.QUARANTINED})
"""Of any other movie there is nothing to work on: it is not whole yet, gone, no movie, or replaced by a newer file."""
_MAY_REDO = _MAY_REOPEN - {MovieState.QUARANTINED}
_SKIPPED_FOR_WANT = frozenset({UPSTREAM, f"movie_{MovieState.QUARANTINED}"})
_WILL_BE = frozenset({TaskState.PENDING, TaskState.RUNNING, TaskState.COMPLETED})
_CHUNK = 2000
_MOST_RACES = 5


@dataclass(frozen=True)
class _Redoing:
    """What runs again: tasks by movie, and how many movies are left out for which reason."""

    movies: Sequence[tuple[LedgerEntry, Sequence[OwedTask]]]
    left_out: Mapping[str, int]
    token: str

    def answer(self, *, preview: bool) -> dict[str, Any]:
        """Say how much it is; the same before and after."""
        stages = Counter(task.stage for _, chosen in self.movies for task in chosen)
        return {
            "movies": len(self.movies),
            "tasks": sum(stages.values()),
            "stages": dict(stages),
            "left_out": dict(self.left_out),
            "token": self.token,
            "preview": preview,
        }


class Redoing:
    """Commands that put tasks back."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._graph = engine.graph
        self._store = engine.store
        self._recorder = engine.recorder
        self._scheduler = engine.scheduler

    async def retry(self, command: commands.TaskRetry, asked_by: str) -> dict[str, Any]:
        """Run failed tasks again, and what was skipped because of them."""
        check_stage(self._graph, command.stage)
        reason = f"retried by {asked_by}" + (f": {command.why}" if command.why else "")
        async with self._recorder.deciding:
            chosen = await self._tasks_to_retry(command)
            movies: dict[str, LedgerEntry] = {}
            for task in chosen:
                if task.movie_id is not None and task.movie_id not in movies:
                    movies[task.movie_id] = await self._movie_to_reopen(task.movie_id)
            changes = await self._jobs_to_reopen(chosen, asked_by)
            for movie in movies.values():
                changes.extend(await self._reopen(movie, {task.task_id for task in chosen}, asked_by))
            changes += [PutBackTask(task.task_id, reason, cause="retry", asked_by=asked_by) for task in chosen]
            await self._store.commit(*changes)
        for movie in movies.values():
            self._scheduler.offer(movie.movie_id, movie.last_write_s)
        return {"tasks": len(chosen), "movies": len(movies), "open": await self._count_open(command)}

    async def reprocess(self, command: commands.StageReprocess, asked_by: str) -> dict[str, Any]:
        """Run a stage again for a selection, and what depends on it. Raises CommandRefused, QueryRefused."""
        check_stage(self._graph, command.stage)
        async with self._recorder.deciding:
            redoing = await self._plan(command)
            if command.preview:
                return redoing.answer(preview=True)
            if command.token not in {None, redoing.token}:
                before, now = (token.partition("-")[0] for token in (command.token or "", redoing.token))
                what = f"The preview had {before} micrographs, now it would be {now}."
                if before == now or not before.isdecimal():
                    what = f"What was previewed is not what would run now ({now} micrographs)."
                raise CommandRefused(what, hint="Preview again.")
            await self._apply(command, redoing, asked_by)
        return redoing.answer(preview=False)

    async def _plan(self, command: commands.StageReprocess) -> _Redoing:
        session_id = await find_session_id(self._store, command.session)
        images = await find_images(self._store, session_id, command.images, command.where)
        known = [row.session.session_id for row in await sessions.sessions(self._store)]
        chosen: list[tuple[LedgerEntry, Sequence[OwedTask]]] = []
        left_out: Counter[str] = Counter()
        for one in known if session_id is None else [session_id]:
            self._engine.parameters.check(command.stage, command.values, one)
            owed = await tasks.owed_tasks(self._store, one)
            for movie in await ledger.movies(self._store, one, _MAY_REDO):
                if images is not None and movie.image_id not in images:
                    continue
                found = tasks_to_redo(self._graph, owed.get(movie.movie_id, ()), command.stage)
                if isinstance(found, str):
                    left_out[found] += 1
                else:
                    chosen.append((movie, found))
        ids = sorted(task.task_id for _, found in chosen for task in found)
        mark = stable_id(command.stage, canonical_json(command.values), *ids)[:13]
        return _Redoing(chosen, left_out, f"{len(chosen)}-{mark}")

    async def _apply(self, command: commands.StageReprocess, redoing: _Redoing, asked_by: str) -> None:
        why = f"reprocessed by {asked_by}" + (f": {command.why}" if command.why else "")
        every = [task for _, chosen in redoing.movies for task in chosen]
        await self._store.commit(*await self._jobs_to_reopen(every, asked_by))
        for begin in range(0, len(redoing.movies), _CHUNK):
            chunk = redoing.movies[begin : begin + _CHUNK]
            for movie, _ in chunk:
                self._scheduler.stop(movie.movie_id)  # before: nothing more is to be begun on the old input
            try:
                await self._put_back(command, chunk, why, asked_by)
            finally:
                for movie, _ in chunk:
                    self._scheduler.offer_anew(movie.movie_id, movie.last_write_s)

    async def _put_back(
        self,
        command: commands.StageReprocess,
        chosen: Sequence[tuple[LedgerEntry, Sequence[OwedTask]]],
        why: str,
        asked_by: str,
    ) -> None:
        left = chosen
        for tries_left in reversed(range(_MOST_RACES)):
            parameters = {command.stage: command.values}
            task_ids = [task.task_id for _, redone in left for task in redone]
            movies = [movie for movie, _ in left]
            changes = reopen(movies, task_ids, why, asked_by, cause="reprocess", parameters=parameters)
            try:
                await self._store.commit(*changes)
            except IllegalMove:
                # A file was written again or removed at this very moment: its movie is none of ours any more.
                if not tries_left:
                    raise
                left = await self._still_there(left)
            else:
                return

    async def _still_there(
        self, movies: Sequence[tuple[LedgerEntry, Sequence[OwedTask]]]
    ) -> list[tuple[LedgerEntry, Sequence[OwedTask]]]:
        there = {
            entry.movie_id: entry
            for session_id in {movie.session_id for movie, _ in movies}
            for entry in await ledger.movies(self._store, session_id, _MAY_REDO)
        }
        return [(there[movie.movie_id], chosen) for movie, chosen in movies if movie.movie_id in there]

    async def _jobs_to_reopen(self, chosen: Collection[TaskRow | OwedTask], asked_by: str) -> list[Change]:
        """A job that was cancelled or marked completed is neither once its tasks are wanted again."""
        wanted = {task.job_id for task in chosen}
        return [
            ReopenJob(job.job_id, asked_by)
            for job in await sessions.jobs(self._store)
            if job.job_id in wanted and (job.cancelled_by is not None or job.completed_by is not None)
        ]

    async def _tasks_to_retry(self, command: commands.TaskRetry) -> list[TaskRow]:
        if not command.task_ids:
            session_id = await find_session_id(self._store, command.session)
            failed = await tasks.tasks(
                self._store, session_id=session_id, stage=command.stage, states=(TaskState.FAILED,)
            )
            beyond = {
                movie.movie_id
                for known in {task.session_id for task in failed}
                for movie in await ledger.movies(self._store, known, set(MovieState) - _MAY_REOPEN)
            }
            return [task for task in failed if task.movie_id not in beyond]
        rows = []
        for task_id in dict.fromkeys(command.task_ids):
            row = await tasks.task(self._store, task_id)
            if row is None:
                raise await self._unknown_task(task_id)
            if row.state not in _MAY_RETRY:
                raise CommandRefused(
                    f"Task {task_id} is {row.state}; only failed, cancelled and skipped tasks can be retried."
                )
            if row.error_kind == GATE:
                raise CommandRefused(
                    f"Task {task_id} was skipped by a gate: {row.reason}.", hint="Move the gate: `elcano gates`."
                )
            rows.append(row)
        return rows

    async def _count_open(self, command: commands.TaskRetry) -> int:
        """Count what waits or runs of the session and stage that a command names."""
        jobs = await sessions.jobs(self._store, await find_session_id(self._store, command.session))
        return sum(
            count
            for job in jobs
            for (_, stage), counts in self._store.count_tasks(job.job_id).items()
            for state, count in counts.items()
            if state in {TaskState.PENDING, TaskState.RUNNING} and command.stage in {None, stage}
        )

    async def _unknown_task(self, named: str) -> CommandRefused:
        """Say where ids of tasks are found, or how what was named can be retried as a whole."""
        known = {row.session.name for row in await sessions.sessions(self._store)}
        hint = 'Ids stand in: elcano query "SELECT id, session, name, stage, reason FROM failures".'
        if named in known:
            hint = f"That is a session: use --session {named}."
        elif named in self._graph.names:
            hint = f"That is a stage: use --stage {named}."
        return CommandRefused(f"There is no task {named!r}.", hint=hint)

    async def _movie_to_reopen(self, movie_id: str) -> LedgerEntry:
        movie = await ledger.movie(self._store, movie_id)
        if movie is None or movie.state not in _MAY_REOPEN:
            what = "its movie is unknown" if movie is None else f"{movie.identity.path.name} is {movie.state}"
            raise CommandRefused(f"A task of movie {movie_id} cannot be retried: {what}.")
        return movie

    async def _reopen(self, movie: LedgerEntry, chosen: set[str], asked_by: str) -> list[Change]:
        """Reopen a movie and the tasks of it that were skipped for want of what is now retried."""
        changes: list[Change] = [
            PutBackTask(task.task_id, "its input is made again", cause="retry", asked_by=asked_by)
            for task in await tasks.tasks(self._store, movie_id=movie.movie_id, states=(TaskState.SKIPPED,))
            if task.task_id not in chosen and task.error_kind in _SKIPPED_FOR_WANT
        ]
        if movie.state is not MovieState.COMPLETE:
            changes.insert(
                0, MoveMovie(movie.movie_id, MovieState.COMPLETE, "tasks retried", cause="retry", asked_by=asked_by)
            )
        return changes


def tasks_to_redo(graph: StageGraph, owed: Sequence[OwedTask], stage: str) -> list[OwedTask] | str:
    """Return the tasks of one movie that run again when `stage` does, or in words why it cannot.

    The stage itself in whatever state, and all that depends on it but what a person cancelled. What waits is put back
    too: a visit in hand may be about to begin it, and an older result of it must not be believed.
    """
    by_stage = {task.stage: task for task in owed}
    if stage not in by_stage:
        return f"{stage} is not asked for"
    for up in graph.upstream(stage):
        if up in by_stage and by_stage[up].state not in _WILL_BE:
            return f"{up} did not succeed"
    below = [by_stage[name] for name in graph.downstream(stage) if name in by_stage]
    return [by_stage[stage], *(task for task in below if task.state is not TaskState.CANCELLED)]
