"""Tasks and their attempts: the moves, and reading them."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from daemon.domain.states import LEFT_ALONE, TASK_MOVES, MovieState, TaskState
from daemon.errors import IllegalMove
from daemon.store.artifacts import put_output
from daemon.store.changes import EndTask, PutBackTask, PutBackTasks, PutTasks, StartAttempt
from daemon.store.connection import Connection
from daemon.store.plan import Plan, Row
from daemon.store.reading import Reads
from daemon.store.rows import (
    TASK_COLUMNS,
    AttemptRow,
    TaskRow,
    convert,
    encode_json,
    read_task,
    to_optional_seconds,
    to_seconds,
    to_timestamp,
)

INTERRUPTED = "interrupted"
"""Outcome of an attempt that ended without a verdict."""

SUPERSEDED_MOVIE = f"movie_{MovieState.SUPERSEDED}"
"""Kind for which the tasks of a superseded movie end."""

_FEW_TASKS = 32
"""Up to here a statement for each task costs less than one that looks through the table."""


def put_tasks(change: PutTasks, plan: Plan) -> None:
    """Enter new tasks: pending, or as those that they follow have ended."""
    at_s = plan.at(change.at_s)
    for new in change.tasks:
        task = TaskRow(
            task_id=new.task_id,
            job_id=new.job_id,
            session_id=new.session_id,
            image_id=new.image_id,
            movie_id=new.movie_id,
            stage=new.stage,
            position=new.position,
            state=TaskState.PENDING,
            attempts=0,
            reason="",
            error_kind="",
            hint="",
            retryable=False,
            warnings=(),
            parameters_hash="",
            code_version="",
            created_at_s=at_s,
            started_at_s=None,
            ended_at_s=None,
            next_attempt_at_s=None,
        )
        origin = None if new.follows is None else plan.find_task(new.follows)
        task = task if origin is None else _carry_over(origin, task)
        plan.add_task(task)
        fixed: Row = {
            "job_id": task.job_id,
            "session_id": task.session_id,
            "image_id": task.image_id,
            "movie_id": task.movie_id,
            "stage": task.stage,
            "position": task.position,
            "created_at": to_timestamp(at_s),
        }
        plan.insert("task", _standing(task) | fixed, task.task_id)
        plan.record_move(
            "task", task.task_id, task.session_id, (None, task.state), at_s, reason=task.reason, cause=change.cause
        )


def _carry_over(origin: TaskRow, new: TaskRow) -> TaskRow:
    """Return a new task as its origin stands: what was finished, or not wanted, stays so; the rest waits."""
    is_settled = origin.state is TaskState.COMPLETED or (
        origin.state is TaskState.CANCELLED and origin.error_kind != SUPERSEDED_MOVIE
    )
    if not is_settled:
        return replace(new, parameters=origin.parameters, from_scratch=origin.from_scratch)
    kept = ("task_id", "job_id", "image_id", "movie_id", "position", "created_at_s")
    return replace(origin, **{name: getattr(new, name) for name in kept})


def start_attempt(change: StartAttempt, plan: Plan) -> None:
    """A pending task runs; its attempt is counted from here on."""
    task = plan.task(change.task_id)
    at_s = plan.at(change.started_at_s)
    if change.attempt != task.attempts + 1:
        raise IllegalMove(_named(task), f"cannot start attempt {change.attempt} after {task.attempts} attempt(s)")
    if task.from_scratch and not change.takes_back:
        raise IllegalMove(_named(task), "is to be made from scratch; what was made before is still there")
    moved = replace(
        task,
        state=TaskState.RUNNING,
        attempts=change.attempt,
        reason="",
        error_kind="",
        hint="",
        retryable=False,
        warnings=(),
        parameters_hash=change.parameters_hash,
        started_at_s=at_s,
        ended_at_s=None,
        next_attempt_at_s=None,
        from_scratch=False,
    )
    _move(plan, task, moved, at_s, reason=f"attempt {change.attempt}", cause="started", asked_by=None)
    row: Row = {
        "attempt_id": _name_attempt(task, change.attempt),
        "task_id": task.task_id,
        "attempt": change.attempt,
        "outcome": TaskState.RUNNING.value,
        "started_at": to_timestamp(at_s),
        "ended_at": None,
        "reason": "",
        "error_kind": "",
        "hint": "",
        "retryable": False,
        "detail": "",
        "parameters_hash": change.parameters_hash,
        "code_version": "",
    }
    plan.insert("attempt", row, _name_attempt(task, change.attempt))


def end_task(change: EndTask, plan: Plan) -> None:
    """A task reaches a terminal state, with its outputs."""
    task = plan.task(change.task_id)
    at_s = plan.at(change.ended_at_s)
    if not change.state.is_terminal:
        raise IllegalMove(_named(task), f"cannot end as {change.state}")
    if task.state is TaskState.RUNNING and change.attempt not in {None, task.attempts}:
        raise IllegalMove(_named(task), f"runs attempt {task.attempts}; the end of attempt {change.attempt} is refused")
    if task.state is not TaskState.RUNNING and change.attempt is not None:
        raise IllegalMove(_named(task), f"is {task.state}; no attempt {change.attempt} of it runs")
    if task.state is TaskState.PENDING and task.from_scratch and change.state is TaskState.COMPLETED:
        raise IllegalMove(_named(task), "is to be made from scratch; what was made before is not believed")
    moved = replace(
        task,
        state=change.state,
        reason=change.reason,
        error_kind=change.kind,
        hint=change.hint,
        retryable=change.retryable,
        warnings=change.warnings,
        parameters_hash=change.parameters_hash or task.parameters_hash,
        code_version=change.code_version or task.code_version,
        ended_at_s=at_s,
        next_attempt_at_s=None,
    )
    _move(plan, task, moved, at_s, reason=change.reason, cause=change.cause, asked_by=change.asked_by)
    if task.state is TaskState.RUNNING:
        _end_attempt(plan, task, change, change.state.value, at_s, moved)
    for output in change.outputs:
        put_output(output, task, change.parameters_hash or task.parameters_hash, at_s, plan)


def put_back_task(change: PutBackTask, plan: Plan) -> None:
    """A running task waits again, or a person reopens a terminal one or gives one that waits other parameters."""
    task = plan.task(change.task_id)
    at_s = plan.at(change.at_s)
    if change.attempt is not None and (task.state, task.attempts) != (TaskState.RUNNING, change.attempt):
        raise IllegalMove(_named(task), f"is {task.state}; attempt {change.attempt} of it does not run any more")
    if change.asked_by is not None and task.movie_id is not None:
        _refuse_without_movie(task, plan.movie(task.movie_id).state)
    moved = _put_back(task, change)
    _move(plan, task, moved, at_s, reason=change.reason, cause=change.cause, asked_by=change.asked_by)
    if task.state is TaskState.RUNNING:
        outcome = TaskState.FAILED.value if change.kind else INTERRUPTED
        _end_attempt(plan, task, change, outcome, at_s, moved)


def _put_back(task: TaskRow, change: PutBackTask) -> TaskRow:
    """Return the task as it stands once it waits again."""
    return replace(
        task,
        state=TaskState.PENDING,
        reason=change.reason,
        error_kind=change.kind,
        hint=change.hint,
        retryable=bool(change.kind),
        ended_at_s=None,
        next_attempt_at_s=change.next_attempt_at_s,
        parameters=task.parameters if change.parameters is None else (change.parameters or None),
        from_scratch=task.from_scratch or change.from_scratch,
    )


def put_back_tasks(change: PutBackTasks, plan: Plan) -> None:
    """Many tasks wait again, as somebody asked: one statement for all that are to stand alike."""
    at_s = plan.at(change.at_s)
    alike: dict[str | None, list[str]] = {}
    moves: dict[tuple[str, TaskState], list[str]] = {}
    for task_id in change.task_ids:
        task = plan.task(task_id)
        single = _put_back_one(change, task)
        if task.state is TaskState.RUNNING or len(change.task_ids) <= _FEW_TASKS:
            put_back_task(single, plan)
            continue
        if task.movie_id is not None:
            _refuse_without_movie(task, plan.movie(task.movie_id).state)
        moved = _put_back(task, single)
        plan.change_task(task, moved)
        text = None if single.parameters is None else encode_json(moved.parameters)
        alike.setdefault(text, []).append(task_id)
        moves.setdefault((task.session_id, task.state), []).append(task_id)
    for text, task_ids in alike.items():
        given = "" if text is None else ", parameters = nullif($4, 'null')"
        plan.execute(
            "task",
            f"UPDATE task SET state = 'pending', reason = $1, error_kind = '', hint = '', retryable = false, "
            f"ended_at = NULL, next_attempt_at = NULL, from_scratch = from_scratch OR $2{given} "
            "WHERE task_id IN (SELECT unnest($3::VARCHAR[]))",
            change.reason,
            change.from_scratch,
            task_ids,
            *(() if text is None else (text,)),
        )
    for (session_id, state), task_ids in moves.items():
        told = {"reason": change.reason, "cause": change.cause, "asked_by": change.asked_by}
        plan.record_moves(task_ids, session_id, (state, TaskState.PENDING), at_s, **told)


def _put_back_one(change: PutBackTasks, task: TaskRow) -> PutBackTask:
    return PutBackTask(
        task.task_id,
        change.reason,
        cause=change.cause,
        asked_by=change.asked_by,
        parameters=change.parameters.get(task.stage),
        from_scratch=change.from_scratch,
        at_s=change.at_s,
    )


def _refuse_without_movie(task: TaskRow, state: MovieState) -> None:
    """Raise IllegalMove for a task whose movie nothing can be made of any more."""
    if state in LEFT_ALONE:
        raise IllegalMove(_named(task), f"its movie is {state}")


def _move(
    plan: Plan, task: TaskRow, moved: TaskRow, at_s: float, *, reason: str, cause: str, asked_by: str | None
) -> None:
    reopened = asked_by is not None and task.state is not TaskState.RUNNING and moved.state is TaskState.PENDING
    if moved.state not in TASK_MOVES[task.state] and not reopened:
        raise IllegalMove(_named(task), f"cannot go from {task.state} to {moved.state}")
    plan.change_task(task, moved)
    plan.update("task", _standing(moved), task.task_id)
    plan.record_move(
        "task",
        task.task_id,
        task.session_id,
        (task.state, moved.state),
        at_s,
        reason=reason,
        cause=cause,
        asked_by=asked_by,
    )


def _end_attempt(
    plan: Plan, task: TaskRow, change: EndTask | PutBackTask, outcome: str, at_s: float, moved: TaskRow
) -> None:
    row: Row = {
        "attempt_id": _name_attempt(task, task.attempts),
        "outcome": outcome,
        "ended_at": to_timestamp(at_s),
        "reason": change.reason,
        "error_kind": change.kind,
        "hint": change.hint,
        "retryable": moved.retryable,
        "detail": change.detail,
        "parameters_hash": moved.parameters_hash,
        "code_version": moved.code_version,
    }
    plan.update("attempt", row, _name_attempt(task, task.attempts))


def _standing(task: TaskRow) -> Row:
    """Columns of a task that its moves change."""
    return {
        "task_id": task.task_id,
        "state": task.state,
        "attempts": task.attempts,
        "reason": task.reason,
        "error_kind": task.error_kind,
        "hint": task.hint,
        "retryable": task.retryable,
        "warnings": encode_json(task.warnings),
        "parameters_hash": task.parameters_hash,
        "code_version": task.code_version,
        "started_at": to_timestamp(task.started_at_s),
        "ended_at": to_timestamp(task.ended_at_s),
        "next_attempt_at": to_timestamp(task.next_attempt_at_s),
        "parameters": None if task.parameters is None else encode_json(task.parameters),
        "from_scratch": task.from_scratch,
    }


def _name_attempt(task: TaskRow, attempt: int) -> str:
    return f"{task.task_id}#{attempt}"


def _named(task: TaskRow) -> str:
    return f"task {task.task_id} ({task.stage})"


async def tasks(
    store: Reads,
    *,
    session_id: str | None = None,
    job_id: str | None = None,
    image_id: str | None = None,
    movie_id: str | None = None,
    stage: str | None = None,
    states: Collection[TaskState] = (),
    movie_ids: Collection[str] | None = None,
    limit: int | None = None,
) -> list[TaskRow]:
    """Tasks that fit every condition given, oldest first."""
    given = {"session_id": session_id, "job_id": job_id, "image_id": image_id, "movie_id": movie_id, "stage": stage}
    conditions = [f"{column} = ${column}" for column, value in given.items() if value is not None]
    values: dict[str, object] = {column: value for column, value in given.items() if value is not None}
    if states:
        conditions.append("list_contains($states, state)")
        values["states"] = [state.value for state in states]
    if movie_ids is not None:
        conditions.append("movie_id IN (SELECT unnest($movies::VARCHAR[]))")
        values["movies"] = list(movie_ids)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    ending = "" if limit is None else f"LIMIT {int(limit)}"

    def read(connection: Connection) -> list[TaskRow]:
        query = f"SELECT {TASK_COLUMNS} FROM task {where} ORDER BY created_at, image_id, position, task_id {ending}"
        return [read_task(row) for row in connection.execute(query, values or None).fetchall()]

    return await store.read(read)


@dataclass(frozen=True, slots=True)
class OwedTask:
    """As much of a task as choosing among all tasks of a session takes."""

    task_id: str
    job_id: str
    stage: str
    state: TaskState


async def owed_tasks(store: Reads, session_id: str) -> dict[str, list[OwedTask]]:
    """Tasks of a session by movie, oldest first."""

    def read(connection: Connection) -> dict[str, list[OwedTask]]:
        rows = connection.execute(
            "SELECT movie_id, task_id, job_id, stage, state FROM task WHERE session_id = ? AND movie_id IS NOT NULL "
            "ORDER BY created_at, image_id, position, task_id",
            [session_id],
        ).fetchall()
        states = {state.value: state for state in TaskState}
        owed: dict[str, list[OwedTask]] = {}
        for movie_id, task_id, job_id, stage, state in rows:
            owed.setdefault(movie_id, []).append(OwedTask(task_id, job_id, stage, states[state]))
        return owed

    return await store.read(read)


async def task(store: Reads, task_id: str) -> TaskRow | None:
    """One task, or None when the store does not know it."""

    def read(connection: Connection) -> TaskRow | None:
        row = connection.execute(f"SELECT {TASK_COLUMNS} FROM task WHERE task_id = ?", [task_id]).fetchone()
        return None if row is None else read_task(row)

    return await store.read(read)


async def attempts(store: Reads, task_id: str) -> list[AttemptRow]:
    """Every attempt of a task, in order."""

    def read(connection: Connection) -> list[AttemptRow]:
        rows = connection.execute(
            "SELECT task_id, attempt, outcome, started_at, ended_at, reason, error_kind, hint, retryable, detail, "
            "parameters_hash, code_version FROM attempt WHERE task_id = ? ORDER BY attempt",
            [task_id],
        ).fetchall()
        return [AttemptRow(*convert(row, {3: to_seconds, 4: to_optional_seconds})) for row in rows]

    return await store.read(read)
