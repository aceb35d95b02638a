"""What the daemon answers to queries, and the commands that need no more than store and scheduler."""

import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

from daemon import __version__
from daemon.domain.movie import LedgerEntry
from daemon.domain.session import Session
from daemon.domain.states import MovieState, SessionState, TaskState
from daemon.engine.attempts import UPSTREAM
from daemon.engine.engine import Engine
from daemon.engine.jobs import view_jobs
from daemon.errors import CommandRefused
from daemon.messages import commands
from daemon.sessions.audit import Selects, audit_session, is_movie_name
from daemon.sessions.lifecycle import closing
from daemon.store import ledger, metrics, sessions, tasks
from daemon.store.changes import Change, MoveMovie, PutBackTask
from daemon.store.rows import SessionRow, TaskRow
from daemon.store.store import Store

Handler = Callable[[Any, str], Awaitable[Any]]

_MAY_RETRY = frozenset({TaskState.FAILED, TaskState.CANCELLED, TaskState.SKIPPED})
_MAY_REOPEN = frozenset({MovieState.COMPLETE, MovieState.DONE, MovieState.FAILED, MovieState.QUARANTINED})
"""Of any other movie there is nothing to work on: it is not whole yet, gone, no movie, or replaced by a newer file."""
_SKIPPED_FOR_WANT = frozenset({UPSTREAM, f"movie_{MovieState.QUARANTINED}"})
_UNSEEN_FOR_S = 30.0
"""Age below which a file that the ledger lacks is no gap while the daemon runs: watching gets to it in time."""


class Answers:
    """Handlers by name, as the responder wants them."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        *,
        bus_status: Callable[[], dict[str, Any]],
        watching: Callable[[], list[dict[str, Any]]],
        running: Callable[[], list[dict[str, Any]]],
        selects: Callable[[Session], Selects] = lambda _: is_movie_name,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        """`selects` gives, for a session, the watcher's own test of what is a movie."""
        self._store = store
        self._graph = engine.graph
        self._scheduler = engine.scheduler
        self._budget = engine.budget
        self._bus_status = bus_status
        self._watching = watching
        self._running = running
        self._selects = selects
        self._clock_s = clock_s
        self._recorder = engine.recorder
        self._folders = tuple(dict.fromkeys(stage.category for stage in engine.graph.stages))
        self._started_s = clock_s()

    def handlers(self) -> Mapping[str, Handler]:
        """Return every handler this class has."""
        return {
            "status": self.status,
            "jobs": self.jobs,
            "tasks": self.tasks,
            "images": self.images,
            "metrics": self.metrics,
            "queues": self.queues,
            "sql": self.sql,
            "audit": self.audit,
            "task.retry": self.retry,
            "session.close": self.close_session,
        }

    async def status(self, _: commands.NoArguments, asked_by: str) -> dict[str, Any]:
        """Everything a person wants to see first."""
        del asked_by
        return {
            "version": __version__,
            "host": socket.gethostname(),
            "uptime_s": self._clock_s() - self._started_s,
            "bus": self._bus_status(),
            "sessions": [await self._session_summary(row) for row in await sessions.sessions(self._store)],
            "jobs": await self.jobs(commands.JobsQuery(), ""),
            "queues": await self.queues(commands.NoArguments(), ""),
            "watching": self._watching(),
            "running": self._running(),
        }

    async def jobs(self, query: commands.JobsQuery, asked_by: str) -> list[dict[str, Any]]:
        """Jobs with their counts by step and state, newest first."""
        del asked_by
        wanted = await self._session_id(query.session) if query.session else None
        return [asdict(view) for view in await view_jobs(self._store, self._graph, wanted)]

    async def tasks(self, query: commands.TasksQuery, asked_by: str) -> list[dict[str, Any]]:
        """Tasks in pipeline order."""
        del asked_by
        rows = await tasks.tasks(
            self._store,
            session_id=await self._session_id(query.session) if query.session else None,
            job_id=query.job_id,
            stage=query.stage,
            states=() if query.state is None else (_task_state(query.state),),
            limit=query.limit,
        )
        return [{**asdict(row), "wire_code": row.state.wire_code} for row in rows]

    async def images(self, query: commands.ImagesQuery, asked_by: str) -> list[dict[str, Any]]:
        """Images of a session with their states and figures."""
        del asked_by
        session_id = await self._session_id(query.session)
        return [dict(row) for row in await metrics.micrographs(self._store, session_id, limit=query.limit)]

    async def metrics(self, query: commands.MetricsQuery, asked_by: str) -> dict[str, Any]:
        """The metric table of one stage."""
        del asked_by
        if query.stage not in self._graph.names:
            raise CommandRefused(f"There is no stage {query.stage!r}.", hint=f"Known: {', '.join(self._graph.names)}.")
        session_id = await self._session_id(query.session) if query.session else None
        return {"rows": await metrics.stage_rows(self._store, query.stage, session_id, limit=query.limit)}

    async def queues(self, _: commands.NoArguments, asked_by: str) -> dict[str, Any]:
        """Depths of everything that can fill up."""
        del asked_by
        return {"scheduler": asdict(self._scheduler.statistics()), "byte_budget": asdict(self._budget.statistics())}

    async def sql(self, query: commands.SqlQuery, asked_by: str) -> dict[str, Any]:
        """One read-only SQL statement."""
        del asked_by
        result = await self._store.user_query(query.statement, limit_rows=query.limit, timeout_s=query.timeout_s)
        return asdict(result)

    async def audit(self, query: commands.AuditQuery, asked_by: str) -> list[dict[str, Any]]:
        """Reconcile disk, ledger and outputs."""
        del asked_by
        wanted = await self._session_id(query.session) if query.session else None
        rows = [row for row in await sessions.sessions(self._store) if wanted in {None, row.session.session_id}]
        reports = [
            await audit_session(
                self._store,
                row.session,
                self._folders,
                selects=self._selects(row.session),
                deep=query.deep,
                unseen_for_s=_UNSEEN_FOR_S,
            )
            for row in rows
        ]
        return [{**asdict(report), "is_clean": report.is_clean} for report in reports]

    async def retry(self, command: commands.TaskRetry, asked_by: str) -> dict[str, Any]:
        """Run failed tasks again, and what was skipped because of them."""
        async with self._recorder.deciding:
            chosen = await self._tasks_to_retry(command)
            movies: dict[str, LedgerEntry] = {}
            for task in chosen:
                if task.movie_id is not None and task.movie_id not in movies:
                    movies[task.movie_id] = await self._movie_to_reopen(task.movie_id)
            changes: list[Change] = []
            for movie in movies.values():
                changes.extend(await self._reopen(movie, {task.task_id for task in chosen}, asked_by))
            changes += [
                PutBackTask(task.task_id, f"retried by {asked_by}", cause="retry", asked_by=asked_by) for task in chosen
            ]
            await self._store.commit(*changes)
        for movie in movies.values():
            self._scheduler.offer(movie.movie_id, movie.last_write_s)
        return {"tasks": len(chosen), "movies": len(movies)}

    async def close_session(self, command: commands.SessionClose, asked_by: str) -> dict[str, Any]:
        """Expect no more movies of a session."""
        session_id = await self._session_id(command.session)
        row = await sessions.session(self._store, session_id)
        assert row is not None
        if row.session.state is SessionState.OPEN:
            reason = command.reason or "closed by command"
            change, event = closing(
                self._recorder.subjects, row.session, reason=reason, at_s=self._clock_s(), asked_by=asked_by
            )
            await self._recorder.commit([change], [event])
        return {"session_id": session_id}

    async def _tasks_to_retry(self, command: commands.TaskRetry) -> list[TaskRow]:
        if command.stage is not None and command.stage not in self._graph.names:
            raise CommandRefused(
                f"There is no stage {command.stage!r}.", hint=f"Known: {', '.join(self._graph.names)}."
            )
        if not command.task_ids:
            session_id = await self._session_id(command.session) if command.session else None
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
                raise CommandRefused(f"There is no task {task_id}.", hint="`elcano query` lists tasks.")
            if row.state not in _MAY_RETRY:
                raise CommandRefused(
                    f"Task {task_id} is {row.state}; only failed, cancelled and skipped tasks can be retried."
                )
            rows.append(row)
        return rows

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

    async def _session_summary(self, row: SessionRow) -> dict[str, Any]:
        latency = await metrics.latency(self._store, row.session.session_id)
        return {
            "session_id": row.session.session_id,
            "name": row.session.name,
            "state": row.session.state,
            "raw_directory": str(row.session.raw_directory),
            "home": str(row.session.home),
            "movies": {str(s): n for s, n in self._store.count_movies(row.session.session_id).items()},
            "latency": None if latency is None else asdict(latency),
        }

    async def _session_id(self, named: str) -> str:
        rows = await sessions.sessions(self._store)
        for row in rows:
            if named in {row.session.session_id, row.session.name}:
                return row.session.session_id
        known = ", ".join(row.session.name for row in rows) or "none"
        raise CommandRefused(f"There is no session {named!r}.", hint=f"Known: {known}.")


def _task_state(named: str) -> TaskState:
    try:
        return TaskState(named)
    except ValueError as error:
        raise CommandRefused(f"There is no task state {named!r}.", hint=f"Known: {', '.join(TaskState)}.") from error
