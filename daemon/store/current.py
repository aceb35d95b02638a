"""The tables as the writer knows them: what was touched lately stays at hand, the rest is looked up by key."""

import threading
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

from daemon.domain.movie import LedgerEntry
from daemon.domain.states import MovieState, SessionState, TaskState
from daemon.store.changes import Change, PutBackTasks, PutTasks
from daemon.store.connection import Connection
from daemon.store.metric_tables import read_tables
from daemon.store.plan import MovieTally, Plan, TaskTally
from daemon.store.rows import MOVIE_COLUMNS, TASK_COLUMNS, TaskRow, read_movie, read_task

V = TypeVar("V")

_MANY = 64
"""Changes of one call from which on their rows are fetched together."""
_AT_HAND = 8192
"""Rows kept at hand of movies and of tasks: those in flight are among them, and memory does not grow with the past."""


class CurrentRows:
    """World at the bottom of every plan; only the writer's thread looks things up in it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._movies: dict[str, LedgerEntry] = {}
        self._tasks: dict[str, TaskRow] = {}
        rows = connection.execute("SELECT session_id, state FROM session").fetchall()
        self._sessions = {session_id: SessionState(state) for session_id, state in rows}
        self._jobs = {row[0] for row in connection.execute("SELECT job_id FROM job").fetchall()}
        self._metrics = read_tables(connection)
        self._lock = threading.Lock()
        self._task_tally: TaskTally = Counter()
        for job_id, stage, state, count in connection.execute(
            "SELECT job_id, stage, state, count(*) FROM task GROUP BY ALL"
        ).fetchall():
            self._task_tally[job_id, stage, state] = count
        self._movie_tally: MovieTally = Counter()
        for session_id, state, count in connection.execute(
            "SELECT session_id, state, count(*) FROM movie GROUP BY ALL"
        ).fetchall():
            self._movie_tally[session_id, state] = count
        self._changes: Counter[str] = Counter()
        """How often movies or tasks of a session were changed since opening."""

    def find_movie(self, movie_id: str, *, in_tables: bool = True) -> LedgerEntry | None:
        """Ledger entry by key."""
        found = self._movies.get(movie_id)
        if found is None and in_tables:
            row = self._connection.execute(
                f"SELECT {MOVIE_COLUMNS} FROM movie WHERE movie_id = ?", [movie_id]
            ).fetchone()
            found = None if row is None else read_movie(row)
        return found

    def find_task(self, task_id: str, *, in_tables: bool = True) -> TaskRow | None:
        """Task by key."""
        found = self._tasks.get(task_id)
        if found is None and in_tables:
            row = self._connection.execute(f"SELECT {TASK_COLUMNS} FROM task WHERE task_id = ?", [task_id]).fetchone()
            found = None if row is None else read_task(row)
        return found

    def fetch_ahead(self, changes: Sequence[Change]) -> None:
        """Take the tasks and movies that many changes are about to hand together: one by one they cost a query each."""
        wanted = {key for change in changes if isinstance(key := getattr(change, "task_id", None), str)}
        for change in changes:
            if isinstance(change, PutBackTasks):
                wanted.update(change.task_ids)
            elif isinstance(change, PutTasks):
                wanted.update(task.follows for task in change.tasks if task.follows is not None)
        if max(len(changes), len(wanted)) < _MANY:
            return
        missing = list(wanted - self._tasks.keys())
        rows = self._connection.execute(
            f"SELECT {TASK_COLUMNS} FROM task WHERE task_id IN (SELECT unnest(?::VARCHAR[]))", [missing]
        ).fetchall()
        self._tasks.update((task.task_id, task) for task in map(read_task, rows))
        movies = {key for change in changes if isinstance(key := getattr(change, "movie_id", None), str)}
        movies |= {self._tasks[key].movie_id or "" for key in wanted if key in self._tasks}
        rows = self._connection.execute(
            f"SELECT {MOVIE_COLUMNS} FROM movie WHERE movie_id IN (SELECT unnest(?::VARCHAR[]))",
            [list(movies - self._movies.keys())],
        ).fetchall()
        self._movies.update((movie.movie_id, movie) for movie in map(read_movie, rows))

    def find_session(self, session_id: str) -> SessionState | None:
        """State of a session."""
        return self._sessions.get(session_id)

    def knows_job(self, job_id: str) -> bool:
        """Whether the job exists."""
        return job_id in self._jobs

    def metric_columns(self, stage: str) -> Mapping[str, str] | None:
        """Columns of a stage's metric table."""
        return self._metrics.get(stage)

    def absorb(self, plan: Plan) -> None:
        """Take over what was committed."""
        _keep(self._movies, plan.movies)
        _keep(self._tasks, plan.tasks)
        if plan.moved:
            self._movies = {key: movie for key, movie in self._movies.items() if movie.session_id not in plan.moved}
        self._sessions.update(plan.sessions)
        self._jobs.update(plan.jobs)
        touched = plan.moved | {movie.session_id for movie in plan.movies.values()}
        touched |= {task.session_id for task in plan.tasks.values()}
        with self._lock:
            self._changes.update(touched)
            self._task_tally.update(plan.task_tally)
            self._movie_tally.update(plan.movie_tally)

    def count_tasks(self, job_id: str | None) -> dict[tuple[str, str], dict[TaskState, int]]:
        """How many tasks are in each state, by (job, stage); safe from any thread."""
        counts: dict[tuple[str, str], dict[TaskState, int]] = {}
        with self._lock:
            for (job, stage, state), count in self._task_tally.items():
                if count and job_id in {None, job}:
                    counts.setdefault((job, stage), {})[TaskState(state)] = count
        return counts

    def count_movies(self, session_id: str) -> dict[MovieState, int]:
        """How many movies of a session are in each state; safe from any thread."""
        with self._lock:
            return {
                MovieState(state): count
                for (session, state), count in self._movie_tally.items()
                if count and session == session_id
            }

    def count_changes(self, states: Collection[MovieState]) -> dict[str, int]:
        """How often sessions that have movies in these states were changed since opening; safe from any thread."""
        with self._lock:
            having = {session for (session, state), count in self._movie_tally.items() if count and state in states}
            return {session_id: self._changes[session_id] for session_id in having}


def _keep(at_hand: dict[str, V], fresh: Mapping[str, V]) -> None:
    for key, value in fresh.items():
        at_hand.pop(key, None)
        at_hand[key] = value
    while len(at_hand) > _AT_HAND:
        del at_hand[next(iter(at_hand))]
