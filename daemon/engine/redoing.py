"""Has work done again that a person asks for: failed tasks as they are, or a stage with what depends on it."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from daemon.domain.identity import canonical_json, stable_id
from daemon.domain.movie import LedgerEntry
from daemon.domain.states import LEFT_ALONE, MovieState, TaskState
from daemon.engine.attempts import UPSTREAM
from daemon.engine.engine import Engine
from daemon.engine.gatekeeper import GATE
from daemon.engine.lookup import check_stage, find_images, find_session, find_session_id
from daemon.errors import CommandRefused, IllegalMove
from daemon.messages import commands
from daemon.pipeline.graph import StageGraph
from daemon.sessions.endings import UNJUDGED
from daemon.sessions.outdated import reopen
from daemon.store import ledger, sessions, tasks
from daemon.store.changes import Change, MoveMovie, PutBackTasks, ReopenJob
from daemon.store.rows import TaskRow
from daemon.store.tasks import OwedTask

_MAY_RETRY = frozenset({TaskState.FAILED, TaskState.CANCELLED, TaskState.SKIPPED})
_MAY_REOPEN = frozenset({MovieState.COMPLETE, MovieState.DONE, MovieState.FAILED, MovieState.QUARANTINED})
"""Of any other movie there is nothing to work on: it is not whole yet, or it was left alone."""
_MAY_REDO = _MAY_REOPEN - {MovieState.QUARANTINED}
_MAY_WAIT = frozenset(MovieState) - LEFT_ALONE
"""What tasks of movies in these states are put back for comes about, now or when the movie is whole."""
_SKIPPED_FOR_WANT = frozenset({UPSTREAM, f"movie_{MovieState.QUARANTINED}"})
_WILL_BE = frozenset({TaskState.PENDING, TaskState.RUNNING, TaskState.COMPLETED})
_CHUNK = 2000
_MOST_RACES = 5

_Owing: TypeAlias = tuple[LedgerEntry, Sequence[TaskRow | OwedTask]]
"""A movie with those of its tasks that run again."""


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
        """Run failed tasks again, and if asked for cancelled ones, and what was skipped because of them."""
        check_stage(self._graph, command.stage)
        reason = f"retried by {asked_by}" + (f": {command.why}" if command.why else "")
        async with self._recorder.deciding:
            chosen = await self._tasks_to_retry(command)
            broken = await self._broken_movies(command, {task.movie_id for task in chosen})
            taken, movies = await self._take_up(command, chosen, reason, asked_by)
        looks = [self._recorder.on_look_again(movie.session_id, movie.identity, reason) for movie in broken]
        if command.task_ids and not all(looks):
            raise CommandRefused("Nobody watches the session of a quarantined movie.", hint="Import it: elcano import.")
        left = [] if command.cancelled or command.task_ids else await self._find(command, TaskState.CANCELLED)
        return {
            "tasks": taken,
            "movies": movies,
            "open": await self._count_open(command),
            "cancelled": len(left),
            "looked_at": sum(looks),
        }

    async def _take_up(
        self, command: commands.TaskRetry, chosen: Sequence[TaskRow], reason: str, asked_by: str
    ) -> tuple[int, int]:
        """Put tasks back, in parts between which others record, and offer their movies; return how many of each."""
        movies = await self._movies_to_reopen(command, chosen)
        wanted = frozenset(task.task_id for task in chosen)
        skipped = await tasks.tasks(self._store, movie_ids=movies.keys(), states=(TaskState.SKIPPED,))
        owing: dict[str, list[TaskRow]] = {movie_id: [] for movie_id in movies}
        wanting = [task for task in skipped if task.error_kind in _SKIPPED_FOR_WANT and task.task_id not in wanted]
        for task in (*chosen, *wanting):
            if task.movie_id in owing:
                owing[task.movie_id].append(task)
        every = [(movies[movie_id], owed) for movie_id, owed in owing.items()]
        await self._store.commit(*await self._jobs_to_reopen(chosen, asked_by))
        taken, reopened = 0, 0
        for begin in range(0, len(every), _CHUNK):
            done = await self._put_back(
                every[begin : begin + _CHUNK], lambda left: _retry(left, wanted, reason, asked_by), _MAY_WAIT
            )
            for movie, owed in done:
                taken += sum(task.task_id in wanted for task in owed)
                reopened += 1
                if movie.state not in UNJUDGED:  # else it comes when it is whole
                    self._scheduler.offer(movie.movie_id, movie.last_write_s)
        return taken, reopened

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

        def redo(left: Sequence[_Owing]) -> list[Change]:
            task_ids = [task.task_id for _, redone in left for task in redone]
            parameters = {command.stage: command.values}
            return reopen(
                [movie for movie, _ in left], task_ids, why, asked_by, cause="reprocess", parameters=parameters
            )

        await self._store.commit(*await self._jobs_to_reopen(every, asked_by))
        for begin in range(0, len(redoing.movies), _CHUNK):
            chunk = redoing.movies[begin : begin + _CHUNK]
            for movie, _ in chunk:
                self._scheduler.stop(movie.movie_id)  # before: nothing more is to be begun on the old input
            try:
                await self._put_back(chunk, redo, _MAY_REDO)
            finally:
                for movie, _ in chunk:
                    self._scheduler.offer_anew(movie.movie_id, movie.last_write_s)

    async def _put_back(
        self,
        chosen: Sequence[_Owing],
        changes_of: Callable[[Sequence[_Owing]], Sequence[Change]],
        states: Collection[MovieState],
    ) -> Sequence[_Owing]:
        """Commit what puts tasks back; return those of them whose movies are in one of these states still."""
        left = chosen
        for tries_left in reversed(range(_MOST_RACES)):
            try:
                await self._store.commit(*changes_of(left))
            except IllegalMove:
                # A file was written again or removed at this very moment: its movie is none of ours any more.
                if not tries_left:
                    raise
                now = await ledger.movies_by_id(self._store, [movie.movie_id for movie, _ in left])
                there = {movie.movie_id: movie for movie in now if movie.state in states}
                left = [(there[movie.movie_id], owed) for movie, owed in left if movie.movie_id in there]
            else:
                break
        return left

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
            cancelled = (TaskState.CANCELLED,) if command.cancelled else ()
            return await self._find(command, TaskState.FAILED, *cancelled)
        rows = []
        for task_id in dict.fromkeys(command.task_ids):
            row = await tasks.task(self._store, task_id)
            if row is None and (movie := await ledger.movie(self._store, task_id)) is not None:
                rows += await self._failed_of(movie)
                continue
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

    async def _failed_of(self, movie: LedgerEntry) -> list[TaskRow]:
        """Return what failed of a quarantined movie: nothing where it never became whole."""
        if movie.state is not MovieState.QUARANTINED:
            named = movie.identity.path.name
            raise CommandRefused(f"{named} is {movie.state}; of movies only quarantined ones can be retried.")
        return await tasks.tasks(self._store, movie_id=movie.movie_id, states=(TaskState.FAILED,))

    async def _broken_movies(self, command: commands.TaskRetry, retried: Collection[str | None]) -> list[LedgerEntry]:
        """Return the quarantined movies to judge anew: those named, or all of a session, that have no failed task."""
        if command.task_ids:
            named = [await ledger.movie(self._store, named) for named in dict.fromkeys(command.task_ids)]
            found = [movie for movie in named if movie is not None]
        elif command.session is not None and command.stage is None:
            session = await find_session(self._store, command.session)
            found = await ledger.movies(self._store, session.session_id, (MovieState.QUARANTINED,))
        else:
            return []
        return [movie for movie in found if movie.movie_id not in retried]

    async def _find(self, command: commands.TaskRetry, *states: TaskState) -> list[TaskRow]:
        """Return the tasks of the session and stage named that ended so and can be taken up again."""
        session_id = await find_session_id(self._store, command.session)
        found = await tasks.tasks(self._store, session_id=session_id, stage=command.stage, states=states)
        beyond = {
            (movie.movie_id, state)
            for known in {task.session_id for task in found}
            for movie in await ledger.movies(self._store, known, {*LEFT_ALONE, MovieState.QUARANTINED})
            for state in states
            # Of a quarantined movie without a failed task nobody knows that it is whole: that is looked at anew.
            if movie.state is not MovieState.QUARANTINED or state is not TaskState.FAILED
        }
        return [task for task in found if (task.movie_id, task.state) not in beyond]

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

    async def _movies_to_reopen(self, command: commands.TaskRetry, chosen: Sequence[TaskRow]) -> dict[str, LedgerEntry]:
        """Return the movies of tasks by id. Raises CommandRefused where a task is named whose movie was left alone."""
        wanted = {task.movie_id for task in chosen if task.movie_id is not None}
        movies = {movie.movie_id: movie for movie in await ledger.movies_by_id(self._store, wanted)}
        for movie_id in wanted if command.task_ids else ():
            movie = movies.get(movie_id)
            if movie is None or movie.state in LEFT_ALONE:
                what = "its movie is unknown" if movie is None else f"{movie.identity.path.name} is {movie.state}"
                raise CommandRefused(f"A task of movie {movie_id} cannot be retried: {what}.")
        return {movie_id: movie for movie_id, movie in movies.items() if movie.state in _MAY_WAIT}


def _retry(owing: Sequence[_Owing], wanted: Collection[str], reason: str, asked_by: str) -> list[Change]:
    """Return the changes that put back the tasks wanted, and with them what was skipped for want of their results."""
    movies = [movie for movie, _ in owing if movie.state in _MAY_REOPEN - {MovieState.COMPLETE}]
    task_ids = [task.task_id for _, owed in owing for task in owed]
    asked = tuple(task_id for task_id in task_ids if task_id in wanted)
    with_them = tuple(task_id for task_id in task_ids if task_id not in wanted)
    return [
        # Before their movies are moved: of one that was superseded meanwhile these are refused.
        PutBackTasks(with_them, "its input is made again", asked_by, cause="retry"),
        PutBackTasks(asked, reason, asked_by, cause="retry"),
        *(
            MoveMovie(m.movie_id, MovieState.COMPLETE, "tasks retried", cause="retry", asked_by=asked_by)
            for m in movies
        ),
    ]


def tasks_to_redo(graph: StageGraph, owed: Sequence[OwedTask], stage: str) -> list[OwedTask] | str:
    """Return the tasks of one movie that run again when `stage` does, or in words why it cannot.

    The stage itself and all that depends on it, in whatever state, cancelled too. What waits is put back as well: a
    visit in hand may be about to begin it, and an older result of it must not be believed.
    """
    by_stage = {task.stage: task for task in owed}
    if stage not in by_stage:
        return f"{stage} is not asked for"
    for up in graph.upstream(stage):
        if up in by_stage and by_stage[up].state not in _WILL_BE:
            return f"{up} was cancelled" if by_stage[up].state is TaskState.CANCELLED else f"{up} did not succeed"
    return [by_stage[stage], *(by_stage[name] for name in graph.downstream(stage) if name in by_stage)]
