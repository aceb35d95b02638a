"""From changes to rows: what a call wants to write, and how the world looks once it is written.

Plans are stacked. The bottom one knows the tables; a group of calls stands on it, and every call of the
group stands on the group. A call that turns out to be illegal is dropped without a trace; one that is
sound is merged into its group, and the group into the bottom after COMMIT.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from daemon.domain.movie import LedgerEntry
from daemon.domain.states import SessionState
from daemon.errors import IllegalMove
from daemon.store.rows import TaskRow, to_timestamp

Row: TypeAlias = dict[str, Any]
Verb: TypeAlias = Literal["insert", "update", "upsert"]
TaskTally: TypeAlias = Counter[tuple[str, str, str]]
"""How many tasks by (job, stage, state)."""
MovieTally: TypeAlias = Counter[tuple[str, str]]
"""How many movies by (session, state)."""


_RECORD_MOVES = """
INSERT INTO history (seq, subject, subject_id, session_id, from_state, to_state, moved_at, reason, cause, asked_by)
SELECT $1 + number, 'task', task_id, $4, $5, $6, $7, $8, $9, $10
FROM (SELECT unnest($2::VARCHAR[]) AS task_id, unnest(range($3)) AS number)
"""


class World(Protocol):
    """Current rows by key; None when the key is unknown."""

    def find_movie(self, movie_id: str, *, in_tables: bool = True) -> LedgerEntry | None:
        """Ledger entry as it stands; without `in_tables` only what is at hand is looked at."""
        ...

    def find_task(self, task_id: str, *, in_tables: bool = True) -> TaskRow | None:
        """Task as it stands; without `in_tables` only what is at hand is looked at."""
        ...

    def find_session(self, session_id: str) -> SessionState | None:
        """State of a session."""
        ...

    def knows_job(self, job_id: str) -> bool:
        """Whether the job exists."""
        ...

    def metric_columns(self, stage: str) -> Mapping[str, str] | None:
        """Columns of a stage's metric table with their SQL types, or None for an unknown stage."""
        ...


@dataclass(frozen=True)
class RowChange:
    """One row to write; `key` is its primary key, empty for tables without one."""

    verb: Verb
    table: str
    key: str
    row: Row


@dataclass(frozen=True)
class Sql:
    """A statement on one table that no row change can say; it finds the rows written to that table before it.

    One that inserts rows into a numbered table says how many; the seq of the first is put before its parameters.
    """

    table: str
    statement: str
    parameters: tuple[Any, ...]
    numbered_rows: int = 0


@dataclass
class Plan:
    """A set of writes on top of a world, itself a world."""

    below: World
    now_s: float
    movies: dict[str, LedgerEntry] = field(default_factory=dict)
    tasks: dict[str, TaskRow] = field(default_factory=dict)
    sessions: dict[str, SessionState] = field(default_factory=dict)
    jobs: set[str] = field(default_factory=set)
    moved: set[str] = field(default_factory=set)
    """Sessions whose movies have other paths than the rows below say."""
    writes: list[RowChange | Sql] = field(default_factory=list)
    task_tally: TaskTally = field(default_factory=Counter)
    movie_tally: MovieTally = field(default_factory=Counter)

    def find_movie(self, movie_id: str, *, in_tables: bool = True) -> LedgerEntry | None:
        """Ledger entry as it will stand."""
        return self.movies.get(movie_id) or self.below.find_movie(movie_id, in_tables=in_tables)

    def find_task(self, task_id: str, *, in_tables: bool = True) -> TaskRow | None:
        """Task as it will stand."""
        return self.tasks.get(task_id) or self.below.find_task(task_id, in_tables=in_tables)

    def find_session(self, session_id: str) -> SessionState | None:
        """State of a session as it will stand."""
        return self.sessions.get(session_id) or self.below.find_session(session_id)

    def knows_job(self, job_id: str) -> bool:
        """Whether the job will exist."""
        return job_id in self.jobs or self.below.knows_job(job_id)

    def metric_columns(self, stage: str) -> Mapping[str, str] | None:
        """Columns of a stage's metric table; no plan changes them."""
        return self.below.metric_columns(stage)

    def movie(self, movie_id: str) -> LedgerEntry:
        """As `find_movie`. Raises IllegalMove for an unknown movie."""
        found = self.find_movie(movie_id)
        if found is None:
            raise IllegalMove(f"movie {movie_id}", "is not in the ledger")
        return found

    def task(self, task_id: str) -> TaskRow:
        """As `find_task`. Raises IllegalMove for an unknown task."""
        found = self.find_task(task_id)
        if found is None:
            raise IllegalMove(f"task {task_id}", "is not in the store")
        return found

    def session(self, session_id: str) -> SessionState:
        """As `find_session`. Raises IllegalMove for an unknown session."""
        found = self.find_session(session_id)
        if found is None:
            raise IllegalMove(f"session {session_id}", "is not in the store")
        return found

    def at(self, seconds: float | None) -> float:
        """Return the time a change gives, or now."""
        return self.now_s if seconds is None else seconds

    def insert(self, table: str, row: Row, key: str = "") -> None:
        """Write a row whose key is new; without a key the row is appended."""
        self.writes.append(RowChange("insert", table, key, row))

    def update(self, table: str, row: Row, key: str) -> None:
        """Write some columns (the key's included) of a row that exists."""
        self.writes.append(RowChange("update", table, key, row))

    def upsert(self, table: str, row: Row, key: str) -> None:
        """Write a row that may exist."""
        self.writes.append(RowChange("upsert", table, key, row))

    def execute(self, table: str, statement: str, *parameters: Any) -> None:
        """Run a statement on a table, between the rows written to it before and after."""
        self.writes.append(Sql(table, statement, parameters))

    def add_movie(self, entry: LedgerEntry) -> None:
        """Note a new movie; the caller writes its row. Raises IllegalMove when it is known.

        One that is known to the tables alone is not looked up here, which would cost every new movie a
        query: its primary key refuses the row, and the writer says so.
        """
        if self.find_movie(entry.movie_id, in_tables=False) is not None:
            raise IllegalMove(f"movie {entry.movie_id} ({entry.identity.path})", "is already in the ledger")
        self.movie_tally[entry.session_id, entry.state] += 1
        self.movies[entry.movie_id] = entry

    def change_movie(self, before: LedgerEntry, after: LedgerEntry) -> None:
        """Note how a movie will stand; the caller writes its row."""
        self.movie_tally[before.session_id, before.state] -= 1
        self.movie_tally[after.session_id, after.state] += 1
        self.movies[after.movie_id] = after

    def add_task(self, task: TaskRow) -> None:
        """Note a new task, as `add_movie` does a movie."""
        if self.find_task(task.task_id, in_tables=False) is not None:
            raise IllegalMove(f"task {task.task_id} ({task.stage})", "is already in the store")
        self.task_tally[task.job_id, task.stage, task.state] += 1
        self.tasks[task.task_id] = task

    def change_task(self, before: TaskRow, after: TaskRow) -> None:
        """Note how a task will stand; the caller writes its row."""
        self.task_tally[before.job_id, before.stage, before.state] -= 1
        self.task_tally[after.job_id, after.stage, after.state] += 1
        self.tasks[after.task_id] = after

    def record_move(
        self,
        subject: Literal["movie", "task", "session", "job", "control", "image"],
        subject_id: str,
        session_id: str,
        states: tuple[str | None, str],
        at_s: float,
        *,
        reason: str = "",
        cause: str = "",
        asked_by: str | None = None,
    ) -> None:
        """Append a line to the history; `states` is (from, to)."""
        self.insert(
            "history",
            {
                "subject": subject,
                "subject_id": subject_id,
                "session_id": session_id,
                "from_state": states[0],
                "to_state": states[1],
                "moved_at": to_timestamp(at_s),
                "reason": reason,
                "cause": cause,
                "asked_by": asked_by,
            },
        )

    def record_moves(
        self,
        subject_ids: Sequence[str],
        session_id: str,
        states: tuple[str, str],
        at_s: float,
        *,
        reason: str,
        cause: str,
        asked_by: str,
    ) -> None:
        """As `record_move`, of many tasks that go the same way."""
        values = (list(subject_ids), len(subject_ids), session_id, *states, to_timestamp(at_s), reason, cause, asked_by)
        self.writes.append(Sql("history", _RECORD_MOVES, values, numbered_rows=len(subject_ids)))

    def merge(self, above: "Plan") -> None:
        """Take over everything that a plan standing on this one wants."""
        self.movies.update(above.movies)
        self.tasks.update(above.tasks)
        self.sessions.update(above.sessions)
        self.jobs.update(above.jobs)
        self.moved.update(above.moved)
        self.writes.extend(above.writes)
        self.task_tally.update(above.task_tally)
        self.movie_tally.update(above.movie_tally)
