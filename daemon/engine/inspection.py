"""Answers that a panel of jobs is drawn from: the tasks of a job at a glance, and one task to its bottom."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from daemon.domain.movie import LedgerEntry
from daemon.domain.states import MovieState
from daemon.engine.answers import Handler
from daemon.engine.engine import Engine
from daemon.engine.lookup import find_jobs
from daemon.engine.parameters import hash_parameters
from daemon.errors import CommandRefused
from daemon.messages import commands
from daemon.messages.panel import MOST_NOT_WHOLE, MatrixAnswer, TaskAnswer, TaskAttempt, TaskFile
from daemon.store import artifacts, ledger, metrics, sessions, tasks
from daemon.store.changes import ArtifactRecord
from daemon.store.panel import not_whole, read_matrix, task_moves
from daemon.store.rows import AttemptRow, TaskRow

_NOBODY_WATCHES: Mapping[Path, str] = {}
_UNPROVEN = "it has not been proven whole"


class Inspection:
    """Handlers by name, as the responder wants them; they change nothing."""

    def __init__(
        self, engine: Engine, *, why_waiting: Callable[[str], Mapping[Path, str]] = lambda _: _NOBODY_WATCHES
    ) -> None:
        """`why_waiting` tells of a session, by id, why its files are not judged yet."""
        self._why_waiting = why_waiting
        self._engine = engine
        self._graph = engine.graph
        self._store = engine.store

    def handlers(self) -> Mapping[str, Handler]:
        """Return every handler this class has."""
        return {"matrix": self.matrix, "task": self.task}

    async def matrix(self, query: commands.MatrixQuery, asked_by: str) -> MatrixAnswer:
        """The tasks of a job, image by image, all or those of images of which something moved since."""
        del asked_by
        jobs = await find_jobs(self._store, query.job_id)
        if not jobs:
            raise CommandRefused(f"There is no job {query.job_id!r}.")
        job = jobs[0]
        counted = {stage for _, stage in self._store.count_tasks(job.job_id)}
        stages = tuple(stage for stage in self._graph.names if stage in counted)
        row = await sessions.session(self._store, job.session_id)
        seq, images = await read_matrix(self._store, job.job_id, job.session_id, stages, query.after)
        return MatrixAnswer(
            job_id=job.job_id,
            session="" if row is None else row.session.name,
            stages=list(stages),
            seq=seq,
            images=images,
            not_whole=await self._not_whole(job.session_id),
        )

    async def task(self, query: commands.TaskQuery, asked_by: str) -> TaskAnswer:
        """All there is to know of one task. Raises CommandRefused."""
        del asked_by
        task = await tasks.task(self._store, query.task_id)
        row = None if task is None else await sessions.session(self._store, task.session_id)
        if task is None or row is None:
            raise CommandRefused(f"There is no task {query.task_id!r}.")
        movie = None if task.movie_id is None else await ledger.movie(self._store, task.movie_id)
        image = None if task.image_id is None else await sessions.image(self._store, task.image_id)
        numbers = {} if task.image_id is None else await metrics.stage_metrics(self._store, task.stage, task.image_id)
        files = await artifacts.artifacts(self._store, task.session_id, task.image_id)
        parameters, is_same = self._parameters(task)
        return TaskAnswer(
            task_id=task.task_id,
            job_id=task.job_id,
            session_id=task.session_id,
            session=row.session.name,
            image_id=task.image_id or "",
            image="" if image is None else image.name,
            movie="" if movie is None else str(movie.identity.path),
            stage=task.stage,
            state=str(task.state),
            attempts=task.attempts,
            reason=task.reason,
            error_kind=task.error_kind,
            hint=task.hint,
            retryable=task.retryable,
            warnings=list(task.warnings),
            started_at_s=task.started_at_s,
            ended_at_s=task.ended_at_s,
            next_attempt_at_s=task.next_attempt_at_s,
            parameters=parameters,
            own_parameters=dict(task.parameters or {}),
            ran_with_these=is_same,
            metrics={key: value for key, value in (numbers or {}).items() if key not in {"image_id", "task_id"}},
            files=[_output(row.session.home, file) for file in files if file.task_id == task.task_id],
            runs=[_told(attempt) for attempt in await tasks.attempts(self._store, task.task_id)],
            history=await task_moves(self._store, task.task_id),
            not_whole="" if movie is None else self._why_not_whole(movie),
        )

    async def _not_whole(self, session_id: str) -> dict[str, str]:
        """Return, by image, what the watcher says of the movies that wait to be whole."""
        files = await not_whole(self._store, session_id, MOST_NOT_WHOLE)
        said = self._why_waiting(session_id) if files else {}
        return {image_id: said.get(path) or _UNPROVEN for image_id, path in files.items()}

    def _why_not_whole(self, movie: LedgerEntry) -> str:
        if movie.state not in {MovieState.SEEN, MovieState.SETTLING}:
            return ""
        return self._why_waiting(movie.session_id).get(movie.identity.path) or _UNPROVEN

    def _parameters(self, task: TaskRow) -> tuple[dict[str, Any], bool]:
        """Return what the task's stage would run with now, and whether its last attempt did."""
        if task.stage not in self._graph.names:
            return {}, False
        params = self._engine.parameters.check(task.stage, task.parameters or {}, task.session_id)
        ran = hash_parameters(self._graph[task.stage], params) == task.parameters_hash
        return params.model_dump(mode="json"), ran


def _output(home: Path, file: ArtifactRecord) -> TaskFile:
    return TaskFile(path=str(home / file.path), kind=file.kind, size_bytes=file.size_bytes, sha256=file.sha256)


def _told(attempt: AttemptRow) -> TaskAttempt:
    return TaskAttempt(
        attempt=attempt.attempt,
        outcome=attempt.outcome,
        started_at_s=attempt.started_at_s,
        ended_at_s=attempt.ended_at_s,
        reason=attempt.reason,
        error_kind=attempt.error_kind,
        hint=attempt.hint,
        retryable=attempt.retryable,
        detail=attempt.detail,
        code_version=attempt.code_version,
    )
